/** IPv4 header (RFC 791). */

import { load16, store16 } from "./bytes";
import { checksum, update16 } from "./checksum";

export const VERSION_LENGTH = 0;
export const TOS = 1;
export const TOTAL_LENGTH = 2;
export const ID = 4;
export const FRAGMENT = 6;
export const TTL = 8;
export const PROTOCOL = 9;
export const CHECKSUM = 10;
export const SOURCE = 12;
export const DESTINATION = 16;
export const OPTIONS = 20;
export const SIZE = 20;

export const DF = 0x4000;
export const MF = 0x2000;
export const OFFSET_MASK = 0x1fff;

export function headerLength(ip: usize): u32 {
  return (<u32>load<u8>(ip) & 15) << 2;
}

export function totalLength(ip: usize): u32 {
  return load16(ip + TOTAL_LENGTH);
}

export function fragment(ip: usize): u32 {
  return load16(ip + FRAGMENT);
}

/** TTL - 1, the checksum kept right. */
export function decrementTtl(ip: usize): void {
  const from = <u32>load<u16>(ip, TTL);
  const to = from - 1;
  store<u16>(ip, <u16>update16(load<u16>(ip, CHECKSUM), from, to), CHECKSUM);
  store<u8>(ip, <u8>to, TTL);
}

/** Computes the header's checksum anew. */
export function seal(ip: usize): void {
  store<u16>(ip, 0, CHECKSUM);
  store<u16>(ip, <u16>checksum(ip, headerLength(ip), 0), CHECKSUM);
}

export function setTotalLength(ip: usize, length: u32): void {
  store16(ip + TOTAL_LENGTH, length);
}

/** 224.0.0.0/4, in network order as loaded. */
export function isMulticast(addressBe: u32): bool {
  return (addressBe & 0xf0) === 0xe0;
}

export function isLoopback(addressBe: u32): bool {
  return (addressBe & 0xff) === 127;
}
