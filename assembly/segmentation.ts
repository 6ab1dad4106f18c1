/**
 * Super-frames (vnet GSO) cut into the segments that a network without offload carries.
 *
 * The given slot becomes the first segment. The others are headers of their own, and a range of its bytes: nothing of
 * the payload is copied but where somebody must read a segment whole (table/slot, gather). A super-frame for a tunnel
 * is segmented first, then each segment gets its own outer headers.
 */
import * as Port from "./layout/port";
import * as Reason from "./layout/reason";
import * as Slot from "./layout/slot";
import { copyContext, freeSlots, pieceSize, setBody, slotsFor, takePiece } from "./table/slot";
import { load16, load32, store16, store32 } from "./wire/bytes";
import { checksum, pseudo4, pseudo6, sum } from "./wire/checksum";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import { completeChecksum } from "./wire/offload";
import * as Tcp from "./wire/tcp";
import * as Udp from "./wire/udp";
import * as Vnet from "./wire/virtionet";

/** Congestion window reduced: said once, by the first segment. */
const CWR: u32 = 0x80;

/** Whether the frame in `slot` is a super-frame that the device of `port` cannot cut itself. */
export function needsSegmentation(slot: usize, port: usize): bool {
  const kind = <u32>load<u8>(<usize>load<u32>(slot, Slot.FRAME), Vnet.GSO_TYPE) & ~Vnet.GSO_ECN;
  if (kind === Vnet.GSO_NONE) return false;
  const capabilities = <u32>load<u8>(port, Port.CAPABILITIES);
  if ((capabilities & Port.CAPABILITY_CHECKSUM) === 0) return true;
  if (kind === Vnet.GSO_TCPV4) return (capabilities & Port.CAPABILITY_TSO4) === 0;
  if (kind === Vnet.GSO_TCPV6) return (capabilities & Port.CAPABILITY_TSO6) === 0;
  if (kind === Vnet.GSO_UDP_L4) return (capabilities & Port.CAPABILITY_USO) === 0;
  return true;
}

/**
 * Cuts the super-frame in `slot` (FRAME, IP, TRANSPORT, END, FAMILY set, headers checked) into whole packets of at most
 * gso_size bytes of payload: the first of a chain linked by slot.NEXT, which is `slot` itself. All lengths, IPv4
 * identifications, sequence numbers, flags and checksums are right and the vnet headers ask for nothing. A frame that is
 * no super-frame comes back alone, its checksum completed. 0 if it cannot be done: `slot` stays as it was and
 * slot.REASON says why.
 */
export function segment(slot: usize): usize {
  store<u32>(slot, 0, Slot.NEXT);
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  const kind = <u32>load<u8>(vnet, Vnet.GSO_TYPE) & ~Vnet.GSO_ECN;
  const size = <u32>load<u16>(vnet, Vnet.GSO_SIZE);
  const isTcp = kind === Vnet.GSO_TCPV4 || kind === Vnet.GSO_TCPV6;
  if (!isTcp && kind !== Vnet.GSO_UDP_L4) {
    // UDP to be fragmented (GSO_UDP) is so by whoever compares it with the MTU.
    completeChecksum(slot);
    clearVnet(vnet);
    return slot;
  }
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  if (size === 0 || transport + (isTcp ? Tcp.SIZE : Udp.SIZE) > end) return refuse(slot, Reason.VNET_HEADER_BAD);
  const header = isTcp ? Tcp.headerLength(transport) : <u32>Udp.SIZE;
  const data = transport + <usize>header;
  if (header < <u32>Udp.SIZE || data > end) return refuse(slot, Reason.VNET_HEADER_BAD);
  const total = <u32>(end - data);
  const count: u32 = total === 0 ? 1 : (total + size - 1) / size;
  // Room for the payload, too: some need it there (a second fragmentation, an ICMP error, a tunnel's checksum).
  const room = pieceSize(<u32>(data - vnet) + size);
  if (slotsFor(count - 1, room) > freeSlots()) return refuse(slot, Reason.SLOTS_EXHAUSTED);

  clearVnet(vnet);
  store<u32>(slot, <u32>slot, Slot.HOME);
  store<u32>(slot, 1, Slot.PIECES);
  let tail = slot;
  let piece: usize = 0;
  for (let i: u32 = 1; i < count; i++) {
    const offset = i * size;
    piece = takePiece(piece, room);
    copyHeaders(piece, slot, vnet, data, offset, offset + size < total ? size : total - offset);
    finish(piece, isTcp, i, offset, i + 1 === count);
    store<u32>(tail, <u32>piece, Slot.NEXT);
    tail = piece;
  }
  const firstEnd = count === 1 ? end : data + <usize>size;
  store<u32>(slot, <u32>firstEnd, Slot.END);
  store<u32>(slot, <u32>(firstEnd - vnet), Slot.LENGTH);
  finish(slot, isTcp, 0, 0, count === 1);
  return slot;
}

function refuse(slot: usize, reason: u32): usize {
  store<u8>(slot, <u8>reason, Slot.REASON);
  return 0;
}

function clearVnet(vnet: usize): void {
  store<u64>(vnet, 0);
  store<u32>(vnet, 0, 8);
}

/** Makes `piece` the headers, which end at `data`, its body `length` bytes of payload from `offset`. */
function copyHeaders(piece: usize, slot: usize, frame: usize, data: usize, offset: u32, length: u32): void {
  const to = <usize>load<u32>(piece, Slot.FRAME);
  const headers = data - frame;
  memory.copy(to, frame, headers);
  copyContext(piece, slot);
  setBody(piece, slot, data + <usize>offset, length);
  store<u32>(piece, <u32>headers, Slot.LENGTH);
  store<u32>(piece, <u32>(to + headers + <usize>length), Slot.END);
  move(piece, slot, Slot.ETHERNET, frame, to);
  move(piece, slot, Slot.IP, frame, to);
  move(piece, slot, Slot.TRANSPORT, frame, to);
  move(piece, slot, Slot.NEXT_HEADER, frame, to);
}

function move(piece: usize, slot: usize, offset: i32, from: usize, to: usize): void {
  const at = <usize>load<u32>(slot + <usize>offset);
  if (at !== 0) store<u32>(piece + <usize>offset, <u32>(at - from + to));
}

/** Makes the headers those of segment `index`, whose payload began at `offset`. */
function finish(slot: usize, isTcp: bool, index: u32, offset: u32, isLast: bool): void {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  const length = <u32>(end - transport);
  if (isTcp) {
    store32(transport + Tcp.SEQUENCE, load32(transport + Tcp.SEQUENCE) + offset);
    let flags = Tcp.flags(transport);
    if (!isLast) flags &= ~(Tcp.FIN | Tcp.PSH);
    if (index !== 0) flags &= ~CWR;
    store<u8>(transport, <u8>flags, Tcp.FLAGS);
  } else {
    store16(transport + Udp.LENGTH, length);
  }
  const isV6 = load<u8>(slot, Slot.FAMILY) === 6;
  const field = transport + (isTcp ? Tcp.CHECKSUM : Udp.CHECKSUM);
  const protocol: u32 = isTcp ? 6 : 17;
  let pseudo: u64;
  if (isV6) {
    store16(ip + Ipv6.PAYLOAD_LENGTH, <u32>(end - ip) - Ipv6.SIZE);
    pseudo = pseudo6(ip + Ipv6.SOURCE, ip + Ipv6.DESTINATION, protocol, length);
  } else {
    Ipv4.setTotalLength(ip, <u32>(end - ip));
    store16(ip + Ipv4.ID, load16(ip + Ipv4.ID) + index);
    Ipv4.seal(ip);
    pseudo = pseudo4(load<u32>(ip, Ipv4.SOURCE), load<u32>(ip, Ipv4.DESTINATION), protocol, length);
  }
  store<u16>(field, 0);
  const elsewhere = load<u32>(slot, Slot.BODY_LENGTH);
  // Headers are of an even length: the sum of what lies elsewhere is simply more of it.
  const rest: u64 = elsewhere === 0 ? 0 : sum(<usize>load<u32>(slot, Slot.BODY), elsewhere);
  const check = checksum(transport, length - elsewhere, pseudo + rest);
  store<u16>(field, check === 0 ? 0xffff : <u16>check);
}
