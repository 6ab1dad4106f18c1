/** Limits of a service, of all its clients and of each; and what makes room in a full table. */
import { describe, expect, it } from "vitest";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import type { Limits } from "../../host/ipvs/model.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { ethernet, FLAG, tcpPacket, udpPacket } from "../support/packets.js";

const CLIENT = "192.168.4.20";
let port = 20_000;

async function start(limits: Limits, protocol: "tcp" | "udp" = "tcp", capacities = {}): Promise<MemoryEngine> {
  const engine = createDirector({ capacities });
  const config = service(80, "rr", protocol, { limits });
  await engine.ipvs.addService(config);
  await engine.ipvs.addServer(config.id, server(NET.servers[0].ip, 80));
  return engine;
}

/** By which port the answer to a new connection comes, and its TCP flags. */
function open(engine: MemoryEngine, source = CLIENT, protocol: "tcp" | "udp" = "tcp"): string {
  const ends = { source, destination: NET.vip, sourcePort: port++, destinationPort: 80 };
  const packet = protocol === "tcp" ? tcpPacket(ends, { flags: FLAG.syn }) : udpPacket(ends);
  engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, packet));
  const out = engine.collect();
  return out.map(({ dev, frame }) => `${dev} ${protocol === "tcp" ? frame[14 + 20 + 13] : frame[34]}`).join();
}

const later = (engine: MemoryEngine, ms: number) => engine.advanceTo(engine.clock.nowMs + ms);
const reason = (engine: MemoryEngine, name: string) => engine.ipvs.tables.counters().reasons[name];
const SENT = `int ${FLAG.syn}`;
const TOLD = `ext ${FLAG.rst | FLAG.ack}`;

describe("a service's limit", () => {
  it("of connections refuses more, until one ends", async () => {
    const engine = await start({ connections: 2 });
    expect([open(engine), open(engine), open(engine)]).toEqual([SENT, SENT, TOLD]);
    expect(reason(engine, "service-limit")).toBe(1);
    later(engine, 70_000);
    expect(open(engine)).toBe(SENT);
    const { defence, limits } = await engine.ipvs.service(service(80).id);
    expect(limits).toEqual({ connections: 2 });
    expect(defence!.refused).toEqual({ connections: 1, rate: 0, source: 0 });
  });

  it("of new connections a second fills up again", async () => {
    const engine = await start({ rate: 4 });
    expect(Array.from({ length: 6 }, () => open(engine))).toEqual([SENT, SENT, SENT, SENT, TOLD, TOLD]);
    expect(reason(engine, "rate-limit")).toBe(2);
    later(engine, 500);
    expect([open(engine), open(engine), open(engine)]).toEqual([SENT, SENT, TOLD]);
  });

  it("is kept by an edit that says nothing of it, and taken away by one that does", async () => {
    const engine = await start({ rate: 1 });
    await engine.ipvs.editService(service(80, "wrr"));
    expect([open(engine), open(engine)]).toEqual([SENT, TOLD]);
    await engine.ipvs.editService(service(80, "wrr", "tcp", { limits: {} }));
    expect([open(engine), open(engine)]).toEqual([SENT, SENT]);
  });
});

describe("a source's limit", () => {
  it("of connections is its own", async () => {
    const engine = await start({ perSource: { connections: 2 } });
    expect([open(engine), open(engine), open(engine)]).toEqual([SENT, SENT, TOLD]);
    expect(open(engine, "192.168.4.21")).toBe(SENT);
    expect(reason(engine, "source-limit")).toBe(1);
    later(engine, 70_000);
    expect([open(engine), open(engine), open(engine)]).toEqual([SENT, SENT, TOLD]);
  });

  it("of connections counts those of a server that left, as long as they last", async () => {
    const engine = await start({ perSource: { connections: 2 } });
    // Found by the fuzzer: what ended after its server had left was never taken off its source.
    expect([open(engine), open(engine)]).toEqual([SENT, SENT]);
    await engine.ipvs.removeServer(service(80).id, server(NET.servers[0].ip, 80).id);
    await engine.ipvs.addServer(service(80).id, server(NET.servers[1].ip, 80));
    expect(open(engine)).toBe(TOLD);
    later(engine, 70_000);
    expect([open(engine), open(engine), open(engine)]).toEqual([SENT, SENT, TOLD]);
  });

  it("of connections is that of the service whose server a connection got", async () => {
    // Found by the fuzzer: an FTP service takes all high ports, and a persistent one goes by the template of the service of
    // all ports. Its limit counted connections that were taken off the other's, and then let nobody in any more.
    const engine = createDirector();
    const ftp = service(21, "rr", "tcp", { persistence: 300, limits: { perSource: { connections: 1 } } });
    for (const config of [service(0, "rr", "tcp", { persistence: 300 }), ftp]) {
      await engine.ipvs.addService(config);
      await engine.ipvs.addServer(config.id, server(NET.servers[0].ip, config === ftp ? 21 : 0));
    }
    const there = { source: CLIENT, destination: NET.vip, destinationPort: 80 };
    const back = { source: NET.servers[0].ip, destination: CLIENT, sourcePort: 80 };
    const say = (flags: number) => {
      engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket({ ...there, sourcePort: 999 }, { flags })));
    };
    say(FLAG.syn);
    const answer = tcpPacket({ ...back, destinationPort: 999 }, { flags: FLAG.syn | FLAG.ack });
    engine.inject("int", ethernet(NET.int.mac, NET.servers[0].mac, answer));
    say(FLAG.ack);
    engine.collect();
    for (let times = 0; times < 3; times++) {
      const ends = { ...there, sourcePort: port++, destinationPort: 2000 };
      engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends, { flags: FLAG.syn })));
      expect(engine.collect().map(({ dev }) => dev)).toEqual(["int"]);
      later(engine, 70_000);
    }
    expect(engine.ipvs.tables.counters().reasons["source-limit"]).toBe(0);
  });

  it("of new connections a second is its own", async () => {
    const engine = await start({ perSource: { rate: 2 } });
    expect([open(engine), open(engine), open(engine)]).toEqual([SENT, SENT, TOLD]);
    expect(open(engine, "192.168.4.21")).toBe(SENT);
    later(engine, 1000);
    expect(open(engine)).toBe(SENT);
  });

  it("holds while a flood of others passes through the small table of sources", async () => {
    const engine = await start({ perSource: { connections: 1 } }, "udp", { sources: 16 });
    expect(open(engine, CLIENT, "udp")).not.toBe("");
    for (let n = 0; n < 2000; n++) open(engine, `10.${n >> 8}.${n & 255}.7`, "udp");
    // A table of 16 cannot remember 2000, but it works on.
    expect(engine.ipvs.tables.counters().verdicts.drop).toBeLessThan(2000);
    expect(open(engine, "192.168.4.99", "udp")).not.toBe("");
  });
});

describe("who is over a limit", () => {
  it("hears nothing when limit_answer is 0, and no more often than icmp_rate lets otherwise", async () => {
    const engine = await start({ connections: 1 });
    open(engine);
    engine.control.setting("icmp_rate", "3");
    expect(Array.from({ length: 5 }, () => open(engine))).toEqual([TOLD, TOLD, TOLD, "", ""]);
    later(engine, 1000);
    engine.control.setting("limit_answer", "0");
    expect(open(engine)).toBe("");
  });
});

describe("a table full of UDP that nobody answered", () => {
  const ends = (sourcePort: number) => ({ source: CLIENT, destination: NET.vip, sourcePort, destinationPort: 80 });
  const back = (destinationPort: number) =>
    udpPacket({ source: NET.servers[0].ip, destination: CLIENT, sourcePort: 80, destinationPort });

  it("makes room for others, and keeps clients that went on after an answer", async () => {
    const engine = await start({}, "udp", { connections: 64 });
    const send = (at: number) => engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, udpPacket(ends(at))));
    send(9000);
    engine.inject("int", ethernet(NET.int.mac, NET.servers[0].mac, back(9000)));
    send(9000);
    for (let n = 0; n < 500; n++) send(10_000 + n);
    expect(engine.collect()).toHaveLength(503);
    const clients: number[] = [];
    for await (const { clientPort } of engine.ipvs.connections()) clients.push(clientPort);
    expect(clients).toHaveLength(64);
    expect(clients).toContain(9000);
    expect(engine.ipvs.tables.counters().evictions).toBe(437);
  });

  it("makes room, too, when its server answers whoever sends one datagram", async () => {
    const engine = await start({}, "udp", { connections: 64 });
    const other = service(81, "rr", "tcp");
    await engine.ipvs.addService(other);
    await engine.ipvs.addServer(other.id, server(NET.servers[0].ip, 80));
    for (let n = 0; n < 200; n++) {
      engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, udpPacket(ends(10_000 + n))));
      engine.inject("int", ethernet(NET.int.mac, NET.servers[0].mac, back(10_000 + n)));
    }
    engine.collect();
    const syn = tcpPacket({ ...ends(9000), destinationPort: 81 }, { flags: FLAG.syn });
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, syn));
    expect(engine.collect().map(({ dev }) => dev)).toEqual(["int"]);
  });

  it("forgets them sooner with udp_unanswered", async () => {
    const engine = await start({}, "udp");
    engine.control.setting("udp_unanswered", "20");
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, udpPacket(ends(9000))));
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, udpPacket(ends(9001))));
    engine.inject("int", ethernet(NET.int.mac, NET.servers[0].mac, back(9001)));
    later(engine, 30_000);
    const clients: number[] = [];
    for await (const { clientPort } of engine.ipvs.connections()) clients.push(clientPort);
    expect(clients).toEqual([9001]);
  });
});
