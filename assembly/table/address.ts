/** The addresses that the core answers for. Open addressing, power of two. */
import * as Address from "../layout/address";
import * as Memory from "../layout/memory";
import { copy16, equal16 } from "../wire/bytes";
import { setWord, word } from "./memory";

function hash(address: usize): u32 {
  let h = load<u32>(address) * 0x9e3779b1;
  h = (h ^ load<u32>(address, 4)) * 0x85ebca6b;
  h = (h ^ load<u32>(address, 8)) * 0xc2b2ae35;
  h = (h ^ load<u32>(address, 12)) * 0x27d4eb2f;
  return h ^ (h >> 15);
}

function hash4(addressBe: u32): u32 {
  const h = addressBe * 0x9e3779b1;
  return h ^ (h >> 15);
}

function at(index: u32): usize {
  const place = index & (word(Memory.ADDRESSES_CAPACITY) - 1);
  return <usize>word(Memory.ADDRESSES_BASE) + <usize>place * Address.SIZE;
}

/*
 * Every packet's addresses are looked for, and next to none of its senders' are ours. Their records would be as many
 * lines of the table as there are clients; a line of bits says no for most of them.
 */
const FILTER: usize = Memory.LAYOUT_BASE + Memory.ADDRESS_FILTER;

function filterByte(hash: u32): usize {
  return FILTER + <usize>((hash & (Address.FILTER_BITS - 1)) >> 3);
}

function filterBit(hash: u32): u32 {
  return 1 << (hash & 7);
}

/** The record of an IPv4 address (raw), or 0. */
export function findAddress4(addressBe: u32): usize {
  let i = hash4(addressBe);
  if ((<u32>load<u8>(filterByte(i)) & filterBit(i)) === 0) return 0;
  while (true) {
    const record = at(i++);
    const family = load<u8>(record, Address.FAMILY);
    if (family === 0) return 0;
    if (family !== 4) continue;
    if (load<u32>(record, Address.ADDRESS) === addressBe) return record;
  }
}

/** The record of an IPv6 address (16 bytes), or 0. */
export function findAddress6(address: usize): usize {
  let i = hash(address);
  while (true) {
    const record = at(i++);
    const family = load<u8>(record, Address.FAMILY);
    if (family === 0) return 0;
    if (family === 6 && equal16(record + Address.ADDRESS, address)) return record;
  }
}

export function findAddress(family: u32, address: usize): usize {
  return family === 4 ? findAddress4(load<u32>(address)) : findAddress6(address);
}

/** The record of an address that was removed while connections had it (full NAT), or 0. */
function findRetired(family: u32, address: usize): usize {
  let i = family === 4 ? hash4(load<u32>(address)) : hash(address);
  while (true) {
    const record = at(i++);
    const state = <u32>load<u8>(record, Address.FAMILY);
    if (state === 0) return 0;
    if (state === (family | Address.RETIRED) && equal16(record + Address.ADDRESS, address)) return record;
  }
}

/** The record of an address, made when it is new; 0 when the table is full. `address`: 16 bytes, zero-padded. */
export function ensureAddress(family: u32, address: usize): usize {
  const found = findAddress(family, address);
  if (found !== 0) return found;
  const retired = findRetired(family, address);
  if (retired !== 0) {
    store<u8>(retired, <u8>family, Address.FAMILY);
    return retired;
  }
  // Two thirds full at most, so that probing ends.
  if (word(Memory.ADDRESS_COUNT) * 3 >= word(Memory.ADDRESSES_CAPACITY) * 2) return 0;
  let i = family === 4 ? hash4(load<u32>(address)) : hash(address);
  while (true) {
    const record = at(i++);
    const state = <u32>load<u8>(record, Address.FAMILY);
    if (state !== 0 && state !== Address.DELETED) continue;
    if (state === 0) setWord(Memory.ADDRESS_COUNT, word(Memory.ADDRESS_COUNT) + 1);
    memory.fill(record, 0, Address.SIZE);
    store<u8>(record, <u8>family, Address.FAMILY);
    copy16(record + Address.ADDRESS, address);
    if (family === 4) {
      const hashed = hash4(load<u32>(address));
      store<u8>(filterByte(hashed), <u8>(<u32>load<u8>(filterByte(hashed)) | filterBit(hashed)));
    }
    return record;
  }
}

/** Forgets the record when nothing speaks for it any more. Its bit of the filter stays: that only costs a look. */
export function dropIfUnused(record: usize): void {
  if (load<u8>(record, Address.FLAGS) !== 0) return;
  const state =
    load<u32>(record, Address.LOCALS) !== 0 ? load<u8>(record, Address.FAMILY) | Address.RETIRED : Address.DELETED;
  store<u8>(record, <u8>state, Address.FAMILY);
}
