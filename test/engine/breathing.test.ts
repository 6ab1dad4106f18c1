/** A sign of life is one of every worker: real threads, one of which cannot go on. */
import { join } from "node:path";
import { expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";

// Threads load what was built.
const BUILT = join(import.meta.dirname, "../../dist/host/engine/engine.js");

import { createLog } from "../../host/log.js";

const SOMEBODY = 99;

it("says that workers breathe, idle ones too, and that one does not that waits for a lock for ever", async () => {
  const { Engine } = (await import(BUILT)) as typeof import("../../host/engine/engine.js");
  let fatal: Error | undefined;
  const engine = new Engine({
    ports: [],
    workers: 2,
    maxConnections: 1024,
    forward: true,
    spin: 0,
    io: "rw",
    log: createLog("silent", "test"),
    fatal: (error) => (fatal = error),
  });
  expect(await engine.breathing(10)).toBe(false);
  await engine.start();
  const lock = (Memory.LAYOUT_BASE + Memory.LOCK) >>> 2;
  const words = new Int32Array(engine.memory.buffer);
  try {
    for (let times = 0; times < 3; times++) expect(await engine.breathing(3000)).toBe(true);
    // Somebody takes it and dies. Two questions: a breath may have begun already.
    while (Atomics.compareExchange(words, lock, 0, SOMEBODY) !== 0) await new Promise(setImmediate);
    await engine.breathing(300);
    expect(await engine.breathing(300)).toBe(false);
  } finally {
    Atomics.store(words, lock, 0);
    Atomics.notify(words, lock);
  }
  expect(await engine.breathing(3000)).toBe(true);
  await engine.stop();
  expect(fatal).toBeUndefined();
});
