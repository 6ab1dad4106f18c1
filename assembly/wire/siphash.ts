/**
 * SipHash (Aumasson, Bernstein): a keyed hash that nobody can guess who does not have the key. Of whole words of 64 bits
 * and a last one, which is all that is hashed here.
 */

function pair(high: u32, low: u32): u64 {
  return ((<u64>high) << 32) | <u64>low;
}

/**
 * SipHash-c-d under the key (k0, k1): of `words` u64 at `text`, and of `last`, whose highest byte is the length in bytes
 * (mod 256); `c` rounds for each, `d` in the end.
 */
export function rounds(k0: u64, k1: u64, text: usize, words: u32, last: u64, c: u32, d: u32): u64 {
  let v0 = pair(0x736f6d65, 0x70736575) ^ k0;
  let v1 = pair(0x646f7261, 0x6e646f6d) ^ k1;
  let v2 = pair(0x6c796765, 0x6e657261) ^ k0;
  let v3 = pair(0x74656462, 0x79746573) ^ k1;
  for (let n: u32 = 0; n <= words; n++) {
    const word = n < words ? load<u64>(text + ((<usize>n) << 3)) : last;
    v3 ^= word;
    const most = n < words ? c : c + d;
    for (let round: u32 = 0; round < most; round++) {
      if (round === c) {
        v0 ^= word;
        v2 ^= 0xff;
      }
      v0 += v1;
      v1 = rotl<u64>(v1, 13) ^ v0;
      v0 = rotl<u64>(v0, 32);
      v2 += v3;
      v3 = rotl<u64>(v3, 16) ^ v2;
      v0 += v3;
      v3 = rotl<u64>(v3, 21) ^ v0;
      v2 += v1;
      v1 = rotl<u64>(v1, 17) ^ v2;
      v2 = rotl<u64>(v2, 32);
    }
    if (n < words) v0 ^= word;
  }
  return v0 ^ v1 ^ v2 ^ v3;
}

/** SipHash-2-4 of `words` u64 at `text` under the key of 16 bytes at `key`. */
export function siphash(key: usize, text: usize, words: u32): u64 {
  return rounds(load<u64>(key), load<u64>(key, 8), text, words, ((<u64>words) << 3) << 56, 2, 4);
}
