/**
 * SipHash-2-4 (Aumasson, Bernstein): a keyed hash that nobody can guess who does not have the key. Of whole words of
 * 64 bits alone, which is all that is hashed here.
 */

/** Hash of `words` u64 at `text` under the key of 16 bytes at `key`. */
export function siphash(key: usize, text: usize, words: u32): u64 {
  const k0 = load<u64>(key);
  const k1 = load<u64>(key, 8);
  let v0: u64 = k0 ^ (((<u64>0x736f6d65) << 32) | 0x70736575);
  let v1: u64 = k1 ^ (((<u64>0x646f7261) << 32) | 0x6e646f6d);
  let v2: u64 = k0 ^ (((<u64>0x6c796765) << 32) | 0x6e657261);
  let v3: u64 = k1 ^ (((<u64>0x74656462) << 32) | 0x79746573);
  // The last word is the length alone; then come four rounds more.
  for (let n: u32 = 0; n <= words; n++) {
    const word = n < words ? load<u64>(text + ((<usize>n) << 3)) : ((<u64>words) << 3) << 56;
    v3 ^= word;
    const rounds: u32 = n < words ? 2 : 6;
    for (let round: u32 = 0; round < rounds; round++) {
      if (round === 2) {
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
