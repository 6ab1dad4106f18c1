/** ICMPv6 to the director: neighbour discovery (RFC 4861), echo, and nothing else. */

import { answerEcho6 } from "./answer";
import * as Reason from "./layout/reason";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { scratch, sendNdp } from "./link";
import { ensureNeighbour, findNeighbour, learn } from "./neighbour";
import { drop } from "./send";
import { isOurs6 } from "./table/ours";
import { isLink } from "./table/port";
import { giveSlot } from "./table/slot";
import { transportChecksumIsRight } from "./verify";
import { isZero16 } from "./wire/bytes";
import * as Icmp from "./wire/icmp";
import * as Ipv6 from "./wire/ipv6";

const SOURCE_LINK_ADDRESS = 1;
const TARGET_LINK_ADDRESS = 2;
const SOLICITED: u32 = 0x40;
const OVERRIDE: u32 = 0x20;
/** A router's advertisements say so (RFC 4861, 4.4). */
const ROUTER: u32 = 0x80;

/** The MAC in an option of this kind, or 0; 1 when the options are malformed. */
function linkAddress(at: usize, end: usize, wanted: i32): usize {
  let found: usize = 0;
  while (at + 2 <= end) {
    const length = (<usize>load<u8>(at, 1)) << 3;
    if (length === 0 || at + length > end) return 1;
    if (<i32>load<u8>(at) === wanted && length >= 8) found = at + 2;
    at += length;
  }
  return found;
}

function consume(slot: usize): i32 {
  giveSlot(slot);
  return Verdict.CONSUMED;
}

export function receiveIcmp6(slot: usize): i32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const icmp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  if (icmp + Icmp.SIZE > end) return drop(slot, Reason.ICMP_MALFORMED);
  if (!transportChecksumIsRight(slot)) return drop(slot, Reason.TRANSPORT_CHECKSUM);
  const type = <i32>load<u8>(icmp);
  if (type === Icmp.V6_ECHO) {
    if (!isOurs6(ip + Ipv6.DESTINATION)) return drop(slot, Reason.BROADCAST);
    if (isZero16(ip + Ipv6.SOURCE)) return drop(slot, Reason.SOURCE_INVALID);
    return answerEcho6(slot);
  }
  if (type !== Icmp.V6_NEIGHBOUR_SOLICITATION && type !== Icmp.V6_NEIGHBOUR_ADVERTISEMENT)
    return drop(slot, Reason.LOCAL_UNANSWERED);
  const port = <usize>load<u32>(slot, Slot.PORT_IN);
  const target = icmp + 8;
  if (
    icmp + 24 > end ||
    !isLink(port) ||
    load<u8>(ip, Ipv6.HOP_LIMIT) !== 255 ||
    load<u8>(icmp, Icmp.CODE) !== 0 ||
    // RFC 6980: never in fragments.
    load<u16>(slot, Slot.FRAGMENT_LARGEST) !== 0 ||
    Ipv6.isMulticast(target)
  )
    return drop(slot, Reason.NDP_MALFORMED);
  return type === Icmp.V6_NEIGHBOUR_SOLICITATION ? solicited(slot, port, target) : advertised(slot, port, target);
}

function solicited(slot: usize, port: usize, target: usize): i32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const end = <usize>load<u32>(slot, Slot.END);
  const source = ip + Ipv6.SOURCE;
  const mac = linkAddress(target + 16, end, SOURCE_LINK_ADDRESS);
  if (mac === 1) return drop(slot, Reason.NDP_MALFORMED);
  const probing = isZero16(source);
  if (probing && mac !== 0) return drop(slot, Reason.NDP_MALFORMED);
  if (!isOurs6(target)) return consume(slot);
  if (probing) {
    // Duplicate address detection: everybody is told.
    const all = scratch();
    store<u64>(all, 0x02ff);
    store<u64>(all, 0x0100000000000000, 8);
    sendNdp(port, Icmp.V6_NEIGHBOUR_ADVERTISEMENT, ROUTER | OVERRIDE, target, all, target, 0, slot);
    return consume(slot);
  }
  if (isOurs6(source)) return consume(slot);
  if (mac !== 0) {
    const entry = ensureNeighbour(port, 6, source);
    if (entry !== 0) learn(entry, mac, false, true);
    sendNdp(port, Icmp.V6_NEIGHBOUR_ADVERTISEMENT, ROUTER | SOLICITED | OVERRIDE, target, source, target, mac, slot);
  } else {
    const ethernet = <usize>load<u32>(slot, Slot.ETHERNET);
    sendNdp(
      port,
      Icmp.V6_NEIGHBOUR_ADVERTISEMENT,
      ROUTER | SOLICITED | OVERRIDE,
      target,
      source,
      target,
      ethernet + 6,
      slot,
    );
  }
  return consume(slot);
}

function advertised(slot: usize, port: usize, target: usize): i32 {
  const end = <usize>load<u32>(slot, Slot.END);
  const flags = <u32>load<u8>(<usize>load<u32>(slot, Slot.TRANSPORT), Icmp.REST);
  const mac = linkAddress(target + 16, end, TARGET_LINK_ADDRESS);
  if (mac === 1) return drop(slot, Reason.NDP_MALFORMED);
  // Who was asked answers the asker alone (RFC 4861, 7.1.2).
  if ((flags & SOLICITED) !== 0 && Ipv6.isMulticast(<usize>load<u32>(slot, Slot.IP) + Ipv6.DESTINATION))
    return drop(slot, Reason.NDP_MALFORMED);
  const entry = findNeighbour(port, 6, target);
  if (entry !== 0 && mac !== 0 && !isOurs6(target)) {
    learn(entry, mac, (flags & SOLICITED) !== 0, (flags & OVERRIDE) !== 0);
  }
  return consume(slot);
}
