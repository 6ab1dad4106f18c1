/** Plans the shared memory of a director and makes it: capacities in, regions out, the header written. */
import { randomBytes } from "node:crypto";
import * as Address from "../../assembly/layout/address.js";
import * as Connection from "../../assembly/layout/connection.js";
import * as ConnectionIndex from "../../assembly/layout/connection-index.js";
import * as Counters from "../../assembly/layout/counters.js";
import * as Local from "../../assembly/layout/local.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Neighbour from "../../assembly/layout/neighbour.js";
import * as Port from "../../assembly/layout/port.js";
import * as Request from "../../assembly/layout/request.js";
import * as Route from "../../assembly/layout/route.js";
import * as Server from "../../assembly/layout/server.js";
import * as Service from "../../assembly/layout/service.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as Snapshot from "../../assembly/layout/snapshot.js";
import * as Source from "../../assembly/layout/source.js";
import * as Worker from "../../assembly/layout/worker.js";
import { SETTING_DEFAULTS } from "./settings.js";

/** How many records of each kind; `arena`, `marks`, `rings` and `trace` are bytes. */
export interface Capacities {
  readonly ports: number;
  readonly addresses: number;
  readonly routes: number;
  /** A power of two. */
  readonly neighbours: number;
  readonly services: number;
  readonly servers: number;
  /** Heads of the service hash, a power of two. */
  readonly serviceHash: number;
  readonly arena: number;
  readonly fragments: number;
  readonly connections: number;
  readonly extensions: number;
  readonly workers: number;
  readonly slots: number;
  readonly marks: number;
  readonly rings: number;
  /** Bytes of the traces' region: filters, and the ring of what is told. */
  readonly trace: number;
  /** Clients of limited services that are remembered; a multiple of layout/source's WAYS. */
  readonly sources: number;
  /** Full NAT: pairs of local address and server with connections at once. */
  readonly locals: number;
}

export interface Region {
  readonly name: string;
  readonly base: number;
  /** As the header says it: records, or bytes. */
  readonly capacity: number;
  readonly bytes: number;
}

export interface MemoryPlan {
  readonly capacities: Capacities;
  readonly regions: readonly Region[];
  readonly total: number;
}

export interface HeaderOptions {
  readonly forward?: boolean;
  /** The random word that hashes start from; fixed by tests alone. */
  readonly seed?: number;
  readonly now?: number;
  /** Identification before that of the first packet that the director makes. */
  readonly nextId?: number;
  /** `--profile wlvs`. */
  readonly profile?: number;
}

const PAGE = 65536;
/** wasm32 ends here. */
const LARGEST = 65536 * PAGE;
const WHEEL_BYTES = 16384;
/** Entries of the index lines that are meant to be in use, at most. */
const INDEX_LOAD = 0.7;

/** Capacities for `workers` threads and `connections` entries; any other may be overridden. */
export function capacitiesOf(options: Partial<Capacities> = {}): Capacities {
  const workers = options.workers ?? 1;
  const connections = options.connections ?? 1_000_000;
  return {
    ports: 16,
    addresses: 4096,
    routes: 1024,
    neighbours: 8192,
    services: 4096,
    servers: 16384,
    serviceHash: 4096,
    arena: 32 << 20,
    fragments: 256,
    extensions: Math.min(connections, 1_000_000),
    slots: workers * 512 + 256,
    marks: PAGE,
    rings: 0,
    sources: 65536,
    locals: 4096,
    trace: 1 << 20,
    ...options,
    workers,
    connections,
  };
}

export function indexLines(connections: number): number {
  return Math.max(1, Math.ceil((connections * 2) / ConnectionIndex.ENTRIES / INDEX_LOAD));
}

/** Lays the regions out one after the other. Throws a RangeError when they do not fit into 4 GiB. */
export function planMemory(capacities: Capacities): MemoryPlan {
  const regions: Region[] = [];
  let at = Memory.LAYOUT_BASE + Memory.HEADER_SIZE;
  const add = (name: string, capacity: number, recordBytes: number, alignment = 64) => {
    const base = Math.ceil(at / alignment) * alignment;
    const bytes = capacity * recordBytes;
    regions.push({ name, base, capacity, bytes });
    at = base + bytes;
  };
  const c = capacities;
  add("ports", c.ports, Port.SIZE);
  add("addresses", c.addresses, Address.SIZE);
  add("routes", c.routes, Route.SIZE);
  add("neighbours", c.neighbours, Neighbour.SIZE);
  add("services", c.services, Service.SIZE);
  add("servers", c.servers, Server.SIZE);
  add("serviceHash", c.serviceHash, 4);
  add("fragments", c.fragments, 64);
  add("workers", c.workers, Worker.SIZE);
  add("request", Request.SIZE, 1);
  add("marks", c.marks, 1);
  add("counters", Counters.SIZE, 1);
  add("wheel", WHEEL_BYTES, 1);
  add("connections", c.connections, Connection.SIZE);
  add("cold", c.connections, Connection.COLD_SIZE);
  add("index", indexLines(c.connections), ConnectionIndex.SIZE);
  add("extensions", c.extensions, Connection.EXTENSION_SIZE);
  add("arena", c.arena, 1);
  add("sources", c.sources, Source.SIZE, Source.WAYS * Source.SIZE);
  add("locals", c.locals, Local.SIZE);
  add("state", Snapshot.SIZE, 1);
  add("changed", Math.ceil(c.connections / 64) * 8, 1);
  add("trace", c.trace, 1);
  add("rings", c.rings, 1, 4096);
  add("slots", c.slots, Slot.SIZE);
  const total = Math.ceil(at / PAGE) * PAGE;
  if (total > LARGEST) throw new RangeError(`the tables need ${total} bytes, but the core can address ${LARGEST}`);
  return { capacities, regions, total };
}

/** What a plan may take, for the log: pages that nothing was written to cost nothing. */
export function roomText(plan: MemoryPlan): string {
  const most = Math.ceil(plan.total / 2 ** 20);
  return `room for ${plan.capacities.connections} connections: at most ${most} MiB, taken as they come`;
}

/** Header words of each region: where its base and its capacity are written. */
const HEADER_WORDS: Readonly<Record<string, readonly [number, number | undefined]>> = {
  ports: [Memory.PORTS_BASE, Memory.PORTS_CAPACITY],
  addresses: [Memory.ADDRESSES_BASE, Memory.ADDRESSES_CAPACITY],
  routes: [Memory.ROUTES_BASE, Memory.ROUTES_CAPACITY],
  neighbours: [Memory.NEIGHBOURS_BASE, Memory.NEIGHBOURS_CAPACITY],
  services: [Memory.SERVICES_BASE, Memory.SERVICES_CAPACITY],
  servers: [Memory.SERVERS_BASE, Memory.SERVERS_CAPACITY],
  serviceHash: [Memory.SERVICE_HASH_BASE, Memory.SERVICE_HASH_CAPACITY],
  arena: [Memory.ARENA_BASE, Memory.ARENA_CAPACITY],
  fragments: [Memory.FRAGMENTS_BASE, Memory.FRAGMENTS_CAPACITY],
  connections: [Memory.CONNECTIONS_BASE, Memory.CONNECTIONS_CAPACITY],
  cold: [Memory.COLD_BASE, undefined],
  index: [Memory.INDEX_BASE, Memory.INDEX_CAPACITY],
  extensions: [Memory.EXTENSIONS_BASE, Memory.EXTENSIONS_CAPACITY],
  workers: [Memory.WORKERS_BASE, Memory.WORKERS_CAPACITY],
  slots: [Memory.SLOTS_BASE, Memory.SLOTS_CAPACITY],
  request: [Memory.REQUEST_BASE, Memory.REQUEST_CAPACITY],
  marks: [Memory.MARKS_BASE, Memory.MARKS_CAPACITY],
  counters: [Memory.COUNTERS_BASE, Memory.COUNTERS_CAPACITY],
  wheel: [Memory.WHEEL_BASE, Memory.WHEEL_CAPACITY],
  sources: [Memory.SOURCES_BASE, Memory.SOURCES_CAPACITY],
  locals: [Memory.LOCALS_BASE, Memory.LOCALS_CAPACITY],
  trace: [Memory.TRACE_BASE, Memory.TRACE_CAPACITY],
  rings: [Memory.RINGS_BASE, Memory.RINGS_CAPACITY],
  state: [Memory.STATE_BASE, Memory.STATE_CAPACITY],
  changed: [Memory.CHANGED_BASE, Memory.CHANGED_CAPACITY],
};

/** Makes the memory of a plan; it never grows, so that views and addresses in it stay good. */
export function createMemory(plan: MemoryPlan, options: HeaderOptions = {}): WebAssembly.Memory {
  const pages = plan.total / PAGE;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const header = new DataView(memory.buffer, Memory.LAYOUT_BASE, Memory.HEADER_SIZE);
  const word = (at: number, value: number) => header.setUint32(at, value >>> 0, true);
  word(Memory.MAGIC, Memory.LAYOUT_MAGIC);
  word(Memory.VERSION, Memory.LAYOUT_VERSION);
  // The whole of 4 GiB does not fit into the word; no page of it is to spare for one byte.
  word(Memory.TOTAL, Math.min(plan.total, 0xffffffff));
  word(Memory.WORKER_COUNT, plan.capacities.workers);
  word(Memory.NOW, options.now ?? 0);
  word(Memory.SEED, options.seed ?? randomBytes(4).readUInt32LE());
  const secret = options.seed === undefined ? randomBytes(32) : Buffer.alloc(32, options.seed);
  for (let n = 0; n < 4; n++) {
    word(Memory.COOKIE_SECRET + 4 * n, secret.readUInt32LE(4 * n));
    word(Memory.SOURCE_KEY + 4 * n, secret.readUInt32LE(16 + 4 * n));
  }
  word(Memory.NEXT_ID, options.nextId ?? 0);
  word(Memory.PROFILE, options.profile ?? 0);
  word(Memory.IP_FORWARD, (options.forward ?? true) ? 1 : 0);
  for (const region of plan.regions) {
    const [base, capacity] = HEADER_WORDS[region.name]!;
    word(base, region.base);
    if (capacity !== undefined) word(capacity, region.capacity);
  }
  for (const [id, value] of SETTING_DEFAULTS) word(Memory.SETTINGS + 4 * id, value);
  return memory;
}
