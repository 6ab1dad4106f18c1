/** A worker in a system call that does not come back: nobody can end it there, and the engine says so. */
import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { expect, it } from "vitest";
import { setBlocking } from "../../host/port/native.js";

// Threads load what was built.
const BUILT = join(import.meta.dirname, "../../dist/host/engine/engine.js");

it("gives up when a worker hangs in a system call, and ends when that is over", async () => {
  const { Engine } = (await import(BUILT)) as typeof import("../../host/engine/engine.js");
  const directory = mkdtempSync(join(tmpdir(), "wlvs-hung-"));
  const path = join(directory, "device");
  execFileSync("mkfifo", [path]);
  // A device that nothing ever comes from: reading it waits for ever, once it may.
  const device = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const lines: Array<Record<string, unknown>> = [];
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<Error>((resolve) => (fail = resolve));
  const port = { name: "tun0", kind: "tun", queues: [device], capabilities: 0, mtu: 1500, mac: "" } as const;
  const engine = new Engine({
    ports: [port],
    workers: 1,
    maxConnections: 1024,
    forward: true,
    spin: 0,
    io: "rw",
    lookMs: 100,
    log: pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
    fatal: (error) => fail(error),
  });
  try {
    await engine.start();
    expect(await engine.breathing(10_000)).toBe(true);
    setBlocking(device, true);
    engine.wake();
    expect((await failed).message).toBe("worker 0 hangs in a system call");
    expect(await engine.breathing(100)).toBe(false);
    expect(lines.map(({ event }) => event)).toContain("worker.hung");
    expect(lines.map(({ event }) => event)).not.toContain("worker.restarted");
  } finally {
    setBlocking(device, false);
    writeSync(device, new Uint8Array(1));
    await engine.stop();
    closeSync(device);
    rmSync(directory, { recursive: true });
  }
}, 60_000);
