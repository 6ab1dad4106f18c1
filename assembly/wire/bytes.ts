/** Network byte order is crossed here and nowhere else. Wasm loads are little-endian. */

export function swap16(value: u32): u32 {
  return ((value & 0xff) << 8) | ((value >> 8) & 0xff);
}

export function swap32(value: u32): u32 {
  return ((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >> 8) & 0xff00) | (value >> 24);
}

/** Big-endian u16 at any alignment. */
export function load16(at: usize): u32 {
  return swap16(load<u16>(at));
}

export function store16(at: usize, value: u32): void {
  store<u16>(at, <u16>swap16(value));
}

export function load32(at: usize): u32 {
  return swap32(load<u32>(at));
}

export function store32(at: usize, value: u32): void {
  store<u32>(at, swap32(value));
}

/** Copies 16 bytes: an IPv6 address. */
export function copy16(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u64>(to, load<u64>(from, 8), 8);
}

export function equal16(a: usize, b: usize): bool {
  return load<u64>(a) === load<u64>(b) && load<u64>(a, 8) === load<u64>(b, 8);
}

export function isZero16(at: usize): bool {
  return (load<u64>(at) | load<u64>(at, 8)) === 0;
}

/** Copies 6 bytes: a MAC. */
export function copyMac(to: usize, from: usize): void {
  store<u32>(to, load<u32>(from));
  store<u16>(to, load<u16>(from, 4), 4);
}
