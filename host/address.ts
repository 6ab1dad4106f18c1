/** Addresses between text and the 16 bytes that the tables hold (network order, IPv4 in the first four). */
import type { Family } from "./ipvs/model.js";

/** What `text` names, or undefined when it is no address. */
export function parseAddress(text: string): { family: Family; bytes: Uint8Array } | undefined {
  const bytes = text.includes(":") ? parse6(text) : parse4(text);
  return bytes === undefined ? undefined : { family: text.includes(":") ? 6 : 4, bytes };
}

function parse4(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(16);
  for (const [at, part] of parts.entries()) {
    if (!/^\d{1,3}$/.test(part) || Number(part) > 255) return undefined;
    bytes[at] = Number(part);
  }
  return bytes;
}

function parse6(text: string): Uint8Array | undefined {
  let source = text;
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    const last = parse4(dotted[2]!);
    if (last === undefined) return undefined;
    const [a, b, c, d] = last;
    source = `${dotted[1]}${((a! << 8) | b!).toString(16)}:${((c! << 8) | d!).toString(16)}`;
  }
  const halves = source.split("::");
  if (halves.length > 2) return undefined;
  const groupsOf = (half: string | undefined) => (half === undefined || half === "" ? [] : half.split(":"));
  const head = groupsOf(halves[0]);
  const tail = groupsOf(halves[1]);
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const bytes = new Uint8Array(16);
  const groups = [...head, ...new Array<string>(missing).fill("0"), ...tail];
  for (const [at, group] of groups.entries()) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    const value = Number.parseInt(group, 16);
    bytes[at * 2] = value >> 8;
    bytes[at * 2 + 1] = value & 255;
  }
  return bytes;
}

/** Canonical text: dotted quad, or RFC 5952. */
export function formatAddress(family: Family, bytes: Uint8Array): string {
  if (family === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  const groups: number[] = [];
  for (let at = 0; at < 16; at += 2) groups.push((bytes[at]! << 8) | bytes[at + 1]!);
  let best = -1;
  let bestLength = 1;
  for (let from = 0; from < 8; from++) {
    let length = 0;
    while (from + length < 8 && groups[from + length] === 0) length++;
    if (length > bestLength) {
      best = from;
      bestLength = length;
    }
  }
  // Mapped and compatible addresses show their IPv4 part, as inet_ntop does.
  const mapped = best === 0 && (bestLength === 6 || (bestLength === 5 && groups[5] === 0xffff));
  if (mapped) return `::${bestLength === 5 ? "ffff:" : ""}${formatAddress(4, bytes.subarray(12))}`;
  const hex = groups.map((group) => group.toString(16));
  if (best < 0) return hex.join(":");
  return `${hex.slice(0, best).join(":")}::${hex.slice(best + bestLength).join(":")}`;
}

/** Not as net.isIPv6, which takes a zone (fe80::1%eth0), too: no packet has one. */
export function isIPv6(text: string): boolean {
  return parseAddress(text)?.family === 6;
}

/** An address of a known family, or an error. */
export function addressBytes(text: string): { family: Family; bytes: Uint8Array } {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new TypeError(`not an address: ${text}`);
  return parsed;
}

/** ADDRESS/PREFIX; without a prefix the whole address. */
export function parsePrefix(text: string): { family: Family; bytes: Uint8Array; prefix: number } | undefined {
  const slash = text.lastIndexOf("/");
  const parsed = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (parsed === undefined) return undefined;
  const longest = parsed.family === 4 ? 32 : 128;
  const suffix = slash < 0 ? `${longest}` : text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(suffix) || Number(suffix) > longest) return undefined;
  return { ...parsed, prefix: Number(suffix) };
}

/** Six bytes of aa:bb:cc:dd:ee:ff. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}$/.test(text)) return undefined;
  return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
}

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes.subarray(0, 6), (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
