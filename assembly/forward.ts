/** A connection's packet goes to its server, by the method that the connection was bound to (ip_vs_*_xmit). */

import { deliverLocally, hostUnreachable, packetTooBig, timeExceeded } from "./answer";
import { fillClientPort } from "./connections";
import * as dr from "./forwarding/dr";
import { serverAddress, toServer } from "./forwarding/nat";
import { tellClient } from "./forwarding/toa";
import { encapsulate, tunnelOverheadOf } from "./forwarding/tunnel";
import { fromClient } from "./helper/ftp";
import { spliceIn } from "./helper/splice";
import * as Connection from "./layout/connection";
import * as Forwarding from "./layout/forwarding";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Reason from "./layout/reason";
import * as Route from "./layout/route";
import * as Server from "./layout/server";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { scratch, sourceFor4 } from "./link";
import { sourcePort } from "./lookup";
import { setNextHop } from "./neighbour";
import { segment } from "./segmentation";
import { drop } from "./send";
import { now, reached, setting, word } from "./table/memory";
import { isOurs } from "./table/ours";
import { isLink } from "./table/port";
import { findRoute } from "./table/route";
import { deliver, destinationAt, isSuperFrame, wireLength } from "./transmit";
import { copy16, isZero16, load16 } from "./wire/bytes";
import * as Ethernet from "./wire/ethernet";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";

/** Smallest MTU that a tunnel may leave for the packet inside (RFC 791). */
const TUNNEL_MTU_MIN: u32 = 68;

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

function isLoopback(family: u32, address: usize): bool {
  return family === 4 ? Ipv4.isLoopback(load<u32>(address)) : Ipv6.isLoopback(address);
}

function learnClientPort(slot: usize, connection: usize): void {
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_NO_CLIENT_PORT) !== 0)
    fillClientPort(connection, sourcePort(slot));
}

/** NAT towards the server, with what a helper has to do first. Returns 0, or the reason to drop the packet. */
function translate(slot: usize, connection: usize): i32 {
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_HELPER) !== 0) {
    const reason = fromClient(slot, connection);
    if (reason !== 0) return reason;
  }
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_PROXY) !== 0) spliceIn(slot, connection);
  toServer(slot, connection);
  tellClient(slot, connection);
  return 0;
}

/** The route to a server's address, WAY_LOCAL when that is the director's own, 0 when there is none. */
function wayTo(family: u32, address: usize, server: usize): usize {
  const generation = word(Memory.GENERATION);
  if (server !== 0 && load<u32>(server, Server.WAY_GENERATION) === generation)
    return <usize>load<u32>(server, Server.WAY);
  const way =
    isLoopback(family, address) || isOurs(family, address) ? <usize>Server.WAY_LOCAL : findRoute(family, address);
  if (server !== 0) {
    store<u32>(server, <u32>way, Server.WAY);
    store<u32>(server, generation, Server.WAY_GENERATION);
  }
  return way;
}

/**
 * Sends on to the server. `isError`: an ICMP error about the connection, whose translation is done and which is never
 * refused for its size. Returns the frame's verdict.
 */
export function toRealServer(slot: usize, connection: usize, isError: bool): i32 {
  const method = <i32>(load<u32>(connection, Connection.FLAGS) & Connection.METHOD_MASK);
  const server = <usize>load<u32>(connection, Connection.SERVER);
  if (method === Forwarding.LOCAL) return deliverLocally(slot);
  if (method === Forwarding.BYPASS) return passBy(slot, isError);
  if (method === Forwarding.NAT && !isError) learnClientPort(slot, connection);
  if (method === Forwarding.TUNNEL && server !== 0) return throughTunnel(slot, server, isError);
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const address = serverAddress(connection);
  const route = wayTo(family, address, server);
  if (route === <usize>Server.WAY_LOCAL) {
    if (method === Forwarding.NAT) {
      if (isLoopback(family, address)) return drop(slot, Reason.DESTINATION_INVALID);
      const reason = isError ? 0 : translate(slot, connection);
      if (reason !== 0) return drop(slot, reason);
    }
    return deliverLocally(slot);
  }
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
  const plain = lookedUpPlain(server, method);
  if (method === Forwarding.NAT) {
    const reason = isError ? 0 : translate(slot, connection);
    if (reason !== 0) return drop(slot, reason);
  } else if (method === Forwarding.DR) {
    if (!isLink(<usize>load<u32>(slot, Slot.PORT_OUT))) return drop(slot, Reason.TUNNEL_UNSUPPORTED);
    if (plain) setNextHop(slot, route, destinationAt(slot));
    dr.prepare(slot);
  } else {
    return drop(slot, Reason.TUNNEL_UNSUPPORTED);
  }
  return deliver(slot);
}

/**
 * The way to a client for what a server sent to an address of ours (full NAT), before it is translated; `isError`: an
 * ICMP error, translated already. Returns 0, or the reason to drop it: its sender has been told.
 */
export function toClientSide(slot: usize, client: usize, isError: bool): u32 {
  const route = findRoute(<u32>load<u8>(slot, Slot.FAMILY), client);
  if (route === 0) {
    hostUnreachable(slot);
    return Reason.NO_ROUTE;
  }
  if (!decrementTtl(slot)) return Reason.TTL_EXPIRED;
  setNextHop(slot, route, client);
  const mtu = load<u32>(slot, Slot.MTU);
  if (!isError && isTooBig(slot, mtu)) {
    packetTooBig(slot, mtu);
    return Reason.MTU_EXCEEDED;
  }
  store<u16>(slot, <u16>(<u32>load<u16>(slot, Slot.FLAGS) & ~Slot.TO_DIRECTOR), Slot.FLAGS);
  return 0;
}

/** Bypass: to the packet's own destination, by the routes that are for everybody (ip_vs_bypass_xmit). */
function passBy(slot: usize, isError: bool): i32 {
  const refusal = toClientSide(slot, destinationAt(slot), isError);
  return refusal === 0 ? deliver(slot) : drop(slot, <i32>refusal);
}

/**
 * A quirk of the kernel: a server's route is looked up once, and when a NAT connection did it after an edit, packets of
 * direct routing use it too, whose next hop is then their own destination. Only with KERNEL_QUIRKS.
 */
function lookedUpPlain(server: usize, method: i32): bool {
  if (server === 0 || setting(Setting.KERNEL_QUIRKS) === 0) return false;
  const mode = load<u8>(server, Server.ROUTE_MODE);
  if (mode === Server.ROUTE_NONE) {
    store<u8>(server, method === Forwarding.DR ? Server.ROUTE_DIRECT : Server.ROUTE_PLAIN, Server.ROUTE_MODE);
    return false;
  }
  return mode === Server.ROUTE_PLAIN;
}

/** MTU of the way to a server: its port's, or less where an ICMP error has said so. */
function pathMtu(server: usize, linkMtu: u32): u32 {
  const learned = load<u32>(server, Server.PATH_MTU);
  if (learned === 0) return linkMtu;
  if (reached(now(), load<u32>(server, Server.PATH_MTU_UNTIL))) {
    store<u32>(server, 0, Server.PATH_MTU);
    return linkMtu;
  }
  return learned < linkMtu ? learned : linkMtu;
}

/** Tunnelling: the packet whole behind an outer header to the server (ip_vs_tunnel_xmit). */
function throughTunnel(slot: usize, server: usize, isError: bool): i32 {
  const outerFamily = <u32>load<u8>(server, Server.FAMILY);
  const address = server + Server.ADDRESS;
  if (isLoopback(outerFamily, address) || isOurs(outerFamily, address)) return deliverLocally(slot);
  const route = findRoute(outerFamily, address);
  if (route === 0) {
    hostUnreachable(slot);
    return drop(slot, Reason.NO_ROUTE);
  }
  if (!decrementTtl(slot)) return drop(slot, Reason.TTL_EXPIRED);
  const port = <usize>load<u32>(route, Route.PORT);
  const link = load<u32>(route, Route.MTU) !== 0 ? load<u32>(route, Route.MTU) : load<u32>(port, Port.MTU);
  const path = pathMtu(server, link);
  store<u16>(server, <u16>path, Server.ROUTE_MTU);
  const overhead = tunnelOverheadOf(server, slot);
  if (path < overhead + TUNNEL_MTU_MIN) return drop(slot, Reason.MTU_EXCEEDED);
  const mtu = path - overhead;
  const discovery = setting(Setting.PMTU_DISC) !== 0;
  if (!isError && discovery && isTooBig(slot, mtu)) {
    packetTooBig(slot, mtu);
    return drop(slot, Reason.MTU_EXCEEDED);
  }
  store<u16>(slot, <u16>(<u32>load<u16>(slot, Slot.FLAGS) & ~Slot.TO_DIRECTOR), Slot.FLAGS);
  if (!isSuperFrame(slot)) return tunnelOne(slot, server, route, discovery);
  // A device knows no super-frame of tunnelled packets: it is cut here, each piece with an outer header of its own.
  let part = segment(slot);
  if (part === 0) return drop(slot, <i32>load<u8>(slot, Slot.REASON));
  let verdict: i32 = Verdict.FORWARD;
  for (let first = true; part !== 0; first = false) {
    const next = <usize>load<u32>(part, Slot.NEXT);
    const result = tunnelOne(part, server, route, discovery);
    if (first) verdict = result;
    part = next;
  }
  return verdict;
}

function tunnelOne(slot: usize, server: usize, route: usize, mayForbid: bool): i32 {
  const port = <usize>load<u32>(route, Route.PORT);
  const address = server + Server.ADDRESS;
  const source = scratch();
  if (load<u8>(server, Server.FAMILY) === 4) {
    store<u32>(source, sourceFor4(port, address));
  } else {
    copy16(source, isZero16(route + Route.SOURCE) ? port + Port.ADDRESS6 : route + Route.SOURCE);
  }
  if (!encapsulate(slot, server, source, mayForbid)) return drop(slot, <i32>load<u8>(slot, Slot.REASON));
  // The tunnel's headers lie where the client's VLAN tags were; it is the director's packet from here on.
  store<u32>(slot, Ethernet.SIZE, Slot.LINK_LENGTH);
  setNextHop(slot, route, address);
  return deliver(slot);
}
