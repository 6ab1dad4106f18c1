/** Full NAT: what leaves the director for what comes in, both ways, and how its local ports come and go. */
import { describe, expect, it } from "vitest";
import * as Port from "../../assembly/layout/port.js";
import type { MemoryEngine, MemoryEngineConfig } from "../../host/engine/memory-engine.js";
import type { ServiceConfig } from "../../host/ipvs/model.js";
import { ALL_OFFLOADS } from "../../host/port/port.js";
import { checksum, describe as decode, pseudoHeader } from "../conformance/frames.js";
import { createDirector, NET, server, service } from "../support/director.js";
import {
  address,
  concat,
  type Ends,
  ethernet,
  FLAG,
  fragments,
  icmp,
  icmp6,
  ip4,
  ip6,
  PROTOCOL,
  sctp,
  type TcpOptions,
  tcpPacket,
  udpPacket,
} from "../support/packets.js";

const REAL = NET.servers[0];
const NET6 = {
  client: { ip: "2001:db8:4::20", mac: NET.client.mac },
  ext: "2001:db8:4::133",
  int: "2001:db8:2::130",
  vip: "2001:db8:4::100",
  server: { ip: "2001:db8:2::11", mac: REAL.mac },
} as const;

const V4 = { client: NET.client.ip, vip: NET.vip, local: NET.int.ip, real: REAL.ip };
const V6 = { client: NET6.client.ip, vip: NET6.vip, local: NET6.int, real: NET6.server.ip };
const FAMILIES = [
  ["IPv4", V4],
  ["IPv6", V6],
] as const;
type Side = typeof V4 | typeof V6;

/** Router behind the client's side. */
const ROUTER = { 4: NET.gateway.ip, 6: "2001:db8:4::1" };

const OFFLOADS = { capabilities: Port.CAPABILITY_LINK | ALL_OFFLOADS };

function director(config: Partial<MemoryEngineConfig> = {}, pool: readonly string[] = []): MemoryEngine {
  return createDirector({
    interfaces: [
      { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`, `${NET6.ext}/64`], ...OFFLOADS },
      { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`, `${NET6.int}/64`, ...pool], ...OFFLOADS },
    ],
    neighbours: [
      { ...NET.client, dev: "ext" },
      { ...NET.gateway, dev: "ext" },
      { ...NET6.client, dev: "ext" },
      ...NET.servers.map((each) => ({ ...each, dev: "int" })),
      { ...NET6.server, dev: "int" },
    ],
    ...config,
  });
}

function serviceAt(
  side: Side,
  port: number,
  protocol: "tcp" | "udp" | "sctp" = "tcp",
  more: Partial<ServiceConfig> = {},
) {
  const family = side.vip.includes(":") ? (6 as const) : (4 as const);
  const base = service(port, "rr", protocol, { persistencePrefix: family === 6 ? 128 : 32, ...more });
  return { ...base, id: { family, protocol, address: side.vip, port } };
}

async function serving(engine: MemoryEngine, protocol: "tcp" | "udp" | "sctp" = "tcp"): Promise<MemoryEngine> {
  for (const side of [V4, V6]) {
    const config = serviceAt(side, 80, protocol);
    await engine.ipvs.addService(config);
    await engine.ipvs.addServer(config.id, server(side.real, 8080, "fullnat"));
  }
  engine.breathe();
  engine.collect();
  return engine;
}

const toVip = (side: Side, port: number): Ends => ({
  source: side.client,
  destination: side.vip,
  sourcePort: port,
  destinationPort: 80,
});
const toLocal = (side: Side, port: number): Ends => ({
  source: side.real,
  destination: side.local,
  sourcePort: 8080,
  destinationPort: port,
});
const fromClient = (packet: Uint8Array) => ethernet(NET.ext.mac, NET.client.mac, packet);
const fromServer = (packet: Uint8Array) => ethernet(NET.int.mac, REAL.mac, packet);

function out(engine: MemoryEngine): string[] {
  return engine.collect().map(({ dev, frame }) => `${dev} ${decode(frame)}`);
}

const reason = (engine: MemoryEngine, name: string) => engine.ipvs.tables.counters().reasons[name];
const u16 = (bytes: Uint8Array, at: number) => (bytes[at]! << 8) | bytes[at + 1]!;

function bytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, n) => (n * 31 + 7) & 255);
}

describe.each(FAMILIES)("full NAT over %s", (family, side) => {
  const limit = family === "IPv4" ? "ttl" : "hops";

  it("replaces both ends, both ways", async () => {
    const engine = await serving(director());
    engine.inject("ext", fromClient(tcpPacket(toVip(side, 40000))));
    const [request] = out(engine);
    expect(request).toContain(`int ${NET.int.mac}>${REAL.mac} ${side.local} > ${side.real} ${limit} 63`);
    expect(request).toContain("tcp 40000>8080 S ");
    expect(request).not.toContain("bad");
    engine.inject("int", fromServer(tcpPacket(toLocal(side, 40000), { flags: FLAG.syn | FLAG.ack })));
    const [answer] = out(engine);
    expect(answer).toContain(`ext ${NET.ext.mac}>${NET.client.mac} ${side.vip} > ${side.client} ${limit} 63`);
    expect(answer).toContain("tcp 80>40000 S. ");
    expect(answer).not.toContain("bad");
    engine.inject("ext", fromClient(tcpPacket(toVip(side, 40000), { flags: FLAG.ack })));
    expect([...engine.ipvs.tables.connections()]).toMatchObject([
      {
        ...{ state: "ESTABLISHED", client: side.client, virtual: side.vip, server: side.real, serverPort: 8080 },
        ...{ local: side.local, localPort: 40000 },
      },
    ]);
    const [found] = (await engine.ipvs.services()).filter(({ servers }) => servers[0]!.active === 1);
    expect(found!.servers[0]!.stats).toMatchObject({ connections: 1, inPackets: 2, outPackets: 1 });
  });

  it("carries datagrams", async () => {
    const engine = await serving(director(), "udp");
    engine.inject("ext", fromClient(udpPacket(toVip(side, 5000), bytes(33))));
    const [request] = out(engine);
    expect(request).toContain(`${side.local} > ${side.real}`);
    expect(request).toContain("udp 5000>8080 len 33");
    engine.inject("int", fromServer(udpPacket(toLocal(side, 5000), bytes(7))));
    const [answer] = out(engine);
    expect(answer).toContain(`${side.vip} > ${side.client}`);
    expect(answer).toContain("udp 80>5000 len 7");
    expect(request + answer!).not.toContain("bad");
  });

  it("keeps checksums that are left to a device, and super-frames whole", async () => {
    const engine = await serving(director());
    engine.inject("ext", fromClient(tcpPacket(toVip(side, 40000))));
    engine.collect();
    const header = family === "IPv4" ? 20 : 40;
    const check = (dev: string, ends: Ends, expected: { source: string; destination: string }) => {
      const packet = tcpPacket(ends, { flags: FLAG.ack, data: bytes(20_000) });
      const length = packet.length - header;
      const pseudo = (from: string, to: string) =>
        ~checksum(pseudoHeader(address(from), address(to), PROTOCOL.tcp, length)) & 0xffff;
      new DataView(packet.buffer).setUint16(header + 16, pseudo(ends.source, ends.destination));
      const vnet = new Uint8Array(12);
      const view = new DataView(vnet.buffer);
      vnet[0] = 1;
      vnet[1] = family === "IPv4" ? 1 : 4;
      view.setUint16(2, 14 + header + 20, true);
      view.setUint16(4, 1000, true);
      view.setUint16(6, 14 + header, true);
      view.setUint16(8, 16, true);
      engine.inject(dev, dev === "ext" ? fromClient(packet) : fromServer(packet), vnet);
      const [sent] = engine.collect();
      expect(Buffer.from(sent!.vnet).toString("hex")).toBe(Buffer.from(vnet).toString("hex"));
      expect(u16(sent!.frame, 14 + header + 16)).toBe(pseudo(expected.source, expected.destination));
      expect(sent!.frame.length).toBe(packet.length + 14);
    };
    check("ext", toVip(side, 40000), { source: side.local, destination: side.real });
    check("int", toLocal(side, 40000), { source: side.vip, destination: side.client });
  });

  it("translates errors about both directions", async () => {
    const engine = await serving(director());
    engine.inject("ext", fromClient(tcpPacket(toVip(side, 40000))));
    const sent = engine.collect()[0]!.frame.subarray(14);
    // From the server's side, about what the client had sent.
    const message = (from: string, to: string, about: Uint8Array) =>
      family === "IPv4"
        ? ip4(from, to, PROTOCOL.icmp, icmp(3, 4, Uint8Array.of(0, 0, 4, 0), about.subarray(0, 60)))
        : ip6(from, to, PROTOCOL.icmp6, icmp6(from, to, 2, 0, Uint8Array.of(0, 0, 5, 0), about));
    engine.inject("int", fromServer(message(side.real, side.local, sent)));
    const [outward] = out(engine);
    expect(outward).toContain(`ext ${NET.ext.mac}>${NET.client.mac} ${side.vip} > ${side.client}`);
    expect(outward).toMatch(new RegExp(`\\[${side.client} > ${side.vip} .* tcp 40000>80 `));
    expect(outward).not.toContain("bad");
    // From the client's side, about what the server had answered.
    const router = family === "IPv4" ? ROUTER[4] : ROUTER[6];
    const answer = tcpPacket({ source: side.vip, destination: side.client, sourcePort: 80, destinationPort: 40000 });
    engine.inject("ext", fromClient(message(router, side.vip, answer)));
    const [inward] = out(engine);
    expect(inward).toContain(`int ${NET.int.mac}>${REAL.mac} ${side.local} > ${side.real}`);
    expect(inward).toMatch(new RegExp(`\\[${side.real} > ${side.local} .* tcp 8080>40000 `));
    expect(inward).not.toContain("bad");
  });

  it("tells a server whose answer is too long for the client's side", async () => {
    const engine = await serving(
      director({
        interfaces: [
          { name: "ext", mac: NET.ext.mac, mtu: 1280, addresses: [`${NET.ext.ip}/24`, `${NET6.ext}/64`] },
          { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`, `${NET6.int}/64`] },
        ],
      }),
    );
    engine.inject("ext", fromClient(tcpPacket(toVip(side, 40000))));
    engine.collect();
    engine.inject("int", fromServer(tcpPacket(toLocal(side, 40000), { flags: FLAG.ack, data: bytes(1400) })));
    const [told] = out(engine);
    expect(told).toContain(`int ${NET.int.mac}>${REAL.mac} ${side.local} > ${side.real}`);
    expect(told).toContain(
      family === "IPv4" ? "icmp type 3 code 4 rest 00000500" : "icmp6 type 2 code 0 rest 00000500",
    );
    expect(told).toMatch(new RegExp(`\\[${side.real} > ${side.local} `));
    expect(reason(engine, "mtu-exceeded")).toBe(1);
  });

  it("tells the client when the server's neighbour is silent", async () => {
    const engine = await serving(
      director({
        neighbours: [
          { ...NET.client, dev: "ext" },
          { ...NET6.client, dev: "ext" },
        ],
      }),
    );
    engine.inject("ext", fromClient(tcpPacket(toVip(side, 40000))));
    engine.advanceTo(5000);
    const told = out(engine).filter((line) => line.includes("icmp") && line.startsWith("ext"));
    expect(told).toHaveLength(1);
    expect(told[0]).toContain(`> ${side.client} `);
    expect(told[0]).toMatch(new RegExp(`\\[${side.client} > ${side.vip} .* tcp 40000>80 `));
  });

  it("says who the client is, until the server has answered", async () => {
    const engine = await serving(director({ settings: { toa: 1 } }));
    const wide = family === "IPv6";
    const option = concat(Uint8Array.of(254, wide ? 20 : 8, 0x9c, 0x40), address(side.client));
    const hex = Buffer.from(option).toString("hex");
    const send = (options: TcpOptions) => {
      engine.inject("ext", fromClient(tcpPacket(toVip(side, 40000), options)));
      const [line] = out(engine);
      expect(line).not.toContain("bad");
      return line!;
    };
    const mss = Uint8Array.of(2, 4, 5, 0xb4);
    expect(send({ options: mss })).toMatch(new RegExp(`S seq 1000 .* len 0 .* opts ${hex}020405b4$`));
    engine.inject("int", fromServer(tcpPacket(toLocal(side, 40000), { flags: FLAG.syn | FLAG.ack })));
    engine.collect();
    expect(send({ flags: FLAG.ack, sequence: 1001 })).toContain(`opts ${hex}`);
    expect(send({ flags: FLAG.ack | FLAG.psh, sequence: 1001, data: bytes(301) })).toContain(`len 301 `);
    expect(send({ flags: FLAG.ack, sequence: 1001, data: bytes(301) })).toContain(`opts ${hex}`);
    // What would not fit goes without.
    expect(send({ flags: FLAG.ack, sequence: 1001, data: bytes(1400) })).not.toContain("opts");
    const full = send({ flags: FLAG.ack, options: new Uint8Array(wide ? 24 : 36).fill(1) });
    expect(full).toContain(`opts ${"01".repeat(wide ? 24 : 36)}`);
    engine.inject("int", fromServer(tcpPacket(toLocal(side, 40000), { flags: FLAG.ack })));
    engine.collect();
    expect(send({ flags: FLAG.ack, sequence: 1302 })).not.toContain("opts");
  });

  it("says it with a checksum that is left to a device", async () => {
    const engine = await serving(director({ settings: { toa: 1 } }));
    const header = family === "IPv4" ? 20 : 40;
    const packet = tcpPacket(toVip(side, 40000));
    const size = family === "IPv4" ? 8 : 20;
    const pseudo = (from: string, to: string, length: number) =>
      ~checksum(pseudoHeader(address(from), address(to), PROTOCOL.tcp, length)) & 0xffff;
    new DataView(packet.buffer).setUint16(header + 16, pseudo(side.client, side.vip, 20));
    const vnet = new Uint8Array(12);
    vnet[0] = 1;
    new DataView(vnet.buffer).setUint16(6, 14 + header, true);
    vnet[8] = 16;
    engine.inject("ext", fromClient(packet), vnet);
    const [sent] = engine.collect();
    expect(Buffer.from(sent!.vnet).toString("hex")).toBe(Buffer.from(vnet).toString("hex"));
    expect(u16(sent!.frame, 14 + header + 16)).toBe(pseudo(side.local, side.real, 20 + size));
    expect(sent!.frame.length).toBe(14 + packet.length + size);
  });
});

describe("full NAT", () => {
  it("carries fragments both ways", async () => {
    const engine = await serving(director(), "udp");
    for (const part of fragments(udpPacket(toVip(V4, 5000), bytes(3000), { dontFragment: false }), 1200))
      engine.inject("ext", fromClient(part));
    const request = out(engine);
    expect(request).toHaveLength(3);
    expect(request.every((line) => line.includes(`int ${NET.int.mac}>${REAL.mac} ${V4.local} > ${V4.real}`))).toBe(
      true,
    );
    for (const part of fragments(udpPacket(toLocal(V4, 5000), bytes(3000), { dontFragment: false }), 1200))
      engine.inject("int", fromServer(part));
    const answer = out(engine);
    expect(answer).toHaveLength(3);
    expect(answer.every((line) => line.includes(`${V4.vip} > ${V4.client}`))).toBe(true);
  });

  it("carries SCTP", async () => {
    const engine = await serving(director(), "sctp");
    const packet = (ends: Ends, tag: number, type: number) => {
      const body = sctp(ends.sourcePort, ends.destinationPort, tag, [{ type, value: bytes(16) }]);
      return ip4(ends.source, ends.destination, PROTOCOL.sctp, body);
    };
    engine.inject("ext", fromClient(packet(toVip(V4, 5000), 0, 1)));
    engine.inject("int", fromServer(packet(toLocal(V4, 5000), 7, 2)));
    const [request, answer] = out(engine);
    expect(request).toContain(`${V4.local} > ${V4.real}`);
    expect(request).toContain("sctp 5000>8080");
    expect(answer).toContain(`${V4.vip} > ${V4.client}`);
    expect(answer).toContain("sctp 80>5000");
    expect(request! + answer!).not.toContain("bad");
  });

  it("lets a server be a client of the service that it is in", async () => {
    const engine = await serving(director());
    const ends = { ...toVip(V4, 40000), source: V4.real };
    engine.inject("int", fromServer(tcpPacket(ends)));
    expect(out(engine)[0]).toContain(`int ${NET.int.mac}>${REAL.mac} ${V4.local} > ${V4.real}`);
    engine.inject("int", fromServer(tcpPacket(toLocal(V4, 40000), { flags: FLAG.syn | FLAG.ack })));
    expect(out(engine)[0]).toContain(`int ${NET.int.mac}>${REAL.mac} ${V4.vip} > ${V4.real}`);
  });

  it("gives clients with one port different ones", async () => {
    const engine = await serving(director());
    const ports = [20, 21, 22].map((last) => {
      engine.inject("ext", fromClient(tcpPacket({ ...toVip(V4, 40000), source: `192.168.4.${last}` })));
      const [sent] = engine.collect();
      return u16(sent!.frame, 34);
    });
    expect(ports[0]).toBe(40000);
    expect(new Set(ports).size).toBe(3);
    expect(ports.every((port) => port >= 1024)).toBe(true);
    // A port below the range is never kept.
    engine.inject("ext", fromClient(tcpPacket(toVip(V4, 999))));
    expect(u16(engine.collect()[0]!.frame, 34)).toBeGreaterThanOrEqual(1024);
  });

  it("never has a tuple twice, through services and protocols that share a server", async () => {
    const engine = await serving(director());
    const second = serviceAt(V4, 81);
    const udp = serviceAt(V4, 80, "udp");
    await engine.ipvs.addService(second);
    await engine.ipvs.addService(udp);
    await engine.ipvs.addServer(second.id, server(V4.real, 8080, "fullnat"));
    await engine.ipvs.addServer(udp.id, server(V4.real, 8080, "fullnat"));
    const port = (packet: Uint8Array) => {
      engine.inject("ext", fromClient(packet));
      return u16(engine.collect()[0]!.frame, 34);
    };
    const first = port(tcpPacket(toVip(V4, 40000)));
    const other = port(tcpPacket({ ...toVip(V4, 40000), destinationPort: 81 }));
    expect(other).not.toBe(first);
    expect(port(udpPacket(toVip(V4, 40000)))).toBe(40000);
    engine.inject("int", fromServer(tcpPacket(toLocal(V4, other), { flags: FLAG.syn | FLAG.ack })));
    expect(out(engine)[0]).toContain("tcp 81>40000 S.");
    engine.inject("int", fromServer(tcpPacket(toLocal(V4, first), { flags: FLAG.syn | FLAG.ack })));
    expect(out(engine)[0]).toContain("tcp 80>40000 S.");
  });

  it("uses every port of every address, then drops, then has them back", async () => {
    const count = 65536 - 1024;
    const engine = await serving(
      director({ capacities: { connections: 3 * 65536, extensions: 16 } }, ["192.168.2.131/24", "192.168.2.132/32"]),
    );
    const seen = new Set<string>();
    const addresses = new Map<number, number>();
    const syn = fromClient(tcpPacket(toVip(V4, 1)));
    const view = new DataView(syn.buffer);
    const zero = u16(syn, 50);
    let n = 0;
    const send = () => {
      // Addresses and ports of the client, and the checksums that follow.
      const ip = 0x0a000000 + (n >> 10);
      view.setUint32(26, ip);
      view.setUint16(34, 30000 + (n & 1023));
      view.setUint16(24, 0);
      view.setUint16(24, checksum(syn.subarray(14, 34)));
      view.setUint16(50, zero);
      n++;
      engine.inject("ext", syn);
      return engine.collect();
    };
    for (let turn = 0; turn < 3 * count; turn++) {
      const [sent] = send();
      const last = sent!.frame[29]!;
      addresses.set(last, (addresses.get(last) ?? 0) + 1);
      seen.add(`${last} ${u16(sent!.frame, 34)}`);
    }
    expect(seen.size).toBe(3 * count);
    expect([...addresses].sort()).toEqual([130, 131, 132].map((last) => [last, count]));
    expect(reason(engine, "local-ports-exhausted")).toBe(0);
    const began = performance.now();
    for (let turn = 0; turn < 100; turn++) expect(send()).toEqual([]);
    expect(performance.now() - began).toBeLessThan(1000);
    expect(reason(engine, "local-ports-exhausted")).toBe(100);
    // Embryonic connections last a minute.
    engine.advanceTo(engine.clock.nowMs + 70_000);
    expect([...engine.ipvs.tables.connections()]).toEqual([]);
    engine.collect();
    expect(send()).toHaveLength(1);
  }, 120_000);

  it("counts what has no local address to go by", async () => {
    const engine = await serving(
      director({
        interfaces: [
          { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`] },
          { name: "int", mac: NET.int.mac, addresses: [`${NET6.int}/64`] },
        ],
        routes: [{ to: "192.168.2.0/24", dev: "int" }],
      }),
    );
    engine.inject("ext", fromClient(tcpPacket(toVip(V4, 40000))));
    expect(out(engine)).toEqual([]);
    expect(reason(engine, "local-address-missing")).toBe(1);
    expect([...engine.ipvs.tables.connections()]).toEqual([]);
  });

  it("works with one arm, a virtual address that is the director's own, and its service's port left alone", async () => {
    const own = NET.ext.ip;
    const engine = createDirector({
      interfaces: [{ name: "ext", mac: NET.ext.mac, addresses: [`${own}/24`] }],
      routes: [{ to: "0.0.0.0/0", gateway: NET.gateway.ip, dev: "ext" }],
      neighbours: [
        { ...NET.client, dev: "ext" },
        { ...NET.gateway, dev: "ext" },
      ],
    });
    const config = { ...service(8000), id: { family: 4, protocol: "tcp", address: own, port: 8000 } as const };
    await engine.ipvs.addService(config);
    await engine.ipvs.addServer(config.id, server("10.9.9.9", 80, "fullnat"));
    engine.collect();
    const ends = { source: NET.client.ip, destination: own, sourcePort: 8000, destinationPort: 8000 };
    engine.inject("ext", fromClient(tcpPacket(ends)));
    const [sent] = engine.collect();
    expect(decode(sent!.frame)).toContain(`${NET.ext.mac}>${NET.gateway.mac} ${own} > 10.9.9.9`);
    const port = u16(sent!.frame, 34);
    expect(port).not.toBe(8000);
    const back = { source: "10.9.9.9", destination: own, sourcePort: 80, destinationPort: port };
    engine.inject("ext", ethernet(NET.ext.mac, NET.gateway.mac, tcpPacket(back, { flags: FLAG.syn | FLAG.ack })));
    expect(out(engine)[0]).toContain(`${own} > ${NET.client.ip} ttl 63`);
  });

  it("mixes with other methods in one service", async () => {
    const engine = director();
    const config = serviceAt(V4, 80);
    await engine.ipvs.addService(config);
    await engine.ipvs.addServer(config.id, server(NET.servers[0].ip, 80, "fullnat"));
    await engine.ipvs.addServer(config.id, server(NET.servers[1].ip, 80, "nat"));
    await engine.ipvs.addServer(config.id, server(NET.servers[2].ip, 80, "dr"));
    engine.collect();
    const ways = [40000, 40001, 40002].map((port) => {
      engine.inject("ext", fromClient(tcpPacket(toVip(V4, port))));
      return /[0-9.]+ > [0-9.]+/.exec(out(engine)[0]!.slice(40))![0];
    });
    expect(ways.sort()).toEqual([
      `${NET.int.ip} > ${NET.servers[0].ip}`,
      `${NET.client.ip} > ${NET.servers[1].ip}`,
      `${NET.client.ip} > ${NET.vip}`,
    ]);
  });

  it("answers each datagram of a one-packet service", async () => {
    const engine = director();
    const config = serviceAt(V4, 80, "udp", { onePacket: true });
    await engine.ipvs.addService(config);
    await engine.ipvs.addServer(config.id, server(V4.real, 8080, "fullnat"));
    engine.collect();
    const ports = [1, 2].map(() => {
      engine.inject("ext", fromClient(udpPacket(toVip(V4, 5000), bytes(5))));
      return u16(engine.collect()[0]!.frame, 34);
    });
    expect(new Set(ports).size).toBe(2);
    for (const port of ports) {
      engine.inject("int", fromServer(udpPacket(toLocal(V4, port), bytes(5))));
      expect(out(engine)[0]).toContain(`${V4.vip} > ${V4.client}`);
    }
    engine.advanceTo(engine.clock.nowMs + 310_000);
    expect([...engine.ipvs.tables.connections()]).toEqual([]);
  });

  it("keeps persistence, with a template that has no port", async () => {
    const engine = director();
    const config = serviceAt(V4, 80, "tcp", { persistence: 300 });
    await engine.ipvs.addService(config);
    await engine.ipvs.addServer(config.id, server(NET.servers[0].ip, 80, "fullnat"));
    await engine.ipvs.addServer(config.id, server(NET.servers[1].ip, 80, "fullnat"));
    engine.collect();
    const to = [40000, 40001, 40002].map((port) => {
      engine.inject("ext", fromClient(tcpPacket(toVip(V4, port))));
      return engine.collect()[0]!.frame[33];
    });
    expect(new Set(to).size).toBe(1);
    engine.advanceTo(engine.clock.nowMs + 400_000);
    expect([...engine.ipvs.tables.connections()]).toEqual([]);
  });

  it("lets connections keep an address that is taken away, and gives it out anew without a collision", async () => {
    const engine = await serving(director({}, ["192.168.2.131/24"]));
    const int = engine.portNumber("int");
    const used = new Map<string, number>();
    for (let port = 40000; port < 40020; port++) {
      engine.inject("ext", fromClient(tcpPacket(toVip(V4, port))));
      const { frame } = engine.collect()[0]!;
      used.set(`${frame[29]} ${u16(frame, 34)}`, port);
    }
    const kept = [...used].find(([key]) => key.startsWith("131 "))!;
    engine.control.addressRemove("192.168.2.131/24", int);
    engine.inject("ext", fromClient(tcpPacket(toVip(V4, kept[1]), { flags: FLAG.ack })));
    expect(out(engine)[0]).toContain(`192.168.2.131 > ${V4.real}`);
    for (let port = 41000; port < 41020; port++) {
      engine.inject("ext", fromClient(tcpPacket(toVip(V4, port))));
      expect(out(engine)[0]).toContain(`${V4.local} > ${V4.real}`);
    }
    engine.control.addressAdd("192.168.2.131/24", int);
    engine.collect();
    // The same client port from other clients: never a port that the old connection has.
    for (let last = 30; last < 60; last++) {
      engine.inject("ext", fromClient(tcpPacket({ ...toVip(V4, kept[1]), source: `192.168.4.${last}` })));
      const sent = engine.collect().find(({ dev }) => dev === "int")!;
      const key = `${sent.frame[29]} ${u16(sent.frame, 34)}`;
      expect(used.has(key)).toBe(false);
      used.set(key, last);
    }
  });

  it("does not take a stranger's segment for an answer", async () => {
    const engine = await serving(director());
    engine.inject("ext", fromClient(tcpPacket(toVip(V4, 40000))));
    engine.collect();
    const strangers = [
      { ...toLocal(V4, 40000), source: NET.servers[1].ip },
      { ...toLocal(V4, 40000), sourcePort: 8081 },
      { ...toLocal(V4, 40001) },
    ];
    for (const ends of strangers) {
      engine.inject("int", fromServer(tcpPacket(ends, { flags: FLAG.ack })));
      expect(out(engine)[0]).toContain(" R ");
    }
  });
});
