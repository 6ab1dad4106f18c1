/** Direct routing: nothing of the packet changes but its next hop; the checksum of its IPv4 header is made anew. */
import * as Slot from "../layout/slot";
import * as Ipv4 from "../wire/ipv4";

export function prepare(slot: usize): void {
  if (load<u8>(slot, Slot.FAMILY) === 4) Ipv4.seal(<usize>load<u32>(slot, Slot.IP));
}
