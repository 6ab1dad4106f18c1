/** Frames for comparing (what a kernel chooses freely masked) and for reading. */
import { formatAddress, formatMac } from "../../host/address.js";

const TCP = 6;
const UDP = 17;
const ICMP = 1;
const ICMP6 = 58;
const SCTP = 132;
const IPIP = 4;
const GRE = 47;
const IP6IN = 41;
const FRAGMENT = 44;

const u16 = (bytes: Uint8Array, at: number) => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
const u32 = (bytes: Uint8Array, at: number) => u16(bytes, at) * 65536 + u16(bytes, at + 2);
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** Ports of GUE (6080, 5555) and of synchronisation messages (8848). */
const HASHED_SOURCE_4 = [0x17c0, 0x15b3, 0x2290];
const HASHED_SOURCE_6 = [0x17c0, 0x15b3];

/**
 * The frame with what the kernel may choose freely zeroed. In packets that the director made itself (tunnel headers,
 * ICMP errors and replies): the IPv4 id and the header checksum that follows from it, source port and checksum of GUE
 * and of synchronisation packets, times in ICMP timestamp replies and IP timestamp options, IPv6 flow labels, and ids of
 * IPv6 fragments.
 */
export function mask(frame: Uint8Array): Uint8Array {
  const f = frame.slice();
  if (u16(f, 12) === 0x0800 && f.length >= 34) {
    const l4 = 14 + (f[14]! & 15) * 4;
    const protocol = f[23]!;
    let own = protocol === IPIP || protocol === GRE || protocol === IP6IN;
    const first = (u16(f, 20) & 0x1fff) === 0;
    if (!first && (protocol === ICMP || protocol === UDP)) {
      own = true; // perhaps a later fragment of such a packet
    } else if (protocol === ICMP && f.length >= l4 + 8 && [0, 3, 4, 5, 11, 12, 14].includes(f[l4]!)) {
      own = true;
      if (f[l4] === 14) {
        f.fill(0, l4 + 2, l4 + 4);
        f.fill(0, l4 + 12, l4 + 20);
      }
    }
    if (protocol === UDP && first && HASHED_SOURCE_4.includes(u16(f, l4 + 2))) {
      own = true;
      f.fill(0, l4, l4 + 2);
      f.fill(0, l4 + 6, l4 + 8);
    }
    if (own) {
      f.fill(0, 18, 20);
      f.fill(0, 24, 26);
    }
    if (l4 > 38 && f[34] === 0x44) {
      f.fill(0, 38, l4);
      f.fill(0, 24, 26);
    }
  } else if (u16(f, 12) === 0x86dd && f.length >= 62) {
    f[15]! &= 0xf0;
    f.fill(0, 16, 18);
    // Fragments that the director makes have an id from a hash with a random seed.
    if (f[20] === FRAGMENT) f.fill(0, 58, 62);
    if (f[20] === UDP && HASHED_SOURCE_6.includes(u16(f, 56))) {
      f.fill(0, 54, 56);
      f.fill(0, 60, 62);
    }
  }
  return f;
}

/** Housekeeping of the kernel itself that traces leave out: IGMP, MLD, router solicitations, address detection. */
export function isNoise(frame: Uint8Array): boolean {
  const type = u16(frame, 12);
  if (type === 0x0800 && frame.length > 24 && frame[23] === 2) return true;
  if (type !== 0x86dd || frame.length < 58) return false;
  let next = frame[20]!;
  let body = frame.subarray(54);
  if (next === 0 && body.length > 8) {
    next = body[0]!;
    body = body.subarray(8 + body[1]! * 8);
  }
  if (next !== ICMP6 || body.length === 0) return false;
  return (
    [130, 131, 132, 143, 133].includes(body[0]!) || (body[0] === 135 && frame.subarray(22, 38).every((b) => b === 0))
  );
}

/** The Internet checksum; 0 over data whose checksum is right. */
export function checksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) for (let at = 0; at < part.length; at += 2) sum += u16(part, at);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return ~sum & 0xffff;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, start) => {
  let n = start;
  for (let bit = 0; bit < 8; bit++) n = (n & 1) !== 0 ? (n >>> 1) ^ 0x82f63b78 : n >>> 1;
  return n;
});

export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255]!;
  return (crc ^ 0xffffffff) >>> 0;
}

/** Pseudo-header of an upper layer packet. */
export function pseudoHeader(
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  length: number,
): Uint8Array {
  const tail =
    source.length === 4
      ? [0, protocol, length >> 8, length & 255]
      : [0, 0, (length >> 8) & 255, length & 255, 0, 0, 0, protocol];
  return Uint8Array.from([...source, ...destination, ...tail]);
}

function tcpFlags(flags: number): string {
  const names: ReadonlyArray<readonly [number, string]> = [
    [2, "S"],
    [1, "F"],
    [4, "R"],
    [8, "P"],
    [16, "."],
    [32, "U"],
  ];
  return names.map(([bit, name]) => ((flags & bit) !== 0 ? name : "")).join("") || "-";
}

interface Ends {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

function describe4(ends: Ends, protocol: number, p: Uint8Array, whole: boolean, problems: string[]): string {
  const sum = () => checksum(pseudoHeader(ends.source, ends.destination, protocol, p.length), p);
  if (protocol === TCP && p.length >= 8) {
    if (p.length < 20) return `tcp ${u16(p, 0)}>${u16(p, 2)} (cut)`;
    if (whole && sum() !== 0) problems.push("bad TCP checksum");
    const offset = p[12]! >> 4;
    const options = offset > 5 ? ` opts ${hex(p.subarray(20, offset * 4))}` : "";
    return `tcp ${u16(p, 0)}>${u16(p, 2)} ${tcpFlags(p[13]!)} seq ${u32(p, 4)} ack ${u32(p, 8)} win ${u16(p, 14)} len ${p.length - offset * 4} csum ${hex(p.subarray(16, 18))}${options}`;
  }
  if (protocol === UDP && p.length >= 8) {
    const length = u16(p, 4);
    if (whole && u16(p, 6) !== 0) {
      const data = p.subarray(0, length);
      if (checksum(pseudoHeader(ends.source, ends.destination, protocol, length), data) !== 0) {
        problems.push("bad UDP checksum");
      }
    }
    const text = `udp ${u16(p, 0)}>${u16(p, 2)} len ${length - 8} csum ${hex(p.subarray(6, 8))}`;
    const skip = 8 + ((p[8] ?? 0) & 31) * 4 + 4;
    if ([6080, 5555].includes(u16(p, 2)) && p.length > skip && p[8]! >> 6 === 0 && [IPIP, IP6IN].includes(p[9]!)) {
      return `${text} gue(proto ${p[9]}, flags ${hex(p.subarray(10, 12))}, options ${hex(p.subarray(12, skip))}) [${describePacket(p.subarray(skip), problems)}]`;
    }
    return text;
  }
  if ((protocol === ICMP || protocol === ICMP6) && p.length >= 8) {
    const v6 = protocol === ICMP6;
    if (whole && (v6 ? sum() : checksum(p)) !== 0) problems.push(`bad ICMP${v6 ? "v6" : ""} checksum`);
    const text = `icmp${v6 ? "6" : ""} type ${p[0]} code ${p[1]} rest ${hex(p.subarray(4, 8))}`;
    const quotes = v6 ? [1, 2, 3, 4].includes(p[0]!) && p.length >= 48 : [3, 4, 5, 11, 12].includes(p[0]!);
    if (quotes && p.length >= 28) return `${text} [${describePacket(p.subarray(8), [], false)}]`;
    return `${text} len ${p.length - 8}`;
  }
  if (protocol === SCTP && p.length >= 12) {
    const zeroed = p.slice();
    zeroed.fill(0, 8, 12);
    if (whole && crc32c(zeroed) !== new DataView(p.buffer, p.byteOffset).getUint32(8, true)) {
      problems.push("bad SCTP checksum");
    }
    return `sctp ${u16(p, 0)}>${u16(p, 2)} vtag ${hex(p.subarray(4, 8))} chunk ${p.length > 12 ? p[12] : "-"}`;
  }
  if (protocol === IPIP) return `ipip [${describePacket(p, problems)}]`;
  if (protocol === IP6IN) return `ip6-in-ip [${describePacket(p, problems)}]`;
  if (protocol === GRE && p.length >= 4) {
    const summed = (u16(p, 0) & 0x8000) !== 0;
    if (summed && checksum(p) !== 0) problems.push("bad GRE checksum");
    return `gre flags ${hex(p.subarray(0, 2))} proto ${hex(p.subarray(2, 4))} [${describePacket(p.subarray(summed ? 8 : 4), problems)}]`;
  }
  return `proto ${protocol} len ${p.length}`;
}

/** An IP packet in one line; checksum problems are added to `problems`. `top`: not quoted by an ICMP error. */
export function describePacket(p: Uint8Array, problems: string[], top = true): string {
  if (p.length === 0) return "empty";
  if (p[0]! >> 4 === 4 && p.length >= 20) {
    const headerLength = (p[0]! & 15) * 4;
    const total = u16(p, 2);
    const fragment = u16(p, 6);
    const ends = { source: p.slice(12, 16), destination: p.slice(16, 20) };
    if (checksum(p.subarray(0, headerLength)) !== 0) problems.push("bad IPv4 header checksum");
    const body = top ? p.subarray(headerLength, total) : p.subarray(headerLength);
    const offset = (fragment & 0x1fff) * 8;
    const marks = [
      (fragment & 0x4000) !== 0 ? " DF" : "",
      (fragment & 0x2000) !== 0 ? " MF" : "",
      offset > 0 ? ` off ${offset}` : "",
      p[1] !== 0 ? ` tos ${hex(p.subarray(1, 2))}` : "",
      headerLength > 20 ? ` opts ${hex(p.subarray(20, headerLength))}` : "",
    ].join("");
    const whole = top && (fragment & 0x3fff) === 0;
    const rest = offset > 0 ? `fragment len ${body.length}` : describe4(ends, p[9]!, body, whole, problems);
    return `${formatAddress(4, ends.source)} > ${formatAddress(4, ends.destination)} ttl ${p[8]} id ${hex(p.subarray(4, 6))} len ${total}${marks} ${rest}`;
  }
  if (p[0]! >> 4 === 6 && p.length >= 40) {
    const ends = { source: p.slice(8, 24), destination: p.slice(24, 40) };
    const head = `${formatAddress(6, ends.source)} > ${formatAddress(6, ends.destination)} hops ${p[7]} class ${hex(Uint8Array.of(((p[0]! & 15) << 4) | (p[1]! >> 4)))}`;
    let body = top ? p.subarray(40, 40 + u16(p, 4)) : p.subarray(40);
    let next = p[6]!;
    if (next === 44 && body.length >= 8) {
      const offset = u16(body, 2);
      return `${head} frag(off ${offset & ~7}${(offset & 1) !== 0 ? " MF" : ""} id ${hex(body.subarray(4, 8))}) proto ${body[0]} len ${body.length - 8}`;
    }
    if ((next === 0 || next === 60) && body.length >= 8) {
      next = body[0]!;
      body = body.subarray(8 + body[1]! * 8);
    }
    return `${head} len ${u16(p, 4)} ${describe4(ends, next, body, top, problems)}`;
  }
  return `? ${hex(p.subarray(0, 16))}`;
}

/** A frame in one line, wrong checksums told at its end. */
export function describe(frame: Uint8Array): string {
  if (frame.length < 14) return `short ${hex(frame)}`;
  const head = `${formatMac(frame.subarray(6, 12))}>${formatMac(frame)} `;
  const type = u16(frame, 12);
  const p = frame.subarray(14);
  if (type === 0x0800 || type === 0x86dd) {
    const problems: string[] = [];
    const text = describePacket(p, problems);
    return `${head}${text}${problems.map((problem) => ` (${problem})`).join("")}`;
  }
  if (type === 0x0806 && frame.length >= 42) {
    return `${head}arp op ${p[7]} ${formatAddress(4, p.subarray(14))} is ${formatMac(p.subarray(8))}, target ${formatAddress(4, p.subarray(24))}`;
  }
  return `${head}type ${hex(frame.subarray(12, 14))} ${hex(frame.subarray(14, 30))}`;
}
