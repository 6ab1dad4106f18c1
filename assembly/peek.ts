/**
 * First pass over a breath's frames: the hash of each one's connection, and a touch of the table's lines that it leads
 * to. The loads of different frames do not wait for each other, so the memory's latency is paid once and not per frame.
 * Nothing is decided here: the second pass checks every frame and looks again.
 */
import * as Hint from "./layout/hint";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Protocol from "./layout/protocol";
import * as Slot from "./layout/slot";
import * as Worker from "./layout/worker";
import { findAddress4 } from "./table/address";
import { hashSide, touch, touchLine } from "./table/connection";
import { setWord } from "./table/memory";
import * as Ethernet from "./wire/ethernet";
import * as Ipv4 from "./wire/ipv4";
import * as Vnet from "./wire/virtionet";

/** Ethernet type of IPv4 as it lies in memory. */
const IPV4_RAW: u32 = 0x0008;

/** The hash of a plain IPv4 packet's connection, and what it is of. Returns something of what was touched. */
function peek(slot: usize): u32 {
  store<u8>(slot, Hint.HINT_NONE, Slot.HINT);
  const link = (load<u8>(<usize>load<u32>(slot, Slot.PORT_IN), Port.CAPABILITIES) & Port.CAPABILITY_LINK) !== 0;
  const header: u32 = link ? Ethernet.SIZE : 0;
  if (load<u32>(slot, Slot.LENGTH) < <u32>(Vnet.SIZE + Ipv4.SIZE + 4) + header) return 0;
  const ip = <usize>load<u32>(slot, Slot.FRAME) + <usize>(Vnet.SIZE + header);
  if (link && <u32>load<u16>(ip - 2) !== IPV4_RAW) return 0;
  const protocol = <i32>load<u8>(ip, Ipv4.PROTOCOL);
  if (load<u8>(ip) !== 0x45 || (protocol !== Protocol.TCP && protocol !== Protocol.UDP)) return 0;
  const destination = load<u32>(ip, Ipv4.DESTINATION);
  const ports = load<u32>(ip, Ipv4.SIZE);
  let hash: u32;
  if (findAddress4(destination) !== 0) {
    hash = hashSide(load<u32>(ip, Ipv4.SOURCE), ports & 0xffff, protocol);
    store<u8>(slot, Hint.HINT_SOURCE, Slot.HINT);
  } else {
    hash = hashSide(destination, ports >> 16, protocol);
    store<u8>(slot, Hint.HINT_DESTINATION, Slot.HINT);
  }
  store<u32>(slot, hash, Slot.HASH);
  return touchLine(hash);
}

/** Peeks at every frame of RECEIVED. */
export function peekAll(queue: usize): void {
  const received = load<u32>(queue, Worker.RECEIVED_COUNT);
  let touched: u32 = 0;
  for (let i: u32 = 0; i < received; i++) touched ^= peek(<usize>load<u32>(queue + <usize>(i << 2), Worker.RECEIVED));
  // The lines of the index are on their way, all at once: now those of the connections that they name.
  for (let i: u32 = 0; i < received; i++) {
    const slot = <usize>load<u32>(queue + <usize>(i << 2), Worker.RECEIVED);
    if (load<u8>(slot, Slot.HINT) !== 0) touched ^= touch(load<u32>(slot, Slot.HASH));
  }
  // Kept, so that the loads are.
  setWord(Memory.TOUCHED, touched);
}
