/** Control calls of the core, with names and objects instead of the REQUEST record. One caller per memory. */

import * as Errno from "../../assembly/layout/errno.js";
import * as Forwarding from "../../assembly/layout/forwarding.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import * as Protocol from "../../assembly/layout/protocol.js";
import * as Request from "../../assembly/layout/request.js";
import * as Scheduler from "../../assembly/layout/scheduler.js";
import * as Server from "../../assembly/layout/server.js";
import * as Service from "../../assembly/layout/service.js";
import { addressBytes, parseMac, parsePrefix } from "../address.js";
import {
  type ForwardingName,
  IpvsError,
  type ServerConfig,
  type ServerFailure,
  type ServerId,
  type ServiceConfig,
  type ServiceId,
  type ServiceProtocol,
  type SynProxy,
  type Timeouts,
  type TunnelChecksum,
  type TunnelName,
} from "../ipvs/model.js";
import type { Core } from "./instance.js";
import { parseSetting } from "./settings.js";

export const SCHEDULER_IDS: Readonly<Record<string, number>> = Object.fromEntries(
  Object.entries(Scheduler).map(([name, id]) => [name.toLowerCase(), id]),
);
export const PROTOCOL_IDS: Readonly<Record<ServiceProtocol, number>> = {
  tcp: Protocol.TCP,
  udp: Protocol.UDP,
  sctp: Protocol.SCTP,
};
export const FORWARDING_IDS: Readonly<Record<ForwardingName, number>> = {
  nat: Forwarding.NAT,
  local: Forwarding.LOCAL,
  tunnel: Forwarding.TUNNEL,
  dr: Forwarding.DR,
  bypass: Forwarding.BYPASS,
  fullnat: Forwarding.FULL_NAT,
};
export const TUNNEL_IDS: Readonly<Record<TunnelName, number>> = {
  ipip: Forwarding.TUNNEL_IPIP,
  gue: Forwarding.TUNNEL_GUE,
  gre: Forwarding.TUNNEL_GRE,
};
export const TUNNEL_CHECKSUM_IDS: Readonly<Record<TunnelChecksum, number>> = {
  nocsum: Forwarding.TUNNEL_NO_CHECKSUM,
  csum: Forwarding.TUNNEL_CHECKSUM,
  remcsum: Forwarding.TUNNEL_REMOTE_CHECKSUM,
};
const FAILURE_IDS: Readonly<Record<ServerFailure, number>> = {
  keep: Server.FAILURE_KEEP,
  reset: Server.FAILURE_RESET,
  reschedule: Server.FAILURE_RESCHEDULE,
};
export const SYN_PROXY_IDS: Readonly<Record<SynProxy, number>> = {
  default: Service.PROXY_DEFAULT,
  off: Service.PROXY_OFF,
  on: Service.PROXY_ALWAYS,
  auto: Service.PROXY_AUTO,
};
export const PERSISTENCE_ENGINE_IDS: Readonly<Record<string, number>> = { sip: 1 };
export const PORT_KIND_IDS = {
  tap: Port.KIND_TAP,
  tun: Port.KIND_TUN,
  pcap: Port.KIND_PCAP,
  memory: Port.KIND_MEMORY,
} as const;

const ERRNO_NAMES = new Map<number, string>(
  Object.entries(Errno)
    .filter(([name]) => name !== "FIRST")
    .map(([name, value]) => [value, name] as const),
);
/** Of port numbers in requests: any port, or none. */
export const NO_PORT = 0xffffffff;

export interface PortConfig {
  /** The host's index of the port. */
  readonly number: number;
  readonly kind: keyof typeof PORT_KIND_IDS;
  /** Bits of layout/port CAPABILITY_*. */
  readonly capabilities: number;
  readonly mtu: number;
  readonly mac: string;
}

export interface RouteConfig {
  /** CIDR, or an address. */
  readonly to: string;
  readonly gateway?: string | undefined;
  /** Number of the port; undefined: where the gateway lies. */
  readonly port?: number | undefined;
  readonly metric?: number | undefined;
  readonly source?: string | undefined;
  readonly kind?: "unicast" | "local" | "unreachable" | undefined;
  /** Of a local route: the firewall mark that packets must have. */
  readonly mark?: number | undefined;
}

/** What a passive check takes; the window in milliseconds, 0: any number may be. */
export interface PassiveLimits {
  readonly refused: number;
  readonly unanswered: number;
  readonly window: number;
}

/** The error that a negated errno of the core stands for. */
export function ipvsError(errno: number, what: string): IpvsError {
  const code = ERRNO_NAMES.get(errno) ?? `E${errno}`;
  return new IpvsError(code, errno, `${what}: ${code}`);
}

/** A control call's result: a record's address or 0; throws an IpvsError when it is an errno. */
export function resultOf(result: number, what: string): number {
  const unsigned = result >>> 0;
  if (unsigned >= Errno.FIRST) throw ipvsError(-(unsigned | 0), what);
  return unsigned;
}

/** The bits of a service's FLAGS that a configuration sets. */
export function serviceFlags(service: ServiceConfig): number {
  return (
    (service.persistence !== undefined ? Service.FLAG_PERSISTENT : 0) |
    (service.onePacket ? Service.FLAG_ONE_PACKET : 0) |
    ((service.schedulerFlags & 7) * Service.FLAG_SCHEDULER_1)
  );
}

export class Control {
  readonly core: Core;
  readonly memory: WebAssembly.Memory;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;

  constructor(core: Core, memory: WebAssembly.Memory) {
    this.core = core;
    this.memory = memory;
    const base = new DataView(memory.buffer).getUint32(Memory.LAYOUT_BASE + Memory.REQUEST_BASE, true);
    this.view = new DataView(memory.buffer, base, Request.SIZE);
    this.bytes = new Uint8Array(memory.buffer, base, Request.SIZE);
  }

  /** Brings the core up over a fresh memory. */
  init(): void {
    resultOf(this.core.init(), "init");
  }

  /** Holds the data path over several calls; at most 200 µs of work. */
  hold<T>(work: () => T): T {
    this.core.hold();
    try {
      return work();
    } finally {
      this.core.release();
    }
  }

  serviceAdd(service: ServiceConfig): number {
    return this.hold(() => {
      this.putService(service);
      const record = resultOf(this.core.serviceAdd(), "add service");
      if (service.synProxy !== undefined || service.limits !== undefined) this.guard(record, service, "add service");
      return record;
    });
  }

  /** SYN proxy and limits stay where the service says nothing of them. */
  serviceEdit(service: ServiceConfig): number {
    return this.hold(() => {
      this.putService(service);
      const record = resultOf(this.core.serviceEdit(), "edit service");
      if (service.synProxy !== undefined || service.limits !== undefined) this.guard(record, service, "edit service");
      return record;
    });
  }

  /** The request still names the service. */
  private guard(record: number, { synProxy, limits }: ServiceConfig, what: string): void {
    const view = new DataView(this.memory.buffer, record);
    const mode = synProxy === undefined ? view.getUint8(Service.PROXY_MODE) : SYN_PROXY_IDS[synProxy];
    const kept = (at: number) => view.getUint32(at, true);
    const { connections, rate, perSource } = limits ?? {
      connections: kept(Service.LIMIT_CONNECTIONS),
      rate: kept(Service.LIMIT_RATE),
      perSource: { connections: kept(Service.SOURCE_CONNECTIONS), rate: kept(Service.SOURCE_RATE) },
    };
    resultOf(
      this.core.serviceGuard(mode, connections ?? 0, rate ?? 0, perSource?.connections ?? 0, perSource?.rate ?? 0),
      what,
    );
  }

  serviceRemove(id: ServiceId): void {
    this.clear();
    this.putServiceId(id);
    resultOf(this.core.serviceRemove(), "remove service");
  }

  /** The record of a service, or 0. */
  serviceFind(id: ServiceId): number {
    this.clear();
    this.putServiceId(id);
    const result = this.core.serviceFind() >>> 0;
    return result >= Errno.FIRST ? 0 : result;
  }

  serverAdd(service: ServiceId, server: ServerConfig): number {
    this.putServer(service, server);
    return resultOf(this.core.serverAdd(), "add server");
  }

  /** `failure`: it is edited because it failed, and what is to become of its connections. */
  serverEdit(service: ServiceId, server: ServerConfig, failure?: ServerFailure): number {
    this.putServer(service, server);
    this.putFailure(failure);
    return resultOf(this.core.serverEdit(), "edit server");
  }

  serverRemove(service: ServiceId, server: ServerId, failure?: ServerFailure): void {
    this.clear();
    this.putServiceId(service);
    this.putServerId(server);
    this.putFailure(failure);
    resultOf(this.core.serverRemove(), "remove server");
  }

  /** So many refusals or silences within a window make a server suspect; undefined: none do, and it is not any more. */
  serverWatch(service: ServiceId, server: ServerId, limits: PassiveLimits | undefined): void {
    this.clear();
    this.putServiceId(service);
    this.putServerId(server);
    if (limits !== undefined) {
      this.put(Request.WINDOW, Math.max(1, Math.round(limits.window / Memory.TICK_MS)));
      this.put(Request.REFUSED_LIMIT, limits.refused);
      this.put(Request.UNANSWERED_LIMIT, limits.unanswered);
    }
    resultOf(this.core.serverWatch(), "watch server");
  }

  flush(): void {
    resultOf(this.core.flush(), "flush");
  }

  /** Zeroes the counters of the service at this address, or of everything. */
  zero(service = 0): void {
    resultOf(this.core.zero(service), "zero");
  }

  settingSet(id: number, value: number): void {
    resultOf(this.core.settingSet(id, value), "set");
  }

  /** `name = text` as sysctl takes it. Throws a RangeError when it makes no sense. */
  setting(name: string, text: string): void {
    for (const [id, value] of parseSetting(name, text)) this.settingSet(id, value);
  }

  timeoutsSet(timeouts: Timeouts): void {
    resultOf(this.core.timeoutsSet(timeouts.tcp, timeouts.tcpFin, timeouts.udp), "set timeouts");
  }

  portAdd(port: PortConfig): number {
    this.clear();
    this.put(Request.NUMBER, port.number);
    this.put(Request.KIND, PORT_KIND_IDS[port.kind]);
    this.put(Request.CAPABILITIES, port.capabilities);
    this.put(Request.MTU, port.mtu);
    this.putMac(port.mac);
    return resultOf(this.core.portAdd(), "add port");
  }

  portUp(port: number, up: boolean): void {
    resultOf(this.core.portUp(port, up ? 1 : 0), "set port up");
  }

  portMtu(port: number, mtu: number): void {
    resultOf(this.core.portMtu(port, mtu), "set port mtu");
  }

  /** `cidr` is the address and its network, as `ip addr add` takes it. */
  addressAdd(cidr: string, port: number): number {
    this.putNetwork(cidr, port);
    return resultOf(this.core.addressAdd(), "add address");
  }

  addressRemove(cidr: string, port: number): void {
    this.putNetwork(cidr, port);
    resultOf(this.core.addressRemove(), "remove address");
  }

  routeAdd(route: RouteConfig): number {
    this.putRoute(route);
    return resultOf(this.core.routeAdd(), "add route");
  }

  routeRemove(route: RouteConfig): void {
    this.putRoute(route);
    resultOf(this.core.routeRemove(), "remove route");
  }

  /** A permanent neighbour. */
  neighbourAdd(address: string, mac: string, port: number): number {
    this.clear();
    const { family, bytes } = addressBytes(address);
    this.put(Request.FAMILY, family);
    this.bytes.set(bytes, Request.ADDRESS);
    this.putMac(mac);
    this.put(Request.NUMBER, port);
    return resultOf(this.core.neighbourAdd(), "add neighbour");
  }

  neighbourRemove(address: string, port: number): void {
    this.clear();
    const { family, bytes } = addressBytes(address);
    this.put(Request.FAMILY, family);
    this.bytes.set(bytes, Request.ADDRESS);
    this.put(Request.NUMBER, port);
    resultOf(this.core.neighbourRemove(), "remove neighbour");
  }

  /** Forgets what was learnt on a port (all of them by default); permanent ones stay. */
  neighbourFlush(port: number = NO_PORT): void {
    resultOf(this.core.neighbourFlush(port), "flush neighbours");
  }

  /** What a worker's thread that is gone, and its ring, held is free again. */
  abandonWorker(index: number): void {
    this.core.abandonWorker(index);
  }

  announce(): void {
    this.core.announce();
  }

  /** Puts a compiled set of mark rules (host/marks) in the place of the one in use, between two packets. */
  marksLoad(program: Uint8Array, rules: number): void {
    for (let at = 0; at < program.length; at += Request.SIZE) {
      const piece = program.subarray(at, at + Request.SIZE);
      this.bytes.set(piece);
      resultOf(this.core.marksPut(at, piece.length), "load mark rules");
    }
    resultOf(this.core.marksLoad(program.length, rules), "load mark rules");
  }

  /** Trace `number` begins: `program` as host/trace/filter compiles it, `rate` records a second at most (0: all). */
  traceStart(number: number, program: Uint8Array, snap: number, rate: number): void {
    this.bytes.set(program);
    resultOf(this.core.traceStart(number, program.length, snap, rate), "trace");
  }

  traceStop(number: number): void {
    resultOf(this.core.traceStop(number), "trace");
  }

  /** Every how manieth new connection is told of; 0 for none. */
  traceSample(every: number): void {
    resultOf(this.core.traceSample(every), "trace");
  }

  private clear(): void {
    this.bytes.fill(0, 0, 256);
  }

  private put(at: number, value: number): void {
    this.view.setUint32(at, value >>> 0, true);
  }

  private putMac(text: string): void {
    const mac = parseMac(text);
    if (mac === undefined) throw new TypeError(`not a MAC address: ${text}`);
    this.bytes.set(mac, Request.MAC);
  }

  private putServiceId(id: ServiceId): void {
    this.put(Request.FAMILY, id.family);
    if ("mark" in id) {
      this.put(Request.MARK, id.mark);
      return;
    }
    this.put(Request.PROTOCOL, PROTOCOL_IDS[id.protocol]);
    this.bytes.set(addressBytes(id.address).bytes, Request.ADDRESS);
    this.put(Request.PORT, id.port);
  }

  private putService(service: ServiceConfig): void {
    this.clear();
    this.putServiceId(service.id);
    this.put(Request.SCHEDULER, SCHEDULER_IDS[service.scheduler] ?? 0);
    this.put(Request.FLAGS, serviceFlags(service));
    this.put(Request.TIMEOUT, service.persistence ?? 0);
    if (service.id.family === 6) this.put(Request.NETMASK, service.persistencePrefix);
    else this.bytes.set(netmaskBytes(service), Request.NETMASK);
    this.put(Request.PERSISTENCE_ENGINE, PERSISTENCE_ENGINE_IDS[service.persistenceEngine ?? ""] ?? 0);
  }

  private putServerId(id: ServerId): void {
    this.put(Request.SERVER_FAMILY, id.family);
    this.bytes.set(addressBytes(id.address).bytes, Request.SERVER_ADDRESS);
    this.put(Request.SERVER_PORT, id.port);
  }

  private putServer(service: ServiceId, server: ServerConfig): void {
    this.clear();
    this.putServiceId(service);
    this.putServerId(server.id);
    this.put(Request.WEIGHT, server.weight);
    this.put(Request.FORWARDING, FORWARDING_IDS[server.forwarding]);
    this.put(Request.UPPER, server.upperThreshold);
    this.put(Request.LOWER, server.lowerThreshold);
    if (server.tunnel !== undefined) {
      this.put(Request.TUNNEL_TYPE, TUNNEL_IDS[server.tunnel.type]);
      this.put(Request.TUNNEL_PORT, server.tunnel.port);
      this.put(Request.TUNNEL_FLAGS, TUNNEL_CHECKSUM_IDS[server.tunnel.checksum]);
    }
  }

  private putFailure(failure: ServerFailure | undefined): void {
    if (failure !== undefined) this.put(Request.FAILURE, FAILURE_IDS[failure]);
  }

  private putNetwork(cidr: string, port: number): void {
    this.clear();
    const network = parsePrefix(cidr);
    if (network === undefined) throw new TypeError(`not an address: ${cidr}`);
    this.put(Request.FAMILY, network.family);
    this.bytes.set(network.bytes, Request.ADDRESS);
    this.put(Request.PREFIX, network.prefix);
    this.put(Request.NUMBER, port);
  }

  private putRoute(route: RouteConfig): void {
    this.putNetwork(route.to, route.port ?? NO_PORT);
    if (route.gateway !== undefined) this.bytes.set(addressBytes(route.gateway).bytes, Request.GATEWAY);
    if (route.source !== undefined) this.bytes.set(addressBytes(route.source).bytes, Request.SOURCE);
    this.put(Request.METRIC, route.metric ?? 0);
    this.put(Request.MARK, route.mark ?? 0);
    this.put(Request.KIND, ROUTE_KINDS[route.kind ?? "unicast"]);
  }
}

const ROUTE_KINDS = { unicast: 0, local: 1, unreachable: 2 } as const;

/** Four bytes of an IPv4 service's granularity. */
function netmaskBytes(service: ServiceConfig): Uint8Array {
  if (service.persistenceNetmask !== undefined) return addressBytes(service.persistenceNetmask).bytes.subarray(0, 4);
  const mask = service.persistencePrefix === 0 ? 0 : (0xffffffff << (32 - service.persistencePrefix)) >>> 0;
  return Uint8Array.of(mask >>> 24, mask >>> 16, mask >>> 8, mask);
}
