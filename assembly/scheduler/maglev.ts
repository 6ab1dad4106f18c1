/**
 * maglev: a table of 65537 places that every director computes alike from the servers' addresses, ports and weights,
 * in whatever order they were added; a flow (addresses, ports, protocol) goes to the server of its place.
 *
 * Each server has an endless pseudo-random row of places, and draws from it at a pace set by its weight. A free place
 * is taken; a server that has its share and a little more (SLACK) draws no further. So when a server leaves, the others
 * draw the same places in the same order and keep them, but for the few where a full server would have been first.
 * Filling by turns along permutations, as in the paper that gave the name (Eisenbud et al., 2016), makes places of
 * servers that stayed change hands several times as often.
 */

import * as State from "../layout/scheduler-state";
import * as Server from "../layout/server";
import * as Slot from "../layout/slot";
import { swap16 } from "../wire/bytes";
import { allocate, release } from "./arena";
import { clientAddress, clientPort, isV6, mix, virtualPort } from "./hash";
import { first, following, isAvailable, weight } from "./servers";
import { at, refilling } from "./table";

const SIZE = <u32>State.MAGLEV_SIZE;
const GOLDEN: u32 = 0x9e3779b1;
/** Draws that are worth a round's walk over the rows. */
const ENOUGH: u32 = 8192;
/** A server's share may be exceeded by one part in so many. More: fewer places change hands; less: better balance. */
const SLACK: u64 = 64;

/** One server while the table is filled: hash (also its order), row's seed, record, places left; draws; pace, credit. */
const ROW_SIZE: usize = 40;
const ROW_HASH: usize = 0;
const ROW_SERVER: usize = 8;
const ROW_LEFT: usize = 12;
const ROW_NEXT: usize = 16;
const ROW_PACE: usize = 24;
const ROW_CREDIT: usize = 32;

/** 64 bits that stand for a server everywhere. */
function hashOf(server: usize): u64 {
  let low: u32 = 0x6d61676c;
  let high: u32 = 0x6576;
  for (let i: usize = 0; i < 16; i += 4) {
    const part = load<u32>(server + i, Server.ADDRESS);
    low = mix(low ^ part);
    high = mix(high + part * GOLDEN + low);
  }
  const port = swap16(load<u16>(server, Server.PORT));
  low = mix(low ^ port);
  high = mix(high + port * GOLDEN + low);
  return ((<u64>high) << 32) | <u64>low;
}

function swapRows(a: usize, b: usize): void {
  for (let i: usize = 0; i < ROW_SIZE; i += 8) {
    const kept = load<u64>(a + i);
    store<u64>(a + i, load<u64>(b + i));
    store<u64>(b + i, kept);
  }
}

/** Sorts by hash: heap sort. */
function sortRows(rows: usize, count: u32): void {
  let root = count >> 1;
  let end = count;
  while (end > 1) {
    if (root > 0) {
      root--;
    } else {
      end--;
      swapRows(rows, rows + <usize>end * ROW_SIZE);
    }
    let parent = root;
    for (let child: u32 = 2 * parent + 1; child < end; child = 2 * parent + 1) {
      let greater = rows + <usize>child * ROW_SIZE;
      if (child + 1 < end && load<u64>(greater + ROW_SIZE) > load<u64>(greater)) {
        greater += ROW_SIZE;
        child++;
      }
      const above = rows + <usize>parent * ROW_SIZE;
      if (load<u64>(above) >= load<u64>(greater)) break;
      swapRows(above, greater);
      parent = child;
    }
  }
}

/** Makes a row of every server that has a weight, sorted. `total` is the sum of the weights. */
function makeRows(service: usize, rows: usize, count: u32, total: u64, period: u64): void {
  let row = rows;
  let sum: u64 = 0;
  for (let server = first(service); server !== 0; server = following(server)) {
    const its = weight(server);
    if (its <= 0) continue;
    const hash = hashOf(server);
    // The share in 1/65536 of a place, rounded up or down by chance: when it grows a little, only some get a place more.
    const share = (((<u64>SIZE) << 16) * <u64>its) / total;
    const left = (share + share / SLACK + (hash & 0xffff)) >> 16;
    sum += left;
    store<u64>(row, hash, ROW_HASH);
    store<u32>(row, <u32>server, ROW_SERVER);
    store<u32>(row, <u32>left, ROW_LEFT);
    store<u32>(row, mix(<u32>hash), ROW_NEXT);
    store<u64>(row, (<u64>its) << 16, ROW_PACE);
    // The lower its hash, the sooner its first draw: the order of rows is that of time.
    store<u64>(row, period - 1 - (((hash >> 48) * period) >> 16), ROW_CREDIT);
    row += ROW_SIZE;
  }
  // Chance may leave too few places for all.
  if (sum < <u64>SIZE) {
    for (let at = rows; at < row; at += ROW_SIZE) store<u32>(at, load<u32>(at, ROW_LEFT) + 1, ROW_LEFT);
  }
  sortRows(rows, count);
}

/** Deals the places out in turn, whatever the weights. */
function deal(service: usize, table: usize): void {
  let server: usize = 0;
  for (let place: u32 = 0; place < SIZE; place++) {
    do {
      server = server !== 0 ? following(server) : first(service);
    } while (server === 0 || weight(server) <= 0);
    store<u32>(table + ((<usize>place) << 2), <u32>server);
  }
}

function fill(service: usize, table: usize): void {
  memory.fill(table, 0, (<usize>SIZE) << 2);
  let total: u64 = 0;
  let count: u32 = 0;
  for (let server = first(service); server !== 0; server = following(server)) {
    if (weight(server) <= 0) continue;
    total += <u64>weight(server);
    count++;
  }
  if (count === 0) return;
  const rows = allocate(count * <u32>ROW_SIZE);
  if (rows === 0) {
    // No room to do it well: nobody is refused for that.
    deal(service, table);
    return;
  }
  // A round is the time in which the average server draws about once. A power of two, so that it hardly ever changes:
  // who is first at a place within a round changes with it.
  let period: u64 = 1;
  while (period * <u64>count < total) period <<= 1;
  period <<= 16;
  makeRows(service, rows, count, total, period);
  draw(table, rows, rows + <usize>count * ROW_SIZE, period);
  release(rows);
}

/** Lets the rows draw, in rounds, until no place is free. */
function draw(table: usize, rows: usize, end: usize, period: u64): void {
  let free = SIZE;
  let turns: u64 = 1;
  for (;;) {
    let draws: u32 = 0;
    for (let row = rows; row < end; row += ROW_SIZE) {
      let left = load<u32>(row, ROW_LEFT);
      if (left === 0) continue;
      let credit = load<u64>(row, ROW_CREDIT) + load<u64>(row, ROW_PACE) * turns;
      for (; credit >= period; credit -= period) {
        const next = load<u32>(row, ROW_NEXT) + GOLDEN;
        store<u32>(row, next, ROW_NEXT);
        draws++;
        const place = table + ((<usize>((<u64>mix(next) * <u64>SIZE) >> 32)) << 2);
        if (load<u32>(place) !== 0) continue;
        store<u32>(place, load<u32>(row, ROW_SERVER));
        if (--free === 0) return;
        store<u32>(row, --left, ROW_LEFT);
        if (left === 0) break;
      }
      store<u64>(row, credit, ROW_CREDIT);
    }
    // Most draws are for the last few places, where it matters little who is first: longer rounds there, and longer
    // still when the fast servers are full.
    if (free < SIZE / 16 && draws < ENOUGH) turns <<= 1;
  }
}

/** Hash of the flow; of a client's every packet the same, also when an ICMP error quotes it. */
function flowHash(slot: usize): u32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const client = clientAddress(slot);
  // Source and destination lie side by side, the client's is one of them.
  const v6 = isV6(ip);
  const size: usize = v6 ? 16 : 4;
  const start = ip + (v6 ? 8 : 12);
  const other = client === start ? start + size : start;
  let hash: u32 = (clientPort(slot) << 8) | load<u8>(slot, Slot.PROTOCOL);
  for (let i: usize = 0; i < size; i += 4) hash = mix(hash ^ load<u32>(client + i)) + GOLDEN;
  for (let i: usize = 0; i < size; i += 4) hash = mix(hash ^ load<u32>(other + i)) + GOLDEN;
  return mix(hash ^ virtualPort(slot));
}

export function pick(service: usize, slot: usize): usize {
  const table = refilling(service);
  if (table !== 0) fill(service, table);
  const hash = flowHash(slot);
  let place = <u32>((<u64>hash * <u64>SIZE) >> 32);
  let server = at(service, place);
  if (server === 0 || isAvailable(server)) return server;
  // An overloaded server's flows are spread over the others, by more draws and at last by looking everywhere.
  for (let i: u32 = 1; i <= 32; i++) {
    place = <u32>((<u64>mix(hash + i * GOLDEN) * <u64>SIZE) >> 32);
    server = at(service, place);
    if (isAvailable(server)) return server;
  }
  if (!hasAvailable(service)) return 0;
  for (let i: u32 = 0; i < SIZE; i++) {
    if (++place === SIZE) place = 0;
    server = at(service, place);
    if (isAvailable(server)) return server;
  }
  return 0;
}

function hasAvailable(service: usize): bool {
  let server = first(service);
  while (server !== 0 && !isAvailable(server)) server = following(server);
  return server !== 0;
}
