/** From a keepalived configuration to one of wlvs: its virtual servers. What has no place here is listed, with its line. */
import { Document } from "yaml";
import { formatAddress, parseAddress } from "../address.js";
import { ConfigError } from "../config/document.js";
import { parseConfigFile } from "../config/file.js";
import { endpoint } from "../control/keys.js";
import { SCHEDULER_IDS } from "../core/control.js";
import { DNS_RECORDS } from "../health/checker.js";
import { type Node, parseKeepalived } from "./keepalived-syntax.js";

export interface LeftOut {
  readonly line: number;
  /** The last line of what is left out; undefined: that line alone. */
  readonly end?: number | undefined;
  readonly text: string;
}

export interface Imported {
  readonly text: string;
  readonly leftOut: readonly LeftOut[];
  readonly services: number;
}

type Entry = Record<string, unknown>;

/** By the words of a file, which may be any: what every object has (toString ...) is in none of them. */
function words<T>(entries: Readonly<Record<string, T>>): Readonly<Record<string, T>> {
  return Object.assign(Object.create(null) as Record<string, T>, entries);
}

/** As keepalived counts them: seconds, and checks until the first failure counts. */
const DELAY_LOOP = 60;
const CONNECT_TIMEOUT = 5;
const RETRIES = words({ HTTP_GET: 3, SSL_GET: 3, DNS_CHECK: 3 });
const RETRY_DELAY = 1;
const PERSISTENCE = 360;

const KINDS = words({ NAT: "nat", DR: "dr", TUN: "tun" });
const FLAGS = /^(flag-[123]|(sh|mh)-(port|fallback))$/;

/** Whole blocks and words that are about something else, and what does that here. */
const ELSEWHERE = words({
  global_defs: "settings of keepalived's own (mail, SNMP, processes)",
  vrrp_instance: "VRRP: no part of a balancer; keep keepalived for it",
  vrrp_sync_group: "VRRP: no part of a balancer; keep keepalived for it",
  vrrp_script: "VRRP: no part of a balancer; keep keepalived for it",
  vrrp_track_process: "VRRP: no part of a balancer; keep keepalived for it",
  vrrp_track_file: "VRRP: no part of a balancer; keep keepalived for it",
  track_file: "VRRP: no part of a balancer; keep keepalived for it",
  bfd_instance: "BFD is not spoken here",
  static_ipaddress: "addresses of the machine: give the director's with ports:",
  static_routes: "routes of the machine: give the director's with routes:",
  static_rules: "policy routing of the machine",
  garp_group: "VRRP: no part of a balancer; keep keepalived for it",
  linkbeat_use_polling: "VRRP: no part of a balancer; keep keepalived for it",
  net_namespace: "give netns= to ports, and check_netns",
  include: "a file of its own: import it too",
  alpha: "a server is used here until its checks say otherwise",
  omega: "the end of a director runs no commands",
  notify_up: "read the log's event health.up instead",
  notify_down: "read the log's event health.down instead",
  smtp_alert: "no mail is sent; read the log's health events",
  no_smtp_alert: "no mail is sent anyway",
  ha_suspend: "checks do not depend on an address being here",
  sorry_server_inhibit: "the sorry server is added and removed",
  misc_dynamic: "a command says up or down, not a weight",
  user: "commands run as the director's user",
  bindto: "checks leave from where check_netns says",
  bind_port: "checks leave from any port",
  bind_if: "checks leave from where check_netns says",
  fwmark: "packets of checks carry no mark",
  http_protocol: "HTTP/1.1 is spoken",
  fast_recovery: "set rise and interval",
  virtualhost: "only web checks have one",
});

/**
 * What keepalived takes need not be right: a value that no configuration can have throws a ConfigError, with the lines
 * of what it was made of in the file `name`.
 */
export function importKeepalived(text: string, name = "keepalived.conf"): Imported {
  const importer = new Importer(text);
  const made = importer.run();
  try {
    parseConfigFile(name, made.text);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(
      name,
      error.mistakes.map((mistake) => ({ line: importer.lineOf(mistake.text), text: mistake.text })),
    );
  }
  return made;
}

class Importer {
  private readonly nodes: readonly Node[];
  private readonly leftOut: LeftOut[];
  private readonly groups = new Map<string, Node>();
  private readonly used = new Set<string>();
  private readonly services: Entry[] = [];
  private readonly seen = new Set<string>();
  /** What each service and each of its servers was made of. */
  private readonly origins: Array<{ readonly service: Node; readonly servers: readonly Node[] }> = [];

  constructor(text: string) {
    const { nodes, problems } = parseKeepalived(text);
    this.nodes = nodes;
    this.leftOut = [...problems];
  }

  run(): Imported {
    for (const node of this.nodes)
      if (node.words[0] === "virtual_server_group") this.groups.set(node.words[1] ?? "", node);
    for (const node of this.nodes) {
      if (node.words[0] === "virtual_server") this.virtualServer(node);
      else if (node.words[0] !== "virtual_server_group") this.skip(node);
    }
    for (const [name, node] of this.groups) if (!this.used.has(name)) this.skip(node, "no virtual_server uses it");
    const document = new Document({ services: this.services });
    document.commentBefore =
      " From a keepalived configuration. The director's devices are to be added, as\n" +
      " ports:\n   - {tap: ext0, ip: 192.0.2.10/24, bridge: br-ext}";
    const leftOut = this.leftOut.toSorted((a, b) => a.line - b.line);
    return { text: String(document), leftOut, services: this.services.length };
  }

  /** The line of the service or server that a mistake is about; its text begins with the place in what was made (from 1). */
  lineOf(mistake: string): number {
    const [, service, server] = /^services\[(\d+)\](?:\.servers\[(\d+)\])?/.exec(mistake) ?? [];
    const origin = this.origins[Number(service) - 1];
    return (origin?.servers[Number(server) - 1] ?? origin?.service)?.line ?? 1;
  }

  /** `whole`: nothing of its block is translated either. */
  private skip(node: Node, reason?: string, whole = true): void {
    const word = node.words[0]!;
    this.leftOut.push({
      line: node.line,
      ...(whole && node.end > node.line && { end: node.end }),
      text: `${node.words.join(" ")}: ${reason ?? ELSEWHERE[word] ?? "has no counterpart"}`,
    });
  }

  private virtualServer(node: Node): void {
    const places = this.places(node, node.words.slice(1));
    if (places === undefined) return;
    const usual: Defaults = { kind: "nat", weight: 1, virtualhost: undefined, timing: new Map() };
    const entry: Entry = {};
    const quorum: Entry = {};
    let sorry: Node | undefined;
    let protocol = "tcp";
    let family: number | undefined;
    const realServers: Node[] = [];
    const flags: string[] = [];
    for (const child of node.children ?? []) {
      const [word, first, second] = child.words;
      const number = Number(first);
      switch (word) {
        case "lb_algo":
        case "lvs_sched":
          if (first !== undefined && SCHEDULER_IDS[first] !== undefined) entry.scheduler = first;
          else this.skip(child, "no such scheduler here: wlc is taken");
          break;
        case "lb_kind":
        case "lvs_method":
          usual.kind = KINDS[first ?? ""] ?? this.noKind(child);
          if (usual.kind !== "nat") entry.mode = usual.kind;
          break;
        case "protocol":
          protocol = (first ?? "").toLowerCase();
          break;
        case "ip_family":
          family = first === "inet6" ? 6 : 4;
          break;
        case "persistence_timeout":
          entry.persistent = first === undefined ? PERSISTENCE : number;
          if (number === 0) delete entry.persistent;
          break;
        case "persistence_granularity":
          entry.granularity = first?.includes(".") ? first : number;
          break;
        case "persistence_engine":
          entry.engine = first;
          break;
        case "ops":
          entry.one_packet = true;
          break;
        case "quorum":
          quorum.weight = number;
          break;
        case "hysteresis":
          quorum.hysteresis = number;
          break;
        case "quorum_up":
          quorum.up = argvOf(child.words.slice(1));
          break;
        case "quorum_down":
          quorum.down = argvOf(child.words.slice(1));
          break;
        case "sorry_server":
          sorry = child;
          break;
        case "virtualhost":
          usual.virtualhost = first;
          break;
        case "weight":
          usual.weight = number;
          break;
        case "inhibit_on_failure":
          entry.on_failure = "inhibit";
          break;
        case "real_server":
          realServers.push(child);
          break;
        default:
          if (TIMING.has(word!)) usual.timing.set(word!, number);
          else if (FLAGS.test(word!)) flags.push(word!);
          else if (second === undefined && /^[a-z]+-(port|fallback)$/.test(word!)) flags.push(word!);
          else this.skip(child);
      }
    }
    if (flags.length > 0) entry.flags = flags;
    for (const place of places) {
      this.service(place, { node, entry, quorum, sorry, protocol, family, realServers, usual });
    }
  }

  private noKind(node: Node): string {
    this.skip(node, "write NAT, DR or TUN: nat is taken");
    return "nat";
  }

  private service(place: Place, virtual: Virtual): void {
    const { node, entry, quorum, sorry, protocol, usual, realServers } = virtual;
    const isMark = "mark" in place;
    if (!["tcp", "udp", "sctp"].includes(protocol)) {
      this.skip(node, `protocol ${protocol} is not balanced`);
      return;
    }
    const family = isMark ? (virtual.family ?? familyOf(realServers[0]) ?? 4) : place.family;
    const named: Entry = isMark
      ? { mark: place.mark, ...(family === 6 && { family: 6 }) }
      : { vip: endpoint(place.family, place.address, place.port), ...(protocol !== "tcp" && { protocol }) };
    const key = JSON.stringify(named);
    if (this.seen.has(key)) {
      this.skip(
        node,
        `${isMark ? `mark ${place.mark}` : (named.vip as string)} is there twice: the first one is taken`,
      );
      return;
    }
    this.seen.add(key);
    const made: Entry = { ...named, ...entry };
    if (!isMark && place.port === 0 && made.persistent === undefined) made.persistent = PERSISTENCE;
    const port = isMark ? 0 : place.port;
    let inhibited = 0;
    const servers: Entry[] = [];
    const origins: Node[] = [];
    for (const child of realServers) {
      const found = this.realServer(child, port, usual);
      if (found === undefined) continue;
      if (found.inhibit) inhibited++;
      servers.push(found.entry);
      origins.push(child);
    }
    if (inhibited > 0) {
      made.on_failure = "inhibit";
      if (inhibited < servers.length)
        this.skip(node, "inhibit_on_failure of some servers: it holds for all of the service", false);
    }
    const isChecked = servers.some(({ check }) => check !== undefined);
    if (sorry !== undefined) {
      const kind = sorry.children?.find(({ words }) => /^(lb_kind|lvs_method)$/.test(words[0]!));
      const found = this.server(sorry, port, KINDS[kind?.words[1] ?? ""] ?? usual.kind, usual.kind);
      if (found !== undefined && isChecked) made.sorry = found;
      else if (!isChecked) this.skip(sorry, "no server is checked, so it would never serve");
    }
    if (Object.keys(quorum).length > 0) {
      if (isChecked) made.quorum = quorum;
      else this.skip(node, "quorum: no server is checked", false);
    }
    if (!isChecked && made.on_failure !== undefined) delete made.on_failure;
    made.servers = servers;
    this.services.push(made);
    this.origins.push({ service: node, servers: origins });
  }

  /** rip and mode of a real or a sorry server. */
  private server(node: Node, virtualPort: number, kind: string, usual: string): Entry | undefined {
    const [, address, port] = node.words;
    const parsed = parseAddress(address ?? "");
    if (parsed === undefined) {
      this.skip(node, "an address is missing");
      return undefined;
    }
    const keeps = kind !== "nat";
    if (keeps && port !== undefined && Number(port) !== virtualPort && virtualPort !== 0 && Number(port) !== 0) {
      this.skip(node, `${kind} keeps the virtual port: ${port} is left away`, false);
    }
    const number = keeps ? virtualPort : Number(port ?? virtualPort);
    const text = formatAddress(parsed.family, parsed.bytes);
    const bare = parsed.family === 6 ? `[${text}]` : text;
    return { rip: keeps ? bare : endpoint(parsed.family, text, number), ...(kind !== usual && { mode: kind }) };
  }

  private realServer(node: Node, virtualPort: number, given: Defaults): { entry: Entry; inhibit: boolean } | undefined {
    const children = node.children ?? [];
    const kindNode = children.find(({ words }) => /^(lb_kind|lvs_method)$/.test(words[0]!));
    const kind = kindNode === undefined ? given.kind : (KINDS[kindNode.words[1] ?? ""] ?? this.noKind(kindNode));
    const entry = this.server(node, virtualPort, kind, given.kind);
    if (entry === undefined) return undefined;
    const usual: Defaults = { ...given, timing: new Map(given.timing) };
    let inhibit = false;
    const checks: Node[] = [];
    if (usual.weight !== 1) entry.weight = usual.weight;
    for (const child of children) {
      const [word, first] = child.words;
      if (child === kindNode) continue;
      if (word === "weight") entry.weight = Number(first);
      else if (word === "uthreshold") entry.upper = Number(first);
      else if (word === "lthreshold") entry.lower = Number(first);
      else if (word === "virtualhost") usual.virtualhost = first;
      else if (word === "inhibit_on_failure") inhibit = true;
      else if (TIMING.has(word!)) usual.timing.set(word!, Number(first));
      else if (child.children !== undefined && /_CHECK$|_GET$/.test(word!)) checks.push(child);
      else if (/^(PING|UDP|TCP|SMTP)_CHECK$/.test(word!)) checks.push(child);
      else this.skip(child);
    }
    const port = Number(node.words[2] ?? virtualPort);
    const made = checks.flatMap((check) => this.checks(check, usual, port));
    if (made.length > 0) entry.check = made.length === 1 ? made[0] : made;
    return { entry, inhibit };
  }

  /** The checks that one of keepalived's stands for: a web check may ask for several pages. */
  private checks(node: Node, usual: Defaults, serverPort: number): Entry[] {
    const kind = node.words[0]!;
    const children = node.children ?? [];
    const timing = new Map(usual.timing);
    const common: Entry = {};
    const rest: Node[] = [];
    for (const child of children) {
      const [word, first] = child.words;
      if (TIMING.has(word!)) timing.set(word!, Number(first));
      else if (word === "connect_ip") common.address = first;
      else if (word === "connect_port") common.port = Number(first);
      else if (word === "alpha" || ELSEWHERE[word!] !== undefined) {
        if (word === "virtualhost" && /_GET$/.test(kind)) rest.push(child);
        else this.skip(child);
      } else rest.push(child);
    }
    if (!["PING_CHECK", "MISC_CHECK"].includes(kind) && common.port === undefined && serverPort === 0) {
      this.skip(node, "it needs connect_port where the server has no port");
      return [];
    }
    const made = { ...common, ...timingOf(kind, timing) };
    switch (kind) {
      case "TCP_CHECK":
      case "PING_CHECK":
        for (const child of rest) this.skip(child);
        return [{ type: kind === "TCP_CHECK" ? "tcp" : "ping", ...made }];
      case "HTTP_GET":
      case "SSL_GET":
        return this.webChecks(kind, rest, usual, made);
      case "DNS_CHECK":
        return [{ type: "dns", ...this.dns(rest), ...made }];
      case "UDP_CHECK":
        return [{ type: "udp", ...this.udp(rest), ...made }];
      case "MISC_CHECK":
        return this.command(node, rest, made);
      case "SMTP_CHECK":
        return this.mailChecks(node, rest, made);
      default:
        this.skip(node, "there is no such check here");
        return [];
    }
  }

  /** No mail is spoken: that each of the hosts takes connections is what is left of it. */
  private mailChecks(node: Node, rest: readonly Node[], made: Entry): Entry[] {
    this.skip(node, "the dialogue is left out: a TCP connection is checked instead", false);
    const hosts: Entry[] = [];
    for (const child of rest) {
      if (child.words[0] === "helo_name") this.skip(child, "no dialogue, no name to begin it with");
      else if (child.words[0] === "host") hosts.push(this.mailHost(child));
      else this.skip(child);
    }
    return (hosts.length > 0 ? hosts : [{}]).map((host) => ({ type: "tcp", ...made, ...host }));
  }

  private mailHost({ children = [] }: Node): Entry {
    const host: Entry = {};
    for (const child of children) {
      const [word, first] = child.words;
      if (word === "connect_ip") host.address = first;
      else if (word === "connect_port") host.port = Number(first);
      else this.skip(child);
    }
    return host;
  }

  private webChecks(kind: string, rest: readonly Node[], usual: Defaults, made: Entry): Entry[] {
    let host = usual.virtualhost;
    let withName = false;
    const urls: Node[] = [];
    for (const child of rest) {
      const [word, first] = child.words;
      if (word === "url") urls.push(child);
      else if (word === "virtualhost") host = first;
      else if (word === "enable_sni") withName = true;
      else this.skip(child);
    }
    const type = kind === "SSL_GET" ? "https" : "http";
    return urls.map((url) => {
      const entry: Entry = { type };
      let own = host;
      for (const child of url.children ?? []) {
        const [word, ...values] = child.words;
        if (word === "path") entry.path = values[0];
        else if (word === "digest") entry.digest = values[0];
        else if (word === "status_code")
          entry.status = values.map((text) => (text.includes("-") ? text : Number(text)));
        else if (word === "regex") entry.matches = values.join(" ");
        else if (word === "virtualhost") own = values[0];
        else this.skip(child);
      }
      if (own !== undefined) entry.host = own;
      if (type === "https" && withName && own !== undefined) entry.sni = own;
      return { ...entry, ...made };
    });
  }

  private dns(rest: readonly Node[]): Entry {
    const entry: Entry = {};
    for (const child of rest) {
      const [word, first] = child.words;
      if (word === "name") entry.name = first;
      else if (word === "type" && (first ?? "").toUpperCase() in DNS_RECORDS) entry.record = first!.toUpperCase();
      else this.skip(child);
    }
    return entry;
  }

  private udp(rest: readonly Node[]): Entry {
    const entry: Entry = {};
    for (const child of rest) {
      const [word, first] = child.words;
      // Any answer is one that contains nothing.
      if (word === "require_reply" && first === undefined) entry.expect = "";
      else this.skip(child, "data of UDP checks are texts here");
    }
    return entry;
  }

  private command(node: Node, rest: readonly Node[], made: Entry): Entry[] {
    let argv: string[] | undefined;
    let timeout: number | undefined;
    for (const child of rest) {
      const [word, first] = child.words;
      if (word === "misc_path") argv = argvOf(child.words.slice(1));
      else if (word === "misc_timeout") timeout = Number(first);
      else this.skip(child);
    }
    if (argv === undefined || argv.length === 0) {
      this.skip(node, "misc_path is missing");
      return [];
    }
    return [{ type: "command", argv, ...made, ...(timeout !== undefined && { timeout }) }];
  }

  private places(node: Node, words: readonly string[]): Place[] | undefined {
    const [first, second] = words;
    if (first === "group") {
      const group = this.groups.get(second ?? "");
      if (group === undefined) {
        this.skip(
          node,
          second === undefined ? "the group's name is missing" : `there is no virtual_server_group ${second}`,
        );
        return undefined;
      }
      this.used.add(second!);
      return (group.children ?? []).flatMap((child) => this.placesOf(child, child.words));
    }
    return this.placesOf(node, words);
  }

  private placesOf(node: Node, words: readonly string[]): Place[] {
    const [first = "", second] = words;
    if (first === "fwmark") return [{ mark: Number(second) }];
    const [base, last] = first.split("-") as [string, string | undefined];
    const parsed = parseAddress(base);
    const port = Number(second ?? 0);
    if (parsed === undefined || !(port >= 0 && port <= 0xffff)) {
      this.skip(node, "neither an address nor a mark");
      return [];
    }
    const { family, bytes } = parsed;
    if (last === undefined) return [{ family, address: formatAddress(family, bytes), port }];
    return range(family, bytes, last).map((address) => ({ family, address, port }));
  }
}

type Place = { readonly family: 4 | 6; readonly address: string; readonly port: number } | { readonly mark: number };

interface Defaults {
  kind: string;
  weight: number;
  virtualhost: string | undefined;
  readonly timing: Map<string, number>;
}

interface Virtual {
  readonly node: Node;
  readonly entry: Entry;
  readonly quorum: Entry;
  readonly sorry: Node | undefined;
  readonly protocol: string;
  readonly family: number | undefined;
  readonly realServers: readonly Node[];
  readonly usual: Defaults;
}

const TIMING = new Set(["delay_loop", "retry", "nb_get_retry", "delay_before_retry", "connect_timeout", "warmup"]);

function timingOf(kind: string, given: ReadonlyMap<string, number>): Entry {
  const retries = given.get("retry") ?? given.get("nb_get_retry") ?? RETRIES[kind] ?? 1;
  const warmup = given.get("warmup");
  return {
    interval: given.get("delay_loop") ?? DELAY_LOOP,
    timeout: given.get("connect_timeout") ?? CONNECT_TIMEOUT,
    // So many more attempts after the first that failed.
    fall: retries + 1,
    rise: 1,
    retry: given.get("delay_before_retry") ?? RETRY_DELAY,
    ...(warmup !== undefined && { delay: warmup }),
  };
}

/** 10.0.0.3-10 and 2001:db8::2-9: the last part runs up to there. */
function range(family: 4 | 6, bytes: Uint8Array, last: string): string[] {
  const found: string[] = [];
  if (family === 4) {
    for (let part = bytes[3]!; part <= Math.min(255, Number(last)); part++) {
      found.push(formatAddress(4, Uint8Array.of(...bytes.subarray(0, 3), part)));
    }
    return found;
  }
  const end = Number.parseInt(last, 16);
  for (let part = (bytes[14]! << 8) | bytes[15]!; part <= Math.min(0xffff, end); part++) {
    const next = bytes.slice();
    next[14] = part >> 8;
    next[15] = part & 255;
    found.push(formatAddress(6, next));
  }
  return found;
}

function familyOf(node: Node | undefined): 4 | 6 | undefined {
  return parseAddress(node?.words[1] ?? "")?.family;
}

/** A command may be written as words, or as one text in quotes that holds them. */
function argvOf(words: readonly string[]): string[] {
  return words.length === 1 ? words[0]!.split(/\s+/).filter((word) => word !== "") : [...words];
}
