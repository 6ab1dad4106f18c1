/** IPv6 header and extension headers (RFC 8200). */
import { load16 } from "./bytes";

export const VERSION_CLASS_FLOW = 0;
export const PAYLOAD_LENGTH = 4;
export const NEXT_HEADER = 6;
export const HOP_LIMIT = 7;
export const SOURCE = 8;
export const DESTINATION = 24;
export const SIZE = 40;

export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const NO_NEXT = 59;
export const DESTINATION_OPTIONS = 60;
export const MOBILITY = 135;

/** Fragment header. */
export const FRAGMENT_SIZE = 8;
export const FRAGMENT_OFFSET = 2;
export const FRAGMENT_ID = 4;

export function payloadLength(ip: usize): u32 {
  return load16(ip + PAYLOAD_LENGTH);
}

export function isMulticast(address: usize): bool {
  return load<u8>(address) === 0xff;
}

/** fe80::/10 */
export function isLinkLocal(address: usize): bool {
  return load<u8>(address) === 0xfe && (load<u8>(address, 1) & 0xc0) === 0x80;
}

export function isLoopback(address: usize): bool {
  return load<u64>(address) === 0 && load<u64>(address, 8) === 0x0100000000000000;
}
