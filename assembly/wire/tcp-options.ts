/** Options of a TCP header (RFC 9293, RFC 7323, RFC 2018): read into a record, and written. */
import { load16, load32, store16, store32 } from "./bytes";
import * as Tcp from "./tcp";

export const END = 0;
export const NONE = 1;
export const MSS = 2;
export const SCALE = 3;
export const SACK_PERMITTED = 4;
export const SACK = 5;
export const TIMESTAMPS = 8;

/** The record: MSS (0: none), window scale (NO_SCALE: none), flags, timestamp and echo in host order. */
export const READ_MSS = 0;
export const READ_SCALE = 2;
export const READ_FLAGS = 3;
export const READ_VALUE = 4;
export const READ_ECHO = 8;
export const READ_SIZE = 12;
export const NO_SCALE: u8 = 0xff;
export const FLAG_SACK: u8 = 1;
export const FLAG_TIMESTAMPS: u8 = 2;

/** The largest scale that has a meaning (RFC 7323, 2.3). */
const LARGEST_SCALE: u8 = 14;

/** Reads the options of the header at `tcp`, as far as they lie before `limit`. */
export function readOptions(tcp: usize, limit: usize, record: usize): void {
  store<u32>(record, 0);
  store<u8>(record, NO_SCALE, READ_SCALE);
  let end = tcp + <usize>Tcp.headerLength(tcp);
  if (end > limit) end = limit;
  for (let at = tcp + Tcp.SIZE; at < end; ) {
    const kind = <i32>load<u8>(at);
    if (kind === END) return;
    if (kind === NONE) {
      at++;
      continue;
    }
    if (at + 2 > end) return;
    const length = <usize>load<u8>(at, 1);
    if (length < 2 || at + length > end) return;
    if (kind === MSS && length === 4) {
      store<u16>(record, <u16>load16(at + 2), READ_MSS);
    } else if (kind === SCALE && length === 3) {
      const scale = load<u8>(at, 2);
      store<u8>(record, scale > LARGEST_SCALE ? LARGEST_SCALE : scale, READ_SCALE);
    } else if (kind === SACK_PERMITTED && length === 2) {
      store<u8>(record, load<u8>(record, READ_FLAGS) | FLAG_SACK, READ_FLAGS);
    } else if (kind === TIMESTAMPS && length === 10) {
      store<u8>(record, load<u8>(record, READ_FLAGS) | FLAG_TIMESTAMPS, READ_FLAGS);
      store<u32>(record, load32(at + 2), READ_VALUE);
      store<u32>(record, load32(at + 6), READ_ECHO);
    }
    at += length;
  }
}

/** Each of these writes a multiple of four bytes at `at`, and returns where the next option goes. */
export function writeMss(at: usize, mss: u32): usize {
  store<u8>(at, MSS);
  store<u8>(at, 4, 1);
  store16(at + 2, mss);
  return at + 4;
}

export function writeScale(at: usize, scale: u32): usize {
  store<u8>(at, NONE);
  store<u8>(at, SCALE, 1);
  store<u8>(at, 3, 2);
  store<u8>(at, <u8>scale, 3);
  return at + 4;
}

export function writeSackPermitted(at: usize): usize {
  store<u16>(at, 0x0101);
  store<u8>(at, SACK_PERMITTED, 2);
  store<u8>(at, 2, 3);
  return at + 4;
}

export function writeTimestamps(at: usize, value: u32, echo: u32): usize {
  store<u16>(at, 0x0101);
  store<u8>(at, TIMESTAMPS, 2);
  store<u8>(at, 10, 3);
  store32(at + 4, value);
  store32(at + 8, echo);
  return at + 12;
}
