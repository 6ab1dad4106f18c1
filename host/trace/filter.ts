/**
 * Filters of traces: a subset of tcpdump's language, and words for what the director decided. Text becomes a tree, the
 * tree a program that the core runs over each frame as it came and as it left (layout/trace).
 */
import { isIPv4 } from "node:net";
import * as Protocol from "../../assembly/layout/protocol.js";
import * as Trace from "../../assembly/layout/trace.js";
import * as Verdict from "../../assembly/layout/verdict.js";
import { addressBytes, isIPv6, parseMac } from "../address.js";
import { parseServerKey, parseServiceKey } from "../control/keys.js";
import { REASON_NAMES } from "../core/tables.js";

/** What a word stands for in a table of ours, not in what all objects have. */
function meaningOf(table: Readonly<Record<string, number>>, word: string): number | undefined {
  return Object.hasOwn(table, word) ? table[word] : undefined;
}

/** A filter that cannot be understood; `at` counts characters from 0. */
export class FilterError extends Error {
  readonly at: number;
  constructor(at: number, word: string, message: string) {
    super(`filter, character ${at + 1}${word === "" ? "" : ` ("${word}")`}: ${message}`);
    this.name = "FilterError";
    this.at = at;
  }
}

interface Test {
  readonly kind: "test";
  readonly op: number;
  readonly direction?: number;
  readonly family?: number;
  readonly prefix?: number;
  readonly first?: number;
  readonly last?: number;
  readonly address?: Uint8Array;
  /** Name of a port, to be found when there is a director. */
  readonly device?: { readonly name: string; readonly at: number };
}
type Node =
  | Test
  | { readonly kind: "not"; readonly of: Node }
  | { readonly kind: "and" | "or"; readonly left: Node; readonly right: Node };

export type Filter = Node | undefined;

interface Token {
  readonly text: string;
  readonly at: number;
}

const TYPES: Readonly<Record<string, number>> = { ip: 0x0800, ip6: 0x86dd, arp: 0x0806 };
const PROTOCOLS: Readonly<Record<string, number>> = {
  tcp: Protocol.TCP,
  udp: Protocol.UDP,
  sctp: Protocol.SCTP,
  icmp: Protocol.ICMP,
  icmp6: Protocol.ICMPV6,
  esp: Protocol.ESP,
  ah: Protocol.AH,
};
const VERDICTS: Readonly<Record<string, number>> = {
  forward: Verdict.FORWARD,
  local: Verdict.LOCAL,
  consumed: Verdict.CONSUMED,
  drop: Verdict.DROP,
};
const BOTH = Trace.DIRECTION_SOURCE | Trace.DIRECTION_DESTINATION;
const KINDS = ["host", "net", "port", "portrange"] as const;
type Kind = (typeof KINDS)[number];
const KEYWORDS = new Set([
  ...["and", "or", "not", "src", "dst", "ether", "proto", "vlan", "less", "greater", "fragment", "mask"],
  ...["service", "server", "verdict", "reason", "dev", "in", "out", "made", "new", "mark"],
  ...KINDS,
  ...Object.keys(TYPES),
  ...Object.keys(PROTOCOLS),
]);
const PORT_MOST = 0xffff;
const STEPS_MOST = Trace.PROGRAM_SIZE / Trace.STEP_SIZE;

function tokens(text: string): Token[] {
  const found: Token[] = [];
  for (const match of text.matchAll(/\(|\)|&&|\|\||!|[^\s()!&|]+|[&|]/g)) {
    const word = match[0] === "&&" ? "and" : match[0] === "||" ? "or" : match[0] === "!" ? "not" : match[0];
    found.push({ text: word, at: match.index });
  }
  return found;
}

/** What stands before a value: kept, so that `port 80 or 443` means what it does in tcpdump. */
interface Qualifiers {
  readonly before: Node | undefined;
  readonly directions: readonly number[];
  readonly kind: Kind;
  readonly ether: boolean;
}

class Parser {
  private readonly list: readonly Token[];
  private readonly end: number;
  private next = 0;
  private last: Qualifiers | undefined;

  constructor(text: string) {
    this.list = tokens(text);
    this.end = text.length;
  }

  whole(): Filter {
    if (this.list.length === 0) return undefined;
    const node = this.sequence();
    const rest = this.peek();
    if (rest !== undefined)
      throw this.error(rest, rest.text === ")" ? "no ( is open here" : "'and' or 'or' is missing");
    return node;
  }

  private peek(): Token | undefined {
    return this.list[this.next];
  }

  private take(what: string): Token {
    const token = this.list[this.next];
    if (token === undefined) throw new FilterError(this.end, "", `${what} is missing`);
    this.next++;
    return token;
  }

  private accept(text: string): boolean {
    if (this.peek()?.text !== text) return false;
    this.next++;
    return true;
  }

  private error(token: Token, message: string): FilterError {
    return new FilterError(token.at, token.text, message);
  }

  /** and, or: of one rank, from left to right, as in tcpdump. */
  private sequence(): Node {
    let left = this.negation();
    for (;;) {
      const kind = this.accept("and") ? "and" : this.accept("or") ? "or" : undefined;
      if (kind === undefined) return left;
      left = { kind, left, right: this.negation() };
    }
  }

  private negation(): Node {
    if (this.accept("not")) return { kind: "not", of: this.negation() };
    if (!this.accept("(")) return this.primitive();
    const node = this.sequence();
    const close = this.take(")");
    if (close.text !== ")") throw this.error(close, "a ) is wanted");
    return node;
  }

  private primitive(): Node {
    const token = this.take("a condition");
    const word = token.text;
    switch (word) {
      case "service":
        return this.service();
      case "server":
        return this.server();
      case "verdict":
        return this.named(Trace.OP_VERDICT, "verdict", VERDICTS);
      case "reason":
        return this.named(Trace.OP_REASON, "reason", Object.fromEntries(REASON_NAMES));
      case "dev":
        return this.device(BOTH);
      case "in":
        return this.device(Trace.DIRECTION_SOURCE);
      case "out":
        return this.device(Trace.DIRECTION_DESTINATION);
      case "made":
        return { kind: "test", op: Trace.OP_MADE };
      case "new":
        return { kind: "test", op: Trace.OP_NEW };
      case "mark":
        return { kind: "test", op: Trace.OP_MARK, first: this.number("a mark", 0xffffffff) };
      case "fragment":
        return { kind: "test", op: Trace.OP_FRAGMENT };
      case "less":
        return { kind: "test", op: Trace.OP_LENGTH, first: 0, last: this.number("a length", 0xffff) };
      case "greater":
        return { kind: "test", op: Trace.OP_LENGTH, first: this.number("a length", 0xffff), last: 0xffffffff };
      case "vlan":
        return this.vlan();
      case "proto":
        return { kind: "test", op: Trace.OP_PROTOCOL, first: this.protocol() };
    }
    if (!KEYWORDS.has(word) && this.last !== undefined) {
      this.next--;
      return this.valued(this.last);
    }
    this.next--;
    return this.qualified();
  }

  /** [ether|ip|ip6|arp|tcp|udp|...] [src|dst|src or dst|src and dst] [host|net|port|portrange] VALUE */
  private qualified(): Node {
    const first = this.take("a condition");
    let before: Node | undefined;
    let ether = false;
    const type = meaningOf(TYPES, first.text);
    const protocol = meaningOf(PROTOCOLS, first.text);
    if (type !== undefined) before = { kind: "test", op: Trace.OP_TYPE, first: type };
    else if (protocol !== undefined) before = { kind: "test", op: Trace.OP_PROTOCOL, first: protocol };
    else if (first.text === "ether") ether = true;
    else this.next--;
    const led = before !== undefined || ether;
    if (led && before !== undefined && this.accept("proto")) {
      const test: Node = { kind: "test", op: Trace.OP_PROTOCOL, first: this.protocol() };
      return { kind: "and", left: before, right: test };
    }
    const directions = this.directions();
    const word = this.peek();
    const kind = KINDS.find((name) => name === word?.text);
    if (kind !== undefined) this.next++;
    else if (directions === undefined && before !== undefined && (word === undefined || !this.isValue(word))) {
      return before;
    } else if (directions === undefined && !led) {
      const found = this.take("a condition");
      if (isIPv4(found.text) || isIPv6(found.text)) throw this.error(found, `write host ${found.text}`);
      throw this.error(found, "no such condition: write host, net, port, tcp, service, server, verdict ...");
    }
    const ports = kind === "port" || kind === "portrange";
    if (ports && (ether || type === TYPES.arp)) throw this.error(word!, `${first.text} has no ports`);
    if (kind === "net" && ether) throw this.error(word!, "ether has no networks");
    this.last = { before, directions: directions ?? [BOTH], kind: kind ?? "host", ether };
    return this.valued(this.last);
  }

  private isValue(token: Token): boolean {
    return token.text !== "(" && token.text !== ")" && !KEYWORDS.has(token.text);
  }

  private directions(): readonly number[] | undefined {
    const first = this.peek()?.text;
    if (first !== "src" && first !== "dst") return undefined;
    this.next++;
    const one = first === "src" ? Trace.DIRECTION_SOURCE : Trace.DIRECTION_DESTINATION;
    const link = this.peek()?.text;
    const second = this.list[this.next + 1]?.text;
    const kind = this.list[this.next + 2];
    const other = first === "src" ? "dst" : "src";
    // "src or dst host X", not "src host X or dst host Y".
    if ((link === "or" || link === "and") && second === other && kind !== undefined) {
      this.next += 2;
      return link === "or" ? [BOTH] : [Trace.DIRECTION_SOURCE, Trace.DIRECTION_DESTINATION];
    }
    return [one];
  }

  private valued({ before, directions, kind, ether }: Qualifiers): Node {
    const test = this.value(kind, ether);
    let node: Node = { ...test, direction: directions[0]! };
    for (const direction of directions.slice(1)) {
      node = { kind: "and", left: node, right: { ...test, direction } };
    }
    return before === undefined ? node : { kind: "and", left: before, right: node };
  }

  private value(kind: Kind, ether: boolean): Test {
    const what = { host: "an address", net: "a network", port: "a port", portrange: "a range of ports" }[kind];
    const token = this.take(what);
    if (ether) {
      const mac = parseMac(token.text);
      if (mac === undefined) throw this.error(token, "no MAC address: write aa:bb:cc:dd:ee:ff");
      return { kind: "test", op: Trace.OP_MAC, address: mac };
    }
    if (kind === "port" || kind === "portrange") return this.ports(token, kind);
    return kind === "net" ? this.net(token) : this.host(token);
  }

  private ports(token: Token, kind: "port" | "portrange"): Test {
    const [low, high] = kind === "port" ? [token.text, token.text] : token.text.split("-", 2);
    const first = portNumber(low);
    const last = portNumber(high);
    if (first === undefined || last === undefined || first > last) {
      throw this.error(token, kind === "port" ? "a port is a number up to 65535" : "a range is written 1024-2047");
    }
    return { kind: "test", op: Trace.OP_PORT, first, last };
  }

  private host(token: Token): Test {
    if (!isIPv4(token.text) && !isIPv6(token.text)) throw this.error(token, "no IP address (names are not looked up)");
    const { family, bytes } = addressBytes(token.text);
    return { kind: "test", op: Trace.OP_ADDRESS, family, prefix: family === 4 ? 32 : 128, address: bytes };
  }

  /** 10.0.0.0/8, 2001:db8::/32, 192.168 (as many bytes as are given), 10.0.0.0 mask 255.0.0.0 */
  private net(token: Token): Test {
    const [text, given] = token.text.split("/", 2) as [string, string | undefined];
    const parts = text.split(".");
    const short = /^\d{1,3}(\.\d{1,3}){0,2}$/.test(text);
    const full = short ? [...parts, "0", "0", "0"].slice(0, 4).join(".") : text;
    if (!isIPv4(full) && !isIPv6(full)) throw this.error(token, "no network: write 10.0.0.0/8");
    const { family, bytes } = addressBytes(full);
    const most = family === 4 ? 32 : 128;
    let prefix = given === undefined ? (short ? 8 * parts.length : most) : Number(given === "" ? Number.NaN : given);
    if (!(Number.isInteger(prefix) && prefix >= 0 && prefix <= most)) {
      throw this.error(token, `a prefix is a number up to ${most}`);
    }
    if (given === undefined && family === 4 && this.accept("mask")) {
      const mask = this.take("a mask");
      const ones = isIPv4(mask.text) ? prefixOf(addressBytes(mask.text).bytes) : undefined;
      if (ones === undefined) throw this.error(mask, "no mask: write 255.255.255.0");
      prefix = ones;
    }
    if (hasHostBits(bytes, prefix)) throw this.error(token, `bits are set behind the first ${prefix}`);
    return { kind: "test", op: Trace.OP_ADDRESS, family, prefix, address: bytes };
  }

  private number(what: string, most: number): number {
    const token = this.take(what);
    const value = /^(0x[0-9a-fA-F]+|\d+)$/.test(token.text) ? Number(token.text) : Number.NaN;
    if (!(value <= most)) throw this.error(token, `${what} is a number up to ${most}`);
    return value;
  }

  private protocol(): number {
    const named = meaningOf(PROTOCOLS, this.peek()?.text ?? "");
    if (named === undefined) return this.number("a protocol", 255);
    this.next++;
    return named;
  }

  private vlan(): Node {
    const word = this.peek();
    if (word === undefined || !this.isValue(word)) return { kind: "test", op: Trace.OP_VLAN, first: 0, last: 4095 };
    const id = this.number("a VLAN", 4095);
    return { kind: "test", op: Trace.OP_VLAN, first: id, last: id };
  }

  private service(): Node {
    const token = this.take("a service");
    const bare = parseServerKey(token.text);
    const id = bare === undefined ? parseServiceKey(token.text) : { ...bare, protocol: undefined };
    if (id === undefined) throw this.error(token, "no service: write ADDR:PORT, tcp:ADDR:PORT or mark:N:ipv4");
    if ("mark" in id) return { kind: "test", op: Trace.OP_SERVICE_MARK, first: id.mark };
    return {
      kind: "test",
      op: Trace.OP_SERVICE,
      family: id.family,
      prefix: id.protocol === undefined ? 0 : PROTOCOLS[id.protocol]!,
      first: id.port,
      address: addressBytes(id.address).bytes,
    };
  }

  private server(): Node {
    const token = this.take("a real server");
    const whole = parseServerKey(token.text);
    if (whole !== undefined) {
      const { family, port, address } = whole;
      return { kind: "test", op: Trace.OP_SERVER, family, first: port, last: 1, address: addressBytes(address).bytes };
    }
    const bare = token.text.replace(/^\[(.*)\]$/, "$1");
    if (!isIPv4(bare) && !isIPv6(bare)) throw this.error(token, "no real server: write RIP or RIP:PORT");
    const { family, bytes } = addressBytes(bare);
    return { kind: "test", op: Trace.OP_SERVER, family, first: 0, last: 0, address: bytes };
  }

  private named(op: number, what: string, names: Readonly<Record<string, number>>): Node {
    const token = this.take(`a ${what}`);
    const first = meaningOf(names, token.text);
    if (first === undefined) throw this.error(token, `no such ${what}: there are ${Object.keys(names).join(", ")}`);
    const test: Test = { kind: "test", op, first };
    if (op !== Trace.OP_REASON) return test;
    // A reason is of what was dropped.
    return { kind: "and", left: { kind: "test", op: Trace.OP_VERDICT, first: Verdict.DROP }, right: test };
  }

  private device(direction: number): Node {
    const { text: name, at } = this.take("a port's name");
    return { kind: "test", op: Trace.OP_DEVICE, direction, device: { name, at } };
  }
}

function portNumber(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,5}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= PORT_MOST ? value : undefined;
}

/** How many ones a mask begins with; undefined when others follow. */
function prefixOf(mask: Uint8Array): number | undefined {
  const bits = Array.from(mask.subarray(0, 4), (byte) => byte.toString(2).padStart(8, "0")).join("");
  return /^1*0*$/.test(bits) ? (bits.indexOf("0") < 0 ? 32 : bits.indexOf("0")) : undefined;
}

function hasHostBits(bytes: Uint8Array, prefix: number): boolean {
  return bytes.some((byte, at) => {
    const ones = Math.min(8, Math.max(0, prefix - 8 * at));
    return (byte & (0xff >> ones)) !== 0;
  });
}

/** Text of a filter as a tree; undefined takes every frame. Throws a FilterError. */
export function parseFilter(text: string): Filter {
  return new Parser(text).whole();
}

/** The program of a filter, for a director whose ports are `devices`. Throws a FilterError. */
export function compileFilter(filter: Filter, devices: readonly string[]): Uint8Array {
  if (filter === undefined) return new Uint8Array();
  const steps: Array<{ readonly test: Test; readonly yes: Label; readonly no: Label }> = [];
  interface Label {
    at: number;
  }
  const emit = (node: Node, yes: Label, no: Label): void => {
    if (node.kind === "test") {
      steps.push({ test: node, yes, no });
    } else if (node.kind === "not") {
      emit(node.of, no, yes);
    } else {
      const middle: Label = { at: 0 };
      if (node.kind === "and") emit(node.left, middle, no);
      else emit(node.left, yes, middle);
      middle.at = steps.length;
      emit(node.right, yes, no);
    }
  };
  emit(filter, { at: Trace.ACCEPT }, { at: Trace.REJECT });
  if (steps.length > STEPS_MOST) {
    throw new FilterError(0, "", `${steps.length} conditions are too many: at most ${STEPS_MOST}`);
  }
  const program = new Uint8Array(steps.length * Trace.STEP_SIZE);
  const view = new DataView(program.buffer);
  for (const [number, step] of steps.entries()) {
    const at = number * Trace.STEP_SIZE;
    const { test } = step;
    program[at + Trace.OP] = test.op;
    program[at + Trace.DIRECTION] = test.direction ?? 0;
    program[at + Trace.FAMILY] = test.family ?? 0;
    program[at + Trace.PREFIX] = test.prefix ?? 0;
    view.setUint16(at + Trace.THEN, step.yes.at, true);
    view.setUint16(at + Trace.ELSE, step.no.at, true);
    view.setUint32(
      at + Trace.FIRST,
      (test.device === undefined ? test.first : deviceNumber(test.device, devices)) ?? 0,
      true,
    );
    view.setUint32(at + Trace.LAST, test.last ?? 0, true);
    if (test.address !== undefined) program.set(test.address, at + Trace.ADDRESS);
  }
  return program;
}

function deviceNumber({ name, at }: { name: string; at: number }, devices: readonly string[]): number {
  const number = devices.indexOf(name);
  if (number < 0) throw new FilterError(at, name, `no such port: there are ${devices.join(", ")}`);
  return number;
}
