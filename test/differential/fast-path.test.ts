/** The fast path does what the general one does: the same frames, tables, counters and timers, byte by byte. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import * as Connection from "../../assembly/layout/connection.js";
import * as Hint from "../../assembly/layout/hint.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import * as Setting from "../../assembly/layout/setting.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as Worker from "../../assembly/layout/worker.js";
import type { Capacities } from "../../host/core/memory.js";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import { goldenFrames, seal } from "../fuzz/frames.js";
import { Random } from "../fuzz/random.js";
import { Scenario } from "../fuzz/scenario.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { concat, ethernet, FLAG, ip4, PROTOCOL, tcp, tcpPacket, udp, udpPacket } from "../support/packets.js";
import { tableDigest } from "../support/table-digest.js";

const SEEDS = 6;
const STEPS = 400;

/** A frame that a guard turned away has lost the mark by the time it is sent: its hash was used. */
const tookFastPath = (descriptor: DataView) => (descriptor.getUint8(Slot.HINT) & Hint.HINT_PLAIN) !== 0;

function live(seed: number, golden: readonly Uint8Array[], generalPathOnly: boolean) {
  const hash = createHash("sha1");
  let fast = 0;
  const scenario = new Scenario(seed, golden, {
    generalPathOnly,
    onSent: (bytes, descriptor) => {
      hash.update(bytes);
      if (tookFastPath(descriptor)) fast++;
    },
    onTables: (memory) => hash.update(tableDigest(memory)),
  });
  const outcome = scenario.run(STEPS);
  return { fast, result: { ...outcome, digest: hash.digest("hex") } };
}

describe("random lives of a director", () => {
  it("go the same way with the fast path and without it", () => {
    const golden = goldenFrames("test/golden");
    let fast = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const either = live(seed, golden, false);
      const general = live(seed, golden, true);
      expect(either.result, `seed ${seed}`).toEqual(general.result);
      expect(general.fast).toBe(0);
      fast += either.fast;
    }
    expect(fast).toBeGreaterThan(0);
  });
});

const [S] = NET.servers;
const C = NET.client.ip;
const V = NET.vip;
const ends = (source: string, sourcePort: number, destination: string, destinationPort: number) => ({
  source,
  destination,
  sourcePort,
  destinationPort,
});
const IN = ends(C, 4000, V, 80);
const OUT = ends(S.ip, 8080, C, 4000);
const ASKED = ends(C, 4000, V, 53);
const ANSWERED = ends(S.ip, 5353, C, 4000);
const ACK = { flags: FLAG.ack, data: new Uint8Array(11).fill(7) };

const fromClient = (packet: Uint8Array, mac: string = NET.ext.mac) => ethernet(mac, NET.client.mac, packet);
const fromServer = (packet: Uint8Array) => ethernet(NET.int.mac, S.mac, packet);

/** A vnet_hdr as an offload leaves it, for a packet without IP options. */
function offload(checksumOffset: number, type = 0, size = 0, start = 34): Uint8Array {
  const vnet = new Uint8Array(12);
  const view = new DataView(vnet.buffer);
  vnet[0] = 1;
  vnet[1] = type;
  view.setUint16(2, 54, true);
  view.setUint16(4, size, true);
  view.setUint16(6, start, true);
  view.setUint16(8, checksumOffset, true);
  return vnet;
}

function bent(frame: Uint8Array, at: number, value: number): Uint8Array {
  const copy = frame.slice();
  copy[at] = value;
  return copy;
}

const NOP = Uint8Array.of(1, 1, 1, 0);
const big = (length: number) => ({ flags: FLAG.ack, data: new Uint8Array(length).fill(5) });
const plain = fromClient(tcpPacket(IN, ACK));

interface Row {
  readonly what: string;
  readonly fast: boolean;
  readonly dev?: "ext" | "int";
  readonly frame: Uint8Array;
  readonly vnet?: Uint8Array;
  readonly before?: (engine: MemoryEngine) => unknown;
}

const record = (engine: MemoryEngine, number: number) => {
  const view = new DataView(engine.memory.buffer);
  return view.getUint32(Memory.LAYOUT_BASE + Memory.PORTS_BASE, true) + number * Port.SIZE;
};

const ROWS: readonly Row[] = [
  { what: "a segment of a client", fast: true, frame: plain },
  { what: "a segment of a server", fast: true, dev: "int", frame: fromServer(tcpPacket(OUT, ACK)) },
  { what: "a datagram of a client", fast: true, frame: fromClient(udpPacket(ASKED, new Uint8Array(18))) },
  { what: "a datagram of a server", fast: true, dev: "int", frame: fromServer(udpPacket(ANSWERED, new Uint8Array(3))) },
  { what: "a frame with padding", fast: true, frame: concat(plain, new Uint8Array(9).fill(0xee)) },
  { what: "TTL 2", fast: true, frame: fromClient(tcpPacket(IN, { ...ACK, ttl: 2 })) },
  {
    what: "TTL 255, a TOS, an id",
    fast: true,
    frame: fromClient(tcpPacket(IN, { ...ACK, ttl: 255, tos: 184, id: 9 })),
  },
  { what: "no DF", fast: true, frame: fromClient(tcpPacket(IN, { ...ACK, dontFragment: false })) },
  { what: "a wrong TCP checksum", fast: true, frame: bent(plain, plain.length - 1, 0x55) },
  {
    what: "PSH and URG",
    fast: true,
    frame: fromClient(tcpPacket(IN, { ...ACK, flags: FLAG.ack | FLAG.psh | FLAG.urg })),
  },
  { what: "a partial checksum", fast: true, frame: plain, vnet: offload(16) },
  {
    what: "a partial UDP checksum",
    fast: true,
    frame: fromClient(udpPacket(ASKED, new Uint8Array(8))),
    vnet: offload(6),
  },
  { what: "a super-frame", fast: true, frame: fromClient(tcpPacket(IN, big(9000))), vnet: offload(16, 1, 1448) },
  {
    what: "a super-frame, ECN",
    fast: true,
    frame: fromClient(tcpPacket(IN, big(9000))),
    vnet: offload(16, 0x81, 1448),
  },
  { what: "one MTU", fast: true, frame: fromClient(tcpPacket(IN, big(1460))) },
  { what: "a checksum that was found right", fast: true, frame: plain, vnet: bent(new Uint8Array(12), 0, 2) },

  { what: "TTL 1", fast: false, frame: fromClient(tcpPacket(IN, { ...ACK, ttl: 1 })) },
  { what: "a wrong IP checksum", fast: false, frame: bent(plain, 24, 0x55) },
  { what: "a wrong version", fast: false, frame: bent(plain, 14, 0x55) },
  { what: "IP options", fast: false, frame: fromClient(ip4(C, V, PROTOCOL.tcp, tcp(IN, ACK), { options: NOP })) },
  { what: "TCP options", fast: true, frame: fromClient(tcpPacket(IN, { ...ACK, options: NOP })) },
  { what: "a first fragment", fast: false, frame: fromClient(tcpPacket(IN, { ...ACK, moreFragments: true })) },
  {
    what: "a later fragment",
    fast: false,
    frame: fromClient(tcpPacket(IN, { ...ACK, offset: 64, dontFragment: false })),
  },
  { what: "a length beyond the frame", fast: false, frame: fromClient(tcpPacket(IN, { ...ACK, totalLength: 1400 })) },
  { what: "half a TCP header", fast: false, frame: fromClient(ip4(C, V, PROTOCOL.tcp, tcp(IN, ACK).subarray(0, 12))) },
  { what: "SYN", fast: false, frame: fromClient(tcpPacket(IN, { flags: FLAG.syn })) },
  { what: "FIN", fast: false, frame: fromClient(tcpPacket(IN, { flags: FLAG.fin | FLAG.ack })) },
  { what: "RST", fast: false, dev: "int", frame: fromServer(tcpPacket(OUT, { flags: FLAG.rst | FLAG.ack })) },
  { what: "no flags", fast: false, frame: fromClient(tcpPacket(IN, { flags: 0 })) },
  { what: "another's MAC", fast: false, frame: fromClient(tcpPacket(IN, ACK), "02:00:00:00:04:86") },
  { what: "a broadcast MAC", fast: false, frame: fromClient(tcpPacket(IN, ACK), "ff:ff:ff:ff:ff:ff") },
  {
    what: "a VLAN tag",
    fast: false,
    frame: ethernet(NET.ext.mac, NET.client.mac, concat(Uint8Array.of(0, 7, 8, 0), tcpPacket(IN, ACK)), 0x8100),
  },
  { what: "no connection", fast: false, frame: fromClient(tcpPacket({ ...IN, sourcePort: 4001 }, ACK)) },
  { what: "a client's port 0", fast: false, frame: fromClient(udpPacket({ ...ASKED, sourcePort: 0 })) },
  { what: "our own address as source", fast: false, frame: fromClient(tcpPacket({ ...IN, source: NET.ext.ip }, ACK)) },
  { what: "a multicast source", fast: false, frame: fromClient(tcpPacket({ ...IN, source: "224.0.0.1" }, ACK)) },
  {
    what: "a datagram without checksum",
    fast: false,
    frame: fromClient(ip4(C, V, PROTOCOL.udp, udp(ASKED, ACK.data, false))),
  },
  { what: "more than the MTU", fast: false, frame: fromClient(tcpPacket(IN, big(1461))) },
  {
    what: "segments beyond the MTU",
    fast: false,
    frame: fromClient(tcpPacket(IN, big(9000))),
    vnet: offload(16, 1, 1461),
  },
  {
    what: "a super-frame of UDP's kind on TCP",
    fast: false,
    frame: fromClient(tcpPacket(IN, big(3000))),
    vnet: offload(16, 5, 1000),
  },
  { what: "segments of no size", fast: false, frame: fromClient(tcpPacket(IN, big(3000))), vnet: offload(16, 1, 0) },
  { what: "a partial checksum elsewhere", fast: false, frame: plain, vnet: offload(14) },
  { what: "a partial checksum from elsewhere", fast: false, frame: plain, vnet: offload(16, 0, 0, 33) },
  {
    what: "a port that is down",
    fast: false,
    frame: plain,
    before: (engine) => engine.control.portUp(record(engine, 1), false),
  },
  {
    what: "a narrower way",
    fast: false,
    frame: fromClient(tcpPacket(IN, big(1000))),
    before: (engine) => engine.control.portMtu(record(engine, 1), 576),
  },
  {
    what: "a server that is gone",
    fast: false,
    frame: plain,
    before: (engine) => engine.ipvs.removeServer(service(80).id, server(S.ip, 8080).id),
  },
  {
    what: "a service that is gone",
    fast: false,
    dev: "int",
    frame: fromServer(tcpPacket(OUT, ACK)),
    before: (engine) => engine.ipvs.removeService(service(80).id),
  },
  {
    what: "an unreachable client",
    fast: false,
    dev: "int",
    frame: fromServer(tcpPacket(OUT, ACK)),
    before: (engine) => engine.control.routeAdd({ to: `${C}/32`, kind: "unreachable" }),
  },
  {
    what: "a forgotten neighbour",
    fast: false,
    frame: plain,
    before: (engine) => engine.control.neighbourRemove(S.ip, 1),
  },
];

const ALL_OFFLOADS = Port.CAPABILITY_CHECKSUM | Port.CAPABILITY_TSO4 | Port.CAPABILITY_USO;

async function director(
  generalPathOnly: boolean,
  offloads = ALL_OFFLOADS,
  capacities: Partial<Capacities> = {},
): Promise<MemoryEngine> {
  const capabilities = Port.CAPABILITY_LINK | offloads;
  const engine = createDirector({
    capacities,
    interfaces: [
      { name: "ext", mac: NET.ext.mac, capabilities, addresses: [`${NET.ext.ip}/24`, `${NET.vip}/32`] },
      { name: "int", mac: NET.int.mac, capabilities, addresses: [`${NET.int.ip}/24`] },
    ],
  });
  new DataView(engine.memory.buffer).setUint32(
    Memory.LAYOUT_BASE + Memory.GENERAL_PATH_ONLY,
    generalPathOnly ? 1 : 0,
    true,
  );
  await engine.ipvs.addService(service(80));
  await engine.ipvs.addServer(service(80).id, server(S.ip, 8080));
  await engine.ipvs.addService(service(53, "rr", "udp"));
  await engine.ipvs.addServer(service(53, "rr", "udp").id, server(S.ip, 5353));
  engine.inject("ext", fromClient(tcpPacket(IN, { flags: FLAG.syn })));
  engine.inject("int", fromServer(tcpPacket(OUT, { flags: FLAG.syn | FLAG.ack })));
  engine.inject("ext", fromClient(tcpPacket(IN, { flags: FLAG.ack })));
  engine.inject("ext", fromClient(udpPacket(ASKED)));
  engine.inject("int", fromServer(udpPacket(ANSWERED)));
  return engine;
}

/** How many frames in SEND, as the last breath left it, took the fast path. */
function countFast(engine: MemoryEngine): number {
  const view = new DataView(engine.memory.buffer);
  const queue = view.getUint32(Memory.LAYOUT_BASE + Memory.WORKERS_BASE, true);
  let fast = 0;
  for (let at = 0; at < view.getUint32(queue + Worker.SEND_COUNT, true); at++) {
    const slot = view.getUint32(queue + Worker.SEND + 4 * at, true);
    if (tookFastPath(new DataView(engine.memory.buffer, slot))) fast++;
  }
  return fast;
}

const sentFast = (engine: MemoryEngine) => countFast(engine) > 0;

describe("one frame", () => {
  for (const { what, fast, dev = "ext", frame, vnet, before } of ROWS) {
    it(`${what}: ${fast ? "the fast path" : "the general path"}, and the same`, async () => {
      const seen = [];
      for (const generalPathOnly of [false, true]) {
        const engine = await director(generalPathOnly);
        await before?.(engine);
        engine.collect();
        engine.clock.nowMs += 1000;
        engine.inject(dev, frame, vnet);
        expect(sentFast(engine)).toBe(fast && !generalPathOnly);
        seen.push({ sent: engine.collect(), tables: tableDigest(engine.memory) });
      }
      expect(seen[0]).toEqual(seen[1]);
      if (fast) expect(seen[0]!.sent).toHaveLength(1);
    });
  }

  it.each([
    ["a partial checksum", plain, offload(16)],
    ["a super-frame", fromClient(tcpPacket(IN, big(9000))), offload(16, 1, 1448)],
  ])("%s for a port without offloads: the general path", async (_, frame, vnet) => {
    const engine = await director(false, 0);
    engine.inject("ext", frame, vnet);
    expect(sentFast(engine)).toBe(false);
    expect(engine.collect().length).toBeGreaterThan(0);
  });
});

/** Both directors are told the same, and must say the same. */
class Twins {
  readonly engines: readonly [MemoryEngine, MemoryEngine];
  fast = 0;

  constructor(engines: readonly [MemoryEngine, MemoryEngine]) {
    this.engines = engines;
  }

  async change(how: (engine: MemoryEngine) => unknown): Promise<void> {
    for (const engine of this.engines) await how(engine);
  }

  /** One breath over these frames. */
  breathe(frames: ReadonlyArray<readonly ["ext" | "int", Uint8Array, Uint8Array | undefined]>, what: string): void {
    const [one, other] = this.engines.map((engine) => {
      for (const [dev, frame, vnet] of frames) engine.ports[dev === "ext" ? 0 : 1]!.put(frame, vnet);
      engine.breathe();
      this.fast += countFast(engine);
      return { sent: engine.collect(), tables: tableDigest(engine.memory) };
    });
    expect(one, what).toEqual(other);
  }
}

const CAPACITIES = { connections: 256, extensions: 64, services: 16, servers: 16, neighbours: 64, addresses: 64 };

describe("what the first pass found", () => {
  type Arrival = readonly ["ext" | "int", Uint8Array, undefined];
  const datagram = (port: number): Arrival => ["ext", fromClient(udpPacket(ends(C, port, V, 53))), undefined];
  const answer = (port: number): Arrival => ["int", fromServer(udpPacket(ends(S.ip, 5353, C, port))), undefined];

  it("is another connection's, for some of many: all are found, in both directions", async () => {
    const capacities = { connections: 2048 };
    const twins = new Twins([
      await director(false, ALL_OFFLOADS, capacities),
      await director(true, ALL_OFFLOADS, capacities),
    ]);
    // Twelve in a line at the most, of 128 tags.
    const batches = Array.from({ length: 16 }, (_, batch) =>
      Array.from({ length: 64 }, (_, at) => 5000 + batch * 64 + at),
    );
    for (const ports of batches) {
      for (const frame of [datagram, answer]) twins.breathe(ports.map(frame), "they come up");
    }
    const view = new DataView(twins.engines[0].memory.buffer);
    const queue = view.getUint32(Memory.LAYOUT_BASE + Memory.WORKERS_BASE, true);
    let others = 0;
    twins.fast = 0;
    for (const ports of batches) {
      for (const frame of [datagram, answer]) {
        twins.breathe(ports.map(frame), "all are there");
        ports.forEach((port, at) => {
          const found = view.getUint32(queue + Worker.FOUND + 4 * at, true);
          if (view.getUint16(found + Connection.CLIENT_PORT) !== port) others++;
        });
      }
    }
    expect(others).toBeGreaterThan(0);
    expect(twins.fast).toBe(2 * 64 * batches.length);
  });

  it("is not believed after a connection came or went in the same breath", async () => {
    const twins = new Twins([await director(false), await director(true)]);
    const segment = ["ext", plain, undefined] as const;
    const syn = (port: number) =>
      ["ext", fromClient(tcpPacket({ ...IN, sourcePort: port }, { flags: FLAG.syn })), undefined] as const;
    twins.breathe([segment, syn(4001), segment, datagram(4000), syn(4002), segment], "connections come");
    expect(twins.fast).toBe(4);
    // The way out of the first datagram is looked for anew, after a change; then there is a connection less.
    await twins.change((engine) => engine.control.settingSet(Setting.EXPIRE_NODEST_CONN, 1));
    await twins.change((engine) => engine.ipvs.removeServer(service(80).id, server(S.ip, 8080).id));
    twins.breathe([datagram(4000), segment, segment, datagram(4000)], "a connection goes");
    expect(twins.fast).toBe(5);
  });
});

describe("many connections, of which some are odd", () => {
  it.each([1, 2, 3, 4])("go the same way (seed %i)", async (seed) => {
    const random = new Random(seed);
    const twins = new Twins([await directorOfMany(false), await directorOfMany(true)]);
    for (let step = 0; step < 400; step++) {
      const frames = Array.from({ length: 1 + random.below(8) }, () => anyFrame(random));
      twins.breathe(frames, `seed ${seed}, step ${step}`);
      await twins.change((engine) => (engine.clock.nowMs += 7));
      if (random.chance(0.03)) {
        const at = random.below(CHANGES.length);
        const value = random.below(4);
        await twins.change((engine) => CHANGES[at]!(engine, value));
      }
    }
    expect(twins.fast).toBeGreaterThan(150);
  });
});

const KINDS = [
  service(80),
  service(81, "rr", "tcp", { persistence: 60 }),
  service(21),
  service(82),
  service(83),
  service(53, "rr", "udp"),
  service(54, "rr", "udp", { persistence: 60 }),
  service(55, "rr", "udp", { onePacket: true }),
] as const;
const forwardingOf = (port: number) => (port === 82 ? "fullnat" : port === 83 ? "dr" : "nat");

async function directorOfMany(generalPathOnly: boolean): Promise<MemoryEngine> {
  const capabilities = Port.CAPABILITY_LINK | ALL_OFFLOADS;
  const engine = createDirector({
    capacities: CAPACITIES,
    interfaces: [
      { name: "ext", mac: NET.ext.mac, capabilities, addresses: [`${NET.ext.ip}/24`, `${NET.vip}/32`] },
      { name: "int", mac: NET.int.mac, capabilities, addresses: [`${NET.int.ip}/24`] },
    ],
  });
  const view = new DataView(engine.memory.buffer);
  view.setUint32(Memory.LAYOUT_BASE + Memory.GENERAL_PATH_ONLY, generalPathOnly ? 1 : 0, true);
  for (const one of KINDS) {
    await engine.ipvs.addService(one);
    await engine.ipvs.addServer(one.id, server(S.ip, portOf(one), forwardingOf(portOf(one))));
  }
  return engine;
}

function portOf(one: (typeof KINDS)[number]): number {
  return "port" in one.id ? one.id.port : 0;
}

/** A frame of one of a few connections; mostly an ACK or a datagram, sometimes with a byte of its headers changed. */
function anyFrame(random: Random): readonly ["ext" | "int", Uint8Array, Uint8Array | undefined] {
  const kind = random.pick(KINDS);
  const port = portOf(kind);
  const isOut = random.chance(0.5);
  const client = 4000 + random.below(3);
  const way = isOut ? ends(S.ip, port, C, client) : ends(C, client, V, port);
  const data = new Uint8Array(random.below(40)).fill(random.below(256));
  const ack = FLAG.ack | (random.chance(0.3) ? FLAG.psh : 0);
  const flags = random.chance(0.75)
    ? ack
    : random.pick([FLAG.syn, FLAG.syn, FLAG.syn | FLAG.ack, FLAG.fin | FLAG.ack, FLAG.rst]);
  const isTcp = "protocol" in kind.id && kind.id.protocol === "tcp";
  const packet = isTcp ? tcpPacket(way, { flags, data }) : udpPacket(way, data);
  const frame = isOut ? fromServer(packet) : fromClient(packet);
  const partial = random.chance(0.1) ? offload(isTcp ? 16 : 6) : undefined;
  if (random.chance(0.1)) {
    const bytes = concat(new Uint8Array(12), frame);
    bytes[12 + random.below(54)] = random.edge(8);
    if (random.chance(0.8)) seal(bytes);
    return [isOut ? "int" : "ext", bytes.subarray(12), partial];
  }
  return [isOut ? "int" : "ext", frame, partial];
}

const MAC = "02:00:00:00:02:99";
const CHANGES: ReadonlyArray<(engine: MemoryEngine, value: number) => unknown> = [
  (engine, value) => engine.advanceTo(engine.clock.nowMs + [1000, 5000, 70_000, 400_000][value]!),
  (engine, value) => engine.control.portMtu(record(engine, value & 1), [1500, 68, 1500, 9000][value]!),
  (engine, value) => engine.control.portUp(record(engine, 1), value !== 0),
  (engine, value) => engine.control.neighbourAdd(S.ip, value === 0 ? MAC : S.mac, 1),
  (engine, value) => engine.control.settingSet(Setting.KERNEL_QUIRKS, value & 1),
  (engine, value) => engine.control.settingSet(Setting.SECURE_TCP, value),
  (engine) => engine.control.timeoutsSet({ tcp: 100, tcpFin: 10, udp: 20 }),
  (engine) => engine.control.neighbourFlush(undefined),
];
