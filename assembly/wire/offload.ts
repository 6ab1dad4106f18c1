/** Checksums that a sender left to its device (vnet header, NEEDS_CHECKSUM). */
import * as Slot from "../layout/slot";
import { checksum } from "./checksum";
import { crc32c } from "./sctp";
import * as Vnet from "./virtionet";

/** Where the checksum of SCTP lies in its header: no other protocol has its checksum there. */
const SCTP_OFFSET: u32 = 8;

/** Whether the frame's checksum is still to be completed. */
export function isPartial(slot: usize): bool {
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  return (load<u8>(vnet, Vnet.FLAGS) & Vnet.NEEDS_CHECKSUM) !== 0;
}

/**
 * Computes the checksum that the vnet header asks for and clears the request; nothing if there is none. What lies
 * outside the frame is left alone. END MUST be set.
 */
export function completeChecksum(slot: usize): void {
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  const flags = <u32>load<u8>(vnet, Vnet.FLAGS);
  if ((flags & Vnet.NEEDS_CHECKSUM) === 0) return;
  const offset = <u32>load<u16>(vnet, Vnet.CHECKSUM_OFFSET);
  const start = vnet + Slot.VNET_SIZE + <usize>load<u16>(vnet, Vnet.CHECKSUM_START);
  store<u8>(vnet, <u8>(flags & ~Vnet.NEEDS_CHECKSUM), Vnet.FLAGS);
  store<u32>(vnet, 0, Vnet.CHECKSUM_START);
  const end = <usize>load<u32>(slot, Slot.END);
  const field = start + <usize>offset;
  if (offset === SCTP_OFFSET) {
    if (field + 4 <= end) {
      store<u32>(field, 0);
      store<u32>(field, crc32c(start, <u32>(end - start)));
    }
    return;
  }
  if (field + 2 > end) return;
  const check = checksum(start, <u32>(end - start), 0);
  // Zero would say that there is no checksum (UDP); its other form is right for every protocol.
  store<u16>(field, check === 0 ? 0xffff : <u16>check);
}
