/** Values of flags: text in, checked value out, or a line that says what to write. */
import { formatAddress, formatMac, parseAddress, parseMac, parsePrefix } from "../address.js";
import { usage } from "../errors.js";
import type { Family } from "../ipvs/model.js";

export interface Address {
  readonly family: Family;
  readonly text: string;
  readonly bytes: Uint8Array;
}

export interface Network extends Address {
  readonly prefix: number;
}

export interface Endpoint {
  readonly address: Address;
  readonly port: number | undefined;
}

/** New connections a second, in a limit. */
export const RATE_MOST = 10_000_000;

export function integer(flag: string, text: string, least: number, most: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw usage(`${flag} ${text}: write a number from ${least} to ${most}`);
}

export function oneOf<T extends string>(flag: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw usage(`${flag} ${text}: write one of ${choices.join(", ")}`);
  return found;
}

export function address(flag: string, text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw usage(`${flag}: ${text} is not an IP address`);
  return { ...parsed, text: formatAddress(parsed.family, parsed.bytes) };
}

/** An address that one machine can have: not zero, not multicast, not broadcast. */
export function hostAddress(flag: string, text: string): Address {
  const found = address(flag, text);
  const first = found.bytes[0]!;
  const multicast = found.family === 4 ? first >= 224 : first === 0xff;
  if (multicast || found.bytes.every((byte) => byte === 0)) {
    throw usage(`${flag}: ${text} is no address of a machine`);
  }
  return found;
}

/** ADDRESS/PREFIX with the address kept whole. */
export function network(flag: string, text: string, example: string): Network {
  if (!text.includes("/")) {
    address(flag, text);
    throw usage(`${flag}: ${text} has no prefix length: write ${text}/${example}`);
  }
  const parsed = parsePrefix(text);
  if (parsed === undefined) {
    const slash = text.lastIndexOf("/");
    const { family } = address(flag, text.slice(0, slash));
    throw usage(`${flag}: ${text.slice(slash)} is no prefix length: write /0 to /${family === 4 ? 32 : 128}`);
  }
  return { ...parsed, text: formatAddress(parsed.family, parsed.bytes) };
}

export function isIn(address: Address, net: Network): boolean {
  if (address.family !== net.family) return false;
  const whole = net.prefix >> 3;
  for (let n = 0; n < whole; n++) if (address.bytes[n] !== net.bytes[n]) return false;
  const mask = (0xff00 >> (net.prefix & 7)) & 0xff;
  return mask === 0 || ((address.bytes[whole]! ^ net.bytes[whole]!) & mask) === 0;
}

/** ADDRESS, ADDRESS:PORT, [IPV6] or [IPV6]:PORT. */
export function endpoint(flag: string, text: string): Endpoint {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  if (bracketed !== null) {
    const found = address(flag, bracketed[1]!);
    if (found.family !== 6) throw usage(`${flag} ${text}: brackets are for IPv6 addresses`);
    return { address: found, port: portNumber(flag, text, bracketed[2]) };
  }
  if (text.split(":").length > 2)
    throw usage(`${flag} ${text}: write an IPv6 address in brackets, as [2001:db8::1]:80`);
  const [host, port] = text.split(":", 2);
  return { address: address(flag, host!), port: portNumber(flag, text, port) };
}

function portNumber(flag: string, whole: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (value <= 0xffff) return value;
  throw usage(`${flag} ${whole}: ${text === "" ? "the port is missing" : `${text} is no port`}: write 0 to 65535`);
}

export function unicastMac(flag: string, text: string): string {
  const bytes = parseMac(text);
  if (bytes === undefined) throw usage(`${flag}: ${text} is not a MAC address, as 02:00:00:00:00:01`);
  if ((bytes[0]! & 1) !== 0)
    throw usage(`${flag}: ${text} is a multicast MAC: the lowest bit of its first byte is set`);
  if (bytes.every((byte) => byte === 0)) throw usage(`${flag}: ${text} is no MAC of a machine`);
  return formatMac(bytes);
}

/** A device's name as the kernel takes it. */
export function deviceName(flag: string, text: string): string {
  if (text === "") throw usage(`${flag}: the name is missing`);
  if (text.length > 15) throw usage(`${flag}: ${text} is too long: a device's name has at most 15 characters`);
  if (!/^[!-~]+$/.test(text) || /[/%:,]/.test(text) || text === "." || text === ".." || text.startsWith("-")) {
    throw usage(`${flag}: ${text} is no name for a device`);
  }
  return text;
}

/** "a,k=v,k=v": the first word, and the pairs in order. */
export function wordAndPairs(flag: string, text: string): { word: string; pairs: Array<[string, string]> } {
  const [word, ...rest] = text.split(",");
  const pairs = rest.map((part): [string, string] => {
    const at = part.indexOf("=");
    if (at <= 0) throw usage(`${flag} ${text}: ${part === "" ? "an empty part" : `${part} is not NAME=VALUE`}`);
    return [part.slice(0, at), part.slice(at + 1)];
  });
  return { word: word!, pairs };
}
