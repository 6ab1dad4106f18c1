/** Addresses written as text (RFC 4291, 2.2, and dotted IPv4), up to a mark that ends them. */

const DOT: u32 = 0x2e;
const COLON: u32 = 0x3a;

function hexDigit(c: u32): i32 {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const letter = c & 0xdf;
  return letter >= 0x41 && letter <= 0x46 ? letter - 0x37 : -1;
}

/**
 * Reads a.b.c.d from `at` to the character `mark`, which must come before `end`, into the four bytes at `into`.
 * Returns where the mark stands, or 0; `into` may then hold anything.
 */
export function parseAddress4(at: usize, end: usize, mark: u32, into: usize): usize {
  let fields: usize = 0;
  let value: i32 = -1;
  for (; at < end; at++) {
    const c = <u32>load<u8>(at);
    if (c === mark || c === DOT) {
      if (value < 0) return 0;
      store<u8>(into + fields, <u8>value);
      fields++;
      if (c === mark) return fields === 4 ? at : 0;
      if (fields === 4) return 0;
      value = -1;
    } else {
      if (c < 0x30 || c > 0x39) return 0;
      value = (value < 0 ? 0 : value * 10) + <i32>c - 0x30;
      if (value > 255) return 0;
    }
  }
  return 0;
}

/** The same for IPv6, sixteen bytes at `into`. */
export function parseAddress6(at: usize, end: usize, mark: u32, into: usize): usize {
  let filled: usize = 0;
  /** How many bytes stand before `::`; beyond the address when there is none. */
  let gap: usize = 17;
  store<u64>(into, 0);
  store<u64>(into, 0, 8);
  if (at + 2 <= end && <u32>load<u8>(at) === COLON && <u32>load<u8>(at, 1) === COLON && mark !== COLON) {
    gap = 0;
    at += 2;
  }
  while (at < end) {
    if (<u32>load<u8>(at) === mark) {
      // Only right behind `::`: a word has its own end.
      return gap === filled ? spread(into, filled, gap, at) : 0;
    }
    if (filled === 16) return 0;
    const word = at;
    let value: u32 = 0;
    while (at < end && <u32>load<u8>(at) !== mark && hexDigit(<u32>load<u8>(at)) >= 0) {
      // Leading zeros may be many.
      if (value > 0xfff) return 0;
      value = (value << 4) | <u32>hexDigit(<u32>load<u8>(at));
      at++;
    }
    if (at === word || at >= end) return 0;
    const c = <u32>load<u8>(at);
    if (c === DOT && c !== mark) {
      if (filled > 12 || (gap > 16 && filled !== 12)) return 0;
      const stop = parseAddress4(word, end, mark, into + filled);
      return stop === 0 ? 0 : spread(into, filled + 4, gap, stop);
    }
    store<u8>(into + filled, <u8>(value >> 8));
    store<u8>(into + filled + 1, <u8>value);
    filled += 2;
    if (c === mark) return spread(into, filled, gap, at);
    if (c !== COLON) return 0;
    at++;
    if (at < end && <u32>load<u8>(at) === COLON) {
      if (gap <= 16) return 0;
      gap = filled;
      at++;
    } else if (at < end && <u32>load<u8>(at) === mark) {
      return 0;
    }
  }
  return 0;
}

/** What stands behind `::` moves to the end of the address. */
function spread(into: usize, filled: usize, gap: usize, stop: usize): usize {
  if (gap > 16) return filled === 16 ? stop : 0;
  const tail = filled - gap;
  const from: usize = 16 - tail;
  memory.copy(into + from, into + gap, tail);
  memory.fill(into + gap, 0, from - gap);
  return stop;
}
