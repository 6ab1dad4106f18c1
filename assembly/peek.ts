/**
 * First pass over a breath's frames: the hash of each one's connection, and a touch of the table's lines that it leads
 * to. The loads of different frames do not wait for each other, so the memory's latency is paid once and not per frame.
 * Nothing is decided here: the second pass checks every frame and looks again.
 */
import { isOpen, markPlain } from "./fast-path";
import * as Hint from "./layout/hint";
import * as Memory from "./layout/memory";
import * as Protocol from "./layout/protocol";
import * as Slot from "./layout/slot";
import * as Worker from "./layout/worker";
import { findAddress4 } from "./table/address";
import { firstReference, hashSide, lineOf, touch } from "./table/connection";
import { setWord } from "./table/memory";
import { isLink } from "./table/port";
import * as Ethernet from "./wire/ethernet";
import * as Ipv4 from "./wire/ipv4";
import * as Vnet from "./wire/virtionet";

/** From a place of RECEIVED to that of what was found for it. */
const FOUND: usize = Worker.FOUND - Worker.RECEIVED;
/** Ethernet type of IPv4 as it lies in memory. */
const IPV4_RAW: u32 = 0x0008;

/**
 * The hash of an IPv4 packet's connection, what it is of, and whether the frame is a plain one. Returns the line of the
 * index that it leads to; 0 for others.
 */
function peek(slot: usize, mayBePlain: bool): usize {
  store<u8>(slot, Hint.HINT_NONE, Slot.HINT);
  const port = <usize>load<u32>(slot, Slot.PORT_IN);
  const length = load<u32>(slot, Slot.LENGTH);
  const frame = <usize>load<u32>(slot, Slot.FRAME);
  let ip = frame + Vnet.SIZE;
  if (isLink(port)) {
    ip += Ethernet.SIZE;
    if (length < <u32>(Vnet.SIZE + Ethernet.SIZE + Ipv4.SIZE + 4)) return 0;
    if (<u32>load<u16>(ip - 2) !== IPV4_RAW) return 0;
  } else {
    if (length < <u32>(Vnet.SIZE + Ipv4.SIZE + 4)) return 0;
    mayBePlain = false;
  }
  const first = load<u32>(ip);
  if ((first & 0xff) !== 0x45) return 0;
  const third = load<u32>(ip, Ipv4.TTL);
  const protocol = (third >> 8) & 0xff;
  if (protocol !== Protocol.TCP) {
    if (protocol !== Protocol.UDP) return 0;
  }
  const source = load<u32>(ip, Ipv4.SOURCE);
  const destination = load<u32>(ip, Ipv4.DESTINATION);
  const ports = load<u32>(ip, Ipv4.SIZE);
  const record = findAddress4(destination);
  let hash: u32;
  let hint: u32;
  if (record !== 0) {
    hash = hashSide(source, ports & 0xffff, protocol);
    hint = Hint.HINT_SOURCE;
  } else {
    hash = hashSide(destination, ports >> 16, protocol);
    hint = Hint.HINT_DESTINATION;
  }
  store<u32>(slot, hash, Slot.HASH);
  store<u8>(slot, <u8>hint, Slot.HINT);
  if (mayBePlain) markPlain(slot, port, frame, length, hint, record, first, third, source, destination, ports);
  return lineOf(hash);
}

/** Peeks at every frame of RECEIVED. Loops of their own: short enough for the loads of many frames to be under way. */
export function peekAll(queue: usize): void {
  const list = queue + Worker.RECEIVED;
  const end = list + ((<usize>load<u32>(queue, Worker.RECEIVED_COUNT)) << 2);
  const mayBePlain = isOpen();
  setWord(Memory.INDEX_CHANGED, 0);
  for (let at = list; at < end; at += 4) {
    store<u32>(at + FOUND, <u32>peek(<usize>load<u32>(at), mayBePlain));
  }
  let touched: u32 = 0;
  // Where there is none, the first word of this memory is as good.
  for (let at = list; at < end; at += 4) touched ^= load<u32>(<usize>load<u32>(at + FOUND));
  // The lines of the index are on their way, all at once: now the connections that they name.
  for (let at = list; at < end; at += 4) {
    const line = <usize>load<u32>(at + FOUND);
    if (line !== 0) store<u32>(at + FOUND, firstReference(line, load<u32>(<usize>load<u32>(at), Slot.HASH)));
  }
  for (let at = list; at < end; at += 4) touched ^= touch(load<u32>(at + FOUND));
  // Kept, so that the loads are.
  setWord(Memory.TOUCHED, touched);
}
