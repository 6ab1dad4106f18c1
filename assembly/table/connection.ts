/**
 * Connections: records, the index over their client's address and port, and their timers.
 *
 * One index entry serves both directions: what a client sends is found by its source, what comes back by its
 * destination. Only full NAT, where answers go to an address of the director, needs a second entry.
 */
import * as Connection from "../layout/connection";
import * as Index from "../layout/connection-index";
import * as Forwarding from "../layout/forwarding";
import * as Memory from "../layout/memory";
import { copy16, equal16 } from "../wire/bytes";
import { hashData, sameData } from "./engine-data";
import { now, setWord, word } from "./memory";

const LEVELS = 9;
const LEVEL_SLOTS = 64;
const NOWHERE = 0xffff;

/** The connection changed in what a snapshot keeps: made, ended, another state. (Its timer is looked at by itself.) */
export function noteChange(connection: usize): void {
  if (word(Memory.NOTING) === 0) return;
  const number = <u32>(connection - <usize>word(Memory.CONNECTIONS_BASE)) >> 6;
  const at = <usize>word(Memory.CHANGED_BASE) + <usize>(number >> 3);
  store<u8>(at, <u8>(<u32>load<u8>(at) | ((<u32>1) << (number & 7))));
}

/** Address of the cold half. */
export function cold(connection: usize): usize {
  return <usize>word(Memory.COLD_BASE) + ((connection - <usize>word(Memory.CONNECTIONS_BASE)) >> 2);
}

export function extension(connection: usize): usize {
  return <usize>load<u32>(cold(connection), Connection.COLD_EXTENSION);
}

/** 32 bits that stand for an IPv6 address in tuples; collisions are told apart by the extension. */
export function fold6(address: usize): u32 {
  let h = load<u32>(address) ^ word(Memory.SEED);
  h = (h ^ (h >> 15)) * 0x2c1b3c6d + load<u32>(address, 4);
  h = (h ^ (h >> 12)) * 0x297a2d39 + load<u32>(address, 8);
  h = (h ^ (h >> 15)) * 0x85ebca6b + load<u32>(address, 12);
  return h ^ (h >> 13);
}

/** Hash of one side of a tuple: address word (raw), port (raw) and protocol. Seeded: a client must not choose it. */
export function hashSide(address: u32, port: u32, protocol: u32): u32 {
  let h = address ^ word(Memory.SEED);
  h = (h ^ (h >> 16)) * 0x7feb352d;
  h ^= (port | (protocol << 16)) * 0x9e3779b1;
  h = (h ^ (h >> 15)) * 0x846ca68b;
  return h ^ (h >> 16);
}

export function tagOf(hash: u32): u32 {
  return (hash & 0x7f) | 0x80;
}

export function lineOf(hash: u32): usize {
  const lines = <u64>word(Memory.INDEX_CAPACITY);
  return <usize>word(Memory.INDEX_BASE) + ((<usize>((<u64>hash * lines) >> 32)) << 6);
}

export function nextLine(line: usize): usize {
  const next = line + Index.SIZE;
  const base = <usize>word(Memory.INDEX_BASE);
  return next === base + ((<usize>word(Memory.INDEX_CAPACITY)) << 6) ? base : next;
}

/** Entries of a line whose tag fits, one bit each. */
export function candidates(line: usize, tag: u32): u32 {
  return <u32>i8x16.bitmask(i8x16.eq(v128.load(line), i8x16.splat(<i8>tag))) & 0xfff;
}

/** The first reference of a line that fits the hash, or 0. */
export function firstReference(line: usize, hash: u32): u32 {
  const mask = candidates(line, tagOf(hash));
  return mask !== 0 ? load<u32>(line + ((<usize>ctz(mask)) << 2), Index.REFERENCES) : 0;
}

/** Brings the connection of a reference (0: none) into the cache. Returns what it read, so that the load stays. */
export function touch(reference: u32): u32 {
  return load<u32>(<usize>reference & ~1, Connection.FLAGS);
}

/** So many entries of one hash pass over its line at the most: far beyond what chance brings, far below a u16. */
const CROWD: u32 = 4096;

/**
 * Whether too many connections have this one's hash. Only a client's port 0 brings that about: packets from there never
 * find a connection of their own, so that each makes one.
 */
export function isCrowded(connection: usize): bool {
  return <u32>load<u16>(lineOf(sideHash(connection)), Index.OVERFLOW) >= CROWD;
}

/** Entry `reference` joins the index. */
function indexInsert(hash: u32, reference: u32): void {
  setWord(Memory.INDEX_CHANGED, 1);
  const tag = tagOf(hash);
  let line = lineOf(hash);
  while (true) {
    const free = candidates(line, 0);
    if (free !== 0) {
      const place = ctz(free);
      store<u8>(line + <usize>place, <u8>tag);
      store<u32>(line + ((<usize>place) << 2), reference, Index.REFERENCES);
      return;
    }
    store<u16>(line, <u16>(load<u16>(line, Index.OVERFLOW) + 1), Index.OVERFLOW);
    line = nextLine(line);
  }
}

function indexRemove(hash: u32, reference: u32): void {
  setWord(Memory.INDEX_CHANGED, 1);
  const tag = tagOf(hash);
  let line = lineOf(hash);
  let left = word(Memory.INDEX_CAPACITY);
  for (; left !== 0; left--) {
    let mask = candidates(line, tag);
    while (mask !== 0) {
      const place = ctz(mask);
      if (load<u32>(line + ((<usize>place) << 2), Index.REFERENCES) === reference) {
        store<u8>(line + <usize>place, 0);
        store<u32>(line + ((<usize>place) << 2), 0, Index.REFERENCES);
        return;
      }
      mask &= mask - 1;
    }
    store<u16>(line, <u16>(load<u16>(line, Index.OVERFLOW) - 1), Index.OVERFLOW);
    line = nextLine(line);
  }
}

/** Whether the IPv6 addresses of a connection are these; null pointers are not compared. */
function sameAddresses6(connection: usize, client: usize, virtual: usize, server: usize): bool {
  const more = extension(connection);
  return (
    (client === 0 || equal16(more + Connection.EXTENSION_CLIENT, client)) &&
    (virtual === 0 || equal16(more + Connection.EXTENSION_VIRTUAL, virtual)) &&
    (server === 0 || equal16(more + Connection.EXTENSION_SERVER, server))
  );
}

/**
 * The connection that a packet from a client belongs to, or 0. Address words and ports raw; `client6`, `virtual6`
 * point at IPv6 addresses, or are 0. `wanted` selects among flags NO_CLIENT_PORT and TEMPLATE: a template or a
 * connection without client port is only found by asking for it.
 */
export function findIn(
  hash: u32,
  client: u32,
  virtual: u32,
  clientPort: u32,
  virtualPort: u32,
  protocol: u32,
  client6: usize,
  virtual6: usize,
  wanted: u32,
): usize {
  const addresses = <u64>client | ((<u64>virtual) << 32);
  const ports = clientPort | (virtualPort << 16);
  const tag = tagOf(hash);
  let line = lineOf(hash);
  while (true) {
    let mask = candidates(line, tag);
    while (mask !== 0) {
      const connection = <usize>load<u32>(line + ((<usize>ctz(mask)) << 2), Index.REFERENCES);
      if (
        (connection & Index.REPLY) === 0 &&
        load<u64>(connection) === addresses &&
        load<u32>(connection, Connection.CLIENT_PORT) === ports &&
        <u32>load<u8>(connection, Connection.PROTOCOL) === protocol
      ) {
        const flags = load<u32>(connection, Connection.FLAGS);
        if ((flags & (Connection.FLAG_TEMPLATE | Connection.FLAG_NO_CLIENT_PORT)) === wanted) {
          const six = (flags & Connection.FLAG_IPV6) !== 0;
          if (six === (client6 !== 0) && (!six || sameAddresses6(connection, client6, virtual6, 0))) return connection;
        }
      }
      mask &= mask - 1;
    }
    if (load<u16>(line, Index.OVERFLOW) === 0) return 0;
    line = nextLine(line);
  }
}

/**
 * The connection that a packet to a client belongs to, or 0: from the real server (NAT), or from the virtual address
 * (where answers do not pass by here unless they come through all the same).
 */
export function findOut(
  hash: u32,
  source: u32,
  client: u32,
  sourcePort: u32,
  clientPort: u32,
  protocol: u32,
  source6: usize,
  client6: usize,
): usize {
  const tag = tagOf(hash);
  let line = lineOf(hash);
  while (true) {
    let mask = candidates(line, tag);
    while (mask !== 0) {
      const connection = <usize>load<u32>(line + ((<usize>ctz(mask)) << 2), Index.REFERENCES);
      mask &= mask - 1;
      if ((connection & Index.REPLY) !== 0) continue;
      if (
        load<u32>(connection, Connection.CLIENT_ADDRESS) !== client ||
        <u32>load<u16>(connection, Connection.CLIENT_PORT) !== clientPort ||
        <u32>load<u8>(connection, Connection.PROTOCOL) !== protocol
      )
        continue;
      const flags = load<u32>(connection, Connection.FLAGS);
      if ((flags & (Connection.FLAG_TEMPLATE | Connection.FLAG_FULL_NAT)) !== 0) continue;
      const six = (flags & Connection.FLAG_IPV6) !== 0;
      if (six !== (client6 !== 0)) continue;
      if ((flags & Connection.METHOD_MASK) === Forwarding.NAT) {
        if (
          load<u32>(connection, Connection.SERVER_ADDRESS) === source &&
          <u32>load<u16>(connection, Connection.SERVER_PORT) === sourcePort &&
          (!six || sameAddresses6(connection, client6, 0, source6))
        )
          return connection;
      } else if (
        load<u32>(connection, Connection.VIRTUAL_ADDRESS) === source &&
        <u32>load<u16>(connection, Connection.VIRTUAL_PORT) === sourcePort &&
        (!six || sameAddresses6(connection, client6, source6, 0))
      )
        return connection;
    }
    if (load<u16>(line, Index.OVERFLOW) === 0) return 0;
    line = nextLine(line);
  }
}

/** Full NAT: the connection with this server, whose local address and port (as COLD_LOCAL has them) are these. */
export function findReply(local: u32, source: u32, sourcePort: u32, protocol: u32, source6: usize): usize {
  const hash = localHash(local, protocol);
  const tag = tagOf(hash);
  let line = lineOf(hash);
  while (true) {
    let mask = candidates(line, tag);
    while (mask !== 0) {
      const reference = load<u32>(line + ((<usize>ctz(mask)) << 2), Index.REFERENCES);
      mask &= mask - 1;
      if ((reference & Index.REPLY) === 0) continue;
      const connection = <usize>(reference & ~Index.REPLY);
      if (
        load<u32>(connection, Connection.SERVER_ADDRESS) === source &&
        <u32>load<u16>(connection, Connection.SERVER_PORT) === sourcePort &&
        <u32>load<u8>(connection, Connection.PROTOCOL) === protocol &&
        load<u32>(cold(connection), Connection.COLD_LOCAL) === local &&
        (source6 === 0 || sameAddresses6(connection, 0, 0, source6))
      )
        return connection;
    }
    if (load<u16>(line, Index.OVERFLOW) === 0) return 0;
    line = nextLine(line);
  }
}

function localHash(local: u32, protocol: u32): u32 {
  return hashSide(local & 0xffff, local >> 16, protocol);
}

/** Hash of the local side of a full NAT connection: its word in the cold half names it wholly. */
function replyHash(connection: usize): u32 {
  return localHash(load<u32>(cold(connection), Connection.COLD_LOCAL), <u32>load<u8>(connection, Connection.PROTOCOL));
}

/** Whether a connection is found by what its server sends to a local address. A template never is. */
function hasReplySide(flags: u32): bool {
  return (flags & (Connection.FLAG_FULL_NAT | Connection.FLAG_TEMPLATE)) === Connection.FLAG_FULL_NAT;
}

function sideHash(connection: usize): u32 {
  const side = hashSide(
    load<u32>(connection, Connection.CLIENT_ADDRESS),
    <u32>load<u16>(connection, Connection.CLIENT_PORT),
    <u32>load<u8>(connection, Connection.PROTOCOL),
  );
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_ENGINE) === 0) return side;
  // The templates of one client are as many as it has calls.
  return side ^ load<u32>(extension(connection), Connection.EXTENSION_DATA_HASH);
}

/** The template that a persistence engine's data stand for, or 0. As findIn, with client port 0. */
export function findByData(
  client: u32,
  virtual: u32,
  virtualPort: u32,
  protocol: u32,
  client6: usize,
  virtual6: usize,
  data: usize,
  length: u32,
): usize {
  const addresses = <u64>client | ((<u64>virtual) << 32);
  const hash = hashSide(client, 0, protocol) ^ hashData(data, length);
  const tag = tagOf(hash);
  let line = lineOf(hash);
  while (true) {
    for (let mask = candidates(line, tag); mask !== 0; mask &= mask - 1) {
      const connection = <usize>load<u32>(line + ((<usize>ctz(mask)) << 2), Index.REFERENCES);
      if (
        (connection & Index.REPLY) !== 0 ||
        load<u64>(connection) !== addresses ||
        load<u32>(connection, Connection.CLIENT_PORT) !== virtualPort << 16 ||
        <u32>load<u8>(connection, Connection.PROTOCOL) !== protocol
      )
        continue;
      const flags = load<u32>(connection, Connection.FLAGS);
      if ((flags & Connection.FLAG_ENGINE) === 0) continue;
      const six = (flags & Connection.FLAG_IPV6) !== 0;
      if (six !== (client6 !== 0) || (six && !sameAddresses6(connection, client6, virtual6, 0))) continue;
      if (sameData(extension(connection), data, length)) return connection;
    }
    if (load<u16>(line, Index.OVERFLOW) === 0) return 0;
    line = nextLine(line);
  }
}

/** Puts a connection where lookups find it: one that is for one packet alone only by what its server answers. */
export function link(connection: usize): void {
  const flags = load<u32>(connection, Connection.FLAGS);
  if ((flags & Connection.FLAG_HASHED) !== 0) return;
  store<u32>(connection, flags | Connection.FLAG_HASHED, Connection.FLAGS);
  noteChange(connection);
  if ((flags & Connection.FLAG_ONE_PACKET) === 0) indexInsert(sideHash(connection), <u32>connection);
  if (hasReplySide(flags)) indexInsert(replyHash(connection), <u32>connection | Index.REPLY);
}

export function unlink(connection: usize): void {
  const flags = load<u32>(connection, Connection.FLAGS);
  if ((flags & Connection.FLAG_HASHED) === 0) return;
  store<u32>(connection, flags & ~Connection.FLAG_HASHED, Connection.FLAGS);
  if ((flags & Connection.FLAG_ONE_PACKET) === 0) indexRemove(sideHash(connection), <u32>connection);
  if (hasReplySide(flags)) indexRemove(replyHash(connection), <u32>connection | Index.REPLY);
}

/** A fresh zeroed record, or 0 when the table is full. */
export function allocate(): usize {
  let connection = <usize>word(Memory.FREE_CONNECTION);
  if (connection !== 0) {
    setWord(Memory.FREE_CONNECTION, load<u32>(connection, Connection.NEXT_FREE));
  } else {
    const high = word(Memory.CONNECTION_HIGH);
    if (high === word(Memory.CONNECTIONS_CAPACITY)) return 0;
    setWord(Memory.CONNECTION_HIGH, high + 1);
    connection = <usize>word(Memory.CONNECTIONS_BASE) + ((<usize>high) << 6);
  }
  memory.fill(connection, 0, Connection.SIZE);
  memory.fill(cold(connection), 0, Connection.COLD_SIZE);
  store<u32>(connection, Connection.FLAG_USED, Connection.FLAGS);
  store<u16>(connection, NOWHERE, Connection.WHEEL_SLOT);
  store<u32>(cold(connection), now(), Connection.COLD_SINCE);
  setWord(Memory.CONNECTION_COUNT, word(Memory.CONNECTION_COUNT) + 1);
  return connection;
}

/** One more extension, zeroed; 0 when there is none left. */
export function allocateExtension(): usize {
  let more = <usize>word(Memory.FREE_EXTENSION);
  if (more !== 0) {
    setWord(Memory.FREE_EXTENSION, load<u32>(more, Connection.EXTENSION_NEXT));
  } else {
    const high = word(Memory.EXTENSION_HIGH);
    if (high === word(Memory.EXTENSIONS_CAPACITY)) return 0;
    setWord(Memory.EXTENSION_HIGH, high + 1);
    more = <usize>word(Memory.EXTENSIONS_BASE) + <usize>high * Connection.EXTENSION_SIZE;
  }
  memory.fill(more, 0, Connection.EXTENSION_SIZE);
  setWord(Memory.EXTENSION_COUNT, word(Memory.EXTENSION_COUNT) + 1);
  return more;
}

export function freeExtensions(connection: usize): void {
  let more = extension(connection);
  while (more !== 0) {
    const next = <usize>load<u32>(more, Connection.EXTENSION_MORE);
    store<u32>(more, word(Memory.FREE_EXTENSION), Connection.EXTENSION_NEXT);
    setWord(Memory.FREE_EXTENSION, <u32>more);
    setWord(Memory.EXTENSION_COUNT, word(Memory.EXTENSION_COUNT) - 1);
    more = next;
  }
}

/** Gives an extension to a connection that has none; 0 when there is none left. */
export function extend(connection: usize): usize {
  let more = extension(connection);
  if (more !== 0) return more;
  more = allocateExtension();
  store<u32>(cold(connection), <u32>more, Connection.COLD_EXTENSION);
  return more;
}

/** From now on a template is found by an engine's data, at most 255 bytes. False when there is no room for them. */
export function setData(template: usize, data: usize, length: u32): bool {
  let more = extend(template);
  if (more === 0) return false;
  unlink(template);
  store<u8>(more, <u8>length, Connection.EXTENSION_DATA_LENGTH);
  store<u32>(more, hashData(data, length), Connection.EXTENSION_DATA_HASH);
  let left = <usize>length;
  let part = min<usize>(left, Connection.EXTENSION_DATA_SIZE);
  memory.copy(more + Connection.EXTENSION_DATA, data, part);
  for (left -= part; left !== 0; left -= part) {
    data += part;
    const next = allocateExtension();
    if (next === 0) return false;
    store<u32>(more, <u32>next, Connection.EXTENSION_MORE);
    more = next;
    part = min<usize>(left, Connection.EXTENSION_MORE_SIZE);
    memory.copy(more + Connection.EXTENSION_MORE_DATA, data, part);
  }
  store<u32>(template, load<u32>(template, Connection.FLAGS) | Connection.FLAG_ENGINE, Connection.FLAGS);
  link(template);
  return true;
}

/** Takes a connection out of index, wheel and table. Its server's counters are the caller's business. */
export function free(connection: usize): void {
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_HASHED) !== 0) noteChange(connection);
  unlink(connection);
  unschedule(connection);
  freeExtensions(connection);
  store<u32>(connection, 0, Connection.FLAGS);
  store<u32>(connection, word(Memory.FREE_CONNECTION), Connection.NEXT_FREE);
  setWord(Memory.FREE_CONNECTION, <u32>connection);
  setWord(Memory.CONNECTION_COUNT, word(Memory.CONNECTION_COUNT) - 1);
}

/** Stores IPv6 addresses in the extension and their folds in the record. False when no extension is left. */
export function setAddresses6(connection: usize, client: usize, virtual: usize, server: usize): bool {
  const more = extend(connection);
  if (more === 0) return false;
  copy16(more + Connection.EXTENSION_CLIENT, client);
  copy16(more + Connection.EXTENSION_VIRTUAL, virtual);
  copy16(more + Connection.EXTENSION_SERVER, server);
  store<u32>(connection, fold6(client), Connection.CLIENT_ADDRESS);
  store<u32>(connection, fold6(virtual), Connection.VIRTUAL_ADDRESS);
  store<u32>(connection, fold6(server), Connection.SERVER_ADDRESS);
  store<u32>(connection, load<u32>(connection, Connection.FLAGS) | Connection.FLAG_IPV6, Connection.FLAGS);
  return true;
}

/*
 * The timing wheel. Nine levels of 64 places, level n in steps of 8^n ticks, without cascading: a timer runs late by
 * at most an eighth of its length, as the kernel's do. A packet only moves EXPIRES; the wheel learns of it when it
 * comes by, unless the new end is earlier than the wheel's visit.
 */

function wheelHead(place: u32): usize {
  return <usize>word(Memory.WHEEL_BASE) + ((<usize>place) << 2);
}

function schedule(connection: usize, fire: u32): void {
  const clock = word(Memory.WHEEL_TICK);
  let delta = fire - clock;
  if (<i32>delta < 1) {
    delta = 1;
    fire = clock + 1;
  }
  let level: u32 = 0;
  while (level < <u32>(LEVELS - 1) && delta >= (<u32>63) << (level * 3)) level++;
  const shift = level * 3;
  const at = level === 0 ? fire : (fire + (1 << shift) - 1) >> shift;
  const place = level * LEVEL_SLOTS + (at & (LEVEL_SLOTS - 1));
  const head = wheelHead(place);
  const first = load<u32>(head);
  store<u32>(connection, first, Connection.WHEEL_NEXT);
  store<u32>(connection, 0, Connection.WHEEL_PREVIOUS);
  if (first !== 0) store<u32>(<usize>first, <u32>connection, Connection.WHEEL_PREVIOUS);
  store<u32>(head, <u32>connection);
  store<u16>(connection, <u16>place, Connection.WHEEL_SLOT);
  store<u32>(connection, fire, Connection.FIRE);
}

function unschedule(connection: usize): void {
  const place = <u32>load<u16>(connection, Connection.WHEEL_SLOT);
  if (place === NOWHERE) return;
  const next = <usize>load<u32>(connection, Connection.WHEEL_NEXT);
  const previous = <usize>load<u32>(connection, Connection.WHEEL_PREVIOUS);
  if (previous !== 0) store<u32>(previous, <u32>next, Connection.WHEEL_NEXT);
  else store<u32>(wheelHead(place), <u32>next);
  if (next !== 0) store<u32>(next, <u32>previous, Connection.WHEEL_PREVIOUS);
  store<u16>(connection, NOWHERE, Connection.WHEEL_SLOT);
}

/**
 * The record of this number, whose fields are set, goes on living where an earlier director left it: no lookup, no
 * timer knew of it here. Its timer runs until EXPIRES.
 */
export function resume(connection: usize): void {
  store<u16>(connection, NOWHERE, Connection.WHEEL_SLOT);
  link(connection);
  schedule(connection, load<u32>(connection, Connection.EXPIRES));
  setWord(Memory.CONNECTION_COUNT, word(Memory.CONNECTION_COUNT) + 1);
}

/** The other way round: the record stays, and nothing knows of it. */
export function suspend(connection: usize): void {
  unlink(connection);
  unschedule(connection);
  setWord(Memory.CONNECTION_COUNT, word(Memory.CONNECTION_COUNT) - 1);
}

/** Its end is moved to another time, be it sooner. */
export function endAt(connection: usize, expires: u32): void {
  store<u32>(connection, expires, Connection.EXPIRES);
  if (<i32>(expires - load<u32>(connection, Connection.FIRE)) >= 0) return;
  unschedule(connection);
  schedule(connection, expires);
}

/** Brings into the cache what resume() will write to. Returns what it read, so that the load stays. */
export function touchFree(connection: usize): u32 {
  return load<u32>(lineOf(sideHash(connection)));
}

/** A record that nothing knows of is free. */
export function abandon(connection: usize): void {
  freeExtensions(connection);
  store<u32>(cold(connection), 0, Connection.COLD_EXTENSION);
  store<u32>(connection, 0, Connection.FLAGS);
  store<u32>(connection, word(Memory.FREE_CONNECTION), Connection.NEXT_FREE);
  setWord(Memory.FREE_CONNECTION, <u32>connection);
}

/** The connection was seen: it lives for TIMEOUT from now on. */
export function restart(connection: usize): void {
  const expires = now() + load<u32>(connection, Connection.TIMEOUT);
  store<u32>(connection, expires, Connection.EXPIRES);
  if (load<u16>(connection, Connection.WHEEL_SLOT) === NOWHERE) {
    schedule(connection, expires);
  } else if (<i32>(expires - load<u32>(connection, Connection.FIRE)) < 0) {
    unschedule(connection);
    schedule(connection, expires);
  }
}

/**
 * The next connection whose end has come, taken off the wheel, or 0 when there is none now. Looks at no more than
 * `budget` entries; WHEEL_DUE then tells that there is more to do. WHEEL_LOOKED tells how many a found one took.
 */
export function nextExpired(budget: u32): usize {
  const present = now();
  let looked: u32 = 0;
  let clock = word(Memory.WHEEL_TICK);
  let level = word(Memory.WHEEL_LEVEL);
  setWord(Memory.WHEEL_DUE, 0);
  while (true) {
    // Places of this tick, from level 0 up as far as the tick divides.
    while (level < <u32>LEVELS && (level === 0 || (clock & ((1 << (level * 3)) - 1)) === 0)) {
      const head = wheelHead(level * LEVEL_SLOTS + ((clock >> (level * 3)) & (LEVEL_SLOTS - 1)));
      while (true) {
        const connection = <usize>load<u32>(head);
        if (connection === 0) break;
        if (looked++ === budget) {
          setWord(Memory.WHEEL_TICK, clock);
          setWord(Memory.WHEEL_LEVEL, level);
          setWord(Memory.WHEEL_DUE, 1);
          return 0;
        }
        unschedule(connection);
        if (<i32>(load<u32>(connection, Connection.EXPIRES) - present) > 0) {
          setWord(Memory.WHEEL_TICK, clock);
          schedule(connection, load<u32>(connection, Connection.EXPIRES));
        } else {
          setWord(Memory.WHEEL_TICK, clock);
          setWord(Memory.WHEEL_LEVEL, level);
          setWord(Memory.WHEEL_LOOKED, looked);
          return connection;
        }
      }
      level++;
    }
    if (clock === present) {
      setWord(Memory.WHEEL_TICK, clock);
      setWord(Memory.WHEEL_LEVEL, LEVELS);
      return 0;
    }
    clock++;
    level = 0;
  }
}

/** Starts the wheel at a tick. */
export function startWheel(tick: u32): void {
  memory.fill(<usize>word(Memory.WHEEL_BASE), 0, LEVELS * LEVEL_SLOTS * 4);
  setWord(Memory.WHEEL_TICK, tick);
  setWord(Memory.WHEEL_LEVEL, LEVELS);
}

/**
 * Of the connections that end soonest, one that can be spared when the table is full; 0 when the first few dozen are
 * all worth keeping. `isSpare` is by state: see protocol/index.
 */
export function soonest(cursor: u32): usize {
  const places: u32 = LEVEL_SLOTS * 5;
  const clock = word(Memory.WHEEL_TICK);
  for (let i = cursor; i < places; i++) {
    const level = i / LEVEL_SLOTS;
    const at = (clock >> (level * 3)) + 1 + (i & (LEVEL_SLOTS - 1));
    const first = load<u32>(wheelHead(level * LEVEL_SLOTS + (at & (LEVEL_SLOTS - 1))));
    if (first !== 0) {
      setWord(Memory.EVICT_CURSOR, i);
      return <usize>first;
    }
  }
  return 0;
}
