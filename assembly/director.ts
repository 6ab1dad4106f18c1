/**
 * The frame's journey. Each function is a stage; each frame leaves with one verdict.
 *
 *   link -> ARP | IP check -> ours? -> put together -> virtual service -> host
 *                                   -> router: TTL, MTU -> a server's answer -> next hop
 */

import { answerIcmp4, deliverLocally, noRoute, packetTooBig } from "./answer";
import { receiveArp } from "./arp";
import { findTransport6 } from "./extension-header";
import { decrementTtl, isTooBig } from "./forward";
import { compileOptions, restamp } from "./ip-options";
import { CONTINUE, receiveError, receiveIn, receiveOut } from "./ipvs";
import * as Address from "./layout/address";
import * as Hint from "./layout/hint";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Protocol from "./layout/protocol";
import * as Reason from "./layout/reason";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { outgoing } from "./lookup";
import { mark } from "./marks";
import { receiveIcmp6 } from "./ndp";
import { setNextHop } from "./neighbour";
import { isKnown } from "./protocol/index";
import { ABSORBED, DROPPED, reassemble } from "./reassembly";
import { isIcmp } from "./reply";
import { drop } from "./send";
import { findAddress4, findAddress6 } from "./table/address";
import { isEnabled, setting, word } from "./table/memory";
import { isLink } from "./table/port";
import { findRoute, isLocal4, isLocal6 } from "./table/route";
import { deliver, destinationAt } from "./transmit";
import { isZero16 } from "./wire/bytes";
import { checksum } from "./wire/checksum";
import * as Ethernet from "./wire/ethernet";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import * as Vnet from "./wire/virtionet";

/** One frame, from the port that it came in by to its verdict. Its slot was reset when it was taken to receive into. */
export function receive(slot: usize): i32 {
  const port = <usize>load<u32>(slot, Slot.PORT_IN);
  const frame = <usize>load<u32>(slot, Slot.FRAME);
  const length = load<u32>(slot, Slot.LENGTH);
  if (length > <u32>Slot.FRAME_MAX) return drop(slot, Reason.FRAME_OVERSIZED);
  const start = frame + Vnet.SIZE;
  const end = frame + <usize>length;
  store<u32>(slot, <u32>start, Slot.ETHERNET);
  store<u32>(slot, <u32>end, Slot.END);
  if (!isLink(port)) {
    if (length < <u32>(Vnet.SIZE + Ipv4.SIZE)) return drop(slot, Reason.FRAME_TRUNCATED);
    if (!offloadIsSane(frame, start, end)) return drop(slot, Reason.VNET_HEADER_BAD);
    store<u32>(slot, <u32>start, Slot.IP);
    const version = <u32>load<u8>(start) >> 4;
    if (version === 4) return receive4(slot);
    if (version === 6) return receive6(slot);
    return drop(slot, Reason.IP_MALFORMED);
  }
  if (length < <u32>(Vnet.SIZE + Ethernet.SIZE)) return drop(slot, Reason.FRAME_TRUNCATED);
  if (!offloadIsSane(frame, start, end)) return drop(slot, Reason.VNET_HEADER_BAD);
  if (Ethernet.isGroup(start)) store<u16>(slot, Slot.LINK_BROADCAST, Slot.FLAGS);
  else if (!Ethernet.sameMac(start, port + Port.MAC)) return drop(slot, Reason.NOT_FOR_US);
  let header: usize = Ethernet.SIZE;
  let type = Ethernet.etherType(start);
  // Tags stay as they are; the packet behind them is looked at.
  for (let tags = 0; tags < 2 && (type === Ethernet.VLAN || type === Ethernet.SERVICE_VLAN); tags++) {
    header += Ethernet.TAG_SIZE;
    if (start + header > end) return drop(slot, Reason.FRAME_TRUNCATED);
    type = Ethernet.etherType(start + header - Ethernet.SIZE);
  }
  store<u32>(slot, <u32>header, Slot.LINK_LENGTH);
  const packet = start + header;
  store<u32>(slot, <u32>packet, Slot.IP);
  if (type === Ethernet.IPV4) return receive4(slot);
  if (type === Ethernet.IPV6) return receive6(slot);
  if (type === Ethernet.ARP) return receiveArp(slot, packet, <u32>(end - packet));
  return drop(slot, Reason.UNKNOWN_ETHERTYPE);
}

/** Whether what the device says of checksum and segments lies within the frame. */
function offloadIsSane(vnet: usize, start: usize, end: usize): bool {
  const flags = <u32>load<u8>(vnet, Vnet.FLAGS);
  const type = <i32>load<u8>(vnet, Vnet.GSO_TYPE) & ~Vnet.GSO_ECN;
  if ((flags & Vnet.NEEDS_CHECKSUM) !== 0) {
    const at = <usize>load<u16>(vnet, Vnet.CHECKSUM_START) + <usize>load<u16>(vnet, Vnet.CHECKSUM_OFFSET);
    if (start + at + 2 > end) return false;
  }
  if (type === Vnet.GSO_NONE) return load<u8>(vnet, Vnet.GSO_TYPE) === 0;
  // A super-frame without partial checksum cannot be cut.
  if ((flags & Vnet.NEEDS_CHECKSUM) === 0 || load<u16>(vnet, Vnet.GSO_SIZE) === 0) return false;
  return type === Vnet.GSO_TCPV4 || type === Vnet.GSO_TCPV6 || type === Vnet.GSO_UDP_L4;
}

/** Whether the offload is for the transport header that the packet really has. */
function offloadFits(slot: usize): bool {
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  if ((load<u8>(vnet, Vnet.FLAGS) & Vnet.NEEDS_CHECKSUM) === 0) return true;
  // The checksum of a fragment's packet is in another frame too.
  if ((<u32>load<u16>(slot, Slot.FLAGS) & Slot.FRAGMENT) !== 0) return false;
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  if (vnet + Vnet.SIZE + <usize>load<u16>(vnet, Vnet.CHECKSUM_START) !== transport) return false;
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  const offset = <i32>load<u16>(vnet, Vnet.CHECKSUM_OFFSET);
  const type = <i32>load<u8>(vnet, Vnet.GSO_TYPE) & ~Vnet.GSO_ECN;
  const end = <usize>load<u32>(slot, Slot.END);
  if (transport + <usize>offset + 2 > end) return false;
  if (type === Vnet.GSO_NONE) {
    if (protocol === Protocol.TCP) return offset === 16;
    if (protocol === Protocol.UDP) return offset === 6;
    return true;
  }
  if (type === Vnet.GSO_UDP_L4) return protocol === Protocol.UDP && offset === 6 && transport + 8 < end;
  if (protocol !== Protocol.TCP || offset !== 16 || transport + 20 > end) return false;
  if ((type === Vnet.GSO_TCPV4) !== (load<u8>(slot, Slot.FAMILY) === 4)) return false;
  const header = (<usize>load<u8>(transport, 12) >> 4) << 2;
  return header >= 20 && transport + header < end;
}

function receive4(slot: usize): i32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const end = <usize>load<u32>(slot, Slot.END);
  if (ip + Ipv4.SIZE > end) return drop(slot, Reason.FRAME_TRUNCATED);
  const header = <usize>Ipv4.headerLength(ip);
  const total = <usize>Ipv4.totalLength(ip);
  if (<u32>load<u8>(ip) >> 4 !== 4 || header < <usize>Ipv4.SIZE || total < header)
    return drop(slot, Reason.IP_MALFORMED);
  if (ip + total > end) return drop(slot, Reason.FRAME_TRUNCATED);
  if (checksum(ip, <u32>header, 0) !== 0) return drop(slot, Reason.IP_CHECKSUM);
  store<u32>(slot, <u32>(ip + total), Slot.END);
  store<u32>(slot, <u32>(ip + header), Slot.TRANSPORT);
  store<u8>(slot, 4, Slot.FAMILY);
  store<u8>(slot, load<u8>(ip, Ipv4.PROTOCOL), Slot.PROTOCOL);
  let flags = <u32>load<u16>(slot, Slot.FLAGS);
  const fragment = Ipv4.fragment(ip);
  if ((fragment & (Ipv4.OFFSET_MASK | Ipv4.MF)) !== 0) flags |= Slot.FRAGMENT;
  if ((fragment & Ipv4.OFFSET_MASK) !== 0) flags |= Slot.LATER_FRAGMENT;

  const source = load<u32>(ip, Ipv4.SOURCE);
  const destination = load<u32>(ip, Ipv4.DESTINATION);
  if ((source & 0xff) === 0 || Ipv4.isMulticast(source) || Ipv4.isLoopback(source) || source === 0xffffffff)
    return drop(slot, Reason.SOURCE_INVALID);
  if ((findAddress4(source) !== 0 || isLocal4(source, 0)) && !isShared(slot, source))
    return drop(slot, Reason.SOURCE_INVALID);
  if ((destination & 0xff) === 0 || Ipv4.isLoopback(destination)) return drop(slot, Reason.DESTINATION_INVALID);
  // The first pass has asked for the destination's record.
  const record: usize =
    (load<u8>(slot, Slot.HINT) & Hint.HINT_SIDE) === Hint.HINT_DESTINATION ? 0 : findAddress4(destination);
  if (
    destination === 0xffffffff ||
    Ipv4.isMulticast(destination) ||
    (record !== 0 && (load<u8>(record, Address.FLAGS) & Address.FLAG_BROADCAST) !== 0)
  )
    return drop(slot, Reason.BROADCAST);
  if ((flags & Slot.LINK_BROADCAST) !== 0) return drop(slot, Reason.BROADCAST);
  store<u16>(slot, <u16>flags, Slot.FLAGS);
  if (!offloadFits(slot)) return drop(slot, Reason.VNET_HEADER_BAD);
  if (word(Memory.MARK_COUNT) !== 0) mark(slot);
  const ours = record !== 0 || isLocal4(destination, load<u32>(slot, Slot.MARK));
  if (ours) store<u16>(slot, <u16>(flags | Slot.TO_DIRECTOR), Slot.FLAGS);
  if (header > <usize>Ipv4.SIZE) {
    const route: usize = ours ? 0 : findRoute(4, ip + Ipv4.DESTINATION);
    if (!compileOptions(slot, route)) return drop(slot, Reason.IP_OPTIONS);
  }
  return ours ? toDirector(slot) : routeOn(slot);
}

/**
 * forward_shared: a packet from a virtual address (raw) may be an answer of a real server that has the address too, when
 * there is a connection that it belongs to. A fragment does not tell.
 */
function isShared(slot: usize, sourceBe: u32): bool {
  if (setting(Setting.FORWARD_SHARED) === 0) return false;
  const record = findAddress4(sourceBe);
  if (record !== 0 && (load<u8>(record, Address.FLAGS) & Address.FLAG_VIRTUAL) === 0) return false;
  const ip = <usize>load<u32>(slot, Slot.IP);
  return (Ipv4.fragment(ip) & (Ipv4.OFFSET_MASK | Ipv4.MF)) !== 0 || outgoing(slot, false) !== 0;
}

function receive6(slot: usize): i32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const end = <usize>load<u32>(slot, Slot.END);
  if (ip + Ipv6.SIZE > end) return drop(slot, Reason.FRAME_TRUNCATED);
  if (<u32>load<u8>(ip) >> 4 !== 6) return drop(slot, Reason.IP_MALFORMED);
  const total = <usize>Ipv6.SIZE + <usize>Ipv6.payloadLength(ip);
  if (ip + total > end) return drop(slot, Reason.FRAME_TRUNCATED);
  store<u32>(slot, <u32>(ip + total), Slot.END);
  store<u8>(slot, 6, Slot.FAMILY);
  const source = ip + Ipv6.SOURCE;
  const destination = ip + Ipv6.DESTINATION;
  if (Ipv6.isMulticast(source) || Ipv6.isLoopback(source)) return drop(slot, Reason.SOURCE_INVALID);
  if (isZero16(destination) || Ipv6.isLoopback(destination)) return drop(slot, Reason.DESTINATION_INVALID);
  if (!findTransport6(slot)) return drop(slot, Reason.EXTENSION_HEADER);
  let flags = <u32>load<u16>(slot, Slot.FLAGS);
  if (!offloadFits(slot)) return drop(slot, Reason.VNET_HEADER_BAD);
  if (Ipv6.isMulticast(destination)) {
    // Neighbour discovery is all that we listen to there.
    if (load<u8>(slot, Slot.PROTOCOL) === Protocol.ICMPV6 && (flags & Slot.FRAGMENT) === 0) return receiveIcmp6(slot);
    return drop(slot, Reason.BROADCAST);
  }
  if ((flags & Slot.LINK_BROADCAST) !== 0) return drop(slot, Reason.BROADCAST);
  if (isZero16(source) && load<u8>(slot, Slot.PROTOCOL) !== Protocol.ICMPV6) return drop(slot, Reason.SOURCE_INVALID);
  if (word(Memory.MARK_COUNT) !== 0) mark(slot);
  if (isLocal6(source, 0)) return drop(slot, Reason.SOURCE_INVALID);
  if (findAddress6(destination) !== 0 || isLocal6(destination, load<u32>(slot, Slot.MARK))) {
    flags |= Slot.TO_DIRECTOR;
    store<u16>(slot, <u16>flags, Slot.FLAGS);
    return toDirector(slot);
  }
  if (Ipv6.isLinkLocal(destination) || Ipv6.isLinkLocal(source)) return drop(slot, Reason.NOT_FORWARDING);
  if (isZero16(source)) return drop(slot, Reason.SOURCE_INVALID);
  return routeOn(slot);
}

/** A packet for one of our addresses: whole, then for a virtual service, then for the host. */
function toDirector(fragmentOrWhole: usize): i32 {
  const slot = whole(fragmentOrWhole);
  if (slot <= DROPPED)
    return slot === ABSORBED ? Verdict.CONSUMED : drop(fragmentOrWhole, <i32>load<u8>(fragmentOrWhole, Slot.REASON));
  const verdict = receiveIn(slot);
  if (verdict !== CONTINUE) return verdict;
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    if (protocol === Protocol.ICMP) return answerIcmp4(slot);
  } else if (protocol === Protocol.ICMPV6) {
    return receiveIcmp6(slot);
  }
  return deliverLocally(slot);
}

/** The packet itself, or the one that this fragment completes; ABSORBED or DROPPED otherwise. */
function whole(slot: usize): usize {
  if ((<u32>load<u16>(slot, Slot.FLAGS) & Slot.FRAGMENT) === 0) return slot;
  const port = load<u32>(slot, Slot.PORT_IN);
  const complete = reassemble(slot);
  if (complete > DROPPED) store<u8>(complete, 0, Slot.HINT);
  if (complete > DROPPED) store<u32>(complete, port, Slot.PORT_IN);
  return complete;
}

/** A packet for somebody else: what a router does (ip_forward), and on the way a look for servers' answers. */
function routeOn(fragmentOrWhole: usize): i32 {
  let slot = fragmentOrWhole;
  if (word(Memory.IP_FORWARD) === 0) return drop(slot, Reason.NOT_FORWARDING);
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const route = findRoute(family, destinationAt(slot));
  if (route === 0) {
    noRoute(slot);
    return drop(slot, Reason.NO_ROUTE);
  }
  const ip = <usize>load<u32>(slot, Slot.IP);
  setNextHop(slot, route, destinationAt(slot));
  const mtu = load<u32>(slot, Slot.MTU);
  // The kernel's order differs by family: IPv4 looks at the TTL, then at the length, then counts down.
  if (family === 4) {
    if (load<u8>(ip, Ipv4.TTL) <= 1) {
      decrementTtl(slot);
      return drop(slot, Reason.TTL_EXPIRED);
    }
    if (isTooBig(slot, mtu)) {
      packetTooBig(slot, mtu);
      return drop(slot, Reason.MTU_EXCEEDED);
    }
    Ipv4.decrementTtl(ip);
  } else {
    if (load<u8>(ip, Ipv6.HOP_LIMIT) <= 1) {
      decrementTtl(slot);
      return drop(slot, Reason.TTL_EXPIRED);
    }
    if ((<u32>load<u16>(slot, Slot.FLAGS) & Slot.FRAGMENT) === 0 && isTooBig(slot, mtu)) {
      packetTooBig(slot, mtu);
      return drop(slot, Reason.MTU_EXCEEDED);
    }
    decrementTtl(slot);
  }
  if (isEnabled(family) && (isIcmp(slot) || isKnown(<i32>load<u8>(slot, Slot.PROTOCOL)))) {
    slot = whole(slot);
    if (slot <= DROPPED)
      return slot === ABSORBED ? Verdict.CONSUMED : drop(fragmentOrWhole, <i32>load<u8>(fragmentOrWhole, Slot.REASON));
    if (slot !== fragmentOrWhole) setNextHop(slot, findRoute(family, destinationAt(slot)), destinationAt(slot));
    if (isIcmp(slot)) {
      const verdict = receiveError(slot);
      if (verdict !== CONTINUE) return verdict;
    }
    const source = family === 4 ? load<u32>(<usize>load<u32>(slot, Slot.IP), Ipv4.SOURCE) : 0;
    const verdict = receiveOut(slot);
    if (verdict !== CONTINUE) return verdict;
    if (family === 4 && load<u32>(<usize>load<u32>(slot, Slot.IP), Ipv4.SOURCE) !== source) restamp(slot);
  }
  return deliver(slot);
}
