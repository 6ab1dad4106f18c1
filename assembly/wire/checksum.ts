/**
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624, eqn. 3: HC' = ~(~HC + ~m + m')).
 *
 * One's complement sums do not depend on byte order, so everything here works on words as they lie in memory (raw):
 * sums, checks and the words that change. Nothing is swapped but lengths and protocol numbers of a pseudo-header.
 */
import { swap16 } from "./bytes";

/**
 * Folds a sum to 16 bits: 0 only if it is 0. Halves are added by adding the word turned by half its width, whose lower
 * half's carry is the end-around one of the upper half.
 */
export function fold(sum: u64): u32 {
  const half = <u32>((sum + rotr<u64>(sum, 32)) >> 32);
  return (half + rotr<u32>(half, 16)) >> 16;
}

/** Sum of `length` bytes, not inverted, not folded. An odd last byte counts as the first of a pair. */
export function sum(at: usize, length: u32): u64 {
  let total: u64 = 0;
  const end = at + <usize>length;
  let p = at;
  for (; p + 16 <= end; p += 16) {
    total += <u64>load<u32>(p) + <u64>load<u32>(p, 4) + <u64>load<u32>(p, 8) + <u64>load<u32>(p, 12);
  }
  for (; p + 4 <= end; p += 4) total += <u64>load<u32>(p);
  if (p + 2 <= end) {
    total += <u64>load<u16>(p);
    p += 2;
  }
  if (p < end) total += <u64>load<u8>(p);
  return total;
}

/** Check over `length` bytes plus `initial`, as it is stored: inverted, raw order. */
export function checksum(at: usize, length: u32, initial: u64): u32 {
  return ~fold(sum(at, length) + initial) & 0xffff;
}

/** Sum of the IPv4 pseudo-header. `length` of the transport header and data. */
export function pseudo4(source: u32, destination: u32, protocol: u32, length: u32): u64 {
  return <u64>source + <u64>destination + <u64>swap16(protocol) + <u64>swap16(length);
}

/** Sum of the IPv6 pseudo-header (RFC 8200, 8.1); `source` and `destination` are addresses of 16 bytes. */
export function pseudo6(source: usize, destination: usize, protocol: u32, length: u32): u64 {
  return (
    sum(source, 16) +
    sum(destination, 16) +
    <u64>swap16(protocol) +
    <u64>swap16(length & 0xffff) +
    <u64>swap16(length >> 16)
  );
}

/** The check after a raw 16-bit word changed. */
export function update16(check: u32, from: u32, to: u32): u32 {
  return ~fold(<u64>((~check & 0xffff) + (~from & 0xffff) + (to & 0xffff))) & 0xffff;
}

/** The check after a raw 32-bit word changed. */
export function update32(check: u32, from: u32, to: u32): u32 {
  return ~fold(<u64>(~check & 0xffff) + <u64>~from + <u64>to) & 0xffff;
}

/** A multiple of 0xffff, so that subtracting from it is negating in one's complement, for sums below 2^48. */
const MULTIPLE: u64 = 0xffff00000000;

/** The check after the covered bytes' sum went from `from` to `to` (both any unfolded sums). */
export function updateSum(check: u32, from: u64, to: u64): u32 {
  return ~fold(<u64>(~check & 0xffff) + (MULTIPLE - from) + to) & 0xffff;
}
