import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import * as Reason from "../../../assembly/layout/reason.js";
import * as Slot from "../../../assembly/layout/slot.js";
import { PacketCore } from "../../support/packet-core.js";
import { FLAG, tcpPacket, udpPacket } from "../../support/packets.js";

const ENDS = { source: "192.168.4.11", destination: "192.168.4.100", sourcePort: 4000, destinationPort: 80 };
const ENDS6 = { ...ENDS, source: "2001:db8:4::11", destination: "2001:db8:4::100" };
const CWR = 0x80;

let core: PacketCore;

beforeAll(async () => {
  core = await PacketCore.create(12, 16);
});
beforeEach(() => core.reset());

function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7 + 1) & 255);
}

function same(a: Uint8Array, b: Uint8Array): void {
  expect(Buffer.from(a).toString("hex")).toBe(Buffer.from(b).toString("hex"));
}

/** Leaves the checksum to the device: a super-frame always does. */
function spoil(packet: Uint8Array, at: number): Uint8Array {
  const spoilt = packet.slice();
  spoilt.set([0x12, 0x34], at);
  return spoilt;
}

const sizes = fc.tuple(fc.integer({ min: 1, max: 20000 }), fc.integer({ min: 300, max: 1448 }), fc.boolean());

describe("segment", () => {
  it("cuts TCP as the sender would have", () => {
    fc.assert(
      fc.property(sizes, fc.integer({ min: 0, max: 255 }), ([length, size, isV6], flags) => {
        const ends = isV6 ? ENDS6 : ENDS;
        const options = Uint8Array.of(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8);
        const data = bytes(length);
        const sequence = 0xfffffff0;
        const whole = tcpPacket(ends, { data, flags, sequence, options, id: 0xfffe });
        const at = (isV6 ? 40 : 20) + 16;
        const slot = core.put(spoil(whole, at), {
          flags: 1,
          gsoType: isV6 ? 4 : 1,
          gsoSize: size,
          checksumStart: at - 2,
          checksumOffset: 16,
        });
        const made = core.chain(core.core.segment(slot));
        const count = Math.ceil(length / size);
        expect(made.length).toBe(count);
        made.forEach((segment, i) => {
          const last = i + 1 === count;
          const expected = tcpPacket(ends, {
            data: data.subarray(i * size, (i + 1) * size),
            flags: flags & (last ? 255 : ~(FLAG.fin | FLAG.psh)) & (i === 0 ? 255 : ~CWR),
            sequence: (sequence + i * size) % 2 ** 32,
            options,
            id: (0xfffe + i) & 0xffff,
          });
          same(segment, expected);
        });
        expect(core.core.freeSlots()).toBe(core.slots);
      }),
      { numRuns: 60 },
    );
  });

  it("cuts UDP into datagrams", () => {
    fc.assert(
      fc.property(sizes, ([length, size, isV6]) => {
        const ends = isV6 ? ENDS6 : ENDS;
        const data = bytes(length);
        const at = (isV6 ? 40 : 20) + 6;
        const slot = core.put(spoil(udpPacket(ends, data, { id: 5 }), at), {
          flags: 1,
          gsoType: 5,
          gsoSize: size,
          checksumStart: at + 8,
          checksumOffset: 6,
        });
        const made = core.chain(core.core.segment(slot));
        expect(made.length).toBe(Math.ceil(length / size));
        made.forEach((segment, i) => {
          same(segment, udpPacket(ends, data.subarray(i * size, (i + 1) * size), { id: 5 + i }));
        });
      }),
      { numRuns: 40 },
    );
  });

  it("copies no payload, and keeps the super-frame until its last segment is gone", () => {
    const packet = tcpPacket(ENDS, { data: bytes(9000), flags: FLAG.ack });
    const slot = core.put(packet, { flags: 1, gsoType: 1, gsoSize: 1000, checksumStart: 34, checksumOffset: 16 });
    const segments: number[] = [];
    for (let at = core.core.segment(slot); at !== 0; at = core.word(at, Slot.NEXT)) segments.push(at);
    expect(segments).toHaveLength(9);
    for (const [n, segment] of segments.entries()) {
      expect(core.word(segment, Slot.BODY_LENGTH)).toBe(n === 0 ? 0 : 1000);
      if (n > 0) expect(core.word(segment, Slot.BODY)).toBe(core.word(slot, Slot.TRANSPORT) + 20 + n * 1000);
    }
    const before = core.core.freeSlots();
    const last = core.packet(segments[8]!);
    // In any order: the first one, which is the super-frame's slot, too.
    for (const n of [3, 0, 1, 7, 5, 2, 6, 4]) core.core.giveSlot(segments[n]!);
    expect(core.core.freeSlots()).toBe(before);
    same(core.packet(segments[8]!), last);
    core.core.giveSlot(segments[8]!);
    expect(core.core.freeSlots()).toBe(core.slots);
  });

  it("puts a segment together for whoever needs it whole", () => {
    const packet = tcpPacket(ENDS, { data: bytes(3000), flags: FLAG.ack });
    const slot = core.put(packet, { flags: 1, gsoType: 1, gsoSize: 1000, checksumStart: 34, checksumOffset: 16 });
    const second = core.word(core.core.segment(slot), Slot.NEXT);
    const third = core.word(second, Slot.NEXT);
    const expected = core.packet(second);
    core.core.gather(second);
    expect(core.word(second, Slot.BODY_LENGTH)).toBe(0);
    same(core.packet(second), expected);
    core.core.gather(second);
    same(core.packet(second), expected);
    for (const segment of [slot, third, second]) core.core.giveSlot(segment);
    expect(core.core.freeSlots()).toBe(core.slots);
  });

  it("asks nothing more of the device", () => {
    const slot = core.put(tcpPacket(ENDS, { data: bytes(3000) }), { flags: 1, gsoType: 0x81, gsoSize: 1000 });
    expect(core.core.segment(slot)).toBe(slot);
    expect(core.vnet(slot)).toEqual(new Uint8Array(12));
  });

  it("gives a plain frame back with its checksum complete", () => {
    const right = tcpPacket(ENDS, { data: bytes(100) });
    const slot = core.put(right);
    expect(core.core.segment(slot)).toBe(slot);
    same(core.packet(slot), right);
  });

  it("refuses sizes that cannot be, and more segments than slots", () => {
    const packet = tcpPacket(ENDS, { data: bytes(3000) });
    const none = core.put(packet, { flags: 1, gsoType: 1, gsoSize: 0 });
    expect(core.core.segment(none)).toBe(0);
    expect(core.reason(none)).toBe(Reason.VNET_HEADER_BAD);
    const tiny = core.put(packet, { flags: 1, gsoType: 1, gsoSize: 1 });
    expect(core.core.segment(tiny)).toBe(0);
    expect(core.reason(tiny)).toBe(Reason.SLOTS_EXHAUSTED);
    same(core.packet(tiny), packet);
  });
});
