/**
 * The tables as entries of layout/snapshot, a bounded slice at a time: what a call writes into the STATE region is how
 * things are in the one moment for which it holds the lock. Nothing read here is trusted: a table that a trap left half
 * changed must still give entries that can be read.
 */
import * as Address from "./layout/address";
import * as Connection from "./layout/connection";
import * as Counters from "./layout/counters";
import * as Memory from "./layout/memory";
import * as Neighbour from "./layout/neighbour";
import * as Port from "./layout/port";
import * as Scheduler from "./layout/scheduler";
import * as State from "./layout/scheduler-state";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Snapshot from "./layout/snapshot";
import * as Stats from "./layout/stats";
import * as Table from "./table/connection";
import { now, setWord, word } from "./table/memory";

/** Records written by one call, at most: some tens of microseconds. */
const WRITTEN: u32 = 128;
/** Records looked at by one call. */
const LOOKED: u32 = 1024;
/** Words of CHANGED looked at by one call. */
const WORDS: u32 = 4096;
/** Result of a call that came to the end of its table. */
const END: u32 = 0xffffffff;
const CURRENT = Service.SCHEDULER_STATE + State.CURRENT;
const BEFORE = Service.SCHEDULER_STATE + State.BEFORE;

function buffer(): usize {
  return <usize>word(Memory.STATE_BASE);
}

function begin(): usize {
  setWord(Memory.STATE_LENGTH, 0);
  return buffer();
}

function finish(at: usize): void {
  setWord(Memory.STATE_LENGTH, <u32>(at - buffer()));
}

function head(at: usize, kind: u32, length: u32, index: u32, extra: u32): usize {
  store<u32>(at, kind, Snapshot.KIND);
  store<u32>(at, length, Snapshot.LENGTH);
  store<u32>(at, index, Snapshot.INDEX);
  store<u32>(at, extra, Snapshot.EXTRA);
  return at + Snapshot.HEAD;
}

function hasRoom(at: usize): bool {
  return at - buffer() <= <usize>(Snapshot.BUFFER_SIZE - Snapshot.CONNECTION_MOST);
}

/** 1 + number of the record that a reference of a table is to; 0 for what is none. */
function numberOf(reference: u32, base: u32, size: u32, capacity: u32): u32 {
  if (reference < base) return 0;
  const number = (reference - base) / size;
  return number < capacity && base + number * size === reference ? number + 1 : 0;
}

function serverNumber(reference: u32): u32 {
  return numberOf(reference, word(Memory.SERVERS_BASE), Server.SIZE, word(Memory.SERVERS_CAPACITY));
}

/** Server records in use, from this number on. Returns where to go on, or END. */
export function snapshotServers(from: u32): u32 {
  let at = begin();
  const high = word(Memory.SERVER_HIGH);
  for (let written: u32 = 0; from < high && written < WRITTEN; from++) {
    const server = <usize>word(Memory.SERVERS_BASE) + <usize>from * Server.SIZE;
    if (load<u8>(server, Server.STATE) === Server.STATE_FREE) continue;
    const service = load<u8>(server, Server.STATE) === Server.STATE_LIVE ? load<u32>(server, Server.SERVICE) : 0;
    const base = word(Memory.SERVICES_BASE);
    const body = head(
      at,
      Snapshot.SERVER,
      Snapshot.HEAD + Server.SIZE,
      from,
      numberOf(service, base, Service.SIZE, word(Memory.SERVICES_CAPACITY)),
    );
    memory.copy(body, server, Server.SIZE);
    relative(body + Server.QUIESCED_SINCE);
    relative(body + Server.PATH_MTU_UNTIL);
    at = body + Server.SIZE;
    written++;
  }
  finish(at);
  return from < high ? from : END;
}

/** A point in time becomes ticks from now, or to it; none (0) stays none. */
function relative(at: usize): void {
  if (load<u32>(at) !== 0) store<u32>(at, (load<u32>(at) - now()) | 1);
}

/** Service records in use, likewise. */
export function snapshotServices(from: u32): u32 {
  let at = begin();
  const high = word(Memory.SERVICES_CAPACITY);
  let looked: u32 = 0;
  for (let written: u32 = 0; from < high && written < WRITTEN && looked < LOOKED; from++) {
    const service = <usize>word(Memory.SERVICES_BASE) + <usize>from * Service.SIZE;
    looked++;
    if (load<u8>(service, Service.STATE) === 0) continue;
    const body = head(at, Snapshot.SERVICE, Snapshot.HEAD + Service.SIZE, from, 0);
    memory.copy(body, service, Service.SIZE);
    const scheduler = <i32>load<u8>(service, Service.SCHEDULER);
    if (scheduler === Scheduler.RR || scheduler === Scheduler.WRR) {
      store<u32>(body, serverNumber(load<u32>(body, CURRENT)), CURRENT);
      if (scheduler === Scheduler.RR) store<u32>(body, 0, BEFORE);
    }
    at = body + Service.SIZE;
    written++;
  }
  finish(at);
  return from < high ? from : END;
}

/** Addresses that stand for clients, or may, likewise; and the totals with the first of them. */
export function snapshotAddresses(from: u32): u32 {
  let at = begin();
  if (from === 0) {
    const body = head(at, Snapshot.TOTALS, Snapshot.HEAD + Stats.SIZE + Stats.RATES_SIZE, 0, 0);
    memory.copy(body, <usize>word(Memory.COUNTERS_BASE) + Counters.STATS, Stats.SIZE);
    memory.copy(body + Stats.SIZE, <usize>word(Memory.COUNTERS_BASE) + Counters.RATES, Stats.RATES_SIZE);
    at = body + Stats.SIZE + Stats.RATES_SIZE;
  }
  const high = word(Memory.ADDRESSES_CAPACITY);
  let looked: u32 = 0;
  for (let written: u32 = 0; from < high && written < WRITTEN && looked < LOOKED; from++) {
    const address = <usize>word(Memory.ADDRESSES_BASE) + <usize>from * Address.SIZE;
    looked++;
    const own = (load<u8>(address, Address.FLAGS) & Address.FLAG_OWN) !== 0;
    if (!own && load<u32>(address, Address.LOCALS) === 0) continue;
    const body = head(at, Snapshot.ADDRESS, Snapshot.HEAD + Address.SIZE, from, 0);
    memory.copy(body, address, Address.SIZE);
    at = body + Address.SIZE;
    written++;
  }
  finish(at);
  return from < high ? from : END;
}

/** Neighbours that have answered, likewise; and what cookies are made with, with the first of them. */
export function snapshotNeighbours(from: u32): u32 {
  let at = begin();
  if (from === 0 && word(Memory.COOKIE_EPOCH) !== 0) {
    const body = head(at, Snapshot.COOKIES, Snapshot.HEAD + Snapshot.COOKIES_SIZE, 0, 0);
    memory.copy(body, Memory.LAYOUT_BASE + Memory.COOKIE_SECRET, 48);
    store<u32>(body, word(Memory.COOKIE_DUE) - now(), 48);
    store<u32>(body, word(Memory.COOKIE_EPOCH), 52);
    at = body + Snapshot.COOKIES_SIZE;
  }
  const high = word(Memory.NEIGHBOUR_HIGH);
  let looked: u32 = 0;
  for (let written: u32 = 0; from < high && written < WRITTEN && looked < LOOKED; from++) {
    const neighbour = <usize>word(Memory.NEIGHBOURS_BASE) + <usize>from * Neighbour.SIZE;
    looked++;
    const state = <i32>load<u8>(neighbour, Neighbour.STATE);
    // What is permanent is configured.
    if (state < Neighbour.STATE_REACHABLE || state > Neighbour.STATE_PROBE) continue;
    const port = <usize>load<u32>(neighbour, Neighbour.PORT);
    const body = head(at, Snapshot.NEIGHBOUR, Snapshot.HEAD + Neighbour.SIZE, from, load<u32>(port, Port.NUMBER));
    memory.fill(body, 0, Neighbour.SIZE);
    store<u8>(body, load<u8>(neighbour, Neighbour.FAMILY), Neighbour.FAMILY);
    memory.copy(body + Neighbour.MAC, neighbour + Neighbour.MAC, 6);
    memory.copy(body + Neighbour.ADDRESS, neighbour + Neighbour.ADDRESS, 16);
    at = body + Neighbour.SIZE;
    written++;
  }
  finish(at);
  return from < high ? from : END;
}

function at(number: u32): usize {
  return <usize>word(Memory.CONNECTIONS_BASE) + ((<usize>number) << 6);
}

/** What is found by lookups outlives a director; what is made for one packet does not. */
function isKept(connection: usize): bool {
  const kept: u32 = Connection.FLAG_USED | Connection.FLAG_HASHED;
  const flags = load<u32>(connection, Connection.FLAGS);
  return (flags & kept) === kept && (flags & Connection.FLAG_ONE_PACKET) === 0;
}

function isExtension(more: u32): bool {
  const base = word(Memory.EXTENSIONS_BASE);
  return numberOf(more, base, Connection.EXTENSION_SIZE, word(Memory.EXTENSION_HIGH)) !== 0;
}

/** Writes the connection of this number, or that it is gone. Returns where the next entry begins. */
function writeConnection(entry: usize, number: u32): usize {
  const connection = at(number);
  if (!isKept(connection)) return head(entry, Snapshot.GONE, Snapshot.HEAD, number, 0);
  const hot = entry + Snapshot.HEAD;
  const cold = hot + Connection.SIZE;
  memory.copy(hot, connection, Connection.SIZE);
  memory.copy(cold, Table.cold(connection), Connection.COLD_SIZE);
  let end = cold + Connection.COLD_SIZE;
  let count: u32 = 0;
  let more = load<u32>(cold, Connection.COLD_EXTENSION);
  while (count < <u32>Snapshot.EXTENSIONS_MOST && isExtension(more)) {
    memory.copy(end, <usize>more, Connection.EXTENSION_SIZE);
    more = load<u32>(end, Connection.EXTENSION_MORE);
    store<u32>(end, 0, Connection.EXTENSION_MORE);
    end += Connection.EXTENSION_SIZE;
    count++;
  }
  store<u32>(hot, load<u32>(hot, Connection.EXPIRES) - now(), Connection.EXPIRES);
  store<u32>(hot, serverNumber(load<u32>(hot, Connection.SERVER)), Connection.SERVER);
  const base = word(Memory.CONNECTIONS_BASE);
  const control = numberOf(load<u32>(hot, Connection.CONTROL), base, Connection.SIZE, word(Memory.CONNECTION_HIGH));
  store<u32>(hot, control, Connection.CONTROL);
  store<u32>(cold, load<u32>(cold, Connection.COLD_SINCE) - now(), Connection.COLD_SINCE);
  head(entry, Snapshot.CONNECTION, <u32>(end - entry), number, count);
  return end;
}

/** Connections from this number on. Returns where to go on, or END. */
export function snapshotConnections(from: u32): u32 {
  let entry = begin();
  const high = word(Memory.CONNECTION_HIGH);
  let looked: u32 = 0;
  for (let written: u32 = 0; from < high && written < WRITTEN && looked < LOOKED && hasRoom(entry); from++) {
    looked++;
    if (!isKept(at(from))) continue;
    entry = writeConnection(entry, from);
    written++;
  }
  finish(entry);
  return from < high ? from : END;
}

/**
 * Connections that changed since they were last written; `from` counts words of 64. Returns where to go on, or END.
 */
export function snapshotChanged(from: u32): u32 {
  let entry = begin();
  const words = (word(Memory.CONNECTION_HIGH) + 63) >> 6;
  let looked: u32 = 0;
  let written: u32 = 0;
  for (; from < words && looked < WORDS; from++) {
    looked++;
    const place = <usize>word(Memory.CHANGED_BASE) + ((<usize>from) << 3);
    let bits = load<u64>(place);
    while (bits !== 0) {
      if (written === WRITTEN || !hasRoom(entry)) {
        store<u64>(place, bits);
        finish(entry);
        return from;
      }
      entry = writeConnection(entry, (from << 6) + <u32>ctz(bits));
      bits &= bits - 1;
      written++;
    }
    store<u64>(place, 0);
  }
  finish(entry);
  return from < words ? from : END;
}

/** When connections end, of those that were seen after tick `since`. Returns where to go on, or END. */
export function snapshotTimers(from: u32, since: u32): u32 {
  let entry = begin();
  const high = word(Memory.CONNECTION_HIGH);
  for (let looked: u32 = 0; from < high && looked < LOOKED; from++) {
    looked++;
    const connection = at(from);
    if (!isKept(connection)) continue;
    const expires = load<u32>(connection, Connection.EXPIRES);
    if (<i32>(expires - load<u32>(connection, Connection.TIMEOUT) - since) < 0) continue;
    entry = head(entry, Snapshot.TIMER, Snapshot.HEAD, from, expires - now());
  }
  finish(entry);
  return from < high ? from : END;
}

/** From now on changes are noted, or no longer. Nothing counts as changed yet. */
export function noteChanges(on: u32): void {
  setWord(Memory.NOTING, on);
}
