/**
 * What lblc and lblcr share: a hash of destination addresses, in cells of 32 bytes that come in chunks from the arena
 * and go back when the scheduler stops.
 *
 *   0      4      8                 12                 16        32
 *   +------+------+-----------------+------------------+---------+
 *   | next | used | server/members  | identity/changed | address |
 *   +------+------+-----------------+------------------+---------+
 *
 * A server is remembered by its record and by a hash of its address and port: a removed server stays remembered, and
 * counts again when it is added again, as in the kernel; its record may have gone to another server meanwhile.
 */
import * as Errno from "../layout/errno";
import * as Memory from "../layout/memory";
import * as State from "../layout/scheduler-state";
import * as Server from "../layout/server";
import * as Service from "../layout/service";
import * as Slot from "../layout/slot";
import { now } from "../table/memory";
import { equal16 } from "../wire/bytes";
import { allocate, release } from "./arena";
import { destinationAddress, foldAddress, isV6, multiplicative } from "./hash";
import { first, following, weight } from "./servers";

const TABLE = Service.SCHEDULER_STATE + State.TABLE;
const ENTRIES = Service.SCHEDULER_STATE + State.ENTRIES;
const CELLS = Service.SCHEDULER_STATE + State.CELLS;
const FREE_CELL = Service.SCHEDULER_STATE + State.FREE_CELL;
const CHUNKS = Service.SCHEDULER_STATE + State.CHUNKS;
const ROVER = Service.SCHEDULER_STATE + State.ROVER;
const CHECKS = Service.SCHEDULER_STATE + State.CHECKS;
const NEXT_CHECK = Service.SCHEDULER_STATE + State.NEXT_CHECK;
const IDENTITY = Server.SCHEDULER_STATE + State.IDENTITY;

const SIZE = <u32>State.LOCALITY_SIZE;
/** More entries than this are collected before their time. */
const MANY = SIZE * 16;
const CHECK_INTERVAL: u32 = 60 * Memory.TICKS_PER_SECOND;
/** Idle this long, an entry may go when there are many. */
const IDLE: u32 = 360 * Memory.TICKS_PER_SECOND;
/** Every so many checks are full ones. */
const FULL_EVERY: u32 = 30;
const DAY: u32 = 86400;

export function start(service: usize): i32 {
  const table = allocate(SIZE << 2);
  if (table === 0) return -Errno.ENOMEM;
  store<u32>(service, <u32>table, TABLE);
  store<u32>(service, 1, CHECKS);
  store<u32>(service, now() + CHECK_INTERVAL, NEXT_CHECK);
  return 0;
}

export function stop(service: usize): void {
  let chunk = <usize>load<u32>(service, CHUNKS);
  while (chunk !== 0) {
    const next = <usize>load<u32>(chunk);
    release(chunk);
    chunk = next;
  }
  release(<usize>load<u32>(service, TABLE));
}

/** A zeroed cell, or 0 when there are no more. */
export function takeCell(service: usize): usize {
  let cell = <usize>load<u32>(service, FREE_CELL);
  if (cell === 0) {
    const cells = load<u32>(service, CELLS);
    if (cells >= <u32>State.CELLS_MAX) return 0;
    // The first cell's place holds the link to the next chunk.
    const chunk = allocate(State.CHUNK_CELLS * State.CELL_SIZE);
    if (chunk === 0) return 0;
    store<u32>(chunk, load<u32>(service, CHUNKS));
    store<u32>(service, <u32>chunk, CHUNKS);
    store<u32>(service, cells + State.CHUNK_CELLS, CELLS);
    for (let i: usize = 1; i < <usize>State.CHUNK_CELLS; i++) giveCell(service, chunk + i * State.CELL_SIZE);
    cell = <usize>load<u32>(service, FREE_CELL);
  }
  store<u32>(service, load<u32>(cell, State.CELL_NEXT), FREE_CELL);
  memory.fill(cell, 0, State.CELL_SIZE);
  return cell;
}

export function giveCell(service: usize, cell: usize): void {
  store<u32>(cell, load<u32>(service, FREE_CELL), State.CELL_NEXT);
  store<u32>(service, <u32>cell, FREE_CELL);
}

function bucketOf(service: usize, address: usize, v6: bool): usize {
  const hash = multiplicative(foldAddress(address, v6), State.LOCALITY_BITS);
  return <usize>load<u32>(service, TABLE) + ((<usize>hash) << 2);
}

function isOf(entry: usize, address: usize, v6: bool): bool {
  if (v6) return equal16(entry + State.CELL_ADDRESS, address);
  return load<u32>(entry, State.CELL_ADDRESS) === load<u32>(address);
}

/** The entry of the packet's destination, or 0. */
export function find(service: usize, slot: usize): usize {
  const address = destinationAddress(slot);
  const v6 = isV6(<usize>load<u32>(slot, Slot.IP));
  let entry = <usize>load<u32>(bucketOf(service, address, v6));
  while (entry !== 0 && !isOf(entry, address, v6)) entry = <usize>load<u32>(entry, State.CELL_NEXT);
  return entry;
}

/** A new entry for the packet's destination, or 0. */
export function add(service: usize, slot: usize): usize {
  const entry = takeCell(service);
  if (entry === 0) return 0;
  const address = destinationAddress(slot);
  const v6 = isV6(<usize>load<u32>(slot, Slot.IP));
  memory.copy(entry + State.CELL_ADDRESS, address, v6 ? 16 : 4);
  store<u32>(entry, now(), State.CELL_USED);
  const bucket = bucketOf(service, address, v6);
  store<u32>(entry, load<u32>(bucket), State.CELL_NEXT);
  store<u32>(bucket, <u32>entry);
  store<u32>(service, load<u32>(service, ENTRIES) + 1, ENTRIES);
  return entry;
}

/** Stores a server into a cell. */
export function remember(cell: usize, server: usize): void {
  store<u32>(cell, <u32>server, State.CELL_SERVER);
  store<u32>(cell, load<u32>(server, IDENTITY), State.CELL_IDENTITY);
}

/** The server of a cell while it is one of the service's, else 0. */
export function remembered(service: usize, cell: usize): usize {
  const server = <usize>load<u32>(cell, State.CELL_SERVER);
  return load<u8>(server, Server.STATE) === Server.STATE_LIVE &&
    <usize>load<u32>(server, Server.SERVICE) === service &&
    load<u32>(server, IDENTITY) === load<u32>(cell, State.CELL_IDENTITY)
    ? server
    : 0;
}

/** Has more active connections than its weight while another has not even half of its own. */
export function isBusy(service: usize, server: usize): bool {
  if (<i64>load<u32>(server, Server.ACTIVE) <= <i64>weight(server)) return false;
  for (let other = first(service); other !== 0; other = following(other)) {
    if (<i64>load<u32>(other, Server.ACTIVE) * 2 < <i64>weight(other)) return true;
  }
  return false;
}

/** Ticks that an entry lives without being asked for, from a setting in seconds. */
export function lifetime(seconds: u32): u32 {
  return (seconds === 0 ? DAY : seconds) * Memory.TICKS_PER_SECOND;
}

/** Drops the entries of a bucket that were not asked for in `age` ticks; returns how many. */
function collect(service: usize, bucket: usize, age: u32, sets: bool): u32 {
  let dropped: u32 = 0;
  let link = bucket;
  let entry = <usize>load<u32>(link);
  while (entry !== 0) {
    const next = load<u32>(entry, State.CELL_NEXT);
    if (now() - load<u32>(entry, State.CELL_USED) >= age) {
      store<u32>(link, next);
      if (sets) {
        let member = <usize>load<u32>(entry, State.CELL_MEMBERS);
        while (member !== 0) {
          const after = <usize>load<u32>(member, State.CELL_NEXT);
          giveCell(service, member);
          member = after;
        }
      }
      giveCell(service, entry);
      dropped++;
    } else {
      link = entry + State.CELL_NEXT;
    }
    entry = <usize>next;
  }
  store<u32>(service, load<u32>(service, ENTRIES) - dropped, ENTRIES);
  return dropped;
}

/** The check of every minute. `age`: lifetime of entries; `sets`: they have members. */
export function tick(service: usize, age: u32, sets: bool): void {
  if (<i32>(now() - load<u32>(service, NEXT_CHECK)) < 0) return;
  store<u32>(service, now() + CHECK_INTERVAL, NEXT_CHECK);
  const table = <usize>load<u32>(service, TABLE);
  const checks = load<u32>(service, CHECKS);
  if (checks % FULL_EVERY === 0) {
    for (let i: u32 = 0; i < SIZE; i++) collect(service, table + ((<usize>i) << 2), age, sets);
    store<u32>(service, 1, CHECKS);
    return;
  }
  const entries = load<u32>(service, ENTRIES);
  if (entries <= MANY) {
    store<u32>(service, checks + 1, CHECKS);
    return;
  }
  let goal = <i32>(((entries - MANY) * 4) / 3);
  if (goal > <i32>(MANY / 2)) goal = <i32>(MANY / 2);
  let place = load<u32>(service, ROVER);
  for (let i: u32 = 0; i < SIZE && goal > 0; i++) {
    place = (place + 1) & (SIZE - 1);
    goal -= <i32>collect(service, table + ((<usize>place) << 2), IDLE, sets);
  }
  store<u32>(service, place, ROVER);
}

/** Points the cells that remember a removed server at the record it has now. */
export function revive(service: usize, server: usize, sets: bool): void {
  if (load<u32>(service, ENTRIES) === 0) return;
  const table = <usize>load<u32>(service, TABLE);
  const identity = load<u32>(server, IDENTITY);
  for (let i: u32 = 0; i < SIZE; i++) {
    let entry = <usize>load<u32>(table + ((<usize>i) << 2));
    for (; entry !== 0; entry = <usize>load<u32>(entry, State.CELL_NEXT)) {
      let cell = sets ? <usize>load<u32>(entry, State.CELL_MEMBERS) : entry;
      for (; cell !== 0; cell = sets ? <usize>load<u32>(cell, State.CELL_NEXT) : 0) {
        if (load<u32>(cell, State.CELL_IDENTITY) === identity) store<u32>(cell, <u32>server, State.CELL_SERVER);
      }
    }
  }
}
