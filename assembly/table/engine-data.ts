/** What a persistence engine found in a packet, kept with its template: in its extension, and in more of them. */
import * as Connection from "../layout/connection";
import * as Memory from "../layout/memory";
import { word } from "./memory";

/** Seeded: a client must not choose it. */
export function hashData(data: usize, length: u32): u32 {
  let h = word(Memory.SEED) ^ length;
  for (let i: u32 = 0; i < length; i++) {
    h = (h ^ <u32>load<u8>(data + <usize>i)) * 0x01000193;
    h ^= h >> 15;
  }
  h *= 0x846ca68b;
  return h ^ (h >> 16);
}

function equal(a: usize, b: usize, length: usize): bool {
  for (let i: usize = 0; i < length; i++) {
    if (load<u8>(a + i) !== load<u8>(b + i)) return false;
  }
  return true;
}

/** Whether the extension `more` holds these data. */
export function sameData(more: usize, data: usize, length: u32): bool {
  if (<u32>load<u8>(more, Connection.EXTENSION_DATA_LENGTH) !== length) return false;
  let at = more + Connection.EXTENSION_DATA;
  let part: usize = Connection.EXTENSION_DATA_SIZE;
  let left = <usize>length;
  while (left > part) {
    if (!equal(at, data, part)) return false;
    data += part;
    left -= part;
    more = <usize>load<u32>(more, Connection.EXTENSION_MORE);
    if (more === 0) return false;
    at = more + Connection.EXTENSION_MORE_DATA;
    part = Connection.EXTENSION_MORE_SIZE;
  }
  return equal(at, data, left);
}
