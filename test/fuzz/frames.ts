/**
 * Frames that are nearly right. A frame is built field by field from small pools of addresses and ports, so that it
 * meets the tables, and then some field of it is bent.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "./random.js";
import { transportChecksum } from "./verify.js";

export const VNET = 12;
export const OUTER_MAC = "02:00:00:00:04:85";
export const INNER_MAC = "02:00:00:00:02:82";
export const MACS = [OUTER_MAC, INNER_MAC] as const;

export const CLIENTS = ["192.168.4.132", "192.168.4.11", "10.1.2.3", "10.9.9.9", "203.0.113.7"] as const;
export const VIRTUALS = ["192.168.4.133", "192.168.4.100", "198.51.100.10"] as const;
export const SERVERS = ["192.168.2.128", "192.168.2.129", "192.168.2.130", "192.168.2.200", "172.16.0.9"] as const;
export const CLIENTS6 = ["2001:db8:4::132", "2001:db8:9::1", "fe80::1"] as const;
export const VIRTUALS6 = ["2001:db8:4::133", "2001:db8:4::100"] as const;
export const SERVERS6 = ["2001:db8:2::128", "2001:db8:2::129"] as const;
/** What services listen to. */
export const SERVICE_PORTS = [80, 443, 53] as const;
export const PORTS = [80, 443, 53, 21, 8080, 1024, 40000, 40001, 40002, 0, 65535] as const;

const EVERYBODY: readonly string[] = [...CLIENTS, ...SERVERS, ...VIRTUALS];
/** Sources that no host may have: nothing is ever sent because of them. */
const BAD_SOURCES = ["224.0.0.1", "239.255.255.250", "255.255.255.255", "127.0.0.1", "127.1.2.3"] as const;
const ODD_DESTINATIONS = [
  "192.168.4.255",
  "255.255.255.255",
  "224.0.0.1",
  "0.0.0.0",
  "127.0.0.1",
  "240.0.0.1",
] as const;

const ANYWHERE: readonly string[] = [...CLIENTS, ...VIRTUALS, ...SERVERS, ...ODD_DESTINATIONS];
const NEAR_SERVERS = SERVERS.slice(0, 3);
/** What data are made of. */
const FILLING = 0x61;

/** A packet from the transport header on: its first bytes, and how many follow that are all alike. */
interface Content {
  readonly head: readonly number[];
  readonly more: number;
}

export interface Frame {
  /** From the vnet_hdr on. */
  readonly bytes: Uint8Array;
  /** 0 the clients' side, 1 the servers'. */
  readonly port: 0 | 1;
  /** The core must be silent about it. */
  readonly silent: boolean;
}

/** Of a few texts, again and again. */
function remembered(parse: (text: string) => number[]): (text: string) => readonly number[] {
  const known = new Map<string, readonly number[]>();
  return (text) => {
    let found = known.get(text);
    if (found === undefined) known.set(text, (found = parse(text)));
    return found;
  };
}

const ipv4 = remembered((text) => text.split(".").map(Number));

const ipv6 = remembered((text) => {
  const [head = "", tail = ""] = text.split("::");
  const groups = (half: string) => (half === "" ? [] : half.split(":").map((group) => Number.parseInt(group, 16)));
  const left = groups(head);
  const right = groups(tail);
  const all = [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
  return all.flatMap((group) => [group >> 8, group & 255]);
});

const mac = remembered((text) => text.split(":").map((part) => Number.parseInt(part, 16)));

function sum(bytes: Uint8Array, from: number, to: number): number {
  let total = 0;
  for (let at = from; at < to; at += 2) total += (bytes[at]! << 8) | (at + 1 < to ? bytes[at + 1]! : 0);
  return total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 65536);
  return folded;
}

function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = (value >> 8) & 255;
  bytes[at + 1] = value & 255;
}
const get16 = (bytes: Uint8Array, at: number) => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);

const ICMP_TYPES = [8, 0, 13, 3, 5, 11, 12, 17] as const;
const CHECK_AT: Readonly<Record<number, number>> = { 6: 16, 17: 6, 1: 2, 58: 2 };

/** Makes the checksums of an untagged IP frame right, where its lengths allow. `partial`: as an offload leaves it. */
export function seal(bytes: Uint8Array, partial = false): void {
  const ip = VNET + 14;
  const version = (bytes[ip] ?? 0) >> 4;
  let transport: number;
  let protocol: number;
  let end: number;
  let addresses: number;
  if (version === 4 && bytes.length >= ip + 20) {
    transport = ip + (bytes[ip]! & 15) * 4;
    if (transport > bytes.length || transport < ip + 20) return;
    put16(bytes, ip + 10, 0);
    put16(bytes, ip + 10, ~fold(sum(bytes, ip, transport)) & 0xffff);
    protocol = bytes[ip + 9]!;
    end = Math.min(bytes.length, ip + get16(bytes, ip + 2));
    addresses = sum(bytes, ip + 12, ip + 20);
    if ((get16(bytes, ip + 6) & 0x3fff) !== 0) return;
  } else if (version === 6 && bytes.length >= ip + 40) {
    transport = ip + 40;
    protocol = bytes[ip + 6]!;
    end = Math.min(bytes.length, transport + get16(bytes, ip + 4));
    addresses = sum(bytes, ip + 8, ip + 40);
  } else return;
  const offset = CHECK_AT[protocol];
  if (offset === undefined || transport + offset + 2 > end) return;
  const pseudo = protocol === 1 ? 0 : addresses + protocol + (end - transport);
  put16(bytes, transport + offset, 0);
  const check = partial ? fold(pseudo) : ~fold(pseudo + sum(bytes, transport, end)) & 0xffff;
  put16(bytes, transport + offset, check === 0 && protocol === 17 ? 0xffff : check);
}

/** Hex frames that stand in the golden rows, when there are any. */
export function goldenFrames(folder: string): Uint8Array[] {
  if (statSync(folder, { throwIfNoEntry: false }) === undefined) return [];
  const found: Uint8Array[] = [];
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    if (!/\.(ts|json|txt)$/.test(name)) continue;
    for (const [hex] of readFileSync(join(folder, name), "utf8").matchAll(/\b(?:[0-9a-f]{2}){34,1600}\b/g)) {
      found.push(Uint8Array.from([...new Array<number>(VNET).fill(0), ...Buffer.from(hex, "hex")]));
    }
  }
  return found;
}

/** Numbers of an answer to the segment that `frame` holds: it acknowledges all of it, and echoes its timestamp. */
function agree(frame: Uint8Array, transport: number): void {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const flags = frame[transport + 13]!;
  const header = (frame[transport + 12]! >> 4) * 4;
  const version = frame[VNET + 14]! >> 4;
  const packetEnd = VNET + 14 + (version === 4 ? get16(frame, VNET + 16) : 40 + get16(frame, VNET + 18));
  const data = Math.max(0, Math.min(frame.length, packetEnd) - transport - header);
  const sequence = view.getUint32(transport + 4);
  view.setUint32(transport + 4, view.getUint32(transport + 8));
  view.setUint32(transport + 8, sequence + data + (flags & 1) + ((flags >> 1) & 1));
  const end = Math.min(frame.length, transport + header);
  for (let at = transport + 20; at < end && frame[at] !== 0; ) {
    const length = frame[at] === 1 ? 1 : (frame[at + 1] ?? 0);
    if (frame[at] === 8 && length === 10 && at + 10 <= end) {
      const value = view.getUint32(at + 2);
      view.setUint32(at + 2, view.getUint32(at + 6) + 1);
      view.setUint32(at + 6, value);
    }
    if (length === 0) return;
    at += length;
  }
}

/** Fragments may be put together to a packet whose checksum nobody has seen. */
function isClean(bytes: Uint8Array): boolean {
  const ip = VNET + 14;
  const type = get16(bytes, VNET + 12);
  if (transportChecksum(bytes) === "right") return true;
  if (type === 0x0800) return false;
  return type !== 0x86dd && type !== 0x8100 && type !== 0x88a8 && bytes.length > ip;
}

export class FrameMaker {
  private readonly random: Random;
  private readonly golden: readonly Uint8Array[];
  /** What was sent or received lately: the material of answers and of ICMP errors. */
  private readonly seen: Uint8Array[] = [];

  private readonly clean: boolean;

  /** `clean`: only frames whose transport checksum is right, or that have none. */
  constructor(random: Random, golden: readonly Uint8Array[], clean = false) {
    this.random = random;
    this.golden = golden;
    this.clean = clean;
  }

  remember(bytes: Uint8Array): void {
    if (this.seen.length < 64) this.seen.push(bytes);
    else this.seen[this.random.below(64)] = bytes;
  }

  next(): Frame {
    if (!this.clean) return this.any();
    for (let tries = 0; tries < 100; tries++) {
      const frame = this.any();
      if (isClean(frame.bytes)) return frame;
    }
    return { bytes: this.arp(0), port: 0, silent: false };
  }

  private any(): Frame {
    const { random } = this;
    const port = random.below(2) as 0 | 1;
    const kind = random.below(100);
    let bytes: Uint8Array;
    let silent = false;
    if (kind < 8) bytes = this.arp(port);
    else if (kind < 28 && this.seen.length > 0) bytes = this.answer(random.pick(this.seen));
    else if (kind < 36 && this.seen.length > 0) bytes = this.icmpError(random.pick(this.seen), port);
    else if (kind < 50 && this.seen.length > 0) bytes = this.further(random.pick(this.seen));
    else if (kind < 54 && this.golden.length > 0) bytes = random.pick(this.golden).slice();
    else if (kind < 62) bytes = this.packet6(port);
    else if (kind < 65) bytes = this.junk(port);
    else bytes = this.packet4(port);
    if (kind >= 65 && random.chance(0.05)) {
      bytes = this.fromNowhere(bytes);
      silent = true;
    } else if (random.chance(0.5)) {
      bytes = this.bend(bytes);
    }
    this.remember(bytes);
    return { bytes, port: this.portOf(bytes, port), silent };
  }

  /** Where a frame belongs by its destination: what was replayed or answered would be nobody's elsewhere. */
  private portOf(bytes: Uint8Array, port: 0 | 1): 0 | 1 {
    if (this.random.chance(0.05)) return port;
    const last = bytes[VNET + 5];
    return last === 0x85 ? 0 : last === 0x82 ? 1 : port;
  }

  /** `more` bytes follow the payload. */
  private ethernet(port: 0 | 1, type: number, payload: readonly number[], more = 0): Uint8Array {
    const { random } = this;
    const to = random.chance(0.94)
      ? MACS[port]
      : random.pick(["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:ff:00:01:33", "02:00:00:00:99:99"]);
    const bytes = new Uint8Array(VNET + 14 + payload.length + more);
    bytes.set(mac(to), VNET);
    bytes.set([2, 0, 0, 0, random.below(5), random.below(5)], VNET + 6);
    put16(bytes, VNET + 12, type);
    bytes.set(payload, VNET + 14);
    bytes.fill(FILLING, VNET + 14 + payload.length);
    return bytes;
  }

  private pair(port: 0 | 1): readonly [string, string] {
    const { random } = this;
    // A few flows are met again and again: what is established takes other ways than what begins.
    if (random.chance(0.4)) return port === 0 ? [CLIENTS[0], VIRTUALS[0]] : [random.pick(NEAR_SERVERS), CLIENTS[0]];
    if (random.chance(0.1)) return [random.pick(EVERYBODY), random.pick(ANYWHERE)];
    if (port === 0) return [random.pick(CLIENTS), random.pick(VIRTUALS)];
    return [random.pick(SERVERS), random.pick(CLIENTS)];
  }

  private transport(protocol: number, port: 0 | 1): Content {
    const { random } = this;
    // Few ports on either side, so that flows go on; now and then any.
    const own = random.chance(0.9) ? 40000 + random.below(random.chance(0.5) ? 2 : 12) : random.pick(PORTS);
    const other = random.chance(0.9)
      ? random.chance(0.5)
        ? SERVICE_PORTS[0]
        : random.pick(SERVICE_PORTS)
      : random.pick(PORTS);
    const [from, to] = port === 0 ? [own, other] : [other, own];
    const ports = [from >> 8, from & 255, to >> 8, to & 255];
    const more = random.chance(0.9) ? random.below(80) : random.below(1400);
    switch (protocol) {
      case 6: {
        const options = random.chance(0.3) ? this.tcpOptions() : [];
        const flags = random.chance(0.9)
          ? random.pick([0x02, 0x02, 0x02, 0x12, 0x10, 0x10, 0x10, 0x18, 0x18, 0x11, 0x04])
          : random.below(256);
        const sequence = [random.below(256), random.below(256), 0, 1, 0, 0, random.below(256), 1];
        const offset = (5 + options.length / 4) << 4;
        return { head: [...ports, ...sequence, offset, flags, 0x20, 0, 0, 0, 0, 0, ...options], more };
      }
      case 17: {
        const length = 8 + more;
        return { head: [...ports, length >> 8, length & 255, 0, 0], more };
      }
      case 132:
        return {
          head: [
            ...ports,
            ...[0, 0, 0, 1, 0, 0, 0, 0],
            ...[random.chance(0.6) ? 1 : random.below(15), 0, 0, 20],
            ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
          ],
          more,
        };
      case 1:
        return {
          head: [random.pick(ICMP_TYPES), random.below(5), 0, 0, 0, 1, 0, random.below(4)],
          more,
        };
      case 58: {
        const type = random.pick([128, 129, 135, 136, 133, 134, 1, 2, 3, 4]);
        const target = ipv6(random.pick([...VIRTUALS6, ...SERVERS6, ...CLIENTS6]));
        const head = [type, random.below(3), 0, 0, 0x60, 0, 0, 0];
        if (type !== 135 && type !== 136) return { head, more };
        return { head: [...head, ...target, random.pick([1, 2]), random.below(3), ...mac(OUTER_MAC)], more: 0 };
      }
      default:
        return { head: ports, more };
    }
  }

  private tcpOptions(): number[] {
    const { random } = this;
    const options: number[] = [];
    while (options.length < 36 && random.chance(0.7)) {
      const option = random.pick([
        [1],
        [2, 4, 5, 180],
        [4, 2],
        [3, 3, 7],
        [8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        [2, 0],
        [random.below(256), random.below(50)],
      ]);
      if (options.length + option.length <= 40) options.push(...option);
    }
    while (options.length % 4 !== 0) options.push(0);
    return options;
  }

  private packet4(port: 0 | 1): Uint8Array {
    const { random } = this;
    const [source, destination] = this.pair(port);
    const protocol = random.chance(0.95)
      ? random.pick([6, 6, 6, 17, 17, 1, 132])
      : random.pick([4, 41, 47, 50, 51, 255, 0]);
    const options = random.chance(0.08) ? this.ipOptions() : [];
    const content = this.transport(protocol, port);
    const length = 20 + options.length + content.head.length + content.more;
    let fragment = random.chance(0.7) ? 0x4000 : 0;
    if (random.chance(0.1)) fragment = (random.chance(0.6) ? 0x2000 : 0) | (random.chance(0.5) ? 0 : random.below(12));
    const id = random.below(6);
    const ttl = random.chance(0.95) ? 64 : random.below(3);
    const header = [0x45 + options.length / 4, random.chance(0.9) ? 0 : 2, length >> 8, length & 255, 0, id];
    header.push(fragment >> 8, fragment & 255, ttl, protocol, 0, 0, ...ipv4(source), ...ipv4(destination), ...options);
    const bytes = this.ethernet(port, 0x0800, [...header, ...content.head], content.more);
    return this.offload(bytes, protocol, 20 + options.length, 4);
  }

  private ipOptions(): number[] {
    const { random } = this;
    const options = [
      ...random.pick([
        [1, 1, 1, 0],
        [7, 7, 4, 0, 0, 0, 0],
        [68, 8, 5, 0, 0, 0, 0, 0],
        [131, 7, 4, 10, 1, 2, 3],
        [148, 4, 0, 0],
        [random.below(256), random.below(44)],
      ]),
    ];
    while (options.length % 4 !== 0) options.push(0);
    return options;
  }

  private packet6(port: 0 | 1): Uint8Array {
    const { random } = this;
    const source = random.pick(port === 0 ? CLIENTS6 : SERVERS6);
    const destination = random.pick(port === 0 ? [...VIRTUALS6, "ff02::1", "ff02::1:ff00:133"] : CLIENTS6);
    const protocol = random.pick([6, 6, 17, 58, 58, 132]);
    const { head, more } = this.transport(protocol, port);
    let content = head;
    let next = protocol;
    while (random.chance(0.15)) {
      const extension = random.pick([0, 43, 44, 60, 51]);
      const size = extension === 44 ? 8 : 8 + 8 * random.below(3);
      const header = new Array<number>(size).fill(0);
      header[0] = next;
      header[1] = extension === 44 ? 0 : random.chance(0.9) ? size / 8 - 1 : random.below(256);
      if (extension === 44)
        [header[2], header[3], header[7]] = [random.below(2), random.pick([0, 1, 8, 9, 16]), random.below(4)];
      content = [...header, ...content];
      next = extension;
    }
    const length = content.length + more;
    const header = [0x60, 0, 0, 0, length >> 8, length & 255, next, random.chance(0.9) ? 64 : 255];
    const bytes = this.ethernet(port, 0x86dd, [...header, ...ipv6(source), ...ipv6(destination), ...content], more);
    return this.offload(bytes, protocol, 40, 6);
  }

  /** Checksums: complete, left to an offload, or a super-frame's. */
  private offload(bytes: Uint8Array, protocol: number, header: number, version: 4 | 6): Uint8Array {
    const { random } = this;
    const transport = 14 + header;
    const offset = CHECK_AT[protocol];
    if (offset === undefined || (protocol !== 6 && protocol !== 17) || random.chance(0.7)) {
      seal(bytes);
      return bytes;
    }
    let frame = bytes;
    if (random.chance(0.3)) {
      frame = new Uint8Array(Math.min(bytes.length + random.below(65000), VNET + 14 + 65535));
      frame.set(bytes);
      const length = frame.length - VNET - 14;
      if (version === 4) put16(frame, VNET + 16, length);
      else put16(frame, VNET + 18, length - 40);
      if (protocol === 17) put16(frame, VNET + transport + 4, frame.length - VNET - transport);
      frame[1] = protocol === 6 ? (version === 4 ? 1 : 4) : 5;
      const size = random.chance(0.9) ? random.pick([1448, 1460, 536, 1200]) : random.edge(16);
      frame[4] = size & 255;
      frame[5] = size >> 8;
      const length2 = transport + (protocol === 6 ? ((frame[VNET + transport + 12] ?? 0x50) >> 4) * 4 : 8);
      frame[2] = length2 & 255;
    }
    frame[0] = 1;
    frame[6] = transport & 255;
    frame[8] = offset;
    seal(frame, true);
    return frame;
  }

  private arp(port: 0 | 1): Uint8Array {
    const { random } = this;
    const sender = [2, 0, 0, 0, random.below(5), random.below(5)];
    const [a, b] = [random.pick(EVERYBODY), random.pick(EVERYBODY)];
    const operation = random.chance(0.9) ? random.pick([1, 2]) : random.edge(16);
    const head = [0, 1, 8, 0, 6, 4, operation >> 8, operation & 255];
    const payload = [...head, ...sender, ...ipv4(a), 0, 0, 0, 0, 0, 0, ...ipv4(b)];
    return this.ethernet(port, 0x0806, payload);
  }

  private junk(port: 0 | 1): Uint8Array {
    const { random } = this;
    const bytes = this.ethernet(
      port,
      random.edge(16),
      Array.from({ length: random.below(120) }, () => random.below(256)),
    );
    return random.chance(0.3) ? bytes.slice(0, random.below(VNET + 20)) : bytes;
  }

  /** What the other end may say to a frame: addresses and ports the other way round, with flags of its own. */
  private answer(bytes: Uint8Array): Uint8Array {
    const { random } = this;
    const frame = bytes.slice();
    const ip = VNET + 14;
    const swap = (a: number, b: number, length: number) => {
      if (b + length > frame.length) return;
      const first = frame.slice(a, a + length);
      frame.copyWithin(a, b, b + length);
      frame.set(first, b);
    };
    swap(VNET, VNET + 6, 6);
    const version = (frame[ip] ?? 0) >> 4;
    let transport = ip + 40;
    if (version === 4) {
      swap(ip + 12, ip + 16, 4);
      transport = ip + (frame[ip]! & 15) * 4;
    } else swap(ip + 8, ip + 24, 16);
    swap(transport, transport + 2, 2);
    const protocol = frame[version === 4 ? ip + 9 : ip + 6];
    if (protocol === 6 && transport + 20 <= frame.length) {
      const flags = frame[transport + 13]!;
      if (random.chance(0.7)) agree(frame, transport);
      // A SYN is mostly taken, a SYN+ACK mostly confirmed: that is what handshakes consist of.
      if ((flags & 0x12) === 0x12 && random.chance(0.6)) frame[transport + 13] = 0x10;
      else if ((flags & 0x12) === 0x02 && random.chance(0.6)) frame[transport + 13] = 0x12;
      else frame[transport + 13] = random.pick([0x12, 0x10, 0x18, 0x11, 0x04, 0x14]);
    }
    if (protocol === 1 && transport < frame.length) frame[transport] = 0;
    if (random.chance(0.95)) seal(frame, (frame[0]! & 1) === 1);
    return frame;
  }

  /** The same once more, or what its sender may say next: handshakes come to their end by it. */
  private further(bytes: Uint8Array): Uint8Array {
    const { random } = this;
    const frame = bytes.slice();
    const ip = VNET + 14;
    const transport = ip + ((frame[ip] ?? 0) & 15) * 4;
    if ((frame[ip] ?? 0) >> 4 !== 4 || frame[ip + 9] !== 6 || transport + 20 > frame.length) return frame;
    if (random.chance(0.3)) return frame;
    frame[transport + 13] = random.pick([0x10, 0x10, 0x18, 0x18, 0x11, 0x02]);
    seal(frame, (frame[0]! & 1) === 1);
    return frame;
  }

  private icmpError(about: Uint8Array, port: 0 | 1): Uint8Array {
    const { random } = this;
    const [source] = this.pair(port);
    const inner = Array.from(about.subarray(VNET + 14, VNET + 14 + random.pick([8, 20, 27, 28, 40, 60, 548])));
    const six = (inner[0] ?? 0) >> 4 === 6;
    const type = six ? random.pick([1, 2, 3, 4]) : random.pick([3, 3, 3, 4, 5, 11, 12]);
    const mtu = random.edge(16);
    const content = [type, random.below(6), 0, 0, 0, 0, mtu >> 8, mtu & 255, ...inner];
    if (six) {
      const header = [0x60, 0, 0, 0, content.length >> 8, content.length & 255, 58, 64];
      const to = random.chance(0.7)
        ? Array.from(about.subarray(VNET + 22, VNET + 38))
        : [...ipv6(random.pick(VIRTUALS6))];
      while (to.length < 16) to.push(0);
      const bytes = this.ethernet(port, 0x86dd, [...header, ...ipv6(random.pick(SERVERS6)), ...to, ...content]);
      seal(bytes);
      return bytes;
    }
    const to = random.chance(0.7) ? Array.from(about.subarray(VNET + 26, VNET + 30)) : [...ipv4(random.pick(VIRTUALS))];
    while (to.length < 4) to.push(0);
    const length = 20 + content.length;
    const header = [0x45, 0, length >> 8, length & 255, 0, 1, 0, 0, 64, 1, 0, 0, ...ipv4(source), ...to];
    const bytes = this.ethernet(port, 0x0800, [...header, ...content]);
    seal(bytes);
    return bytes;
  }

  /** From a source that cannot be, or to everybody on the link: the core has nothing to say to it. */
  private fromNowhere(bytes: Uint8Array): Uint8Array {
    const { random } = this;
    const frame = bytes.slice();
    const ip = VNET + 14;
    frame[0] = 0;
    frame[1] = 0;
    switch (random.below(3)) {
      case 0:
        frame.set(ipv4(random.pick(BAD_SOURCES)), ip + 12);
        seal(frame);
        break;
      case 1:
        // A wrong header checksum.
        seal(frame);
        put16(frame, ip + 10, get16(frame, ip + 10) ^ (1 << random.below(16)));
        break;
      default:
        seal(frame);
        return frame.slice(0, VNET + 14 + random.below(20));
    }
    return frame;
  }

  private bend(bytes: Uint8Array): Uint8Array {
    const { random } = this;
    let frame = bytes.slice();
    for (let n = 1 + random.below(3); n > 0; n--) {
      const ip = VNET + 14;
      switch (random.chance(0.5) ? 15 : random.below(12)) {
        case 0:
          frame = frame.slice(0, random.below(frame.length + 1));
          break;
        case 1: {
          const longer = new Uint8Array(frame.length + random.below(64));
          longer.set(frame);
          frame = longer;
          break;
        }
        case 2:
          if (frame.length > ip) put16(frame, ip + 2, random.edge(16));
          break;
        case 3:
          if (frame.length > ip)
            frame[ip] = ((random.chance(0.8) ? frame[ip]! >> 4 : random.below(16)) << 4) | random.below(16);
          break;
        case 4:
          if (frame.length > ip + 8) put16(frame, ip + 6, random.edge(16));
          break;
        case 5:
          frame[0] = random.below(8);
          break;
        case 6:
          frame[1] = random.pick([0, 1, 3, 4, 5, 0x81, 0x84, random.below(256)]);
          frame[4] = random.below(256);
          frame[5] = random.below(256);
          break;
        case 7: {
          const [start, offset] = [random.edge(16), random.edge(16)];
          const header = [1, frame[1] ?? 0, random.below(256), random.below(256), frame[4] ?? 0, frame[5] ?? 0];
          header.push(start & 255, start >> 8, offset & 255, offset >> 8);
          if (frame.length >= VNET) frame.set(header, 0);
          break;
        }
        case 8:
          if (frame.length > ip + 32) frame[ip + 20 + 12] = random.below(256);
          break;
        case 9:
          if (frame.length > ip + 26) put16(frame, ip + 24, random.edge(16));
          break;
        default:
          for (let k = 1 + random.below(4); k > 0; k--) {
            const at = random.below(frame.length);
            if (at < frame.length) frame[at] = frame[at]! ^ (1 << random.below(8));
          }
      }
      if (frame.length < VNET) return new Uint8Array(VNET);
      if (random.chance(0.8)) seal(frame, (frame[0]! & 1) === 1);
    }
    return frame.length > VNET + 14 + 65535 ? frame.slice(0, VNET + 14 + 65535) : frame;
  }
}
