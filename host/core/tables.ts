/** Reads the tables from the memory: the core alone writes them. Readers may see a change half done, never a wild address. */
import * as Address from "../../assembly/layout/address.js";
import * as Connection from "../../assembly/layout/connection.js";
import * as Counters from "../../assembly/layout/counters.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Neighbour from "../../assembly/layout/neighbour.js";
import * as Port from "../../assembly/layout/port.js";
import * as Protocol from "../../assembly/layout/protocol.js";
import * as Reason from "../../assembly/layout/reason.js";
import * as Server from "../../assembly/layout/server.js";
import * as Service from "../../assembly/layout/service.js";
import * as Setting from "../../assembly/layout/setting.js";
import * as State from "../../assembly/layout/state.js";
import * as StatsLayout from "../../assembly/layout/stats.js";
import * as Uring from "../../assembly/layout/uring.js";
import * as Verdict from "../../assembly/layout/verdict.js";
import * as Worker from "../../assembly/layout/worker.js";
import { addressBytes, formatAddress, formatMac } from "../address.js";
import type {
  ConnectionFilter,
  ConnectionInfo,
  EndpointFilter,
  Family,
  ForwardingName,
  Rates,
  ServerInfo,
  ServiceId,
  ServiceInfo,
  ServiceProtocol,
  Stats,
  SynProxy,
  Timeouts,
  TunnelChecksum,
  TunnelName,
} from "../ipvs/model.js";
import {
  FORWARDING_IDS,
  PERSISTENCE_ENGINE_IDS,
  PROTOCOL_IDS,
  SCHEDULER_IDS,
  SYN_PROXY_IDS,
  TUNNEL_CHECKSUM_IDS,
  TUNNEL_IDS,
} from "./control.js";
import type { CoreCounters, Occupancy, WorkerCounters } from "./counters.js";

const TCP_STATES = [
  "NONE",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "SYNACK",
];
const SCTP_STATES = [
  "NONE",
  "INIT1",
  "INIT",
  "C-SENT",
  "C-REPLIED",
  "C-WAIT",
  "COOKIE",
  "C-ECHOED",
  "ESTABLISHED",
  "S-SENT",
  "S-RECEIVED",
  "S-ACK-SENT",
  "REJECTED",
  "CLOSED",
];

/** A connection's state as listings print it. */
export function stateName(protocol: number, state: number, template: boolean): string {
  if (template) return (state & State.TEMPLATE_ASSURED) !== 0 ? "ASSURED" : "NONE";
  switch (protocol) {
    case Protocol.TCP:
      return TCP_STATES[state] ?? "ERR!";
    case Protocol.UDP:
      return state === State.UDP_NORMAL ? "UDP" : "ERR!";
    case Protocol.SCTP:
      return SCTP_STATES[state] ?? "ERR!";
    default:
      return protocol === 0 ? "NONE" : "ERR!";
  }
}

export interface NeighbourInfo {
  readonly family: Family;
  readonly address: string;
  readonly mac: string;
  /** The host's number of the port. */
  readonly port: number;
  readonly state: string;
}

export interface PortCounters {
  readonly number: number;
  readonly up: boolean;
  readonly mtu: number;
  readonly framesIn: number;
  readonly framesOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly dropsOut: number;
}

const invert = <T extends string>(ids: Readonly<Record<T, number>>) =>
  new Map(Object.entries<number>(ids).map(([name, id]) => [id, name as T]));
const SCHEDULER_NAMES = invert(SCHEDULER_IDS);
const PROTOCOL_NAMES = invert<ServiceProtocol>(PROTOCOL_IDS);
const FORWARDING_NAMES = invert<ForwardingName>(FORWARDING_IDS);
const TUNNEL_NAMES = invert<TunnelName>(TUNNEL_IDS);
const TUNNEL_CHECKSUM_NAMES = invert<TunnelChecksum>(TUNNEL_CHECKSUM_IDS);
const SYN_PROXY_NAMES = invert<SynProxy>(SYN_PROXY_IDS);
const ENGINE_NAMES = invert(PERSISTENCE_ENGINE_IDS);

const namesOf = (ids: Readonly<Record<string, number>>, without: readonly string[]) =>
  Object.entries(ids)
    .filter(([name]) => !without.includes(name))
    .map(([name, id]) => [name.toLowerCase().replaceAll("_", "-"), id] as const);
const VERDICT_NAMES = namesOf(Verdict, ["NONE", "WAIT", "COUNT"]);
export const REASON_NAMES = namesOf(Reason, ["NONE", "COUNT"]);
const NEIGHBOUR_STATES = new Map<number, string>(
  Object.entries(Neighbour)
    .filter(([name]) => name.startsWith("STATE_"))
    .map(([name, id]) => [id, name.slice("STATE_".length).toLowerCase()] as const),
);

const CLIENT_END = 0;
const VIRTUAL_END = 1;
const SERVER_END = 2;
const CONNECTION_ENDS = [CLIENT_END, VIRTUAL_END, SERVER_END] as const;
type ConnectionEnd = (typeof CONNECTION_ENDS)[number];
const PORT_PLACES = [Connection.CLIENT_PORT, Connection.VIRTUAL_PORT, Connection.SERVER_PORT] as const;
const NARROW_PLACES = [Connection.CLIENT_ADDRESS, Connection.VIRTUAL_ADDRESS, Connection.SERVER_ADDRESS] as const;
const WIDE_PLACES = [Connection.EXTENSION_CLIENT, Connection.EXTENSION_VIRTUAL, Connection.EXTENSION_SERVER] as const;

export class Tables {
  private readonly view: DataView;
  private readonly bytes: Uint8Array;

  /** Where the header is: records that were copied have none. */
  private readonly whole: Tables;

  /** Of a memory; or records that were copied out of one, which is `whole`. */
  constructor(memory: WebAssembly.Memory | Uint8Array, whole?: Tables) {
    this.view = new DataView(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.whole = whole ?? this;
  }

  /** A word of the header. */
  word(at: number): number {
    return this.whole.u32(Memory.LAYOUT_BASE + at);
  }

  setting(id: number): number {
    return this.word(Memory.SETTINGS + 4 * id);
  }

  timeouts(): Timeouts {
    const seconds = (id: number) => Math.floor(this.setting(id) / Memory.TICKS_PER_SECOND);
    return {
      tcp: seconds(Setting.TIMEOUT_TCP),
      tcpFin: seconds(Setting.TIMEOUT_TCP_FIN),
      udp: seconds(Setting.TIMEOUT_UDP),
    };
  }

  /** Addresses of the service records, in the order of adding. */
  *serviceRecords(): Generator<number> {
    let left = this.word(Memory.SERVICES_CAPACITY);
    for (let at = this.word(Memory.SERVICES_HEAD); at !== 0 && left-- > 0; at = this.u32(at + Service.NEXT)) yield at;
  }

  /** Addresses of a service's server records, in the order of adding. */
  *serverRecords(service: number): Generator<number> {
    let left = this.word(Memory.SERVERS_CAPACITY);
    const first = this.u32(service + Service.SERVERS_HEAD);
    for (let at = first; at !== 0 && left-- > 0; at = this.u32(at + Server.NEXT)) yield at;
  }

  services(): ServiceInfo[] {
    return Array.from(this.serviceRecords(), (at) => this.service(at));
  }

  /** The services as they are now, decoded one by one when they are asked for: changes meanwhile do not show. */
  frozenServices(): { readonly count: number; readonly services: Iterable<ServiceInfo> } {
    const services: number[] = [];
    const counts: number[] = [];
    const servers: number[] = [];
    for (const at of this.serviceRecords()) {
      const before = servers.length;
      for (const server of this.serverRecords(at)) servers.push(server);
      services.push(at);
      counts.push(servers.length - before);
    }
    const copy = new Uint8Array(services.length * Service.SIZE + servers.length * Server.SIZE);
    const put = (at: number, size: number, to: number) => copy.set(this.bytes.subarray(at, at + size), to);
    for (const [n, at] of services.entries()) put(at, Service.SIZE, n * Service.SIZE);
    const base = services.length * Service.SIZE;
    for (const [n, at] of servers.entries()) put(at, Server.SIZE, base + n * Server.SIZE);
    const frozen = new Tables(copy, this);
    function* decode(): Generator<ServiceInfo> {
      let next = 0;
      for (const [n, count] of counts.entries()) {
        const from = next;
        next += count;
        const own = Array.from({ length: count }, (_, one) => frozen.server(base + (from + one) * Server.SIZE));
        yield { ...frozen.serviceAlone(n * Service.SIZE), servers: own };
      }
    }
    return { count: services.length, services: { [Symbol.iterator]: decode } };
  }

  service(at: number): ServiceInfo {
    const servers = Array.from(this.serverRecords(at), (server) => this.server(server));
    return { ...this.serviceAlone(at), servers };
  }

  private serviceAlone(at: number): Omit<ServiceInfo, "servers"> {
    const family = this.family(at + Service.FAMILY);
    const flags = this.u32(at + Service.FLAGS);
    const persistent = (flags & Service.FLAG_PERSISTENT) !== 0;
    const netmask = this.bytes.slice(at + Service.NETMASK, at + Service.NETMASK + 4);
    const prefix = family === 6 ? this.u32(at + Service.NETMASK) : prefixOf(netmask);
    const engine = ENGINE_NAMES.get(this.u8(at + Service.PERSISTENCE_ENGINE));
    return {
      id: this.serviceId(at, family),
      scheduler: SCHEDULER_NAMES.get(this.u8(at + Service.SCHEDULER)) ?? "none",
      persistence: persistent ? Math.floor(this.u32(at + Service.TIMEOUT) / Memory.TICKS_PER_SECOND) : undefined,
      persistencePrefix: prefix,
      persistenceNetmask: family === 4 ? formatAddress(4, netmask) : undefined,
      persistenceEngine: engine,
      onePacket: (flags & Service.FLAG_ONE_PACKET) !== 0,
      schedulerFlags: (flags / Service.FLAG_SCHEDULER_1) & 7,
      ...this.guard(at),
      stats: this.stats(at + Service.STATS),
      rates: this.rates(at + Service.RATES),
    };
  }

  /** SYN proxy and limits, where a service has them. */
  private guard(at: number): Pick<ServiceInfo, "synProxy" | "limits" | "defence"> {
    const own = this.u8(at + Service.PROXY_MODE);
    const limit = (connections: number, rate: number) => ({
      ...(this.u32(at + connections) !== 0 && { connections: this.u32(at + connections) }),
      ...(this.u32(at + rate) !== 0 && { rate: this.u32(at + rate) }),
    });
    const all = limit(Service.LIMIT_CONNECTIONS, Service.LIMIT_RATE);
    const perSource = limit(Service.SOURCE_CONNECTIONS, Service.SOURCE_RATE);
    const limits = { ...all, ...(Object.keys(perSource).length > 0 && { perSource }) };
    const isLimited = Object.keys(limits).length > 0;
    const usual = [Service.PROXY_OFF, Service.PROXY_ALWAYS, Service.PROXY_AUTO][this.setting(Setting.SYN_PROXY)];
    const mode = own === Service.PROXY_DEFAULT ? (usual ?? Service.PROXY_OFF) : own;
    if (mode === Service.PROXY_OFF && own === Service.PROXY_DEFAULT && !isLimited) return {};
    const fits = this.view.getUint16(at + Service.PROXY_UNFIT, true) === 0 && this.u32(at + Service.WEIGHT_SUM) > 0;
    const atWork = mode === Service.PROXY_ALWAYS || (mode === Service.PROXY_AUTO && this.u8(at + Service.PROXY_ON) > 0);
    return {
      ...(own !== Service.PROXY_DEFAULT && { synProxy: SYN_PROXY_NAMES.get(own) ?? "default" }),
      ...(isLimited && { limits }),
      defence: {
        synProxy: atWork && fits,
        switches: this.u32(at + Service.PROXY_SWITCHES),
        halfOpen: this.u32(at + Service.EMBRYONIC),
        refused: {
          connections: this.u32(at + Service.REFUSED_CONNECTIONS),
          rate: this.u32(at + Service.REFUSED_RATE),
          source: this.u32(at + Service.REFUSED_SOURCE),
        },
      },
    };
  }

  /** Services whose SYN proxy is at work, and their half-open connections. */
  proxied(): Array<{ readonly id: ServiceId; readonly halfOpen: number }> {
    const found: Array<{ readonly id: ServiceId; readonly halfOpen: number }> = [];
    for (const at of this.serviceRecords()) {
      const { defence } = this.guard(at);
      if (defence?.synProxy !== true) continue;
      found.push({ id: this.serviceId(at, this.family(at + Service.FAMILY)), halfOpen: defence.halfOpen });
    }
    return found;
  }

  /** Whether a service asks for the SYN proxy at all times. */
  isProxied(at: number): boolean {
    return this.u8(at + Service.PROXY_MODE) === Service.PROXY_ALWAYS;
  }

  /** Whether a service has servers that the SYN proxy cannot answer for. */
  unproxied(at: number): boolean {
    return this.view.getUint16(at + Service.PROXY_UNFIT, true) !== 0;
  }

  server(at: number): ServerInfo {
    const family = this.family(at + Server.FAMILY);
    const forwarding = FORWARDING_NAMES.get(this.u8(at + Server.FORWARDING)) ?? "nat";
    return {
      id: { family, address: this.address(at + Server.ADDRESS, family), port: this.port(at + Server.PORT) },
      forwarding,
      weight: this.view.getInt32(at + Server.WEIGHT, true),
      upperThreshold: this.u32(at + Server.UPPER),
      lowerThreshold: this.u32(at + Server.LOWER),
      tunnel:
        forwarding === "tunnel"
          ? {
              type: TUNNEL_NAMES.get(this.u8(at + Server.TUNNEL_TYPE)) ?? "ipip",
              port: this.port(at + Server.TUNNEL_PORT),
              checksum: TUNNEL_CHECKSUM_NAMES.get(this.u8(at + Server.TUNNEL_FLAGS)) ?? "nocsum",
            }
          : undefined,
      active: this.u32(at + Server.ACTIVE),
      inactive: this.u32(at + Server.INACTIVE),
      persistent: this.u32(at + Server.PERSISTENT),
      refused: this.u64(at + Server.REFUSED),
      unanswered: this.u64(at + Server.UNANSWERED),
      stats: this.stats(at + Server.STATS),
      rates: this.rates(at + Server.RATES),
    };
  }

  totals(): { stats: Stats; rates: Rates } {
    const counters = this.word(Memory.COUNTERS_BASE);
    return { stats: this.stats(counters + Counters.STATS), rates: this.rates(counters + Counters.RATES) };
  }

  /** How many connection records have ever been in use: later ones are empty. */
  connectionRecords(): number {
    return this.word(Memory.CONNECTION_HIGH);
  }

  /**
   * Connections and templates, as of the tick `now`; of the records `from` up to `to` alone, when these are given, and
   * of these only what `matches`, which is given a record's address.
   */
  *connections(
    now: number = this.word(Memory.NOW),
    from = 0,
    to: number = this.connectionRecords(),
    matches: (at: number) => boolean = () => true,
  ): Generator<ConnectionInfo> {
    const base = this.word(Memory.CONNECTIONS_BASE);
    const end = base + Math.min(to, this.connectionRecords()) * Connection.SIZE;
    for (let at = base + from * Connection.SIZE; at < end; at += Connection.SIZE) {
      if ((this.u32(at + Connection.FLAGS) & Connection.FLAG_USED) === 0) continue;
      if (matches(at)) yield this.connection(at, now);
    }
  }

  connection(at: number, now: number): ConnectionInfo {
    const family = this.family(at + Connection.FAMILY);
    const flags = this.u32(at + Connection.FLAGS);
    const protocol = this.u8(at + Connection.PROTOCOL);
    const template = (flags & Connection.FLAG_TEMPLATE) !== 0;
    const index = (at - this.word(Memory.CONNECTIONS_BASE)) / Connection.SIZE;
    const cold = this.word(Memory.COLD_BASE) + index * Connection.COLD_SIZE;
    const extension = this.u32(cold + Connection.COLD_EXTENSION);
    const serverFamily = this.serverFamily(at);
    return {
      family,
      protocol,
      state: stateName(protocol, this.u8(at + Connection.STATE), template),
      expires: Math.max(0, Math.floor(((this.u32(at + Connection.EXPIRES) - now) | 0) / Memory.TICKS_PER_SECOND)),
      client: this.address(this.addressPlace(at, CLIENT_END), family),
      clientPort: this.port(at + Connection.CLIENT_PORT),
      virtual: this.address(this.addressPlace(at, VIRTUAL_END), family),
      virtualPort: this.port(at + Connection.VIRTUAL_PORT),
      server: this.address(this.addressPlace(at, SERVER_END), serverFamily),
      serverPort: this.port(at + Connection.SERVER_PORT),
      serverFamily,
      ...this.localOf(this.u32(cold + Connection.COLD_LOCAL), family),
      template,
      ...((flags & Connection.FLAG_ENGINE) !== 0 && {
        persistenceEngine: "sip",
        persistenceData: this.data(extension),
      }),
    };
  }

  /** A test of connection records: reads of each only what the filter asks for. */
  connectionMatcher(filter: ConnectionFilter): (at: number) => boolean {
    const tests: Array<(at: number) => boolean> = [];
    const { protocol, state } = filter;
    if (protocol !== undefined) tests.push((at) => this.u8(at + Connection.PROTOCOL) === protocol);
    if (state !== undefined) {
      tests.push((at) => {
        const template = (this.u32(at + Connection.FLAGS) & Connection.FLAG_TEMPLATE) !== 0;
        return stateName(this.u8(at + Connection.PROTOCOL), this.u8(at + Connection.STATE), template) === state;
      });
    }
    for (const end of CONNECTION_ENDS) {
      const wanted = [filter.client, filter.virtual, filter.server][end];
      const port = wanted?.port;
      if (port !== undefined) tests.push((at) => this.port(at + PORT_PLACES[end]) === port);
      if (wanted?.network !== undefined) tests.push(this.networkTest(end, wanted.network));
    }
    return (at) => {
      for (const test of tests) if (!test(at)) return false;
      return true;
    };
  }

  private networkTest(
    end: ConnectionEnd,
    { family, address, prefix }: NonNullable<EndpointFilter["network"]>,
  ): (at: number) => boolean {
    const { bytes } = addressBytes(address);
    const wanted = new DataView(bytes.buffer, bytes.byteOffset);
    const words: Array<readonly [at: number, mask: number, value: number]> = [];
    for (let left = prefix, at = 0; left > 0; left -= 32, at += 4) {
      const mask = left >= 32 ? 0xffffffff : (0xffffffff << (32 - left)) >>> 0;
      words.push([at, mask, (wanted.getUint32(at) & mask) >>> 0]);
    }
    return (at) => {
      if ((end === SERVER_END ? this.serverFamily(at) : this.family(at + Connection.FAMILY)) !== family) return false;
      const place = this.addressPlace(at, end);
      for (const [offset, mask, value] of words) {
        if ((this.view.getUint32(place + offset) & mask) >>> 0 !== value) return false;
      }
      return true;
    };
  }

  private serverFamily(at: number): Family {
    const server = this.u32(at + Connection.SERVER);
    return this.family(server === 0 ? at + Connection.FAMILY : server + Server.FAMILY);
  }

  /** Where an address of a connection lies. */
  private addressPlace(at: number, end: ConnectionEnd): number {
    // The record of a connection has no room for a server of the other family.
    if (end === SERVER_END && this.serverFamily(at) !== this.family(at + Connection.FAMILY)) {
      return this.u32(at + Connection.SERVER) + Server.ADDRESS;
    }
    if ((this.u32(at + Connection.FLAGS) & Connection.FLAG_IPV6) !== 0) {
      const index = (at - this.word(Memory.CONNECTIONS_BASE)) / Connection.SIZE;
      const cold = this.word(Memory.COLD_BASE) + index * Connection.COLD_SIZE;
      const extension = this.u32(cold + Connection.COLD_EXTENSION);
      if (extension !== 0) return extension + WIDE_PLACES[end];
    }
    return at + NARROW_PLACES[end];
  }

  /** What a persistence engine found, as it keeps it in an extension and more of them. */
  private data(extension: number): string {
    let left = this.u8(extension + Connection.EXTENSION_DATA_LENGTH);
    let at = extension + Connection.EXTENSION_DATA;
    let part = Math.min(left, Connection.EXTENSION_DATA_SIZE);
    const parts = [this.bytes.slice(at, at + part)];
    let more = extension;
    while ((left -= part) > 0) {
      more = this.u32(more + Connection.EXTENSION_MORE);
      if (more === 0) break;
      at = more + Connection.EXTENSION_MORE_DATA;
      part = Math.min(left, Connection.EXTENSION_MORE_SIZE);
      parts.push(this.bytes.slice(at, at + part));
    }
    return Buffer.concat(parts).toString();
  }

  /** Full NAT: the local address and port that a connection's word names, if it is of full NAT. */
  private localOf(word: number, family: Family): Pick<ConnectionInfo, "local" | "localPort"> {
    if (word === 0) return {};
    const record = this.word(Memory.ADDRESSES_BASE) + (word & 0xffff) * Address.SIZE;
    return { local: this.address(record + Address.ADDRESS, family), localPort: swap16(word >>> 16) };
  }

  *neighbours(): Generator<NeighbourInfo> {
    const base = this.word(Memory.NEIGHBOURS_BASE);
    const capacity = this.word(Memory.NEIGHBOURS_CAPACITY);
    for (let at = base; at < base + capacity * Neighbour.SIZE; at += Neighbour.SIZE) {
      const state = this.u8(at + Neighbour.STATE);
      if (state === Neighbour.STATE_FREE || state === Neighbour.STATE_DELETED) continue;
      const family = this.family(at + Neighbour.FAMILY);
      const port = this.u32(at + Neighbour.PORT);
      yield {
        family,
        address: this.address(at + Neighbour.ADDRESS, family),
        mac: formatMac(this.bytes.slice(at + Neighbour.MAC, at + Neighbour.MAC + 6)),
        port: port === 0 ? -1 : this.u32(port + Port.NUMBER),
        state: NEIGHBOUR_STATES.get(state) ?? "unknown",
      };
    }
  }

  *ports(): Generator<PortCounters> {
    const base = this.word(Memory.PORTS_BASE);
    const capacity = this.word(Memory.PORTS_CAPACITY);
    for (let at = base; at < base + capacity * Port.SIZE; at += Port.SIZE) {
      if (this.u8(at + Port.STATE) === 0) continue;
      yield {
        number: this.u32(at + Port.NUMBER),
        up: this.u8(at + Port.UP) !== 0,
        mtu: this.u32(at + Port.MTU),
        framesIn: this.u64(at + Port.FRAMES_IN),
        framesOut: this.u64(at + Port.FRAMES_OUT),
        bytesIn: this.u64(at + Port.BYTES_IN),
        bytesOut: this.u64(at + Port.BYTES_OUT),
        dropsOut: this.u64(at + Port.DROPS_OUT),
      };
    }
  }

  counters(): CoreCounters {
    const at = this.word(Memory.COUNTERS_BASE);
    const named = (base: number, names: ReadonlyArray<readonly [string, number]>) =>
      Object.fromEntries(names.map(([name, id]) => [name, this.u64(at + base + 8 * id)]));
    return {
      framesIn: this.u64(at + Counters.FRAMES_IN),
      framesOut: this.u64(at + Counters.FRAMES_OUT),
      generated: this.u64(at + Counters.GENERATED),
      evictions: this.u64(at + Counters.EVICTIONS),
      synProxy: {
        answered: this.u64(at + Counters.COOKIES_SENT),
        accepted: this.u64(at + Counters.COOKIES_ACCEPTED),
        invalid: this.u64(at + Counters.COOKIES_REFUSED),
        spliced: this.u64(at + Counters.PROXY_SPLICED),
        refused: this.u64(at + Counters.PROXY_SERVER_REFUSED),
        silent: this.u64(at + Counters.PROXY_SERVER_SILENT),
      },
      neighboursChanged: this.u64(at + Counters.NEIGHBOURS_CHANGED),
      neighboursEvicted: this.u64(at + Counters.NEIGHBOURS_EVICTED),
      fragmentsEvicted: this.u64(at + Counters.FRAGMENTS_EVICTED),
      errorsWithheld: this.u64(at + Counters.ERRORS_WITHHELD),
      verdicts: named(Counters.VERDICTS, VERDICT_NAMES),
      reasons: named(Counters.REASONS, REASON_NAMES),
    };
  }

  workers(): WorkerCounters[] {
    const base = this.word(Memory.WORKERS_BASE);
    const rings = Math.floor(this.word(Memory.RINGS_CAPACITY) / Uring.SIZE);
    const listed = (at: number, length: number) => Array.from({ length }, (_, n) => this.u64(at + 8 * n));
    return Array.from({ length: this.word(Memory.WORKERS_CAPACITY) }, (_, index) => {
      const at = base + index * Worker.SIZE;
      const ring = this.word(Memory.RINGS_BASE) + index * Uring.SIZE + Uring.STATE;
      return {
        breaths: this.u64(at + Worker.BREATHS),
        framesIn: this.u64(at + Worker.FRAMES_IN),
        bytesIn: this.u64(at + Worker.BYTES_IN),
        framesOut: this.u64(at + Worker.FRAMES_OUT),
        busy: this.u64(at + Worker.BUSY) / 1e6,
        held: index < rings ? this.u32(ring + Uring.HELD) : 0,
        frames: listed(at + Worker.FRAMES_BUCKETS, Worker.FRAMES_BUCKET_COUNT),
        durations: listed(at + Worker.DURATION_BUCKETS, Worker.DURATION_BUCKET_COUNT),
      };
    });
  }

  /** How full the tables are; what is counted nowhere is counted here. */
  occupancy(): Occupancy[] {
    let servers = 0;
    for (const service of this.serviceRecords()) servers += this.u32(service + Service.SERVER_COUNT);
    const of = (table: string, used: number, capacity: number) => ({ table, used, capacity: this.word(capacity) });
    return [
      of("connections", this.word(Memory.CONNECTION_COUNT), Memory.CONNECTIONS_CAPACITY),
      of("services", this.word(Memory.SERVICE_COUNT), Memory.SERVICES_CAPACITY),
      of("servers", servers, Memory.SERVERS_CAPACITY),
      of("neighbours", this.word(Memory.NEIGHBOUR_COUNT), Memory.NEIGHBOURS_CAPACITY),
      of("addresses", this.word(Memory.ADDRESS_COUNT), Memory.ADDRESSES_CAPACITY),
      of("routes", this.word(Memory.ROUTE_COUNT), Memory.ROUTES_CAPACITY),
      of("fragments", this.word(Memory.FRAGMENT_COUNT), Memory.FRAGMENTS_CAPACITY),
      of("slots", this.word(Memory.SLOTS_CAPACITY) - this.word(Memory.FREE_SLOT_COUNT), Memory.SLOTS_CAPACITY),
    ];
  }

  /** Frames that wait for a neighbour's address. */
  waiting(): number {
    return this.word(Memory.WAITING);
  }

  private serviceId(at: number, family: Family): ServiceId {
    const protocol = PROTOCOL_NAMES.get(this.u8(at + Service.PROTOCOL));
    if (protocol === undefined) return { family, mark: this.u32(at + Service.MARK) };
    return {
      family,
      protocol,
      address: this.address(at + Service.ADDRESS, family),
      port: this.port(at + Service.PORT),
    };
  }

  private stats(at: number): Stats {
    return {
      connections: this.u64(at + StatsLayout.CONNECTIONS),
      inPackets: this.u64(at + StatsLayout.IN_PACKETS),
      outPackets: this.u64(at + StatsLayout.OUT_PACKETS),
      inBytes: this.u64(at + StatsLayout.IN_BYTES),
      outBytes: this.u64(at + StatsLayout.OUT_BYTES),
    };
  }

  /** The estimator keeps packets scaled by 2^10 and bytes by 2^5. */
  private rates(at: number): Rates {
    const scaled = (value: number, bits: number) => Math.floor((value + 2 ** (bits - 1) - 1) / 2 ** bits);
    return {
      cps: scaled(this.u32(at + StatsLayout.CPS), 10),
      inPps: scaled(this.u32(at + StatsLayout.IN_PPS), 10),
      outPps: scaled(this.u32(at + StatsLayout.OUT_PPS), 10),
      inBps: scaled(this.u64(at + StatsLayout.IN_BPS), 5),
      outBps: scaled(this.u64(at + StatsLayout.OUT_BPS), 5),
    };
  }

  private u8(at: number): number {
    return this.view.getUint8(at);
  }

  private u32(at: number): number {
    return this.view.getUint32(at, true);
  }

  private u64(at: number): number {
    return this.u32(at) + this.u32(at + 4) * 2 ** 32;
  }

  private port(at: number): number {
    return this.view.getUint16(at, false);
  }

  private family(at: number): Family {
    return this.u8(at) === 6 ? 6 : 4;
  }

  private address(at: number, family: Family): string {
    return formatAddress(family, this.bytes.slice(at, at + (family === 4 ? 4 : 16)));
  }
}

/** A raw port as a number. */
function swap16(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8);
}

/** Bits set from the top of a netmask. */
function prefixOf(mask: Uint8Array): number {
  const word = new DataView(mask.buffer, mask.byteOffset).getUint32(0);
  return Math.clz32(~word >>> 0);
}
