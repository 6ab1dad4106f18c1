/**
 * Entries of layout/snapshot become tables again, before the first breath: services and servers are there already, by
 * the control calls that make them; what they counted and the connections come from here. Nothing in an entry is
 * trusted: whatever does not fit is left out and counted.
 *
 * First entries, in the order in which they were written (a later one about the same record replaces the earlier), then
 * restoreLink(): records that are sound are found by lookups from then on. Both may come again, as a director that is
 * followed while it runs writes more; what a later entry says of a linked record unlinks that alone. At last
 * restoreFinish() over the whole table: records are given their controllers, and those that are left are free.
 */
import { startCounting, stopCounting } from "./connections";
import * as Address from "./layout/address";
import * as Connection from "./layout/connection";
import * as Counters from "./layout/counters";
import * as Forwarding from "./layout/forwarding";
import * as Memory from "./layout/memory";
import * as Neighbour from "./layout/neighbour";
import * as Scheduler from "./layout/scheduler";
import * as State from "./layout/scheduler-state";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Snapshot from "./layout/snapshot";
import * as Stats from "./layout/stats";
import { ensureNeighbour, learn } from "./neighbour";
import { preceding } from "./scheduler/servers";
import { ensureAddress, findAddress } from "./table/address";
import * as Table from "./table/connection";
import { hashData } from "./table/engine-data";
import { giveLocal, keepLocal } from "./table/local";
import { now, setWord, word } from "./table/memory";
import { findPort } from "./table/port";
import { allocateServer, findServer, rebindConnection, retire, unbindConnection } from "./table/server";
import { findByMark, findExact } from "./table/service";
import { equal16 } from "./wire/bytes";

const ZERO: usize = Memory.LAYOUT_BASE + Memory.ZERO;
const END: u32 = 0xffffffff;
/** Records of one slice of restoreFinish(); words of 64 records of one slice of restoreLink(). */
const SLICE: u32 = 2048;
const WORDS: u32 = 32;
const CURRENT = Service.SCHEDULER_STATE + State.CURRENT;
const BEFORE = Service.SCHEDULER_STATE + State.BEFORE;
const BAR = Service.SCHEDULER_STATE + State.PASS_WEIGHT;
const MAXIMUM = Service.SCHEDULER_STATE + State.MAXIMUM;
const DRAWS = Service.SCHEDULER_STATE + State.DRAWS;

function buffer(): usize {
  return <usize>word(Memory.STATE_BASE);
}

function refuse(): void {
  setWord(Memory.RESTORE_REFUSED, word(Memory.RESTORE_REFUSED) + 1);
}

/** Forgets the maps and counts of an earlier restoration, and the connections that it brought. */
export function restoreBegin(): void {
  const high = word(Memory.CONNECTION_HIGH);
  for (let number: u32 = 0; number < high; number++) forget(number);
  memory.fill(<usize>word(Memory.CHANGED_BASE), 0, (<usize>((high + 63) >> 6)) << 3);
  setWord(Memory.CONNECTION_HIGH, 0);
  setWord(Memory.FREE_CONNECTION, 0);
  memory.fill(buffer() + Snapshot.SERVER_MAP, 0, Snapshot.SIZE - Snapshot.SERVER_MAP);
  setWord(Memory.RESTORED, 0);
  setWord(Memory.RESTORE_REFUSED, 0);
  setWord(Memory.RESTORE_HIGHEST, 0);
}

/**
 * Takes the first `length` bytes of the STATE region, which were written `age` ticks before the last of their snapshot.
 * 0, or 1 + the place of what is no entry.
 */
export function restoreEntries(length: u32, age: u32): u32 {
  if (length > <u32>Snapshot.BUFFER_SIZE) return 1;
  let place: u32 = 0;
  while (place < length) {
    const entry = buffer() + <usize>place;
    if (length - place < <u32>Snapshot.HEAD) return place + 1;
    const size = load<u32>(entry, Snapshot.LENGTH);
    if (size < <u32>Snapshot.HEAD || size > length - place || (size & 7) !== 0) return place + 1;
    const index = load<u32>(entry, Snapshot.INDEX);
    const extra = load<u32>(entry, Snapshot.EXTRA);
    const body = entry + Snapshot.HEAD;
    const rest = size - Snapshot.HEAD;
    switch (<i32>load<u32>(entry, Snapshot.KIND)) {
      case Snapshot.CONNECTION:
        if (!takeConnection(body, rest, index, extra, age)) refuse();
        break;
      case Snapshot.GONE:
        forget(index);
        break;
      case Snapshot.TIMER:
        takeTimer(index, extra - age);
        break;
      case Snapshot.SERVER:
        if (rest !== Server.SIZE || index >= <u32>Snapshot.SERVER_MAP_ENTRIES || !takeServer(body, index)) refuse();
        break;
      case Snapshot.SERVICE:
        if (rest !== Service.SIZE) refuse();
        else takeService(body);
        break;
      case Snapshot.ADDRESS:
        if (rest !== Address.SIZE || index >= <u32>Snapshot.ADDRESS_MAP_ENTRIES || !takeAddress(body, index)) refuse();
        break;
      case Snapshot.TOTALS:
        if (rest === Stats.SIZE + Stats.RATES_SIZE) takeTotals(body);
        break;
      case Snapshot.NEIGHBOUR:
        if (rest !== Neighbour.SIZE || !takeNeighbour(body, extra)) refuse();
        break;
      case Snapshot.COOKIES:
        if (rest === Snapshot.COOKIES_SIZE) takeCookies(body);
        break;
      default:
        // Of a version that knows more.
        refuse();
    }
    place += size;
  }
  return 0;
}

/** A server that is not in its service's list any more comes back as one that was removed. */
function takeServer(body: usize, index: u32): bool {
  const family = <u32>load<u8>(body, Server.FAMILY);
  const serviceFamily = <u32>load<u8>(body, Server.SERVICE_FAMILY);
  if ((family !== 4 && family !== 6) || (serviceFamily !== 4 && serviceFamily !== 6)) return false;
  const mark = load<u32>(body, Server.VIRTUAL_MARK);
  const service =
    mark !== 0
      ? findByMark(serviceFamily, mark, ZERO)
      : findExact(
          serviceFamily,
          <u32>load<u8>(body, Server.PROTOCOL),
          body + Server.VIRTUAL_ADDRESS,
          <u32>load<u16>(body, Server.VIRTUAL_PORT),
        );
  const place = buffer() + Snapshot.SERVER_MAP + ((<usize>index) << 2);
  let server: usize = 0;
  if (service !== 0) server = findServer(service, family, body + Server.ADDRESS, <u32>load<u16>(body, Server.PORT));
  if (server !== 0) {
    memory.copy(server + Server.STATS, body + Server.STATS, Stats.SIZE + Stats.RATES_SIZE);
    store<u64>(server, load<u64>(body, Server.REFUSED), Server.REFUSED);
    store<u64>(server, load<u64>(body, Server.UNANSWERED), Server.UNANSWERED);
    if (load<i32>(server, Server.WEIGHT) === 0 && load<i32>(body, Server.WEIGHT) === 0)
      store<u32>(server, now() + load<u32>(body, Server.QUIESCED_SINCE), Server.QUIESCED_SINCE);
    if (load<u32>(server, Server.UPPER) !== 0)
      store<u32>(
        server,
        load<u32>(server, Server.FLAGS) | (load<u32>(body, Server.FLAGS) & Server.FLAG_OVERLOAD),
        Server.FLAGS,
      );
  } else if (isSame(<usize>load<u32>(place), body)) {
    server = <usize>load<u32>(place);
  } else {
    if (load<u32>(body, Server.FORWARDING) > <u32>Forwarding.FULL_NAT) return false;
    if (<u32>load<u8>(body, Server.TUNNEL_TYPE) > <u32>Forwarding.TUNNEL_GRE) return false;
    server = allocateServer();
    if (server === 0) return false;
    memory.copy(server, body, Server.SIZE);
    store<u32>(server, <u32>service, Server.SERVICE);
    store<u32>(server, 0, Server.ACTIVE);
    store<u32>(server, 0, Server.INACTIVE);
    store<u32>(server, 0, Server.PERSISTENT);
    store<u32>(server, 0, Server.REFERENCES);
    store<u8>(server, Server.ROUTE_NONE, Server.ROUTE_MODE);
    store<u32>(server, 0, Server.WAY);
    store<u32>(server, 0, Server.WAY_GENERATION);
    retire(server);
  }
  const until = load<u32>(body, Server.PATH_MTU_UNTIL);
  store<u32>(server, load<u32>(body, Server.PATH_MTU), Server.PATH_MTU);
  store<u32>(server, until === 0 ? 0 : now() + until, Server.PATH_MTU_UNTIL);
  store<u32>(place, <u32>server);
  return true;
}

/** Whether a record of ours is the removed server that an entry is about: it was here before. */
function isSame(server: usize, body: usize): bool {
  return (
    server !== 0 &&
    load<u8>(server, Server.STATE) === Server.STATE_REMOVED &&
    load<u16>(server, Server.PORT) === load<u16>(body, Server.PORT) &&
    load<u8>(server, Server.FAMILY) === load<u8>(body, Server.FAMILY) &&
    load<u8>(server, Server.PROTOCOL) === load<u8>(body, Server.PROTOCOL) &&
    load<u8>(server, Server.SERVICE_FAMILY) === load<u8>(body, Server.SERVICE_FAMILY) &&
    load<u32>(server, Server.VIRTUAL_MARK) === load<u32>(body, Server.VIRTUAL_MARK) &&
    load<u16>(server, Server.VIRTUAL_PORT) === load<u16>(body, Server.VIRTUAL_PORT) &&
    equal16(server + Server.ADDRESS, body + Server.ADDRESS) &&
    equal16(server + Server.VIRTUAL_ADDRESS, body + Server.VIRTUAL_ADDRESS)
  );
}

/** The server that the reference of an entry is to, or 0. */
function serverOf(reference: u32): usize {
  if (reference === 0 || reference > <u32>Snapshot.SERVER_MAP_ENTRIES) return 0;
  return <usize>load<u32>(buffer() + Snapshot.SERVER_MAP + ((<usize>(reference - 1)) << 2));
}

/** Counters, and where the scheduler is: what is computed from the servers alone is computed anew. */
function takeService(body: usize): void {
  const family = <u32>load<u8>(body, Service.FAMILY);
  const mark = load<u32>(body, Service.MARK);
  const protocol = <u32>load<u8>(body, Service.PROTOCOL);
  const service =
    mark !== 0
      ? findByMark(family, mark, ZERO)
      : findExact(family, protocol, body + Service.ADDRESS, <u32>load<u16>(body, Service.PORT));
  if (service === 0) return;
  memory.copy(service + Service.STATS, body + Service.STATS, Stats.SIZE + Stats.RATES_SIZE);
  // What the SYN proxy has found out. Without it a flood would come through once more until it is noticed.
  store<u8>(service, load<u8>(body, Service.PROXY_ON) & 1, Service.PROXY_ON);
  store<u8>(service, load<u8>(body, Service.PROXY_LACKS), Service.PROXY_LACKS);
  store<u16>(service, load<u16>(body, Service.PROXY_MSS), Service.PROXY_MSS);
  const scheduler = <i32>load<u8>(service, Service.SCHEDULER);
  if (scheduler !== <i32>load<u8>(body, Service.SCHEDULER)) return;
  if (scheduler === Scheduler.TWOS) {
    store<u32>(service, load<u32>(body, DRAWS), DRAWS);
    return;
  }
  if (scheduler !== Scheduler.RR && scheduler !== Scheduler.WRR) return;
  let current = serverOf(load<u32>(body, CURRENT));
  if (
    current !== 0 &&
    (load<u8>(current, Server.STATE) !== Server.STATE_LIVE || <usize>load<u32>(current, Server.SERVICE) !== service)
  )
    current = 0;
  if (scheduler === Scheduler.RR) {
    store<u32>(service, <u32>current, CURRENT);
    store<u32>(service, current === 0 ? 0 : <u32>preceding(current), BEFORE);
    return;
  }
  // The pass goes on where it was, unless weights have changed.
  const bar = load<i32>(body, BAR);
  if (load<u64>(body, MAXIMUM) !== load<u64>(service, MAXIMUM) || bar < 0 || bar > load<i32>(service, MAXIMUM)) return;
  store<u32>(service, <u32>current, CURRENT);
  store<i32>(service, bar, BAR);
}

function takeTotals(body: usize): void {
  const counters = <usize>word(Memory.COUNTERS_BASE);
  memory.copy(counters + Counters.STATS, body, Stats.SIZE);
  memory.copy(counters + Counters.RATES, body + Stats.SIZE, Stats.RATES_SIZE);
}

/** It is believed until it is used: then it is asked whether it still is who it was. */
function takeNeighbour(body: usize, number: u32): bool {
  const family = <u32>load<u8>(body, Neighbour.FAMILY);
  // It says whose port it is: a port that is no more leads to nobody.
  const port = findPort(number);
  if ((family !== 4 && family !== 6) || port === 0) return false;
  const entry = ensureNeighbour(port, family, body + Neighbour.ADDRESS);
  if (entry === 0) return false;
  if (load<u8>(entry, Neighbour.STATE) === Neighbour.STATE_FAILED) learn(entry, body + Neighbour.MAC, false, false);
  return true;
}

/** Who was answered with a cookie brings it to us. */
function takeCookies(body: usize): void {
  if (load<u32>(body, 52) === 0) return;
  memory.copy(Memory.LAYOUT_BASE + Memory.COOKIE_SECRET, body, 48);
  setWord(Memory.COOKIE_DUE, now() + load<u32>(body, 48));
  setWord(Memory.COOKIE_EPOCH, load<u32>(body, 52));
}

/** One that is not ours any more stays the local address of the connections that have it. */
function takeAddress(body: usize, index: u32): bool {
  const family = <u32>load<u8>(body, Address.FAMILY) & ~(<u32>Address.RETIRED);
  if (family !== 4 && family !== 6) return false;
  let record = findAddress(family, body + Address.ADDRESS);
  if (record === 0) {
    record = ensureAddress(family, body + Address.ADDRESS);
    if (record === 0) return false;
    store<u8>(record, <u8>(family | Address.RETIRED), Address.FAMILY);
  }
  const place = <u32>(record - <usize>word(Memory.ADDRESSES_BASE)) / Address.SIZE;
  store<u16>(buffer() + Snapshot.ADDRESS_MAP + ((<usize>index) << 1), <u16>(place + 1));
  return true;
}

function at(number: u32): usize {
  return <usize>word(Memory.CONNECTIONS_BASE) + ((<usize>number) << 6);
}

function isUsed(connection: usize): bool {
  return (load<u32>(connection, Connection.FLAGS) & Connection.FLAG_USED) !== 0;
}

function isLinked(connection: usize): bool {
  return (load<u32>(connection, Connection.FLAGS) & Connection.FLAG_HASHED) !== 0;
}

/** A record leaves nothing behind. That it is free is said at the end, of all that are. */
function forget(index: u32): void {
  if (index >= word(Memory.CONNECTION_HIGH)) return;
  const connection = at(index);
  if (!isUsed(connection)) return;
  if (isLinked(connection)) {
    stopCounting(connection);
    Table.suspend(connection);
    if (hasLocal(load<u32>(connection, Connection.FLAGS))) giveLocal(connection);
    unbindConnection(connection);
  }
  Table.freeExtensions(connection);
  store<u32>(Table.cold(connection), 0, Connection.COLD_EXTENSION);
  store<u32>(connection, 0, Connection.FLAGS);
}

function takeTimer(index: u32, left: u32): void {
  if (index >= word(Memory.CONNECTION_HIGH) || !isUsed(at(index))) return;
  if (isLinked(at(index))) Table.endAt(at(index), now() + left);
  else store<u32>(at(index), now() + left, Connection.EXPIRES);
}

/** A local address and port stand for the client. Of a template none do. */
function hasLocal(flags: u32): bool {
  return (flags & (Connection.FLAG_FULL_NAT | Connection.FLAG_TEMPLATE)) === Connection.FLAG_FULL_NAT;
}

/** restoreLink() will look at the record. */
function noteRecord(index: u32): void {
  const place = <usize>word(Memory.CHANGED_BASE) + <usize>(index >> 3);
  store<u8>(place, <u8>(<u32>load<u8>(place) | ((<u32>1) << (index & 7))));
}

/** Puts a copy where its number says, references and all: they are looked at when everything is here. */
function takeConnection(body: usize, rest: u32, index: u32, extensions: u32, age: u32): bool {
  if (extensions > <u32>Snapshot.EXTENSIONS_MOST) return false;
  if (rest !== Connection.SIZE + Connection.COLD_SIZE + extensions * Connection.EXTENSION_SIZE) return false;
  if (index >= word(Memory.RESTORE_HIGHEST)) setWord(Memory.RESTORE_HIGHEST, index + 1);
  if (index >= word(Memory.CONNECTIONS_CAPACITY)) return false;
  forget(index);
  const flags = load<u32>(body, Connection.FLAGS);
  if ((flags & Connection.FLAG_USED) === 0 || (flags & Connection.FLAG_ONE_PACKET) !== 0) return false;
  // The records in between were never touched: they are zero, which is free.
  if (index >= word(Memory.CONNECTION_HIGH)) setWord(Memory.CONNECTION_HIGH, index + 1);
  const connection = at(index);
  const cold = Table.cold(connection);
  memory.copy(connection, body, Connection.SIZE);
  memory.copy(cold, body + Connection.SIZE, Connection.COLD_SIZE);
  store<u32>(connection, flags & ~Connection.FLAG_HASHED, Connection.FLAGS);
  store<u32>(connection, 0, Connection.CONTROLLED);
  store<u32>(connection, now() + load<u32>(body, Connection.EXPIRES) - age, Connection.EXPIRES);
  store<u32>(cold, 0, Connection.COLD_EXTENSION);
  store<u32>(cold, now() + load<u32>(cold, Connection.COLD_SINCE) - age, Connection.COLD_SINCE);
  let from = body + Connection.SIZE + Connection.COLD_SIZE;
  let link = cold + Connection.COLD_EXTENSION;
  for (let i: u32 = 0; i < extensions; i++) {
    const more = Table.allocateExtension();
    if (more === 0) {
      forget(index);
      return false;
    }
    memory.copy(more, from, Connection.EXTENSION_SIZE);
    store<u32>(more, 0, Connection.EXTENSION_MORE);
    store<u32>(link, <u32>more);
    link = more + Connection.EXTENSION_MORE;
    from += Connection.EXTENSION_SIZE;
  }
  noteRecord(index);
  return true;
}

/** It is that late: otherwise the first breath alone would say so. */
export function restoreTime(tick: u32): void {
  setWord(Memory.NOW, tick);
  // The wheel stands at the time when its memory was made, which may be long ago.
  if (word(Memory.CONNECTION_COUNT) === 0) Table.startWheel(tick);
}

/**
 * Links the records that came since the last time; `from` counts words of 64, and is 0 at first. Their times are `late`
 * ticks too late. Returns what to go on with, or END.
 */
export function restoreLink(from: u32, late: u32): u32 {
  const words = (word(Memory.CONNECTION_HIGH) + 63) >> 6;
  let linked: u32 = 0;
  for (; from < words && linked < WORDS; from++) {
    const place = <usize>word(Memory.CHANGED_BASE) + ((<usize>from) << 3);
    const bits = load<u64>(place);
    if (bits === 0) continue;
    store<u64>(place, 0);
    linked++;
    // Twice: the lines of the index that the first time asks for are here when the second one writes to them.
    let touched: u32 = 0;
    for (let left = bits; left !== 0; left &= left - 1) touched ^= Table.touchFree(at((from << 6) + <u32>ctz(left)));
    setWord(Memory.TOUCHED, touched);
    for (let left = bits; left !== 0; left &= left - 1) {
      const number = (from << 6) + <u32>ctz(left);
      const connection = at(number);
      if (!isUsed(connection)) continue;
      store<u32>(connection, load<u32>(connection, Connection.EXPIRES) - late, Connection.EXPIRES);
      const cold = Table.cold(connection);
      store<u32>(cold, load<u32>(cold, Connection.COLD_SINCE) - late, Connection.COLD_SINCE);
      if (revive(connection)) continue;
      forget(number);
      refuse();
    }
  }
  return from < words ? from : END;
}

/** The slice from `from` on, which is 0 at first, when nothing is left to be linked. Returns what to go on with, or END. */
export function restoreFinish(from: u32): u32 {
  const high = word(Memory.CONNECTION_HIGH);
  const end = min<u32>(high, from + SLICE);
  let restored: u32 = 0;
  for (; from < end; from++) {
    const connection = at(from);
    if (!isUsed(connection)) {
      Table.abandon(connection);
    } else {
      giveController(connection, high);
      restored++;
    }
  }
  setWord(Memory.RESTORED, word(Memory.RESTORED) + restored);
  return from < high ? from : END;
}

/** Links a record that is sound. */
function revive(connection: usize): bool {
  const flags = load<u32>(connection, Connection.FLAGS);
  const more = Table.extension(connection);
  const six = (flags & Connection.FLAG_IPV6) !== 0;
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  const extended: u32 =
    Connection.FLAG_IPV6 |
    Connection.FLAG_MIXED |
    Connection.FLAG_ENGINE |
    Connection.FLAG_PROXY |
    Connection.FLAG_OUT_SEQUENCE |
    Connection.FLAG_IN_SEQUENCE;
  if (family !== (six ? 6 : 4) || (more === 0 && (flags & extended) !== 0)) return false;
  if ((flags & Connection.METHOD_MASK) > <u32>Forwarding.BYPASS) return false;
  if (six) {
    store<u32>(connection, Table.fold6(more + Connection.EXTENSION_CLIENT), Connection.CLIENT_ADDRESS);
    store<u32>(connection, Table.fold6(more + Connection.EXTENSION_VIRTUAL), Connection.VIRTUAL_ADDRESS);
    const mixed = (flags & Connection.FLAG_MIXED) !== 0;
    store<u32>(connection, mixed ? 0 : Table.fold6(more + Connection.EXTENSION_SERVER), Connection.SERVER_ADDRESS);
  }
  if ((flags & Connection.FLAG_ENGINE) !== 0 && !hashAgain(more)) return false;
  // So many with one hash were never let in.
  if (Table.isCrowded(connection)) return false;
  const left = <i32>(load<u32>(connection, Connection.EXPIRES) - now());
  const timeout = load<u32>(connection, Connection.TIMEOUT);
  if (left > 0 && <u32>left > timeout) store<u32>(connection, now() + timeout, Connection.EXPIRES);
  const reference = load<u32>(connection, Connection.SERVER);
  const server = serverOf(reference);
  if (reference !== 0 && server === 0) return false;
  const local = load<u32>(Table.cold(connection), Connection.COLD_LOCAL);
  store<u32>(Table.cold(connection), 0, Connection.COLD_LOCAL);
  if (hasLocal(flags)) {
    if ((local & 0xffff) >= <u32>Snapshot.ADDRESS_MAP_ENTRIES) return false;
    const known = <u32>load<u16>(buffer() + Snapshot.ADDRESS_MAP + ((<usize>(local & 0xffff)) << 1));
    if (known === 0) return false;
    const record = <usize>word(Memory.ADDRESSES_BASE) + <usize>(known - 1) * Address.SIZE;
    if (!keepLocal(connection, record, local >> 16)) return false;
  }
  if (server !== 0) rebindConnection(connection, server);
  startCounting(connection);
  Table.resume(connection);
  return true;
}

/** The hash of a persistence engine's data is of this memory's seed. False when the data are not all there. */
function hashAgain(first: usize): bool {
  const length = <usize>load<u8>(first, Connection.EXTENSION_DATA_LENGTH);
  const data = buffer() + Snapshot.DATA;
  let done = min<usize>(length, Connection.EXTENSION_DATA_SIZE);
  memory.copy(data, first + Connection.EXTENSION_DATA, done);
  let more = first;
  while (done < length) {
    more = <usize>load<u32>(more, Connection.EXTENSION_MORE);
    if (more === 0) return false;
    const part = min<usize>(length - done, Connection.EXTENSION_MORE_SIZE);
    memory.copy(data + done, more + Connection.EXTENSION_MORE_DATA, part);
    done += part;
  }
  store<u32>(first, hashData(data, <u32>length), Connection.EXTENSION_DATA_HASH);
  return true;
}

/** CONTROL still is 1 + a number. */
function giveController(connection: usize, high: u32): void {
  const reference = load<u32>(connection, Connection.CONTROL);
  if (reference === 0) return;
  const controller = at(reference - 1);
  if (reference > high || controller === connection || !isLinked(controller)) {
    store<u32>(connection, 0, Connection.CONTROL);
    return;
  }
  store<u32>(connection, <u32>controller, Connection.CONTROL);
  store<u32>(controller, load<u32>(controller, Connection.CONTROLLED) + 1, Connection.CONTROLLED);
}
