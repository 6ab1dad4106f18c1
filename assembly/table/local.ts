/**
 * Full NAT: a local address and port stand for the client. No two connections share local address and port, server
 * address and port, and protocol; towards different servers a port serves many times.
 *
 * The addresses are those configured on the port that leads to the server: the ones whose subnet the next hop is in,
 * and single ones (/32, /128); if there are none such, all of them.
 */
import * as Address from "../layout/address";
import * as Connection from "../layout/connection";
import * as Local from "../layout/local";
import * as Memory from "../layout/memory";
import * as Port from "../layout/port";
import * as Reason from "../layout/reason";
import * as Route from "../layout/route";
import { copy16, equal16, isZero16, swap16 } from "../wire/bytes";
import { isLinkLocal } from "../wire/ipv6";
import { cold, hashSide } from "./connection";
import { setWord, word } from "./memory";
import { covers6, findRoute, mask4 } from "./route";
import { findExact } from "./service";

const SERVER: usize = Memory.LAYOUT_BASE + Memory.LOCAL_SERVER;
const NO_PORT: u32 = 0;

/** A fresh address of our own may stand for clients. */
export function offerLocal(port: usize, record: usize): void {
  let at = port + Port.LOCALS;
  while (load<u32>(at) !== 0) at = <usize>load<u32>(at) + Address.NEXT_LOCAL;
  store<u32>(at, <u32>record);
  store<u32>(record, 0, Address.NEXT_LOCAL);
}

/** It may not any more; connections that have it keep it. */
export function withdrawLocal(port: usize, record: usize): void {
  let at = port + Port.LOCALS;
  while (load<u32>(at) !== 0) {
    if (<usize>load<u32>(at) === record) {
      store<u32>(at, load<u32>(record, Address.NEXT_LOCAL));
      return;
    }
    at = <usize>load<u32>(at) + Address.NEXT_LOCAL;
  }
}

/** The word that stands for a local address (its record) and port (raw) in a connection's cold half. */
export function localWord(record: usize, port: u32): u32 {
  return (<u32>(record - <usize>word(Memory.ADDRESSES_BASE)) / Address.SIZE) | (port << 16);
}

function recordOf(local: u32): usize {
  return <usize>word(Memory.ADDRESSES_BASE) + <usize>(local & 0xffff) * Address.SIZE;
}

/** The local address of a full NAT connection (16 bytes), and its port (raw). */
export function localAddress(connection: usize): usize {
  return recordOf(load<u32>(cold(connection), Connection.COLD_LOCAL)) + Address.ADDRESS;
}

export function localPort(connection: usize): u32 {
  return load<u32>(cold(connection), Connection.COLD_LOCAL) >> 16;
}

function at(index: u32): usize {
  return <usize>word(Memory.LOCALS_BASE) + <usize>index * Local.SIZE;
}

function bucket(record: usize, port: u32, protocol: u32): usize {
  let h = hashSide(<u32>record ^ load<u32>(SERVER), port, protocol);
  h = (h ^ load<u32>(SERVER, 4)) * 0x85ebca6b;
  h = (h ^ load<u32>(SERVER, 8) ^ (h >> 13)) * 0xc2b2ae35;
  h = (h ^ load<u32>(SERVER, 12) ^ (h >> 15)) * 0x27d4eb2f;
  return at(<u32>((<u64>h * <u64>word(Memory.LOCALS_CAPACITY)) >> 32)) + Local.BUCKET;
}

/** Puts the address of a connection's server into SERVER, 16 bytes. */
function readServer(connection: usize): void {
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_IPV6) !== 0) {
    copy16(SERVER, <usize>load<u32>(cold(connection), Connection.COLD_EXTENSION) + Connection.EXTENSION_SERVER);
    return;
  }
  store<u64>(SERVER, <u64>load<u32>(connection, Connection.SERVER_ADDRESS));
  store<u64>(SERVER, 0, 8);
}

/** The taken ports of a local address towards the server in SERVER, or 0. */
function find(record: usize, port: u32, protocol: u32): usize {
  let entry = <usize>load<u32>(bucket(record, port, protocol));
  while (entry !== 0) {
    if (
      <usize>load<u32>(entry, Local.ADDRESS) === record &&
      <u32>load<u16>(entry, Local.SERVER_PORT) === port &&
      <u32>load<u8>(entry, Local.PROTOCOL) === protocol &&
      equal16(entry + Local.SERVER_ADDRESS, SERVER)
    )
      return entry;
    entry = <usize>load<u32>(entry, Local.NEXT);
  }
  return 0;
}

/** The same, made when it is new; 0 when there is no room. A record that is given back has no bit set. */
function ensure(record: usize, port: u32, protocol: u32): usize {
  const found = find(record, port, protocol);
  if (found !== 0) return found;
  let entry = <usize>word(Memory.FREE_LOCAL);
  if (entry !== 0) {
    setWord(Memory.FREE_LOCAL, load<u32>(entry, Local.NEXT));
  } else {
    const high = word(Memory.LOCAL_HIGH);
    if (high === word(Memory.LOCALS_CAPACITY)) return 0;
    setWord(Memory.LOCAL_HIGH, high + 1);
    entry = at(high);
  }
  store<u32>(entry, 0, Local.COUNT);
  store<u32>(entry, <u32>record, Local.ADDRESS);
  store<u16>(entry, <u16>port, Local.SERVER_PORT);
  store<u8>(entry, <u8>protocol, Local.PROTOCOL);
  copy16(entry + Local.SERVER_ADDRESS, SERVER);
  const head = bucket(record, port, protocol);
  store<u32>(entry, load<u32>(head), Local.NEXT);
  store<u32>(head, <u32>entry);
  return entry;
}

function forget(entry: usize): void {
  copy16(SERVER, entry + Local.SERVER_ADDRESS);
  const record = <usize>load<u32>(entry, Local.ADDRESS);
  let link = bucket(record, <u32>load<u16>(entry, Local.SERVER_PORT), <u32>load<u8>(entry, Local.PROTOCOL));
  while (<usize>load<u32>(link) !== entry) link = <usize>load<u32>(link) + Local.NEXT;
  store<u32>(link, load<u32>(entry, Local.NEXT));
  store<u32>(entry, word(Memory.FREE_LOCAL), Local.NEXT);
  setWord(Memory.FREE_LOCAL, <u32>entry);
}

/** The first port from `from` up, then from the lowest, that is not taken; 0 when all are. Host order. */
function freePort(entry: usize, from: u32): u32 {
  const map = entry + Local.MAP;
  const first = <usize>(from >> 6);
  const above = load<u64>(map + (first << 3)) | (((<u64>1) << (<u64>(from & 63))) - 1);
  if (~above !== 0) return <u32>(first << 6) + <u32>ctz(~above);
  for (let i = first + 1; i < 1024; i++) {
    const taken = load<u64>(map + (i << 3));
    if (~taken !== 0) return <u32>(i << 6) + <u32>ctz(~taken);
  }
  for (let i: usize = Local.PORT_FIRST >> 6; i <= first; i++) {
    const taken = load<u64>(map + (i << 3));
    if (~taken !== 0) return <u32>(i << 6) + <u32>ctz(~taken);
  }
  return NO_PORT;
}

function isTaken(entry: usize, port: u32): bool {
  return ((<u32>load<u8>(entry + Local.MAP + <usize>(port >> 3)) >> (port & 7)) & 1) !== 0;
}

/** Whether a port (host order) of a local address is a virtual service's. */
function isService(record: usize, family: u32, protocol: u32, port: u32): bool {
  if ((load<u8>(record, Address.FLAGS) & Address.FLAG_VIRTUAL) === 0) return false;
  return findExact(family, protocol, record + Address.ADDRESS, swap16(port)) !== 0;
}

/** A free port (host order) of one local address: the client's own when it can be, else one that few can guess. */
function choosePort(record: usize, connection: usize, hash: u32): u32 {
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  const protocol = <u32>load<u8>(connection, Connection.PROTOCOL);
  const entry = ensure(record, <u32>load<u16>(connection, Connection.SERVER_PORT), protocol);
  if (entry === 0) return NO_PORT;
  const wanted = swap16(load<u16>(connection, Connection.CLIENT_PORT));
  let chosen = NO_PORT;
  if (wanted >= <u32>Local.PORT_FIRST && !isTaken(entry, wanted) && !isService(record, family, protocol, wanted)) {
    chosen = wanted;
  } else {
    const count: u32 = Local.PORT_LAST - Local.PORT_FIRST + 1;
    const start: u32 = Local.PORT_FIRST + <u32>((<u64>hash * <u64>count) >> 32);
    let from: u32 = start;
    let lapped = false;
    for (;;) {
      const port = freePort(entry, from);
      if (port === NO_PORT) break;
      if (port < from) lapped = true;
      // Past the start again: all that is free belongs to services.
      if (lapped && port >= start) break;
      if (!isService(record, family, protocol, port)) {
        chosen = port;
        break;
      }
      if (port === <u32>Local.PORT_LAST) {
        if (lapped) break;
        lapped = true;
      }
      from = port === <u32>Local.PORT_LAST ? Local.PORT_FIRST : port + 1;
    }
  }
  if (chosen === NO_PORT) {
    if (load<u32>(entry, Local.COUNT) === 0) forget(entry);
    return NO_PORT;
  }
  take(entry, chosen);
  return chosen;
}

/** Whether an address may stand for clients towards a next hop; `near`: it must be in the next hop's subnet, or single. */
function isEligible(record: usize, family: u32, hop: usize, near: bool): bool {
  if (<u32>load<u8>(record, Address.FAMILY) !== family) return false;
  const address = record + Address.ADDRESS;
  if (family === 6 && isLinkLocal(address)) return false;
  if (!near) return true;
  const prefix = <u32>load<u8>(record, Address.PREFIX);
  if (family === 4) return prefix === 32 || ((load<u32>(address) ^ load<u32>(hop)) & mask4(prefix)) === 0;
  return prefix === 128 || covers6(address, hop, prefix);
}

function countEligible(port: usize, family: u32, hop: usize, near: bool): u32 {
  let count: u32 = 0;
  for (let record = <usize>load<u32>(port, Port.LOCALS); record !== 0; ) {
    if (isEligible(record, family, hop, near)) count++;
    record = <usize>load<u32>(record, Address.NEXT_LOCAL);
  }
  return count;
}

/**
 * Gives a full NAT connection, whose addresses and ports are set, a local address and port. 0, or the reason why there
 * is none.
 */
export function takeLocal(connection: usize): u32 {
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  readServer(connection);
  const route = findRoute(family, SERVER);
  if (route === 0) return Reason.NO_ROUTE;
  const port = <usize>load<u32>(route, Route.PORT);
  const hop = isZero16(route + Route.GATEWAY) ? SERVER : route + Route.GATEWAY;
  let near = true;
  let count = countEligible(port, family, hop, true);
  if (count === 0) {
    near = false;
    count = countEligible(port, family, hop, false);
    if (count === 0) return Reason.LOCAL_ADDRESS_MISSING;
  }
  const hash = hashSide(
    load<u32>(connection, Connection.CLIENT_ADDRESS),
    <u32>load<u16>(connection, Connection.CLIENT_PORT),
    load<u32>(connection, Connection.VIRTUAL_ADDRESS) ^ <u32>load<u16>(connection, Connection.VIRTUAL_PORT),
  );
  // The addresses take turns by client; one that is full passes the turn on.
  const first = <u32>((<u64>(hash * 0x9e3779b1) * <u64>count) >> 32);
  for (let round = 0; round < 2; round++) {
    let place: u32 = 0;
    for (let record = <usize>load<u32>(port, Port.LOCALS); record !== 0; ) {
      if (isEligible(record, family, hop, near)) {
        if (round === 0 ? place >= first : place < first) {
          const chosen = choosePort(record, connection, hash);
          if (chosen !== NO_PORT) {
            store<u32>(cold(connection), localWord(record, swap16(chosen)), Connection.COLD_LOCAL);
            store<u32>(record, load<u32>(record, Address.LOCALS) + 1, Address.LOCALS);
            setWord(Memory.FULL_NAT_COUNT, word(Memory.FULL_NAT_COUNT) + 1);
            return 0;
          }
          readServer(connection);
        }
        place++;
      }
      record = <usize>load<u32>(record, Address.NEXT_LOCAL);
    }
  }
  return Reason.LOCAL_PORTS_EXHAUSTED;
}

/** A connection that is older than this memory has this local address and port (raw) again. False: it cannot. */
export function keepLocal(connection: usize, record: usize, portRaw: u32): bool {
  const port = swap16(portRaw);
  readServer(connection);
  const entry = ensure(
    record,
    <u32>load<u16>(connection, Connection.SERVER_PORT),
    <u32>load<u8>(connection, Connection.PROTOCOL),
  );
  if (entry === 0) return false;
  if (port < <u32>Local.PORT_FIRST || isTaken(entry, port)) {
    if (load<u32>(entry, Local.COUNT) === 0) forget(entry);
    return false;
  }
  take(entry, port);
  store<u32>(cold(connection), localWord(record, portRaw), Connection.COLD_LOCAL);
  store<u32>(record, load<u32>(record, Address.LOCALS) + 1, Address.LOCALS);
  setWord(Memory.FULL_NAT_COUNT, word(Memory.FULL_NAT_COUNT) + 1);
  return true;
}

function take(entry: usize, port: u32): void {
  const byte = entry + Local.MAP + <usize>(port >> 3);
  store<u8>(byte, <u8>(<u32>load<u8>(byte) | ((<u32>1) << (port & 7))));
  store<u32>(entry, load<u32>(entry, Local.COUNT) + 1, Local.COUNT);
}

/** The connection ends: its port is free for another one. */
export function giveLocal(connection: usize): void {
  const local = load<u32>(cold(connection), Connection.COLD_LOCAL);
  if (local === 0) return;
  const record = recordOf(local);
  const port = swap16(local >> 16);
  readServer(connection);
  const entry = find(
    record,
    <u32>load<u16>(connection, Connection.SERVER_PORT),
    <u32>load<u8>(connection, Connection.PROTOCOL),
  );
  store<u32>(cold(connection), 0, Connection.COLD_LOCAL);
  setWord(Memory.FULL_NAT_COUNT, word(Memory.FULL_NAT_COUNT) - 1);
  const byte = entry + Local.MAP + <usize>(port >> 3);
  store<u8>(byte, <u8>(<u32>load<u8>(byte) & ~((<u32>1) << (port & 7))));
  const count = load<u32>(entry, Local.COUNT) - 1;
  store<u32>(entry, count, Local.COUNT);
  if (count === 0) forget(entry);
  const users = load<u32>(record, Address.LOCALS) - 1;
  store<u32>(record, users, Address.LOCALS);
  if (users === 0 && (load<u8>(record, Address.FAMILY) & Address.RETIRED) !== 0)
    store<u8>(record, Address.DELETED, Address.FAMILY);
}
