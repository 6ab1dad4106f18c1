/** Sockets for ICMP echo: raw ones, which only root may open, or those that net.ipv4.ping_group_range allows. */
import type { Family } from "../ipvs/model.js";
import * as native from "./native.js";

export interface IcmpSocket {
  readonly family: Family;
  readonly fd: number;
  /** Answers begin with their IP header. */
  readonly raw: boolean;
}

const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
const ECHO_REPLY = { 4: 0, 6: 129 } as const;
const HEADER = 8;
const SOL_RAW = 255;
const SOL_ICMPV6 = 58;
const FILTER = 1;
const PROTOCOL = { 4: 1, 6: 58 } as const;
const DOMAIN = { 4: native.AF_INET, 6: native.AF_INET6 } as const;

/** undefined where it is not permitted. */
export function openIcmp(family: Family): IcmpSocket | undefined {
  for (const type of [native.SOCK_RAW, native.SOCK_DGRAM]) {
    const flags = type | native.SOCK_NONBLOCK | native.SOCK_CLOEXEC;
    const fd = native.socket(DOMAIN[family], flags, PROTOCOL[family]);
    if (fd < 0) continue;
    const raw = type === native.SOCK_RAW;
    // The rest of the machine's ICMP is none of our business.
    if (raw) native.setsockopt(fd, family === 4 ? SOL_RAW : SOL_ICMPV6, FILTER, filter(family), family === 4 ? 4 : 32);
    return { family, fd, raw: raw && family === 4 };
  }
  return undefined;
}

/** A set bit blocks its type. */
function filter(family: Family): Uint8Array {
  const bits = new Uint8Array(32).fill(255);
  const type = ECHO_REPLY[family];
  bits[type >> 3] = ~(1 << (type & 7));
  return bits;
}

/** Asks for an echo of `data`; 0, or an errno. */
export function sendEcho(socket: IcmpSocket, address: Uint8Array, identifier: number, data: Uint8Array): number {
  const packet = Buffer.alloc(HEADER + data.length);
  packet[0] = ECHO_REQUEST[socket.family];
  packet.writeUInt16BE(identifier & 0xffff, 4);
  packet.set(data, HEADER);
  // For IPv6 the kernel does it.
  if (socket.family === 4) packet.writeUInt16BE(checksum(packet), 2);
  const to = Buffer.alloc(socket.family === 4 ? 16 : 28);
  to.writeUInt16LE(DOMAIN[socket.family], 0);
  to.set(address.subarray(0, socket.family === 4 ? 4 : 16), socket.family === 4 ? 4 : 8);
  const sent = native.sendto(socket.fd, packet, packet.length, 0, to, to.length);
  return sent < 0 ? native.errno() : 0;
}

/** The data of the next echo that came back; undefined when there is none. Never waits. */
export function readEcho(socket: IcmpSocket, buffer: Uint8Array): Uint8Array | undefined {
  for (;;) {
    const length = native.read(socket.fd, native.addressOf(buffer), buffer.length);
    if (length < 0) return undefined;
    const at = socket.raw ? (buffer[0]! & 15) * 4 : 0;
    if (length >= at + HEADER && buffer[at] === ECHO_REPLY[socket.family]) return buffer.slice(at + HEADER, length);
  }
}

/** RFC 1071 */
function checksum(packet: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < packet.length; at += 2) sum += (packet[at]! << 8) | (packet[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
