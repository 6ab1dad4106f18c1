import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import * as Slot from "../../../assembly/layout/slot.js";
import { PacketCore } from "../../support/packet-core.js";
import { tcpPacket } from "../../support/packets.js";

const COUNT = 8;
let core: PacketCore;

beforeAll(async () => {
  core = await PacketCore.create(COUNT, 16);
});
beforeEach(() => core.reset());

describe("slots", () => {
  it("are each owned once, until they are given back", () => {
    const taken = Array.from({ length: COUNT }, () => core.core.takeSlot());
    expect(new Set(taken).size).toBe(COUNT);
    expect(core.core.takeSlot()).toBe(0);
    expect(core.core.freeSlots()).toBe(0);
    core.core.giveSlot(taken[3]!);
    expect(core.core.takeSlot()).toBe(taken[3]);
  });

  it("come without what they held", () => {
    const slot = core.core.takeSlot();
    core.bytes.fill(0xff, slot, slot + Slot.DESCRIPTOR_SIZE);
    core.view.setUint32(slot + Slot.HOME, 0, true);
    core.view.setUint32(slot + Slot.BODY_HOME, 0, true);
    core.core.giveSlot(slot);
    expect(core.core.takeSlot()).toBe(slot);
    expect(core.word(slot, Slot.FRAME)).toBe(slot + Slot.FRAME_AT);
    core.view.setUint32(slot + Slot.FRAME, 0, true);
    expect(core.bytes.subarray(slot, slot + Slot.DESCRIPTOR_SIZE).every((byte) => byte === 0)).toBe(true);
  });

  it("are shared by small frames, which end in any order", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2048, max: 40000 }).map((size) => size & ~63),
        fc.integer({ min: 1, max: 120 }),
        fc.infiniteStream(fc.nat()),
        (size, count, random) => {
          const held: number[] = [];
          let last = 0;
          for (let i = 0; i < count; i++) {
            last = core.core.takePiece(last, size);
            if (last === 0) break;
            expect(core.word(last, Slot.FRAME)).toBe(last + Slot.FRAME_AT);
            held.push(last);
          }
          const sorted = [...held].sort((a, b) => a - b);
          sorted.forEach((piece, i) => {
            if (i > 0) expect(piece - sorted[i - 1]!).toBeGreaterThanOrEqual(size);
          });
          const each = Math.floor(Slot.SIZE / size);
          expect(COUNT - core.core.freeSlots()).toBe(Math.ceil(held.length / each));
          while (held.length > 0) {
            const [piece] = held.splice(random.next().value % held.length, 1);
            core.core.giveSlot(piece!);
          }
          expect(core.core.freeSlots()).toBe(COUNT);
        },
      ),
      { numRuns: 100 },
    );
  });

  it("hold a super-frame's segments in two", () => {
    const data = new Uint8Array(64000);
    const ends = { source: "192.168.4.11", destination: "192.168.4.100", sourcePort: 1, destinationPort: 2 };
    const slot = core.put(tcpPacket(ends, { data }), { flags: 1, gsoType: 1, gsoSize: 1448 });
    const free = core.core.freeSlots();
    const head = core.core.segment(slot);
    expect(free - core.core.freeSlots()).toBe(2);
    expect(core.chain(head).length).toBe(45);
    expect(core.core.freeSlots()).toBe(COUNT);
  });
});
