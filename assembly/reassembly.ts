/**
 * Fragments put together (RFC 791, RFC 8200 4.5, RFC 5722).
 *
 * A fragment that overlaps another one ends the whole packet; one that brings nothing new is dropped alone. The slot of
 * the fragment that came first becomes the place where the packet grows (layout/fragment.ts), so an unfinished packet
 * costs one slot, and their number is that of the fragments region. When it is full, or one source has more than
 * SOURCE_MAX, the oldest of them goes.
 */
import * as Counters from "./layout/counters";
import * as Fragment from "./layout/fragment";
import * as Memory from "./layout/memory";
import * as Reason from "./layout/reason";
import * as Slot from "./layout/slot";
import { count, now, reached, setWord, word } from "./table/memory";
import { giveSlot } from "./table/slot";
import { countBits, setBits } from "./wire/bitmap";
import { copy16, load16, store16 } from "./wire/bytes";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import * as Vnet from "./wire/virtionet";

/** What reassemble() returns when there is no whole packet. */
export const ABSORBED: usize = 0;
export const DROPPED: usize = 1;

const NO_ECN: u32 = 0xff;
/** Bytes before the IP header: vnet and Ethernet headers, tags. */
const PREFIX_MAX: u32 = 64;

/** Puts all records in the free list. */
export function initFragments(): void {
  const base = <usize>word(Memory.FRAGMENTS_BASE);
  let next: u32 = 0;
  for (let i = word(Memory.FRAGMENTS_CAPACITY); i > 0; i--) {
    const record = base + <usize>(i - 1) * Fragment.SIZE;
    memory.fill(record, 0, Fragment.SIZE);
    store<u32>(record, next, Fragment.NEXT);
    next = <u32>record;
  }
  setWord(Memory.FREE_FRAGMENT, next);
  setWord(Memory.FRAGMENT_COUNT, 0);
  setWord(Memory.FRAGMENT_DUE, 0);
}

/**
 * Takes one fragment in. `slot` MUST have FRAME, LENGTH, IP, END, FAMILY and FLAGS set, with IPv6 FRAGMENT_HEADER too;
 * the caller has checked that the IP header (IPv6: and all up to the fragment header's end) lies before END.
 *
 *  - ABSORBED: `slot` is no longer the caller's; the frame is consumed.
 *  - DROPPED: `slot` is still the caller's, and slot.REASON says why.
 *  - else the slot that now holds the whole packet; it is the caller's, `slot` is not (unless it is the same).
 *
 * A whole packet has one IP header, as the first fragment's: lengths and checksum right, fragment fields cleared (DF
 * set if the largest fragment had it), the IPv6 fragment header gone. FRAME, LENGTH, IP, END, TRANSPORT, PROTOCOL,
 * NEXT_HEADER and FRAGMENT_LARGEST are set, FRAGMENT and LATER_FRAGMENT cleared, the vnet header is zero. Ports, mark
 * and the rest of the descriptor are those of the first fragment.
 */
export function reassemble(slot: usize): usize {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const packetEnd = <usize>load<u32>(slot, Slot.END);
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  // An offload of a fragment makes no sense: the checksum lies in another frame.
  if ((load<u8>(vnet, Vnet.FLAGS) & Vnet.NEEDS_CHECKSUM) !== 0 || load<u8>(vnet, Vnet.GSO_TYPE) !== 0) {
    return drop(slot, Reason.VNET_HEADER_BAD);
  }
  const isV6 = load<u8>(slot, Slot.FAMILY) === 6;
  let headerLength: u32;
  let id: u32;
  let protocol: u32;
  let offset: u32;
  let more: bool;
  let ecn: u32;
  if (isV6) {
    const header = <usize>load<u32>(slot, Slot.FRAGMENT_HEADER);
    const field = load16(header + Ipv6.FRAGMENT_OFFSET);
    headerLength = <u32>(header - ip) + Ipv6.FRAGMENT_SIZE;
    id = load<u32>(header, Ipv6.FRAGMENT_ID);
    // The IPv6 key has no protocol: only the first fragment's next header counts.
    protocol = 0;
    offset = field & 0xfff8;
    more = (field & 1) !== 0;
    ecn = (<u32>load<u8>(ip, 1) >> 4) & 3;
  } else {
    const field = Ipv4.fragment(ip);
    headerLength = Ipv4.headerLength(ip);
    id = load<u16>(ip, Ipv4.ID);
    protocol = load<u8>(ip, Ipv4.PROTOCOL);
    offset = (field & Ipv4.OFFSET_MASK) << 3;
    more = (field & Ipv4.MF) !== 0;
    ecn = <u32>load<u8>(ip, Ipv4.TOS) & 3;
  }
  const data = ip + <usize>headerLength;
  if (headerLength > <u32>Fragment.HEADER_MAX || packetEnd <= data) return drop(slot, Reason.FRAGMENT_BAD);
  // Where this slot becomes the home, its bytes must not lie under what is written there.
  if (<u32>(ip - vnet) > PREFIX_MAX || data > slot + Fragment.DATA || packetEnd > slot + Fragment.ADDRESSES) {
    return drop(slot, Reason.FRAGMENT_BAD);
  }
  const packetLength = <u32>(packetEnd - ip);
  let end = offset + <u32>(packetEnd - data);
  // 65535 bytes are the most that a packet may have, its header included or (IPv6) not.
  if (end + (isV6 ? 0 : headerLength) > 0xffff) return drop(slot, Reason.FRAGMENT_BAD);

  const hash = keyHash(ip, isV6, id, protocol);
  const source = sourceHash(ip, isV6);
  let record = find(ip, isV6, hash, id, protocol);
  const known = record !== 0 ? load<u32>(record, Fragment.LENGTH) : 0;
  const lastIn = record !== 0 && (load<u8>(record, Fragment.FLAGS) & Fragment.LAST_IN) !== 0;
  if (!more) {
    if (end < known || (lastIn && end !== known)) return conflict(record, slot, isV6);
  } else {
    if ((end & 7) !== 0) {
      if (isV6) {
        if (record !== 0) free(record);
        return drop(slot, Reason.FRAGMENT_BAD);
      }
      end &= ~7;
    }
    if (end > known && lastIn) return conflict(record, slot, isV6);
  }
  if (end === offset) return conflict(record, slot, isV6);

  const fromBit = offset >> 3;
  const toBit = (end + 7) >> 3;
  const isFirst = record === 0;
  if (isFirst) {
    record = begin(slot, ip, isV6, hash, source, id, protocol);
    if (record === 0) return drop(slot, Reason.FRAGMENT_LIMIT);
  }
  const home = <usize>load<u32>(record, Fragment.SLOT);
  const map = home + Fragment.RECEIVED_MAP;
  if (!isFirst) {
    const present = countBits(map, fromBit, toBit);
    if (present === toBit - fromBit) return drop(slot, Reason.FRAGMENT_BAD);
    if (present !== 0) {
      free(record);
      return drop(slot, Reason.FRAGMENT_BAD);
    }
  }
  setBits(map, fromBit, toBit);
  setBits(home + Fragment.START_MAP, fromBit, fromBit + 1);
  store<u32>(record, load<u32>(record, Fragment.RECEIVED) + (end - offset), Fragment.RECEIVED);
  if (end > known) store<u32>(record, end, Fragment.LENGTH);
  if (!more) store<u8>(record, load<u8>(record, Fragment.FLAGS) | Fragment.LAST_IN, Fragment.FLAGS);
  store<u8>(record, <u8>(<u32>load<u8>(record, Fragment.ECN) | (1 << ecn)), Fragment.ECN);
  if (packetLength > load<u32>(record, Fragment.LARGEST)) store<u32>(record, packetLength, Fragment.LARGEST);
  if (!isV6 && (Ipv4.fragment(ip) & Ipv4.DF) !== 0 && packetLength > load<u32>(record, Fragment.LARGEST_DF)) {
    store<u32>(record, packetLength, Fragment.LARGEST_DF);
  }
  place(record, slot, home, ip, headerLength, offset, end);
  if (home !== slot) giveSlot(slot);

  const all = Fragment.FIRST_IN | Fragment.LAST_IN;
  if ((load<u8>(record, Fragment.FLAGS) & all) !== all) return ABSORBED;
  if (load<u32>(record, Fragment.RECEIVED) !== load<u32>(record, Fragment.LENGTH)) return ABSORBED;
  const whole = isV6 ? finish6(record, home) : finish4(record, home);
  unlink(record);
  if (!whole) {
    giveSlot(home);
    return ABSORBED;
  }
  return home;
}

/**
 * One after the other, the slots of packets that ran out of time although their first fragment is here, so that its
 * sender can be told (ICMP time exceeded, code 1); 0 when there is no more. The slot holds that fragment as it came
 * (IP, END, FRAGMENT and the rest of the descriptor set) and is the caller's. The others are ended silently.
 */
export function nextExpiredFragment(time: u32): usize {
  if (word(Memory.FRAGMENT_COUNT) === 0 || !reached(time, word(Memory.FRAGMENT_DUE))) return 0;
  const base = <usize>word(Memory.FRAGMENTS_BASE);
  const capacity = word(Memory.FRAGMENTS_CAPACITY);
  let due = time + Fragment.SECONDS_6 * Memory.TICKS_PER_SECOND;
  for (let i: u32 = 0; i < capacity; i++) {
    const record = base + <usize>i * Fragment.SIZE;
    const slot = <usize>load<u32>(record, Fragment.SLOT);
    if (slot === 0) continue;
    const ends = expiry(record);
    if (!reached(time, ends)) {
      if (!reached(ends, due)) due = ends;
      continue;
    }
    const length = load<u32>(record, Fragment.FIRST_LENGTH);
    const hasFirst = (load<u8>(record, Fragment.FLAGS) & Fragment.FIRST_IN) !== 0;
    unlink(record);
    if (!hasFirst) {
      giveSlot(slot);
      continue;
    }
    setEnd(slot, slot + Fragment.DATA + <usize>length);
    return slot;
  }
  setWord(Memory.FRAGMENT_DUE, due);
  return 0;
}

function drop(slot: usize, reason: u32): usize {
  store<u8>(slot, <u8>reason, Slot.REASON);
  return DROPPED;
}

/** The fragment contradicts those before it: for IPv4 they are all lost, for IPv6 it alone is. */
function conflict(record: usize, slot: usize, isV6: bool): usize {
  if (record !== 0 && !isV6) free(record);
  return drop(slot, Reason.FRAGMENT_BAD);
}

function setEnd(slot: usize, end: usize): void {
  store<u32>(slot, <u32>end, Slot.END);
  store<u32>(slot, <u32>(end - <usize>load<u32>(slot, Slot.FRAME)), Slot.LENGTH);
}

/** Copies a fragment's bytes to their place, and the header too if it is the one with offset 0. */
function place(record: usize, slot: usize, home: usize, ip: usize, headerLength: u32, offset: u32, end: u32): void {
  const data = home + Fragment.DATA;
  const length = end - offset;
  if (home !== slot) {
    memory.copy(data + <usize>offset, ip + <usize>headerLength, <usize>length);
    if (offset !== 0) return;
    const frame = <usize>load<u32>(slot, Slot.FRAME);
    const prefix = ip - frame;
    const to = data - <usize>headerLength - prefix;
    memory.copy(to, frame, prefix + <usize>headerLength);
    memory.copy(home, slot, Slot.DESCRIPTOR_SIZE);
    setHeader(record, home, to, ip, frame, headerLength, length);
    return;
  }
  // The slot's own bytes move to the right, the last ones first: payload before headers.
  const frame = <usize>load<u32>(slot, Slot.FRAME);
  const prefix = ip - frame;
  memory.copy(data + <usize>offset, ip + <usize>headerLength, <usize>length);
  if (offset !== 0) return;
  const to = data - <usize>headerLength - prefix;
  memory.copy(to, frame, prefix + <usize>headerLength);
  setHeader(record, home, to, ip, frame, headerLength, length);
}

/** Points the descriptor at the first fragment's headers, moved from `frame` to `to`. */
function setHeader(
  record: usize,
  home: usize,
  to: usize,
  ip: usize,
  frame: usize,
  headerLength: u32,
  length: u32,
): void {
  store<u32>(record, headerLength, Fragment.HEADER_LENGTH);
  store<u32>(record, length, Fragment.FIRST_LENGTH);
  store<u8>(record, load<u8>(record, Fragment.FLAGS) | Fragment.FIRST_IN, Fragment.FLAGS);
  const ethernet = <usize>load<u32>(home, Slot.ETHERNET);
  if (ethernet !== 0) store<u32>(home, <u32>(ethernet - frame + to), Slot.ETHERNET);
  const fragmentHeader = <usize>load<u32>(home, Slot.FRAGMENT_HEADER);
  if (fragmentHeader !== 0) store<u32>(home, <u32>(fragmentHeader - frame + to), Slot.FRAGMENT_HEADER);
  const nextHeader = <usize>load<u32>(home, Slot.NEXT_HEADER);
  if (nextHeader !== 0) store<u32>(home, <u32>(nextHeader - frame + to), Slot.NEXT_HEADER);
  store<u32>(home, <u32>to, Slot.FRAME);
  store<u32>(home, <u32>(ip - frame + to), Slot.IP);
  store<u32>(home, <u32>(home + Fragment.DATA), Slot.TRANSPORT);
  setEnd(home, home + Fragment.DATA + <usize>length);
}

/** The codepoint that the whole packet gets: 3 (CE) where one fragment met congestion, NO_ECN if they contradict. */
function mergeEcn(seen: u32): u32 {
  const notCapable = (seen & 1) !== 0;
  if (notCapable && seen !== 1) return NO_ECN;
  return (seen & 8) !== 0 && seen !== 8 ? 3 : 0;
}

function cleared(home: usize): void {
  const flags = <u32>load<u8>(home, Slot.FLAGS);
  store<u8>(home, <u8>(flags & ~(Slot.FRAGMENT | Slot.LATER_FRAGMENT)), Slot.FLAGS);
  const frame = <usize>load<u32>(home, Slot.FRAME);
  memory.fill(frame, 0, Slot.VNET_SIZE);
}

function finish4(record: usize, home: usize): bool {
  const ecn = mergeEcn(<u32>load<u8>(record, Fragment.ECN));
  if (ecn === NO_ECN) return false;
  const ip = <usize>load<u32>(home, Slot.IP);
  const length = load<u32>(record, Fragment.LENGTH);
  const headerLength = load<u32>(record, Fragment.HEADER_LENGTH);
  if (length + headerLength > 0xffff) return false;
  const largest = load<u32>(record, Fragment.LARGEST);
  store<u8>(ip, <u8>(<u32>load<u8>(ip, Ipv4.TOS) | ecn), Ipv4.TOS);
  Ipv4.setTotalLength(ip, length + headerLength);
  store16(ip + Ipv4.FRAGMENT, load<u32>(record, Fragment.LARGEST_DF) === largest ? Ipv4.DF : 0);
  Ipv4.seal(ip);
  cleared(home);
  setEnd(home, home + Fragment.DATA + <usize>length);
  store<u8>(home, load<u8>(ip, Ipv4.PROTOCOL), Slot.PROTOCOL);
  store<u16>(home, <u16>largest, Slot.FRAGMENT_LARGEST);
  return true;
}

function finish6(record: usize, home: usize): bool {
  const ecn = mergeEcn(<u32>load<u8>(record, Fragment.ECN));
  if (ecn === NO_ECN) return false;
  const length = load<u32>(record, Fragment.LENGTH);
  const extra = load<u32>(record, Fragment.HEADER_LENGTH) - Ipv6.SIZE - Ipv6.FRAGMENT_SIZE;
  if (length + extra > 0xffff) return false;
  // The fragment header goes: what lies before it moves to the right, and its next header into the one before.
  const header = <usize>load<u32>(home, Slot.FRAGMENT_HEADER);
  const from = <usize>load<u32>(home, Slot.IP);
  const previous = nextHeaderBefore(from, header);
  store<u8>(previous, load<u8>(header));
  const frame = <usize>load<u32>(home, Slot.FRAME);
  memory.copy(frame + Ipv6.FRAGMENT_SIZE, frame, header - frame);
  store<u32>(home, <u32>frame + Ipv6.FRAGMENT_SIZE, Slot.FRAME);
  const ethernet = load<u32>(home, Slot.ETHERNET);
  if (ethernet !== 0) store<u32>(home, ethernet + Ipv6.FRAGMENT_SIZE, Slot.ETHERNET);
  const ip = from + Ipv6.FRAGMENT_SIZE;
  store<u32>(home, <u32>ip, Slot.IP);
  store16(ip + Ipv6.PAYLOAD_LENGTH, length + extra);
  if (ecn !== 0) store<u8>(ip, load<u8>(ip, 1) | 0x30, 1);
  cleared(home);
  const end = home + Fragment.DATA + <usize>length;
  setEnd(home, end);
  store<u32>(home, 0, Slot.FRAGMENT_HEADER);
  store<u16>(home, <u16>load<u32>(record, Fragment.LARGEST), Slot.FRAGMENT_LARGEST);
  findTransport(home, previous + Ipv6.FRAGMENT_SIZE, home + Fragment.DATA, end);
  return true;
}

function isExtension(protocol: u32): bool {
  return protocol === Ipv6.HOP_BY_HOP || protocol === Ipv6.ROUTING || protocol === Ipv6.DESTINATION_OPTIONS;
}

/** The byte that names the header at `target`, found from the IPv6 header at `ip`. */
function nextHeaderBefore(ip: usize, target: usize): usize {
  let name = ip + Ipv6.NEXT_HEADER;
  let at = ip + Ipv6.SIZE;
  while (at < target && isExtension(load<u8>(name))) {
    name = at;
    at += (<usize>load<u8>(at, 1) + 1) << 3;
  }
  return name;
}

/** Walks the extension headers that were fragmented with the rest; ends where they are cut off. */
function findTransport(slot: usize, name: usize, at: usize, end: usize): void {
  let protocol = <u32>load<u8>(name);
  while (isExtension(protocol) && at + 8 <= end) {
    const next = at + ((<usize>load<u8>(at, 1) + 1) << 3);
    if (next > end) break;
    name = at;
    at = next;
    protocol = load<u8>(name);
  }
  store<u32>(slot, <u32>name, Slot.NEXT_HEADER);
  store<u32>(slot, <u32>at, Slot.TRANSPORT);
  store<u8>(slot, <u8>protocol, Slot.PROTOCOL);
}

// The table.

function mix(hash: u32, value: u32): u32 {
  hash = (hash ^ value) * 0x9e3779b1;
  return hash ^ (hash >> 15);
}

function mixAddress(hash: u32, at: usize, isV6: bool): u32 {
  hash = mix(hash, load<u32>(at));
  if (!isV6) return hash;
  hash = mix(hash, load<u32>(at, 4));
  hash = mix(hash, load<u32>(at, 8));
  return mix(hash, load<u32>(at, 12));
}

function sourceAt(ip: usize, isV6: bool): usize {
  return isV6 ? ip + Ipv6.SOURCE : ip + Ipv4.SOURCE;
}

function destinationAt(ip: usize, isV6: bool): usize {
  return isV6 ? ip + Ipv6.DESTINATION : ip + Ipv4.DESTINATION;
}

function keyHash(ip: usize, isV6: bool, id: u32, protocol: u32): u32 {
  let hash = mix(word(Memory.SEED), id);
  hash = mix(hash, protocol);
  hash = mixAddress(hash, sourceAt(ip, isV6), isV6);
  return mixAddress(hash, destinationAt(ip, isV6), isV6);
}

function sourceHash(ip: usize, isV6: bool): u32 {
  return mixAddress(word(Memory.SEED), sourceAt(ip, isV6), isV6);
}

/** Addresses as the slot keeps them: source, destination, 16 bytes each, IPv4 in the first four. */
function sameAddresses(kept: usize, ip: usize, isV6: bool): bool {
  const source = sourceAt(ip, isV6);
  const destination = destinationAt(ip, isV6);
  if (!isV6) return load<u32>(kept) === load<u32>(source) && load<u32>(kept, 16) === load<u32>(destination);
  return (
    load<u64>(kept) === load<u64>(source) &&
    load<u64>(kept, 8) === load<u64>(source, 8) &&
    load<u64>(kept, 16) === load<u64>(destination) &&
    load<u64>(kept, 24) === load<u64>(destination, 8)
  );
}

function bucket(hash: u32): usize {
  const place = <u32>((<u64>hash * <u64>word(Memory.FRAGMENTS_CAPACITY)) >> 32);
  return <usize>word(Memory.FRAGMENTS_BASE) + <usize>place * Fragment.SIZE;
}

function find(ip: usize, isV6: bool, hash: u32, id: u32, protocol: u32): usize {
  if (word(Memory.FRAGMENT_COUNT) === 0) return 0;
  const family: u32 = isV6 ? 6 : 4;
  let record = <usize>load<u32>(bucket(hash), Fragment.BUCKET);
  while (record !== 0) {
    if (
      load<u32>(record, Fragment.HASH) === hash &&
      load<u32>(record, Fragment.ID) === id &&
      load<u8>(record, Fragment.FAMILY) === family &&
      load<u8>(record, Fragment.PROTOCOL) === protocol &&
      sameAddresses(<usize>load<u32>(record, Fragment.SLOT) + Fragment.ADDRESSES, ip, isV6)
    ) {
      return record;
    }
    record = <usize>load<u32>(record, Fragment.NEXT);
  }
  return 0;
}

/** A record for a packet of which `slot` is the first one seen; the slot becomes its home. 0 if there is no room. */
function begin(slot: usize, ip: usize, isV6: bool, hash: u32, source: u32, id: u32, protocol: u32): usize {
  makeRoom(source);
  const record = <usize>word(Memory.FREE_FRAGMENT);
  if (record === 0) return 0;
  setWord(Memory.FREE_FRAGMENT, load<u32>(record, Fragment.NEXT));
  memory.fill(record + Fragment.SLOT, 0, Fragment.SIZE - Fragment.SLOT);
  const head = bucket(hash);
  store<u32>(record, load<u32>(head, Fragment.BUCKET), Fragment.NEXT);
  store<u32>(head, <u32>record, Fragment.BUCKET);
  store<u32>(record, <u32>slot, Fragment.SLOT);
  store<u32>(record, now(), Fragment.BEGAN);
  store<u32>(record, hash, Fragment.HASH);
  store<u32>(record, source, Fragment.SOURCE_HASH);
  store<u32>(record, id, Fragment.ID);
  store<u8>(record, isV6 ? 6 : 4, Fragment.FAMILY);
  store<u8>(record, <u8>protocol, Fragment.PROTOCOL);
  const kept = slot + Fragment.ADDRESSES;
  if (isV6) {
    copy16(kept, ip + Ipv6.SOURCE);
    copy16(kept + 16, ip + Ipv6.DESTINATION);
  } else {
    store<u32>(kept, load<u32>(ip, Ipv4.SOURCE));
    store<u32>(kept, load<u32>(ip, Ipv4.DESTINATION), 16);
  }
  memory.fill(slot + Fragment.RECEIVED_MAP, 0, 2 * Fragment.MAP_SIZE);
  const unfinished = word(Memory.FRAGMENT_COUNT);
  const ends = expiry(record);
  if (unfinished === 0 || !reached(ends, word(Memory.FRAGMENT_DUE))) setWord(Memory.FRAGMENT_DUE, ends);
  setWord(Memory.FRAGMENT_COUNT, unfinished + 1);
  return record;
}

/** Ends the oldest packet of this source if it has its share, else the oldest one of all if the region is full. */
function makeRoom(source: u32): void {
  const full = word(Memory.FREE_FRAGMENT) === 0;
  if (!full && word(Memory.FRAGMENT_COUNT) < <u32>Fragment.SOURCE_MAX) return;
  const base = <usize>word(Memory.FRAGMENTS_BASE);
  const capacity = word(Memory.FRAGMENTS_CAPACITY);
  let oldest: usize = 0;
  let oldestOfSource: usize = 0;
  let ofSource: u32 = 0;
  for (let i: u32 = 0; i < capacity; i++) {
    const record = base + <usize>i * Fragment.SIZE;
    if (load<u32>(record, Fragment.SLOT) === 0) continue;
    if (oldest === 0 || isOlder(record, oldest)) oldest = record;
    if (load<u32>(record, Fragment.SOURCE_HASH) !== source) continue;
    ofSource++;
    if (oldestOfSource === 0 || isOlder(record, oldestOfSource)) oldestOfSource = record;
  }
  const victim: usize = ofSource >= <u32>Fragment.SOURCE_MAX ? oldestOfSource : full ? oldest : 0;
  if (victim === 0) return;
  free(victim);
  count(Counters.FRAGMENTS_EVICTED, 1);
}

function isOlder(a: usize, b: usize): bool {
  return <i32>(load<u32>(a, Fragment.BEGAN) - load<u32>(b, Fragment.BEGAN)) < 0;
}

function expiry(record: usize): u32 {
  const seconds: u32 = load<u8>(record, Fragment.FAMILY) === 6 ? Fragment.SECONDS_6 : Fragment.SECONDS_4;
  return load<u32>(record, Fragment.BEGAN) + seconds * Memory.TICKS_PER_SECOND;
}

/** Ends a packet, its slot included. */
function free(record: usize): void {
  const slot = <usize>load<u32>(record, Fragment.SLOT);
  unlink(record);
  giveSlot(slot);
}

/** Makes the record free; the slot is the caller's. */
function unlink(record: usize): void {
  const head = bucket(load<u32>(record, Fragment.HASH));
  const next = load<u32>(record, Fragment.NEXT);
  let at = <usize>load<u32>(head, Fragment.BUCKET);
  if (at === record) {
    store<u32>(head, next, Fragment.BUCKET);
  } else {
    while (at !== 0) {
      const following = <usize>load<u32>(at, Fragment.NEXT);
      if (following === record) {
        store<u32>(at, next, Fragment.NEXT);
        break;
      }
      at = following;
    }
  }
  store<u32>(record, 0, Fragment.SLOT);
  store<u32>(record, word(Memory.FREE_FRAGMENT), Fragment.NEXT);
  setWord(Memory.FREE_FRAGMENT, <u32>record);
  setWord(Memory.FRAGMENT_COUNT, word(Memory.FRAGMENT_COUNT) - 1);
}
