/** ipvsadm's listings, byte for byte. */
import type { ListFormat, ListOptions } from "./grammar.js";
import type {
  ConnectionInfo,
  DaemonInfo,
  ForwardingName,
  ServerInfo,
  ServiceInfo,
  ServiceProtocol,
  Timeouts,
} from "./model.js";
import { maskOfPrefix } from "./number.js";
import { type PlaceText, protocolOf } from "./place-text.js";
import { formatSchedulerFlags } from "./scheduler-flags.js";
import { sortServers, sortServices } from "./sort.js";

/** The version of the kernel's interface that wlvs speaks. */
export const IPVS_VERSION = "1.2.1";

const FORWARDING_TEXT: Readonly<Record<ForwardingName, string>> = {
  nat: "Masq",
  dr: "Route",
  tunnel: "Tunnel",
  local: "Local",
  bypass: "Bypass",
  fullnat: "FullNAT",
};

const PLAIN_HEAD = "Prot LocalAddress:Port Scheduler Flags\n";
const NAME_HEAD = "Prot LocalAddress:Port".padEnd(33);
const SERVER_HEAD = "  -> RemoteAddress:Port\n";

function columns(names: readonly string[]): string {
  return names.map((name) => ` ${name.padStart(8)}`).join("");
}

const HEADS: Readonly<Record<ListFormat, string>> = {
  plain: `${PLAIN_HEAD}  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n`,
  stats: `${NAME_HEAD}${columns(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"])}\n${SERVER_HEAD}`,
  rate: `${NAME_HEAD}${columns(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"])}\n${SERVER_HEAD}`,
  thresholds: `${NAME_HEAD} Uthreshold Lthreshold ActiveConn InActConn \n${SERVER_HEAD}`,
  "persistent-conn": `${NAME_HEAD} Weight    PersistConn ActiveConn InActConn \n${SERVER_HEAD}`,
  "tun-info": `${PLAIN_HEAD}  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n`,
};

export function formatVersion(tableSize: number): string {
  return `IP Virtual Server version ${IPVS_VERSION} (size=${tableSize})\n`;
}

/** Services with their servers: the heads of the columns, then service by service. */
export function* formatServices(
  services: readonly ServiceInfo[],
  options: Pick<ListOptions, "exact" | "sort" | "format">,
  place: PlaceText,
): Generator<string> {
  yield HEADS[options.format];
  for (const service of options.sort ? sortServices(services) : services) yield formatService(service, options, place);
}

function formatService(
  service: ServiceInfo,
  options: Pick<ListOptions, "exact" | "sort" | "format">,
  place: PlaceText,
): string {
  // The kernel gives the newest server first, and sorting starts from that.
  const newestFirst = service.servers.toReversed();
  const servers = options.sort ? sortServers(newestFirst) : newestFirst;
  const name = serviceName(service, place);
  const counters = countersOf(service, options);
  const line = counters === undefined ? `${name} ${flagsOf(service)}` : name.padEnd(33) + counters;
  return `${line}\n${servers.map((server) => formatServer(service, server, options, place)).join("")}`;
}

function serviceName({ id }: ServiceInfo, place: PlaceText): string {
  // Marks are shown as signed numbers.
  if ("mark" in id) return `FWM  ${id.mark | 0}${id.family === 6 ? " IPv6" : ""}`;
  return `${id.protocol.toUpperCase().padEnd(4)} ${place(id.family, id.address, id.port, id.protocol)}`;
}

/** The mask of a service's persistence when clients do not stand for themselves. */
export function persistenceMask(service: Pick<ServiceInfo, "id" | "persistencePrefix" | "persistenceNetmask">): string {
  const { id, persistencePrefix, persistenceNetmask } = service;
  if (id.family === 6) return persistencePrefix === 128 ? "" : `${persistencePrefix}`;
  const mask = persistenceNetmask ?? maskOfPrefix(persistencePrefix);
  return mask === "255.255.255.255" ? "" : mask;
}

function flagsOf(service: ServiceInfo): string {
  let text = service.scheduler;
  const flags = formatSchedulerFlags(service.scheduler, service.schedulerFlags);
  if (flags !== "") text += ` (${flags})`;
  if (service.persistence !== undefined) {
    text += ` persistent ${service.persistence}`;
    const mask = persistenceMask(service);
    if (mask !== "") text += ` mask ${mask}`;
    if (service.persistenceEngine !== undefined) text += ` pe ${service.persistenceEngine}`;
  }
  return service.onePacket ? `${text} ops` : text;
}

function countersOf(
  { stats, rates }: Pick<ServiceInfo, "stats" | "rates">,
  { format, exact }: Pick<ListOptions, "exact" | "format">,
): string | undefined {
  const show = (numbers: readonly number[]) => numbers.map((number) => largeNumber(number, exact)).join("");
  if (format === "stats") {
    return show([stats.connections, stats.inPackets, stats.outPackets, stats.inBytes, stats.outBytes]);
  }
  if (format === "rate") return show([rates.cps, rates.inPps, rates.outPps, rates.inBps, rates.outBps]);
  return undefined;
}

/** A number in a column of nine: eight digits at most, unless `exact`. */
export function largeNumber(value: number, exact: boolean): string {
  if (exact) return ` ${`${value}`.padStart(8)}`;
  if (value < 100e6) return `${value}`.padStart(9);
  if (value < 1e9) return `${Math.floor(value / 1e3)}K`.padStart(9);
  if (value < 100e9) return `${Math.floor(value / 1e6)}M`.padStart(9);
  if (value < 100e12) return `${Math.floor(value / 1e9)}G`.padStart(9);
  return `${Math.floor(value / 1e12)}T`.padStart(9);
}

function formatServer(
  service: ServiceInfo,
  server: ServerInfo,
  options: Pick<ListOptions, "exact" | "format">,
  place: PlaceText,
): string {
  const { id } = server;
  const text = place(id.family, id.address, id.port, protocolOf(service));
  // Names are cut to the column, IPv6 addresses are not.
  const name = `  -> ${(id.family === 6 ? text : text.slice(0, 28)).padEnd(28)}`;
  const counters = countersOf(server, options);
  if (counters !== undefined) return `${name}${counters}\n`;
  const active = `${server.active}`.padEnd(10);
  const inactive = `${server.inactive}`.padEnd(10);
  const forwarding = FORWARDING_TEXT[server.forwarding].padEnd(7);
  switch (options.format) {
    case "thresholds": {
      const upper = `${server.upperThreshold}`.padEnd(10);
      const lower = `${server.lowerThreshold}`.padEnd(10);
      return `${name} ${upper} ${lower} ${active} ${inactive}\n`;
    }
    case "persistent-conn": {
      const weight = `${server.weight}`.padEnd(9);
      return `${name} ${weight} ${`${server.persistent}`.padEnd(11)} ${active} ${inactive}\n`;
    }
    case "tun-info": {
      const weight = `${server.weight}`.padEnd(6);
      return `${name} ${forwarding} ${tunnelOf(server).padEnd(13)} ${weight} ${active} ${inactive}\n`;
    }
    default:
      return `${name} ${forwarding} ${`${server.weight}`.padEnd(6)} ${active} ${inactive}\n`;
  }
}

const CHECKSUM_TEXT = { nocsum: "-c", csum: "+c", remcsum: "r+c" } as const;

function tunnelOf({ forwarding, tunnel }: ServerInfo): string {
  if (forwarding !== "tunnel") return "n/a";
  switch (tunnel?.type) {
    case "gue":
      return `gue:${tunnel.port}:${CHECKSUM_TEXT[tunnel.checksum]}`;
    case "gre":
      return `gre:${CHECKSUM_TEXT[tunnel.checksum]}`;
    default:
      return "ipip";
  }
}

const CONNECTION_PROTOCOLS: Readonly<Record<number, ServiceProtocol>> = { 6: "tcp", 17: "udp", 132: "sctp" };
/** What the kernel shows for a protocol that it does not balance: that of the templates of marked services. */
const NO_PROTOCOL = "IP";

export function connectionProtocol(connection: ConnectionInfo): ServiceProtocol | undefined {
  return CONNECTION_PROTOCOLS[connection.protocol];
}

export function connectionsHead(persistenceData: boolean): string {
  const head = "pro expire state       source             virtual            destination";
  return `IPVS connection entries\n${persistenceData ? `${head}        pe name          pe_data` : head}\n`;
}

export function formatConnection(connection: ConnectionInfo, persistenceData: boolean, place: PlaceText): string {
  const { family, client, clientPort, virtual, virtualPort, server, serverPort, serverFamily } = connection;
  const protocol = connectionProtocol(connection);
  const two = (number: number) => `${number}`.padStart(2, "0");
  const expires = `${two(Math.floor(connection.expires / 60))}:${two(connection.expires % 60)}`;
  const source = place(family, client, clientPort, protocol).padEnd(18);
  const target = place(family, virtual, virtualPort, protocol).padEnd(18);
  const destination = place(serverFamily, server, serverPort, protocol);
  const start = `${(protocol?.toUpperCase() ?? NO_PROTOCOL).padEnd(3)} ${expires.padEnd(6)}`;
  const line = `${start} ${connection.state.padEnd(11)} ${source} ${target}`;
  const { persistenceEngine, persistenceData: data } = connection;
  if (!persistenceData || persistenceEngine === undefined) return `${line} ${destination}\n`;
  return `${line} ${destination.padEnd(16)} ${persistenceEngine.padEnd(18)} ${data ?? ""}\n`;
}

export function formatTimeouts({ tcp, tcpFin, udp }: Timeouts): string {
  return `Timeout (tcp tcpfin udp): ${tcp} ${tcpFin} ${udp}\n`;
}

export function formatDaemon(daemon: DaemonInfo): string {
  let text = `${daemon.role} sync daemon (mcast=${daemon.interface}, syncid=${daemon.syncId}`;
  if (daemon.maxLength !== undefined) text += `, maxlen=${daemon.maxLength}`;
  if (daemon.group !== undefined) text += `, group=${daemon.group}`;
  if (daemon.port !== undefined) text += `, port=${daemon.port}`;
  if (daemon.ttl !== undefined) text += `, ttl=${daemon.ttl}`;
  return `${text})\n`;
}
