/** Servers that fail: what the core counts of them, whom it sends elsewhere, and what becomes of their connections. */
import { describe, expect, it } from "vitest";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import type { FailureStep, ServerConfig, ServerFailure, ServiceConfig } from "../../host/ipvs/model.js";
import { checksum, pseudoHeader } from "../conformance/frames.js";
import { createDirector, NET, server, service } from "../support/director.js";
import {
  address,
  concat,
  ethernet,
  FLAG,
  icmp,
  ip4,
  PROTOCOL,
  type TcpOptions,
  tcpPacket,
  udpPacket,
} from "../support/packets.js";

const C = NET.client.ip;
const V = NET.vip;
const [S1, S2] = [NET.servers[0].ip, NET.servers[1].ip];
const WEB = service(80);
const LIMITS = { refused: 1, unanswered: 1, window: 10_000 };
const SYN_RECV_MS = 60_000;

/** A client's view of a director. */
class Bench {
  readonly engine: MemoryEngine;
  readonly service: ServiceConfig;
  readonly servers: readonly ServerConfig[];

  private constructor(engine: MemoryEngine, web: ServiceConfig, servers: readonly ServerConfig[]) {
    this.engine = engine;
    this.service = web;
    this.servers = servers;
  }

  static async make(
    web: ServiceConfig = WEB,
    servers = [server(S1, 80), server(S2, 80)],
    settings: Record<string, number> = {},
  ): Promise<Bench> {
    const engine = createDirector({ settings });
    await engine.ipvs.addService(web);
    for (const one of servers) await engine.ipvs.addServer(web.id, one);
    return new Bench(engine, web, servers);
  }

  watch(limits = LIMITS): void {
    for (const { id } of this.servers) this.engine.ipvs.watchServer(this.service.id, id, limits);
  }

  /** A segment from the client; the last byte of the server that got it, 0: nobody did. */
  ask(port: number, options: TcpOptions = {}): number {
    const ends = { source: C, sourcePort: port, destination: V, destinationPort: 80 };
    this.engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends, options)));
    const out = this.engine.collect().find(({ dev }) => dev === "int");
    return out === undefined ? 0 : out.frame[33]!;
  }

  /** What a server sends to the client. */
  answer(last: number, port: number, flags: number): void {
    const ends = { source: `192.168.2.${last}`, sourcePort: 80, destination: C, destinationPort: port };
    this.engine.inject("int", ethernet(NET.int.mac, NET.servers[0].mac, tcpPacket(ends, { flags })));
    this.engine.collect();
  }

  /** A connection all the way; who has it. */
  connect(port: number): number {
    const last = this.ask(port);
    this.answer(last, port, FLAG.syn | FLAG.ack);
    expect(this.ask(port, { flags: FLAG.ack })).toBe(last);
    return last;
  }

  async counts(last: number): Promise<[refused: number, unanswered: number]> {
    const { servers } = await this.engine.ipvs.service(this.service.id);
    const found = servers.find(({ id }) => id.address === `192.168.2.${last}`)!;
    return [found.refused!, found.unanswered!];
  }

  async fail(last: number, failure: ServerFailure | undefined, how: "remove" | "inhibit"): Promise<void> {
    const one = this.servers.find(({ id }) => id.address === `192.168.2.${last}`)!;
    const step: FailureStep =
      how === "remove"
        ? { do: "removeServer", service: this.service.id, server: one.id, failure }
        : { do: "editServer", service: this.service.id, server: { ...one, weight: 0 }, failure };
    await this.engine.ipvs.transaction([step]);
  }

  suspects(): number[] {
    return Array.from(this.engine.ipvs.suspects(), (one) => Number(one.server.address.split(".")[3]));
  }

  /** Client port and state of what is in the table, without templates. */
  async table(): Promise<string[]> {
    const found: string[] = [];
    for await (const one of this.engine.ipvs.connections())
      if (!one.template) found.push(`${one.clientPort} ${one.state}`);
    return found.sort();
  }
}

describe("what clients meet at a server", () => {
  it("is counted: a reset in the handshake, and no other", async () => {
    const bench = await Bench.make();
    const last = bench.ask(4000);
    bench.answer(last, 4000, FLAG.rst | FLAG.ack);
    expect(await bench.counts(last)).toEqual([1, 0]);
    const other = bench.connect(4001);
    bench.answer(other, 4001, FLAG.rst | FLAG.ack);
    expect(await bench.counts(other)).toEqual([0, 0]);
    expect(bench.suspects()).toEqual([]);
  });

  it("is counted once a connection: a SYN said again, or a handshake that times out", async () => {
    const bench = await Bench.make(WEB, [server(S1, 80)]);
    for (let times = 0; times < 4; times++) bench.ask(4000);
    expect(await bench.counts(11)).toEqual([0, 1]);
    bench.ask(4001);
    // Answered, but the client does not seem to hear it.
    bench.ask(4002);
    bench.answer(11, 4002, FLAG.syn | FLAG.ack);
    bench.ask(4002);
    bench.engine.advanceTo(bench.engine.clock.nowMs + SYN_RECV_MS + 10_000);
    expect(await bench.table()).toEqual([]);
    expect(await bench.counts(11)).toEqual([0, 2]);
  });

  it("is not told by silence where answers go past the director", async () => {
    const bench = await Bench.make(WEB, [server(S1, 80, "dr")]);
    bench.ask(4000);
    bench.ask(4000);
    bench.engine.advanceTo(bench.engine.clock.nowMs + SYN_RECV_MS + 10_000);
    expect(await bench.counts(11)).toEqual([0, 0]);
  });

  it("is told by ICMP errors too", async () => {
    const dns = service(53, "rr", "udp");
    const bench = await Bench.make(dns, [server(S1, 53)]);
    const query = { source: C, sourcePort: 4000, destination: V, destinationPort: 53 };
    bench.engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, udpPacket(query)));
    bench.engine.collect();
    const about = udpPacket({ ...query, destination: S1 }, undefined, { ttl: 63 });
    for (const code of [3, 4]) {
      const message = icmp(3, code, undefined, about);
      bench.engine.inject("int", ethernet(NET.int.mac, NET.servers[0].mac, ip4(S1, C, PROTOCOL.icmp, message)));
    }
    // Port unreachable counts, "fragmentation needed" does not.
    expect(await bench.counts(11)).toEqual([1, 0]);
  });
});

describe("a suspect", () => {
  it("gets no connection from the very next SYN on, until somebody changes it", async () => {
    const bench = await Bench.make();
    bench.watch();
    const last = bench.ask(4000);
    bench.answer(last, 4000, FLAG.rst | FLAG.ack);
    expect(bench.suspects()).toEqual([last]);
    expect(bench.engine.ipvs.suspectsSoFar()).toBe(1);
    for (let port = 4001; port < 4010; port++) expect(bench.ask(port)).not.toBe(last);
    await bench.engine.ipvs.editServer(WEB.id, bench.servers.find(({ id }) => id.address.endsWith(`.${last}`))!);
    expect(bench.suspects()).toEqual([]);
    expect([bench.ask(4010), bench.ask(4011)]).toContain(last);
  });

  it("is one only after as many within the window", async () => {
    const bench = await Bench.make(WEB, [server(S1, 80)]);
    bench.watch({ refused: 3, unanswered: 0, window: 5000 });
    const refuse = (port: number) => {
      bench.ask(port);
      bench.answer(11, port, FLAG.rst | FLAG.ack);
    };
    refuse(4000);
    refuse(4001);
    bench.engine.advanceTo(bench.engine.clock.nowMs + 6000);
    refuse(4002);
    refuse(4003);
    expect(bench.suspects()).toEqual([]);
    refuse(4004);
    expect(bench.suspects()).toEqual([11]);
    // Silence does not count here.
    expect(Array.from(bench.engine.ipvs.suspects())).toMatchObject([{ refused: 3, unanswered: 0 }]);
    bench.engine.ipvs.watchServer(WEB.id, bench.servers[0]!.id, undefined);
    expect(bench.suspects()).toEqual([]);
    refuse(4005);
    refuse(4006);
    refuse(4007);
    expect(bench.suspects()).toEqual([]);
  });

  it("loses the SYN that is said again, whose client did not hear from it", async () => {
    const bench = await Bench.make();
    bench.watch();
    const last = bench.ask(4000);
    expect(bench.ask(4000)).toBe(last === 11 ? 12 : 11);
    expect(bench.suspects()).toEqual([last]);
  });

  it.each(["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos", "maglev"])(
    "is passed over by %s",
    async (scheduler) => {
      const heavy = [S1, S2].map((address) => server(address, 80, "nat", { weight: 100 }));
      const bench = await Bench.make(service(80, scheduler), heavy);
      bench.watch();
      const last = bench.ask(4000);
      bench.answer(last, 4000, FLAG.rst | FLAG.ack);
      const seen = new Set<number>();
      for (let port = 4001; port < 4030; port++) seen.add(bench.ask(port));
      expect([...seen]).toEqual([last === 11 ? 12 : 11]);
    },
  );

  it("loses its persistent clients", async () => {
    const bench = await Bench.make(service(80, "rr", "tcp", { persistence: 300 }));
    bench.watch();
    const last = bench.connect(4000);
    expect(bench.ask(4001)).toBe(last);
    bench.answer(last, 4001, FLAG.rst | FLAG.ack);
    expect(bench.ask(4002)).toBe(last === 11 ? 12 : 11);
  });
});

describe.each(["remove", "inhibit"] as const)("connections of a failed server, %s", (how) => {
  it("are kept: their packets go on to it", async () => {
    const bench = await Bench.make(WEB, undefined, { expire_nodest_conn: 1, reschedule: 1 });
    const last = bench.connect(4000);
    await bench.fail(last, "keep", how);
    bench.engine.advanceTo(bench.engine.clock.nowMs + 100);
    expect(bench.ask(4000, { flags: FLAG.ack })).toBe(last);
    expect(bench.ask(4001)).not.toBe(last);
  });

  it("are rescheduled only while they are embryonic", async () => {
    const bench = await Bench.make(WEB, undefined, { expire_nodest_conn: 0, reschedule: 0 });
    const last = bench.connect(4000);
    bench.connect(4001);
    expect(bench.ask(4002)).toBe(last);
    await bench.fail(last, "reschedule", how);
    // At once, whether the table was gone through or not.
    expect(bench.ask(4002)).toBe(last === 11 ? 12 : 11);
    expect(bench.ask(4000, { flags: FLAG.ack })).toBe(last);
    expect(await bench.table()).toEqual(["4000 ESTABLISHED", "4001 ESTABLISHED", "4002 SYN_RECV"]);
  });

  it("are forgotten while they are embryonic, before their clients ask again", async () => {
    const bench = await Bench.make();
    const last = bench.ask(4000);
    await bench.fail(last, "reschedule", how);
    bench.engine.advanceTo(bench.engine.clock.nowMs + 100);
    expect(await bench.table()).toEqual([]);
  });

  it("are reset: the client is asked what it waits for, and reset with that", async () => {
    const bench = await Bench.make();
    const last = bench.connect(4000);
    bench.connect(4001);
    expect(bench.ask(4002)).toBe(last);
    await bench.fail(last, "reset", how);
    bench.engine.advanceTo(bench.engine.clock.nowMs + 100);
    const sent = bench.engine.collect().filter(({ dev }) => dev === "ext");
    expect(sent).toHaveLength(1);
    const packet = Buffer.from(sent[0]!.frame.subarray(14));
    expect(sent[0]!.frame.subarray(0, 6)).toEqual(Uint8Array.from(Buffer.from("020000000414", "hex")));
    expect([packet.readUInt16BE(20), packet.readUInt16BE(22)]).toEqual([80, 4000]);
    expect(packet[33]).toBe(FLAG.ack);
    // Right in both checksums, as every packet of the director's own.
    expect(checksum(packet.subarray(0, 20))).toBe(0);
    expect(checksum(pseudoHeader(address(V), address(C), PROTOCOL.tcp, 20), packet.subarray(20, 40))).toBe(0);
    expect(await bench.table()).toEqual(["4001 ESTABLISHED"]);
    // The client's answer, as any other segment of it, says where it is.
    const ends = { source: C, sourcePort: 4000, destination: V, destinationPort: 80 };
    const ack = tcpPacket(ends, { flags: FLAG.ack, sequence: 77, acknowledgement: 0x12345678 });
    bench.engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, ack));
    const [reset] = bench.engine.collect();
    expect(Buffer.from(reset!.frame).readUInt32BE(14 + 20 + 4)).toBe(0x12345678);
    expect(reset!.frame[14 + 33]).toBe(FLAG.rst);
    // A SYN that was not answered yet goes to somebody else.
    expect(bench.ask(4002)).toBe(last === 11 ? 12 : 11);
  });

  it("are reset by the packet that comes before the table was gone through", async () => {
    const bench = await Bench.make();
    const last = bench.connect(4000);
    await bench.fail(last, "reset", how);
    const ends = { source: C, sourcePort: 4000, destination: V, destinationPort: 80 };
    const data = tcpPacket(ends, { flags: FLAG.ack, acknowledgement: 55, data: concat(Uint8Array.of(1, 2, 3)) });
    bench.engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, data));
    const out = bench.engine.collect().filter(({ frame }) => frame[14 + 33] === FLAG.rst);
    expect(out.map(({ dev, frame }) => [dev, Buffer.from(frame).readUInt32BE(38)])).toEqual([["ext", 55]]);
  });

  it("are of persistent clients, who go elsewhere", async () => {
    const bench = await Bench.make(service(80, "rr", "tcp", { persistence: 300 }));
    const last = bench.connect(4000);
    expect(bench.ask(4001)).toBe(last);
    await bench.fail(last, "reschedule", how);
    expect(bench.ask(4002)).toBe(last === 11 ? 12 : 11);
    expect(bench.ask(4000, { flags: FLAG.ack })).toBe(last);
  });

  it("are its own again when it comes back", async () => {
    const bench = await Bench.make();
    const last = bench.connect(4000);
    const one = bench.servers.find(({ id }) => id.address.endsWith(`.${last}`))!;
    await bench.fail(last, "reset", how);
    if (how === "remove") await bench.engine.ipvs.addServer(WEB.id, one);
    else await bench.engine.ipvs.editServer(WEB.id, one);
    bench.engine.advanceTo(bench.engine.clock.nowMs + 100);
    expect(bench.ask(4000, { flags: FLAG.ack })).toBe(last);
  });
});

it("a kept server's connections end with its service", async () => {
  const bench = await Bench.make(WEB, undefined, { expire_nodest_conn: 1 });
  const last = bench.connect(4000);
  await bench.fail(last, "keep", "remove");
  await bench.engine.ipvs.removeService(WEB.id);
  bench.engine.advanceTo(bench.engine.clock.nowMs + 100);
  expect(await bench.table()).toEqual([]);
});

it("many connections are reset a part at a time", async () => {
  const bench = await Bench.make(WEB, [server(S1, 80), server(S2, 80)]);
  const count = 1000;
  for (let n = 0; n < count; n++) bench.connect(10_000 + n);
  await bench.fail(11, "reset", "remove");
  const most: number[] = [];
  for (let turn = 0; turn < 60; turn++) {
    bench.engine.clock.nowMs += 4;
    bench.engine.breathe();
    most.push(bench.engine.collect().length);
  }
  expect(Math.max(...most)).toBeLessThanOrEqual(128);
  expect(most.reduce((sum, sent) => sum + sent, 0)).toBe(count / 2);
  expect(await bench.table()).toHaveLength(count / 2);
});
