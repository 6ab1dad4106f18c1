/** Firewall marks: the program of layout/mark-rule, run on each packet before it is routed. */

import * as Errno from "./layout/errno";
import * as Rule from "./layout/mark-rule";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Request from "./layout/request";
import * as Slot from "./layout/slot";
import { setWord, word } from "./table/memory";
import { packetLength } from "./transmit";
import { load16, load32 } from "./wire/bytes";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";

/** What a packet does not have. */
const NOTHING: i64 = -1;

function fail(errno: i32): u32 {
  return <u32>-errno;
}

/** A 32-bit field of the packet, or NOTHING. */
function scalar(slot: usize, field: i32): i64 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const isV4 = load<u8>(slot, Slot.FAMILY) === 4;
  switch (field) {
    case Rule.FIELD_FAMILY:
      return <i64>load<u8>(slot, Slot.FAMILY);
    case Rule.FIELD_PROTOCOL:
      return <i64>load<u8>(slot, Slot.PROTOCOL);
    case Rule.FIELD_NEXT_HEADER:
      return <i64>load<u8>(ip + <usize>(isV4 ? Ipv4.PROTOCOL : Ipv6.NEXT_HEADER));
    case Rule.FIELD_SOURCE_4:
      return isV4 ? <i64>load32(ip + Ipv4.SOURCE) : NOTHING;
    case Rule.FIELD_DESTINATION_4:
      return isV4 ? <i64>load32(ip + Ipv4.DESTINATION) : NOTHING;
    case Rule.FIELD_SOURCE_PORT:
    case Rule.FIELD_DESTINATION_PORT: {
      const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
      if ((<u32>load<u16>(slot, Slot.FLAGS) & Slot.LATER_FRAGMENT) !== 0) return NOTHING;
      if (transport + 4 > <usize>load<u32>(slot, Slot.END)) return NOTHING;
      return <i64>load16(transport + <usize>(field === Rule.FIELD_SOURCE_PORT ? 0 : 2));
    }
    case Rule.FIELD_PORT_IN:
      return <i64>load<u32>(<usize>load<u32>(slot, Slot.PORT_IN), Port.NUMBER);
    case Rule.FIELD_MARK:
      return <i64>load<u32>(slot, Slot.MARK);
    case Rule.FIELD_DSCP:
      return isV4 ? <i64>(load<u8>(ip, Ipv4.TOS) >> 2) : <i64>((load16(ip) >> 6) & 0x3f);
    case Rule.FIELD_LENGTH:
      return <i64>packetLength(slot);
  }
  return NOTHING;
}

function isAmong(value: u32, ranges: usize, count: u32): bool {
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const range = ranges + <usize>middle * Rule.RANGE_SIZE;
    if (value < load<u32>(range)) high = middle;
    else if (value > load<u32>(range, 4)) low = middle + 1;
    else return true;
  }
  return false;
}

/** Whether one address comes before another. */
function isLess16(a: usize, b: usize): bool {
  const left = bswap<u64>(load<u64>(a));
  const right = bswap<u64>(load<u64>(b));
  if (left !== right) return left < right;
  return bswap<u64>(load<u64>(a, 8)) < bswap<u64>(load<u64>(b, 8));
}

function isAmong6(address: usize, ranges: usize, count: u32): bool {
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const range = ranges + <usize>middle * Rule.RANGE_SIZE_6;
    if (isLess16(address, range)) high = middle;
    else if (isLess16(range + 16, address)) low = middle + 1;
    else return true;
  }
  return false;
}

function passes(slot: usize, at: usize): bool {
  const field = <i32>load<u8>(at, Rule.FIELD);
  const count = load<u32>(at, Rule.COUNT);
  const inverted = (load<u8>(at, Rule.FLAGS) & Rule.FLAG_NOT) !== 0;
  if (field >= Rule.FIELD_SOURCE_6) {
    if (load<u8>(slot, Slot.FAMILY) !== 6) return false;
    const place = field === Rule.FIELD_SOURCE_6 ? Ipv6.SOURCE : Ipv6.DESTINATION;
    return isAmong6(<usize>load<u32>(slot, Slot.IP) + <usize>place, at + Rule.SIZE, count) !== inverted;
  }
  const value = scalar(slot, field);
  return value !== NOTHING && isAmong(<u32>value, at + Rule.SIZE, count) !== inverted;
}

/** Sets the packet's mark. Its headers MUST have been found: IP, TRANSPORT, END, FAMILY, PROTOCOL, the fragment flags. */
export function mark(slot: usize): void {
  const program = <usize>load<u32>(<usize>word(Memory.MARKS_BASE), Rule.ACTIVE);
  let at = program;
  for (;;) {
    const op = <i32>load<u8>(at, Rule.OP);
    if (op === Rule.OP_TEST) {
      at = passes(slot, at) ? at + sizeAt(at) : program + <usize>load<u32>(at, Rule.TARGET);
    } else if (op === Rule.OP_SET) {
      const value = (load<u32>(slot, Slot.MARK) & load<u32>(at, Rule.AND)) ^ load<u32>(at, Rule.XOR);
      store<u32>(slot, value, Slot.MARK);
      at += Rule.SIZE;
    } else if (op === Rule.OP_GOTO) {
      at = program + <usize>load<u32>(at, Rule.TARGET);
    } else {
      return;
    }
  }
}

/** Bytes of an instruction with its operands. */
function sizeAt(at: usize): usize {
  if (load<u8>(at, Rule.OP) !== Rule.OP_TEST) return Rule.SIZE;
  const range: usize = <i32>load<u8>(at, Rule.FIELD) >= Rule.FIELD_SOURCE_6 ? Rule.RANGE_SIZE_6 : Rule.RANGE_SIZE;
  return <usize>Rule.SIZE + <usize>load<u32>(at, Rule.COUNT) * range;
}

function bankSize(): usize {
  return ((<usize>word(Memory.MARKS_CAPACITY) - Rule.HEAD) >> 1) & ~15;
}

/** The bank that is not in use. */
function spareBank(): usize {
  const base = <usize>word(Memory.MARKS_BASE);
  const first = base + Rule.HEAD;
  return <usize>load<u32>(base, Rule.ACTIVE) === first ? first + bankSize() : first;
}

/** Takes a piece of the next program out of the request record. */
export function marksPut(offset: u32, length: u32): u32 {
  if (((offset | length) & 3) !== 0 || length > <u32>Request.SIZE) return fail(Errno.EINVAL);
  if (<u64>offset + <u64>length > <u64>bankSize()) return fail(Errno.ENOSPC);
  memory.copy(spareBank() + <usize>offset, <usize>word(Memory.REQUEST_BASE), <usize>length);
  return 0;
}

/** Whether a jump from `at` lands on an instruction further on. */
function landsWell(at: usize, target: usize): bool {
  let to = at;
  while (to < target) to += sizeAt(to);
  return to === target && target > at;
}

function isSound(program: usize, end: usize): bool {
  let last: i32 = -1;
  let at = program;
  // First the sizes, so that jumps can be followed.
  while (at < end) {
    if (end - at < <usize>Rule.SIZE || <i32>load<u8>(at, Rule.OP) > Rule.OP_LAST) return false;
    last = <i32>load<u8>(at, Rule.OP);
    if (last === Rule.OP_TEST) {
      const field = <i32>load<u8>(at, Rule.FIELD);
      if (field < 1 || field > Rule.FIELD_LAST || load<u32>(at, Rule.COUNT) > <u32>(end - at)) return false;
    }
    at += sizeAt(at);
  }
  if (at !== end || last !== Rule.OP_END) return false;
  for (at = program; at < end; at += sizeAt(at)) {
    const op = <i32>load<u8>(at, Rule.OP);
    if (op !== Rule.OP_TEST && op !== Rule.OP_GOTO) continue;
    const target = <usize>load<u32>(at, Rule.TARGET);
    if (target >= end - program || !landsWell(at, program + target)) return false;
  }
  return true;
}

/** Whether the `length` bytes that were put are a program. Takes its time, and needs no lock: no packet sees them. */
export function marksCheck(length: u32): u32 {
  if (length === 0) return 0;
  if (<usize>length > bankSize()) return fail(Errno.ENOSPC);
  const program = spareBank();
  return isSound(program, program + <usize>length) ? 0 : fail(Errno.EINVAL);
}

/** Puts a program that was checked, with `rules` rules, in the place of the one in use; none for a length of 0. */
export function marksLoad(length: u32, rules: u32): u32 {
  if (length !== 0) store<u32>(<usize>word(Memory.MARKS_BASE), <u32>spareBank(), Rule.ACTIVE);
  setWord(Memory.MARK_COUNT, length === 0 ? 0 : rules);
  setWord(Memory.GENERATION, word(Memory.GENERATION) + 1);
  return 0;
}
