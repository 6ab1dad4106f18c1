/**
 * Packets cut into fragments (RFC 791, RFC 8200 4.5).
 *
 * A packet that came in fragments leaves in the same ones where they fit the way out, and never in larger ones than it
 * came in. The given slot becomes the first fragment, so only what follows is copied.
 */
import * as Fragment from "./layout/fragment";
import * as Memory from "./layout/memory";
import * as Reason from "./layout/reason";
import * as Slot from "./layout/slot";
import { setWord, word } from "./table/memory";
import { copyContext, freeSlots, gather, pieceSize, slotsFor, takePiece } from "./table/slot";
import { nextBit } from "./wire/bitmap";
import { store16 } from "./wire/bytes";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import { completeChecksum } from "./wire/offload";

export { completeChecksum };

const MINIMUM_MTU_6: u32 = 1280;
const END_OF_OPTIONS: u32 = 0;
const NO_OPERATION: u32 = 1;
/** Bit of an option's type: it is copied into every fragment. */
const COPIED: u32 = 0x80;

/** Whether the packet must be cut before it leaves through a way of `mtu`: it is too long, or came in fragments. */
export function needsFragments(slot: usize, mtu: u32): bool {
  const length = load<u32>(slot, Slot.END) - load<u32>(slot, Slot.IP);
  if (length > mtu) return true;
  const largest = <u32>load<u16>(slot, Slot.FRAGMENT_LARGEST);
  if (largest === 0) return false;
  return load<u8>(slot, Slot.FAMILY) === 6 ? length > largest : true;
}

/**
 * Cuts the IPv4 packet in `slot` (FRAME, IP, END, FRAGMENT_LARGEST set, header checked) into fragments of at most `mtu`
 * bytes: the first of a chain linked by slot.NEXT, which is `slot` itself. Bytes before the IP header are repeated in
 * each, as is the descriptor's context. Whether DF forbids it is the caller's matter. 0 if it cannot be done: `slot`
 * stays as it was (but for a checksum completed) and slot.REASON says why.
 */
export function fragment4(slot: usize, mtu: u32): usize {
  gather(slot);
  completeChecksum(slot);
  const ip = <usize>load<u32>(slot, Slot.IP);
  const header = Ipv4.headerLength(ip);
  const total = load<u32>(slot, Slot.END) - <u32>ip - header;
  const field = Ipv4.fragment(ip);
  const largest = <u32>load<u16>(slot, Slot.FRAGMENT_LARGEST);
  if (largest !== 0 && largest < mtu) mtu = largest;
  if (mtu < header + 8) return refuse(slot, Reason.MTU_EXCEEDED);
  const space = mtu - header;
  const asCame = cameWithin(slot, ip + <usize>header, total, space);
  const room = pieceSize(<u32>ip - load<u32>(slot, Slot.FRAME) + mtu);
  if (freeSlots() < slotsFor(pieces(slot, asCame, total, space), room)) return refuse(slot, Reason.SLOTS_EXHAUSTED);

  const first = lengthAt(slot, asCame, 0, total, space);
  if (first === total) {
    store<u32>(slot, 0, Slot.NEXT);
    return slot;
  }
  // A packet put together has DF only if its largest fragment had: then those cut anew have it, too.
  const base = (field & Ipv4.MF) | (field & Ipv4.OFFSET_MASK);
  const keepDf = !asCame && largest !== 0 ? field & Ipv4.DF : 0;
  let tail = slot;
  let piece: usize = 0;
  for (let offset = first; offset < total; ) {
    const length = lengthAt(slot, asCame, offset, total, space);
    piece = takePiece(piece, room);
    copyPiece(piece, slot, header, 0, header + offset, length);
    const head = <usize>load<u32>(piece, Slot.IP);
    if (header > <u32>Ipv4.SIZE) blankOptions(head, header);
    offset += length;
    const more = offset < total ? Ipv4.MF : base & Ipv4.MF;
    store16(head + Ipv4.FRAGMENT, ((base & Ipv4.OFFSET_MASK) + ((offset - length) >> 3)) | more | keepDf);
    Ipv4.setTotalLength(head, header + length);
    Ipv4.seal(head);
    store<u32>(tail, <u32>piece, Slot.NEXT);
    tail = piece;
  }
  store16(ip + Ipv4.FRAGMENT, (base & Ipv4.OFFSET_MASK) | Ipv4.MF | keepDf);
  Ipv4.setTotalLength(ip, header + first);
  Ipv4.seal(ip);
  cutTo(slot, ip + <usize>(header + first));
  return slot;
}

/**
 * Cuts the IPv6 packet in `slot` into fragments of at most `mtu` bytes; otherwise as fragment4(). The headers that
 * belong to every fragment (hop-by-hop, routing) are found here. A packet that fits whole leaves unfragmented.
 */
export function fragment6(slot: usize, mtu: u32): usize {
  gather(slot);
  completeChecksum(slot);
  const ip = <usize>load<u32>(slot, Slot.IP);
  const end = <usize>load<u32>(slot, Slot.END);
  const largest = <u32>load<u16>(slot, Slot.FRAGMENT_LARGEST);
  if (largest !== 0 && largest < mtu) mtu = largest < MINIMUM_MTU_6 ? MINIMUM_MTU_6 : largest;
  const name = lastRepeatedName(ip, end);
  const header = name === ip + Ipv6.NEXT_HEADER ? <u32>Ipv6.SIZE : <u32>(name - ip) + optionLength(name);
  const total = <u32>(end - ip) - header;
  if (mtu < header + Ipv6.FRAGMENT_SIZE + 8) return refuse(slot, Reason.MTU_EXCEEDED);
  const space = mtu - header - Ipv6.FRAGMENT_SIZE;
  const asCame = cameWithin(slot, ip + <usize>header, total, space);
  const room = pieceSize(<u32>ip - load<u32>(slot, Slot.FRAME) + mtu);
  if (freeSlots() < slotsFor(pieces(slot, asCame, total, space), room)) return refuse(slot, Reason.SLOTS_EXHAUSTED);

  const first = lengthAt(slot, asCame, 0, total, space);
  if (first === total) {
    store<u32>(slot, 0, Slot.NEXT);
    return slot;
  }
  const transport = <u32>load<u8>(name);
  const id = nextId6();
  store<u8>(name, Ipv6.FRAGMENT);
  let tail = slot;
  let piece: usize = 0;
  for (let offset = first; offset < total; ) {
    const length = lengthAt(slot, asCame, offset, total, space);
    piece = takePiece(piece, room);
    copyPiece(piece, slot, header, Ipv6.FRAGMENT_SIZE, header + offset, length);
    const head = <usize>load<u32>(piece, Slot.IP);
    offset += length;
    writeFragmentHeader(head, header, transport, (offset - length) | (offset < total ? 1 : 0), id, length);
    store<u32>(piece, <u32>head + header, Slot.FRAGMENT_HEADER);
    store<u32>(tail, <u32>piece, Slot.NEXT);
    tail = piece;
  }
  // Room for the fragment header is made to the left.
  const frame = <usize>load<u32>(slot, Slot.FRAME);
  memory.copy(frame - Ipv6.FRAGMENT_SIZE, frame, ip + <usize>header - frame);
  const head = ip - Ipv6.FRAGMENT_SIZE;
  store<u32>(slot, <u32>frame - Ipv6.FRAGMENT_SIZE, Slot.FRAME);
  store<u32>(slot, <u32>head, Slot.IP);
  const ethernet = load<u32>(slot, Slot.ETHERNET);
  if (ethernet !== 0) store<u32>(slot, ethernet - Ipv6.FRAGMENT_SIZE, Slot.ETHERNET);
  store<u32>(slot, <u32>head + header, Slot.FRAGMENT_HEADER);
  writeFragmentHeader(head, header, transport, 1, id, first);
  cutTo(slot, head + <usize>(header + Ipv6.FRAGMENT_SIZE + first));
  return slot;
}

function refuse(slot: usize, reason: u32): usize {
  store<u8>(slot, <u8>reason, Slot.REASON);
  return 0;
}

function cutTo(slot: usize, end: usize): void {
  store<u32>(slot, <u32>end, Slot.END);
  store<u32>(slot, <u32>end - load<u32>(slot, Slot.FRAME), Slot.LENGTH);
}

/** Whether the packet came in fragments that all fit, and still lies where they were put together. */
function cameWithin(slot: usize, data: usize, total: u32, space: u32): bool {
  if (load<u16>(slot, Slot.FRAGMENT_LARGEST) === 0 || data !== slot + Fragment.DATA) return false;
  const bits = (total + 7) >> 3;
  const map = slot + Fragment.START_MAP;
  for (let at: u32 = 0; at < bits; ) {
    const next = nextBit(map, at + 1, bits);
    const length = (next === bits ? total : next << 3) - (at << 3);
    if (length > space) return false;
    at = next;
  }
  return true;
}

/** Length of the fragment that begins at `offset`. */
function lengthAt(slot: usize, asCame: bool, offset: u32, total: u32, space: u32): u32 {
  const left = total - offset;
  if (asCame) {
    const bits = (total + 7) >> 3;
    const next = nextBit(slot + Fragment.START_MAP, (offset >> 3) + 1, bits);
    return next === bits ? left : (next << 3) - offset;
  }
  return left > space ? space & ~7 : left;
}

/** How many fragments follow the first. */
function pieces(slot: usize, asCame: bool, total: u32, space: u32): u32 {
  let count: u32 = 0;
  for (let at = lengthAt(slot, asCame, 0, total, space); at < total; count++) {
    at += lengthAt(slot, asCame, at, total, space);
  }
  return count;
}

/**
 * Makes `piece` the bytes before the IP header, `header` bytes of it, `gap` bytes unset, and `length` bytes of the packet
 * from `offset` (from the IP header on).
 */
function copyPiece(piece: usize, slot: usize, header: u32, gap: u32, offset: u32, length: u32): void {
  const from = <usize>load<u32>(slot, Slot.FRAME);
  const ip = <usize>load<u32>(slot, Slot.IP);
  const to = <usize>load<u32>(piece, Slot.FRAME);
  const prefix = ip - from;
  memory.copy(to, from, prefix + <usize>header);
  const head = to + prefix;
  const data = head + <usize>(header + gap);
  memory.copy(data, ip + <usize>offset, <usize>length);
  copyContext(piece, slot);
  store<u32>(piece, <u32>head, Slot.IP);
  store<u32>(piece, <u32>data, Slot.TRANSPORT);
  const ethernet = <usize>load<u32>(slot, Slot.ETHERNET);
  if (ethernet !== 0) store<u32>(piece, <u32>(ethernet - from + to), Slot.ETHERNET);
  cutTo(piece, data + <usize>length);
}

/** Options that only the first fragment carries become no-operations; the header keeps its length. */
function blankOptions(ip: usize, header: u32): void {
  const end = ip + <usize>header;
  let at = ip + Ipv4.OPTIONS;
  while (at < end) {
    const kind = <u32>load<u8>(at);
    if (kind === END_OF_OPTIONS) return;
    if (kind === NO_OPERATION) {
      at++;
      continue;
    }
    if (at + 1 >= end) return;
    const length = <usize>load<u8>(at, 1);
    if (length < 2 || at + length > end) return;
    if ((kind & COPIED) === 0) memory.fill(at, <u8>NO_OPERATION, length);
    at += length;
  }
}

function optionLength(at: usize): u32 {
  return (<u32>load<u8>(at, 1) + 1) << 3;
}

/** The byte that names the first header which is not repeated in every fragment. Stays before `end`. */
function lastRepeatedName(ip: usize, end: usize): usize {
  let name = ip + Ipv6.NEXT_HEADER;
  let at = ip + Ipv6.SIZE;
  let routed = false;
  while (at + 8 <= end) {
    const kind = <u32>load<u8>(name);
    if (kind === Ipv6.ROUTING) routed = true;
    else if (kind === Ipv6.DESTINATION_OPTIONS && routed) break;
    else if (kind !== Ipv6.HOP_BY_HOP && kind !== Ipv6.DESTINATION_OPTIONS) break;
    const next = at + <usize>optionLength(at);
    if (next > end) break;
    name = at;
    at = next;
  }
  return name;
}

function writeFragmentHeader(ip: usize, header: u32, transport: u32, field: u32, id: u32, length: u32): void {
  const at = ip + <usize>header;
  store<u16>(at, <u16>transport);
  store16(at + Ipv6.FRAGMENT_OFFSET, field);
  store<u32>(at, id, Ipv6.FRAGMENT_ID);
  store16(ip + Ipv6.PAYLOAD_LENGTH, header - Ipv6.SIZE + Ipv6.FRAGMENT_SIZE + length);
}

/** Identification of the next IPv6 packet that is cut here: not to be guessed from those before. */
function nextId6(): u32 {
  const count = word(Memory.NEXT_ID);
  setWord(Memory.NEXT_ID, count + 1);
  let id = (count ^ word(Memory.SEED)) * 0x85ebca6b;
  id = (id ^ (id >> 13)) * 0xc2b2ae35;
  return id ^ (id >> 16);
}
