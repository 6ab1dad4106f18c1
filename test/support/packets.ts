/** Builds Ethernet frames for tests: every checksum right unless a test asks for another. */
import { addressBytes, parseMac } from "../../host/address.js";
import { checksum, crc32c, pseudoHeader } from "../conformance/frames.js";

export const PROTOCOL = { icmp: 1, ipip: 4, tcp: 6, udp: 17, ipv6: 41, gre: 47, icmp6: 58, sctp: 132 } as const;
export const FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

const EMPTY = new Uint8Array();

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}

/** The 4 or 16 bytes of an address. */
export function address(text: string): Uint8Array {
  const { family, bytes } = addressBytes(text);
  return bytes.subarray(0, family === 4 ? 4 : 16);
}

/** Big-endian fields: [bytes, value] pairs. */
function fields(...list: ReadonlyArray<readonly [number, number]>): Uint8Array {
  return Uint8Array.from(
    list.flatMap(([size, value]) =>
      Array.from({ length: size }, (_, n) => Math.floor(value / 256 ** (size - 1 - n)) % 256),
    ),
  );
}

function put16(bytes: Uint8Array, at: number, value: number): Uint8Array {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 255;
  return bytes;
}

/** An Ethernet frame; the type follows from the packet's version unless given. */
export function ethernet(destination: string, source: string, packet: Uint8Array, type?: number): Uint8Array {
  const guessed = packet[0]! >> 4 === 6 ? 0x86dd : 0x0800;
  return concat(parseMac(destination)!, parseMac(source)!, fields([2, type ?? guessed]), packet);
}

export interface Ip4Options {
  readonly ttl?: number;
  readonly tos?: number;
  readonly id?: number;
  readonly dontFragment?: boolean;
  readonly moreFragments?: boolean;
  /** Bytes. */
  readonly offset?: number;
  /** A multiple of 4 bytes. */
  readonly options?: Uint8Array;
  readonly totalLength?: number;
}

export function ip4(
  source: string,
  destination: string,
  protocol: number,
  payload: Uint8Array,
  options: Ip4Options = {},
): Uint8Array {
  const extra = options.options ?? EMPTY;
  const words = 5 + extra.length / 4;
  const fragment =
    ((options.dontFragment ?? true) ? 0x4000 : 0) |
    (options.moreFragments ? 0x2000 : 0) |
    Math.floor((options.offset ?? 0) / 8);
  const header = concat(
    fields(
      [1, 0x40 | words],
      [1, options.tos ?? 0],
      [2, options.totalLength ?? words * 4 + payload.length],
      [2, options.id ?? 0x1234],
      [2, fragment],
      [1, options.ttl ?? 64],
      [1, protocol],
      [2, 0],
    ),
    address(source),
    address(destination),
    extra,
  );
  return concat(put16(header, 10, checksum(header)), payload);
}

export interface Ip6Options {
  readonly hops?: number;
  readonly trafficClass?: number;
  readonly flow?: number;
}

export function ip6(
  source: string,
  destination: string,
  next: number,
  payload: Uint8Array,
  options: Ip6Options = {},
): Uint8Array {
  const word = 0x60000000 + (options.trafficClass ?? 0) * 0x100000 + (options.flow ?? 0);
  const header = fields([4, word], [2, payload.length], [1, next], [1, options.hops ?? 64]);
  return concat(header, address(source), address(destination), payload);
}

export interface Ends {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

function transportChecksum(ends: Ends, protocol: number, segment: Uint8Array): number {
  return checksum(pseudoHeader(address(ends.source), address(ends.destination), protocol, segment.length), segment);
}

export interface TcpOptions {
  readonly flags?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly window?: number;
  readonly options?: Uint8Array;
  readonly data?: Uint8Array;
}

export function tcp(ends: Ends, options: TcpOptions = {}): Uint8Array {
  const extra = options.options ?? EMPTY;
  const segment = concat(
    fields(
      [2, ends.sourcePort],
      [2, ends.destinationPort],
      [4, options.sequence ?? 1000],
      [4, options.acknowledgement ?? 0],
      [1, (5 + extra.length / 4) << 4],
      [1, options.flags ?? FLAG.syn],
      [2, options.window ?? 64240],
      [4, 0],
    ),
    extra,
    options.data ?? EMPTY,
  );
  return put16(segment, 16, transportChecksum(ends, PROTOCOL.tcp, segment));
}

export function udp(ends: Ends, data: Uint8Array = EMPTY, withChecksum = true): Uint8Array {
  const segment = concat(fields([2, ends.sourcePort], [2, ends.destinationPort], [2, 8 + data.length], [2, 0]), data);
  return withChecksum ? put16(segment, 6, transportChecksum(ends, PROTOCOL.udp, segment) || 0xffff) : segment;
}

/** An ICMP message over IPv4; `rest` are the four bytes after the checksum. */
export function icmp(
  type: number,
  code: number,
  rest: Uint8Array = new Uint8Array(4),
  data: Uint8Array = EMPTY,
): Uint8Array {
  const message = concat(fields([1, type], [1, code], [2, 0]), rest, data);
  return put16(message, 2, checksum(message));
}

export function icmp6(
  source: string,
  destination: string,
  type: number,
  code: number,
  rest: Uint8Array = new Uint8Array(4),
  data: Uint8Array = EMPTY,
): Uint8Array {
  const message = concat(fields([1, type], [1, code], [2, 0]), rest, data);
  const pseudo = pseudoHeader(address(source), address(destination), PROTOCOL.icmp6, message.length);
  return put16(message, 2, checksum(pseudo, message));
}

export interface Chunk {
  readonly type: number;
  readonly flags?: number;
  readonly value?: Uint8Array;
}

export function sctp(sourcePort: number, destinationPort: number, tag: number, chunks: readonly Chunk[]): Uint8Array {
  const body = chunks.flatMap(({ type, flags, value = EMPTY }) => [
    fields([1, type], [1, flags ?? 0], [2, 4 + value.length]),
    value,
    new Uint8Array(-value.length & 3),
  ]);
  const message = concat(fields([2, sourcePort], [2, destinationPort], [4, tag], [4, 0]), ...body);
  new DataView(message.buffer, message.byteOffset).setUint32(8, crc32c(message), true);
  return message;
}

/** ARP: `operation` 1 asks, 2 answers. */
export function arp(
  operation: number,
  sender: { readonly mac: string; readonly ip: string },
  target: { readonly mac: string; readonly ip: string },
): Uint8Array {
  return concat(
    fields([2, 1], [2, 0x0800], [1, 6], [1, 4], [2, operation]),
    parseMac(sender.mac)!,
    address(sender.ip),
    parseMac(target.mac)!,
    address(target.ip),
  );
}

/** Splits an IPv4 packet without options into fragments of `size` payload bytes (a multiple of 8). */
export function fragments(packet: Uint8Array, size: number, id = 0x4242): Uint8Array[] {
  const body = packet.subarray(20);
  const out: Uint8Array[] = [];
  for (let offset = 0; offset < body.length; offset += size) {
    const part = body.subarray(offset, offset + size);
    const header = packet.slice(0, 20);
    put16(header, 2, 20 + part.length);
    put16(header, 4, id);
    put16(header, 6, (offset + size < body.length ? 0x2000 : 0) | (offset / 8));
    put16(header, 10, 0);
    put16(header, 10, checksum(header));
    out.push(concat(header, part));
  }
  return out;
}

/** A TCP segment over IPv4 or IPv6, as its addresses say. */
export function tcpPacket(ends: Ends, options: TcpOptions & Ip4Options & Ip6Options = {}): Uint8Array {
  const { options: _, ...ip } = options;
  const segment = tcp(ends, options);
  return ends.source.includes(":")
    ? ip6(ends.source, ends.destination, PROTOCOL.tcp, segment, ip)
    : ip4(ends.source, ends.destination, PROTOCOL.tcp, segment, ip);
}

export function udpPacket(ends: Ends, data: Uint8Array = EMPTY, options: Ip4Options & Ip6Options = {}): Uint8Array {
  return ends.source.includes(":")
    ? ip6(ends.source, ends.destination, PROTOCOL.udp, udp(ends, data), options)
    : ip4(ends.source, ends.destination, PROTOCOL.udp, udp(ends, data), options);
}
