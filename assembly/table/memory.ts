/** Words of the memory header, for the core. */
import * as Memory from "../layout/memory";

/** A word of the header. */
export function word(offset: i32): u32 {
  return load<u32>(<usize>Memory.LAYOUT_BASE + <usize>offset);
}

export function setWord(offset: i32, value: u32): void {
  store<u32>(<usize>Memory.LAYOUT_BASE + <usize>offset, value);
}

/** A setting, by its number in layout/setting. */
export function setting(id: i32): u32 {
  return load<u32>(<usize>(Memory.LAYOUT_BASE + Memory.SETTINGS) + ((<usize>id) << 2));
}

export function setSetting(id: i32, value: u32): void {
  store<u32>(<usize>(Memory.LAYOUT_BASE + Memory.SETTINGS) + ((<usize>id) << 2), value);
}

/** Whether there is any service of this family. */
export function isEnabled(family: u32): bool {
  return word(family === 4 ? Memory.ENABLED_4 : Memory.ENABLED_6) !== 0;
}

/** Time of the breath, in ticks. */
export function now(): u32 {
  return load<u32>(<usize>(Memory.LAYOUT_BASE + Memory.NOW));
}

/** Whether tick `a` is at or after tick `b`. */
export function reached(a: u32, b: u32): bool {
  return <i32>(a - b) >= 0;
}

export function countAt(counter: usize, by: u64): void {
  store<u64>(counter, load<u64>(counter) + by);
}

/** Adds to one of the core's own counters (layout/counters). */
export function count(offset: i32, by: u64): void {
  countAt(<usize>word(Memory.COUNTERS_BASE) + <usize>offset, by);
}
