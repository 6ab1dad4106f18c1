/**
 * Tunnels to real servers: the packet whole behind an outer header, by IPIP (RFC 2003, RFC 2473, RFC 4213), GRE (RFC
 * 2784) or GUE, over IPv4 or IPv6 whatever the family inside. Headers grow into the slot's headroom; nothing is copied.
 *
 * TTL and TOS of the outer header are the packet's, ECN as RFC 6040 has it (a congestion mark stays inside).
 */
import * as Forwarding from "../layout/forwarding";
import * as Memory from "../layout/memory";
import * as Protocol from "../layout/protocol";
import * as Reason from "../layout/reason";
import * as Server from "../layout/server";
import * as Slot from "../layout/slot";
import { setWord, word } from "../table/memory";
import { gather, headroom } from "../table/slot";
import { copy16, store16 } from "../wire/bytes";
import { checksum, pseudo4, pseudo6 } from "../wire/checksum";
import * as Ethernet from "../wire/ethernet";
import * as Gre from "../wire/gre";
import * as Gue from "../wire/gue";
import * as Ipv4 from "../wire/ipv4";
import * as Ipv6 from "../wire/ipv6";
import { completeChecksum, isPartial } from "../wire/offload";
import * as Udp from "../wire/udp";
import * as Vnet from "../wire/virtionet";

/** Source ports of GUE: the local port range of a host. */
const PORT_FIRST: u32 = 32768;
const PORT_COUNT: u32 = 60999 - 32768;
const CONGESTION: u32 = 3;
const CAPABLE: u32 = 2;

/** Bytes that a tunnel to `server` puts before a packet: outer IP header and what follows it. */
export function tunnelOverhead(server: usize): u32 {
  const outer: u32 = load<u8>(server, Server.FAMILY) === 6 ? Ipv6.SIZE : Ipv4.SIZE;
  return outer + shimLength(server, false);
}

/** The same for the packet in `slot`: a checksum left to the far end takes an option more. */
export function tunnelOverheadOf(server: usize, slot: usize): u32 {
  return tunnelOverhead(server) + (leavesChecksum(server, slot) ? Gue.REMOTE_CHECKSUM_SIZE : 0);
}

/**
 * Puts the tunnel's headers before the packet in `slot` (FRAME, IP, TRANSPORT, PROTOCOL, END, FAMILY set, headers
 * checked, no super-frame: those are segmented before). `source` points at the outer source address, of the family of
 * `server`. With `mayForbid`, DF of an IPv4 packet is repeated outside when the outer header is IPv4.
 *
 * Then IP, TRANSPORT, PROTOCOL, FAMILY, FRAME and LENGTH are those of the outer packet, with what lay before the inner
 * one; the vnet header is zero, and a pending checksum is completed (or left to the far end: GUE, remote checksum).
 * FRAGMENT_LARGEST stays: a packet that came in fragments leaves in no larger ones. False with slot.REASON if it does
 * not fit; the packet is then as it was.
 */
export function encapsulate(slot: usize, server: usize, source: usize, mayForbid: bool): bool {
  const inner = <usize>load<u32>(slot, Slot.IP);
  const end = <usize>load<u32>(slot, Slot.END);
  const length = <u32>(end - inner);
  const innerIsV6 = load<u8>(slot, Slot.FAMILY) === 6;
  const isV6 = load<u8>(server, Server.FAMILY) === 6;
  const remote = leavesChecksum(server, slot);
  const shim = shimLength(server, remote);
  const outerSize: u32 = isV6 ? Ipv6.SIZE : Ipv4.SIZE;
  if (length + shim + (isV6 ? 0 : outerSize) > 0xffff) return refuse(slot, Reason.MTU_EXCEEDED);
  if (outerSize + shim > headroom(slot)) return refuse(slot, Reason.FRAME_OVERSIZED);
  if (sumsPayload(server)) gather(slot);

  const frame = <usize>load<u32>(slot, Slot.FRAME);
  const prefix = inner - frame;
  const checkStart = remote ? <u32>(frame + Slot.VNET_SIZE - inner) + load<u16>(frame, Vnet.CHECKSUM_START) : 0;
  const checkField = remote ? checkStart + load<u16>(frame, Vnet.CHECKSUM_OFFSET) : 0;
  if (!remote) completeChecksum(slot);
  const flow = sourcePort(slot);

  let ttl: u32;
  let tos: u32;
  let forbids = false;
  if (innerIsV6) {
    ttl = load<u8>(inner, Ipv6.HOP_LIMIT);
    tos = ((<u32>load<u8>(inner) & 15) << 4) | (<u32>load<u8>(inner, 1) >> 4);
  } else {
    ttl = load<u8>(inner, Ipv4.TTL);
    tos = load<u8>(inner, Ipv4.TOS);
    forbids = mayForbid && (Ipv4.fragment(inner) & Ipv4.DF) !== 0;
  }
  if ((tos & 3) === CONGESTION) tos = (tos & ~3) | CAPABLE;

  const payload = inner - <usize>shim;
  const outer = payload - <usize>outerSize;
  // What lies before the packet (link header, tags) moves along, before the outer headers come over it.
  const moved = outer - prefix;
  memory.copy(moved, frame, prefix);
  memory.fill(moved, 0, Slot.VNET_SIZE);
  if (isV6) {
    store16(outer, 0x6000 | (tos << 4));
    store16(outer + 2, 0);
    store16(outer + Ipv6.PAYLOAD_LENGTH, length + shim);
    store<u8>(outer, <u8>ttl, Ipv6.HOP_LIMIT);
    copy16(outer + Ipv6.SOURCE, source);
    copy16(outer + Ipv6.DESTINATION, server + Server.ADDRESS);
  } else {
    store<u8>(outer, 0x45);
    store<u8>(outer, <u8>tos, Ipv4.TOS);
    Ipv4.setTotalLength(outer, length + shim + outerSize);
    store16(outer + Ipv4.ID, forbids ? 0 : nextId());
    store16(outer + Ipv4.FRAGMENT, forbids ? Ipv4.DF : 0);
    store<u8>(outer, <u8>ttl, Ipv4.TTL);
    store<u32>(outer, load<u32>(source), Ipv4.SOURCE);
    store<u32>(outer, load<u32>(server, Server.ADDRESS), Ipv4.DESTINATION);
  }

  const carried: u32 = innerIsV6 ? Protocol.IPV6 : Protocol.IPIP;
  let protocol = carried;
  const kind = <u32>load<u8>(server, Server.TUNNEL_TYPE);
  const flags = <u32>load<u8>(server, Server.TUNNEL_FLAGS);
  if (kind === Forwarding.TUNNEL_GRE) {
    protocol = Protocol.GRE;
    Gre.write(payload, innerIsV6 ? Ethernet.IPV6 : Ethernet.IPV4, length, (flags & Forwarding.TUNNEL_CHECKSUM) !== 0);
  } else if (kind === Forwarding.TUNNEL_GUE) {
    protocol = Protocol.UDP;
    const gue = payload + Udp.SIZE;
    if (remote) Gue.writeRemote(gue, carried, checkStart, checkField);
    else Gue.write(gue, carried);
    const datagram = length + shim;
    store16(payload + Udp.SOURCE_PORT, flow);
    store<u16>(payload, load<u16>(server, Server.TUNNEL_PORT), Udp.DESTINATION_PORT);
    store16(payload + Udp.LENGTH, datagram);
    store<u16>(payload, 0, Udp.CHECKSUM);
    if ((flags & (Forwarding.TUNNEL_CHECKSUM | Forwarding.TUNNEL_REMOTE_CHECKSUM)) !== 0) {
      const pseudo = isV6
        ? pseudo6(outer + Ipv6.SOURCE, outer + Ipv6.DESTINATION, Protocol.UDP, datagram)
        : pseudo4(load<u32>(outer, Ipv4.SOURCE), load<u32>(outer, Ipv4.DESTINATION), Protocol.UDP, datagram);
      const check = checksum(payload, datagram, pseudo);
      store<u16>(payload, check === 0 ? 0xffff : <u16>check, Udp.CHECKSUM);
    }
  }
  if (isV6) {
    store<u8>(outer, <u8>protocol, Ipv6.NEXT_HEADER);
  } else {
    store<u8>(outer, <u8>protocol, Ipv4.PROTOCOL);
    Ipv4.seal(outer);
  }

  const ethernet = load<u32>(slot, Slot.ETHERNET);
  if (ethernet !== 0) store<u32>(slot, ethernet - <u32>(frame - moved), Slot.ETHERNET);
  store<u32>(slot, <u32>moved, Slot.FRAME);
  store<u32>(slot, <u32>(end - moved) - load<u32>(slot, Slot.BODY_LENGTH), Slot.LENGTH);
  store<u32>(slot, <u32>outer, Slot.IP);
  store<u32>(slot, <u32>payload, Slot.TRANSPORT);
  store<u8>(slot, isV6 ? 6 : 4, Slot.FAMILY);
  store<u8>(slot, <u8>protocol, Slot.PROTOCOL);
  store<u32>(slot, isV6 ? <u32>(outer + Ipv6.NEXT_HEADER) : 0, Slot.NEXT_HEADER);
  store<u32>(slot, 0, Slot.FRAGMENT_HEADER);
  return true;
}

function refuse(slot: usize, reason: u32): bool {
  store<u8>(slot, <u8>reason, Slot.REASON);
  return false;
}

/** Whether the tunnel's own header has a checksum over all that it carries. */
function sumsPayload(server: usize): bool {
  const flags = <u32>load<u8>(server, Server.TUNNEL_FLAGS);
  return (flags & (Forwarding.TUNNEL_CHECKSUM | Forwarding.TUNNEL_REMOTE_CHECKSUM)) !== 0;
}

/** Bytes between the outer IP header and the packet. */
function shimLength(server: usize, remote: bool): u32 {
  const kind = <u32>load<u8>(server, Server.TUNNEL_TYPE);
  const flags = <u32>load<u8>(server, Server.TUNNEL_FLAGS);
  if (kind === Forwarding.TUNNEL_GRE) {
    return (flags & Forwarding.TUNNEL_CHECKSUM) !== 0 ? Gre.SIZE_WITH_CHECKSUM : Gre.SIZE;
  }
  if (kind === Forwarding.TUNNEL_GUE) return Udp.SIZE + Gue.SIZE + (remote ? Gue.REMOTE_CHECKSUM_SIZE : 0);
  return 0;
}

/** Whether the checksum that the packet's sender left to its device is passed on to the tunnel's far end. */
function leavesChecksum(server: usize, slot: usize): bool {
  if (load<u8>(server, Server.TUNNEL_TYPE) !== Forwarding.TUNNEL_GUE) return false;
  if ((load<u8>(server, Server.TUNNEL_FLAGS) & Forwarding.TUNNEL_REMOTE_CHECKSUM) === 0) return false;
  // The option speaks of the Internet checksum only, and of bytes behind the IP header.
  if (!isPartial(slot)) return false;
  const protocol = <u32>load<u8>(slot, Slot.PROTOCOL);
  if (protocol !== Protocol.TCP && protocol !== Protocol.UDP) return false;
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  return vnet + Slot.VNET_SIZE + <usize>load<u16>(vnet, Vnet.CHECKSUM_START) === <usize>load<u32>(slot, Slot.TRANSPORT);
}

function nextId(): u32 {
  const id = word(Memory.NEXT_ID);
  setWord(Memory.NEXT_ID, id + 1);
  return id & 0xffff;
}

function mix(hash: u32, value: u32): u32 {
  hash = (hash ^ value) * 0x85ebca6b;
  return hash ^ (hash >> 13);
}

/** A source port that stays the same for all packets of a flow, so that the network keeps them in order. */
function sourcePort(slot: usize): u32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const protocol = <u32>load<u8>(slot, Slot.PROTOCOL);
  let hash = mix(word(Memory.SEED), protocol);
  const isV6 = load<u8>(slot, Slot.FAMILY) === 6;
  const from = isV6 ? ip + Ipv6.SOURCE : ip + Ipv4.SOURCE;
  const words: usize = isV6 ? 8 : 2;
  for (let i: usize = 0; i < words; i++) hash = mix(hash, load<u32>(from + (i << 2)));
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  const hasPorts = protocol === Protocol.TCP || protocol === Protocol.UDP || protocol === Protocol.SCTP;
  if (hasPorts && transport + 4 <= <usize>load<u32>(slot, Slot.END)) hash = mix(hash, load<u32>(transport));
  hash *= 0xc2b2ae35;
  hash ^= hash >> 16;
  return PORT_FIRST + <u32>((<u64>hash * <u64>PORT_COUNT) >> 32);
}
