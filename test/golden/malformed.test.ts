/** Frames that nobody should send: one reason each, no answer. */
import { describe, expect, it } from "vitest";
import { createDirector, NET, server, service } from "../support/director.js";
import {
  arp,
  concat,
  ethernet,
  icmp,
  icmp6,
  ip4,
  ip6,
  PROTOCOL,
  tcpPacket,
  udp,
  udpPacket,
} from "../support/packets.js";

const ENDS = { source: NET.client.ip, destination: NET.vip, sourcePort: 4000, destinationPort: 80 };
const DATAGRAM = { ...ENDS, destinationPort: 53 };
const ENDS6 = { source: "2001:db8:4::20", destination: "2001:db8:4::133", sourcePort: 4000, destinationPort: 80 };
const from = (packet: Uint8Array, type?: number) => ethernet(NET.ext.mac, NET.client.mac, packet, type);

/** With bytes changed, the IPv4 header's checksum left as it was. */
function with8(packet: Uint8Array, at: number, value: number): Uint8Array {
  const copy = packet.slice();
  copy[at] = value;
  return copy;
}

/** The same with that checksum right again. */
function sealed(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  const length = (copy[0]! & 15) * 4;
  copy.fill(0, 10, 12);
  let sum = 0;
  for (let at = 0; at < length; at += 2) sum += (copy[at]! << 8) | (copy[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  copy.set([(~sum >> 8) & 255, ~sum & 255], 10);
  return copy;
}

const syn = tcpPacket(ENDS);
const asking = arp(1, NET.client, { mac: "00:00:00:00:00:00", ip: NET.vip });
const vnet = (...bytes: number[]) => Uint8Array.from({ length: 12 }, (_, n) => bytes[n] ?? 0);

const FRAMES: ReadonlyArray<readonly [what: string, reason: string, frame: Uint8Array, vnet?: Uint8Array]> = [
  ["nothing at all", "frame-truncated", new Uint8Array()],
  ["half an Ethernet header", "frame-truncated", from(syn).subarray(0, 9)],
  ["an Ethernet header alone", "frame-truncated", from(syn).subarray(0, 14)],
  ["half an IP header", "frame-truncated", from(syn).subarray(0, 25)],
  ["a packet longer than its frame", "frame-truncated", from(syn).subarray(0, 14 + 30)],
  ["a tag with nothing behind it", "frame-truncated", from(Uint8Array.of(0, 7), 0x8100)],
  ["an IPv6 packet longer than its frame", "frame-truncated", from(tcpPacket(ENDS6)).subarray(0, 60)],
  ["a frame for another MAC", "not-for-us", ethernet("02:00:00:00:99:99", NET.client.mac, syn)],
  ["a type that nobody knows", "unknown-ethertype", from(new Uint8Array(46), 0x88cc)],
  ["a version that is none", "ip-malformed", from(sealed(with8(syn, 0, 0x55)), 0x0800)],
  ["an IP header of 16 bytes", "ip-malformed", from(sealed(with8(syn, 0, 0x44)))],
  ["an IP length below its header", "ip-malformed", from(sealed(with8(with8(syn, 2, 0), 3, 19)))],
  ["a wrong IP checksum", "ip-checksum", from(with8(syn, 10, syn[10]! ^ 1))],
  ["a source of all ones", "source-invalid", from(tcpPacket({ ...ENDS, source: "255.255.255.255" }))],
  ["a multicast source", "source-invalid", from(tcpPacket({ ...ENDS, source: "224.0.0.1" }))],
  ["a loopback source", "source-invalid", from(tcpPacket({ ...ENDS, source: "127.0.0.1" }))],
  ["the director's own address as source", "source-invalid", from(tcpPacket({ ...ENDS, source: NET.ext.ip }))],
  ["a loopback destination", "destination-invalid", from(tcpPacket({ ...ENDS, destination: "127.0.0.1" }))],
  ["a TCP header cut short", "transport-truncated", from(ip4(ENDS.source, NET.vip, 6, new Uint8Array(7)))],
  ["a UDP header cut short", "transport-truncated", from(ip4(ENDS.source, NET.vip, 17, new Uint8Array(5)))],
  ["an ICMP header cut short", "icmp-malformed", from(ip4(ENDS.source, NET.vip, 1, new Uint8Array(3)))],
  [
    "an echo with a wrong checksum",
    "transport-checksum",
    from(ip4(ENDS.source, NET.vip, 1, with8(icmp(8, 0), 3, 0x11))),
  ],
  ["ARP cut short", "arp-malformed", from(asking.subarray(0, 20), 0x0806)],
  ["ARP of another hardware", "arp-malformed", from(with8(asking, 1, 6), 0x0806)],
  ["ARP that neither asks nor answers", "arp-malformed", from(with8(asking, 7, 9), 0x0806)],
  [
    "a fragment that ends beyond 65535",
    "fragment-bad",
    from(
      ip4(ENDS.source, NET.vip, 17, new Uint8Array(16), { dontFragment: false, moreFragments: true, offset: 65528 }),
    ),
  ],
  ["a checksum asked for outside the frame", "vnet-header-bad", from(syn), vnet(1, 0, 0, 0, 0, 0, 0xff, 0xff, 16)],
  ["segments of no length", "vnet-header-bad", from(syn), vnet(1, 1, 54, 0, 0, 0, 34, 0, 16)],
  ["segments of no kind", "vnet-header-bad", from(syn), vnet(1, 9, 54, 0, 100, 0, 34, 0, 16)],
  ["a checksum asked for in another header", "vnet-header-bad", from(syn), vnet(1, 0, 0, 0, 0, 0, 30, 0, 16)],
  ["IPv6 from a multicast address", "source-invalid", from(tcpPacket({ ...ENDS6, source: "ff02::1" }))],
  [
    "IPv6 with an endless extension header",
    "extension-header",
    from(ip6(ENDS6.source, ENDS6.destination, 0, Uint8Array.of(6, 200, 0, 0, 0, 0, 0, 0))),
  ],
  [
    "a neighbour question from afar",
    "ndp-malformed",
    from(
      ip6(
        ENDS6.source,
        ENDS6.destination,
        PROTOCOL.icmp6,
        icmp6(ENDS6.source, ENDS6.destination, 135, 0, new Uint8Array(4), new Uint8Array(16)),
        { hops: 64 },
      ),
    ),
  ],
];

async function director() {
  const made = createDirector({
    interfaces: [
      { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`, "2001:db8:4::133/64"] },
      { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`] },
    ],
  });
  for (const one of [service(80), service(53, "rr", "udp")]) {
    await made.ipvs.addService(one);
    await made.ipvs.addServer(one.id, server(NET.servers[0].ip, 80));
  }
  made.collect();
  return made;
}

describe("malformed frames", () => {
  it.each(FRAMES.map(([what, reason, frame, header]) => ({ what, reason, frame, header })))(
    "$what: $reason",
    async ({ reason, frame, header }) => {
      const made = await director();
      const before = made.ipvs.tables.counters();
      made.inject("ext", frame, header);
      expect(made.collect().map(({ frame: out }) => Buffer.from(out).toString("hex"))).toEqual([]);
      const after = made.ipvs.tables.counters();
      const counted = Object.entries(after.reasons).filter(([name, count]) => count !== before.reasons[name]);
      expect(counted.map(([name]) => name)).toEqual([reason]);
      expect(after.verdicts.drop! - before.verdicts.drop!).toBe(1);
    },
  );

  it("cut anywhere are never answered, nor half forwarded", async () => {
    const made = await director();
    const whole = [
      from(syn),
      from(udpPacket(DATAGRAM, new Uint8Array(20))),
      from(ip4(ENDS.source, NET.vip, 1, icmp(8, 0, new Uint8Array(4), new Uint8Array(20)))),
      from(asking, 0x0806),
      from(concat(Uint8Array.of(0, 7, 8, 0), syn), 0x8100),
      from(ip6(ENDS6.source, ENDS6.destination, 17, udp(ENDS6, new Uint8Array(20)))),
    ];
    for (const frame of whole) {
      for (let length = 0; length < frame.length; length++) {
        made.inject("ext", frame.subarray(0, length));
        expect(made.collect(), `${length} of ${frame.length} bytes`).toEqual([]);
      }
    }
    const { framesIn, verdicts } = made.ipvs.tables.counters();
    expect(verdicts.drop).toBe(framesIn);
  });

  it("longer than a slot are dropped", async () => {
    const made = await director();
    made.inject("ext", concat(from(syn), new Uint8Array(66_000)));
    made.collect();
    expect([...made.ipvs.tables.connections()].length).toBeLessThan(2);
    const { framesIn, verdicts } = made.ipvs.tables.counters();
    expect(Object.values(verdicts).reduce((sum, count) => sum + count, 0)).toBe(framesIn);
  });
});
