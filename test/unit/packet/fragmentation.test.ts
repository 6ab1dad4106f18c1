import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import * as Reason from "../../../assembly/layout/reason.js";
import * as Slot from "../../../assembly/layout/slot.js";
import { checksum } from "../../conformance/frames.js";
import { PacketCore } from "../../support/packet-core.js";
import { concat, ip4, ip6, udpPacket } from "../../support/packets.js";

const CLIENT = "192.168.4.11";
const SERVICE = "192.168.4.100";
const CLIENT6 = "2001:db8:4::11";
const SERVICE6 = "2001:db8:4::100";

let core: PacketCore;

beforeAll(async () => {
  core = await PacketCore.create(80, 16);
});
beforeEach(() => core.reset());

const u16 = (packet: Uint8Array, at: number) => (packet[at]! << 8) | packet[at + 1]!;

function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7 + 1) & 255);
}

function same(a: Uint8Array, b: Uint8Array): void {
  expect(Buffer.from(a).toString("hex")).toBe(Buffer.from(b).toString("hex"));
}

/** What a router without any shortcut does. */
function reference4(packet: Uint8Array, mtu: number): Uint8Array[] {
  const header = (packet[0]! & 15) * 4;
  const space = (mtu - header) & ~7;
  const body = packet.subarray(header);
  const out: Uint8Array[] = [];
  for (let offset = 0; offset < body.length; ) {
    const rest = body.length - offset;
    const length = rest <= mtu - header ? rest : space;
    const head = packet.slice(0, header);
    const part = concat(head, body.subarray(offset, offset + length));
    const view = new DataView(part.buffer);
    view.setUint16(2, part.length);
    view.setUint16(6, (offset >> 3) | (length < rest ? 0x2000 : 0));
    view.setUint16(10, 0);
    view.setUint16(10, checksum(part.subarray(0, header)));
    out.push(part);
    offset += length;
  }
  return out;
}

describe("fragment4", () => {
  it("cuts as a plain router does", () => {
    fc.assert(
      fc.property(fc.integer({ min: 30, max: 4000 }), fc.integer({ min: 100, max: 1500 }), (length, mtu) => {
        const packet = ip4(CLIENT, SERVICE, 17, bytes(length), { dontFragment: false, id: 77 });
        if (packet.length <= mtu) return;
        const expected = reference4(packet, mtu);
        const made = core.chain(core.core.fragment4(core.put(packet), mtu));
        expect(made.length).toBe(expected.length);
        made.forEach((fragment, i) => {
          same(fragment, expected[i]!);
        });
        expect(core.core.freeSlots()).toBe(core.slots);
      }),
      { numRuns: 150 },
    );
  });

  it("gives 1396 bytes for an MTU of 1400", () => {
    const packet = ip4(CLIENT, SERVICE, 17, bytes(1381), { dontFragment: false });
    const made = core.chain(core.core.fragment4(core.put(packet), 1400));
    expect(made.map((fragment) => fragment.length)).toEqual([1396, 25]);
  });

  it("repeats in later fragments only the options that say so", () => {
    const options = Uint8Array.of(0x07, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0);
    const packet = ip4(CLIENT, SERVICE, 17, bytes(200), { dontFragment: false, options });
    const [first, second] = core.chain(core.core.fragment4(core.put(packet), 132));
    same(first!.subarray(20, 32), options);
    same(second!.subarray(20, 32), Uint8Array.of(1, 1, 1, 1, 1, 1, 1, 0x94, 4, 0, 0, 0));
    expect(checksum(second!.subarray(0, 32))).toBe(0);
  });

  it("sends a packet on in the fragments it came in", () => {
    const body = bytes(2028);
    const came = [0, 400, 1200].map((offset, i, all) =>
      ip4(CLIENT, SERVICE, 17, body.subarray(offset, all[i + 1]), {
        offset,
        id: 9,
        dontFragment: false,
        moreFragments: i < 2,
      }),
    );
    const { slot } = core.reassemble([came[2]!, came[0]!, came[1]!])!;
    expect(core.core.needsFragments(slot, 1500)).toBe(1);
    const made = core.chain(core.core.fragment4(slot, 1500));
    expect(made.length).toBe(3);
    made.forEach((fragment, i) => {
      same(fragment, came[i]!);
    });
  });

  it.each([
    [1400, [1480, 1028]],
    [1500, [800, 800, 908]],
    [900, [600, 904, 600]],
  ])("cuts anew where they do not fit an MTU of %d", (mtu, came) => {
    const total = came.reduce((sum, length) => sum + length);
    const body = bytes(total);
    let offset = 0;
    const list = came.map((length, i) => {
      const part = body.subarray(offset, offset + length);
      offset += length;
      const options = { id: 9, dontFragment: false, moreFragments: i + 1 < came.length, offset: offset - length };
      return ip4(CLIENT, SERVICE, 17, part, options);
    });
    const largest = Math.max(...list.map((fragment) => fragment.length));
    const { slot, packet } = core.reassemble(list)!;
    const made = core.chain(core.core.fragment4(slot, mtu));
    const expected = largest <= mtu ? list : reference4(packet, Math.min(largest, mtu));
    expect(made.map((fragment) => fragment.length)).toEqual(expected.map((fragment) => fragment.length));
    made.forEach((fragment, i) => {
      same(fragment, expected[i]!);
    });
  });

  it("completes a checksum first", () => {
    const ends = { source: CLIENT, destination: SERVICE, sourcePort: 5, destinationPort: 53 };
    const right = udpPacket(ends, bytes(2000), { dontFragment: false });
    const partial = right.slice();
    const pseudo = checksum(concat(partial.subarray(12, 20), Uint8Array.of(0, 17), partial.subarray(24, 26)));
    new DataView(partial.buffer).setUint16(26, ~pseudo & 0xffff);
    const slot = core.put(partial, { flags: 1, checksumStart: 34, checksumOffset: 6 });
    const made = core.chain(core.core.fragment4(slot, 1500));
    expect(u16(made[0]!, 26)).toBe(u16(right, 26));
  });

  it("refuses without slots, and an MTU that holds nothing", () => {
    const packet = ip4(CLIENT, SERVICE, 17, bytes(3000), { dontFragment: false });
    const slot = core.put(packet);
    expect(core.core.fragment4(slot, 24)).toBe(0);
    expect(core.reason(slot)).toBe(Reason.MTU_EXCEEDED);
    while (core.core.freeSlots() > 0) core.core.takeSlot();
    expect(core.core.fragment4(slot, 1000)).toBe(0);
    expect(core.reason(slot)).toBe(Reason.SLOTS_EXHAUSTED);
    same(core.packet(slot), packet);
  });
});

describe("fragment6", () => {
  function parts(made: readonly Uint8Array[], header = 40) {
    return made.map((fragment) => ({
      payload: u16(fragment, 4),
      length: fragment.length,
      field: u16(fragment, header + 2),
      next: fragment[header],
      id: fragment.slice(header + 4, header + 8).join(),
      body: fragment.subarray(header + 8),
    }));
  }

  it("cuts as the sender would, one id for all", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1250, max: 9000 }), fc.integer({ min: 1280, max: 1500 }), (length, mtu) => {
        const packet = ip6(CLIENT6, SERVICE6, 17, bytes(length), { flow: 5, trafficClass: 3 });
        if (packet.length <= mtu) return;
        const made = core.chain(core.core.fragment6(core.put(packet), mtu));
        const list = parts(made);
        same(concat(...list.map((part) => part.body)), bytes(length));
        expect(new Set(list.map((part) => part.id)).size).toBe(1);
        let offset = 0;
        list.forEach((part, i) => {
          const more = i + 1 < list.length;
          expect(part.length).toBeLessThanOrEqual(mtu);
          expect(part.payload).toBe(part.length - 40);
          expect(part.field).toBe(offset | (more ? 1 : 0));
          if (more) expect(part.length).toBeGreaterThan(mtu - 8);
          expect(part.next).toBe(17);
          same(made[i]!.subarray(0, 4), packet.subarray(0, 4));
          expect(made[i]![6]).toBe(44);
          offset += part.body.length;
        });
      }),
      { numRuns: 100 },
    );
  });

  it("sends a packet on in the fragments it came in, even small ones", () => {
    const body = bytes(1500);
    const came = [0, 640, 1280].map((offset, i, all) => {
      const header = Uint8Array.of(17, 0, offset >> 8, (offset & 0xf8) | (i < 2 ? 1 : 0), 9, 9, 9, 9);
      return ip6(CLIENT6, SERVICE6, 44, concat(header, body.subarray(offset, all[i + 1])));
    });
    const { slot, packet } = core.reassemble([...came].reverse())!;
    same(packet, ip6(CLIENT6, SERVICE6, 17, body));
    expect(core.core.needsFragments(slot, 1500)).toBe(1);
    const made = core.chain(core.core.fragment6(slot, 1500));
    expect(parts(made).map((part) => part.field)).toEqual([1, 641, 1280]);
    same(concat(...parts(made).map((part) => part.body)), body);
  });

  it("repeats hop-by-hop and routing headers, not those behind", () => {
    const hop = Uint8Array.of(43, 0, 1, 4, 0, 0, 0, 0);
    const routing = Uint8Array.of(60, 0, 4, 0, 0, 0, 0, 0);
    const options = Uint8Array.of(17, 0, 1, 4, 0, 0, 0, 0);
    const packet = ip6(CLIENT6, SERVICE6, 0, concat(hop, routing, options, bytes(2000)));
    const made = core.chain(core.core.fragment6(core.put(packet), 1280));
    expect(made.length).toBe(2);
    for (const fragment of made) {
      expect(fragment[40]).toBe(43);
      expect(fragment[48]).toBe(44);
    }
    const list = parts(made, 56);
    expect(list[0]!.next).toBe(60);
    same(concat(...list.map((part) => part.body)), concat(options, bytes(2000)));
  });

  it("survives headers that lie about their length", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(0, 43, 60),
        fc.uint8Array({ minLength: 8, maxLength: 1600 }),
        fc.integer({ min: 1, max: 1500 }),
        (next, body, mtu) => {
          const slot = core.put(ip6(CLIENT6, SERVICE6, next, body));
          const head = core.core.fragment6(slot, mtu);
          if (head === 0) core.core.giveSlot(slot);
          else core.chain(head);
          expect(core.core.freeSlots()).toBe(core.slots);
          expect(core.word(slot, Slot.FRAME)).toBeGreaterThanOrEqual(slot + Slot.DESCRIPTOR_SIZE);
        },
      ),
      { numRuns: 150 },
    );
  });
});
