/** ipvsadm 1.31's command lines: options, which of them a command takes, and the command that a line comes to. */
import { formatAddress, parseAddress } from "../address.js";
import type {
  DaemonInfo,
  Family,
  ForwardingName,
  IpvsStep,
  ServerConfig,
  ServerId,
  ServiceConfig,
  ServiceId,
  ServiceProtocol,
  Timeouts,
  TunnelChecksum,
  TunnelName,
} from "./model.js";
import type { Names } from "./names.js";
import { parseLooseIpv4, parseNumber, prefixOfMask } from "./number.js";
import { OptionParser, type OptionSpec } from "./option-parser.js";
import { parseSchedulerFlags } from "./scheduler-flags.js";

export type ListFormat = "plain" | "stats" | "rate" | "thresholds" | "persistent-conn" | "tun-info";

export interface ListOptions {
  readonly numeric: boolean;
  readonly exact: boolean;
  readonly sort: boolean;
  readonly format: ListFormat;
}

export type Command =
  | IpvsStep
  | { readonly do: "help" }
  | { readonly do: "version" }
  | { readonly do: "restore" }
  | { readonly do: "save"; readonly numeric: boolean }
  | { readonly do: "zero"; readonly id?: ServiceId | undefined }
  | { readonly do: "list"; readonly id?: ServiceId | undefined; readonly options: ListOptions }
  | { readonly do: "listConnections"; readonly numeric: boolean; readonly persistenceData: boolean }
  | { readonly do: "listTimeouts" | "listDaemons" }
  | { readonly do: "setTimeouts"; readonly timeouts: Timeouts }
  | { readonly do: "startDaemon"; readonly daemon: DaemonInfo }
  | { readonly do: "stopDaemon"; readonly role: DaemonInfo["role"] };

/** Exit statuses of bad command lines: 255 where the line cannot be read, 2 where it makes no sense. */
const UNREADABLE = 255;
const SENSELESS = 2;

/** A command line that is no command. `ends`: within a restore, the lines after it are not read. */
export class CommandLineError extends Error {
  readonly status: number;
  readonly ends: boolean;
  constructor(message: string, status: number, ends: boolean) {
    super(message);
    this.name = "CommandLineError";
    this.status = status;
    this.ends = ends;
  }

  /** No more than that it could not be read is known. */
  get isUnreadable(): boolean {
    return this.status === UNREADABLE && this.ends;
  }
}

/** A host name that has to be asked of the resolver before the line can be read. */
export class UnknownHost extends Error {
  readonly host: string;
  constructor(host: string) {
    super(`unknown host ${host}`);
    this.name = "UnknownHost";
    this.host = host;
  }
}

function fail(message: string): never {
  throw new CommandLineError(message, SENSELESS, true);
}

/** Commands, by the names that messages give them. */
const COMMANDS = {
  add: "add-service",
  edit: "edit-service",
  del: "delete-service",
  flush: "flush",
  list: "list",
  addServer: "add-server",
  deleteServer: "delete-server",
  editServer: "edit-server",
  set: "set",
  startDaemon: "start-daemon",
  stopDaemon: "stop-daemon",
  restore: "restore",
  save: "save",
  zero: "zero",
} as const;
type CommandName = keyof typeof COMMANDS;

/** What options are called in messages. Their order is the order in which they are checked. */
const CHECKED = [
  "numeric",
  "connection",
  "service-address",
  "scheduler",
  "persistent",
  "netmask",
  "real-server",
  "forwarding-method",
  "weight",
  "u-threshold",
  "l-threshold",
  "mcast-interface",
  "timeout",
  "daemon",
  "stats",
  "rate",
  "thresholds",
  "persistent-conn",
  "nosort",
  "syncid",
  "exact",
  "ops",
  "pe",
  "sched-flags",
  "tun-info",
  "tun-type",
  "tun-port",
  "tun-nocsum",
  "tun-csum",
  "tun-remcsum",
  "sync-maxlen",
  "mcast-group",
  "mcast-port",
  "mcast-ttl",
] as const;
type Checked = (typeof CHECKED)[number];

interface Rule {
  readonly needs?: readonly Checked[];
  readonly takes?: readonly Checked[];
  /** At most one of these. */
  readonly oneOf?: readonly Checked[];
}

const TUNNEL_CHECKSUMS = ["tun-nocsum", "tun-csum", "tun-remcsum"] as const;
const TUNNEL_OPTIONS = ["tun-type", "tun-port", ...TUNNEL_CHECKSUMS] as const;
const SERVICE_OPTIONS = ["scheduler", "persistent", "netmask", "ops", "pe", "sched-flags"] as const;
const SERVER_OPTIONS = ["forwarding-method", "weight", "u-threshold", "l-threshold", ...TUNNEL_OPTIONS] as const;

const COMMAND_RULES: Readonly<Record<CommandName, Rule>> = {
  add: { needs: ["service-address"], takes: SERVICE_OPTIONS },
  edit: { needs: ["service-address"], takes: SERVICE_OPTIONS },
  del: { needs: ["service-address"] },
  flush: {},
  list: {
    takes: ["numeric", "stats", "rate", "thresholds", "persistent-conn", "nosort", "syncid", "exact", "tun-info"],
    oneOf: ["connection", "service-address", "timeout", "daemon"],
  },
  addServer: { needs: ["service-address", "real-server"], takes: SERVER_OPTIONS },
  deleteServer: { needs: ["service-address", "real-server"] },
  editServer: { needs: ["service-address", "real-server"], takes: SERVER_OPTIONS },
  set: {},
  startDaemon: { takes: ["mcast-interface", "syncid", "sync-maxlen", "mcast-group", "mcast-port", "mcast-ttl"] },
  stopDaemon: { takes: ["syncid"] },
  restore: {},
  save: { takes: ["numeric"] },
  zero: { takes: ["service-address"] },
};

const TUNNEL_RULES: Readonly<Record<TunnelName, Rule>> = {
  ipip: {},
  gue: { needs: ["tun-port"], oneOf: TUNNEL_CHECKSUMS },
  gre: { oneOf: ["tun-nocsum", "tun-csum"] },
};

type OptionName =
  | CommandName
  | "help"
  | "version"
  | Exclude<Checked, "service-address" | "forwarding-method">
  | "tcp"
  | "udp"
  | "sctp"
  | "mark"
  | "ipv6"
  | "sort"
  | "nat"
  | "tunnel"
  | "dr"
  | "fullnat";

function option(
  name: OptionName,
  long: string,
  short?: string,
  value: OptionSpec<OptionName>["value"] = "none",
): OptionSpec<OptionName> {
  return { name, long, short, value };
}

export const IPVSADM_OPTIONS: readonly OptionSpec<OptionName>[] = [
  option("add", "add-service", "A"),
  option("edit", "edit-service", "E"),
  option("del", "delete-service", "D"),
  option("flush", "clear", "C"),
  option("list", "list", "L"),
  option("list", "list", "l"),
  option("zero", "zero", "Z"),
  option("addServer", "add-server", "a"),
  option("editServer", "edit-server", "e"),
  option("deleteServer", "delete-server", "d"),
  option("set", "set"),
  option("help", "help", "h"),
  option("version", "version", "v"),
  option("restore", "restore", "R"),
  option("save", "save", "S"),
  option("startDaemon", "start-daemon", undefined, "required"),
  option("stopDaemon", "stop-daemon", undefined, "required"),
  option("tcp", "tcp-service", "t", "required"),
  option("udp", "udp-service", "u", "required"),
  option("sctp", "sctp-service", undefined, "required"),
  option("mark", "fwmark-service", "f", "required"),
  option("ipv6", "ipv6", "6"),
  option("scheduler", "scheduler", "s", "required"),
  option("persistent", "persistent", "p", "optional"),
  option("netmask", "netmask", "M", "required"),
  option("pe", "pe", undefined, "required"),
  option("ops", "ops", "o"),
  option("sched-flags", "sched-flags", "b", "required"),
  option("real-server", "real-server", "r", "required"),
  option("nat", "masquerading", "m"),
  option("tunnel", "ipip", "i"),
  option("dr", "gatewaying", "g"),
  option("fullnat", "fullnat"),
  option("tun-type", "tun-type", undefined, "required"),
  option("tun-port", "tun-port", undefined, "required"),
  option("tun-nocsum", "tun-nocsum"),
  option("tun-csum", "tun-csum"),
  option("tun-remcsum", "tun-remcsum"),
  option("weight", "weight", "w", "required"),
  option("u-threshold", "u-threshold", "x", "required"),
  option("l-threshold", "l-threshold", "y", "required"),
  option("numeric", "numeric", "n"),
  option("connection", "connection", "c"),
  option("timeout", "timeout"),
  option("daemon", "daemon"),
  option("stats", "stats"),
  option("rate", "rate"),
  option("thresholds", "thresholds"),
  option("persistent-conn", "persistent-conn"),
  option("tun-info", "tun-info"),
  option("nosort", "nosort"),
  option("sort", "sort"),
  option("exact", "exact", "X"),
  option("mcast-interface", "mcast-interface", undefined, "required"),
  option("syncid", "syncid", undefined, "required"),
  option("sync-maxlen", "sync-maxlen", undefined, "required"),
  option("mcast-group", "mcast-group", undefined, "required"),
  option("mcast-port", "mcast-port", undefined, "required"),
  option("mcast-ttl", "mcast-ttl", undefined, "required"),
];

/** Thirty-one days. */
const LONGEST_TIMEOUT = 31 * 24 * 3600;
const DEFAULT_PERSISTENCE = 360;
const LARGEST_INT = 0x7fffffff;
const WHOLE_MASK = "255.255.255.255";
/** The kernel's room for names of schedulers and interfaces; what is longer is cut. */
const LONGEST_NAME = 15;

interface Place {
  readonly family: Family;
  readonly address: string;
  /** undefined: not given. */
  readonly port: number | undefined;
}

/** HOST[:PORT], [IPV6]:PORT or IPV6; undefined when it is none of them. */
function parsePlace(text: string, protocol: ServiceProtocol | undefined, names: Names): Place | undefined {
  if (text === "" || /^\d+$/.test(text)) return undefined;
  let host = text;
  let port: string | undefined;
  if (text.startsWith("[")) {
    const end = text.indexOf("]");
    if (end < 0 || text[end + 1] !== ":") return undefined;
    host = text.slice(1, end);
    port = text.slice(end + 2);
  }
  const address6 = host.includes(":") ? parseAddress(host) : undefined;
  if (address6?.family === 6) {
    return withPort(6, formatAddress(6, address6.bytes), port, protocol, names);
  }
  const colon = host.lastIndexOf(":");
  // A port behind brackets is lost when what they hold is no IPv6 address.
  port = colon < 0 ? undefined : host.slice(colon + 1);
  if (colon >= 0) host = host.slice(0, colon);
  const address = parseHost(host, names);
  return address === undefined ? undefined : withPort(4, address, port, protocol, names);
}

function withPort(
  family: Family,
  address: string,
  text: string | undefined,
  protocol: ServiceProtocol | undefined,
  names: Names,
): Place | undefined {
  if (text === undefined) return { family, address, port: undefined };
  const port = parseNumber(text, 0, 65535) ?? (protocol && names.servicePort(text, protocol));
  return port === undefined ? undefined : { family, address, port };
}

function parseHost(text: string, names: Names): string | undefined {
  const address = parseLooseIpv4(text);
  if (address !== undefined) return address;
  // No resolver knows these: an empty name, or numbers that are no address.
  if (!/^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$/.test(text) || !/[A-Za-z]/.test(text)) return undefined;
  const known = names.host(text);
  if (known === undefined) throw new UnknownHost(text);
  return known === "" ? undefined : known;
}

function parseTimeout(text: string | undefined, least: number): number {
  if (text === undefined) return DEFAULT_PERSISTENCE;
  return parseNumber(text, least, LONGEST_TIMEOUT) ?? fail(`invalid timeout value \`${text}' specified`);
}

/** What a command line says, before it is known whether it makes sense. */
class Line {
  readonly given = new Set<Checked>();
  family: Family | undefined;
  protocol: ServiceProtocol | undefined;
  address = "0.0.0.0";
  port: number | undefined;
  mark: number | undefined;
  scheduler = "";
  schedulerFlagsText = "";
  persistence: number | undefined;
  netmask = WHOLE_MASK;
  prefix = 128;
  persistenceEngine = "";
  onePacket = false;
  server: { family: Family; address: string; port: number } | undefined;
  forwarding: ForwardingName = "dr";
  tunnelType: TunnelName = "ipip";
  tunnelPort = 0;
  tunnelChecksum: TunnelChecksum = "nocsum";
  weight = 1;
  upper = 0;
  lower = 0;
  interface = "";
  syncId = 0;
  maxLength: number | undefined;
  group: string | undefined;
  groupPort: number | undefined;
  ttl: number | undefined;
  private readonly names: Names;

  constructor(names: Names) {
    this.names = names;
  }

  give(option: Checked): void {
    if (this.given.has(option)) fail(`multiple '${option}' options specified`);
    this.given.add(option);
  }

  /** Takes one option; false when it cannot stand here. */
  take(name: OptionName, value: string): boolean {
    switch (name) {
      case "tcp":
      case "udp":
      case "sctp":
        this.give("service-address");
        this.takeService(name, value);
        return true;
      case "mark":
        this.give("service-address");
        this.mark = parseNumber(value, 1, 0xffffffff) ?? fail(`invalid fwmark value \`${value}' specified`);
        this.family = 4;
        this.protocol = "tcp";
        return true;
      case "ipv6":
        // The empty line is part of this message.
        if (this.mark === undefined) fail("-6 used before -f\n");
        this.family = 6;
        this.prefix = 128;
        return true;
      case "scheduler":
        this.give(name);
        this.scheduler = value.slice(0, LONGEST_NAME);
        return true;
      case "netmask":
        this.give(name);
        this.takeNetmask(value);
        return true;
      case "pe":
        this.give(name);
        this.persistenceEngine = value.slice(0, LONGEST_NAME);
        return true;
      case "ops":
        this.give(name);
        this.onePacket = true;
        return true;
      case "sched-flags":
        this.give(name);
        this.schedulerFlagsText = value;
        return true;
      case "real-server":
        this.give(name);
        this.takeServer(value);
        return true;
      case "nat":
      case "tunnel":
      case "dr":
      case "fullnat":
        this.give("forwarding-method");
        this.forwarding = name;
        return true;
      case "weight":
        this.give(name);
        this.weight = parseNumber(value, 0, LARGEST_INT) ?? fail("illegal weight specified");
        return true;
      case "u-threshold":
        this.give(name);
        this.upper = parseNumber(value, 0, LARGEST_INT) ?? fail("illegal u_threshold specified");
        return true;
      case "l-threshold":
        this.give(name);
        this.lower = parseNumber(value, 0, LARGEST_INT) ?? fail("illegal l_threshold specified");
        return true;
      case "tun-type":
        this.give(name);
        this.tunnelType = isTunnelName(value) ? value : fail("illegal tunnel type specified");
        return true;
      case "tun-port":
        this.give(name);
        this.tunnelPort = parseNumber(value, 1, 65535) ?? fail("illegal tunnel port specified");
        return true;
      case "tun-nocsum":
      case "tun-csum":
      case "tun-remcsum":
        this.give(name);
        this.tunnelChecksum = name.slice("tun-".length) as TunnelChecksum;
        return true;
      case "mcast-interface":
        this.give(name);
        this.interface = value.slice(0, LONGEST_NAME);
        return true;
      case "syncid":
        this.give(name);
        this.syncId = parseNumber(value, 0, 255) ?? fail("illegal syncid specified");
        return true;
      case "sync-maxlen":
        this.give(name);
        this.maxLength = parseNumber(value, 1, 65535) ?? fail("illegal sync-maxlen specified");
        return true;
      case "mcast-group":
        this.give(name);
        this.group = parseGroup(value);
        return true;
      case "mcast-port":
        this.give(name);
        this.groupPort = parseNumber(value, 1, 65535) ?? fail("illegal mcast-port specified");
        return true;
      case "mcast-ttl":
        this.give(name);
        this.ttl = parseNumber(value, 1, 255) ?? fail("illegal mcast-ttl specified");
        return true;
      case "numeric":
      case "connection":
      case "timeout":
      case "daemon":
      case "stats":
      case "rate":
      case "thresholds":
      case "persistent-conn":
      case "tun-info":
      case "nosort":
      case "exact":
        this.give(name);
        return true;
      case "sort":
        return true;
      default:
        return false;
    }
  }

  takePersistent(value: string | undefined): void {
    this.give("persistent");
    this.persistence = parseTimeout(value, 1);
  }

  private takeService(protocol: ServiceProtocol, value: string): void {
    this.protocol = protocol;
    const place = parsePlace(value, protocol, this.names);
    if (place === undefined) fail("illegal virtual server address[:port] specified");
    this.family = place.family;
    this.address = place.address;
    this.port = place.port ?? 0;
    if (place.family === 6) this.prefix = 128;
  }

  private takeServer(value: string): void {
    const place = parsePlace(value, this.protocol, this.names);
    if (place === undefined) fail("illegal real server address[:port] specified");
    // What has no port has the service's, as far as that is known by now.
    this.server = { family: place.family, address: place.address, port: place.port ?? this.port ?? 0 };
  }

  private takeNetmask(value: string): void {
    if (this.family === 6) {
      const prefix = Number.parseInt(value, 10);
      if (!(prefix >= 1 && prefix <= 128)) fail("illegal ipv6 netmask specified");
      this.prefix = prefix;
    } else {
      const mask = parseHost(value, this.names);
      if (mask === undefined) fail("illegal virtual server persistent mask specified");
      this.netmask = mask;
    }
  }

  get serviceId(): ServiceId {
    const family = this.family ?? 4;
    if (this.mark !== undefined) return { family, mark: this.mark };
    return { family, protocol: this.protocol ?? "tcp", address: this.address, port: this.port ?? 0 };
  }

  get serverId(): ServerId {
    return this.server ?? { family: 4, address: "0.0.0.0", port: 0 };
  }
}

function isTunnelName(text: string): text is TunnelName {
  return Object.hasOwn(TUNNEL_RULES, text);
}

function parseGroup(text: string): string {
  if (text.includes(":")) {
    const parsed = parseAddress(text);
    if (parsed?.family === 6 && parsed.bytes[0] === 0xff) return formatAddress(6, parsed.bytes);
    fail(`invalid IPv6 mcast-group \`${text}'`);
  }
  const parsed = parseAddress(text);
  if (parsed !== undefined && parsed.bytes[0]! >> 4 === 14) return text;
  fail(`invalid IPv4 mcast-group \`${text}'`);
}

function check(given: ReadonlySet<Checked>, among: readonly Checked[], rule: Rule, whose: string): void {
  let first: Checked | undefined;
  for (const option of among) {
    if (!given.has(option)) {
      if (rule.needs?.includes(option)) fail(`You need to supply the '${option}' option for the ${whose}`);
    } else if (rule.oneOf?.includes(option)) {
      if (first !== undefined) fail(`The option '${option}' conflicts with the '${first}' option in the ${whose}`);
      first = option;
    } else if (!rule.needs?.includes(option) && !rule.takes?.includes(option)) {
      fail(`Illegal '${option}' option with the ${whose}`);
    }
  }
}

/** The words of a line, without the program's name. Throws CommandLineError, or UnknownHost when a host must be asked. */
export function parseCommand(words: readonly string[], names: Names, program: string): Command {
  const parser = new OptionParser(IPVSADM_OPTIONS, words);
  const first = parser.option();
  if (first.kind === "option" && first.name === "help") return { do: "help" };
  if (first.kind === "option" && first.name === "version") return { do: "version" };
  if (first.kind !== "option" || !Object.hasOwn(COMMANDS, first.name)) {
    throw new CommandLineError(`Try \`${program} -h' or '${program} --help' for more information.`, UNREADABLE, true);
  }
  const command = first.name as CommandName;
  if (command === "startDaemon" && !isRole(first.value)) fail("illegal start-daemon parameter specified");
  if (command === "stopDaemon" && !isRole(first.value)) fail("illegal start_daemon specified");
  const line = new Line(names);
  for (let next = parser.option(); next.kind !== "end"; next = parser.option()) {
    if (next.kind === "error") throw new CommandLineError(`${next.word}: ${next.message}`, UNREADABLE, false);
    if (next.name === "persistent") line.takePersistent(next.value);
    else if (!line.take(next.name, next.value ?? "")) fail(`invalid option \`${next.word}'`);
  }
  let rest = parser.rest;
  let timeouts: Timeouts | undefined;
  if (command === "set") {
    const [tcp, tcpFin, udp] = rest;
    if (tcp === undefined || tcpFin === undefined || udp === undefined) {
      fail("--set option requires 3 timeout values");
    }
    timeouts = { tcp: parseTimeout(tcp, 0), tcpFin: parseTimeout(tcpFin, 0), udp: parseTimeout(udp, 0) };
    rest = rest.slice(3);
  }
  if (rest[0] !== undefined) fail(`unexpected argument ${rest[0]}`);
  const schedulerFlags = schedulerFlagsOf(line);
  check(line.given, CHECKED, COMMAND_RULES[command], `'${COMMANDS[command]}' command`);
  switch (command) {
    case "add":
    case "edit":
      return { do: command === "add" ? "addService" : "editService", service: serviceOf(line, schedulerFlags) };
    case "del":
      return { do: "removeService", id: line.serviceId };
    case "addServer":
    case "editServer":
      return { do: command, service: line.serviceId, server: serverOf(line) };
    case "deleteServer":
      return { do: "removeServer", service: line.serviceId, server: line.serverId };
    case "flush":
      return { do: "flush" };
    case "restore":
      return { do: "restore" };
    case "save":
      return { do: "save", numeric: line.given.has("numeric") };
    case "zero":
      return { do: "zero", id: line.given.has("service-address") ? line.serviceId : undefined };
    case "set":
      return { do: "setTimeouts", timeouts: timeouts! };
    case "startDaemon":
      return { do: "startDaemon", daemon: daemonOf(line, first.value as DaemonInfo["role"]) };
    case "stopDaemon":
      return { do: "stopDaemon", role: first.value as DaemonInfo["role"] };
    case "list":
      return listOf(line);
  }
}

function isRole(text: string | undefined): boolean {
  return text === "master" || text === "backup";
}

function schedulerFlagsOf(line: Line): number {
  if (!line.given.has("sched-flags")) return 0;
  const parsed = parseSchedulerFlags(line.scheduler, line.schedulerFlagsText);
  return typeof parsed === "number" ? parsed : fail(parsed.refusal);
}

function serviceOf(line: Line, schedulerFlags: number): ServiceConfig {
  const id = line.serviceId;
  if (!("mark" in id)) {
    if (id.port === 0 && line.persistence === undefined) fail("Zero port specified for non-persistent service");
    if (line.onePacket && id.protocol !== "udp") fail("One-Packet Scheduling is only for UDP virtual services");
  }
  const common = {
    id,
    scheduler: line.scheduler === "" ? "wlc" : line.scheduler,
    persistence: line.persistence,
    persistenceEngine: line.persistenceEngine === "" ? undefined : line.persistenceEngine,
    onePacket: line.onePacket,
    schedulerFlags,
  };
  if (id.family === 6) return { ...common, persistencePrefix: line.prefix };
  return {
    ...common,
    persistencePrefix: prefixOfMask(line.netmask) ?? 32,
    ...(line.netmask === WHOLE_MASK ? {} : { persistenceNetmask: line.netmask }),
  };
}

function serverOf(line: Line): ServerConfig {
  const service = line.serviceId;
  let id = line.serverId;
  const { forwarding } = line;
  // Direct routing and tunnels leave the port alone.
  if (!("mark" in service) && (forwarding === "dr" || forwarding === "tunnel")) id = { ...id, port: service.port };
  if (id.family !== service.family && forwarding !== "tunnel") {
    fail("Different address family is allowed only for tunneling servers");
  }
  if (forwarding === "tunnel") {
    check(line.given, TUNNEL_OPTIONS.slice(1), TUNNEL_RULES[line.tunnelType], `'${line.tunnelType}' tunnel type`);
  } else if (TUNNEL_OPTIONS.some((name) => line.given.has(name))) {
    fail("Tunnel options conflict with forward method");
  }
  const tunnel = { type: line.tunnelType, port: line.tunnelPort, checksum: line.tunnelChecksum };
  return {
    id,
    forwarding,
    weight: line.weight,
    upperThreshold: line.upper,
    lowerThreshold: line.lower,
    ...(forwarding === "tunnel" ? { tunnel } : {}),
  };
}

function daemonOf(line: Line, role: DaemonInfo["role"]): DaemonInfo {
  return {
    role,
    interface: line.interface === "" ? "eth0" : line.interface,
    syncId: line.syncId,
    maxLength: line.maxLength,
    group: line.group,
    port: line.groupPort,
    ttl: line.ttl,
  };
}

/** When several are asked for, the first of these is shown. */
const FORMATS = ["stats", "rate", "thresholds", "persistent-conn", "tun-info"] as const;

function listOf(line: Line): Command {
  const { given } = line;
  const counters = given.has("stats") || given.has("rate") || given.has("thresholds");
  const tables = given.has("timeout") || given.has("daemon");
  if ((given.has("connection") && counters) || (tables && (counters || given.has("persistent-conn")))) {
    fail("options conflicts in the list command");
  }
  const numeric = given.has("numeric");
  if (given.has("connection")) {
    return { do: "listConnections", numeric, persistenceData: given.has("persistent-conn") };
  }
  if (given.has("timeout")) return { do: "listTimeouts" };
  if (given.has("daemon")) return { do: "listDaemons" };
  const format = FORMATS.find((name) => given.has(name)) ?? "plain";
  return {
    do: "list",
    id: given.has("service-address") ? line.serviceId : undefined,
    options: { numeric, exact: given.has("exact"), sort: !given.has("nosort"), format },
  };
}
