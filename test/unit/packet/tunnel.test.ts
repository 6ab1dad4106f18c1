import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import * as Forwarding from "../../../assembly/layout/forwarding.js";
import * as Reason from "../../../assembly/layout/reason.js";
import * as Slot from "../../../assembly/layout/slot.js";
import { checksum, pseudoHeader } from "../../conformance/frames.js";
import { PacketCore } from "../../support/packet-core.js";
import { address, concat, ip4, tcpPacket, udpPacket } from "../../support/packets.js";

const { TUNNEL_IPIP, TUNNEL_GUE, TUNNEL_GRE } = Forwarding;
const { TUNNEL_NO_CHECKSUM, TUNNEL_CHECKSUM, TUNNEL_REMOTE_CHECKSUM } = Forwarding;
const ENDS4 = { source: "192.168.4.11", destination: "192.168.4.100", sourcePort: 4000, destinationPort: 53 };
const ENDS6 = { ...ENDS4, source: "2001:db8:4::11", destination: "2001:db8:4::100" };
const LOCAL = { 4: address("192.168.2.130"), 6: address("2001:db8:2::130") };
const REMOTE = { 4: address("192.168.2.11"), 6: address("2001:db8:2::11") };
const GUE_PORT = 6080;

let core: PacketCore;

beforeAll(async () => {
  core = await PacketCore.create(24, 16);
});
beforeEach(() => core.reset());

const u16 = (packet: Uint8Array, at: number) => (packet[at]! << 8) | packet[at + 1]!;

function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7 + 1) & 255);
}

function same(a: Uint8Array, b: Uint8Array): void {
  expect(Buffer.from(a).toString("hex")).toBe(Buffer.from(b).toString("hex"));
}

interface Way {
  readonly type?: number;
  readonly flags?: number;
  readonly outer?: 4 | 6;
  readonly mayForbid?: boolean;
}

/** The packet behind its outer headers, and the slot. */
function through(packet: Uint8Array, way: Way = {}, slot = core.put(packet)) {
  const outer = way.outer ?? 4;
  const server = core.server(outer, REMOTE[outer], way.type ?? TUNNEL_IPIP, way.flags ?? 0, GUE_PORT);
  const overhead = core.core.tunnelOverheadOf(server, slot);
  const done = core.core.encapsulate(slot, server, core.place(LOCAL[outer]), (way.mayForbid ?? true) ? 1 : 0);
  expect(done).toBe(1);
  const made = core.packet(slot);
  expect(made.length).toBe(packet.length + overhead);
  return { made, slot, overhead };
}

const ways = fc.record({
  type: fc.constantFrom(TUNNEL_IPIP, TUNNEL_GUE, TUNNEL_GRE),
  flags: fc.constantFrom(TUNNEL_NO_CHECKSUM, TUNNEL_CHECKSUM, TUNNEL_REMOTE_CHECKSUM),
  outer: fc.constantFrom<4 | 6>(4, 6),
  mayForbid: fc.boolean(),
});

describe("encapsulate", () => {
  it("puts right headers before any packet, in any family", () => {
    fc.assert(
      fc.property(
        ways,
        fc.boolean(),
        fc.integer({ min: 0, max: 3000 }),
        fc.integer({ min: 0, max: 255 }),
        fc.boolean(),
        (way, six, length, tos, dontFragment) => {
          const packet = udpPacket(six ? ENDS6 : ENDS4, bytes(length), {
            tos,
            trafficClass: tos,
            ttl: 17,
            hops: 17,
            dontFragment,
          });
          const { made, slot, overhead } = through(packet, way);
          same(made.subarray(overhead), packet);
          const outerTos = (tos & 3) === 3 ? (tos & 0xfc) | 2 : tos;
          const header = way.outer === 4 ? 20 : 40;
          if (way.outer === 4) {
            expect(made[0]).toBe(0x45);
            expect(made[1]).toBe(outerTos);
            expect(u16(made, 2)).toBe(made.length);
            const forbids = way.mayForbid && dontFragment && !six;
            expect(u16(made, 6)).toBe(forbids ? 0x4000 : 0);
            if (forbids) expect(u16(made, 4)).toBe(0);
            expect(made[8]).toBe(17);
            expect(checksum(made.subarray(0, 20))).toBe(0);
            same(made.subarray(12, 20), concat(LOCAL[4], REMOTE[4]));
          } else {
            expect(u16(made, 0)).toBe(0x6000 | (outerTos << 4));
            expect(u16(made, 4)).toBe(made.length - 40);
            expect(made[7]).toBe(17);
            same(made.subarray(8, 40), concat(LOCAL[6], REMOTE[6]));
          }
          const protocol = made[way.outer === 4 ? 9 : 6];
          const carried = six ? 41 : 4;
          const shim = made.subarray(header, overhead);
          if (way.type === TUNNEL_IPIP) {
            expect(protocol).toBe(carried);
            expect(shim.length).toBe(0);
          } else if (way.type === TUNNEL_GRE) {
            expect(protocol).toBe(47);
            expect(u16(shim, 0)).toBe(way.flags === TUNNEL_CHECKSUM ? 0x8000 : 0);
            expect(u16(shim, 2)).toBe(six ? 0x86dd : 0x0800);
            if (way.flags === TUNNEL_CHECKSUM) expect(checksum(made.subarray(header))).toBe(0);
          } else {
            expect(protocol).toBe(17);
            const from = u16(shim, 0);
            expect(from >= 32768 && from < 60999).toBe(true);
            expect(u16(shim, 2)).toBe(GUE_PORT);
            expect(u16(shim, 4)).toBe(made.length - header);
            same(shim.subarray(8), Uint8Array.of(0, carried, 0, 0));
            if (way.flags === TUNNEL_NO_CHECKSUM) {
              expect(u16(shim, 6)).toBe(0);
            } else {
              const pseudo = pseudoHeader(LOCAL[way.outer], REMOTE[way.outer], 17, made.length - header);
              expect(checksum(pseudo, made.subarray(header))).toBe(0);
            }
          }
          expect(core.view.getUint8(slot + Slot.FAMILY)).toBe(way.outer);
          expect(core.view.getUint8(slot + Slot.PROTOCOL)).toBe(protocol);
          expect(core.word(slot, Slot.TRANSPORT)).toBe(core.word(slot, Slot.IP) + header);
          expect(core.vnet(slot)).toEqual(new Uint8Array(12));
          core.core.giveSlot(slot);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("writes the bytes that Linux writes", () => {
    const inner = tcpPacket(
      { source: "192.168.4.11", destination: "192.168.4.100", sourcePort: 11030, destinationPort: 80 },
      { ttl: 63, id: 0x2ad6, sequence: 367908026 },
    );
    const { made } = through(inner);
    const outer = "4500003c000040003f04f4a6c0a80282c0a8020b";
    const expected = Uint8Array.from(Buffer.from(outer, "hex"));
    const view = new DataView(expected.buffer);
    view.setUint16(10, 0);
    view.setUint16(10, checksum(expected));
    same(made, concat(expected, inner));
  });

  it("keeps a flow's source port, and spreads flows", () => {
    const port = (sourcePort: number, length: number) => {
      const { made, slot } = through(udpPacket({ ...ENDS4, sourcePort }, bytes(length)), { type: TUNNEL_GUE });
      core.core.giveSlot(slot);
      return u16(made, 20);
    };
    expect(port(1000, 10)).toBe(port(1000, 500));
    const spread = new Set(Array.from({ length: 50 }, (_, i) => port(1000 + i, 1)));
    expect(spread.size).toBeGreaterThan(45);
  });

  it("completes a checksum that was left to a device", () => {
    const right = tcpPacket(ENDS4, { data: bytes(100) });
    const partial = right.slice();
    const pseudo = pseudoHeader(address(ENDS4.source), address(ENDS4.destination), 6, right.length - 20);
    new DataView(partial.buffer).setUint16(36, ~checksum(pseudo) & 0xffff);
    const vnet = { flags: 1, checksumStart: 34, checksumOffset: 16 };
    const { made, overhead } = through(partial, {}, core.put(partial, vnet));
    same(made.subarray(overhead), right);
  });

  it("leaves it to the far end where the tunnel has an option for it", () => {
    const right = tcpPacket(ENDS4, { data: bytes(101) });
    const partial = right.slice();
    const pseudo = pseudoHeader(address(ENDS4.source), address(ENDS4.destination), 6, right.length - 20);
    new DataView(partial.buffer).setUint16(36, ~checksum(pseudo) & 0xffff);
    const slot = core.put(partial, { flags: 1, checksumStart: 34, checksumOffset: 16 });
    const { made, overhead } = through(partial, { type: TUNNEL_GUE, flags: TUNNEL_REMOTE_CHECKSUM }, slot);
    expect(overhead).toBe(20 + 8 + 4 + 8);
    same(made.subarray(28, 40), Uint8Array.of(2, 4, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 36));
    same(made.subarray(overhead), partial);
    expect(checksum(pseudoHeader(LOCAL[4], REMOTE[4], 17, made.length - 20), made.subarray(20))).toBe(0);
    // The far end's part: the sum from 20 on, stored at 36.
    const got = made.slice(overhead);
    new DataView(got.buffer).setUint16(36, checksum(got.subarray(20)));
    same(got, right);
  });

  it("carries a packet put together from fragments in no larger ones", () => {
    const body = bytes(2208);
    const came = [0, 1200].map((offset, i, all) =>
      ip4(ENDS4.source, ENDS4.destination, 17, body.subarray(offset, all[i + 1]), {
        offset,
        dontFragment: false,
        moreFragments: i === 0,
      }),
    );
    const { slot, packet } = core.reassemble(came)!;
    through(packet, { type: TUNNEL_GRE, flags: TUNNEL_CHECKSUM }, slot);
    expect(core.core.needsFragments(slot, 1500)).toBe(1);
    expect(core.chain(core.core.fragment4(slot, 1500)).map((fragment) => fragment.length)).toEqual([1220, 1056]);
  });

  it("refuses what would be longer than a packet may be", () => {
    const packet = udpPacket(ENDS4, bytes(65535 - 28));
    const slot = core.put(packet);
    const server = core.server(4, REMOTE[4]);
    expect(core.core.encapsulate(slot, server, core.place(LOCAL[4]), 1)).toBe(0);
    expect(core.reason(slot)).toBe(Reason.MTU_EXCEEDED);
    same(core.packet(slot), packet);
  });
});
