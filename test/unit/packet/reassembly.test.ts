import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import * as Reason from "../../../assembly/layout/reason.js";
import * as Slot from "../../../assembly/layout/slot.js";
import { checksum } from "../../conformance/frames.js";
import { ABSORBED, DROPPED, FRAGMENT_TIMEOUTS, PacketCore } from "../../support/packet-core.js";
import { concat, ip4, ip6 } from "../../support/packets.js";

const CLIENT = "192.168.4.11";
const SERVICE = "192.168.4.100";
const CLIENT6 = "2001:db8:4::11";
const SERVICE6 = "2001:db8:4::100";

let core: PacketCore;

beforeAll(async () => {
  core = await PacketCore.create(80, 64);
});
beforeEach(() => core.reset());

function bytes(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 255);
}

interface Cut {
  readonly id?: number;
  readonly tos?: readonly number[];
  readonly dontFragment?: readonly boolean[];
  readonly source?: string;
}

/** Fragments of `body`, which begin at `starts` (multiples of 8, the first 0). */
function cut4(body: Uint8Array, starts: readonly number[], cut: Cut = {}): Uint8Array[] {
  return starts.map((offset, i) => {
    const end = starts[i + 1] ?? body.length;
    return ip4(cut.source ?? CLIENT, SERVICE, 17, body.subarray(offset, end), {
      id: cut.id ?? 0x4242,
      offset,
      moreFragments: end < body.length,
      dontFragment: cut.dontFragment?.[i] ?? false,
      tos: cut.tos?.[i] ?? 0,
    });
  });
}

function cut6(body: Uint8Array, starts: readonly number[], unfragmentable = new Uint8Array()): Uint8Array[] {
  return starts.map((offset, i) => {
    const end = starts[i + 1] ?? body.length;
    const more = end < body.length ? 1 : 0;
    const header = Uint8Array.of(17, 0, offset >> 8, (offset & 0xf8) | more, 1, 2, 3, 4);
    const first = unfragmentable.length > 0 ? 0 : 44;
    return ip6(CLIENT6, SERVICE6, first, concat(unfragmentable, header, body.subarray(offset, end)));
  });
}

const starts = (length: number) =>
  fc
    .uniqueArray(fc.integer({ min: 1, max: Math.max(1, (length - 1) >> 3) }), { maxLength: 12 })
    .map((list) => [0, ...list.map((n) => n * 8).filter((n) => n < length)].sort((a, b) => a - b));

describe("reassembly", () => {
  it("makes the packet whole, whatever the cuts, the order and the repetitions", () => {
    fc.assert(
      fc.property(
        fc
          .oneof(fc.integer({ min: 9, max: 3000 }), fc.integer({ min: 3001, max: 65515 }))
          .chain((length) => fc.tuple(fc.constant(length), starts(length)))
          .chain(([length, cuts]) =>
            fc.tuple(
              fc.constant(length),
              fc.constant(cuts),
              fc.shuffledSubarray([...cuts.keys()], { minLength: cuts.length }),
              fc.integer({ min: 0, max: cuts.length - 1 }),
              fc.boolean(),
            ),
          ),
        ([length, cuts, order, twice, isV6]) => {
          if (cuts.length === 1) return;
          const body = bytes(length);
          const all = isV6 ? cut6(body, cuts) : cut4(body, cuts);
          // No device hands over a longer one.
          fc.pre(all.every((fragment) => fragment.length <= 65535));
          const sent = order.flatMap((i, at) => (at === 0 && twice === i ? [all[i]!, all[i]!] : [all[i]!]));
          const whole = core.reassemble(sent);
          const expected = isV6
            ? ip6(CLIENT6, SERVICE6, 17, body)
            : ip4(CLIENT, SERVICE, 17, body, { id: 0x4242, dontFragment: false });
          expect(Buffer.compare(whole!.packet, expected)).toBe(0);
          expect(whole!.largest).toBe(Math.max(...all.map((fragment) => fragment.length)));
          expect(core.pending()).toBe(0);
          core.core.giveSlot(whole!.slot);
          expect(core.core.freeSlots()).toBe(core.slots);
        },
      ),
      { numRuns: 100 },
    );
  });

  it("takes the header of the first fragment, options and all", () => {
    const options = Uint8Array.of(0x94, 4, 0, 0);
    const first = ip4(CLIENT, SERVICE, 17, bytes(16), {
      id: 7,
      moreFragments: true,
      dontFragment: false,
      options,
      ttl: 9,
    });
    const last = ip4(CLIENT, SERVICE, 17, bytes(5), { id: 7, offset: 16, dontFragment: false, ttl: 80 });
    const whole = core.reassemble([last, first])!;
    expect(whole.packet).toEqual(
      ip4(CLIENT, SERVICE, 17, concat(bytes(16), bytes(5)), { id: 7, dontFragment: false, options, ttl: 9 }),
    );
    expect(core.word(whole.slot, Slot.TRANSPORT)).toBe(core.word(whole.slot, Slot.IP) + 24);
    expect(core.view.getUint8(whole.slot + Slot.PROTOCOL)).toBe(17);
    expect(core.view.getUint8(whole.slot + Slot.FLAGS) & (Slot.FRAGMENT | Slot.LATER_FRAGMENT)).toBe(0);
    expect(core.vnet(whole.slot)).toEqual(new Uint8Array(12));
  });

  it("keeps the headers before the IPv6 fragment header", () => {
    const hop = Uint8Array.of(44, 0, 1, 4, 0, 0, 0, 0);
    const whole = core.reassemble(cut6(bytes(100), [0, 48], hop).reverse())!;
    const expected = ip6(CLIENT6, SERVICE6, 0, concat(Uint8Array.of(17, 0, 1, 4, 0, 0, 0, 0), bytes(100)));
    expect(whole.packet).toEqual(expected);
    const ip = core.word(whole.slot, Slot.IP);
    expect(core.word(whole.slot, Slot.NEXT_HEADER)).toBe(ip + 40);
    expect(core.word(whole.slot, Slot.TRANSPORT)).toBe(ip + 48);
    expect(core.word(whole.slot, Slot.FRAGMENT_HEADER)).toBe(0);
  });

  it("gives up all of an overlap, but nothing for a repetition", () => {
    const body = bytes(64);
    const [a, , c] = cut4(body, [0, 24, 48]);
    const overlap = cut4(body, [0, 16, 48])[1]!;
    for (const order of [
      [a!, overlap],
      [c!, a!, overlap],
    ]) {
      core.reset();
      const slots = order.map((fragment) => {
        const slot = core.put(fragment);
        return { slot, result: core.core.reassemble(slot) };
      });
      const { slot, result } = slots.at(-1)!;
      expect(result).toBe(DROPPED);
      expect(core.reason(slot)).toBe(Reason.FRAGMENT_BAD);
      expect(core.pending()).toBe(0);
      expect(core.core.freeSlots()).toBe(core.slots - 1);
    }
    core.reset();
    const again = core.put(a!);
    expect(core.core.reassemble(core.put(a!))).toBe(ABSORBED);
    expect(core.core.reassemble(again)).toBe(DROPPED);
    expect(core.pending()).toBe(1);
  });

  it("refuses contradictory ends", () => {
    const body = bytes(64);
    const last = cut4(body, [0, 32])[1]!;
    const shorter = ip4(CLIENT, SERVICE, 17, bytes(8), { id: 0x4242, offset: 16, dontFragment: false });
    expect(core.reassemble([last, shorter])).toBeUndefined();
    expect(core.pending()).toBe(0);
    const beyond = ip4(CLIENT, SERVICE, 17, bytes(8), {
      id: 0x4242,
      offset: 128,
      dontFragment: false,
      moreFragments: true,
    });
    expect(core.reassemble([last, beyond])).toBeUndefined();
    expect(core.pending()).toBe(0);
    const empty = ip4(CLIENT, SERVICE, 17, bytes(0), {
      id: 0x4242,
      offset: 128,
      dontFragment: false,
      moreFragments: true,
    });
    expect(core.reassemble([empty])).toBeUndefined();
    expect(core.core.freeSlots()).toBe(core.slots);
  });

  it("refuses what would be longer than a packet may be", () => {
    const far = ip4(CLIENT, SERVICE, 17, bytes(100), { id: 1, offset: 65528, dontFragment: false });
    const slot = core.put(far);
    expect(core.core.reassemble(slot)).toBe(DROPPED);
    expect(core.core.freeSlots()).toBe(core.slots - 1);
  });

  it("cuts a fragment that is no multiple of 8 down, and refuses it in IPv6", () => {
    const odd = ip4(CLIENT, SERVICE, 17, bytes(20), { id: 9, dontFragment: false, moreFragments: true });
    const last = ip4(CLIENT, SERVICE, 17, bytes(3), { id: 9, dontFragment: false, offset: 16 });
    expect(core.reassemble([odd, last])!.packet.subarray(20)).toEqual(concat(bytes(16), bytes(3)));
    const odd6 = cut6(bytes(64), [0, 32])[0]!;
    const short = odd6.slice(0, -1);
    short[5] = short[5]! - 1;
    expect(core.core.reassemble(core.put(short))).toBe(DROPPED);
  });

  it.each([
    ["congestion met", [2, 3], 3],
    ["not capable", [0, 0], 0],
    ["capable both ways", [1, 2], 1],
  ])("merges ECN: %s", (_, tos, expected) => {
    expect(core.reassemble(cut4(bytes(32), [0, 16], { tos }))!.packet[1]).toBe(expected);
  });

  it("drops contradictory ECN", () => {
    expect(core.reassemble(cut4(bytes(32), [0, 16], { tos: [0, 3] }))).toBeUndefined();
    expect(core.core.freeSlots()).toBe(core.slots);
  });

  it.each([
    [[true, false], 0x4000],
    [[false, true], 0],
    [[true, true], 0x4000],
  ])("keeps DF if the largest fragment had it: %s", (dontFragment, expected) => {
    const { packet } = core.reassemble(cut4(bytes(56), [0, 32], { dontFragment }))!;
    expect((packet[6]! << 8) | packet[7]!).toBe(expected);
    expect(checksum(packet.subarray(0, 20))).toBe(0);
  });

  it("hands out the first fragment of what ran out of time, as it came", () => {
    const body = bytes(64);
    const [a, b] = cut4(body, [0, 32], { id: 1 });
    core.setNow(1000);
    expect(core.reassemble([a!])).toBeUndefined();
    expect(core.reassemble([cut4(body, [0, 32], { id: 2 })[1]!])).toBeUndefined();
    const [a6] = cut6(body, [0, 32]);
    expect(core.reassemble([a6!])).toBeUndefined();
    expect(core.core.nextExpiredFragment(1000 + FRAGMENT_TIMEOUTS[4] - 1)).toBe(0);
    const slot = core.core.nextExpiredFragment(1000 + FRAGMENT_TIMEOUTS[4]);
    expect(core.packet(slot)).toEqual(a);
    core.core.giveSlot(slot);
    expect(core.core.nextExpiredFragment(1000 + FRAGMENT_TIMEOUTS[4])).toBe(0);
    expect(core.pending()).toBe(1);
    const slot6 = core.core.nextExpiredFragment(1000 + FRAGMENT_TIMEOUTS[6]);
    expect(core.packet(slot6)).toEqual(a6);
    core.core.giveSlot(slot6);
    expect(core.core.nextExpiredFragment(1000 + FRAGMENT_TIMEOUTS[6])).toBe(0);
    expect(core.core.freeSlots()).toBe(core.slots);
    expect(core.reassemble([b!])).toBeUndefined();
  });

  it("ends the oldest when it is full, and no source has it all", async () => {
    const small = await PacketCore.create(160, 128);
    for (let id = 0; id < 100; id++) {
      small.setNow(id);
      expect(small.reassemble([cut4(bytes(32), [0, 16], { id })[0]!])).toBeUndefined();
    }
    expect(small.pending()).toBe(64);
    for (let id = 0; id < 100; id++) {
      small.setNow(100 + id);
      expect(small.reassemble([cut4(bytes(32), [0, 16], { id, source: `10.0.0.${id}` })[0]!])).toBeUndefined();
    }
    expect(small.pending()).toBe(128);
    // The newest of the first source is still there only if others were older: the 36 oldest of it went.
    expect(small.reassemble([cut4(bytes(32), [0, 16], { id: 99 })[1]!])).toBeDefined();
    expect(small.reassemble([cut4(bytes(32), [0, 16], { id: 36 })[1]!])).toBeUndefined();
  });

  it("drops a fragment that asks for offloads", () => {
    const slot = core.put(cut4(bytes(32), [0, 16])[0]!, { flags: 1, checksumStart: 34, checksumOffset: 6 });
    expect(core.core.reassemble(slot)).toBe(DROPPED);
    expect(core.reason(slot)).toBe(Reason.VNET_HEADER_BAD);
  });

  it("does with any fragments what a naive model does", () => {
    interface Model {
      readonly pieces: Map<number, number>;
      length: number;
      last: boolean;
    }
    const fragment = fc.record({
      id: fc.integer({ min: 1, max: 2 }),
      offset: fc.integer({ min: 0, max: 6 }).map((n) => n * 8),
      length: fc.integer({ min: 0, max: 30 }),
      more: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(fragment, { maxLength: 20 }), (list) => {
        core.reset();
        const models = new Map<number, Model>();
        for (const { id, offset, length, more } of list) {
          const model = models.get(id) ?? { pieces: new Map<number, number>(), length: 0, last: false };
          let end = offset + length;
          let expected: "absorbed" | "dropped" | "whole" = "absorbed";
          let lost = false;
          if (more) end = offset + (length & ~7);
          if (length === 0) expected = "dropped";
          else if (more ? end > model.length && model.last : end < model.length || (model.last && end !== model.length))
            [expected, lost] = ["dropped", true];
          else if (end === offset) [expected, lost] = ["dropped", true];
          else {
            const units = Array.from({ length: Math.ceil((end - offset) / 8) }, (_, i) => offset / 8 + i);
            const present = units.filter((unit) => model.pieces.has(unit)).length;
            if (present === units.length) expected = "dropped";
            else if (present > 0) [expected, lost] = ["dropped", true];
            else {
              for (const unit of units) model.pieces.set(unit, Math.min(8, end - unit * 8));
              model.length = Math.max(model.length, end);
              model.last ||= !more;
              models.set(id, model);
              const here = [...model.pieces.values()].reduce((sum, bytes) => sum + bytes, 0);
              if (model.last && model.pieces.has(0) && here === model.length) [expected, lost] = ["whole", true];
            }
          }
          const size = model.length;
          if (lost) models.delete(id);
          const slot = core.put(
            ip4(CLIENT, SERVICE, 17, bytes(length, offset), { id, offset, moreFragments: more, dontFragment: false }),
          );
          if (!more && offset === 0) {
            // No fragment at all, but taken like one: nothing goes wrong.
            core.view.setUint8(slot + Slot.FLAGS, Slot.FRAGMENT);
          }
          const result = core.core.reassemble(slot);
          const got = result === ABSORBED ? "absorbed" : result === DROPPED ? "dropped" : "whole";
          expect(got).toBe(expected);
          if (got === "dropped") core.core.giveSlot(slot);
          if (got === "whole") {
            expect(core.packet(result).length).toBe(20 + size);
            core.core.giveSlot(result);
          }
          expect(core.pending()).toBe(models.size);
          expect(core.core.freeSlots()).toBe(core.slots - models.size);
        }
      }),
      { numRuns: 400 },
    );
  });
});
