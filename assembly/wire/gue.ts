/** Generic UDP encapsulation, version 0 (draft-ietf-intarea-gue), with the remote checksum option. */
import { store16, store32 } from "./bytes";

/** Version, control bit, length of the options in words. */
export const LENGTH = 0;
export const PROTOCOL = 1;
export const FLAGS = 2;
export const OPTIONS = 4;
export const SIZE = 4;

/** Flags: private flags follow; of these: remote checksum. */
export const PRIVATE = 1;
export const REMOTE_CHECKSUM = 0x80000000;
/** Private flags, then where the checksum is to begin and to be stored. */
export const REMOTE_CHECKSUM_SIZE = 8;

/** Writes the header of a packet of IP protocol `protocol`. */
export function write(gue: usize, protocol: u32): void {
  store<u32>(gue, protocol << 8);
}

/**
 * Writes the header with the remote checksum option: the far end computes the checksum from byte `start` of the payload
 * on and stores it at byte `field` of it.
 */
export function writeRemote(gue: usize, protocol: u32, start: u32, field: u32): void {
  store<u8>(gue, REMOTE_CHECKSUM_SIZE >> 2, LENGTH);
  store<u8>(gue, <u8>protocol, PROTOCOL);
  store16(gue + FLAGS, PRIVATE);
  store32(gue + OPTIONS, REMOTE_CHECKSUM);
  store16(gue + OPTIONS + 4, start);
  store16(gue + OPTIONS + 6, field);
}
