/** The packet inside an ICMP error, as far as it is there: a descriptor like a slot's. */

import { findTransport6 } from "./extension-header";
import * as Memory from "./layout/memory";
import * as Slot from "./layout/slot";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";

export const EMBEDDED: usize = Memory.LAYOUT_BASE + Memory.EMBEDDED;

/** Reads the header at `ip` inside the packet of `slot` into EMBEDDED. False when it is not a whole header. */
export function parseEmbedded(slot: usize, ip: usize): bool {
  const end = <usize>load<u32>(slot, Slot.END);
  const inner = EMBEDDED;
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  store<u32>(inner, load<u32>(slot, Slot.FRAME), Slot.FRAME);
  store<u32>(inner, <u32>ip, Slot.IP);
  store<u32>(inner, <u32>end, Slot.END);
  store<u8>(inner, <u8>family, Slot.FAMILY);
  store<u16>(inner, 0, Slot.FLAGS);
  store<u32>(inner, load<u32>(slot, Slot.MARK), Slot.MARK);
  if (family === 4) {
    if (ip + Ipv4.SIZE > end || <u32>load<u8>(ip) >> 4 !== 4) return false;
    const header = <usize>Ipv4.headerLength(ip);
    if (header < <usize>Ipv4.SIZE) return false;
    store<u8>(inner, load<u8>(ip, Ipv4.PROTOCOL), Slot.PROTOCOL);
    store<u32>(inner, <u32>(ip + header), Slot.TRANSPORT);
    if ((Ipv4.fragment(ip) & Ipv4.OFFSET_MASK) !== 0) store<u16>(inner, Slot.LATER_FRAGMENT, Slot.FLAGS);
    return true;
  }
  if (ip + Ipv6.SIZE > end || <u32>load<u8>(ip) >> 4 !== 6) return false;
  return findTransport6(inner);
}
