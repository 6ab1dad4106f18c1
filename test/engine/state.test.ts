/** What a director leaves in its state file, and what the next one makes of it. */
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as Connection from "../../assembly/layout/connection.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Snapshot from "../../assembly/layout/snapshot.js";
import { END } from "../../host/core/snapshot.js";
import type { MemoryEngine, MemoryEngineConfig } from "../../host/engine/memory-engine.js";
import type { ForwardingName, ServiceConfig, ServiceProtocol } from "../../host/ipvs/model.js";
import { StateReader } from "../../host/state/reader.js";
import { PERIOD_MS } from "../../host/state/writer.js";
import { describe as decode } from "../conformance/frames.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { arp, ethernet, FLAG, tcpPacket, udpPacket } from "../support/packets.js";
import { copyServices, restore, SILENT, StatePlace, snapshotsOf } from "../support/state.js";

/** For what is written in the next period, on a machine that has other things to do. */
const PATIENTLY = { timeout: 10_000, interval: PERIOD_MS / 5 };
const V6 = { client: "2001:db8:4::20", vip: "2001:db8:4::100", real: "2001:db8:2::11" };
const INVITE = "INVITE sip:b@c SIP/2.0\r\nVia: x\r\nCall-ID: ";
/** Longer than one extension holds. */
const CALL = `${"a-long-call-identifier.".repeat(9)}@somewhere`;

function director(more: Partial<MemoryEngineConfig> = {}): MemoryEngine {
  return createDirector({
    interfaces: [
      {
        name: "ext",
        mac: NET.ext.mac,
        addresses: [`${NET.ext.ip}/24`, `${NET.vip}/32`, "2001:db8:4::133/64", `${V6.vip}/128`],
      },
      { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`, "2001:db8:2::130/64"] },
    ],
    neighbours: [
      { ...NET.client, dev: "ext" },
      { ...NET.gateway, dev: "ext" },
      { ip: V6.client, mac: NET.client.mac, dev: "ext" },
      ...NET.servers.map((each) => ({ ...each, dev: "int" })),
      { ip: V6.real, mac: NET.servers[0].mac, dev: "int" },
    ],
    ...more,
  });
}

/** A service of every kind whose connections keep something else. */
const KINDS: ReadonlyArray<readonly [number, ServiceProtocol, ForwardingName, string, Partial<ServiceConfig>]> = [
  [80, "tcp", "nat", "rr", {}],
  [81, "tcp", "nat", "wrr", {}],
  [82, "tcp", "fullnat", "rr", {}],
  [83, "tcp", "dr", "wlc", { persistence: 600 }],
  [84, "tcp", "nat", "sh", {}],
  [21, "tcp", "nat", "rr", {}],
  [5060, "udp", "nat", "rr", { persistence: 60, persistenceEngine: "sip" }],
  [53, "udp", "nat", "twos", {}],
];

async function furnish(engine: MemoryEngine): Promise<void> {
  for (const [port, protocol, forwarding, scheduler, more] of KINDS) {
    const config = service(port, scheduler, protocol, more);
    await engine.ipvs.addService(config);
    for (const [n, { ip }] of NET.servers.entries()) {
      const real = port === 81 || port === 82 ? 8080 : port;
      await engine.ipvs.addServer(config.id, server(ip, real, forwarding, { weight: n + 1 }));
    }
  }
  const six = { family: 6, protocol: "tcp", address: V6.vip, port: 80 } as const;
  await engine.ipvs.addService(service(80, "rr", "tcp", { id: six, persistencePrefix: 128 }));
  await engine.ipvs.addServer(six, server(V6.real, 8080));
  engine.breathe();
  engine.collect();
}

const fromClient = (packet: Uint8Array) => ethernet(NET.ext.mac, NET.client.mac, packet);

/** Sends one packet in at a port; what came out, decoded. */
function pass(engine: MemoryEngine, dev: string, frame: Uint8Array): string[] {
  engine.inject(dev, frame);
  return engine.collect().map((out) => `${out.dev} ${decode(out.frame)}`);
}

interface Flow {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

function syn(engine: MemoryEngine, ends: Flow): string {
  return pass(engine, "ext", fromClient(tcpPacket(ends, { flags: FLAG.syn, sequence: 1000 })))[0]!;
}

function segment(engine: MemoryEngine, ends: Flow, data = ""): string[] {
  const options = { flags: FLAG.ack | FLAG.psh, sequence: 1001, acknowledgement: 5001, data: Buffer.from(data) };
  return pass(engine, "ext", fromClient(tcpPacket(ends, options)));
}

/** The server's answer to what came out for it. */
function answer(engine: MemoryEngine, line: string, flags: number, data = ""): string[] {
  const found = /^int \S+ (\S+) > (\S+) .*tcp (\d+)>(\d+) /.exec(line);
  if (found === null) throw new Error(`nothing to answer: ${line}`);
  const [, destination, source, destinationPort, sourcePort] = found;
  const mac = NET.servers.find(({ ip }) => ip === source)?.mac ?? NET.servers[0].mac;
  const ends = {
    source: source!,
    destination: destination!,
    sourcePort: Number(sourcePort),
    destinationPort: Number(destinationPort),
  };
  const options = { flags, sequence: flags === FLAG.ack ? 5001 : 5000, acknowledgement: 1001, data: Buffer.from(data) };
  return pass(engine, "int", ethernet(NET.int.mac, mac, tcpPacket(ends, options)));
}

const flow = (destinationPort: number, sourcePort: number): Flow => ({
  source: NET.client.ip,
  destination: NET.vip,
  sourcePort,
  destinationPort,
});

const connections = (engine: MemoryEngine) =>
  [...engine.ipvs.tables.connections(engine.clock.ticks())].map((each) => JSON.stringify(each)).sort();

const word = (engine: MemoryEngine, at: number) =>
  new DataView(engine.memory.buffer).getUint32(Memory.LAYOUT_BASE + at, true);

/** One connection of every kind, through its handshake; what the server's side saw of each. */
function open(engine: MemoryEngine): Map<string, string> {
  const seen = new Map<string, string>();
  for (const [port, protocol, method] of KINDS) {
    if (protocol !== "tcp") continue;
    const line = syn(engine, flow(port, 40000));
    if (method !== "dr") answer(engine, line, FLAG.syn | FLAG.ack);
    segment(engine, flow(port, 40000));
    seen.set(`${port}`, line);
  }
  const six = { source: V6.client, destination: V6.vip, sourcePort: 40000, destinationPort: 80 };
  const line = syn(engine, six);
  seen.set("six", line);
  pass(engine, "ext", fromClient(udpPacket(flow(5060, 5060), Buffer.from(`${INVITE}${CALL}\r\n\r\n`))));
  pass(engine, "ext", fromClient(udpPacket(flow(53, 5353), Buffer.from("question"))));
  // A server's text that grows on its way: 10 octets of its address become 13 of the virtual one.
  answer(engine, seen.get("21")!, FLAG.ack, "227 Entering Passive Mode (192,168,2,13,200,10).\r\n");
  return seen;
}

/** What old connections and new ones do from now on. */
function goOn(engine: MemoryEngine, seen: Map<string, string>): string[] {
  const lines: string[] = [];
  for (const [port, protocol, method] of KINDS) {
    if (protocol !== "tcp") continue;
    lines.push(...segment(engine, flow(port, 40000), "more"));
    if (method !== "dr") lines.push(...answer(engine, seen.get(`${port}`)!, FLAG.ack, "an answer"));
    // New ones: each scheduler goes on where it was.
    for (let n = 1; n < 8; n++) lines.push(syn(engine, flow(port, 41000 + n)));
  }
  const six = { source: V6.client, destination: V6.vip, sourcePort: 40000, destinationPort: 80 };
  lines.push(...segment(engine, six, "more"), ...answer(engine, seen.get("six")!, FLAG.syn | FLAG.ack));
  for (const source of [5060, 5061]) {
    const call = udpPacket(flow(5060, source), Buffer.from(`${INVITE}${CALL}\r\n\r\n`));
    lines.push(...pass(engine, "ext", fromClient(call)));
  }
  lines.push(...pass(engine, "ext", fromClient(udpPacket(flow(53, 5353), Buffer.from("another")))));
  return lines;
}

describe("a state file", () => {
  let place: StatePlace;
  beforeEach(() => {
    place = new StatePlace();
  });
  afterEach(() => place.close());

  async function written(engine: MemoryEngine): Promise<void> {
    const writer = place.writer(engine);
    await writer.start();
    await writer.close();
  }

  it.each([
    ["the same capacities", {}],
    [
      "a larger table, another seed, another time",
      { capacities: { connections: 100_000 }, seed: 77, start: 4_000_000 },
    ],
    ["a smaller table", { capacities: { connections: 64, extensions: 32 }, seed: 78 }],
  ] as const)("gives tables of %s all that there was", async (_, config) => {
    const engine = director();
    await furnish(engine);
    // Records far up, and holes below them.
    for (let n = 0; n < 100; n++) syn(engine, flow(84, 20000 + n));
    engine.advanceTo(90_000);
    const seen = open(engine);
    engine.advanceTo(95_000);
    segment(engine, flow(81, 40000));
    await written(engine);
    const next = director(config);
    await copyServices(engine, next);
    expect(restore(place, next)).toEqual({ connections: connections(engine).length, refused: 0 });
    expect(connections(next)).toEqual(connections(engine));
    expect(await next.ipvs.services()).toEqual(await engine.ipvs.services());
    expect(await next.ipvs.totals()).toEqual(await engine.ipvs.totals());
    expect(goOn(next, seen)).toEqual(goOn(engine, seen));
    expect(connections(next)).toEqual(connections(engine));
    expect((await next.ipvs.services()).map(({ servers }) => servers)).toEqual(
      (await engine.ipvs.services()).map(({ servers }) => servers),
    );
    // All of it ends in its time: nothing is held twice, nothing is lost.
    next.advanceTo(3_600_000);
    expect(connections(next)).toEqual([]);
    for (const at of [Memory.CONNECTION_COUNT, Memory.EXTENSION_COUNT, Memory.FULL_NAT_COUNT])
      expect(word(next, at)).toBe(0);
    for (const { servers } of await next.ipvs.services()) {
      for (const each of servers) expect([each.active, each.inactive, each.persistent]).toEqual([0, 0, 0]);
    }
  });

  it("has what changed since the snapshot, and what ended", async () => {
    const engine = director();
    await furnish(engine);
    const writer = place.writer(engine);
    await writer.start();
    const seen = open(engine);
    engine.advanceTo(5000);
    const ended = syn(engine, flow(80, 50000));
    answer(engine, ended, FLAG.syn | FLAG.ack);
    await new Promise((resolve) => setTimeout(resolve, 300));
    pass(engine, "ext", fromClient(tcpPacket(flow(80, 50000), { flags: FLAG.rst, sequence: 1001 })));
    engine.advanceTo(30_000);
    // Counters, and where schedulers are, are written every second.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    // As after a kill -9: nobody wrote an end.
    const file = readFileSync(place.path);
    await writer.pause();
    writeFileSync(place.path, file);
    const next = director();
    await copyServices(engine, next);
    expect(restore(place, next).refused).toBe(0);
    const ports = (from: MemoryEngine) =>
      [...from.ipvs.tables.connections(0)].map((each) => `${each.clientPort} ${each.state}`).sort();
    expect(ports(next)).toEqual(ports(engine));
    expect(goOn(next, seen)).toEqual(goOn(engine, seen));
  });

  it("stays as it was when its writer is paused in the middle of a snapshot, and is written by the next", async () => {
    const engine = director();
    await furnish(engine);
    syn(engine, flow(80, 40000));
    const said: string[] = [];
    const note = ({ event }: { readonly event: string }) => void said.push(event);
    const log = { ...SILENT, warn: note, error: note };
    const first = place.writer(engine, log);
    const started = first.start();
    await first.pause();
    await started;
    // The files' places are those that whoever comes next was given.
    expect(place.commits).toBe(0);
    expect(readFileSync(place.path)).toHaveLength(0);
    const second = place.writer(engine, log);
    await second.start();
    await second.close();
    expect(place.commits).toBe(1);
    const next = director();
    await copyServices(engine, next);
    expect(restore(place, next).connections).toBe(1);
    expect(said).toEqual([]);
  });

  it("follows a director that goes on, and takes its place", async () => {
    const engine = director();
    await furnish(engine);
    for (let n = 0; n < 200; n++) syn(engine, flow(84, 20000 + n));
    const seen = open(engine);
    const writer = place.writer(engine);
    await writer.start();
    const next = director({ seed: 99 });
    await copyServices(engine, next);
    const snapshots = snapshotsOf(next);
    const fd = openSync(place.path, "r");
    const reader = new StateReader(fd, snapshots, "ours");
    /** When more than so many bytes are there, whole. */
    const follow = async (bytes: number) => {
      await vi.waitFor(() => {
        snapshots.advance(word(engine, Memory.NOW));
        expect(reader.look()).toMatchObject({ torn: 0 });
        expect(writer.status.bytes).toBeGreaterThan(bytes);
      }, PATIENTLY);
      reader.link();
    };
    await follow(0);
    const { id } = service(80);
    for (let round = 0; round < 3; round++) {
      const { bytes } = writer.status;
      // Some are made, in records that were others' too; some end; some go on; one server leaves, and comes back.
      for (let n = 0; n < 50; n++) {
        const old = flow(84, 20000 + round * 50 + n);
        pass(engine, "ext", fromClient(tcpPacket(old, { flags: FLAG.rst, sequence: 1001 })));
        syn(engine, flow(82, 30000 + round * 50 + n));
      }
      engine.advanceTo(engine.clock.nowMs + 11_000);
      for (const port of [80, 82]) answer(engine, syn(engine, flow(port, 50000 + round)), FLAG.syn | FLAG.ack);
      const change = round % 2 === 0 ? "removeServer" : "addServer";
      for (const which of [engine, next]) {
        if (change === "addServer") await which.ipvs.addServer(id, server("192.168.2.13", 80));
        else await which.ipvs.removeServer(id, server("192.168.2.13", 80).id);
      }
      await follow(bytes);
    }
    await writer.close();
    expect(reader.look()).toMatchObject({ torn: 0 });
    expect(reader.restore()).toEqual({ connections: connections(engine).length, refused: 0 });
    closeSync(fd);
    next.advanceTo(engine.clock.nowMs);
    expect(connections(next)).toEqual(connections(engine));
    // Rates are of the seconds before: one of the two has had none.
    const counted = async (of: MemoryEngine) =>
      JSON.parse(JSON.stringify(await of.ipvs.services(), (key, value) => (key === "rates" ? undefined : value)));
    expect(await counted(next)).toEqual(await counted(engine));
    seen.delete("80");
    for (const [port, line] of seen) {
      if (port === "six") continue;
      expect(segment(next, flow(Number(port), 40000))).toEqual(segment(engine, flow(Number(port), 40000)));
      if (line.startsWith("int")) {
        const how = port === "83" ? [] : [FLAG.ack];
        for (const flags of how) expect(answer(next, line, flags, "x")).toEqual(answer(engine, line, flags, "x"));
      }
    }
    for (const at of [Memory.CONNECTION_COUNT, Memory.EXTENSION_COUNT, Memory.FULL_NAT_COUNT])
      expect(word(next, at)).toBe(word(engine, at));
    next.advanceTo(7_200_000);
    expect(connections(next)).toEqual([]);
    for (const at of [Memory.CONNECTION_COUNT, Memory.EXTENSION_COUNT, Memory.FULL_NAT_COUNT])
      expect(word(next, at)).toBe(0);
    for (const { servers } of await next.ipvs.services()) {
      for (const each of servers) expect([each.active, each.inactive, each.persistent]).toEqual([0, 0, 0]);
    }
  });

  it("has what the SYN proxy knows: what it answered with, and how it translates", async () => {
    const { id } = service(90);
    const proxied = async () => {
      const engine = director();
      await engine.ipvs.addService(service(90, "rr", "tcp", { synProxy: "on" }));
      await engine.ipvs.addServer(id, server(NET.servers[0].ip, 90));
      engine.breathe();
      return engine;
    };
    const ends = flow(90, 40000);
    const tcp = (flags: number, sequence: number, acknowledgement: number) =>
      fromClient(tcpPacket(ends, { flags, sequence, acknowledgement }));
    const raw = (engine: MemoryEngine, dev: string, frame: Uint8Array) => {
      engine.inject(dev, frame);
      return engine.collect().map((out) => ({ dev: out.dev, view: Buffer.from(out.frame).subarray(14 + 20) }));
    };
    const first = await proxied();
    const cookie = raw(first, "ext", tcp(FLAG.syn, 1000, 0))[0]!.view.readUInt32BE(4);
    await written(first);
    // Another one is brought the cookie, and asks the server.
    const second = await proxied();
    restore(place, second);
    const asked = raw(second, "ext", tcp(FLAG.ack, 1001, cookie + 1));
    expect(asked.map(({ dev, view }) => [dev, view[13], view.readUInt32BE(4)])).toEqual([["int", FLAG.syn, 1000]]);
    const other = new StatePlace();
    try {
      const writer = other.writer(second);
      await writer.start();
      // It is written down before the server answers, and its numbers once they are known.
      const back = { source: NET.servers[0].ip, destination: NET.client.ip, sourcePort: 90, destinationPort: 40000 };
      const fromServer = (flags: number, sequence: number) =>
        ethernet(
          NET.int.mac,
          NET.servers[0].mac,
          tcpPacket(back, { flags, sequence, acknowledgement: 1001, data: Buffer.from(flags === FLAG.ack ? "x" : "") }),
        );
      raw(second, "int", fromServer(FLAG.syn | FLAG.ack, 7000));
      await vi.waitFor(async () => {
        const third = await proxied();
        expect(restore(other, third)).toEqual({ connections: 1, refused: 0 });
        const [out] = raw(third, "int", fromServer(FLAG.ack, 7001));
        expect([out?.dev, out?.view.readUInt32BE(4)]).toEqual(["ext", (cookie + 1) >>> 0]);
      }, PATIENTLY);
      await writer.pause();
    } finally {
      other.close();
    }
  });

  it("knows neighbours by their MAC, and what counts against limits", async () => {
    const neighbours = [{ ...NET.client, dev: "ext" }];
    const config = service(91, "rr", "tcp", { limits: { perSource: { connections: 2 } } });
    const limited = async () => {
      const engine = director({ neighbours });
      await engine.ipvs.addService(config);
      await engine.ipvs.addServer(config.id, server(NET.servers[0].ip, 91));
      engine.breathe();
      return engine;
    };
    const engine = await limited();
    const { ip, mac } = NET.servers[0];
    pass(
      engine,
      "int",
      ethernet("ff:ff:ff:ff:ff:ff", mac, arp(1, { mac, ip }, { mac: "00:00:00:00:00:00", ip: NET.int.ip }), 0x0806),
    );
    expect(syn(engine, flow(91, 40001))).toMatch(/^int .*tcp 40001>91/);
    await written(engine);
    const next = await limited();
    expect(restore(place, next)).toEqual({ connections: 1, refused: 0 });
    expect(syn(next, flow(91, 40002))).toMatch(/^int .*tcp 40002>91/);
    // The third of one source.
    expect(syn(next, flow(91, 40003))).toMatch(/^ext .*tcp 91>40003 R/);
    const [info] = await next.ipvs.services();
    expect(info!.servers[0]!.active).toBe(2);
  });

  // WLVS_STATE_CONNECTIONS=1000000 says what that many cost.
  it("is read in one go, however many connections there are", async () => {
    const count = Number(process.env.WLVS_STATE_CONNECTIONS ?? 5000);
    const capacities = { connections: count };
    const engine = director({ capacities });
    await furnish(engine);
    for (let n = 0; n < count; n++) {
      const source = `10.${(n >>> 14) & 255}.${(n >>> 6) & 255}.${n & 63}`;
      const ends = { source, destination: NET.vip, sourcePort: 1024 + (n % 60000), destinationPort: 84 };
      pass(engine, "ext", fromClient(tcpPacket(ends, { flags: FLAG.syn, sequence: 1000 })));
    }
    await written(engine);
    const next = director({ capacities, seed: 5 });
    await copyServices(engine, next);
    const began = performance.now();
    const restored = restore(place, next);
    const ms = Math.round(performance.now() - began);
    if (process.env.WLVS_STATE_CONNECTIONS !== undefined) {
      // What a worker may have to wait for while a snapshot is taken.
      const snapshots = snapshotsOf(next);
      const held: number[] = [];
      for (let at = 0; at !== END; ) {
        const from = performance.now();
        at = snapshots.slice("connections", at);
        held.push((performance.now() - from) * 1000);
      }
      held.sort((a, b) => a - b);
      const at = (share: number) => Math.round(held[Math.floor(share * (held.length - 1))]!);
      const slices = `a slice took ${at(0.5)} us, 99.9 of 100 at most ${at(0.999)} us, all at most ${at(1)} us`;
      console.log(`${count} connections restored in ${ms} ms; ${slices}`);
    }
    expect(restored).toEqual({ connections: count, refused: 0 });
    expect(word(next, Memory.CONNECTION_COUNT)).toBe(count);
  }, 300_000);

  it("keeps connections to servers that were removed, and drops those to services that are no more", async () => {
    const engine = director();
    await furnish(engine);
    const line = syn(engine, flow(80, 40000));
    answer(engine, line, FLAG.syn | FLAG.ack);
    segment(engine, flow(80, 40000));
    const { id } = service(80);
    await engine.ipvs.removeServer(id, server("192.168.2.13", 80).id);
    await written(engine);
    const next = director();
    await copyServices(engine, next);
    expect(restore(place, next)).toEqual({ connections: 1, refused: 0 });
    // Without expire_nodest_conn packets for it are dropped silently until it comes back, as in the kernel.
    expect(segment(next, flow(80, 40000))).toEqual([]);
    await next.ipvs.addServer(id, server("192.168.2.13", 80));
    expect(segment(next, flow(80, 40000))).toEqual(segment(next, flow(80, 40000)));
    expect(segment(next, flow(80, 40000))).toHaveLength(1);
  });

  it("is read up to where it is damaged, and refused when its snapshot is", async () => {
    const engine = director();
    await furnish(engine);
    open(engine);
    await written(engine);
    const whole = readFileSync(place.path);
    const outcomes = new Set<string>();
    let untouched: MemoryEngine | undefined;
    const step = Math.max(1, Math.floor(whole.length / 150));
    for (let at = 0; at < whole.length; at += at < 70 ? 2 : step) {
      const cut = whole.subarray(0, at);
      const flipped = Buffer.from(whole);
      flipped[at] = flipped[at]! ^ (1 << (at & 7));
      for (const bytes of [cut, flipped]) {
        writeFileSync(place.path, bytes);
        const next: MemoryEngine = untouched ?? director();
        untouched = next;
        const outcome = place.read(next, (reader) => {
          const found = reader.look();
          if ("refused" in found) {
            // Nothing of it is left.
            expect([word(next, Memory.CONNECTION_HIGH), word(next, Memory.EXTENSION_COUNT)]).toEqual([0, 0]);
            return found.refused.replace(/\d+/g, "N");
          }
          untouched = undefined;
          reader.restore();
          next.advanceTo(100_000);
          return found.torn > 0 ? "a torn end" : "whole";
        });
        outcomes.add(outcome);
      }
    }
    expect([...outcomes].sort()).toEqual(
      [
        "a torn end",
        "it has format N, this is for format N",
        "it is cut off",
        "it is damaged at byte N, before its snapshot is whole",
        "it is empty",
        "it is no state file",
        "its head is damaged",
      ].filter((text) => outcomes.has(text) || !text.startsWith("it has format")),
    );
  });

  it("cannot bring the core to trap, whatever its entries say", async () => {
    const engine = director();
    await furnish(engine);
    open(engine);
    const from = snapshotsOf(engine);
    const slices: Buffer[] = [];
    for (const walk of ["connections", "servers", "services", "addresses"] as const) {
      for (let at = 0; at !== END; ) {
        at = from.slice(walk, at);
        slices.push(Buffer.from(from.written));
      }
    }
    let seed = 20261125;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed % below;
    };
    for (let round = 0; round < 50; round++) {
      const next = director({ capacities: { connections: 256, extensions: 64 } });
      await copyServices(engine, next);
      const into = snapshotsOf(next);
      into.begin();
      for (const slice of slices) {
        const entries = Buffer.from(slice);
        for (let n = random(12); n > 0 && entries.length > 0; n--) {
          const at = random(entries.length);
          entries[at] = random(3) === 0 ? 0xff : random(256);
        }
        into.take(entries.subarray(0, entries.length - (random(20) === 0 ? random(64) : 0)), random(1000));
        // What is linked already may be said otherwise later.
        if (random(3) === 0) into.link(random(100));
        if (random(3) === 0) into.take(slice, random(1000));
      }
      into.link(0);
      const { connections: count } = into.finish();
      expect(word(next, Memory.CONNECTION_COUNT)).toBe(count);
      for (const [port, protocol] of KINDS) {
        if (protocol === "tcp") segment(next, flow(port, 40000), "x");
        if (protocol === "tcp")
          pass(next, "ext", fromClient(tcpPacket(flow(port, 42000 + round), { flags: FLAG.syn })));
      }
      await next.ipvs.flush();
      next.advanceTo(4_000_000);
      expect(word(next, Memory.CONNECTION_COUNT)).toBeLessThanOrEqual(1);
    }
  });

  it("takes a slice of the table at a time", async () => {
    const engine = director();
    await furnish(engine);
    for (let n = 0; n < 3000; n++) syn(engine, flow(84, 1024 + n));
    const snapshots = snapshotsOf(engine);
    let slices = 0;
    for (let at = 0; at !== END; slices++) {
      at = snapshots.slice("connections", at);
      expect(snapshots.written.length).toBeLessThanOrEqual(
        128 * (Snapshot.HEAD + Connection.SIZE + Connection.COLD_SIZE),
      );
    }
    expect(slices).toBe(Math.ceil(3000 / 128));
  });
});
