/** From a packet's descriptor to its connection, in either direction. */

import * as Address from "./layout/address";
import * as Connection from "./layout/connection";
import { HINT_DESTINATION, HINT_SIDE, HINT_SOURCE } from "./layout/hint";
import * as Memory from "./layout/memory";
import * as Protocol from "./layout/protocol";
import * as Slot from "./layout/slot";
import { hasPorts } from "./protocol/index";
import { findAddress4, findAddress6 } from "./table/address";
import { findIn, findOut, findReply, fold6, hashSide } from "./table/connection";
import { localWord } from "./table/local";
import { word } from "./table/memory";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";

/** Port 500 (ISAKMP), raw: ESP and AH follow the UDP connection that negotiated them. */
const ISAKMP: u32 = 0xf401;

function protocolOf(packet: usize): u32 {
  const protocol = <i32>load<u8>(packet, Slot.PROTOCOL);
  return protocol === Protocol.ESP || protocol === Protocol.AH ? Protocol.UDP : protocol;
}

function isRelated(packet: usize): bool {
  const protocol = <i32>load<u8>(packet, Slot.PROTOCOL);
  return protocol === Protocol.ESP || protocol === Protocol.AH;
}

/** Whether the ports of the packet can be read, or are known without reading. */
export function portsAreThere(packet: usize): bool {
  if ((<u32>load<u16>(packet, Slot.FLAGS) & Slot.LATER_FRAGMENT) !== 0) return false;
  return isRelated(packet) || load<u32>(packet, Slot.TRANSPORT) + 4 <= load<u32>(packet, Slot.END);
}

export function sourcePort(packet: usize): u32 {
  if (isRelated(packet)) return ISAKMP;
  return <u32>load<u16>(<usize>load<u32>(packet, Slot.TRANSPORT));
}

export function destinationPort(packet: usize): u32 {
  if (isRelated(packet)) return ISAKMP;
  return <u32>load<u16>(<usize>load<u32>(packet, Slot.TRANSPORT), 2);
}

/** The hash of one side, from the first pass when it has it: used once, since the packet may change. */
function hashOf(packet: usize, side: i32, address: u32, port: u32, protocol: u32): u32 {
  const hinted = (<i32>load<u8>(packet, Slot.HINT) & HINT_SIDE) === side;
  store<u8>(packet, 0, Slot.HINT);
  return hinted ? load<u32>(packet, Slot.HASH) : hashSide(address, port, protocol);
}

/**
 * The connection whose client sent this packet; with `inverse`, whose client this packet was sent to (the packet inside
 * an ICMP error goes the other way). 0 when there is none.
 */
export function incoming(packet: usize, inverse: bool): usize {
  if (!portsAreThere(packet)) return 0;
  const ip = <usize>load<u32>(packet, Slot.IP);
  const protocol = protocolOf(packet);
  let clientPort = sourcePort(packet);
  let virtualPort = destinationPort(packet);
  if (inverse) {
    const held = clientPort;
    clientPort = virtualPort;
    virtualPort = held;
  }
  let client: u32;
  let virtual: u32;
  let client6: usize = 0;
  let virtual6: usize = 0;
  if (load<u8>(packet, Slot.FAMILY) === 4) {
    client = load<u32>(ip + <usize>(inverse ? Ipv4.DESTINATION : Ipv4.SOURCE));
    virtual = load<u32>(ip + <usize>(inverse ? Ipv4.SOURCE : Ipv4.DESTINATION));
  } else {
    client6 = ip + <usize>(inverse ? Ipv6.DESTINATION : Ipv6.SOURCE);
    virtual6 = ip + <usize>(inverse ? Ipv6.SOURCE : Ipv6.DESTINATION);
    client = fold6(client6);
    virtual = fold6(virtual6);
  }
  // Port 0 stands for one that is not known yet: such a packet never finds its own kind, as in the kernel.
  if (clientPort !== 0) {
    const hash = hashOf(packet, HINT_SOURCE, client, clientPort, protocol);
    const found = findIn(hash, client, virtual, clientPort, virtualPort, protocol, client6, virtual6, 0);
    if (found !== 0) return found;
  }
  if (word(Memory.NO_CLIENT_PORT_COUNT) === 0) return 0;
  const hash = hashSide(client, 0, protocol);
  return findIn(hash, client, virtual, 0, virtualPort, protocol, client6, virtual6, Connection.FLAG_NO_CLIENT_PORT);
}

/** The connection whose server sent this packet; with `inverse`, whose server it was sent to. 0 when there is none. */
export function outgoing(packet: usize, inverse: bool): usize {
  if (!portsAreThere(packet)) return 0;
  const ip = <usize>load<u32>(packet, Slot.IP);
  const protocol = protocolOf(packet);
  let serverPort = sourcePort(packet);
  let clientPort = destinationPort(packet);
  if (inverse) {
    const held = serverPort;
    serverPort = clientPort;
    clientPort = held;
  }
  let source: u32;
  let client: u32;
  let source6: usize = 0;
  let client6: usize = 0;
  if (load<u8>(packet, Slot.FAMILY) === 4) {
    source = load<u32>(ip + <usize>(inverse ? Ipv4.DESTINATION : Ipv4.SOURCE));
    client = load<u32>(ip + <usize>(inverse ? Ipv4.SOURCE : Ipv4.DESTINATION));
  } else {
    source6 = ip + <usize>(inverse ? Ipv6.DESTINATION : Ipv6.SOURCE);
    client6 = ip + <usize>(inverse ? Ipv6.SOURCE : Ipv6.DESTINATION);
    source = fold6(source6);
    client = fold6(client6);
  }
  return findOut(
    hashOf(packet, HINT_DESTINATION, client, clientPort, protocol),
    source,
    client,
    serverPort,
    clientPort,
    protocol,
    source6,
    client6,
  );
}

/**
 * Full NAT: the connection whose server sent this packet to one of our addresses; with `inverse`, to whose server it
 * was sent from there. 0 when there is none.
 */
export function answered(packet: usize, inverse: bool): usize {
  if (word(Memory.FULL_NAT_COUNT) === 0 || !portsAreThere(packet)) return 0;
  const protocol = <i32>load<u8>(packet, Slot.PROTOCOL);
  if (!hasPorts(protocol)) return 0;
  const ip = <usize>load<u32>(packet, Slot.IP);
  const serverPort = inverse ? destinationPort(packet) : sourcePort(packet);
  const port = inverse ? sourcePort(packet) : destinationPort(packet);
  let record: usize;
  let server: u32;
  let server6: usize = 0;
  if (load<u8>(packet, Slot.FAMILY) === 4) {
    record = findAddress4(load<u32>(ip + <usize>(inverse ? Ipv4.SOURCE : Ipv4.DESTINATION)));
    server = load<u32>(ip + <usize>(inverse ? Ipv4.DESTINATION : Ipv4.SOURCE));
  } else {
    record = findAddress6(ip + <usize>(inverse ? Ipv6.SOURCE : Ipv6.DESTINATION));
    server6 = ip + <usize>(inverse ? Ipv6.DESTINATION : Ipv6.SOURCE);
    server = fold6(server6);
  }
  if (record === 0 || load<u32>(record, Address.LOCALS) === 0) return 0;
  return findReply(localWord(record, port), server, serverPort, <u32>protocol, server6);
}
