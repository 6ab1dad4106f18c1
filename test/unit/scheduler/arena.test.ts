import { expect, test } from "vitest";
import * as Memory from "../../../assembly/layout/memory.js";
import { type SchedulerName, Schedulers } from "../../support/schedulers.js";

test("blocks do not overlap, are zeroed, and come together again", async () => {
  const { core, view } = await Schedulers.create(1 << 20);
  const held = new Map<number, number>();
  let state = 1;
  const random = (below: number) => (state = (Math.imul(state, 48271) >>> 0) % 2147483647) % below;
  for (let i = 0; i < 2000; i++) {
    if (random(2) === 0) {
      const size = 1 + random(5000);
      const at = core.allocate(size);
      if (at === 0) continue;
      expect(at % 16).toBe(0);
      const block = new Uint8Array(view.buffer, at, size);
      expect(block.some((byte) => byte !== 0)).toBe(false);
      expect([...held].some(([other, length]) => at + size > other && other + length > at)).toBe(false);
      block.fill(255);
      held.set(at, size);
    } else {
      const [at] = [...held.keys()].slice(random(Math.max(1, held.size)));
      if (at === undefined) continue;
      held.delete(at);
      core.release(at);
    }
  }
  for (const at of held.keys()) core.release(at);
  expect(core.used()).toBe(0);
  // One free block again, from end to end.
  expect(core.allocate((1 << 20) - 32)).not.toBe(0);
});

const WITH_TABLES: SchedulerName[] = ["sh", "dh", "mh", "maglev", "lblc", "lblcr"];

test("services with tables come and go without a trace in the arena", async () => {
  const core = await Schedulers.create(2 << 20);
  for (let round = 0; round < 20; round++) {
    const services = WITH_TABLES.map((name) => core.addService(name));
    for (const service of services) {
      const servers = [1, 2, 3].map((i) => core.addServer(service, `10.${round}.0.${i}`, 80, i));
      for (let i = 0; i < 300; i++) {
        core.pick(service, { client: `10.9.${i & 255}.1`, virtual: `10.8.${i >> 8}.${i & 255}` });
      }
      for (const server of servers) core.removeServer(service, server);
    }
    expect(core.core.used()).toBeGreaterThan(65537 * 4);
    for (const service of services) core.core.stop(service);
    expect(core.core.used()).toBe(0);
  }
});

test("a service whose table does not fit is refused, and leaves nothing behind", async () => {
  const core = await Schedulers.create(64 << 10);
  expect(() => core.addService("maglev")).toThrow("start: -12");
  expect(core.core.used()).toBe(0);
  core.setHeader(Memory.ARENA_CAPACITY, 0);
  expect(() => core.addService("sh")).toThrow("start: -12");
});
