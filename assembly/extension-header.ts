/** The chain of IPv6 extension headers (RFC 8200, 4). */
import * as Slot from "./layout/slot";
import { load16 } from "./wire/bytes";
import * as Ipv6 from "./wire/ipv6";

/** A chain longer than this is nobody's honest packet. */
const CHAIN_MAX = 12;

/**
 * Follows the chain from slot.IP: sets TRANSPORT, PROTOCOL, NEXT_HEADER (address of the byte that names the protocol),
 * FRAGMENT_HEADER and the fragment flags. False when a header is cut off or the chain is too long.
 */
export function findTransport6(slot: usize): bool {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const end = <usize>load<u32>(slot, Slot.END);
  let name = ip + Ipv6.NEXT_HEADER;
  let at = ip + Ipv6.SIZE;
  let flags = <u32>load<u16>(slot, Slot.FLAGS) & ~(Slot.FRAGMENT | Slot.LATER_FRAGMENT);
  store<u32>(slot, 0, Slot.FRAGMENT_HEADER);
  for (let i = 0; i < CHAIN_MAX; i++) {
    const kind = <i32>load<u8>(name);
    let length: usize;
    if (
      kind === Ipv6.HOP_BY_HOP ||
      kind === Ipv6.ROUTING ||
      kind === Ipv6.DESTINATION_OPTIONS ||
      kind === Ipv6.MOBILITY
    ) {
      if (at + 8 > end) return false;
      length = (<usize>load<u8>(at, 1) + 1) << 3;
    } else if (kind === Ipv6.FRAGMENT) {
      if (at + Ipv6.FRAGMENT_SIZE > end) return false;
      const field = load16(at + Ipv6.FRAGMENT_OFFSET);
      store<u32>(slot, <u32>at, Slot.FRAGMENT_HEADER);
      // An atomic fragment (RFC 6946) is whole.
      if ((field & 0xfff9) !== 0) flags |= Slot.FRAGMENT;
      if ((field & 0xfff8) !== 0) {
        flags |= Slot.LATER_FRAGMENT;
        store<u32>(slot, <u32>name, Slot.NEXT_HEADER);
        store<u8>(slot, load<u8>(at), Slot.PROTOCOL);
        store<u32>(slot, <u32>(at + Ipv6.FRAGMENT_SIZE), Slot.TRANSPORT);
        store<u16>(slot, <u16>flags, Slot.FLAGS);
        return true;
      }
      length = Ipv6.FRAGMENT_SIZE;
    } else {
      store<u8>(slot, <u8>kind, Slot.PROTOCOL);
      store<u32>(slot, <u32>name, Slot.NEXT_HEADER);
      store<u32>(slot, <u32>at, Slot.TRANSPORT);
      store<u16>(slot, <u16>flags, Slot.FLAGS);
      return at <= end;
    }
    name = at;
    at += length;
    if (at > end) return false;
  }
  return false;
}
