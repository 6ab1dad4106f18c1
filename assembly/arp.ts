/** ARP as it comes in: questions for our addresses are answered, answers are learned (RFC 826; kernel arp_process). */
import * as Address from "./layout/address";
import * as Port from "./layout/port";
import * as Reason from "./layout/reason";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { scratch, sendArp } from "./link";
import { ensureNeighbour, findNeighbour, learn, mayOverride } from "./neighbour";
import { drop } from "./send";
import { findAddress4 } from "./table/address";
import { isOurs4 } from "./table/ours";
import { giveSlot } from "./table/slot";
import * as Arp from "./wire/arp";
import { load16 } from "./wire/bytes";
import * as Ethernet from "./wire/ethernet";
import { isLoopback, isMulticast } from "./wire/ipv4";

export function receiveArp(slot: usize, arp: usize, length: u32): i32 {
  const port = <usize>load<u32>(slot, Slot.PORT_IN);
  if (
    length < <u32>Arp.SIZE ||
    load16(arp + Arp.HARDWARE) !== 1 ||
    load16(arp + Arp.PROTOCOL) !== Ethernet.IPV4 ||
    load<u8>(arp, Arp.HARDWARE_SIZE) !== 6 ||
    load<u8>(arp, Arp.PROTOCOL_SIZE) !== 4
  )
    return drop(slot, Reason.ARP_MALFORMED);
  const operation = load16(arp + Arp.OPERATION);
  const senderIp = load<u32>(arp, Arp.SENDER_IP);
  const targetIp = load<u32>(arp, Arp.TARGET_IP);
  const senderMac = arp + Arp.SENDER_MAC;
  if (operation !== Arp.REQUEST && operation !== Arp.REPLY) return drop(slot, Reason.ARP_MALFORMED);
  if (isMulticast(targetIp) || isLoopback(targetIp)) return drop(slot, Reason.ARP_MALFORMED);
  if (Ethernet.isGroup(senderMac) || Ethernet.isZeroMac(senderMac)) return drop(slot, Reason.ARP_MALFORMED);

  if (operation === Arp.REQUEST && senderIp === 0) {
    // Duplicate address detection (RFC 2131): ours is taken.
    if (isOurs4(targetIp)) sendArp(port, Arp.REPLY, targetIp, senderMac, senderMac, senderIp, slot);
    giveSlot(slot);
    return Verdict.CONSUMED;
  }
  // What claims to be one of our own addresses teaches nothing.
  const own = findAddress4(senderIp);
  if (own !== 0 || isMulticast(senderIp) || isLoopback(senderIp)) {
    if (own !== 0 && (load<u8>(own, Address.FLAGS) & Address.FLAG_BROADCAST) === 0) {
      giveSlot(slot);
      return Verdict.CONSUMED;
    }
    return drop(slot, Reason.ARP_MALFORMED);
  }
  const key = scratch();
  store<u64>(key, <u64>senderIp);
  store<u64>(key, 0, 8);
  if (operation === Arp.REQUEST && isOurs4(targetIp)) {
    const entry = ensureNeighbour(port, 4, key);
    if (entry !== 0) learn(entry, senderMac, false, true);
    sendArp(port, Arp.REPLY, targetIp, senderMac, senderMac, senderIp, slot);
    giveSlot(slot);
    return Verdict.CONSUMED;
  }
  const entry = findNeighbour(port, 4, key);
  if (entry !== 0) {
    const toUs = Ethernet.sameMac(<usize>load<u32>(slot, Slot.ETHERNET), port + Port.MAC);
    const gratuitous = senderIp === targetIp;
    learn(entry, senderMac, operation === Arp.REPLY && toUs, gratuitous || mayOverride(entry));
  }
  giveSlot(slot);
  return Verdict.CONSUMED;
}
