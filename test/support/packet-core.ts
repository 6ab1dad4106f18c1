/** Reassembly, fragmentation, segmentation and tunnels compiled alone, over slots of their own. */
import asc from "assemblyscript/asc";
import * as Fragment from "../../assembly/layout/fragment.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Protocol from "../../assembly/layout/protocol.js";
import * as Server from "../../assembly/layout/server.js";
import * as Slot from "../../assembly/layout/slot.js";

interface Exports {
  initSlots(): void;
  takeSlot(): number;
  takePiece(last: number, size: number): number;
  giveSlot(slot: number): void;
  giveChain(slot: number): void;
  resetSlot(slot: number): void;
  freeSlots(): number;
  gather(slot: number): void;
  initFragments(): void;
  reassemble(slot: number): number;
  nextExpiredFragment(now: number): number;
  needsFragments(slot: number, mtu: number): number;
  fragment4(slot: number, mtu: number): number;
  fragment6(slot: number, mtu: number): number;
  segment(slot: number): number;
  completeChecksum(slot: number): void;
  encapsulate(slot: number, server: number, source: number, mayForbid: number): number;
  tunnelOverhead(server: number): number;
  tunnelOverheadOf(server: number, slot: number): number;
  crc32c(at: number, length: number): number;
  isChecksumRight(at: number, length: number): number;
  transition(connection: number, slot: number, direction: number): void;
  timeout(state: number): number;
}

/** Fields of a vnet header, all 0 by default; checksumStart counts from the Ethernet header. */
export interface Vnet {
  readonly flags?: number;
  readonly gsoType?: number;
  readonly headerLength?: number;
  readonly gsoSize?: number;
  readonly checksumStart?: number;
  readonly checksumOffset?: number;
}

export const ABSORBED = 0;
export const DROPPED = 1;

const FRAGMENTS_BASE = 1 << 17;
/** Records, servers and addresses of the tests. */
export const SCRATCH = (1 << 17) + (1 << 16);
const SLOTS_BASE = 1 << 18;
const LINK = 14;

let compiled: Promise<WebAssembly.Module> | undefined;

async function compile(): Promise<WebAssembly.Module> {
  let binary: Uint8Array | undefined;
  const { error, stderr } = await asc.main(
    [
      ...["test/support/packet-entry.ts", "--config", "none", "--runtime", "stub", "--bindings", "", "-O3"],
      ...["--importMemory", "--sharedMemory", "--initialMemory", "2", "--maximumMemory", "65536", "--noExportMemory"],
      ...["--enable", "threads,simd,bulk-memory", "--noAssert", "--outFile", "packet-entry.wasm"],
    ],
    {
      writeFile: (name, contents) => {
        if (name.endsWith(".wasm")) binary = contents as Uint8Array;
      },
    },
  );
  if (error !== null || binary === undefined) throw new Error(`${error?.message}\n${stderr.toString()}`);
  return WebAssembly.compile(binary as Uint8Array<ArrayBuffer>);
}

export class PacketCore {
  readonly core: Exports;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly slots: number;

  private constructor(core: Exports, memory: WebAssembly.Memory, slots: number) {
    this.core = core;
    this.view = new DataView(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.slots = slots;
  }

  static async create(slots = 24, fragments = 16): Promise<PacketCore> {
    compiled ??= compile();
    const pages = (SLOTS_BASE + slots * Slot.SIZE + 65535) >> 16;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const instance = await WebAssembly.instantiate(await compiled, { env: { memory, abort: () => {} } });
    const made = new PacketCore(instance.exports as unknown as Exports, memory, slots);
    made.setHeader(Memory.SLOTS_BASE, SLOTS_BASE);
    made.setHeader(Memory.SLOTS_CAPACITY, slots);
    made.setHeader(Memory.FRAGMENTS_BASE, FRAGMENTS_BASE);
    made.setHeader(Memory.FRAGMENTS_CAPACITY, fragments);
    made.setHeader(Memory.SEED, 0x12345678);
    made.reset();
    return made;
  }

  /** All slots free, no fragments, time 0. */
  reset(): void {
    this.core.initSlots();
    this.core.initFragments();
    this.setNow(0);
  }

  setHeader(word: number, value: number): void {
    this.view.setUint32(Memory.LAYOUT_BASE + word, value, true);
  }

  header(word: number): number {
    return this.view.getUint32(Memory.LAYOUT_BASE + word, true);
  }

  setNow(ticks: number): void {
    this.setHeader(Memory.NOW, ticks);
  }

  word(slot: number, offset: number): number {
    return this.view.getUint32(slot + offset, true);
  }

  reason(slot: number): number {
    return this.view.getUint8(slot + Slot.REASON);
  }

  /** A slot with this IP packet behind a vnet and an Ethernet header, parsed as far as these stages need it. */
  put(packet: Uint8Array, vnet: Vnet = {}): number {
    const { view, bytes } = this;
    const slot = this.core.takeSlot();
    if (slot === 0) throw new Error("no slot");
    const frame = slot + Slot.FRAME_AT;
    bytes.fill(0, frame, frame + Slot.VNET_SIZE);
    view.setUint8(frame, vnet.flags ?? 0);
    view.setUint8(frame + 1, vnet.gsoType ?? 0);
    view.setUint16(frame + 2, vnet.headerLength ?? 0, true);
    view.setUint16(frame + 4, vnet.gsoSize ?? 0, true);
    view.setUint16(frame + 6, vnet.checksumStart ?? 0, true);
    view.setUint16(frame + 8, vnet.checksumOffset ?? 0, true);
    const ethernet = frame + Slot.VNET_SIZE;
    bytes.fill(0xee, ethernet, ethernet + LINK);
    const ip = ethernet + LINK;
    bytes.set(packet, ip);
    const isV6 = packet[0]! >> 4 === 6;
    view.setUint32(slot + Slot.LENGTH, Slot.VNET_SIZE + LINK + packet.length, true);
    view.setUint32(slot + Slot.ETHERNET, ethernet, true);
    view.setUint32(slot + Slot.LINK_LENGTH, LINK, true);
    view.setUint32(slot + Slot.IP, ip, true);
    view.setUint32(slot + Slot.END, ip + packet.length, true);
    view.setUint8(slot + Slot.FAMILY, isV6 ? 6 : 4);
    if (isV6) this.parse6(slot, ip, packet);
    else this.parse4(slot, ip, packet);
    return slot;
  }

  private parse4(slot: number, ip: number, packet: Uint8Array): void {
    this.view.setUint32(slot + Slot.TRANSPORT, ip + (packet[0]! & 15) * 4, true);
    this.view.setUint8(slot + Slot.PROTOCOL, packet[9]!);
    if ((((packet[6]! << 8) | packet[7]!) & 0x3fff) !== 0) this.view.setUint8(slot + Slot.FLAGS, Slot.FRAGMENT);
  }

  private parse6(slot: number, ip: number, packet: Uint8Array): void {
    let name = 6;
    let at = 40;
    while ([0, 43, 60, 44].includes(packet[name]!) && at + 8 <= packet.length) {
      if (packet[name] === 44) {
        this.view.setUint32(slot + Slot.FRAGMENT_HEADER, ip + at, true);
        this.view.setUint8(slot + Slot.FLAGS, Slot.FRAGMENT);
        name = at;
        at += 8;
        break;
      }
      name = at;
      at += (packet[at + 1]! + 1) * 8;
    }
    this.view.setUint32(slot + Slot.NEXT_HEADER, ip + name, true);
    this.view.setUint32(slot + Slot.TRANSPORT, ip + at, true);
    this.view.setUint8(slot + Slot.PROTOCOL, packet[name]!);
  }

  /** The IP packet in a slot, its descriptor checked on the way. */
  packet(slot: number): Uint8Array {
    const ip = this.word(slot, Slot.IP);
    const end = this.word(slot, Slot.END);
    const frame = this.word(slot, Slot.FRAME);
    const elsewhere = this.word(slot, Slot.BODY_LENGTH);
    const head = frame + this.word(slot, Slot.LENGTH);
    if (head + elsewhere !== end) throw new Error("LENGTH and END do not agree");
    if ((ip & 3) !== 0) throw new Error("IP header not aligned");
    if (frame < slot + Slot.DESCRIPTOR_SIZE || end > slot + Slot.SIZE) throw new Error("outside the slot");
    if (this.word(slot, Slot.ETHERNET) !== ip - LINK || frame !== ip - LINK - Slot.VNET_SIZE) {
      throw new Error("headers in disorder");
    }
    if (this.bytes.subarray(ip - LINK, ip).some((byte) => byte !== 0xee)) throw new Error("link header lost");
    const body = this.word(slot, Slot.BODY);
    return Uint8Array.from([...this.bytes.subarray(ip, head), ...this.bytes.subarray(body, body + elsewhere)]);
  }

  vnet(slot: number): Uint8Array {
    const frame = this.word(slot, Slot.FRAME);
    return this.bytes.slice(frame, frame + Slot.VNET_SIZE);
  }

  /** The packets of a chain; its slots are given back. */
  chain(head: number): Uint8Array[] {
    const packets: Uint8Array[] = [];
    for (let slot = head; slot !== 0; slot = this.word(slot, Slot.NEXT)) packets.push(this.packet(slot));
    this.core.giveChain(head);
    return packets;
  }

  /** Takes fragments in; the whole packet, if there is one, and its largest fragment. */
  reassemble(fragments: readonly Uint8Array[]): { packet: Uint8Array; largest: number; slot: number } | undefined {
    for (const fragment of fragments) {
      const slot = this.put(fragment);
      const result = this.core.reassemble(slot);
      if (result === DROPPED) this.core.giveSlot(slot);
      else if (result !== ABSORBED) {
        const largest = this.view.getUint16(result + Slot.FRAGMENT_LARGEST, true);
        return { packet: this.packet(result), largest, slot: result };
      }
    }
    return undefined;
  }

  /** How many packets wait for fragments. */
  pending(): number {
    return this.header(Memory.FRAGMENT_COUNT);
  }

  server(family: 4 | 6, address: Uint8Array, type = 0, flags = 0, port = 0): number {
    const at = SCRATCH;
    this.bytes.fill(0, at, at + Server.SIZE);
    this.view.setUint8(at + Server.FAMILY, family);
    this.view.setUint8(at + Server.TUNNEL_TYPE, type);
    this.view.setUint8(at + Server.TUNNEL_FLAGS, flags);
    this.view.setUint16(at + Server.TUNNEL_PORT, port, false);
    this.bytes.set(address, at + Server.ADDRESS);
    return at;
  }

  /** Sixteen bytes at an address, for whoever wants a pointer. */
  place(address: Uint8Array): number {
    const at = SCRATCH + 4096;
    this.bytes.set(address, at);
    return at;
  }
}

export const FRAGMENT_TIMEOUTS = {
  4: Fragment.SECONDS_4 * Memory.TICKS_PER_SECOND,
  6: Fragment.SECONDS_6 * Memory.TICKS_PER_SECOND,
};
export const UDP = Protocol.UDP;
