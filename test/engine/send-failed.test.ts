/** A worker counts a frame that its device refused: never while another holds the lock, the control instance least. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import { compileCore } from "../../host/core/instance.js";
import { ringDirector } from "../support/ring-director.js";

const WORKER = `
  const { parentPort, workerData: { memory, module, port } } = require("node:worker_threads");
  const core = new WebAssembly.Instance(module, { env: { memory, abort() {} } }).exports;
  parentPort.postMessage("begins");
  core.sendFailed(port);
  parentPort.postMessage("done");
`;

it("waits for a transaction to end", async () => {
  const { memory, core, records } = ringDirector(64, { rings: 0 });
  const port = records[0]!;
  const failed = () => new DataView(memory.buffer).getBigUint64(port + Port.DROPS_OUT, true);
  const word = (at: number) => new DataView(memory.buffer).getUint32(Memory.LAYOUT_BASE + at, true);
  core.hold();
  const worker = new Worker(WORKER, { eval: true, workerData: { memory, module: compileCore(), port } });
  try {
    await once(worker, "message");
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(failed()).toBe(0n);
    const done = once(worker, "message");
    core.release();
    await done;
    expect(failed()).toBe(1n);
    expect([word(Memory.LOCK), word(Memory.HOLD_DEPTH)]).toEqual([0, 0]);
  } finally {
    await worker.terminate();
  }
});
