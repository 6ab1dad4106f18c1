/**
 * NAT: addresses and ports rewritten in place, checksums kept right in each of their three cases (partial, full, and
 * a UDP checksum of zero, which the kernel computes). A wrong checksum stays wrong: an update repairs nothing.
 */
import * as Connection from "../layout/connection";
import * as Protocol from "../layout/protocol";
import * as Slot from "../layout/slot";
import { extension } from "../table/connection";
import { localAddress, localPort } from "../table/local";
import { copy16 } from "../wire/bytes";
import { checksum, pseudo4, pseudo6, sum, updateSum } from "../wire/checksum";
import * as Icmp from "../wire/icmp";
import * as Ipv4 from "../wire/ipv4";
import * as Ipv6 from "../wire/ipv6";
import { reseal } from "../wire/sctp";
import * as Tcp from "../wire/tcp";
import * as Udp from "../wire/udp";
import * as Vnet from "../wire/virtionet";

/** Whether the checksum field holds the pseudo-header's sum alone, for a device to complete. */
function isPartial(slot: usize): bool {
  return (load<u8>(<usize>load<u32>(slot, Slot.FRAME), Vnet.FLAGS) & Vnet.NEEDS_CHECKSUM) !== 0;
}

/** Adjusts the transport checksum at `at` for bytes whose sum went from..to; the pseudo-header's part separately. */
function adjust(slot: usize, at: usize, addressFrom: u64, addressTo: u64, portFrom: u32, portTo: u32): void {
  if (isPartial(slot)) {
    store<u16>(at, <u16>(~updateSum(~(<u32>load<u16>(at)) & 0xffff, addressFrom, addressTo) & 0xffff));
    return;
  }
  store<u16>(at, <u16>updateSum(<u32>load<u16>(at), addressFrom + <u64>portFrom, addressTo + <u64>portTo));
}

function completeUdp(slot: usize, udp: usize): void {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const length = load<u32>(slot, Slot.END) - <u32>udp;
  store<u16>(udp, 0, Udp.CHECKSUM);
  const pseudo =
    load<u8>(slot, Slot.FAMILY) === 4
      ? pseudo4(load<u32>(ip, Ipv4.SOURCE), load<u32>(ip, Ipv4.DESTINATION), Protocol.UDP, length)
      : pseudo6(ip + Ipv6.SOURCE, ip + Ipv6.DESTINATION, Protocol.UDP, length);
  const check = checksum(udp, length, pseudo);
  store<u16>(udp, <u16>(check === 0 ? 0xffff : check), Udp.CHECKSUM);
}

/**
 * One side of a packet, source or destination, becomes `address` (4 or 16 bytes) and `port` (raw). `portOffset` is 0
 * for the source, 2 for the destination.
 */
export function rewrite(slot: usize, address: usize, port: u32, portOffset: u32): void {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  let from: u64;
  let to: u64;
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    const at = ip + (portOffset === 0 ? Ipv4.SOURCE : Ipv4.DESTINATION);
    const old = load<u32>(at);
    const fresh = load<u32>(address);
    from = <u64>old;
    to = <u64>fresh;
    store<u16>(ip, <u16>updateSum(<u32>load<u16>(ip, Ipv4.CHECKSUM), from, to), Ipv4.CHECKSUM);
    store<u32>(at, fresh);
  } else {
    const at = ip + (portOffset === 0 ? Ipv6.SOURCE : Ipv6.DESTINATION);
    from = sum(at, 16);
    to = sum(address, 16);
    copy16(at, address);
  }
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  if (protocol === Protocol.TCP || protocol === Protocol.UDP || protocol === Protocol.SCTP) {
    const portAt = transport + <usize>portOffset;
    const old = <u32>load<u16>(portAt);
    store<u16>(portAt, <u16>port);
    if (protocol === Protocol.TCP) {
      adjust(slot, transport + Tcp.CHECKSUM, from, to, old, port);
    } else if (protocol === Protocol.UDP) {
      const partial = isPartial(slot);
      if (!partial && load<u16>(transport, Udp.CHECKSUM) === 0) {
        completeUdp(slot, transport);
      } else {
        adjust(slot, transport + Udp.CHECKSUM, from, to, old, port);
        // RFC 768: zero means "no checksum"; a computed zero is sent as all ones.
        if (!partial && load<u16>(transport, Udp.CHECKSUM) === 0) store<u16>(transport, 0xffff, Udp.CHECKSUM);
      }
    } else if (old !== port || isPartial(slot)) {
      reseal(slot);
    }
  }
}

/** Address of a connection's server (4 or 16 bytes in place). */
export function serverAddress(connection: usize): usize {
  return isSix(connection)
    ? extension(connection) + Connection.EXTENSION_SERVER
    : connection + Connection.SERVER_ADDRESS;
}

export function virtualAddress(connection: usize): usize {
  return isSix(connection)
    ? extension(connection) + Connection.EXTENSION_VIRTUAL
    : connection + Connection.VIRTUAL_ADDRESS;
}

export function clientAddress(connection: usize): usize {
  return isSix(connection)
    ? extension(connection) + Connection.EXTENSION_CLIENT
    : connection + Connection.CLIENT_ADDRESS;
}

function isSix(connection: usize): bool {
  return (load<u32>(connection, Connection.FLAGS) & Connection.FLAG_IPV6) !== 0;
}

function isFullNat(connection: usize): bool {
  return (load<u32>(connection, Connection.FLAGS) & Connection.FLAG_FULL_NAT) !== 0;
}

/** Client to server: the destination becomes the real server; with full NAT the source becomes ours. */
export function toServer(slot: usize, connection: usize): void {
  if (isFullNat(connection)) rewrite(slot, localAddress(connection), localPort(connection), 0);
  rewrite(slot, serverAddress(connection), <u32>load<u16>(connection, Connection.SERVER_PORT), 2);
}

/** Server to client: the source becomes the virtual service; with full NAT the destination becomes the client. */
export function toClient(slot: usize, connection: usize): void {
  if (isFullNat(connection))
    rewrite(slot, clientAddress(connection), <u32>load<u16>(connection, Connection.CLIENT_PORT), 2);
  rewrite(slot, virtualAddress(connection), <u32>load<u16>(connection, Connection.VIRTUAL_PORT), 0);
}

/**
 * An ICMP error about a connection: the outer address, and inside it the packet that it is about, back to what the
 * receiver knows. `outward`: towards the client. The ICMP checksum is computed anew, the inner transport's left alone,
 * as the kernel does. `inner`: descriptor of the packet inside. With full NAT both ends of both packets change.
 */
export function rewriteError(slot: usize, inner: usize, connection: usize, outward: bool): void {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const icmp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const innerIp = <usize>load<u32>(inner, Slot.IP);
  const innerTransport = <usize>load<u32>(inner, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  const address = outward ? virtualAddress(connection) : serverAddress(connection);
  const port = <u32>load<u16>(connection + <usize>(outward ? Connection.VIRTUAL_PORT : Connection.SERVER_PORT));
  const length = <u32>(end - icmp);
  // The other end, where it changes too.
  const full = isFullNat(connection);
  const other = outward ? clientAddress(connection) : full ? localAddress(connection) : 0;
  const otherPort = outward ? <u32>load<u16>(connection, Connection.CLIENT_PORT) : full ? localPort(connection) : 0;
  let pseudo: u64 = 0;
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    store<u32>(ip + (outward ? Ipv4.SOURCE : Ipv4.DESTINATION), load<u32>(address));
    if (full) {
      store<u32>(ip + (outward ? Ipv4.DESTINATION : Ipv4.SOURCE), load<u32>(other));
      store<u32>(innerIp + (outward ? Ipv4.SOURCE : Ipv4.DESTINATION), load<u32>(other));
    }
    Ipv4.seal(ip);
    store<u32>(innerIp + (outward ? Ipv4.DESTINATION : Ipv4.SOURCE), load<u32>(address));
    if (innerIp + <usize>Ipv4.headerLength(innerIp) <= end) Ipv4.seal(innerIp);
  } else {
    if (full) {
      copy16(ip + (outward ? Ipv6.DESTINATION : Ipv6.SOURCE), other);
      copy16(innerIp + (outward ? Ipv6.SOURCE : Ipv6.DESTINATION), other);
    }
    copy16(ip + (outward ? Ipv6.SOURCE : Ipv6.DESTINATION), address);
    copy16(innerIp + (outward ? Ipv6.DESTINATION : Ipv6.SOURCE), address);
    pseudo = pseudo6(ip + Ipv6.SOURCE, ip + Ipv6.DESTINATION, Protocol.ICMPV6, length);
  }
  const protocol = <i32>load<u8>(inner, Slot.PROTOCOL);
  if (
    (protocol === Protocol.TCP || protocol === Protocol.UDP || protocol === Protocol.SCTP) &&
    innerTransport + 4 <= end
  ) {
    store<u16>(innerTransport + (outward ? 2 : 0), <u16>port);
    if (full) store<u16>(innerTransport + (outward ? 0 : 2), <u16>otherPort);
  }
  store<u16>(icmp, 0, Icmp.CHECKSUM);
  store<u16>(icmp, <u16>checksum(icmp, length, pseudo), Icmp.CHECKSUM);
}
