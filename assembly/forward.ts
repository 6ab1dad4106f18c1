/** A connection's packet goes to its server, by the method that the connection was bound to (ip_vs_*_xmit). */

import { deliverLocally, hostUnreachable, packetTooBig, timeExceeded } from "./answer";
import * as dr from "./forwarding/dr";
import { serverAddress, toServer } from "./forwarding/nat";
import * as Connection from "./layout/connection";
import * as Forwarding from "./layout/forwarding";
import * as Reason from "./layout/reason";
import * as Slot from "./layout/slot";
import { setNextHop } from "./neighbour";
import { drop } from "./send";
import { isOurs } from "./table/ours";
import { isLink } from "./table/port";
import { findRoute } from "./table/route";
import { deliver, isSuperFrame, wireLength } from "./transmit";
import { load16 } from "./wire/bytes";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";

/** TTL or hop limit, one less; false when the packet dies here: its sender has been told. */
export function decrementTtl(slot: usize): bool {
  const ip = <usize>load<u32>(slot, Slot.IP);
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    if (load<u8>(ip, Ipv4.TTL) <= 1) {
      timeExceeded(slot, 0);
      return false;
    }
    Ipv4.decrementTtl(ip);
    return true;
  }
  const limit = load<u8>(ip, Ipv6.HOP_LIMIT);
  if (limit <= 1) {
    timeExceeded(slot, 0);
    return false;
  }
  store<u8>(ip, limit - 1, Ipv6.HOP_LIMIT);
  return true;
}

/** Whether the packet may not leave in one piece and may not be cut. */
export function isTooBig(slot: usize, mtu: u32): bool {
  const largest = <u32>load<u16>(slot, Slot.FRAGMENT_LARGEST);
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    if ((load16(<usize>load<u32>(slot, Slot.IP) + Ipv4.FRAGMENT) & Ipv4.DF) === 0) return false;
    return wireLength(slot) > mtu;
  }
  if (largest !== 0 && !isSuperFrame(slot)) return largest > mtu;
  return wireLength(slot) > mtu;
}

/**
 * Sends on to the server. `isError`: an ICMP error about the connection, whose translation is done and which is never
 * refused for its size. Returns the frame's verdict.
 */
export function toRealServer(slot: usize, connection: usize, isError: bool): i32 {
  const method = <i32>(load<u32>(connection, Connection.FLAGS) & Connection.METHOD_MASK);
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const address = serverAddress(connection);
  if (method === Forwarding.LOCAL) return deliverLocally(slot);
  if (isLoopback(family, address) || isOurs(family, address)) {
    if (method === Forwarding.NAT) {
      if (isLoopback(family, address)) return drop(slot, Reason.DESTINATION_INVALID);
      if (!isError) toServer(slot, connection);
    }
    return deliverLocally(slot);
  }
  const route = findRoute(family, address);
  if (route === 0) {
    hostUnreachable(slot);
    return drop(slot, Reason.NO_ROUTE);
  }
  if (!decrementTtl(slot)) return drop(slot, Reason.TTL_EXPIRED);
  setNextHop(slot, route, address);
  const mtu = load<u32>(slot, Slot.MTU);
  if (!isError && isTooBig(slot, mtu)) {
    packetTooBig(slot, mtu);
    return drop(slot, Reason.MTU_EXCEEDED);
  }
  store<u16>(slot, <u16>(<u32>load<u16>(slot, Slot.FLAGS) & ~Slot.TO_DIRECTOR), Slot.FLAGS);
  if (method === Forwarding.NAT) {
    if (!isError) toServer(slot, connection);
  } else if (method === Forwarding.DR) {
    if (!isLink(<usize>load<u32>(slot, Slot.PORT_OUT))) return drop(slot, Reason.TUNNEL_UNSUPPORTED);
    dr.prepare(slot);
  } else {
    return drop(slot, Reason.TUNNEL_UNSUPPORTED);
  }
  return deliver(slot);
}

function isLoopback(family: u32, address: usize): bool {
  return family === 4 ? Ipv4.isLoopback(load<u32>(address)) : Ipv6.isLoopback(address);
}
