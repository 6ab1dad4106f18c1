/** The way out: link header, offloads that the port lacks, and the worker's send queue. */

import { completeChecksum } from "./fragmentation";
import * as Counters from "./layout/counters";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Reason from "./layout/reason";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import * as Worker from "./layout/worker";
import { needsSegmentation, segment } from "./segmentation";
import { count, countAt, word } from "./table/memory";
import { isLink } from "./table/port";
import { giveSlot } from "./table/slot";
import { noteDrop } from "./trace";
import { copyMac, store16 } from "./wire/bytes";
import * as Ethernet from "./wire/ethernet";
import * as Vnet from "./wire/virtionet";

/** Ends a frame that is not sent: counted, its slot given back. */
export function drop(slot: usize, reason: i32): i32 {
  count(Counters.REASONS + (reason << 3), 1);
  noteDrop(slot, reason);
  giveSlot(slot);
  return Verdict.DROP;
}

/**
 * Puts vnet_hdr and link header in front of the packet, wherever rewriting has moved it to. VLAN tags that the frame
 * came with stay. `mac` of the next hop; 0 on a port without link layer.
 */
export function sealLink(slot: usize, port: usize, mac: usize): void {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const frame = <usize>load<u32>(slot, Slot.FRAME);
  const linked = isLink(port);
  const tagged = <usize>load<u32>(slot, Slot.LINK_LENGTH);
  const length: usize = linked ? (tagged > <usize>Ethernet.SIZE ? tagged : Ethernet.SIZE) : 0;
  const start = ip - length;
  if (start - Vnet.SIZE !== frame) {
    if (linked && length > <usize>Ethernet.SIZE) {
      const old = <usize>load<u32>(slot, Slot.ETHERNET);
      memory.copy(start + Ethernet.TYPE, old + Ethernet.TYPE, length - Ethernet.SIZE);
    }
    const moved = start - Vnet.SIZE;
    const low = load<u64>(frame);
    const high = load<u32>(frame, 8);
    store<u64>(moved, low);
    store<u32>(moved, high, 8);
    const shift = <i32>(frame - moved);
    if ((load<u8>(moved, Vnet.FLAGS) & Vnet.NEEDS_CHECKSUM) !== 0) {
      store<u16>(moved, <u16>(<i32>load<u16>(moved, Vnet.CHECKSUM_START) + shift), Vnet.CHECKSUM_START);
    }
    if (load<u8>(moved, Vnet.GSO_TYPE) !== 0) {
      store<u16>(moved, <u16>(<i32>load<u16>(moved, Vnet.HEADER_LENGTH) + shift), Vnet.HEADER_LENGTH);
    }
    store<u32>(slot, <u32>moved, Slot.FRAME);
  }
  const whole = load<u32>(slot, Slot.END) - <u32>(start - Vnet.SIZE);
  store<u32>(slot, whole - load<u32>(slot, Slot.BODY_LENGTH), Slot.LENGTH);
  if (!linked) return;
  store<u32>(slot, <u32>start, Slot.ETHERNET);
  copyMac(start, mac);
  copyMac(start + Ethernet.SOURCE, port + Port.MAC);
  store16(ip - 2, load<u8>(slot, Slot.FAMILY) === 4 ? Ethernet.IPV4 : Ethernet.IPV6);
}

/** Appends a finished frame to the send queue. Its slot comes back when the host has written it. */
export function enqueue(slot: usize, port: usize): i32 {
  const queue = <usize>word(Memory.CURRENT_QUEUE);
  const places = load<u32>(queue, Worker.SEND_COUNT);
  if (places >= <u32>Worker.SEND_LIMIT) return drop(slot, Reason.SLOTS_EXHAUSTED);
  append(queue, places, slot, port, load<u32>(slot, Slot.LENGTH) + load<u32>(slot, Slot.BODY_LENGTH));
  return Verdict.FORWARD;
}

/** The same at a place of SEND that is known to be free. `length` is the frame's with its vnet_hdr. */
export function append(queue: usize, place: u32, slot: usize, port: usize, length: u32): void {
  store<u32>(slot, <u32>port, Slot.PORT_OUT);
  store<u32>(queue + <usize>(place << 2), <u32>slot, Worker.SEND);
  store<u32>(queue, place + 1, Worker.SEND_COUNT);
  count(Counters.FRAMES_OUT, 1);
  countAt(queue + Worker.FRAMES_OUT, 1);
  countAt(port + Port.FRAMES_OUT, 1);
  countAt(port + Port.BYTES_OUT, <u64>(length - Vnet.SIZE));
}

/** Sends a packet to a next hop whose MAC is known, after the work that the port's device cannot do. */
export function sendTo(slot: usize, port: usize, mac: usize): i32 {
  if (load<u8>(port, Port.UP) === 0) return drop(slot, Reason.PORT_DOWN);
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  if (needsSegmentation(slot, port)) {
    let part = segment(slot);
    if (part === 0) return drop(slot, <i32>load<u8>(slot, Slot.REASON));
    while (part !== 0) {
      const next = <usize>load<u32>(part, Slot.NEXT);
      sealLink(part, port, mac);
      enqueue(part, port);
      part = next;
    }
    return Verdict.FORWARD;
  }
  if (
    (load<u8>(vnet, Vnet.FLAGS) & Vnet.NEEDS_CHECKSUM) !== 0 &&
    (load<u8>(port, Port.CAPABILITIES) & Port.CAPABILITY_CHECKSUM) === 0
  )
    completeChecksum(slot);
  sealLink(slot, port, mac);
  return enqueue(slot, port);
}
