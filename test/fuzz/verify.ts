/** Whether the transport checksum of a frame, from its vnet_hdr on, is right: nothing of this is the core's code. */

const VNET = 12;
const NEEDS_CHECKSUM = 1;
const TCP = 6;
const UDP = 17;
const CHECK_AT: Readonly<Record<number, number>> = { 6: 16, 17: 6, 1: 2, 58: 2 };

export type Finding = "right" | "wrong" | "unknown";

function sum(bytes: Uint8Array, from: number, to: number): number {
  let total = 0;
  for (let at = from; at < to; at += 2) total += (bytes[at]! << 8) | (at + 1 < to ? bytes[at + 1]! : 0);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 65536);
  return total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 65536);
  return folded;
}

/** unknown: no such checksum, a fragment, or one that lies inside a tunnel. */
export function transportChecksum(bytes: Uint8Array): Finding {
  const word = (at: number) => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  let ip = VNET + 14;
  for (let tags = 0; tags < 2 && (word(ip - 2) === 0x8100 || word(ip - 2) === 0x88a8); tags++) ip += 4;
  const version = (bytes[ip] ?? 0) >> 4;
  let transport: number;
  let protocol: number;
  let end: number;
  let addresses: number;
  if (word(ip - 2) === 0x0800 && version === 4) {
    transport = ip + (bytes[ip]! & 15) * 4;
    protocol = bytes[ip + 9] ?? 0;
    end = ip + word(ip + 2);
    if ((word(ip + 6) & 0x3fff) !== 0) return "unknown";
    addresses = sum(bytes, ip + 12, ip + 20);
  } else if (word(ip - 2) === 0x86dd && version === 6) {
    transport = ip + 40;
    protocol = bytes[ip + 6] ?? 0;
    end = transport + word(ip + 4);
    addresses = sum(bytes, ip + 8, ip + 40);
  } else return "unknown";
  const offset = CHECK_AT[protocol];
  if (offset === undefined || end > bytes.length || transport + offset + 2 > end) return "unknown";
  if (protocol === UDP) {
    if (word(transport + 6) === 0) return version === 4 ? "right" : "unknown";
    // A length of its own that is another than the packet's: which of them is summed up is a matter of taste.
    if (word(transport + 4) !== end - transport) return "unknown";
  }
  const pseudo = protocol === 1 ? 0 : addresses + protocol + (end - transport);
  if ((bytes[0]! & NEEDS_CHECKSUM) !== 0) {
    if (bytes[6]! + 256 * bytes[7]! + VNET !== transport || bytes[8]! + 256 * bytes[9]! !== offset) return "unknown";
    if (protocol !== TCP && protocol !== UDP) return "unknown";
    return word(transport + offset) === fold(pseudo) ? "right" : "wrong";
  }
  return fold(pseudo + sum(bytes, transport, end)) === 0xffff ? "right" : "wrong";
}
