/** The files that the kernel's IPVS shows in /proc/net, byte for byte. */
import { addressBytes } from "../address.js";
import type { ConnectionInfo, Family, ForwardingName, Ipvs, ServiceInfo } from "./model.js";

/** Timeouts of services are shown in ticks of the kernel's clock. */
const TICKS_PER_SECOND = 250;
const VERSION = "1.2.1";
const PROTOCOLS: Readonly<Record<number, string>> = {
  0: "IP",
  1: "ICMP",
  6: "TCP",
  17: "UDP",
  58: "ICMPv6",
  132: "SCTP",
};
const FORWARDING: Readonly<Record<ForwardingName, string>> = {
  nat: "Masq",
  local: "Local",
  tunnel: "Tunnel",
  dr: "Route",
  bypass: "Bypass",
  // The kernel has no name for it.
  fullnat: "FullNAT",
};

function hex(value: number, width: number): string {
  return value.toString(16).toUpperCase().padStart(width, "0");
}

/** IPv4 as one hexadecimal number, IPv6 as eight groups of four digits. */
function address(family: Family, text: string): string {
  const { bytes } = addressBytes(text);
  const digits = Buffer.from(bytes).toString("hex");
  if (family === 4) return digits.slice(0, 8).toUpperCase();
  return digits.match(/.{4}/g)!.join(":");
}

function bracketed(family: Family, text: string): string {
  return family === 4 ? address(4, text) : `[${address(6, text)}]`;
}

/** Granularity as the bytes of the kernel's word stand in memory: a netmask, or an IPv6 prefix length. */
function granularity({ id, persistencePrefix, persistenceNetmask }: ServiceInfo): string {
  if (id.family === 6) return hex(((persistencePrefix & 0xff) << 24) >>> 0, 8);
  if (persistenceNetmask !== undefined) return address(4, persistenceNetmask);
  return hex(persistencePrefix === 0 ? 0 : (0xffffffff << (32 - persistencePrefix)) >>> 0, 8);
}

function serviceLine(service: ServiceInfo): string {
  const { id, scheduler, onePacket, persistence } = service;
  const ops = onePacket ? "ops " : "";
  let line: string;
  if ("mark" in id) line = `FWM  ${hex(id.mark, 8)} ${scheduler} ${ops}`;
  else {
    const place = `${id.protocol.toUpperCase()}  ${bracketed(id.family, id.address)}:${hex(id.port, 4)}`;
    line = `${place} ${scheduler} ${id.family === 4 ? `${ops} ` : ""}`;
  }
  if (persistence === undefined) return `${line}\n`;
  return `${line}persistent ${persistence * TICKS_PER_SECOND} ${granularity(service)}\n`;
}

/** ip_vs, the lines of a service together. */
export function* ipVsPieces(tableSize: number, services: Iterable<ServiceInfo>): Generator<string> {
  yield `IP Virtual Server version ${VERSION} (size=${tableSize})\n` +
    "Prot LocalAddress:Port Scheduler Flags\n" +
    "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";
  for (const service of services) {
    let text = serviceLine(service);
    for (const { id, forwarding, weight, active, inactive } of service.servers) {
      const place = `${bracketed(id.family, id.address)}:${hex(id.port, 4)}`;
      const counts = `${`${weight}`.padEnd(6)} ${`${active}`.padEnd(10)} ${`${inactive}`.padEnd(10)}`;
      text += `  -> ${place}      ${FORWARDING[forwarding].padEnd(7)} ${counts}\n`;
    }
    yield text;
  }
}

async function* ipVs(ipvs: Ipvs): AsyncGenerator<string> {
  yield* ipVsPieces(await ipvs.tableSize(), await ipvs.services());
}

function numbers(list: readonly [number, number, number, number, number]): string {
  return list
    .map((value, n) =>
      value
        .toString(16)
        .toUpperCase()
        .padStart(n < 3 ? 8 : 16),
    )
    .join(" ");
}

/** ip_vs_stats. */
export async function ipVsStats(ipvs: Pick<Ipvs, "totals">): Promise<string> {
  const { stats, rates } = await ipvs.totals();
  return (
    "   Total Incoming Outgoing         Incoming         Outgoing\n" +
    "   Conns  Packets  Packets            Bytes            Bytes\n" +
    `${numbers([stats.connections, stats.inPackets, stats.outPackets, stats.inBytes, stats.outBytes])}\n\n` +
    " Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n" +
    `${numbers([rates.cps, rates.inPps, rates.outPps, rates.inBps, rates.outBps])}\n`
  );
}

/** What the two listings of connections have in common. */
function connectionLine(connection: ConnectionInfo): string {
  const { family, protocol, client, clientPort, virtual, virtualPort, server, serverPort, serverFamily } = connection;
  const name = PROTOCOLS[protocol] ?? `IP_${protocol}`;
  const places = [
    `${address(family, client)} ${hex(clientPort, 4)}`,
    `${address(family, virtual)} ${hex(virtualPort, 4)}`,
    `${address(serverFamily, server)} ${hex(serverPort, 4)}`,
  ];
  return `${name.padEnd(3)} ${places.join(" ")} ${connection.state.padEnd(11)}`;
}

async function* ipVsConn(ipvs: Ipvs): AsyncGenerator<string> {
  yield "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n";
  for await (const connection of ipvs.connections()) {
    const { persistenceEngine: engine, persistenceData: data } = connection;
    const more = engine === undefined ? "" : ` ${engine} ${data ?? ""}`;
    yield `${connectionLine(connection)} ${`${connection.expires}`.padStart(7)}${more}\n`;
  }
}

async function* ipVsConnSync(ipvs: Ipvs): AsyncGenerator<string> {
  yield "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n";
  for await (const connection of ipvs.connections()) {
    yield `${connectionLine(connection)} ${"LOCAL".padEnd(6)} ${`${connection.expires}`.padStart(7)}\n`;
  }
}

async function* whole(text: Promise<string>): AsyncGenerator<string> {
  yield await text;
}

const FILES = {
  ip_vs: ipVs,
  ip_vs_stats: (ipvs: Ipvs) => whole(ipVsStats(ipvs)),
  ip_vs_conn: ipVsConn,
  ip_vs_conn_sync: ipVsConnSync,
} as const;

export type ProcFile = keyof typeof FILES;
export const PROC_FILES = Object.keys(FILES) as ProcFile[];

export function isProcFile(name: string): name is ProcFile {
  return Object.hasOwn(FILES, name);
}

/** The file in pieces: there may be a million connections. */
export function procFile(file: ProcFile, ipvs: Ipvs): AsyncGenerator<string> {
  return FILES[file](ipvs);
}

export async function procText(file: ProcFile, ipvs: Ipvs): Promise<string> {
  let text = "";
  for await (const piece of procFile(file, ipvs)) text += piece;
  return text;
}
