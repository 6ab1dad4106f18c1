import { describe, expect, test } from "vitest";
import { TICKS_PER_SECOND } from "../../../assembly/layout/memory.js";
import { CELLS, ENTRIES } from "../../../assembly/layout/scheduler-state.js";
import * as Service from "../../../assembly/layout/service.js";
import { Schedulers } from "../../support/schedulers.js";

const to = (virtual: string) => ({ client: "198.51.100.1", virtual });
const DAY = 86400 * TICKS_PER_SECOND;

function entries(core: Schedulers, service: number): number {
  return core.view.getUint32(service + Service.SCHEDULER_STATE + ENTRIES, true);
}

describe.each(["lblc", "lblcr"] as const)("%s", (name) => {
  test("a destination keeps its server until that is busy while another idles", async () => {
    const core = await Schedulers.create();
    const service = core.addService(name);
    const a = core.addServer(service, "10.0.0.1", 0, 2);
    const b = core.addServer(service, "10.0.0.2", 0, 2);
    // Newest first.
    expect(core.pick(service, to("10.1.0.1"))).toBe(b);
    core.setConnections(b, 2, 9);
    expect(core.pick(service, to("10.1.0.2"))).toBe(a);
    expect(core.pick(service, to("10.1.0.1"))).toBe(b);
    core.setConnections(b, 3, 0);
    core.setConnections(a, 1, 0);
    expect(core.pick(service, to("10.1.0.1"))).toBe(b);
    core.setConnections(a, 0, 0);
    expect(core.pick(service, to("10.1.0.1"))).toBe(a);
  });

  test("a removed server's destinations move, and an untouched one's come back with it", async () => {
    const core = await Schedulers.create();
    const service = core.addService(name);
    const a = core.addServer(service, "10.0.0.1", 0, 1);
    const b = core.addServer(service, "10.0.0.2", 0, 1);
    expect(core.pick(service, to("10.1.0.1"))).toBe(b);
    expect(core.pick(service, to("10.1.0.2"))).toBe(b);
    core.removeServer(service, b);
    expect(core.pick(service, to("10.1.0.1"))).toBe(a);
    // In another record.
    const again = core.addServer(service, "10.0.0.2", 0, 1);
    core.setConnections(again, 1, 0);
    expect(core.pick(service, to("10.1.0.2"))).toBe(again);
    expect(core.pick(service, to("10.1.0.1"))).toBe(a);
    core.removeServer(service, again);
    // Its record taken by another server of the service: not that one.
    core.setConnections(a, 0, 0);
    const other = core.addServer(service, "10.0.0.9", 0, 1, again);
    core.setConnections(other, 1, 0);
    expect(core.pick(service, to("10.1.0.2"))).toBe(a);
  });

  test("destinations are forgotten a day after they were last asked for, all cells reused", async () => {
    const core = await Schedulers.create();
    const service = core.addService(name);
    core.addServer(service, "10.0.0.1", 0, 1);
    const minute = 60 * TICKS_PER_SECOND;
    let now = 0;
    const cells: number[] = [];
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 1000; i++) core.pick(service, to(`10.${round}.${i >> 8}.${i & 255}`));
      expect(entries(core, service)).toBe(1000);
      cells.push(core.view.getUint32(service + Service.SCHEDULER_STATE + CELLS, true));
      const end = now + DAY + 31 * minute;
      for (; now < end; now += minute) {
        core.setNow(now);
        core.core.tick(service);
        if (now + minute < end - 31 * minute) expect(entries(core, service)).toBe(1000);
      }
      expect(entries(core, service)).toBe(0);
    }
    expect(cells[2]).toBe(cells[0]);
  });

  test("when there are many, idle ones go after six minutes; when there is no room, picks go on", async () => {
    const core = await Schedulers.create(8 << 20);
    const service = core.addService(name);
    const server = core.addServer(service, "10.0.0.1", 0, 1);
    let picked = 0;
    for (let i = 0; i < 70000; i++) {
      if (core.pick(service, to(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)) === server) picked++;
    }
    expect(picked).toBe(70000);
    const most = entries(core, service);
    expect(most).toBeGreaterThan(30000);
    expect(most).toBeLessThan(65536);
    for (let minute = 1; minute <= 12; minute++) {
      core.setNow(minute * 60 * TICKS_PER_SECOND);
      core.core.tick(service);
      if (minute < 6) expect(entries(core, service)).toBe(most);
    }
    expect(entries(core, service)).toBeLessThanOrEqual(16384);
    core.core.stop(service);
    expect(core.core.used()).toBe(0);
  });
});

test("lblcr: a set grows under load, and loses its busiest member a day after it last changed", async () => {
  const core = await Schedulers.create();
  const service = core.addService("lblcr");
  const a = core.addServer(service, "10.0.0.1", 0, 2);
  const b = core.addServer(service, "10.0.0.2", 0, 2);
  const flow = to("10.1.0.1");
  expect(core.pick(service, flow)).toBe(b);
  core.setConnections(b, 3, 0);
  expect(core.pick(service, flow)).toBe(a);
  // Now the less loaded one of the two.
  core.setConnections(a, 2, 0);
  core.setConnections(b, 1, 0);
  expect(core.pick(service, flow)).toBe(b);
  core.setNow(DAY + 1);
  core.setConnections(a, 1, 0);
  core.setConnections(b, 2, 0);
  expect(core.pick(service, flow)).toBe(a);
  // b was dropped: even idle it is not asked for this destination.
  core.setConnections(b, 0, 0);
  expect(core.pick(service, flow)).toBe(a);
});
