/** GRE without key and sequence number (RFC 2784). */

import { store16 } from "./bytes";
import { checksum } from "./checksum";

export const FLAGS = 0;
export const PROTOCOL = 2;
export const CHECKSUM = 4;
export const SIZE = 4;
export const SIZE_WITH_CHECKSUM = 8;

export const CHECKSUM_PRESENT = 0x8000;

/** Writes the header before `length` bytes of payload (`protocol`: their EtherType), with a checksum over both or not. */
export function write(gre: usize, protocol: u32, length: u32, withChecksum: bool): void {
  store16(gre + FLAGS, withChecksum ? CHECKSUM_PRESENT : 0);
  store16(gre + PROTOCOL, protocol);
  if (!withChecksum) return;
  store<u32>(gre, 0, CHECKSUM);
  store<u16>(gre, <u16>checksum(gre, length + SIZE_WITH_CHECKSUM, 0), CHECKSUM);
}
