/**
 * Neighbours: the MAC behind a next hop, by ARP (RFC 826) or neighbour discovery (RFC 4861), with the kernel's states
 * and times: three questions a second apart, then host unreachable; stale after a while, asked again when used.
 */
import * as Memory from "./layout/memory";
import * as Neighbour from "./layout/neighbour";
import * as Port from "./layout/port";
import * as Reason from "./layout/reason";
import * as Route from "./layout/route";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { solicit } from "./link";
import { drop, sendTo } from "./send";
import { now, reached, setting, setWord, word } from "./table/memory";
import { copy16, copyMac, equal16 } from "./wire/bytes";
import { sameMac } from "./wire/ethernet";

const SECOND: u32 = Memory.TICKS_PER_SECOND;
const PROBES_UNICAST: u32 = 3;
const PROBES_BROADCAST: u32 = 3;
/** How long an answer is believed, and how long a stale entry in use waits before it is asked. */
const REACHABLE_TIME: u32 = 30 * SECOND;
const DELAY: u32 = 5 * SECOND;
/** An unused stale or failed entry is forgotten after this. */
const FORGET: u32 = 60 * SECOND;
/** How many entries are looked at for one that may give way. */
const RECLAIM_LOOKS: u32 = 64;
/** All frames that wait take one of so many slots at the most: the others are for those that move. */
const WAITING_SHARE: u32 = 4;
/** A changed MAC is not believed twice within this. */
const LOCK_TIME: u32 = SECOND;

function record(index: u32): usize {
  return <usize>word(Memory.NEIGHBOURS_BASE) + <usize>index * Neighbour.SIZE;
}

function bucket(port: usize, address: usize): usize {
  return bucketOf(port, load<u64>(address), load<u64>(address, 8));
}

/** The same of an address in two words. */
function bucketOf(port: usize, low: u64, high: u64): usize {
  const words = low ^ (high * 0x85ebca6b) ^ ((<u64>port) << 32);
  const mixed = words * 0x9e3779b1;
  const place = <u32>(mixed >> 32) ^ <u32>(mixed >> 20);
  return record(place & (word(Memory.NEIGHBOURS_CAPACITY) - 1)) + Neighbour.BUCKET;
}

/** The neighbour, or 0. `address`: 16 bytes, zero-padded. */
export function findNeighbour(port: usize, family: u32, address: usize): usize {
  let entry = <usize>load<u32>(bucket(port, address));
  while (entry !== 0) {
    if (
      <usize>load<u32>(entry, Neighbour.PORT) === port &&
      <u32>load<u8>(entry, Neighbour.FAMILY) === family &&
      equal16(entry + Neighbour.ADDRESS, address)
    )
      return entry;
    entry = <usize>load<u32>(entry, Neighbour.NEXT);
  }
  return 0;
}

/** The neighbour with an IPv4 address (raw), or 0. */
export function findNeighbour4(port: usize, addressBe: u32): usize {
  for (
    let entry = <usize>load<u32>(bucketOf(port, <u64>addressBe, 0));
    entry !== 0;
    entry = <usize>load<u32>(entry, Neighbour.NEXT)
  ) {
    if (load<u64>(entry, Neighbour.ADDRESS) !== <u64>addressBe) continue;
    if (load<u64>(entry, Neighbour.ADDRESS + 8) !== 0) continue;
    if (<usize>load<u32>(entry, Neighbour.PORT) !== port) continue;
    if (load<u8>(entry, Neighbour.FAMILY) === 4) return entry;
  }
  return 0;
}

/**
 * The table is full: an entry that teaches nothing, or was not used for a while, gives way to a new one. Else whoever
 * asks for addresses that nobody has keeps everybody else's out. Returns a free record, or 0.
 */
function reclaim(): usize {
  const capacity = word(Memory.NEIGHBOURS_CAPACITY);
  let at = word(Memory.NEIGHBOUR_CURSOR);
  for (let looks: u32 = 0; looks < RECLAIM_LOOKS; looks++) {
    at = at + 1 < capacity ? at + 1 : 0;
    const entry = record(at);
    const state = <i32>load<u8>(entry, Neighbour.STATE);
    const idle = <i32>(now() - load<u32>(entry, Neighbour.USED) - DELAY) > 0;
    if (
      state === Neighbour.STATE_FAILED ||
      state === Neighbour.STATE_INCOMPLETE ||
      (state === Neighbour.STATE_STALE && idle)
    ) {
      forgetNeighbour(entry);
      count(Counters.NEIGHBOURS_EVICTED, 1);
      break;
    }
  }
  setWord(Memory.NEIGHBOUR_CURSOR, at);
  return <usize>word(Memory.FREE_NEIGHBOUR);
}

/** The neighbour, made when it is new; 0 when the table is full. */
export function ensureNeighbour(port: usize, family: u32, address: usize): usize {
  const found = findNeighbour(port, family, address);
  if (found !== 0) return found;
  let entry = <usize>word(Memory.FREE_NEIGHBOUR);
  if (entry === 0 && word(Memory.NEIGHBOUR_HIGH) === word(Memory.NEIGHBOURS_CAPACITY)) entry = reclaim();
  if (entry !== 0) {
    setWord(Memory.FREE_NEIGHBOUR, load<u32>(entry, Neighbour.NEXT));
  } else {
    const high = word(Memory.NEIGHBOUR_HIGH);
    if (high === word(Memory.NEIGHBOURS_CAPACITY)) return 0;
    setWord(Memory.NEIGHBOUR_HIGH, high + 1);
    entry = record(high);
  }
  memory.fill(entry, 0, Neighbour.BUCKET);
  store<u8>(entry, Neighbour.STATE_FAILED, Neighbour.STATE);
  store<u8>(entry, <u8>family, Neighbour.FAMILY);
  store<u32>(entry, <u32>port, Neighbour.PORT);
  store<u32>(entry, now() - LOCK_TIME - 1, Neighbour.SINCE);
  // Whoever is only heard of was used by nobody, whatever the clock says.
  store<u32>(entry, now() - DELAY - 1, Neighbour.USED);
  copy16(entry + Neighbour.ADDRESS, address);
  const head = bucket(port, address);
  store<u32>(entry, load<u32>(head), Neighbour.NEXT);
  store<u32>(head, <u32>entry);
  setWord(Memory.NEIGHBOUR_COUNT, word(Memory.NEIGHBOUR_COUNT) + 1);
  return entry;
}

/** Forgets an entry; frames that wait for it are dropped. */
export function forgetNeighbour(entry: usize): void {
  let waiting = takeQueue(entry);
  while (waiting !== 0) {
    const next = <usize>load<u32>(waiting, Slot.NEXT);
    dropWaiting(waiting);
    waiting = next;
  }
  let at = bucket(<usize>load<u32>(entry, Neighbour.PORT), entry + Neighbour.ADDRESS);
  while (<usize>load<u32>(at) !== entry) at = <usize>load<u32>(at) + Neighbour.NEXT;
  store<u32>(at, load<u32>(entry, Neighbour.NEXT));
  store<u8>(entry, Neighbour.STATE_FREE, Neighbour.STATE);
  store<u32>(entry, word(Memory.FREE_NEIGHBOUR), Neighbour.NEXT);
  setWord(Memory.FREE_NEIGHBOUR, <u32>entry);
  setWord(Memory.NEIGHBOUR_COUNT, word(Memory.NEIGHBOUR_COUNT) - 1);
}

/** The verdict of a frame that waited is counted when the wait ends. */
function endWait(slot: usize, verdict: i32): void {
  if ((load<u16>(slot, Slot.FLAGS) & Slot.GENERATED) !== 0) return;
  countVerdict(verdict);
}

function dropWaiting(slot: usize): void {
  setWord(Memory.WAITING, word(Memory.WAITING) - 1);
  endWait(slot, Verdict.DROP);
  drop(slot, Reason.NEIGHBOUR_FAILED);
}

import * as Counters from "./layout/counters";
import { count } from "./table/memory";

export function countVerdict(verdict: i32): void {
  count(Counters.VERDICTS + (verdict << 3), 1);
}

function takeQueue(entry: usize): usize {
  const head = <usize>load<u32>(entry, Neighbour.QUEUE_HEAD);
  store<u32>(entry, 0, Neighbour.QUEUE_HEAD);
  store<u32>(entry, 0, Neighbour.QUEUE_TAIL);
  store<u8>(entry, 0, Neighbour.WAITING);
  return head;
}

function enter(entry: usize, state: i32): void {
  store<u8>(entry, <u8>state, Neighbour.STATE);
}

/** A timer runs late, to the next eighth tick, as the kernel's of this length do. */
function wakeAt(entry: usize, wanted: u32): void {
  const tick = (wanted + 8) & ~7;
  store<u32>(entry, tick, Neighbour.NEXT_PROBE);
  if (<i32>(tick - word(Memory.NEIGHBOUR_TICK)) < 0) setWord(Memory.NEIGHBOUR_TICK, tick);
}

function isQueueFull(entry: usize): bool {
  if (<u32>load<u8>(entry, Neighbour.WAITING) >= setting(Setting.NEIGHBOUR_QUEUE)) return true;
  return word(Memory.WAITING) >= word(Memory.SLOTS_CAPACITY) / WAITING_SHARE;
}

function queue(entry: usize, slot: usize): i32 {
  if (isQueueFull(entry)) {
    // The oldest gives way, as in the kernel.
    const oldest = <usize>load<u32>(entry, Neighbour.QUEUE_HEAD);
    if (oldest === 0) return drop(slot, Reason.NEIGHBOUR_QUEUE_FULL);
    store<u32>(entry, load<u32>(oldest, Slot.NEXT), Neighbour.QUEUE_HEAD);
    store<u8>(entry, load<u8>(entry, Neighbour.WAITING) - 1, Neighbour.WAITING);
    setWord(Memory.WAITING, word(Memory.WAITING) - 1);
    endWait(oldest, Verdict.DROP);
    drop(oldest, Reason.NEIGHBOUR_QUEUE_FULL);
  }
  store<u32>(slot, 0, Slot.NEXT);
  store<u32>(slot, now(), Slot.SINCE);
  const tail = <usize>load<u32>(entry, Neighbour.QUEUE_TAIL);
  if (load<u32>(entry, Neighbour.QUEUE_HEAD) === 0) store<u32>(entry, <u32>slot, Neighbour.QUEUE_HEAD);
  else store<u32>(tail, <u32>slot, Slot.NEXT);
  store<u32>(entry, <u32>slot, Neighbour.QUEUE_TAIL);
  store<u8>(entry, load<u8>(entry, Neighbour.WAITING) + 1, Neighbour.WAITING);
  setWord(Memory.WAITING, word(Memory.WAITING) + 1);
  return Verdict.WAIT;
}

function probe(entry: usize, slot: usize): void {
  const probes = <u32>load<u8>(entry, Neighbour.PROBES);
  const known = load<u8>(entry, Neighbour.STATE) === Neighbour.STATE_PROBE;
  solicit(
    <usize>load<u32>(entry, Neighbour.PORT),
    <u32>load<u8>(entry, Neighbour.FAMILY),
    entry + Neighbour.ADDRESS,
    known ? entry + Neighbour.MAC : 0,
    slot,
  );
  store<u8>(entry, <u8>(probes + 1), Neighbour.PROBES);
}

/** Sends a packet to slot.NEXT_HOP on a link, now or when its MAC is known. */
export function sendToNeighbour(slot: usize, port: usize): i32 {
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const entry = ensureNeighbour(port, family, slot + Slot.NEXT_HOP);
  if (entry === 0) return drop(slot, Reason.NEIGHBOUR_QUEUE_FULL);
  store<u32>(entry, now(), Neighbour.USED);
  const state = <i32>load<u8>(entry, Neighbour.STATE);
  if (state === Neighbour.STATE_INCOMPLETE) return queue(entry, slot);
  if (state === Neighbour.STATE_FAILED) {
    enter(entry, Neighbour.STATE_INCOMPLETE);
    store<u8>(entry, <u8>PROBES_UNICAST, Neighbour.PROBES);
    store<u32>(entry, now(), Neighbour.SINCE);
    wakeAt(entry, now() + SECOND);
    // Before it waits: it may be refused, and its slot another's.
    probe(entry, slot);
    return queue(entry, slot);
  }
  if (state === Neighbour.STATE_STALE) {
    enter(entry, Neighbour.STATE_DELAY);
    wakeAt(entry, now() + DELAY);
  }
  return sendTo(slot, port, entry + Neighbour.MAC);
}

/**
 * What an ARP or NDP message taught. `sure`: a solicited answer to us, else hearsay (stale). `replace`: a different
 * MAC replaces the one we have.
 */
export function learn(entry: usize, mac: usize, sure: bool, replace: bool): void {
  const state = <i32>load<u8>(entry, Neighbour.STATE);
  if (state === Neighbour.STATE_PERMANENT) return;
  const valid = state !== Neighbour.STATE_INCOMPLETE && state !== Neighbour.STATE_FAILED;
  const same = valid && sameMac(entry + Neighbour.MAC, mac);
  if (valid && !same && !replace) return;
  if (!sure && same && state === Neighbour.STATE_REACHABLE) return;
  if (valid && !same) count(Counters.NEIGHBOURS_CHANGED, 1);
  if (!same) {
    copyMac(entry + Neighbour.MAC, mac);
    store<u32>(entry, now(), Neighbour.SINCE);
  }
  if (sure) {
    enter(entry, Neighbour.STATE_REACHABLE);
    store<u32>(entry, now(), Neighbour.CONFIRMED);
    wakeAt(entry, now() + REACHABLE_TIME);
  } else if (!same || state === Neighbour.STATE_REACHABLE) {
    enter(entry, Neighbour.STATE_STALE);
  }
  store<u8>(entry, 0, Neighbour.PROBES);
  if (!valid) sendWaiting(entry);
}

/** What waited for the MAC goes out. */
function sendWaiting(entry: usize): void {
  let waiting = takeQueue(entry);
  while (waiting !== 0) {
    const next = <usize>load<u32>(waiting, Slot.NEXT);
    setWord(Memory.WAITING, word(Memory.WAITING) - 1);
    const generated = (load<u16>(waiting, Slot.FLAGS) & Slot.GENERATED) !== 0;
    const verdict = sendToNeighbour(waiting, <usize>load<u32>(entry, Neighbour.PORT));
    if (!generated && verdict !== Verdict.WAIT) countVerdict(verdict);
    waiting = next;
  }
}

/** Whether a different MAC may replace the one we have had since a moment ago. */
export function mayOverride(entry: usize): bool {
  return <i32>(now() - load<u32>(entry, Neighbour.SINCE) - LOCK_TIME) > 0;
}

/**
 * Drives the timers. Returns the head of a list of frames (by slot.NEXT) whose neighbour does not answer: the caller
 * tells their senders and ends them; call again until it returns 0.
 */
export function tickNeighbours(): usize {
  if (!reached(now(), word(Memory.NEIGHBOUR_TICK))) return 0;
  const high = word(Memory.NEIGHBOUR_HIGH);
  let soonest = now() + 10 * SECOND;
  for (let i: u32 = 0; i < high; i++) {
    const entry = record(i);
    const state = <i32>load<u8>(entry, Neighbour.STATE);
    if (state === Neighbour.STATE_PERMANENT && load<u32>(entry, Neighbour.QUEUE_HEAD) !== 0) sendWaiting(entry);
    if (state === Neighbour.STATE_FREE || state === Neighbour.STATE_PERMANENT) continue;
    if (state === Neighbour.STATE_STALE || state === Neighbour.STATE_FAILED) {
      if (
        <i32>(now() - load<u32>(entry, Neighbour.USED) - FORGET) > 0 &&
        <i32>(now() - load<u32>(entry, Neighbour.SINCE) - FORGET) > 0
      )
        forgetNeighbour(entry);
      continue;
    }
    const due = load<u32>(entry, Neighbour.NEXT_PROBE);
    if (!reached(now(), due)) {
      if (<i32>(due - soonest) < 0) soonest = due;
      continue;
    }
    if (state === Neighbour.STATE_REACHABLE) {
      if (<i32>(now() - load<u32>(entry, Neighbour.USED) - DELAY) <= 0) {
        enter(entry, Neighbour.STATE_DELAY);
        store<u32>(entry, now() + DELAY, Neighbour.NEXT_PROBE);
      } else {
        enter(entry, Neighbour.STATE_STALE);
        continue;
      }
    } else {
      if (state === Neighbour.STATE_DELAY) {
        enter(entry, Neighbour.STATE_PROBE);
        store<u8>(entry, 0, Neighbour.PROBES);
      }
      const limit = state === Neighbour.STATE_INCOMPLETE ? PROBES_UNICAST + PROBES_BROADCAST : PROBES_UNICAST;
      if (<u32>load<u8>(entry, Neighbour.PROBES) >= limit) {
        enter(entry, Neighbour.STATE_FAILED);
        store<u32>(entry, now(), Neighbour.SINCE);
        const failed = takeQueue(entry);
        if (failed !== 0) return failed;
        continue;
      }
      probe(entry, <usize>load<u32>(entry, Neighbour.QUEUE_HEAD));
      wakeAt(entry, now() + SECOND);
    }
    const next = load<u32>(entry, Neighbour.NEXT_PROBE);
    if (<i32>(next - soonest) < 0) soonest = next;
  }
  setWord(Memory.NEIGHBOUR_TICK, soonest);
  return 0;
}

/** Forgets learned entries of a port (0: of all). Frames that wait go with them. */
export function flushNeighbours(port: usize): void {
  const high = word(Memory.NEIGHBOUR_HIGH);
  for (let i: u32 = 0; i < high; i++) {
    const entry = record(i);
    const state = <i32>load<u8>(entry, Neighbour.STATE);
    if (state === Neighbour.STATE_FREE || state === Neighbour.STATE_PERMANENT) continue;
    if (port === 0 || <usize>load<u32>(entry, Neighbour.PORT) === port) forgetNeighbour(entry);
  }
}

/** The packet goes to an IPv6 address on the link of `port`, whatever the routes say. */
export function setNeighbourHop(slot: usize, port: usize, destination: usize): void {
  store<u32>(slot, <u32>port, Slot.PORT_OUT);
  store<u32>(slot, load<u32>(port, Port.MTU), Slot.MTU);
  copy16(slot + Slot.NEXT_HOP, destination);
}

/** Where a packet goes after `route` was chosen: its gateway, or itself. Sets slot.NEXT_HOP and PORT_OUT, MTU. */
export function setNextHop(slot: usize, route: usize, destination: usize): void {
  const port = load<u32>(route, Route.PORT);
  store<u32>(slot, port, Slot.PORT_OUT);
  const mtu = load<u32>(route, Route.MTU);
  store<u32>(slot, mtu !== 0 ? mtu : load<u32>(<usize>port, Port.MTU), Slot.MTU);
  const gateway = route + Route.GATEWAY;
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    store<u64>(slot, 0, Slot.NEXT_HOP);
    store<u64>(slot, 0, Slot.NEXT_HOP + 8);
    const via = load<u32>(gateway);
    store<u32>(slot, via !== 0 ? via : load<u32>(destination), Slot.NEXT_HOP);
  } else {
    const via = (load<u64>(gateway) | load<u64>(gateway, 8)) !== 0;
    copy16(slot + Slot.NEXT_HOP, via ? gateway : destination);
  }
}
