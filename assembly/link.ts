/** Link-layer messages that the core makes itself: ARP (RFC 826), neighbour discovery (RFC 4861). */
import * as Address from "./layout/address";
import * as Counters from "./layout/counters";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Protocol from "./layout/protocol";
import * as Route from "./layout/route";
import * as Slot from "./layout/slot";
import { enqueue } from "./send";
import { findAddress4, findAddress6 } from "./table/address";
import { count } from "./table/memory";
import { isLink } from "./table/port";
import { findRoute } from "./table/route";
import { resetSlot, takeSlot } from "./table/slot";
import * as Arp from "./wire/arp";
import { copy16, copyMac, isZero16, store16 } from "./wire/bytes";
import { checksum, pseudo6 } from "./wire/checksum";
import * as Ethernet from "./wire/ethernet";
import * as Icmp from "./wire/icmp";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import * as Vnet from "./wire/virtionet";

/**
 * An empty slot for a packet of the core's own; IP set, END not. `like` is a frame whose VLAN tags it is to have, or 0.
 * Returns 0 when no slot is left.
 */
export function newPacket(family: u32, like: usize): usize {
  const slot = takeSlot();
  if (slot === 0) return 0;
  resetSlot(slot);
  const frame = slot + Slot.FRAME_AT;
  store<u64>(frame, 0);
  store<u32>(frame, 0, 8);
  store<u32>(slot, <u32>(frame + Vnet.SIZE), Slot.ETHERNET);
  let length: usize = Ethernet.SIZE;
  if (like !== 0 && load<u32>(like, Slot.LINK_LENGTH) > <u32>Ethernet.SIZE) {
    length = <usize>load<u32>(like, Slot.LINK_LENGTH);
    const from = <usize>load<u32>(like, Slot.ETHERNET) + Ethernet.TYPE;
    memory.copy(frame + Vnet.SIZE + Ethernet.TYPE, from, length - Ethernet.SIZE);
  }
  store<u32>(slot, <u32>(frame + Vnet.SIZE + length), Slot.IP);
  store<u32>(slot, <u32>length, Slot.LINK_LENGTH);
  store<u8>(slot, <u8>family, Slot.FAMILY);
  store<u16>(slot, Slot.GENERATED, Slot.FLAGS);
  count(Counters.GENERATED, 1);
  return slot;
}

/** One ARP message. `frameTarget`: where the frame goes; 0 for everybody. Addresses raw. `like` as for newPacket. */
export function sendArp(
  port: usize,
  operation: u32,
  senderIp: u32,
  frameTarget: usize,
  targetMac: usize,
  targetIp: u32,
  like: usize,
): void {
  const slot = newPacket(4, like);
  if (slot === 0) return;
  const ethernet = <usize>load<u32>(slot, Slot.ETHERNET);
  const arp = <usize>load<u32>(slot, Slot.IP);
  if (frameTarget !== 0) copyMac(ethernet, frameTarget);
  else memory.fill(ethernet, 0xff, 6);
  copyMac(ethernet + Ethernet.SOURCE, port + Port.MAC);
  store16(arp - 2, Ethernet.ARP);
  store16(arp + Arp.HARDWARE, 1);
  store16(arp + Arp.PROTOCOL, Ethernet.IPV4);
  store<u8>(arp, 6, Arp.HARDWARE_SIZE);
  store<u8>(arp, 4, Arp.PROTOCOL_SIZE);
  store16(arp + Arp.OPERATION, operation);
  copyMac(arp + Arp.SENDER_MAC, port + Port.MAC);
  store<u32>(arp, senderIp, Arp.SENDER_IP);
  if (targetMac !== 0) copyMac(arp + Arp.TARGET_MAC, targetMac);
  else memory.fill(arp + Arp.TARGET_MAC, 0, 6);
  store<u32>(arp, targetIp, Arp.TARGET_IP);
  store<u32>(slot, <u32>(slot + Slot.FRAME_AT), Slot.FRAME);
  store<u32>(slot, <u32>(arp + Arp.SIZE - load<u32>(slot, Slot.FRAME)), Slot.LENGTH);
  enqueue(slot, port);
}

/**
 * A neighbour message: solicitation or advertisement with its link-layer option. `destination` and `target` IPv6,
 * `mac` of the frame's target, or 0: the multicast one of the destination.
 */
export function sendNdp(
  port: usize,
  type: u32,
  flags: u32,
  source: usize,
  destination: usize,
  target: usize,
  mac: usize,
  like: usize,
): void {
  const slot = newPacket(6, like);
  if (slot === 0) return;
  const ethernet = <usize>load<u32>(slot, Slot.ETHERNET);
  const ip = <usize>load<u32>(slot, Slot.IP);
  if (mac !== 0) {
    copyMac(ethernet, mac);
  } else {
    store16(ethernet, 0x3333);
    store<u32>(ethernet, load<u32>(destination, 12), 2);
  }
  copyMac(ethernet + Ethernet.SOURCE, port + Port.MAC);
  store16(ip - 2, Ethernet.IPV6);
  const option: u32 = isZero16(source) ? 0 : 8;
  const length: u32 = 24 + option;
  store<u32>(ip, 0x60);
  store16(ip + Ipv6.PAYLOAD_LENGTH, length);
  store<u8>(ip, Protocol.ICMPV6, Ipv6.NEXT_HEADER);
  store<u8>(ip, 255, Ipv6.HOP_LIMIT);
  copy16(ip + Ipv6.SOURCE, source);
  copy16(ip + Ipv6.DESTINATION, destination);
  const icmp = ip + Ipv6.SIZE;
  store<u8>(icmp, <u8>type, Icmp.TYPE);
  store<u8>(icmp, 0, Icmp.CODE);
  store<u16>(icmp, 0, Icmp.CHECKSUM);
  store<u32>(icmp, 0, Icmp.REST);
  store<u8>(icmp, <u8>flags, Icmp.REST);
  copy16(icmp + 8, target);
  if (option !== 0) {
    store<u8>(icmp, type === Icmp.V6_NEIGHBOUR_SOLICITATION ? 1 : 2, 24);
    store<u8>(icmp, 1, 25);
    copyMac(icmp + 26, port + Port.MAC);
  }
  store<u16>(
    icmp,
    <u16>checksum(icmp, length, pseudo6(ip + Ipv6.SOURCE, ip + Ipv6.DESTINATION, Protocol.ICMPV6, length)),
    Icmp.CHECKSUM,
  );
  store<u32>(slot, <u32>(slot + Slot.FRAME_AT), Slot.FRAME);
  store<u32>(slot, <u32>(ip + Ipv6.SIZE - load<u32>(slot, Slot.FRAME)) + length, Slot.LENGTH);
  enqueue(slot, port);
}

/** Source for the core's own packets towards an IPv4 address on a port. */
export function sourceFor4(port: usize, addressBe: usize): u32 {
  const route = findRoute(4, addressBe);
  const here = route !== 0 && <usize>load<u32>(route, Route.PORT) === port;
  if (here && load<u32>(route, Route.SOURCE) !== 0) return load<u32>(route, Route.SOURCE);
  return load<u32>(port, Port.ADDRESS);
}

/** ff02::1:ffXX:XXXX of an address (RFC 4291, 2.7.1), written to `to`. */
export function solicitedNode(to: usize, address: usize): void {
  store<u64>(to, 0x02ff);
  store<u64>(to, 0xff01000000, 8);
  store<u8>(to, load<u8>(address, 13), 13);
  store<u16>(to, load<u16>(address, 14), 14);
}

/**
 * Asks who has an address; `mac` asks that one alone. The asker's address is the source of the waiting packet when
 * that is one of ours (arp_announce 0), else ours on that link.
 */
export function solicit(port: usize, family: u32, address: usize, mac: usize, waiting: usize): void {
  if (!isLink(port)) return;
  const ip: usize = waiting === 0 ? 0 : <usize>load<u32>(waiting, Slot.IP);
  if (family === 4) {
    let source = sourceFor4(port, address);
    if (ip !== 0) {
      const own = findAddress4(load<u32>(ip, Ipv4.SOURCE));
      if (own !== 0 && (load<u8>(own, Address.FLAGS) & Address.FLAG_BROADCAST) === 0)
        source = load<u32>(ip, Ipv4.SOURCE);
    }
    sendArp(port, Arp.REQUEST, source, mac, 0, load<u32>(address), waiting);
    return;
  }
  let source =
    Ipv6.isLinkLocal(address) || isZero16(port + Port.ADDRESS6) ? port + Port.LINK_LOCAL : port + Port.ADDRESS6;
  const route = findRoute(6, address);
  if (route !== 0 && !isZero16(route + Route.SOURCE)) source = route + Route.SOURCE;
  if (ip !== 0 && findAddress6(ip + Ipv6.SOURCE) !== 0) source = ip + Ipv6.SOURCE;
  if (mac !== 0) {
    sendNdp(port, Icmp.V6_NEIGHBOUR_SOLICITATION, 0, source, address, address, mac, waiting);
    return;
  }
  const group = scratch();
  solicitedNode(group, address);
  sendNdp(port, Icmp.V6_NEIGHBOUR_SOLICITATION, 0, source, group, address, 0, waiting);
}

/** 64 bytes of the header that a function may use while it runs. */
export function scratch(): usize {
  return <usize>(Memory.LAYOUT_BASE + Memory.SCRATCH);
}
