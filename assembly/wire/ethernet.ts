/** Ethernet II (IEEE 802.3) and 802.1Q tags. */
import { load16 } from "./bytes";

export const DESTINATION = 0;
export const SOURCE = 6;
export const TYPE = 12;
export const SIZE = 14;
export const TAG_SIZE = 4;

export const IPV4 = 0x0800;
export const ARP = 0x0806;
export const IPV6 = 0x86dd;
export const VLAN = 0x8100;
export const SERVICE_VLAN = 0x88a8;

export function etherType(at: usize): u32 {
  return load16(at + TYPE);
}

/** Broadcast or multicast. */
export function isGroup(mac: usize): bool {
  return (load<u8>(mac) & 1) !== 0;
}

export function sameMac(a: usize, b: usize): bool {
  return load<u32>(a) === load<u32>(b) && load<u16>(a, 4) === load<u16>(b, 4);
}

export function isZeroMac(mac: usize): bool {
  return load<u32>(mac) === 0 && load<u16>(mac, 4) === 0;
}
