/** What the core tells of frames, over memory ports. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import type { ConnectionEvent, TraceRecord } from "../../host/trace/model.js";
import { type Subscription, Tracer } from "../../host/trace/tracer.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { arp, ethernet, FLAG, fragments, icmp, ip4, PROTOCOL, tcpPacket, udpPacket } from "../support/packets.js";

const CLIENT = { source: NET.client.ip, destination: NET.vip, sourcePort: 40000, destinationPort: 80 };
const SERVER = NET.servers[0];
const BACK = { source: SERVER.ip, destination: NET.client.ip, sourcePort: 8080, destinationPort: 40000 };
const PORTS = [
  { name: "ext", link: true },
  { name: "int", link: true },
];

let engine: MemoryEngine;
let tracer: Tracer;

beforeEach(async () => {
  engine = createDirector({ capacities: { trace: 1 << 20 } });
  tracer = new Tracer(engine.control, engine.memory, PORTS);
  await engine.ipvs.addService(service(80, "wrr"));
  await engine.ipvs.addServer(service(80).id, server(SERVER.ip, 8080));
});
afterEach(() => tracer.close());

const fromClient = (packet: Uint8Array) => engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, packet));
const fromServer = (packet: Uint8Array) => engine.inject("int", ethernet(NET.int.mac, SERVER.mac, packet));

async function records(of: Subscription): Promise<TraceRecord[]> {
  tracer.drain();
  return (await of.take(0)).map(({ bytes }) => tracer.reader.frame(bytes, of.snap, 0, 0));
}

const stagesOf = (record: TraceRecord) => record.stages.map(({ stage }) => stage);

describe("a trace", () => {
  it("tells of a new connection: service, pick, states, method, way", async () => {
    const all = tracer.open({});
    const frame = ethernet(NET.ext.mac, NET.client.mac, tcpPacket(CLIENT));
    engine.inject("ext", frame);
    const [record, ...more] = await records(all);
    expect(more).toEqual([]);
    expect(record).toMatchObject({
      worker: 0,
      in: "ext",
      out: "int",
      verdict: "forward",
      made: false,
      service: "tcp:192.168.4.100:80",
      server: "192.168.2.11:8080",
      forwarding: "nat",
      connection: {
        client: NET.client.ip,
        clientPort: 40000,
        virtual: NET.vip,
        virtualPort: 80,
        server: SERVER.ip,
        serverPort: 8080,
        state: "SYN_RECV",
        new: true,
      },
    });
    expect(stagesOf(record!)).toEqual(["receive", "service", "schedule", "connection", "forward", "route", "verdict"]);
    expect(record!.before).toBe(Buffer.from(frame).toString("hex"));
    expect(record!.after).toBe(Buffer.from(engine.collect()[0]!.frame).toString("hex"));
    expect(record!.text).toBe(
      "ext > int forward, tcp 192.168.4.20:40000 > 192.168.4.100:80 [S], service tcp:192.168.4.100:80 wrr, " +
        "wrr picks 192.168.2.11:8080, new connection, NONE > SYN_RECV, nat to 192.168.2.11:8080, " +
        "next hop 192.168.2.11 at 02:00:00:00:02:0b on int",
    );
  });

  it("tells of answers, and of the state's way", async () => {
    const all = tracer.open({});
    fromClient(tcpPacket(CLIENT));
    fromServer(tcpPacket(BACK, { flags: FLAG.syn | FLAG.ack }));
    fromClient(tcpPacket(CLIENT, { flags: FLAG.ack }));
    const [, answer, ack] = await records(all);
    expect(answer).toMatchObject({ in: "int", out: "ext", connection: { state: "SYN_RECV", new: false } });
    expect(answer!.stages).toContainEqual({ stage: "forward", text: "nat back, from 192.168.4.100:80" });
    expect(ack!.stages).toContainEqual({ stage: "connection", text: "connection, SYN_RECV > ESTABLISHED" });
  });

  it("tells why a frame was dropped, and what the director said of it", async () => {
    const all = tracer.open({});
    await engine.ipvs.removeServer(service(80).id, server(SERVER.ip, 8080).id);
    fromClient(tcpPacket(CLIENT));
    const [dropped, told] = await records(all);
    expect(dropped).toMatchObject({ verdict: "drop", reason: "no-server", in: "ext", out: null, after: null });
    expect(dropped!.service).toBe("tcp:192.168.4.100:80");
    expect(told).toMatchObject({ made: true, in: null, out: "ext", before: "" });
    expect(told!.text).toContain("port unreachable about tcp 192.168.4.20:40000 > 192.168.4.100:80");
  });

  it("tells of what is answered in place, of ARP, and of what is routed", async () => {
    const all = tracer.open({});
    fromClient(ip4(NET.client.ip, NET.ext.ip, PROTOCOL.icmp, icmp(8, 0)));
    const asks = { mac: NET.client.mac, ip: NET.client.ip };
    engine.inject(
      "ext",
      ethernet("ff:ff:ff:ff:ff:ff", NET.client.mac, arp(1, asks, { mac: "00:00:00:00:00:00", ip: NET.vip }), 0x0806),
    );
    fromClient(udpPacket({ source: NET.client.ip, destination: NET.servers[1].ip, sourcePort: 5, destinationPort: 6 }));
    const [echo, asked, answered, routed] = await records(all);
    expect(echo).toMatchObject({ verdict: "local", in: "ext", out: "ext", made: false });
    expect(asked).toMatchObject({ verdict: "consumed", in: "ext", out: null });
    expect(answered).toMatchObject({ made: true, out: "ext" });
    expect(answered!.text).toContain("arp 192.168.4.100 is at 02:00:00:00:04:85");
    expect(routed).toMatchObject({ verdict: "forward", out: "int" });
    expect(routed!.stages).toContainEqual({ stage: "route", text: "routed on" });
    expect(routed!.service).toBeUndefined();
  });

  it("tells of a frame that waits for its neighbour when it comes, and when it leaves", async () => {
    const far = { ip: "192.168.2.77", mac: "02:00:00:00:02:4d" };
    const all = tracer.open({ filter: "host 192.168.2.77" });
    fromClient(udpPacket({ source: NET.client.ip, destination: far.ip, sourcePort: 5, destinationPort: 6 }));
    engine.inject("int", ethernet(NET.int.mac, far.mac, arp(2, far, { mac: NET.int.mac, ip: NET.int.ip }), 0x0806));
    const [waits, asks, answer, leaves] = await records(all);
    expect(waits).toMatchObject({ verdict: "consumed", in: "ext", out: null });
    expect(waits!.stages).toContainEqual({ stage: "neighbour", text: "waits for the address of 192.168.2.77" });
    expect(asks).toMatchObject({ made: true, out: "int" });
    expect(answer).toMatchObject({ in: "int", verdict: "consumed" });
    expect(leaves).toMatchObject({ in: "ext", out: "int", verdict: "forward", made: false, before: "" });
  });

  it("tells of a frame whose neighbour never answers", async () => {
    const all = tracer.open({ filter: "reason neighbour-failed or (made and icmp)" });
    fromClient(udpPacket({ source: NET.client.ip, destination: "192.168.2.77", sourcePort: 5, destinationPort: 6 }));
    engine.advanceTo(engine.clock.nowMs + 5000);
    const [dropped, told] = await records(all);
    expect(dropped).toMatchObject({ verdict: "drop", reason: "neighbour-failed", in: "ext", out: null });
    expect(told!.text).toContain("host unreachable about udp 192.168.4.20:5 > 192.168.2.77:6");
  });

  it("tells of fragments: kept, put together, sent on in pieces", async () => {
    await engine.ipvs.addService(service(53, "rr", "udp"));
    await engine.ipvs.addServer(service(53, "rr", "udp").id, server(SERVER.ip, 53));
    const all = tracer.open({});
    const packet = udpPacket({ ...CLIENT, destinationPort: 53 }, new Uint8Array(2000), { dontFragment: false });
    for (const part of fragments(packet, 1400)) fromClient(part);
    const [first, last, piece] = await records(all);
    expect(first).toMatchObject({ verdict: "consumed", out: null });
    expect(first!.stages).toContainEqual({ stage: "fragments", text: "a fragment, kept until the others have come" });
    expect(last).toMatchObject({ verdict: "forward", out: "int", service: "udp:192.168.4.100:53" });
    expect(piece).toMatchObject({ made: true, out: "int" });
    expect(piece!.stages[0]!.text).toContain("a piece of the frame before");
  });

  it("keeps as much of a frame as was asked for", async () => {
    const short = tracer.open({ snap: 20 });
    const none = tracer.open({ snap: 0 });
    fromClient(tcpPacket(CLIENT));
    expect((await records(short))[0]).toMatchObject({ before: expect.stringMatching(/^[0-9a-f]{40}$/) });
    tracer.drain();
    expect((await none.take(0)).map(({ bytes }) => tracer.reader.frame(bytes, 0, 0, 0).before)).toEqual([""]);
  });

  it("ends: nothing is told any more, and the core does not look", async () => {
    const all = tracer.open({});
    all.close();
    expect(new DataView(engine.memory.buffer).getUint32(Memory.LAYOUT_BASE + Memory.TRACE_ON, true)).toBe(0);
    fromClient(tcpPacket(CLIENT));
    expect(await records(all)).toEqual([]);
  });
});

describe("a trace's filter", () => {
  const count = async (filter: string, send: () => void) => {
    const of = tracer.open({ filter });
    send();
    const found = await records(of);
    of.close();
    return found.length;
  };
  const dialogue = () => {
    fromClient(tcpPacket(CLIENT));
    fromServer(tcpPacket(BACK, { flags: FLAG.syn | FLAG.ack }));
    fromClient(tcpPacket(CLIENT, { flags: FLAG.ack }));
    fromClient(udpPacket({ source: NET.client.ip, destination: NET.vip, sourcePort: 9, destinationPort: 9 }));
    engine.collect();
  };

  // What comes: SYN, SYN+ACK, ACK, a datagram that is answered with an ICMP error.
  it.each([
    ["", 5],
    ["tcp", 3],
    ["udp", 1],
    ["icmp", 1],
    ["arp", 0],
    ["ip", 5],
    ["ip6", 0],
    ["not tcp", 2],
    // The server's address: after rewriting, or before.
    ["host 192.168.2.11", 3],
    ["src 192.168.2.11", 1],
    ["dst host 192.168.2.11", 2],
    ["src host 192.168.2.11 or dst host 192.168.2.11", 3],
    ["net 192.168.2.0/24", 3],
    ["net 192.168.0.0/16", 5],
    ["net 192.168.2", 3],
    ["port 8080", 3],
    ["tcp src port 80", 1],
    ["port 80 or 9", 4],
    ["portrange 8000-9000", 3],
    ["tcp and not port 80", 3],
    ["ether src 02:00:00:00:02:0b", 1],
    ["ether host 02:00:00:00:02:0b", 3],
    ["vlan", 0],
    ["less 60", 4],
    ["greater 1000", 0],
    ["service 192.168.4.100:80", 3],
    ["service udp:192.168.4.100:80", 0],
    ["server 192.168.2.11", 3],
    ["server 192.168.2.11:8080", 3],
    ["server 192.168.2.11:80", 0],
    ["server 192.168.2.12", 0],
    ["verdict forward", 4],
    ["verdict local", 1],
    ["verdict drop", 0],
    ["dev int", 3],
    ["in int", 1],
    ["out int", 2],
    ["new", 1],
    ["made", 1],
    ["mark 7", 0],
    ["fragment", 0],
  ])("%s", async (filter, expected) => {
    expect(await count(filter, dialogue)).toBe(expected);
  });

  it("knows IPv6 behind extension headers, and tags", async () => {
    const of = tracer.open({ filter: "vlan 7 and port 9" });
    const packet = udpPacket({ source: NET.client.ip, destination: NET.ext.ip, sourcePort: 9, destinationPort: 9 });
    const tagged = Uint8Array.from([...ethernet(NET.ext.mac, NET.client.mac, packet)]);
    const frame = Uint8Array.from([...tagged.subarray(0, 12), 0x81, 0, 0, 7, ...tagged.subarray(12)]);
    engine.inject("ext", frame);
    expect(await records(of)).toHaveLength(1);
  });

  it("takes no harm from frames that are anything", async () => {
    const of = tracer.open({ filter: "port 80 or host 10.0.0.1 or vlan 4000", rate: 0 });
    for (let length = 0; length < 120; length++) {
      for (const type of [0x0800, 0x86dd, 0x0806, 0x8100]) {
        const frame = new Uint8Array(length).fill(0x45);
        if (length > 13) frame.set([type >> 8, type & 255], 12);
        engine.inject("ext", frame);
      }
    }
    tracer.drain();
    expect(of.losses()).toEqual({ lost: 0, limited: 0 });
  });
});

describe("what is too much", () => {
  it("is over the rate: not told of, and counted", async () => {
    const of = tracer.open({ rate: 160 });
    for (let n = 0; n < 40; n++) fromClient(tcpPacket({ ...CLIENT, sourcePort: 1000 + n }));
    expect(await records(of)).toHaveLength(16);
    expect(of.losses()).toEqual({ lost: 0, limited: 24 });
    engine.advanceTo(engine.clock.nowMs + 100);
    for (let n = 0; n < 40; n++) fromClient(tcpPacket({ ...CLIENT, sourcePort: 2000 + n }));
    expect((await records(of)).length).toBeGreaterThanOrEqual(15);
  });

  it("finds no room in the ring: not told of, and counted; what was there stays whole", async () => {
    const of = tracer.open({ rate: 0, snap: 2000 });
    const fill = () => {
      for (let n = 0; n < 2000; n++) {
        fromClient(tcpPacket(CLIENT, { flags: n === 0 ? FLAG.syn : FLAG.ack, data: new Uint8Array(1000 + (n % 300)) }));
      }
      engine.collect();
    };
    for (let round = 0; round < 3; round++) {
      const { lost: before } = of.losses();
      fill();
      const found = await records(of);
      const lost = of.losses().lost - before;
      expect(lost).toBeGreaterThan(500);
      expect(found.length + lost).toBe(2000);
      for (const { text, verdict } of found) expect([verdict, text.includes("40000")]).toEqual(["forward", true]);
    }
  });

  it("is one trace more than there may be, or one over TCP", () => {
    const remote = [tracer.open({ remote: true }), tracer.open({ remote: true })];
    expect(() => tracer.open({ remote: true })).toThrow("2 traces over TCP run already: end one of them");
    tracer.open({});
    tracer.open({});
    expect(() => tracer.open({})).toThrow("4 traces run already");
    remote[0]!.close();
    tracer.open({});
  });
});

describe("super-frames and their bytes", () => {
  it("come whole, with what the device says of them", async () => {
    engine = createDirector({
      interfaces: [
        { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`, `${NET.vip}/32`] },
        { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`], capabilities: Port.CAPABILITY_LINK },
      ],
    });
    tracer = new Tracer(engine.control, engine.memory, PORTS);
    await engine.ipvs.addService(service(80));
    await engine.ipvs.addServer(service(80).id, server(SERVER.ip, 8080));
    const of = tracer.open({ snap: 65535, rate: 0 });
    fromClient(tcpPacket(CLIENT));
    const vnet = Uint8Array.of(1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0);
    const packet = tcpPacket(CLIENT, { flags: FLAG.ack, data: new Uint8Array(4000).fill(7) });
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, packet), vnet);
    const [, record, ...pieces] = await records(of);
    expect(record!.before.length / 2).toBe(14 + packet.length);
    // A port without offload: cut here, and each piece is told of with its bytes.
    expect(pieces).toHaveLength(2);
    const sent = engine.collect().map(({ frame }) => Buffer.from(frame).toString("hex"));
    expect([record!.after, ...pieces.map(({ after }) => after)]).toEqual(sent.slice(-3));
  });
});

describe("connection events", () => {
  const events = async (of: Subscription): Promise<ConnectionEvent[]> => {
    tracer.drain();
    return (await of.take(0)).map(({ kind, bytes }) =>
      tracer.reader.event(bytes, kind === "open" ? "open" : "close", 0),
    );
  };

  it("tell when it begins, and how it ended: packets and bytes of both directions, and for how long", async () => {
    const of = tracer.listen(1);
    const sizes = [tcpPacket(CLIENT), tcpPacket(CLIENT, { flags: FLAG.ack, data: new Uint8Array(100) })];
    fromClient(sizes[0]!);
    fromServer(tcpPacket(BACK, { flags: FLAG.syn | FLAG.ack }));
    fromClient(sizes[1]!);
    engine.advanceTo(engine.clock.nowMs + 2000);
    fromClient(tcpPacket(CLIENT, { flags: FLAG.rst }));
    engine.advanceTo(engine.clock.nowMs + 20_000);
    const [open, close, ...more] = await events(of);
    expect(more).toEqual([]);
    const ends = {
      protocol: "tcp",
      client: NET.client.ip,
      clientPort: 40000,
      virtual: NET.vip,
      virtualPort: 80,
      server: SERVER.ip,
      serverPort: 8080,
      forwarding: "nat",
    };
    expect(open).toMatchObject({ ...ends, event: "open", state: "NONE" });
    expect(open!.packets).toBeUndefined();
    expect(close).toMatchObject({ ...ends, event: "close", state: "CLOSE" });
    expect(close!.packets).toEqual({ in: 3, out: 1 });
    expect(close!.bytes).toEqual({ in: 40 + 140 + 40, out: 40 });
    expect(close!.duration).toBeGreaterThanOrEqual(12_000);
  });

  it("are of one in so many, whole ones, for every listener by its own number", async () => {
    const four = tracer.listen(4);
    const six = tracer.listen(6);
    for (let n = 0; n < 24; n++) {
      fromClient(tcpPacket({ ...CLIENT, sourcePort: 1000 + n }));
      fromClient(tcpPacket({ ...CLIENT, sourcePort: 1000 + n }, { flags: FLAG.rst }));
    }
    engine.advanceTo(engine.clock.nowMs + 130_000);
    const ports = (list: ConnectionEvent[], event: string) =>
      list.filter((one) => one.event === event).map(({ clientPort }) => clientPort - 1000);
    const [ofFour, ofSix] = [await events(four), await events(six)];
    expect(ports(ofFour, "open")).toEqual([0, 4, 8, 12, 16, 20]);
    expect(ports(ofSix, "open")).toEqual([0, 6, 12, 18]);
    expect(ports(ofFour, "close").sort((a, b) => a - b)).toEqual([0, 4, 8, 12, 16, 20]);
    four.close();
    six.close();
    fromClient(tcpPacket({ ...CLIENT, sourcePort: 5000 }));
    expect(await events(four)).toEqual([]);
  });

  it("are refused to the fifth listener", () => {
    for (let n = 0; n < 4; n++) tracer.listen(1);
    expect(() => tracer.listen(1)).toThrow("4 readers of connection events are there already");
  });
});
