/**
 * Captured frames: files of pcapng (and of pcap, which tcpdump writes) read, files of pcapng written; and a port over
 * both, one interface block a port. No length in a file is believed. Times are nanoseconds since 1970.
 */
import * as Slot from "../../assembly/layout/slot.js";
import { formatMac, parseMac } from "../address.js";
import { LvsError } from "../errors.js";
import type { FramePort } from "./port.js";

export type LinkType = "ethernet" | "raw";

export interface CaptureInterface {
  readonly name?: string | undefined;
  readonly link: LinkType;
  /** Number of a link type that is neither. */
  readonly unknown?: number | undefined;
  readonly mac?: string | undefined;
}

export interface CapturedFrame {
  /** Which of the file's interfaces. */
  readonly interface: number;
  readonly time: bigint;
  readonly frame: Uint8Array;
  /** Bytes that it had: more than are here when it was cut. */
  readonly length: number;
  readonly direction?: "in" | "out" | undefined;
  readonly comments: readonly string[];
}

export interface Capture {
  readonly interfaces: readonly CaptureInterface[];
  /** Of the sections. */
  readonly comments: readonly string[];
  readonly frames: readonly CapturedFrame[];
}

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const PACKET = 2;
const SIMPLE_PACKET = 3;
const STATISTICS = 5;
const ENHANCED_PACKET = 6;
const ORDER = 0x1a2b3c4d;
const OPTION_END = 0;
const OPTION_COMMENT = 1;
const OPTION_NAME = 2;
const OPTION_FLAGS = 2;
const OPTION_DROPS = 5;
const OPTION_MAC = 6;
const OPTION_RESOLUTION = 9;
const OPTION_APPLICATION = 4;
const OPTION_OFFSET = 14;
const LINK_ETHERNET = 1;
const LINK_RAW = 101;
/** Raw IP under its other numbers: BSD's, OpenBSD's, IPv4, IPv6. */
const RAWS = new Set([LINK_RAW, 12, 14, 228, 229]);
const PCAP_MICROS = 0xa1b2c3d4;
const PCAP_NANOS = 0xa1b23c4d;
const NANOS = 1_000_000_000n;

interface ReadInterface extends CaptureInterface {
  readonly snap: number;
  /** Units of time a second, and seconds to be added. */
  readonly units: bigint;
  readonly offset: bigint;
}

class Reader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly file: string;
  private little = true;
  private readonly interfaces: ReadInterface[] = [];
  /** Of the section that is being read: where its interfaces begin. */
  private first = 0;
  private readonly comments: string[] = [];
  private readonly frames: CapturedFrame[] = [];
  private last = 0n;

  constructor(bytes: Uint8Array, file: string) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.file = file;
  }

  read(): Capture {
    if (this.bytes.length < 4) throw this.error(0, "too short for a capture");
    const magic = this.view.getUint32(0, true);
    const swapped = this.view.getUint32(0, false);
    if (magic === SECTION) this.readBlocks();
    else if (magic === PCAP_MICROS || magic === PCAP_NANOS) this.readPcap(true, magic === PCAP_NANOS);
    else if (swapped === PCAP_MICROS || swapped === PCAP_NANOS) this.readPcap(false, swapped === PCAP_NANOS);
    else throw this.error(0, "neither pcapng nor pcap");
    return { interfaces: this.interfaces, comments: this.comments, frames: this.frames };
  }

  private error(at: number, message: string): LvsError {
    return new LvsError("ERR_LVS_FILE", `${this.file}, byte ${at}: ${message}`);
  }

  private u32(at: number): number {
    return this.view.getUint32(at, this.little);
  }

  private u16(at: number): number {
    return this.view.getUint16(at, this.little);
  }

  private readBlocks(): void {
    const { length } = this.bytes;
    for (let at = 0; at < length; ) {
      if (length - at < 12) throw this.error(at, "the file ends within a block");
      if (this.view.getUint32(at, true) === SECTION) {
        const order = this.view.getUint32(at + 8, true);
        if (order !== ORDER && this.view.getUint32(at + 8, false) !== ORDER) {
          throw this.error(at + 8, "the section has no byte order");
        }
        this.little = order === ORDER;
      }
      const size = this.u32(at + 4);
      if (size < 12 || size % 4 !== 0) throw this.error(at + 4, `no block has ${size} bytes`);
      if (size > length - at)
        throw this.error(at + 4, `the block has ${size} bytes, the file only ${length - at} more`);
      if (this.u32(at + size - 4) !== size) throw this.error(at + size - 4, "the block's two lengths differ");
      this.block(this.u32(at), at, at + size - 4);
      at += size;
    }
  }

  /** `end`: where the second length lies. Blocks of other kinds are passed over. */
  private block(type: number, at: number, end: number): void {
    switch (type) {
      case SECTION:
        this.need(at, end, 28);
        if (this.u16(at + 12) !== 1) throw this.error(at + 12, `version ${this.u16(at + 12)} of pcapng is not known`);
        this.first = this.interfaces.length;
        for (const [code, from, to] of this.options(at + 24, end)) {
          if (code === OPTION_COMMENT) this.comments.push(this.text(from, to));
        }
        return;
      case INTERFACE:
        this.need(at, end, 20);
        this.interfaces.push(this.interfaceAt(at, end));
        return;
      case ENHANCED_PACKET:
      case PACKET: {
        this.need(at, end, 32);
        const number = type === PACKET ? this.u16(at + 8) : this.u32(at + 8);
        this.packet(at, end, number, at + 28, this.u32(at + 20), this.u32(at + 24), this.stamp(at + 12));
        return;
      }
      case SIMPLE_PACKET: {
        this.need(at, end, 16);
        const original = this.u32(at + 8);
        const snap = this.interfaces[this.first]?.snap ?? 0;
        const kept = Math.min(original, snap === 0 ? original : snap);
        this.packet(at, end, 0, at + 12, kept, original, undefined);
      }
    }
  }

  private need(at: number, end: number, bytes: number): void {
    if (end + 4 - at < bytes) throw this.error(at + 4, `a block of this kind has at least ${bytes} bytes`);
  }

  private stamp(at: number): bigint {
    return (BigInt(this.u32(at)) << 32n) | BigInt(this.u32(at + 4));
  }

  private interfaceAt(at: number, end: number): ReadInterface {
    let name: string | undefined;
    let mac: string | undefined;
    let units = 1_000_000n;
    let offset = 0n;
    for (const [code, from, to] of this.options(at + 16, end)) {
      if (code === OPTION_NAME) name = this.text(from, to);
      else if (code === OPTION_MAC && to - from === 6) mac = formatMac(this.bytes.subarray(from, to));
      else if (code === OPTION_RESOLUTION && to - from === 1) {
        const power = BigInt(this.bytes[from]! & 0x7f);
        units = (this.bytes[from]! & 0x80) === 0 ? 10n ** power : 2n ** power;
      } else if (code === OPTION_OFFSET && to - from === 8) offset = this.view.getBigInt64(from, this.little);
    }
    return { ...linkOf(this.u16(at + 8)), name, mac, snap: this.u32(at + 12), units, offset };
  }

  private packet(
    at: number,
    end: number,
    number: number,
    data: number,
    kept: number,
    original: number,
    stamp: bigint | undefined,
  ): void {
    const from = this.interfaces[this.first + number];
    if (from === undefined) throw this.error(at + 8, `the section has no interface ${number}`);
    if (kept > end - data) throw this.error(at, `a packet of ${kept} bytes does not fit into its block`);
    const comments: string[] = [];
    let direction: CapturedFrame["direction"];
    if (stamp !== undefined) {
      for (const [code, start, to] of this.options(data + ((kept + 3) & ~3), end)) {
        if (code === OPTION_COMMENT) comments.push(this.text(start, to));
        else if (code === OPTION_FLAGS && to - start === 4) {
          const bits = this.u32(start) & 3;
          direction = bits === 1 ? "in" : bits === 2 ? "out" : undefined;
        }
      }
    }
    if (stamp !== undefined) this.last = (stamp * NANOS) / from.units + from.offset * NANOS;
    this.add(at, from, this.first + number, data, kept, original, direction, comments);
  }

  private add(
    at: number,
    from: ReadInterface,
    number: number,
    data: number,
    kept: number,
    original: number,
    direction: CapturedFrame["direction"],
    comments: readonly string[],
  ): void {
    if (from.unknown !== undefined) {
      throw this.error(at, `link type ${from.unknown}: only Ethernet (1) and raw IP (101) can be read`);
    }
    const frame = this.bytes.subarray(data, data + kept);
    const length = Math.max(original, kept);
    this.frames.push({ interface: number, time: this.last, frame, length, direction, comments });
  }

  /** Code, begin and end of each option. */
  private *options(at: number, end: number): Generator<readonly [number, number, number]> {
    while (end - at >= 4) {
      const code = this.u16(at);
      const length = this.u16(at + 2);
      if (code === OPTION_END) return;
      if (length > end - at - 4) throw this.error(at, `an option of ${length} bytes does not fit into its block`);
      yield [code, at + 4, at + 4 + length];
      at += 4 + ((length + 3) & ~3);
    }
  }

  private text(from: number, to: number): string {
    return Buffer.from(this.bytes.subarray(from, to)).toString("utf8");
  }

  private readPcap(little: boolean, nanos: boolean): void {
    this.little = little;
    const { length } = this.bytes;
    if (length < 24) throw this.error(0, "the file ends within its header");
    const from: ReadInterface = {
      ...linkOf(this.u32(20) & 0x0fffffff),
      snap: this.u32(16),
      units: nanos ? NANOS : 1_000_000n,
      offset: 0n,
    };
    this.interfaces.push(from);
    for (let at = 24; at < length; ) {
      if (length - at < 16) throw this.error(at, "the file ends within a packet's header");
      const kept = this.u32(at + 8);
      if (kept > length - at - 16) {
        throw this.error(at + 8, `the packet has ${kept} bytes, the file only ${length - at - 16} more`);
      }
      this.last = BigInt(this.u32(at)) * NANOS + (BigInt(this.u32(at + 4)) * NANOS) / from.units;
      this.add(at, from, 0, at + 16, kept, this.u32(at + 12), undefined, []);
      at += 16 + kept;
    }
  }
}

function linkOf(type: number): Pick<ReadInterface, "link" | "unknown"> {
  if (type === LINK_ETHERNET) return { link: "ethernet" };
  return { link: "raw", unknown: RAWS.has(type) ? undefined : type };
}

/** Reads a whole file. Throws an LvsError with the file's name and the offset of what is wrong. */
export function readCapture(bytes: Uint8Array, file: string): Capture {
  return new Reader(bytes, file).read();
}

type Option = readonly [code: number, value: Uint8Array];

function text(code: number, value: string): Option {
  // A length is 16 bits.
  return [code, Buffer.from(value).subarray(0, 0xffff)];
}

function word(code: number, value: number): Option {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return [code, bytes];
}

/** A block: its body as it is given, then the options. */
function block(type: number, body: Uint8Array, options: readonly Option[]): Uint8Array {
  let size = 12 + ((body.length + 3) & ~3);
  for (const [, value] of options) size += 4 + ((value.length + 3) & ~3);
  if (options.length > 0) size += 4;
  const bytes = Buffer.alloc(size);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(size, 4);
  bytes.set(body, 8);
  let at = 8 + ((body.length + 3) & ~3);
  for (const [code, value] of options) {
    bytes.writeUInt16LE(code, at);
    bytes.writeUInt16LE(value.length, at + 2);
    bytes.set(value, at + 4);
    at += 4 + ((value.length + 3) & ~3);
  }
  bytes.writeUInt32LE(size, size - 4);
  return bytes;
}

/** Blocks of a pcapng file, in the order that they are to be written in: a section, its interfaces, packets. */
export const pcapng = {
  section(application: string, comments: readonly string[] = []): Uint8Array {
    const body = Buffer.alloc(16);
    body.writeUInt32LE(ORDER, 0);
    body.writeUInt16LE(1, 4);
    // The section's length: not known.
    body.fill(0xff, 8);
    const said = comments.map((comment) => text(OPTION_COMMENT, comment));
    return block(SECTION, body, [...said, text(OPTION_APPLICATION, application)]);
  },

  interface(from: CaptureInterface & { readonly snap: number }): Uint8Array {
    const body = Buffer.alloc(8);
    body.writeUInt16LE(from.link === "ethernet" ? LINK_ETHERNET : LINK_RAW, 0);
    body.writeUInt32LE(from.snap, 4);
    const options: Option[] = [];
    if (from.name !== undefined) options.push(text(OPTION_NAME, from.name));
    const mac = from.mac === undefined ? undefined : parseMac(from.mac);
    if (mac !== undefined) options.push([OPTION_MAC, mac]);
    options.push([OPTION_RESOLUTION, Uint8Array.of(9)]);
    return block(INTERFACE, body, options);
  },

  packet(packet: CapturedFrame): Uint8Array {
    const { frame, length, time, direction, comments } = packet;
    const body = Buffer.alloc(20 + frame.length);
    body.writeUInt32LE(packet.interface, 0);
    body.writeUInt32LE(Number((time >> 32n) & 0xffffffffn), 4);
    body.writeUInt32LE(Number(time & 0xffffffffn), 8);
    body.writeUInt32LE(frame.length, 12);
    body.writeUInt32LE(length, 16);
    body.set(frame, 20);
    const options: Option[] = comments.map((comment) => text(OPTION_COMMENT, comment));
    if (direction !== undefined) options.push(word(OPTION_FLAGS, direction === "in" ? 1 : 2));
    return block(ENHANCED_PACKET, body, options);
  },

  /** What an interface lost: packets that were not written. */
  statistics(number: number, time: bigint, lost: number): Uint8Array {
    const body = Buffer.alloc(12);
    body.writeUInt32LE(number, 0);
    body.writeUInt32LE(Number((time >> 32n) & 0xffffffffn), 4);
    body.writeUInt32LE(Number(time & 0xffffffffn), 8);
    const drops = Buffer.alloc(8);
    drops.writeBigUInt64LE(BigInt(lost));
    return block(STATISTICS, body, [[OPTION_DROPS, drops]]);
  },
};

/** A comment that carries a packet's vnet_hdr, which no capture format has a place for. */
export function vnetComment(vnet: Uint8Array): string {
  return `vnet=${Buffer.from(vnet.subarray(0, Slot.VNET_SIZE)).toString("hex")}`;
}

export function vnetOf(comments: readonly string[]): Uint8Array | undefined {
  for (const comment of comments) {
    const found = /^vnet=([0-9a-f]{24})$/.exec(comment);
    if (found !== null) return Uint8Array.from(Buffer.from(found[1]!, "hex"));
  }
  return undefined;
}

export interface PcapPortOptions {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly capabilities: number;
  /** What comes in, in order. */
  readonly frames: readonly CapturedFrame[];
  /** What the device would say of a frame. */
  readonly vnet?: ((frame: CapturedFrame) => Uint8Array) | undefined;
  /** Where what goes out is written: the interface's number there, and the time. */
  readonly out?: { readonly interface: number; write(bytes: Uint8Array): void; now(): bigint } | undefined;
}

/** A port over captures: frames come from one, and go into another. Each waits until it is let in. */
export class PcapPort implements FramePort {
  readonly kind = "pcap";
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly capabilities: number;
  private readonly options: PcapPortOptions;
  private next = 0;
  private allowed = 0;

  constructor(options: PcapPortOptions) {
    this.name = options.name;
    this.mac = options.mac;
    this.mtu = options.mtu;
    this.capabilities = options.capabilities;
    this.options = options;
  }

  /** Lets so many more frames in. */
  admit(count = 1): void {
    this.allowed += count;
  }

  receive(target: Uint8Array): number {
    const next = this.options.frames[this.next];
    if (next === undefined || this.next >= this.allowed) return 0;
    this.next++;
    const vnet = this.options.vnet?.(next) ?? vnetOf(next.comments) ?? new Uint8Array(Slot.VNET_SIZE);
    const frame = next.frame.subarray(0, target.length - Slot.VNET_SIZE);
    target.set(vnet);
    target.set(frame, Slot.VNET_SIZE);
    return Slot.VNET_SIZE + frame.length;
  }

  send(pieces: readonly Uint8Array[]): boolean {
    const { out } = this.options;
    if (out === undefined) return false;
    const whole = Buffer.concat(pieces);
    const vnet = whole.subarray(0, Slot.VNET_SIZE);
    const frame = whole.subarray(Slot.VNET_SIZE);
    const comments = vnet.every((byte) => byte === 0) ? [] : [vnetComment(vnet)];
    out.write(
      pcapng.packet({
        interface: out.interface,
        time: out.now(),
        frame,
        length: frame.length,
        direction: "out",
        comments,
      }),
    );
    return true;
  }

  close(): void {
    this.next = this.options.frames.length;
  }
}
