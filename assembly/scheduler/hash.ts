/** Hashes of addresses, bit for bit those of IPVS where its choices depend on them. */
import * as Protocol from "../layout/protocol";
import * as Slot from "../layout/slot";
import { load16, swap32 } from "../wire/bytes";
import { rounds } from "../wire/siphash";

/** An address as one number: IPv4 in host order, IPv6 its four words xored. `v6` says which. */
export function foldAddress(address: usize, v6: bool): u32 {
  let value = load<u32>(address);
  if (v6) value ^= load<u32>(address, 4) ^ load<u32>(address, 8) ^ load<u32>(address, 12);
  return swap32(value);
}

/** A packet's own version, not its service's: a mark may stand for both. */
export function isV6(ip: usize): bool {
  return load<u8>(ip) >> 4 === 6;
}

/** Address of the client's address; with an ICMP error's quoted packet that is the destination. */
export function clientAddress(slot: usize): usize {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const reversed = (load<u16>(slot, Slot.FLAGS) & Slot.REVERSED) !== 0;
  if (isV6(ip)) return ip + (reversed ? 24 : 8);
  return ip + (reversed ? 16 : 12);
}

export function destinationAddress(slot: usize): usize {
  const ip = <usize>load<u32>(slot, Slot.IP);
  return isV6(ip) ? ip + 24 : ip + 16;
}

/** One of the packet's two ports, host order; 0 for protocols without. */
function port(slot: usize, second: bool): u32 {
  const protocol = load<u8>(slot, Slot.PROTOCOL);
  if (protocol !== Protocol.TCP && protocol !== Protocol.UDP && protocol !== Protocol.SCTP) return 0;
  return load16(<usize>load<u32>(slot, Slot.TRANSPORT) + (second ? 2 : 0));
}

export function clientPort(slot: usize): u32 {
  return port(slot, (load<u16>(slot, Slot.FLAGS) & Slot.REVERSED) !== 0);
}

export function virtualPort(slot: usize): u32 {
  return port(slot, (load<u16>(slot, Slot.FLAGS) & Slot.REVERSED) === 0);
}

/** Multiplicative hash to `bits` bits: the upper ones of the product. */
export function multiplicative(value: u32, bits: u32): u32 {
  return (value * 0x61c88647) >> (32 - bits);
}

/** SipHash-1-3 of one 32-bit word under the key (key, key), folded to 32 bits. */
export function sip(value: u32, key: u32): u32 {
  return <u32>rounds(key, key, 0, 0, ((<u64>4) << 56) | <u64>value, 1, 3);
}

/** Scrambles a word (the finisher of MurmurHash3). */
export function mix(value: u32): u32 {
  value = (value ^ (value >> 16)) * 0x85ebca6b;
  value = (value ^ (value >> 13)) * 0xc2b2ae35;
  return value ^ (value >> 16);
}
