/** From the flags of `wlvs run`, in the order they were given, to a configuration. */
import { resolve } from "node:path";
import { SCHEDULER_IDS } from "../core/control.js";
import { capacitiesOf, planMemory } from "../core/memory.js";
import { parseSetting, settingName } from "../core/settings.js";
import { usage } from "../errors.js";
import type { ForwardingName, IpvsStep, Limits, ServerConfig, ServiceConfig, ServiceProtocol } from "../ipvs/model.js";
import { LOG_LEVELS } from "../log.js";
import {
  type MarksSpec,
  type NeighbourSpec,
  type PortSpec,
  type RouteSpec,
  type RunConfig,
  type SourcedStep,
  WLVS_SETTINGS,
} from "./config.js";
import * as values from "./values.js";

/** A flag and its value; null for a flag without one. */
export type Token = readonly [name: string, value: string | null];

const PROTOCOLS = ["tcp", "udp", "sctp"] as const satisfies readonly ServiceProtocol[];
const MODES = ["nat", "dr", "tun", "fullnat"] as const;
type Mode = (typeof MODES)[number];
const FORWARDING: Readonly<Record<Mode, ForwardingName>> = { nat: "nat", dr: "dr", tun: "tunnel", fullnat: "fullnat" };

export const SYN_PROXY_MODES = ["auto", "on", "off"] as const;
/** As the setting has it. */
export const SYN_PROXY = { off: "0", on: "1", auto: "2" } as const;

export const DEFAULT_SOCKET = "/run/wlvs.sock";
const DEFAULT_PERSISTENCE = 360;
const LONGEST_PERSISTENCE = 31 * 86400;
const DEFAULT_SPIN = 50;
const LONGEST_SPIN = 10_000;
const WORKERS_MOST = 32;
const WEIGHT_MOST = 65535;
const MTU_LEAST = 68;
const MTU_LEAST_6 = 1280;
const MTU_MOST = 65521;

interface PendingServer {
  readonly text: string;
  readonly endpoint: values.Endpoint;
  readonly weight: number;
  readonly mode: Mode | undefined;
}

interface PendingService {
  readonly text: string;
  readonly address: values.Address;
  readonly port: number;
  readonly protocol: ServiceProtocol;
  scheduler: string;
  mode: Mode;
  persistence: number | undefined;
  limits: Limits | undefined;
  readonly servers: PendingServer[];
}

export interface OptionSources {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Steps of a rules file. */
  rules(file: string): Promise<readonly SourcedStep[]>;
  /** Text of a file of firewall marks, found to be right. */
  marks(file: string): Promise<MarksSpec>;
  /** Ports may come from elsewhere: what hangs on them is not looked at while there are none. */
  readonly portless?: boolean | undefined;
}

export async function parseRunOptions(tokens: readonly Token[], sources: OptionSources): Promise<RunConfig> {
  const ports: PortSpec[] = [];
  const services: PendingService[] = [];
  const ruleFiles: string[] = [];
  const settings: Array<readonly [string, string]> = [];
  const routes: RouteSpec[] = [];
  const neighbours: NeighbourSpec[] = [];
  const last: Record<string, string> = {};
  let forward = true;
  let listenAdmin = false;
  const service = (flag: string): PendingService => {
    const found = services.at(-1);
    if (found === undefined) throw usage(`${flag} belongs to a service: give --vip ADDR:PORT before it`);
    return found;
  };

  for (const [name, given] of tokens) {
    const value = given ?? "";
    switch (name) {
      case "tap":
      case "tun":
        ports.push(parsePort(name, value));
        break;
      case "vip":
        services.push(parseVip(value));
        break;
      case "scheduler": {
        const found = service("--scheduler");
        found.scheduler = values.oneOf("--scheduler", value, Object.keys(SCHEDULER_IDS));
        break;
      }
      case "mode": {
        const found = service("--mode");
        found.mode = parseMode("--mode", value);
        break;
      }
      case "persistent": {
        const found = service("--persistent");
        found.persistence =
          given === null ? DEFAULT_PERSISTENCE : values.integer("--persistent", value, 1, LONGEST_PERSISTENCE);
        break;
      }
      case "rip": {
        const found = service("--rip");
        found.servers.push(parseRip(value));
        break;
      }
      case "limit": {
        const found = service("--limit");
        if (found.limits !== undefined)
          throw usage(`--limit ${value}: ${found.text} has limits already: put them together`);
        found.limits = parseLimits(value);
        break;
      }
      case "rules":
        ruleFiles.push(value);
        break;
      case "set":
        settings.push(parseSet(value));
        break;
      case "route":
        routes.push(parseRoute(value));
        break;
      case "neigh":
        neighbours.push(parseNeighbour(value));
        break;
      case "syn-proxy":
        settings.push(["syn_proxy", SYN_PROXY[values.oneOf("--syn-proxy", value, SYN_PROXY_MODES)]]);
        break;
      case "no-forward":
        forward = false;
        break;
      case "listen-admin":
        listenAdmin = true;
        break;
      default:
        last[name] = value;
    }
  }

  const unknown = ports.length === 0 && sources.portless === true;
  if (!unknown) checkPorts(ports);
  for (const route of routes) {
    if (!("gateway" in route)) continue;
    checkOnLink(`--route ${route.gateway}`, values.address("--route", route.gateway), ports);
  }
  for (const { port } of neighbours) {
    if (!unknown && !ports.some(({ name }) => name === port)) {
      throw usage(`--neigh: no port ${port}: name one of ${ports.map(({ name }) => name).join(", ")}`);
    }
  }
  const warnings: string[] = [];
  const steps: SourcedStep[] = [];
  for (const found of services) addService(found, ports, steps, warnings);
  for (const file of ruleFiles) steps.push(...(await sources.rules(file)));
  if (settings.some(([name, value]) => name === "syn_proxy" && value === SYN_PROXY.on)) checkSynProxy(steps);

  const profile = values.oneOf("--profile", last.profile ?? "wlvs", ["kernel", "wlvs"] as const);
  const io = last.io ?? "auto";
  const workers = values.integer("--workers", last.workers ?? "1", 1, WORKERS_MOST);
  const maxConnections = values.integer("--max-connections", last["max-connections"] ?? "1000000", 16, 40_000_000);
  checkMemory(workers, maxConnections);
  if (listenAdmin && last.listen === undefined) throw usage("--listen-admin needs --listen ADDR:PORT");
  return {
    ports,
    steps,
    settings: profile === "wlvs" ? [...WLVS_SETTINGS, ...settings] : settings,
    routes,
    neighbours,
    marks: last.marks === undefined ? undefined : await sources.marks(last.marks),
    forward,
    profile,
    socket: parseSocket(last.socket ?? sources.env.WLVS_SOCKET ?? DEFAULT_SOCKET),
    socketGroup: last["socket-group"],
    listen: last.listen === undefined ? undefined : parseListen(last.listen, listenAdmin),
    workers,
    maxConnections,
    io: values.oneOf("--io", io, ["auto", "uring", "rw"] as const),
    spin: values.integer("--spin", last.spin ?? `${DEFAULT_SPIN}`, 0, LONGEST_SPIN),
    logLevel: values.oneOf("--log-level", last["log-level"] ?? "info", LOG_LEVELS),
    user: last.user,
    state: last.state === undefined ? undefined : parseState(last.state),
    procfs: last.procfs === undefined ? undefined : parseDirectory(last.procfs),
    warnings,
  };
}

function parseState(text: string): string {
  if (text === "" || text.endsWith("/")) throw usage(`--state ${text}: write the name of a file`);
  return resolve(text);
}

/** Where every service is to have it, every server has to let it. */
function checkSynProxy(steps: readonly SourcedStep[]): void {
  for (const { from, step } of steps) {
    if (step.do !== "addServer" && step.do !== "editServer") continue;
    const { forwarding } = step.server;
    if (forwarding === "nat" || forwarding === "fullnat") continue;
    const mode = forwarding === "tunnel" ? "tun" : forwarding;
    throw usage(
      `--syn-proxy on: ${from} has mode ${mode}, and its answers do not come by here: take mode nat or fullnat, or --syn-proxy auto, which leaves such services out`,
    );
  }
}

function parsePort(kind: "tap" | "tun", text: string): PortSpec {
  const flag = `--${kind}`;
  const { word, pairs } = values.wordAndPairs(flag, text);
  const name = values.deviceName(flag, word);
  const where = `${flag} ${name}`;
  const addresses: values.Network[] = [];
  const gateways: values.Address[] = [];
  const single: Record<string, string> = {};
  const known =
    kind === "tap"
      ? ["ip", "mac", "gw", "mtu", "bridge", "netns", "persist"]
      : ["ip", "gw", "mtu", "netns", "routes", "persist"];
  for (const [key, value] of pairs) {
    if (!known.includes(key)) {
      const hint = ["mac", "bridge"].includes(key) ? `${key}= is for --tap` : `no ${key}=: write ${known.join("=, ")}=`;
      throw usage(`${where}: ${hint}`);
    }
    if (key === "ip") {
      const found = values.network(`${where}: ip`, value, value.includes(":") ? "64" : "24");
      values.hostAddress(`${where}: ip`, found.text);
      addresses.push(found);
    } else if (key === "gw") gateways.push(values.hostAddress(`${where}: gw`, value));
    else if (single[key] !== undefined) throw usage(`${where}: ${key}= is given twice`);
    else single[key] = value;
  }
  if (single.routes !== undefined) {
    values.oneOf(`${where}: routes`, single.routes, ["auto"]);
  }
  for (const gateway of gateways) {
    if (!addresses.some((net) => values.isIn(gateway, net))) {
      throw usage(`${where}: gw=${gateway.text} lies in none of its subnets: give ip=ADDR/PREFIX around it`);
    }
  }
  const least = addresses.some(({ family }) => family === 6) ? MTU_LEAST_6 : MTU_LEAST;
  return {
    kind,
    name,
    addresses: addresses.map(({ text: address, prefix }) => `${address}/${prefix}`),
    gateways: gateways.map(({ text: gateway }) => gateway),
    mac: single.mac === undefined ? undefined : values.unicastMac(`${where}: mac`, single.mac),
    mtu: single.mtu === undefined ? undefined : values.integer(`${where}: mtu`, single.mtu, least, MTU_MOST),
    bridge: single.bridge === undefined ? undefined : values.deviceName(`${where}: bridge`, single.bridge),
    netns: single.netns === undefined ? undefined : namespaceName(where, single.netns),
    ...(single.routes !== undefined && { routes: "auto" as const }),
    persist: single.persist !== undefined && values.oneOf(`${where}: persist`, single.persist, ["on", "off"]) === "on",
  };
}

function namespaceName(where: string, text: string): string {
  // `ip netns` names are file names; a path serves for the namespaces of containers.
  if (text === "" || text === "." || text === ".." || (text.includes("/") && !text.startsWith("/"))) {
    throw usage(`${where}: netns=${text} is no name of a network namespace`);
  }
  return text;
}

function checkPorts(ports: readonly PortSpec[]): void {
  if (ports.length === 0) throw usage("no port: give at least one --tap NAME,ip=ADDR/PREFIX, or ports: in the file");
  if (ports.filter(({ routes }) => routes === "auto").length > 1) {
    throw usage("routes=auto is given twice: a virtual address can only be led to one port");
  }
  if (ports.length > 16) throw usage("too many ports: at most 16");
  const names = new Set<string>();
  const addresses = new Set<string>();
  const macs = new Set<string>();
  for (const port of ports) {
    if (names.has(port.name)) throw usage(`--${port.kind} ${port.name}: the name is given twice`);
    names.add(port.name);
    if (port.mac !== undefined && macs.has(port.mac)) throw usage(`--tap ${port.name}: mac=${port.mac} is given twice`);
    if (port.mac !== undefined) macs.add(port.mac);
    for (const net of port.addresses) {
      const text = net.slice(0, net.lastIndexOf("/"));
      if (addresses.has(text)) throw usage(`--${port.kind} ${port.name}: ip=${text} is given twice`);
      addresses.add(text);
    }
  }
}

function networksOf(ports: readonly PortSpec[]): values.Network[] {
  return ports.flatMap((port) => port.addresses.map((text) => values.network("ip", text, "24")));
}

function checkOnLink(what: string, address: values.Address, ports: readonly PortSpec[]): void {
  if (ports.length === 0 || networksOf(ports).some((net) => values.isIn(address, net))) return;
  throw usage(`${what}: ${address.text} lies in no port's subnet: nothing can be sent there`);
}

function parseVip(text: string): PendingService {
  const slash = text.lastIndexOf("/");
  const protocol = slash < 0 ? "tcp" : values.oneOf(`--vip ${text}: protocol`, text.slice(slash + 1), PROTOCOLS);
  const { address, port } = values.endpoint("--vip", slash < 0 ? text : text.slice(0, slash));
  values.hostAddress("--vip", address.text);
  if (port === undefined) throw usage(`--vip ${text}: the port is missing: write ADDR:PORT`);
  return {
    text,
    address,
    port,
    protocol,
    scheduler: "wlc",
    mode: "nat",
    persistence: undefined,
    limits: undefined,
    servers: [],
  };
}

function parseMode(flag: string, text: string): Mode {
  return values.oneOf(flag, text, MODES);
}

function parseRip(text: string): PendingServer {
  const { word, pairs } = values.wordAndPairs("--rip", text);
  const endpoint = values.endpoint("--rip", word);
  values.hostAddress("--rip", endpoint.address.text);
  let weight = 1;
  let mode: Mode | undefined;
  for (const [key, value] of pairs) {
    if (key === "weight") weight = values.integer(`--rip ${word}: weight`, value, 0, WEIGHT_MOST);
    else if (key === "mode") mode = parseMode(`--rip ${word}: mode`, value);
    else throw usage(`--rip ${word}: no ${key}=: write weight= or mode=`);
  }
  return { text: word, endpoint, weight, mode };
}

/** Keys of --limit: whose, and what. */
const LIMIT_KEYS: Readonly<Record<string, readonly [of: "all" | "source", what: "connections" | "rate"]>> = {
  connections: ["all", "connections"],
  rate: ["all", "rate"],
  "source-connections": ["source", "connections"],
  "source-rate": ["source", "rate"],
};

function parseLimits(text: string): Limits {
  const given: Record<"all" | "source", Record<string, number>> = { all: {}, source: {} };
  for (const part of text.split(",")) {
    const [, key = "", value = ""] = /^([^=]*)=(.*)$/.exec(part) ?? [];
    const place = LIMIT_KEYS[key];
    if (place === undefined)
      throw usage(
        `--limit ${text}: ${part === "" ? "an empty part" : part}: write ${Object.keys(LIMIT_KEYS).join("=N, ")}=N`,
      );
    const [of, what] = place;
    if (given[of][what] !== undefined) throw usage(`--limit ${text}: ${key}= is given twice`);
    given[of][what] =
      what === "rate"
        ? values.integer(`--limit: ${key}`, value.replace(/\/s$/, ""), 1, values.RATE_MOST)
        : values.integer(`--limit: ${key}`, value, 1, 0xffffffff);
  }
  return { ...given.all, ...(Object.keys(given.source).length > 0 && { perSource: given.source }) };
}

function addService(found: PendingService, ports: readonly PortSpec[], steps: SourcedStep[], warnings: string[]): void {
  const { address, port, protocol, persistence } = found;
  const from = `--vip ${found.text}`;
  if (port === 0 && persistence === undefined) {
    throw usage(`${from}: port 0 stands for every port, and needs --persistent`);
  }
  const id = { family: address.family, protocol, address: address.text, port } as const;
  const config: ServiceConfig = {
    id,
    scheduler: found.scheduler,
    persistence,
    persistencePrefix: address.family === 4 ? 32 : 128,
    onePacket: false,
    schedulerFlags: 0,
    ...(found.limits !== undefined && { limits: found.limits }),
  };
  const taken = steps.some(({ step }) => step.do === "addService" && sameService(step.service, config));
  if (taken) throw usage(`${from}: the service is given twice`);
  steps.push({ from, step: { do: "addService", service: config } });
  const seen = new Set<string>();
  for (const server of found.servers) {
    const { config: serverConfig, key } = serverOf(found, server, ports);
    if (seen.has(key)) throw usage(`${from}: --rip ${server.text} is given twice`);
    seen.add(key);
    const step: IpvsStep = { do: "addServer", service: id, server: serverConfig };
    steps.push({ from: `--rip ${server.text}`, step });
  }
  const led = ports.some(({ routes }) => routes === "auto");
  if (!led && ports.length > 0 && !networksOf(ports).some((net) => values.isIn(address, net))) {
    warnings.push(`${address.text} is in no port's subnet: it must be routed here`);
  }
}

function sameService(a: ServiceConfig, b: ServiceConfig): boolean {
  if ("mark" in a.id || "mark" in b.id) return false;
  return a.id.address === b.id.address && a.id.port === b.id.port && a.id.protocol === b.id.protocol;
}

function serverOf(
  service: PendingService,
  server: PendingServer,
  ports: readonly PortSpec[],
): { config: ServerConfig; key: string } {
  const { address, port: given } = server.endpoint;
  const mode = server.mode ?? service.mode;
  const where = `--rip ${server.text}`;
  if (address.family !== service.address.family && mode !== "tun") {
    throw usage(`${where}: an IPv${address.family} server cannot serve ${service.text} with mode ${mode}`);
  }
  if (mode !== "nat" && mode !== "fullnat" && given !== undefined && given !== service.port) {
    throw usage(`${where}: mode ${mode} keeps the virtual port: leave :${given} away`);
  }
  if (mode === "dr" && !ports.some(({ kind }) => kind === "tap")) {
    throw usage(`${where}: mode dr needs Ethernet, and a TUN device has none: take --tap, or --mode nat`);
  }
  const needsAddress = mode === "fullnat" || (mode === "tun" && ports.some(({ routes }) => routes === "auto"));
  if (needsAddress && !networksOf(ports).some(({ family }) => family === address.family)) {
    throw usage(`${where}: mode ${mode} needs an IPv${address.family} address of the director: give its port ip=...`);
  }
  const port = given ?? service.port;
  const id = { family: address.family, address: address.text, port };
  const forwarding = FORWARDING[mode];
  const tunnel = mode === "tun" ? ({ type: "ipip", port: 0, checksum: "nocsum" } as const) : undefined;
  const config = { id, forwarding, weight: server.weight, upperThreshold: 0, lowerThreshold: 0, tunnel };
  return { config, key: `${address.text} ${port}` };
}

function parseSet(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at <= 0) throw usage(`--set ${text}: write NAME=VALUE`);
  const name = text.slice(0, at);
  if (settingName(name) === undefined) throw usage(`--set ${text}: no setting ${name} in net.ipv4.vs`);
  try {
    parseSetting(name, text.slice(at + 1));
  } catch (error) {
    throw usage(`--set ${text}: ${(error as Error).message}`);
  }
  return [name, text.slice(at + 1)];
}

function parseRoute(text: string): RouteSpec {
  const local = /^([^,]+),local(?:,mark=([^,]*))?$/.exec(text);
  if (local !== null) {
    const net = values.network("--route", local[1]!, local[1]!.includes(":") ? "64" : "24");
    const mark = local[2] === undefined ? undefined : Number(local[2] === "" ? Number.NaN : local[2]);
    if (mark !== undefined && !(Number.isInteger(mark) && mark >= 1 && mark <= 0xffffffff)) {
      throw usage(`--route ${text}: mark= takes a number from 1 to 4294967295`);
    }
    return { to: `${net.text}/${net.prefix}`, kind: "local", mark };
  }
  const { word, pairs } = values.wordAndPairs("--route", text);
  const via = pairs[0];
  if (pairs.length !== 1 || via === undefined || via[0] !== "via")
    throw usage(`--route ${text}: write CIDR,via=IP or CIDR,local`);
  const gateway = values.hostAddress(`--route ${word}: via`, via[1]);
  if (word === "default") return { to: gateway.family === 4 ? "0.0.0.0/0" : "::/0", gateway: gateway.text };
  const net = values.network("--route", word, word.includes(":") ? "64" : "24");
  if (net.family !== gateway.family) throw usage(`--route ${text}: ${gateway.text} is of the other address family`);
  return { to: `${net.text}/${net.prefix}`, gateway: gateway.text };
}

function parseNeighbour(text: string): NeighbourSpec {
  const parts = /^([^,]+),([^,]+),dev=([^,]+)$/.exec(text);
  if (parts === null) throw usage(`--neigh ${text}: write IP,MAC,dev=NAME`);
  return {
    address: values.hostAddress("--neigh", parts[1]!).text,
    mac: values.unicastMac("--neigh", parts[2]!),
    port: values.deviceName("--neigh: dev", parts[3]!),
  };
}

/** Absolute, for a director that has another working directory. */
function parseDirectory(text: string): string {
  if (text === "") throw usage("--procfs: write a directory");
  return resolve(text);
}

function parseListen(text: string, admin: boolean): RunConfig["listen"] {
  const { address, port } = values.endpoint("--listen", text);
  if (port === undefined) throw usage(`--listen ${text}: the port is missing: write ADDR:PORT`);
  return { host: address.text, port, admin };
}

function parseSocket(text: string): string {
  if (text === "" || text.includes("\0")) throw usage("--socket: the path is missing");
  // sun_path has 108 bytes with its end.
  if (Buffer.byteLength(text) > 107) throw usage(`--socket ${text}: a socket's path has at most 107 bytes`);
  return text;
}

function checkMemory(workers: number, connections: number): void {
  try {
    planMemory(capacitiesOf({ workers, connections }));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw usage(`--max-connections ${connections} with --workers ${workers}: ${error.message}`);
  }
}
