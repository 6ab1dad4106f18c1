/** From a configuration file to what flags say, and to what flags cannot say. */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { formatAddress, parseAddress } from "../address.js";
import { parseSetting, settingName } from "../core/settings.js";
import { fileReason, LvsError } from "../errors.js";
import type { CheckKind, CheckSpec, PassiveCheck, Timing } from "../health/checker.js";
import type { Argv, CheckedServer, ServiceHealth } from "../health/service-health.js";
import type {
  ForwardingName,
  Limits,
  ServerConfig,
  ServiceConfig,
  ServiceId,
  ServiceProtocol,
  Timeouts,
} from "../ipvs/model.js";
import { parseSchedulerFlags } from "../ipvs/scheduler-flags.js";
import type { SourcedStep } from "./config.js";
import { ConfigDocument, ConfigError, type Mistake } from "./document.js";
import type { Token } from "./options.js";
import {
  type CheckEntry,
  type FileEntry,
  milliseconds,
  rateOf,
  type ServerEntry,
  type ServiceEntry,
  file as schema,
} from "./schema.js";
import * as values from "./values.js";

export interface FileConfig {
  /** What flags would say. */
  readonly tokens: readonly Token[];
  readonly steps: readonly SourcedStep[];
  readonly health: readonly ServiceHealth[];
  readonly timeouts: Timeouts | undefined;
  readonly watch: boolean;
  /** Puts the line to an error that was found later, among tokens and services. */
  locate(error: unknown): unknown;
}

const FORWARDING: Readonly<Record<string, ForwardingName>> = {
  nat: "nat",
  dr: "dr",
  tun: "tunnel",
  fullnat: "fullnat",
};
const DEFAULT_TIMING: Timing = { interval: 2000, timeout: 1000, rise: 2, fall: 2, retry: 0, delay: 0 };
const DEFAULT_PASSIVE = { refused: 1, unanswered: 3, window: 10_000, hold: 10_000 } as const;
const DEFAULT_PERSISTENCE = 360;

/** Keys that are flags of the same name and take one value. */
const SCALARS = {
  profile: "profile",
  socket: "socket",
  socket_group: "socket-group",
  listen: "listen",
  workers: "workers",
  max_connections: "max-connections",
  io: "io",
  spin: "spin",
  log_level: "log-level",
  user: "user",
  procfs: "procfs",
  syn_proxy: "syn-proxy",
} as const satisfies Partial<Record<keyof FileEntry, string>>;

export async function readConfigFile(path: string): Promise<FileConfig> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `--config ${path}: ${fileReason(error)}`, error);
  }
  return parseConfigFile(path, text);
}

/** Throws a ConfigError with all that is wrong. */
export function parseConfigFile(path: string, text: string): FileConfig {
  return new Reader(path, new ConfigDocument(path, text, schema)).read();
}

type Path = readonly (string | number)[];
type ActiveEntry = Exclude<CheckEntry, { type: "passive" }>;

class Reader {
  private readonly path: string;
  private readonly document: ConfigDocument<FileEntry>;
  private readonly mistakes: Mistake[] = [];
  private readonly tokens: Token[] = [];
  /** Where a flag, as errors name it, stands in the file. */
  private readonly places: Array<readonly [string, Path]> = [];
  private readonly steps: SourcedStep[] = [];
  private readonly health: ServiceHealth[] = [];

  constructor(path: string, document: ConfigDocument<FileEntry>) {
    this.path = path;
    this.document = document;
  }

  read(): FileConfig {
    const { value } = this.document;
    this.ports();
    for (const [at, route] of (value.routes ?? []).entries()) {
      // Errors name a route by where it leads, or by whom it leads through.
      if (route.via !== undefined) this.places.push([`--route ${route.via}`, ["routes", at]]);
      const how = route.via !== undefined ? `via=${route.via}` : route.local === true ? "local" : undefined;
      if (how === undefined) this.wrong(["routes", at], "write via: an address, or local: true");
      else
        this.token("route", `${route.to},${how}${route.mark === undefined ? "" : `,mark=${route.mark}`}`, [
          "routes",
          at,
        ]);
    }
    for (const [at, one] of (value.neighbours ?? []).entries()) {
      this.token("neigh", `${one.ip},${one.mac},dev=${one.port}`, ["neighbours", at]);
    }
    for (const [name, given] of Object.entries(value.settings ?? {})) this.setting(name, given);
    for (const [at, name] of listOf(value.rules).entries()) this.token("rules", this.beside(name), ["rules", at]);
    if (value.marks !== undefined) this.token("marks", this.beside(value.marks), ["marks"]);
    if (value.state !== undefined) this.token("state", this.beside(value.state), ["state"]);
    if (value.forward === false) this.tokens.push(["no-forward", null]);
    if (value.listen_admin === true) this.tokens.push(["listen-admin", null]);
    for (const [key, flag] of Object.entries(SCALARS)) {
      const given = value[key as keyof typeof SCALARS];
      if (given !== undefined) this.token(flag, `${given}`, [key]);
    }
    const seen = new Set<string>();
    for (const [at, entry] of (value.services ?? []).entries()) this.service(entry, ["services", at], seen);
    if (this.mistakes.length > 0) throw new ConfigError(this.path, this.mistakes);
    const { tokens, steps, health } = this;
    const { tcp = 0, tcp_fin: tcpFin = 0, udp = 0 } = value.timeouts ?? {};
    const timeouts = value.timeouts === undefined ? undefined : { tcp, tcpFin, udp };
    return { tokens, steps, health, timeouts, watch: value.watch ?? true, locate: (error) => this.locate(error) };
  }

  private wrong(path: Path, text: string): void {
    this.mistakes.push(this.document.mistake(path, text));
  }

  /** Runs a parser whose refusal belongs to a place. */
  private attempt<T>(path: Path, parse: () => T): T | undefined {
    try {
      return parse();
    } catch (error) {
      if (!(error instanceof LvsError)) throw error;
      this.wrong(path, error.message.replace(/^:? ?/, ""));
      return undefined;
    }
  }

  private token(flag: string, text: string, path: Path): void {
    this.tokens.push([flag, text]);
    this.places.push([`--${flag} ${text.split(",", 1)[0]}`, path]);
  }

  private locate(error: unknown): unknown {
    if (!(error instanceof LvsError) || error instanceof ConfigError) return error;
    const place = this.places
      .filter(([flag]) => error.message.startsWith(flag))
      .toSorted(([a], [b]) => b.length - a.length)[0];
    if (place === undefined) return error;
    return new ConfigError(this.path, [this.document.mistake(place[1], error.message)]);
  }

  /** Names of files are meant from where the configuration is. */
  private beside(name: string): string {
    return resolve(dirname(this.path), name);
  }

  private ports(): void {
    for (const [at, port] of (this.document.value.ports ?? []).entries()) {
      const path = ["ports", at];
      const { tap, tun } = port;
      if ((tap === undefined) === (tun === undefined)) {
        this.wrong(path, "write tap: or tun: and the device's name");
        continue;
      }
      const pairs = [
        ...listOf(port.ip).map((value) => `ip=${value}`),
        ...listOf(port.gw).map((value) => `gw=${value}`),
        ...(["mac", "mtu", "bridge", "netns", "routes"] as const).flatMap((key) =>
          port[key] === undefined ? [] : [`${key}=${port[key]}`],
        ),
        ...(port.persist === undefined ? [] : [`persist=${port.persist ? "on" : "off"}`]),
      ];
      this.token(tap === undefined ? "tun" : "tap", [tap ?? tun, ...pairs].join(","), path);
    }
  }

  private setting(name: string, given: number | boolean | string): void {
    const path = ["settings", name];
    const text = `${typeof given === "boolean" ? Number(given) : given}`;
    if (settingName(name) === undefined) {
      this.wrong(path, "no such setting in net.ipv4.vs");
      return;
    }
    try {
      parseSetting(name, text);
      this.token("set", `${name}=${text}`, path);
    } catch (error) {
      this.wrong(path, (error as Error).message);
    }
  }

  private service(entry: ServiceEntry, path: Path, seen: Set<string>): void {
    const id = this.serviceId(entry, path);
    if (id === undefined) return;
    const key = JSON.stringify(id);
    if (seen.has(key)) {
      this.wrong(path, "the service is there twice");
      return;
    }
    seen.add(key);
    const { scheduler = "wlc", persistent, granularity, mode = "nat" } = entry;
    const flags = parseSchedulerFlags(scheduler, listOf(entry.flags).join(","));
    if (typeof flags !== "number") {
      this.wrong([...path, "flags"], flags.refusal);
      return;
    }
    const longest = id.family === 4 ? 32 : 128;
    const mask = typeof granularity === "string" ? granularity : undefined;
    if (typeof granularity === "number" && granularity > longest) {
      this.wrong([...path, "granularity"], `write a prefix length from 0 to ${longest}`);
      return;
    }
    const port = "mark" in id ? 0 : id.port;
    if (!("mark" in id) && port === 0 && persistent === undefined) {
      this.wrong(path, "port 0 stands for every port, and needs persistent:");
      return;
    }
    const service: ServiceConfig = {
      id,
      scheduler,
      persistence: persistent === true ? DEFAULT_PERSISTENCE : persistent,
      persistencePrefix: typeof granularity === "number" ? granularity : mask === undefined ? longest : prefixOf(mask),
      persistenceNetmask: mask,
      persistenceEngine: entry.engine,
      onePacket: entry.one_packet ?? false,
      schedulerFlags: flags,
      synProxy: entry.syn_proxy,
      limits: entry.limits === undefined ? undefined : limitsOf(entry.limits),
    };
    if (entry.syn_proxy !== undefined && !("mark" in id) && id.protocol !== "tcp")
      this.wrong([...path, "syn_proxy"], `it is for TCP, not for ${id.protocol}`);
    this.steps.push({ from: this.source(path), step: { do: "addService", service } });
    const servers = new Set<string>();
    const checked: CheckedServer[] = [];
    for (const [at, one] of (entry.servers ?? []).entries()) {
      const place = [...path, "servers", at];
      const server = this.server(one, place, id, mode);
      if (server === undefined) continue;
      const name = `${server.id.address} ${server.id.port}`;
      if (servers.has(name)) this.wrong(place, `${one.rip} is there twice`);
      servers.add(name);
      if (entry.syn_proxy !== undefined && entry.syn_proxy !== "off" && !isSeen(server.forwarding)) {
        this.wrong(place, `syn_proxy: ${entry.syn_proxy} needs mode nat or fullnat: other answers do not come by here`);
      }
      this.steps.push({ from: this.source(place), step: { do: "addServer", service: id, server } });
      const given = one.check ?? entry.check;
      if (given === undefined || given === false) continue;
      const checkPlace = one.check === undefined ? [...path, "check"] : [...place, "check"];
      const checks = listOf(given).flatMap((entry, number) => {
        const itsPlace = Array.isArray(given) ? [...checkPlace, number] : checkPlace;
        if (entry.type === "passive") return this.passive(entry, itsPlace, id, server, one.rip) ?? [];
        const check = this.check(entry, itsPlace);
        const needsPort = check?.type !== "ping" && check?.type !== "command";
        if (check !== undefined && needsPort && check.port === undefined && server.id.port === 0) {
          this.wrong(itsPlace, `${one.rip} has no port: write the check's port:`);
        }
        return check ?? [];
      });
      if (checks.filter(({ type }) => type === "passive").length > 1)
        this.wrong(checkPlace, "one passive check will do");
      checked.push({ server: server.id, checks });
    }
    this.watched(entry, path, id, mode, servers, checked);
  }

  private watched(
    entry: ServiceEntry,
    path: Path,
    service: ServiceId,
    mode: string,
    servers: ReadonlySet<string>,
    checked: readonly CheckedServer[],
  ): void {
    const sorry = entry.sorry === undefined ? undefined : this.server(entry.sorry, [...path, "sorry"], service, mode);
    if (sorry !== undefined && servers.has(`${sorry.id.address} ${sorry.id.port}`)) {
      this.wrong([...path, "sorry"], "it is one of the servers already");
    }
    if (sorry !== undefined && entry.panic !== undefined) {
      this.wrong([...path, "panic"], "with a sorry server nothing is left to panic about: write one of the two");
    }
    const quorum = typeof entry.quorum === "number" ? { weight: entry.quorum } : (entry.quorum ?? {});
    const { weight = 1, hysteresis = 0 } = quorum;
    if (hysteresis >= weight && hysteresis > 0) this.wrong([...path, "quorum"], "hysteresis is less than weight");
    for (const key of ["sorry", "quorum", "panic", "slow_start", "on_failure", "connections"] as const) {
      if (entry[key] !== undefined && checked.length === 0) this.wrong([...path, key], "needs check:");
    }
    if (checked.length === 0) return;
    this.health.push({
      service,
      servers: checked,
      onFailure: entry.on_failure ?? "remove",
      connections: entry.connections,
      slowStart: entry.slow_start === undefined ? 0 : milliseconds(entry.slow_start),
      sorry,
      quorum: weight,
      hysteresis,
      quorumUp: quorum.up as Argv | undefined,
      quorumDown: quorum.down as Argv | undefined,
      panic: entry.panic ?? 0,
    });
  }

  private source(path: Path): string {
    const { line, text } = this.document.mistake(path, "");
    return `${this.path}:${line}: ${text.replace(/: $/, "")}`;
  }

  private serviceId(entry: ServiceEntry, path: Path): ServiceId | undefined {
    const { vip, mark, family } = entry;
    if ((vip === undefined) === (mark === undefined)) {
      this.wrong(path, "write vip: ADDR:PORT, or mark: N");
      return undefined;
    }
    if (mark !== undefined) {
      if (entry.protocol !== undefined) this.wrong([...path, "protocol"], "a mark is of every protocol");
      return { family: family ?? 4, mark };
    }
    const [text, suffix] = vip!.split(/\/(?=[a-z]+$)/) as [string, string | undefined];
    const protocol = suffix ?? entry.protocol ?? "tcp";
    return this.attempt([...path, "vip"], () => {
      const { address, port } = values.endpoint("", text);
      if (port === undefined) throw new LvsError("ERR_LVS_USAGE", `${text}: the port is missing: write ADDR:PORT`);
      values.hostAddress("", address.text);
      const known = values.oneOf("", protocol, ["tcp", "udp", "sctp"] as const satisfies readonly ServiceProtocol[]);
      return { family: address.family, protocol: known, address: address.text, port };
    });
  }

  private server(entry: ServerEntry, path: Path, service: ServiceId, usual: string): ServerConfig | undefined {
    const found = this.attempt([...path, "rip"], () => values.endpoint("", entry.rip));
    if (found === undefined) return undefined;
    const { address, port: given } = found;
    const mode = entry.mode ?? usual;
    const virtualPort = "mark" in service ? 0 : service.port;
    if (address.family !== service.family && mode !== "tun") {
      this.wrong(path, `an IPv${address.family} server cannot serve an IPv${service.family} service with mode ${mode}`);
    }
    if ((mode === "dr" || mode === "tun") && given !== undefined && given !== virtualPort && virtualPort !== 0) {
      this.wrong(path, `mode ${mode} keeps the virtual port: leave :${given} away`);
    }
    if ((entry.lower ?? 0) > (entry.upper ?? 0)) this.wrong([...path, "lower"], "it is at most upper");
    const { type = "ipip", port = 0, checksum = "nocsum" } = entry.tunnel ?? {};
    if (entry.tunnel !== undefined && mode !== "tun") this.wrong([...path, "tunnel"], "needs mode: tun");
    if (type === "gue" && port === 0) this.wrong([...path, "tunnel"], "gue needs port:");
    return {
      id: { family: address.family, address: address.text, port: given ?? virtualPort },
      forwarding: FORWARDING[mode]!,
      weight: entry.weight ?? 1,
      upperThreshold: entry.upper ?? 0,
      lowerThreshold: entry.lower ?? 0,
      tunnel: mode === "tun" ? { type, port, checksum } : undefined,
    };
  }

  /** Only what passes by here can be counted. */
  private passive(
    entry: Extract<CheckEntry, { type: "passive" }>,
    path: Path,
    service: ServiceId,
    { forwarding }: ServerConfig,
    rip: string,
  ): PassiveCheck | undefined {
    const protocol = "mark" in service ? "tcp" : service.protocol;
    const wrong = (text: string) => {
      this.wrong(path, text);
      return undefined;
    };
    if (forwarding !== "nat" && forwarding !== "fullnat") {
      const mode = forwarding === "tunnel" ? "tun" : forwarding;
      return wrong(`${rip} has mode ${mode}: its answers go past the director; write a check that asks it, as tcp`);
    }
    if (protocol === "sctp") return wrong("it is for TCP and UDP: write a check that asks the servers");
    if (protocol === "udp" && (entry.unanswered ?? 0) > 0) {
      return wrong("a datagram without an answer says nothing: leave unanswered away");
    }
    const refused = entry.refused ?? DEFAULT_PASSIVE.refused;
    const unanswered = protocol === "udp" ? 0 : (entry.unanswered ?? DEFAULT_PASSIVE.unanswered);
    if (refused === 0 && unanswered === 0) return wrong("with refused: 0 and unanswered: 0 nothing is looked for");
    const ms = (given: number | string | undefined, otherwise: number) =>
      given === undefined ? otherwise : milliseconds(given);
    const { window, hold } = DEFAULT_PASSIVE;
    return { type: "passive", refused, unanswered, window: ms(entry.window, window), hold: ms(entry.hold, hold) };
  }

  private check(entry: ActiveEntry, path: Path): CheckSpec | undefined {
    const usual = this.document.value.checks ?? {};
    const ms = (key: "interval" | "timeout" | "retry" | "delay", otherwise: number): number => {
      const given = entry[key] ?? usual[key];
      return given === undefined ? otherwise : milliseconds(given);
    };
    const interval = ms("interval", DEFAULT_TIMING.interval);
    const timing: Timing = {
      interval,
      timeout: ms("timeout", DEFAULT_TIMING.timeout),
      rise: entry.rise ?? usual.rise ?? DEFAULT_TIMING.rise,
      fall: entry.fall ?? usual.fall ?? DEFAULT_TIMING.fall,
      retry: ms("retry", interval),
      delay: ms("delay", DEFAULT_TIMING.delay),
    };
    const kind = this.kind(entry, path);
    if (kind === undefined) return undefined;
    const address = entry.address === undefined ? undefined : canonical(entry.address);
    return { ...kind, ...timing, address, port: entry.port, netns: entry.netns ?? this.document.value.check_netns };
  }

  private kind(entry: ActiveEntry, path: Path): CheckKind | undefined {
    switch (entry.type) {
      case "tcp":
      case "ping":
        return { type: entry.type };
      case "command":
        return { type: "command", argv: entry.argv as [string, ...string[]] };
      case "udp":
        return { type: "udp", send: entry.send ?? "", expect: entry.expect };
      case "dns":
        return { type: "dns", name: entry.name ?? ".", record: entry.record ?? "SOA" };
      default: {
        const { type, host, contains, matches, digest } = entry;
        const status = entry.status === undefined ? [[200, 299] as const] : listOf(entry.status).map(rangeOf);
        const common = { type, path: entry.path ?? "/", host, status, contains, matches, digest };
        if (entry.type === "http") return { ...common, verify: false };
        const { verify = false, sni } = entry;
        const ca = entry.ca === undefined ? undefined : this.certificates(entry.ca, [...path, "ca"]);
        if (ca !== undefined && !verify) this.wrong([...path, "ca"], "needs verify: true");
        return { ...common, verify, sni, ca };
      }
    }
  }

  /** Read here: whoever checks may not be able to. */
  private certificates(name: string, path: Path): string | undefined {
    try {
      return readFileSync(this.beside(name), "utf8");
    } catch (error) {
      this.wrong(path, `cannot read ${name}: ${fileReason(error)}`);
      return undefined;
    }
  }
}

/** Whether what a server answers comes by the director. */
function isSeen(forwarding: ForwardingName): boolean {
  return forwarding === "nat" || forwarding === "fullnat";
}

function limitsOf({ per_source, ...all }: NonNullable<ServiceEntry["limits"]>): Limits {
  const one = ({ connections, rate }: { connections?: number | undefined; rate?: number | string | undefined }) => ({
    ...(connections !== undefined && { connections }),
    ...(rate !== undefined && { rate: rateOf(rate) }),
  });
  return { ...one(all), ...(per_source !== undefined && { perSource: one(per_source) }) };
}

function listOf<T>(value: T | T[] | undefined): T[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

function rangeOf(status: number | string): readonly [number, number] {
  if (typeof status === "number") return [status, status];
  const [from, to] = status.split("-").map(Number);
  return [from!, to!];
}

function canonical(text: string): string {
  const { family, bytes } = parseAddress(text)!;
  return formatAddress(family, bytes);
}

/** Bits set from the top of a netmask. */
function prefixOf(mask: string): number {
  const word = mask.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  return Math.clz32(~word >>> 0);
}
