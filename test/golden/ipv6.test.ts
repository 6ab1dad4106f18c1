/** IPv6 on the link: addresses of the link, neighbour discovery that must not be believed. */
import { describe, expect, it } from "vitest";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import { describe as decode } from "../conformance/frames.js";
import { createDirector, NET } from "../support/director.js";
import { address, concat, ethernet, icmp6, ip6, PROTOCOL, udpPacket } from "../support/packets.js";

const EXT = "2001:db8:4::133";
/** Of NET.ext.mac. */
const EXT_LINK = "fe80::ff:fe00:485";
const CLIENT = "fe80::14";
const FAR = "2001:db8:9::9";

function director(): MemoryEngine {
  return createDirector({
    interfaces: [
      { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`, `${EXT}/64`] },
      { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`, "2001:db8:2::130/64"] },
    ],
    routes: [{ to: "::/0", gateway: "2001:db8:2::1", dev: "int" }],
    neighbours: [
      { ip: CLIENT, mac: NET.client.mac, dev: "ext" },
      { ip: "2001:db8:4::20", mac: NET.client.mac, dev: "ext" },
      { ip: "2001:db8:2::1", mac: NET.servers[0].mac, dev: "int" },
    ],
  });
}

function answers(engine: MemoryEngine, packet: Uint8Array): string[] {
  engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, packet));
  return engine.collect().map(({ dev, frame }) => `${dev} ${decode(frame)}`);
}

const echo = (source: string, destination: string) =>
  ip6(source, destination, PROTOCOL.icmp6, icmp6(source, destination, 128, 0, new Uint8Array([0, 1, 0, 1])));

describe("addresses of the link", () => {
  it.each([
    ["of the link", EXT_LINK],
    ["of its own", EXT],
  ])("are answered from an address %s, on the link that they asked on", (_, own) => {
    const [answer, ...more] = answers(director(), echo(CLIENT, own));
    expect(more).toEqual([]);
    expect(answer).toContain(`ext ${NET.ext.mac}>${NET.client.mac}`);
    expect(answer).toContain(`${own} > ${CLIENT}`);
  });

  it("are told of what nobody takes", () => {
    const ends = { source: CLIENT, destination: EXT_LINK, sourcePort: 4000, destinationPort: 9 };
    const [answer] = answers(director(), udpPacket(ends));
    expect(answer).toContain(`ext ${NET.ext.mac}>${NET.client.mac}`);
    expect(answer).toContain(`${EXT_LINK} > ${CLIENT} hops 64 class 00 len 56 icmp6 type 1 code 4`);
  });
});

it("a packet from nobody is not routed", () => {
  expect(answers(director(), echo("::", FAR))).toEqual([]);
  expect(answers(director(), echo("2001:db8:4::20", FAR))).toHaveLength(1);
});

describe("advertisements", () => {
  const neighbour = "2001:db8:4::77";
  const asked = { source: "2001:db8:2::11", destination: neighbour, sourcePort: 4000, destinationPort: 9 };

  function waiting(): MemoryEngine {
    const engine = director();
    engine.inject("int", ethernet(NET.int.mac, NET.servers[1].mac, udpPacket(asked)));
    expect(engine.collect()).toHaveLength(1);
    return engine;
  }

  function advertisement(destination: string): Uint8Array {
    const option = new Uint8Array([2, 1, 2, 0, 0, 0, 4, 0x77]);
    const message = icmp6(
      neighbour,
      destination,
      136,
      0,
      new Uint8Array([0x60, 0, 0, 0]),
      concat(address(neighbour), option),
    );
    return ip6(neighbour, destination, PROTOCOL.icmp6, message, { hops: 255 });
  }

  it("that answer us are believed", () => {
    expect(answers(waiting(), advertisement(EXT))).toHaveLength(1);
  });

  it("that answer everybody are not", () => {
    const engine = waiting();
    engine.inject("ext", ethernet("33:33:00:00:00:01", NET.client.mac, advertisement("ff02::1")));
    expect(engine.collect()).toEqual([]);
  });
});
