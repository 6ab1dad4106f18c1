/** From a packet whose addresses stand to frames on a port: next hop, fragments, neighbour. */

import { fragment4, fragment6, needsFragments } from "./fragmentation";
import * as Port from "./layout/port";
import * as Reason from "./layout/reason";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { sendToNeighbour, setNeighbourHop, setNextHop } from "./neighbour";
import { drop, sendTo } from "./send";
import { isLink } from "./table/port";
import { findRoute } from "./table/route";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import * as Vnet from "./wire/virtionet";

/** Whether the frame is a super-frame, to be cut into segments by a device or by us. */
export function isSuperFrame(slot: usize): bool {
  return load<u8>(<usize>load<u32>(slot, Slot.FRAME), Vnet.GSO_TYPE) !== 0;
}

/** Length of the packet, IP header included. */
export function packetLength(slot: usize): u32 {
  return load<u32>(slot, Slot.END) - load<u32>(slot, Slot.IP);
}

/** What is compared with an MTU: of a super-frame, one segment with its headers. */
export function wireLength(slot: usize): u32 {
  const length = packetLength(slot);
  if (!isSuperFrame(slot)) return length;
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  const headers = <u32>(load<u32>(slot, Slot.TRANSPORT) - load<u32>(slot, Slot.IP)) + transportHeader(slot);
  const segment = headers + <u32>load<u16>(vnet, Vnet.GSO_SIZE);
  return segment < length ? segment : length;
}

function transportHeader(slot: usize): u32 {
  if (load<u8>(slot, Slot.PROTOCOL) === 17) return 8;
  return (<u32>load<u8>(<usize>load<u32>(slot, Slot.TRANSPORT), 12) >> 4) << 2;
}

function sendOn(slot: usize, port: usize): i32 {
  return isLink(port) ? sendToNeighbour(slot, port) : sendTo(slot, port, 0);
}

/** Sends to slot.NEXT_HOP on slot.PORT_OUT, in fragments where slot.MTU or the packet's own history demands it. */
export function deliver(slot: usize): i32 {
  const port = <usize>load<u32>(slot, Slot.PORT_OUT);
  const mtu = load<u32>(slot, Slot.MTU);
  if (isSuperFrame(slot) || !needsFragments(slot, mtu)) return sendOn(slot, port);
  let part = load<u8>(slot, Slot.FAMILY) === 4 ? fragment4(slot, mtu) : fragment6(slot, mtu);
  if (part === 0) return drop(slot, <i32>load<u8>(slot, Slot.REASON));
  let verdict: i32 = Verdict.FORWARD;
  // The verdict is the first fragment's; the others are made by the core.
  for (let first = true; part !== 0; first = false) {
    const next = <usize>load<u32>(part, Slot.NEXT);
    const result = sendOn(part, port);
    if (first) verdict = result;
    part = next;
  }
  return verdict;
}

/** Routes a packet of the director's own by an address (pointer) and sends it: PORT_IN is where what it answers came in. */
export function routeTo(slot: usize, destination: usize): i32 {
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const port = <usize>load<u32>(slot, Slot.PORT_IN);
  if (family === 6 && Ipv6.isLinkLocal(destination) && port !== 0) {
    setNeighbourHop(slot, port, destination);
  } else {
    const route = findRoute(family, destination);
    if (route === 0) return drop(slot, Reason.NO_ROUTE);
    setNextHop(slot, route, destination);
  }
  store<u16>(slot, <u16>(<u32>load<u16>(slot, Slot.FLAGS) & ~Slot.TO_DIRECTOR), Slot.FLAGS);
  return deliver(slot);
}

export function sourceAt(slot: usize): usize {
  const ip = <usize>load<u32>(slot, Slot.IP);
  return load<u8>(slot, Slot.FAMILY) === 4 ? ip + Ipv4.SOURCE : ip + Ipv6.SOURCE;
}

export function destinationAt(slot: usize): usize {
  const ip = <usize>load<u32>(slot, Slot.IP);
  return load<u8>(slot, Slot.FAMILY) === 4 ? ip + Ipv4.DESTINATION : ip + Ipv6.DESTINATION;
}

/** MTU of the port that a packet came in by (answers of the core leave no larger). */
export function portMtu(slot: usize): u32 {
  return load<u32>(<usize>load<u32>(slot, Slot.PORT_IN), Port.MTU);
}
