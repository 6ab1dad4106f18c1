/** What a running director loses frames by: read off its tables, its devices' other ends, and the networks they are on. */
import { parseAddress, parsePrefix } from "../address.js";
import type { RemoteIpvs } from "../control/client.js";
import type { CounterInfo, DirectorStatus, NeighbourInfo, PortInfo } from "../control/director-info.js";
import { endpoint } from "../control/keys.js";
import { LvsError, oneLine } from "../errors.js";
import type { ConnectionInfo, ServerInfo, ServiceInfo } from "../ipvs/model.js";
import { arpProbe } from "../port/arp-probe.js";
import { inNamespace } from "../port/ioctl.js";
import { bridgeFindings } from "./bridges.js";
import type { Finding } from "./finding.js";
import { adviceFor, type Uplink, uplinks } from "./hypervisor.js";
import { type Link, linksOf } from "./links.js";
import { sysctl } from "./machine.js";

/** So many connections that wait for an answer are looked at: what is wrong shows in fewer. */
const WAITING_MOST = 50_000;
/** Asked by ARP, at most. */
const VIPS_MOST = 64;
const PROBE_MS = 700;
/** Outer headers of IPIP; GRE and GUE have more. */
const TUNNEL_HEADER = 20;
const UNANSWERED = "SYN_RECV";

type Status = DirectorStatus & { ports: PortInfo[]; services: ServiceInfo[] };

/** Connections of a server whose SYN was never answered through here. */
interface Waiting {
  count: number;
  /** Of these, those whose client is on the server's own network, and some such clients. */
  beside: number;
  readonly clients: Set<string>;
}

/** One note where no director is running. */
export async function examineDirector(director: RemoteIpvs): Promise<Finding[]> {
  let status: Status;
  try {
    status = await director.status();
  } catch (error) {
    if (!(error instanceof LvsError)) throw error;
    return [{ subject: "director", level: "note", found: `none was asked: ${oneLine(error)}` }];
  }
  const [counters, neighbours, settings, waiting] = await Promise.all([
    director.counters(),
    director.neighbours(),
    director.settings(),
    unanswered(director, status.ports),
  ]);
  const links = new Map<string | undefined, Link[]>();
  for (const { netns } of status.ports) if (!links.has(netns)) links.set(netns, linksOf(netns));
  return [
    {
      subject: "director",
      level: "ok",
      found: `pid ${status.pid} forwards on ${status.ports.map(({ name }) => name).join(" ")}, io ${status.io}`,
    },
    ...answers(status, neighbours, waiting),
    ...silence(status.ports, neighbours, links),
    ...(await duplicates(status)),
    ...tunnels(status, counters, Number(settings.mss_clamp ?? 0) !== 0),
    ...queues(status.ports, links),
    ...bridges(status.ports, links),
    ...tunDevices(status),
  ];
}

function serverName({ id }: ServerInfo): string {
  return endpoint(id.family, id.address, id.port);
}

function serverKeyOf(address: string, port: number): string {
  return `${address} ${port}`;
}

/** Whether an address is in the network of an address with a prefix length. */
export function isOnLink(cidr: string, address: string): boolean {
  const network = parsePrefix(cidr);
  const found = parseAddress(address);
  if (network === undefined || found === undefined || network.family !== found.family) return false;
  for (let bit = 0; bit < network.prefix; bit += 8) {
    const mask = (0xff << Math.max(0, 8 - (network.prefix - bit))) & 0xff;
    if (((network.bytes[bit >> 3]! ^ found.bytes[bit >> 3]!) & mask) !== 0) return false;
  }
  return true;
}

/** The director's own address that a server reaches it by, without its prefix length. */
function directorBeside(ports: readonly PortInfo[], server: string): string | undefined {
  return ports
    .flatMap(({ addresses }) => addresses)
    .find((cidr) => isOnLink(cidr, server))
    ?.replace(/\/\d+$/, "");
}

async function unanswered(director: RemoteIpvs, ports: readonly PortInfo[]): Promise<Map<string, Waiting>> {
  const waiting = new Map<string, Waiting>();
  for await (const connection of director.connections({ state: UNANSWERED, limit: WAITING_MOST })) {
    if (connection.template) continue;
    const key = serverKeyOf(connection.server, connection.serverPort);
    let one = waiting.get(key);
    if (one === undefined) waiting.set(key, (one = { count: 0, beside: 0, clients: new Set() }));
    one.count++;
    if (!isBeside(connection, ports)) continue;
    one.beside++;
    if (one.clients.size < 3) one.clients.add(connection.client);
  }
  return waiting;
}

/** Client and server are neighbours: the server answers the client without the director. */
function isBeside({ client, server }: ConnectionInfo, ports: readonly PortInfo[]): boolean {
  return ports.some(({ addresses }) => addresses.some((cidr) => isOnLink(cidr, client) && isOnLink(cidr, server)));
}

/** NAT wants every answer to come back through here. */
function answers(status: Status, neighbours: readonly NeighbourInfo[], waiting: Map<string, Waiting>): Finding[] {
  const findings: Finding[] = [];
  for (const service of status.services) {
    for (const server of service.servers) {
      if (server.forwarding !== "nat") continue;
      const { count, beside, clients } = waiting.get(serverKeyOf(server.id.address, server.id.port)) ?? NONE;
      const subject = `server ${serverName(server)}`;
      const way = directorBeside(status.ports, server.id.address);
      const some = [...clients].join(", ");
      if (beside > 0) {
        findings.push({
          subject,
          level: "wrong",
          found: `${beside} of its clients (${some}) are on its own network, and their connections stay in ${UNANSWERED}`,
          why: "the server answers a neighbour directly, from its own address, and the client refuses what it did not ask; NAT needs the answer to pass the director",
          remedy:
            `use --mode fullnat or --mode dr for this service, or move clients or servers to another network` +
            (way === undefined
              ? ""
              : `; or on the server: ip route add ${[...clients][0] ?? "CLIENT"} via ${way}, and net.ipv4.conf.all.accept_redirects=0`),
        });
        continue;
      }
      if (server.stats.inPackets === 0 || server.stats.outPackets > 0) continue;
      if (count === 0 && server.stats.connections === 0) continue;
      findings.push({ subject, level: "wrong", ...noWayBack(server, neighbours, way, count) });
    }
  }
  return findings;
}

const NONE: Waiting = { count: 0, beside: 0, clients: new Set() };

function noWayBack(
  { id, stats }: ServerInfo,
  neighbours: readonly NeighbourInfo[],
  way: string | undefined,
  waiting: number,
): Pick<Finding, "found" | "why" | "remedy"> {
  const neighbour = neighbours.find(({ address }) => address === id.address);
  const sent = `${stats.inPackets} packets went to it and none came back (${waiting} connections in ${UNANSWERED})`;
  if (neighbour !== undefined && neighbour.mac === undefined) {
    return {
      found: `${sent}: it does not answer ARP on ${neighbour.port}`,
      why: "the machine is off, on another network, or behind a filter",
      remedy: `look for ${id.address} on that network; with checks (--config) it would have been taken out`,
    };
  }
  const family = id.family === 6 ? "-6 " : "";
  return {
    found: sent,
    why: "with NAT a server's answers must come back through the director: its default route has to be the director",
    remedy:
      way === undefined
        ? `make the way from ${id.address} to its clients lead through the director, or use --mode fullnat`
        : `on the server: ip ${family}route replace default via ${way}; or use --mode fullnat`,
  };
}

/** Frames come in, and nobody answers this director: its own do not get out. */
function silence(
  ports: readonly PortInfo[],
  neighbours: readonly NeighbourInfo[],
  links: ReadonlyMap<string | undefined, readonly Link[]>,
): Finding[] {
  return ports.flatMap((port): Finding[] => {
    if (port.kind !== "tap" || port.framesIn === 0) return [];
    const asked = neighbours.filter((neighbour) => neighbour.port === port.name && neighbour.state !== "permanent");
    const silent = asked.filter(({ mac }) => mac === undefined);
    if (asked.length === 0 || silent.length < asked.length) return [];
    const inBridge = new Set(
      (links.get(port.netns) ?? []).flatMap(({ name, master }) => (master === port.bridge ? [name] : [])),
    );
    const uplink = port.netns === undefined ? uplinks().find(({ name }) => inBridge.has(name)) : undefined;
    return [
      {
        subject: `port ${port.name}`,
        level: "wrong",
        found: `${port.framesIn} frames came in, but none of ${asked.length} neighbours answers it (${silent
          .slice(0, 3)
          .map(({ address }) => address)
          .join(", ")})`,
        why: `what is sent to all arrives, what is sent to ${port.mac} does not, or its own frames do not get out: a filter of MACs does that (a hypervisor's, a cloud's, a switch's port security)`,
        remedy: macRemedy(port, uplink),
      },
    ];
  });
}

function macRemedy({ name, mac }: PortInfo, uplink: Uplink | undefined): string {
  const advice = uplink === undefined ? undefined : adviceFor(uplink);
  const check = advice === undefined ? `let the MAC ${mac} of ${name} in and out there` : `check ${advice.check}`;
  return `${check}; mac= fixes another one; or take no other MAC: --tun NAME,ip=...,routes=auto`;
}

/** Somebody else has a virtual address: a real server of dr or tun that does not keep quiet, or a machine that has it. */
async function duplicates(status: Status): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const port of status.ports) {
    if (port.kind !== "tap") continue;
    const methods = new Map<string, string>();
    for (const { id, servers } of status.services) {
      if ("mark" in id || id.family !== 4) continue;
      if (!port.addresses.some((cidr) => isOnLink(cidr, id.address))) continue;
      methods.set(id.address, servers[0]?.forwarding ?? "nat");
    }
    const vips = [...methods.keys()].slice(0, VIPS_MOST);
    if (vips.length === 0) continue;
    let found: Map<string, Set<string>>;
    try {
      found = await arpProbe(port.bridge ?? port.name, port.netns, vips, PROBE_MS);
    } catch (error) {
      findings.push({
        subject: `port ${port.name}`,
        level: "note",
        found: `nobody was asked by ARP: ${oneLine(error)}`,
      });
      continue;
    }
    for (const [vip, macs] of found) {
      const others = [...macs].filter((mac) => mac !== port.mac);
      if (others.length === 0) continue;
      const method = methods.get(vip);
      const server = method === "dr" || method === "tunnel";
      findings.push({
        subject: `VIP ${vip}`,
        level: "wrong",
        found: `${others.join(", ")} on ${port.bridge ?? port.name} answers ARP for it, too`,
        why: "clients and routers take whoever answered last: connections go past the director, to one server",
        remedy: server
          ? `on the real server with that MAC: wlvs realserver ${method === "dr" ? "dr" : "tun"} --vip ${vip}, or sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 with the address on lo`
          : `take ${vip} away from the machine with that MAC`,
      });
    }
  }
  return findings;
}

/** A tunnel's headers make the largest packet larger. */
function tunnels(status: Status, { reasons }: CounterInfo, clamped: boolean): Finding[] {
  const tunnelled = status.services.filter(({ servers }) => servers.some(({ forwarding }) => forwarding === "tunnel"));
  if (tunnelled.length === 0) return [];
  const least = Math.min(...status.ports.map(({ mtu }) => mtu));
  const dropped = reasons["mtu-exceeded"] ?? 0;
  const tooLarge = dropped === 0 ? "" : `; ${dropped} packets were too large`;
  if (clamped && dropped === 0) {
    return [
      { subject: "tunnel MTU", level: "ok", found: "mss_clamp is 1: TCP is told to send less than a tunnel takes" },
    ];
  }
  return [
    {
      subject: "tunnel MTU",
      level: dropped > 0 ? "limited" : "note",
      found: `a packet of ${least} bytes has ${least + TUNNEL_HEADER} and more in a tunnel, and ports have an MTU of ${least}${tooLarge}`,
      why: "a sender is told by ICMP to send less; where a firewall drops that, connections hang with the first large packet",
      remedy: `${clamped ? "" : "--set mss_clamp=1 (TCP); "}and let ICMP "fragmentation needed" through; or an MTU of ${least + 60} on the way to the servers (mtu= of the port, too)`,
    },
  ];
}

/** What the kernel had for the director, and could not hand over. */
function queues(ports: readonly PortInfo[], links: ReadonlyMap<string | undefined, readonly Link[]>): Finding[] {
  return ports.flatMap(({ name, netns }): Finding[] => {
    const link = links.get(netns)?.find((candidate) => candidate.name === name);
    if (link === undefined || link.dropped === 0) return [];
    const prefix = netns === undefined ? "" : `ip netns exec ${netns} `;
    const longer = Math.max(2 * link.queueLength, 2000);
    return [
      {
        subject: `port ${name}`,
        level: "limited",
        found: `${link.dropped} frames were lost before the director: its queue holds ${link.queueLength}`,
        why: "bursts that are longer than the queue, or a director that has too little of the processor",
        remedy: `${prefix}ip link set ${name} txqueuelen ${longer}; more --workers where there are cores; look whether something else takes the processor`,
      },
    ];
  });
}

function bridges(ports: readonly PortInfo[], links: ReadonlyMap<string | undefined, readonly Link[]>): Finding[] {
  const used = new Map<string | undefined, Set<string>>();
  for (const { netns, bridge } of ports) {
    if (bridge === undefined) continue;
    const names = used.get(netns) ?? new Set();
    used.set(netns, names.add(bridge));
  }
  return [...used].flatMap(([netns, names]) => bridgeFindings(links.get(netns) ?? [], netns, names));
}

/** The kernel behind a TUN device has to forward, and not to mind which way a packet comes. */
function tunDevices({ ports, services }: Status): Finding[] {
  const isNat = services.some(({ servers }) => servers.some(({ forwarding }) => forwarding === "nat"));
  return ports.flatMap(({ name, kind, netns }): Finding[] => {
    if (kind !== "tun") return [];
    const read = (setting: string) => {
      try {
        return inNamespace(netns, () => sysctl(setting));
      } catch {
        return undefined;
      }
    };
    const prefix = netns === undefined ? "" : `ip netns exec ${netns} `;
    const findings: Finding[] = [];
    if (read("net.ipv4.ip_forward") === "0") {
      findings.push({
        subject: `port ${name}`,
        level: "wrong",
        found: "net.ipv4.ip_forward is 0",
        why: "the kernel takes packets for the director from its clients, and must forward them into the device",
        remedy: `${prefix}sysctl -w net.ipv4.ip_forward=1`,
      });
    }
    const filter = Math.max(...["all", name].map((device) => Number(read(`net.ipv4.conf.${device}.rp_filter`) ?? 0)));
    if (isNat && filter > 0) {
      findings.push({
        subject: `port ${name}`,
        level: "wrong",
        found: `rp_filter is ${filter} for it`,
        why: "with NAT the clients' packets come out of the device with the clients' addresses, to whom another device leads: the kernel drops them",
        remedy: `${prefix}sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.${name}.rp_filter=0`,
      });
    }
    return findings;
  });
}
