/** Runs of bits in a map of bytes, lowest bit first. */

/** Mask of the bits of a byte that lie in [from, to), both counted from the map's begin, for the byte at `index`. */
function maskOf(index: u32, from: u32, to: u32): u32 {
  const base = index << 3;
  let mask: u32 = 0xff;
  if (from > base) mask &= 0xff << (from - base);
  if (to < base + 8) mask &= ((<u32>1) << (to - base)) - 1;
  return mask & 0xff;
}

/** How many bits of [from, to) are set. */
export function countBits(map: usize, from: u32, to: u32): u32 {
  if (from >= to) return 0;
  const last = (to - 1) >> 3;
  let total: u32 = 0;
  let i = from >> 3;
  while (i <= last) {
    if ((i & 7) === 0 && from <= i << 3 && to >= (i << 3) + 64) {
      total += <u32>popcnt<u64>(load<u64>(map + <usize>i));
      i += 8;
    } else {
      total += popcnt<u32>(<u32>load<u8>(map + <usize>i) & maskOf(i, from, to));
      i++;
    }
  }
  return total;
}

/** Sets the bits of [from, to). */
export function setBits(map: usize, from: u32, to: u32): void {
  if (from >= to) return;
  const last = (to - 1) >> 3;
  let i = from >> 3;
  while (i <= last) {
    if ((i & 7) === 0 && from <= i << 3 && to >= (i << 3) + 64) {
      store<u64>(map + <usize>i, u64.MAX_VALUE);
      i += 8;
    } else {
      store<u8>(map + <usize>i, <u8>(<u32>load<u8>(map + <usize>i) | maskOf(i, from, to)));
      i++;
    }
  }
}

/** The first set bit of [from, to), or `to`. */
export function nextBit(map: usize, from: u32, to: u32): u32 {
  if (from >= to) return to;
  const last = (to - 1) >> 3;
  for (let i = from >> 3; i <= last; i++) {
    const bits = <u32>load<u8>(map + <usize>i) & maskOf(i, from, to);
    if (bits !== 0) return (i << 3) + ctz<u32>(bits);
  }
  return to;
}
