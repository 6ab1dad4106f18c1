/** IPv4 options as they pass (RFC 791, 3.1): checked, and on a routed packet stamped with our address. */

import { complain } from "./answer";
import * as Memory from "./layout/memory";
import * as Route from "./layout/route";
import * as Slot from "./layout/slot";
import { sourceFor4 } from "./link";
import { word } from "./table/memory";
import { store32 } from "./wire/bytes";
import * as Icmp from "./wire/icmp";
import * as Ipv4 from "./wire/ipv4";

const END_OF_LIST = 0;
const NO_OPERATION = 1;
const RECORD_ROUTE = 7;
const TIMESTAMP = 68;
const LOOSE_SOURCE_ROUTE = 131;
const STRICT_SOURCE_ROUTE = 137;

const TIMESTAMP_ONLY = 0;
const TIMESTAMP_ADDRESS = 1;
const TIMESTAMP_PRESPECIFIED = 3;

/** A parameter problem at this place of the header; always false. */
function problem(slot: usize, at: usize): bool {
  const ip = <usize>load<u32>(slot, Slot.IP);
  complain(slot, Icmp.PARAMETER_PROBLEM, 0, (<u32>(at - ip)) << 24);
  return false;
}

/**
 * Looks through the options of a packet that came in. Record route and timestamp get our address or time where there
 * is room; `route` is the way out of a packet that goes on, 0 when it is for us. False when the packet is to be
 * dropped: its sender has been told where it is wrong.
 */
export function compileOptions(slot: usize, route: usize): bool {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const end = ip + <usize>Ipv4.headerLength(ip);
  let at = ip + Ipv4.OPTIONS;
  let changed = false;
  const ours = ourAddress(slot, route);
  while (at < end) {
    const kind = <i32>load<u8>(at);
    if (kind === END_OF_LIST) {
      // What follows the end is nothing.
      for (let rest = at + 1; rest < end; rest++) {
        if (load<u8>(rest) !== 0) {
          store<u8>(rest, 0);
          changed = true;
        }
      }
      break;
    }
    if (kind === NO_OPERATION) {
      at++;
      continue;
    }
    if (at + 1 >= end) return problem(slot, at);
    const length = <usize>load<u8>(at, 1);
    if (length < 2 || at + length > end) return problem(slot, at);
    if (kind === RECORD_ROUTE) {
      if (length < 3) return problem(slot, at + 1);
      const pointer = <usize>load<u8>(at, 2);
      if (pointer < 4) return problem(slot, at + 2);
      if (pointer <= length) {
        if (pointer + 3 > length) return problem(slot, at + 2);
        store<u32>(at + pointer - 1, ours);
        stamped(slot, at + pointer - 1, 0);
        store<u8>(at, <u8>(pointer + 4), 2);
        changed = true;
      }
    } else if (kind === TIMESTAMP) {
      if (length < 4) return problem(slot, at + 1);
      const pointer = <usize>load<u8>(at, 2);
      if (pointer < 5) return problem(slot, at + 2);
      if (pointer <= length) {
        if (pointer + 3 > length) return problem(slot, at + 2);
        const mode = <i32>load<u8>(at, 3) & 15;
        let stamp = at + pointer - 1;
        if (mode === TIMESTAMP_ONLY) {
          store<u8>(at, <u8>(pointer + 4), 2);
        } else if (mode === TIMESTAMP_ADDRESS) {
          if (pointer + 7 > length) return problem(slot, at + 2);
          store<u32>(stamp, ours);
          stamped(slot, stamp, 2);
          stamp += 4;
          store<u8>(at, <u8>(pointer + 8), 2);
        } else if (mode === TIMESTAMP_PRESPECIFIED) {
          if (pointer + 7 > length) return problem(slot, at + 2);
          // Ours to stamp only when the address is ours.
          stamp = 0;
        } else {
          return problem(slot, at + 3);
        }
        if (stamp !== 0) {
          store32(stamp, word(Memory.DAY_MS));
          changed = true;
        }
      } else {
        const overflow = <u32>load<u8>(at, 3) >> 4;
        if (overflow === 15) return problem(slot, at + 3);
        store<u8>(at, <u8>((<u32>load<u8>(at, 3) & 15) | ((overflow + 1) << 4)), 3);
        changed = true;
      }
    } else if (kind === LOOSE_SOURCE_ROUTE || kind === STRICT_SOURCE_ROUTE) {
      // Never followed (accept_source_route 0).
      return false;
    }
    at += length;
  }
  if (changed) Ipv4.seal(ip);
  return true;
}

/** Remembers where our address was put: a translated packet is stamped anew. Half 0 record route, 2 timestamp. */
function stamped(slot: usize, at: usize, half: usize): void {
  store<u16>(slot + half, <u16>(at - <usize>load<u32>(slot, Slot.IP)), Slot.SCRATCH);
}

/** The source of the packet was changed: what it says of its way is changed with it (snat_reroute). */
export function restamp(slot: usize): void {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const places = load<u32>(slot, Slot.SCRATCH);
  if (places === 0) return;
  const source = load<u32>(ip, Ipv4.SOURCE);
  if ((places & 0xffff) !== 0) store<u32>(ip + <usize>(places & 0xffff), source);
  if (places >> 16 !== 0) store<u32>(ip + <usize>(places >> 16), source);
  Ipv4.seal(ip);
}

function ourAddress(slot: usize, route: usize): u32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  if (route === 0) return load<u32>(ip, Ipv4.DESTINATION);
  return sourceFor4(<usize>load<u32>(route, Route.PORT), ip + Ipv4.DESTINATION);
}
