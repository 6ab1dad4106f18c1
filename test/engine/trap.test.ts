import asc from "assemblyscript/asc";
import { expect, it } from "vitest";
import * as Counters from "../../assembly/layout/counters.js";
import * as Memory from "../../assembly/layout/memory.js";
import { capacitiesOf, createMemory, planMemory } from "../../host/core/memory.js";
import { CONTROL_STOP, CONTROL_WORDS, WorkerLoop, type WorkerMessage } from "../../host/engine/worker.js";
import * as native from "../../host/port/native.js";

/** A core that takes the lock and traps, every third breath apart. */
const TRAPPING = `
export function layoutVersion(): u32 { return ${Memory.LAYOUT_VERSION}; }
export function run(worker: u32, now: u32): u32 {
  const breaths = load<u32>(1024) + 1;
  store<u32>(1024, breaths);
  if (breaths % 3 === 0) return 0;
  if (atomic.cmpxchg<u32>(${Memory.LAYOUT_BASE + Memory.LOCK}, 0, worker + 1) !== 0) return 0;
  unreachable();
  return 0;
}
`;

async function compile(source: string): Promise<WebAssembly.Module> {
  let binary: Uint8Array | undefined;
  const flags = ["--runtime", "stub", "--importMemory", "--sharedMemory", "--initialMemory", "2"];
  const { error, stderr } = await asc.main(
    ["core.ts", ...flags, "--maximumMemory", "65536", "--enable", "threads", "--outFile", "core.wasm"],
    {
      readFile: (name: string) => (name === "core.ts" ? source : null),
      writeFile: (name: string, contents: string | Uint8Array) => {
        if (name === "core.wasm") binary = contents as Uint8Array;
      },
      listFiles: () => [],
    },
  );
  if (binary === undefined) throw new Error(`${error?.message}: ${stderr}`);
  return new WebAssembly.Module(binary);
}

it("goes on after a trap, with the lock given back and the trap counted", async () => {
  const memory = createMemory(planMemory(capacitiesOf({ connections: 1024, arena: 65536 })));
  const words = new Uint32Array(memory.buffer);
  const control = new Int32Array(new SharedArrayBuffer(4 * CONTROL_WORDS));
  const eventfd = native.eventfd(0, native.EFD_NONBLOCK | native.EFD_CLOEXEC);
  const traps: WorkerMessage[] = [];
  const loop = new WorkerLoop(
    {
      index: 0,
      memory,
      module: await compile(TRAPPING),
      queues: [],
      detached: false,
      outputs: [],
      eventfd,
      control,
      spin: 0,
    },
    (message) => {
      if (message.type !== "trap") return;
      traps.push(message);
      expect(Atomics.load(words, (Memory.LAYOUT_BASE + Memory.LOCK) >>> 2)).toBe(0);
      // As if the core had supplied slots: what the traps cost is not the question here.
      words[words[(Memory.LAYOUT_BASE + Memory.WORKERS_BASE) >>> 2]! >>> 2] = 1;
      if (traps.length === 4) control[CONTROL_STOP] = 1;
    },
  );
  loop.run();
  native.close(eventfd);
  expect(traps).toHaveLength(4);
  expect(traps[3]).toMatchObject({ type: "trap", traps: 4 });
  const counters = words[(Memory.LAYOUT_BASE + Memory.COUNTERS_BASE) >>> 2]!;
  expect(words[(counters + Counters.TRAPS) >>> 2]).toBe(4);
});
