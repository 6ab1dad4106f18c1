/** What the core answers as a host and as a router: echo, resets, ICMP errors. */
import * as Counters from "./layout/counters";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Protocol from "./layout/protocol";
import * as Reason from "./layout/reason";
import * as Route from "./layout/route";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { newPacket, sourceFor4 } from "./link";
import { answered } from "./lookup";
import { replyFromDirector } from "./reply";
import { drop } from "./send";
import { findAddress4 } from "./table/address";
import { hasToken, takeToken } from "./table/bucket";
import { count, now, setting, setWord, word } from "./table/memory";
import { isOurs4, isOurs6 } from "./table/ours";
import { findRoute } from "./table/route";
import { gather, giveSlot } from "./table/slot";
import { destinationAt, packetLength, routeTo, sourceAt } from "./transmit";
import { transportChecksumIsRight } from "./verify";
import { copy16, isZero16, load16, load32, store16, store32 } from "./wire/bytes";
import { checksum, pseudo4, pseudo6 } from "./wire/checksum";
import * as Icmp from "./wire/icmp";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import * as Tcp from "./wire/tcp";
import * as Udp from "./wire/udp";

/** An ICMP error never makes a packet longer than this (RFC 1812, 4.3.2.3; RFC 4443, 2.4). */
const ERROR_SIZE_4: u32 = 576;
const ERROR_SIZE_6: u32 = 1280;

function nextId(): u32 {
  const id = word(Memory.NEXT_ID) + 1;
  setWord(Memory.NEXT_ID, id);
  return id & 0xffff;
}

function clearVnet(slot: usize): void {
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  store<u64>(vnet, 0);
  store<u32>(vnet, 0, 8);
}

/** Kinds of ICMP errors: none of them can use up what another one needs, least of all what finds path MTUs. */
const TOO_BIG: u32 = 0;
const TIME: u32 = 1;
const OTHER: u32 = 2;
/** What clients over a limit are told. */
const LIMIT: u32 = 3;
const KINDS: u32 = 4;
const RESETS: usize = Memory.LAYOUT_BASE + Memory.RESET_BUCKET;
const BUCKETS: usize = Memory.LAYOUT_BASE + Memory.ERROR_BUCKETS;
/** So many of a kind at once. */
const BURST: u32 = 50;

/** Before the first answer. */
export function fillAnswers(): void {
  for (let kind: u32 = 0; kind < KINDS; kind++) {
    const bucket = BUCKETS + ((<usize>kind) << 3);
    store<u32>(bucket, BURST);
    store<u32>(bucket, now(), 4);
  }
}

function kindOf(slot: usize, type: u32, code: u32): u32 {
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    if (type === Icmp.UNREACHABLE) return code === Icmp.FRAGMENTATION_NEEDED ? TOO_BIG : OTHER;
    return type === Icmp.TIME_EXCEEDED ? TIME : OTHER;
  }
  return type === Icmp.V6_TOO_BIG ? TOO_BIG : type === Icmp.V6_TIME_EXCEEDED ? TIME : OTHER;
}

/** A token bucket over all ICMP errors of a kind: the rate a second, 50 at once, as the kernel's icmp_msgs_per_sec. */
function mayComplain(kind: u32): bool {
  const rate = setting(Setting.ICMP_RATE);
  if (rate === 0) return true;
  const bucket = BUCKETS + ((<usize>kind) << 3);
  const burst: u32 = rate < BURST ? rate : BURST;
  let tokens = load<u32>(bucket);
  if (tokens > burst) tokens = burst;
  const earned = (<u64>(now() - load<u32>(bucket, 4)) * <u64>rate) / Memory.TICKS_PER_SECOND;
  if (earned > 0) {
    tokens = <u64>tokens + earned > <u64>burst ? burst : tokens + <u32>earned;
    store<u32>(bucket, now(), 4);
  }
  store<u32>(bucket, tokens === 0 ? 0 : tokens - 1);
  if (tokens === 0) count(Counters.ERRORS_WITHHELD, 1);
  return tokens !== 0;
}

/** Whether a packet may be answered with an ICMP error (RFC 1122, 3.2.2; RFC 4443, 2.4 e). */
function deservesError(slot: usize, type: u32, code: u32): bool {
  const flags = <u32>load<u16>(slot, Slot.FLAGS);
  if ((flags & (Slot.LATER_FRAGMENT | Slot.LINK_BROADCAST | Slot.GENERATED)) !== 0) return false;
  const ip = <usize>load<u32>(slot, Slot.IP);
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    const source = load<u32>(ip, Ipv4.SOURCE);
    const destination = load<u32>(ip, Ipv4.DESTINATION);
    if (source === 0 || Ipv4.isMulticast(source) || source === 0xffffffff) return false;
    // What is from us is so on behalf of a client (full NAT), who is told, or nobody is.
    if (findAddress4(source) !== 0 && answered(slot, true) === 0) return false;
    if (Ipv4.isMulticast(destination) || destination === 0xffffffff) return false;
    if (protocol === Protocol.ICMP) {
      if (transport >= end) return false;
      const about = <i32>load<u8>(transport);
      if (
        about !== Icmp.ECHO &&
        about !== Icmp.ECHO_REPLY &&
        about !== Icmp.TIMESTAMP &&
        about !== Icmp.TIMESTAMP_REPLY &&
        (about < 15 || about > 18)
      )
        return false;
    }
  } else {
    const source = ip + Ipv6.SOURCE;
    if (isZero16(source) || Ipv6.isMulticast(source)) return false;
    if (isOurs6(source) && answered(slot, true) === 0) return false;
    if (Ipv6.isMulticast(ip + Ipv6.DESTINATION) && type !== Icmp.V6_TOO_BIG) return false;
    if (protocol === Protocol.ICMPV6) {
      if (transport >= end) return false;
      if (load<u8>(transport) < 128 || load<u8>(transport) === Icmp.V6_REDIRECT) return false;
    }
  }
  return mayComplain(kindOf(slot, type, code));
}

/**
 * Sends an ICMP error about the packet in `slot`, which stays the caller's. `info` is the second word (host order).
 * The source is the address that the packet was for when that is ours, else ours towards its sender.
 */
export function complain(slot: usize, type: u32, code: u32, info: u32): void {
  if (!deservesError(slot, type, code)) return;
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const reply = newPacket(family, slot);
  if (reply === 0) return;
  gather(slot);
  const ip = <usize>load<u32>(reply, Slot.IP);
  const about = <usize>load<u32>(slot, Slot.IP);
  const sender = sourceAt(slot);
  store<u32>(reply, load<u32>(slot, Slot.PORT_IN), Slot.PORT_IN);
  const local = (<u32>load<u16>(slot, Slot.FLAGS) & Slot.TO_DIRECTOR) !== 0;
  if (family === 4) {
    const room: u32 = ERROR_SIZE_4 - Ipv4.SIZE - Icmp.SIZE;
    const length = packetLength(slot);
    const quoted = length < room ? length : room;
    const icmp = ip + Ipv4.SIZE;
    store<u32>(ip, 0x45);
    store<u8>(ip, <u8>((<u32>load<u8>(about, Ipv4.TOS) & 0x1e) | 0xc0), Ipv4.TOS);
    Ipv4.setTotalLength(ip, Ipv4.SIZE + Icmp.SIZE + quoted);
    store16(ip + Ipv4.ID, nextId());
    store<u16>(ip, 0, Ipv4.FRAGMENT);
    store<u8>(ip, 64, Ipv4.TTL);
    store<u8>(ip, Protocol.ICMP, Ipv4.PROTOCOL);
    const route = findRoute(4, sender);
    if (route === 0) {
      giveSlot(reply);
      return;
    }
    const source = local ? load<u32>(about, Ipv4.DESTINATION) : sourceFor4(<usize>load<u32>(route, Route.PORT), sender);
    store<u32>(ip, source, Ipv4.SOURCE);
    store<u32>(ip, load<u32>(sender), Ipv4.DESTINATION);
    memory.copy(icmp + Icmp.SIZE, about, <usize>quoted);
    store<u8>(icmp, <u8>type, Icmp.TYPE);
    store<u8>(icmp, <u8>code, Icmp.CODE);
    store<u16>(icmp, 0, Icmp.CHECKSUM);
    store32(icmp + Icmp.REST, info);
    store<u16>(icmp, <u16>checksum(icmp, Icmp.SIZE + quoted, 0), Icmp.CHECKSUM);
    Ipv4.seal(ip);
    store<u32>(reply, <u32>icmp, Slot.TRANSPORT);
    store<u32>(reply, <u32>(icmp + Icmp.SIZE + <usize>quoted), Slot.END);
    store<u8>(reply, Protocol.ICMP, Slot.PROTOCOL);
  } else {
    const room: u32 = ERROR_SIZE_6 - Ipv6.SIZE - Icmp.SIZE;
    const length = packetLength(slot);
    const quoted = length < room ? length : room;
    const icmp = ip + Ipv6.SIZE;
    store<u32>(ip, 0x60);
    store16(ip + Ipv6.PAYLOAD_LENGTH, Icmp.SIZE + quoted);
    store<u8>(ip, Protocol.ICMPV6, Ipv6.NEXT_HEADER);
    store<u8>(ip, 64, Ipv6.HOP_LIMIT);
    const near = Ipv6.isLinkLocal(sender);
    const route: usize = near ? 0 : findRoute(6, sender);
    if (route === 0 && !near) {
      giveSlot(reply);
      return;
    }
    if (local) {
      copy16(ip + Ipv6.SOURCE, about + Ipv6.DESTINATION);
    } else if (near) {
      copy16(ip + Ipv6.SOURCE, <usize>load<u32>(slot, Slot.PORT_IN) + Port.LINK_LOCAL);
    } else {
      const source = route + Route.SOURCE;
      copy16(ip + Ipv6.SOURCE, isZero16(source) ? <usize>load<u32>(route, Route.PORT) + Port.ADDRESS6 : source);
    }
    copy16(ip + Ipv6.DESTINATION, sender);
    memory.copy(icmp + Icmp.SIZE, about, <usize>quoted);
    store<u8>(icmp, <u8>type, Icmp.TYPE);
    store<u8>(icmp, <u8>code, Icmp.CODE);
    store<u16>(icmp, 0, Icmp.CHECKSUM);
    store32(icmp + Icmp.REST, info);
    const size = Icmp.SIZE + quoted;
    store<u16>(
      icmp,
      <u16>checksum(icmp, size, pseudo6(ip + Ipv6.SOURCE, ip + Ipv6.DESTINATION, Protocol.ICMPV6, size)),
      Icmp.CHECKSUM,
    );
    store<u32>(reply, <u32>icmp, Slot.TRANSPORT);
    store<u32>(reply, <u32>(icmp + <usize>size), Slot.END);
    store<u8>(reply, Protocol.ICMPV6, Slot.PROTOCOL);
  }
  sendOwn(reply);
}

/** Sends a packet of the core's own, through the translation that answers of a server on the director need. */
export function sendOwn(slot: usize): i32 {
  store<u16>(slot, <u16>(<u32>load<u16>(slot, Slot.FLAGS) & ~Slot.TO_DIRECTOR), Slot.FLAGS);
  replyFromDirector(slot);
  return routeTo(slot, destinationAt(slot));
}

/** ICMP codes by family: nothing takes the packet. */
export function portUnreachable(slot: usize): void {
  if (load<u8>(slot, Slot.FAMILY) === 4) complain(slot, Icmp.UNREACHABLE, Icmp.PORT_UNREACHABLE, 0);
  else complain(slot, Icmp.V6_UNREACHABLE, 4, 0);
}

export function hostUnreachable(slot: usize): void {
  if (load<u8>(slot, Slot.FAMILY) === 4) complain(slot, Icmp.UNREACHABLE, Icmp.HOST_UNREACHABLE, 0);
  else complain(slot, Icmp.V6_UNREACHABLE, 3, 0);
}

export function noRoute(slot: usize): void {
  if (load<u8>(slot, Slot.FAMILY) === 4) complain(slot, Icmp.UNREACHABLE, Icmp.NET_UNREACHABLE, 0);
  else complain(slot, Icmp.V6_UNREACHABLE, 0, 0);
}

export function timeExceeded(slot: usize, code: u32): void {
  complain(slot, load<u8>(slot, Slot.FAMILY) === 4 ? Icmp.TIME_EXCEEDED : Icmp.V6_TIME_EXCEEDED, code, 0);
}

export function packetTooBig(slot: usize, mtu: u32): void {
  if (load<u8>(slot, Slot.FAMILY) === 4) complain(slot, Icmp.UNREACHABLE, Icmp.FRAGMENTATION_NEEDED, mtu);
  else complain(slot, Icmp.V6_TOO_BIG, 0, mtu);
}

function swapAddresses(slot: usize): void {
  const source = sourceAt(slot);
  const destination = destinationAt(slot);
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    const held = load<u32>(source);
    store<u32>(source, load<u32>(destination));
    store<u32>(destination, held);
    return;
  }
  const low = load<u64>(source);
  const high = load<u64>(source, 8);
  copy16(source, destination);
  store<u64>(destination, low);
  store<u64>(destination, high, 8);
}

/** A fresh IP header's remaining fields for an answer in place, and the way back. */
function answerInPlace(slot: usize, verdictIfSent: i32): i32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  clearVnet(slot);
  store<u16>(slot, 0, Slot.FRAGMENT_LARGEST);
  store<u16>(slot, <u16>(<u32>load<u16>(slot, Slot.FLAGS) & ~Slot.TO_DIRECTOR), Slot.FLAGS);
  if (load<u8>(slot, Slot.FAMILY) === 4) Ipv4.seal(ip);
  replyFromDirector(slot);
  const verdict = routeTo(slot, destinationAt(slot));
  return verdict === Verdict.FORWARD ? verdictIfSent : verdict;
}

/** RST for a TCP segment that nothing takes (RFC 9293, 3.5.2), as often as the setting reset_rate lets. */
export function reset(slot: usize): i32 {
  const reason = resetRefusal(slot);
  if (reason !== 0) return drop(slot, reason);
  const rate = setting(Setting.RESET_RATE);
  if (rate !== 0) {
    if (!hasToken(RESETS, rate)) return drop(slot, Reason.RATE_LIMITED);
    takeToken(RESETS);
  }
  return finishSegment(slot, answerReset(slot, slot));
}

/** Why a segment is not answered with RST, or 0. */
function resetRefusal(slot: usize): i32 {
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  if (tcp + Tcp.SIZE > end) return Reason.TRANSPORT_TRUNCATED;
  const header = <usize>Tcp.headerLength(tcp);
  if (header < <usize>Tcp.SIZE || tcp + header > end) return Reason.TRANSPORT_TRUNCATED;
  if (!transportChecksumIsRight(slot)) return Reason.TRANSPORT_CHECKSUM;
  return (Tcp.flags(tcp) & Tcp.RST) !== 0 ? Reason.LOCAL_UNANSWERED : 0;
}

/** The RST for the segment in `about`, in `slot`, which has its headers. Returns where it ends. */
function answerReset(slot: usize, about: usize): usize {
  const tcp = <usize>load<u32>(about, Slot.TRANSPORT);
  const flags = Tcp.flags(tcp);
  if ((flags & Tcp.ACK) !== 0) return answerSegment(slot, load32(tcp + Tcp.ACKNOWLEDGEMENT), 0, Tcp.RST, 0);
  const data = load<u32>(about, Slot.END) - <u32>tcp - Tcp.headerLength(tcp);
  const length = data + (flags & Tcp.SYN ? 1 : 0) + (flags & Tcp.FIN ? 1 : 0);
  return answerSegment(slot, 0, load32(tcp + Tcp.SEQUENCE) + length, Tcp.RST | Tcp.ACK, 0);
}

/** The same, the segment itself staying the caller's; only as often as ICMP errors are sent. */
export function resetApart(slot: usize): void {
  if (resetRefusal(slot) !== 0 || !mayComplain(LIMIT)) return;
  const ip = <usize>load<u32>(slot, Slot.IP);
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const reply = newPacket(<u32>load<u8>(slot, Slot.FAMILY), slot);
  if (reply === 0) return;
  const copy = <usize>load<u32>(reply, Slot.IP);
  memory.copy(copy, ip, tcp + Tcp.SIZE - ip);
  store<u32>(reply, <u32>(copy + (tcp - ip)), Slot.TRANSPORT);
  store<u8>(reply, Protocol.TCP, Slot.PROTOCOL);
  store<u32>(reply, load<u32>(slot, Slot.PORT_IN), Slot.PORT_IN);
  finishSegment(reply, answerReset(reply, slot));
}

/**
 * Turns a segment into its answer: headers without options. Returns where options go; finishSegment() MUST follow.
 */
export function answerSegment(slot: usize, sequence: u32, acknowledgement: u32, flags: u32, window: u32): usize {
  const ports = load<u32>(<usize>load<u32>(slot, Slot.TRANSPORT));
  swapAddresses(slot);
  return segmentHeader(slot, (ports >> 16) | (ports << 16), sequence, acknowledgement, flags, window);
}

/** Sends what answerSegment() began; its options end at `end`. */
export function finishSegment(slot: usize, end: usize): i32 {
  sealSegment(slot, end);
  return answerInPlace(slot, Verdict.LOCAL);
}

/**
 * A segment of the core's own without options or data, between addresses that are there: its TCP header follows the IP
 * header at once. Ports as they lie in the header.
 */
export function bareSegment(slot: usize, ports: u32, sequence: u32, acknowledgement: u32, flags: u32): void {
  sealSegment(slot, segmentHeader(slot, ports, sequence, acknowledgement, flags, 0));
}

/** The headers of such a segment; returns where options go. sealSegment() MUST follow. */
export function segmentHeader(
  slot: usize,
  ports: u32,
  sequence: u32,
  acknowledgement: u32,
  flags: u32,
  window: u32,
): usize {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const four = load<u8>(slot, Slot.FAMILY) === 4;
  const tcp = ip + (four ? Ipv4.SIZE : Ipv6.SIZE);
  store<u32>(tcp, ports);
  store32(tcp + Tcp.SEQUENCE, sequence);
  store32(tcp + Tcp.ACKNOWLEDGEMENT, acknowledgement);
  store<u8>(tcp, <u8>flags, Tcp.FLAGS);
  store16(tcp + Tcp.WINDOW, window);
  store<u16>(tcp, 0, Tcp.URGENT);
  if (four) {
    store<u16>(ip, 0x45);
    store<u16>(ip, 0, Ipv4.ID);
    store16(ip + Ipv4.FRAGMENT, Ipv4.DF);
    store<u8>(ip, 64, Ipv4.TTL);
    store<u8>(ip, Protocol.TCP, Ipv4.PROTOCOL);
  } else {
    store<u32>(ip, 0x60);
    store<u8>(ip, Protocol.TCP, Ipv6.NEXT_HEADER);
    store<u8>(ip, 64, Ipv6.HOP_LIMIT);
  }
  store<u32>(slot, <u32>tcp, Slot.TRANSPORT);
  return tcp + Tcp.SIZE;
}

/**
 * A TCP segment without data whose header ends at `end`: lengths and checksums, whatever they were; no offload is left.
 */
export function sealSegment(slot: usize, end: usize): void {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const length = <u32>(end - tcp);
  clearVnet(slot);
  store<u16>(slot, 0, Slot.FRAGMENT_LARGEST);
  store<u32>(slot, <u32>end, Slot.END);
  store<u8>(tcp, <u8>((length >> 2) << 4), Tcp.OFFSET);
  let pseudo: u64;
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    Ipv4.setTotalLength(ip, <u32>(end - ip));
    Ipv4.seal(ip);
    pseudo = pseudo4(load<u32>(ip, Ipv4.SOURCE), load<u32>(ip, Ipv4.DESTINATION), Protocol.TCP, length);
  } else {
    store16(ip + Ipv6.PAYLOAD_LENGTH, <u32>(end - ip) - Ipv6.SIZE);
    pseudo = pseudo6(ip + Ipv6.SOURCE, ip + Ipv6.DESTINATION, Protocol.TCP, length);
  }
  store<u16>(tcp, 0, Tcp.CHECKSUM);
  store<u16>(tcp, <u16>checksum(tcp, length, pseudo), Tcp.CHECKSUM);
}

/** Echo and timestamp requests to one of our addresses. */
export function answerIcmp4(slot: usize): i32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const icmp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  if (icmp + Icmp.SIZE > end) return drop(slot, Reason.ICMP_MALFORMED);
  if (!transportChecksumIsRight(slot)) return drop(slot, Reason.TRANSPORT_CHECKSUM);
  const type = <i32>load<u8>(icmp, Icmp.TYPE);
  if (type === Icmp.ECHO) {
    store<u8>(icmp, Icmp.ECHO_REPLY, Icmp.TYPE);
  } else if (type === Icmp.TIMESTAMP) {
    if (icmp + 20 > end) return drop(slot, Reason.ICMP_MALFORMED);
    store<u8>(icmp, Icmp.TIMESTAMP_REPLY, Icmp.TYPE);
    store32(icmp + 12, word(Memory.DAY_MS));
    store32(icmp + 16, word(Memory.DAY_MS));
  } else {
    return drop(slot, Reason.LOCAL_UNANSWERED);
  }
  if (!isOurs4(load<u32>(ip, Ipv4.DESTINATION))) return drop(slot, Reason.BROADCAST);
  store<u16>(icmp, 0, Icmp.CHECKSUM);
  store<u16>(icmp, <u16>checksum(icmp, <u32>(end - icmp), 0), Icmp.CHECKSUM);
  swapAddresses(slot);
  store16(ip + Ipv4.ID, nextId());
  store<u16>(ip, 0, Ipv4.FRAGMENT);
  store<u8>(ip, 64, Ipv4.TTL);
  return answerInPlace(slot, Verdict.LOCAL);
}

export function answerEcho6(slot: usize): i32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const icmp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  swapAddresses(slot);
  store<u8>(icmp, Icmp.V6_ECHO_REPLY, Icmp.TYPE);
  store<u16>(icmp, 0, Icmp.CHECKSUM);
  const length = <u32>(end - icmp);
  // Extension headers of the question are not repeated.
  const answer = ip + Ipv6.SIZE;
  if (answer !== icmp) memory.copy(answer, icmp, <usize>length);
  store16(ip + Ipv6.PAYLOAD_LENGTH, length);
  store<u8>(ip, Protocol.ICMPV6, Ipv6.NEXT_HEADER);
  store<u8>(ip, 64, Ipv6.HOP_LIMIT);
  store<u16>(
    answer,
    <u16>checksum(answer, length, pseudo6(ip + Ipv6.SOURCE, ip + Ipv6.DESTINATION, Protocol.ICMPV6, length)),
    Icmp.CHECKSUM,
  );
  store<u32>(slot, <u32>answer, Slot.TRANSPORT);
  store<u32>(slot, <u32>(answer + <usize>length), Slot.END);
  return answerInPlace(slot, Verdict.LOCAL);
}

/** A host with nothing listening. */
export function deliverLocally(slot: usize): i32 {
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  if ((<u32>load<u16>(slot, Slot.FLAGS) & Slot.LINK_BROADCAST) !== 0) return drop(slot, Reason.BROADCAST);
  if (protocol === Protocol.TCP) return reset(slot);
  if (protocol === Protocol.UDP) {
    if (transport + Udp.SIZE > end) return drop(slot, Reason.TRANSPORT_TRUNCATED);
    const length = load16(transport + Udp.LENGTH);
    if (length < <u32>Udp.SIZE || transport + <usize>length > end) return drop(slot, Reason.TRANSPORT_TRUNCATED);
    const four = load<u8>(slot, Slot.FAMILY) === 4;
    const unchecked = load<u16>(transport, Udp.CHECKSUM) === 0;
    if (unchecked && !four) return drop(slot, Reason.TRANSPORT_CHECKSUM);
    if (!unchecked && !transportChecksumIsRight(slot)) return drop(slot, Reason.TRANSPORT_CHECKSUM);
    portUnreachable(slot);
    giveSlot(slot);
    return Verdict.LOCAL;
  }
  if (load<u8>(slot, Slot.FAMILY) === 4) complain(slot, Icmp.UNREACHABLE, Icmp.PROTOCOL_UNREACHABLE, 0);
  else complain(slot, Icmp.V6_PARAMETER_PROBLEM, 1, load<u32>(slot, Slot.NEXT_HEADER) - load<u32>(slot, Slot.IP));
  giveSlot(slot);
  return Verdict.LOCAL;
}
