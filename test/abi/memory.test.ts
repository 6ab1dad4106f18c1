/** The memory map: regions lie apart, aligned, and the header says where. */
import { describe, expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";
import * as Slot from "../../assembly/layout/slot.js";
import { capacitiesOf, createMemory, planMemory, roomText } from "../../host/core/memory.js";

const PLANS = {
  default: capacitiesOf(),
  small: capacitiesOf({ connections: 1, slots: 1, services: 1, servers: 1, arena: 64, marks: 64 }),
  workers: capacitiesOf({ workers: 8, connections: 10_000_000, rings: 1 << 20 }),
  odd: capacitiesOf({ connections: 12_345, extensions: 7, fragments: 3, routes: 5 }),
};

describe.each(Object.entries(PLANS))("plan %s", (_, capacities) => {
  const plan = planMemory(capacities);

  it("keeps regions apart, above the header and below the end", () => {
    let end = Memory.LAYOUT_BASE + Memory.HEADER_SIZE;
    for (const region of [...plan.regions].sort((a, b) => a.base - b.base)) {
      expect(region.base, region.name).toBeGreaterThanOrEqual(end);
      end = region.base + region.bytes;
    }
    expect(end).toBeLessThanOrEqual(plan.total);
  });

  it("aligns every region to a cache line, and the rings to a page", () => {
    for (const region of plan.regions) expect(region.base % 64, region.name).toBe(0);
    expect(plan.regions.find((region) => region.name === "rings")!.base % 4096).toBe(0);
  });
});

it("a plan tells what it may take", () => {
  const plan = planMemory(capacitiesOf({ connections: 1_000_000 }));
  const [, connections, most] = /^room for (\d+) connections: at most (\d+) MiB, taken as they come$/.exec(
    roomText(plan),
  )!;
  expect(Number(connections)).toBe(1_000_000);
  expect(Number(most) * 2 ** 20 - plan.total).toBeLessThan(2 ** 20);
  expect(Number(most) * 2 ** 20).toBeGreaterThanOrEqual(plan.total);
});

describe("slots", () => {
  it("put IP headers on a multiple of four", () => {
    expect((Slot.FRAME_AT + Slot.VNET_SIZE + 14) % 4).toBe(0);
    expect(Slot.FRAME_AT + Slot.FRAME_MAX).toBeLessThanOrEqual(Slot.SIZE);
    expect(Slot.SIZE % 64).toBe(0);
  });

  it("do not fall into the same cache sets", () => {
    expect(Slot.SIZE % 4096).not.toBe(0);
  });
});

describe("createMemory", () => {
  it("writes the header", () => {
    const plan = planMemory(PLANS.small);
    const memory = createMemory(plan, { seed: 7, forward: false });
    const header = new DataView(memory.buffer, Memory.LAYOUT_BASE, Memory.HEADER_SIZE);
    const word = (at: number) => header.getUint32(at, true);
    expect(word(Memory.MAGIC)).toBe(Memory.LAYOUT_MAGIC);
    expect(word(Memory.VERSION)).toBe(Memory.LAYOUT_VERSION);
    expect(word(Memory.TOTAL)).toBe(plan.total);
    expect(word(Memory.SEED)).toBe(7);
    expect(word(Memory.IP_FORWARD)).toBe(0);
    const slots = plan.regions.find((region) => region.name === "slots")!;
    expect([word(Memory.SLOTS_BASE), word(Memory.SLOTS_CAPACITY)]).toEqual([slots.base, slots.capacity]);
    expect(memory.buffer.byteLength).toBe(plan.total);
  });

  it("refuses what the core cannot address", () => {
    expect(() => planMemory(capacitiesOf({ connections: 100_000_000 }))).toThrow(RangeError);
  });
});

describe("records of the layout", () => {
  it("have header words that do not overlap the settings", () => {
    const offsets = Object.entries(Memory)
      .filter(([name]) => /_(BASE|CAPACITY)$/.test(name) && name !== "LAYOUT_BASE")
      .map(([, at]) => at as number);
    expect(new Set(offsets).size).toBe(offsets.length);
    expect(Math.max(...offsets.filter((at) => at < Memory.TRACE_BASE))).toBeLessThan(Memory.FREE_SLOT);
  });
});
