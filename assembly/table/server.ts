/** Real servers: their lists, the removed ones that connections still hold, and the connections they count. */
import * as Connection from "../layout/connection";
import * as Forwarding from "../layout/forwarding";
import * as Memory from "../layout/memory";
import * as Server from "../layout/server";
import * as Service from "../layout/service";
import { copy16, equal16 } from "../wire/bytes";
import { now, reached, setWord, word } from "./memory";
import { startRates } from "./stats";

/**
 * Removed servers are looked at this often; one that is found without connections is forgotten when it still is so
 * REMEMBERED later. The kernel's times, in ticks.
 */
const TRASH_PERIOD: u32 = 60 * Memory.TICKS_PER_SECOND;
const REMEMBERED: u32 = 120 * Memory.TICKS_PER_SECOND;

export function allocateServer(): usize {
  let server = <usize>word(Memory.FREE_SERVER);
  if (server !== 0) {
    setWord(Memory.FREE_SERVER, load<u32>(server, Server.NEXT));
  } else {
    const high = word(Memory.SERVER_HIGH);
    if (high === word(Memory.SERVERS_CAPACITY)) return 0;
    setWord(Memory.SERVER_HIGH, high + 1);
    server = <usize>word(Memory.SERVERS_BASE) + <usize>high * Server.SIZE;
  }
  memory.fill(server, 0, Server.SIZE);
  return server;
}

export function freeServer(server: usize): void {
  store<u8>(server, Server.STATE_FREE, Server.STATE);
  store<u32>(server, word(Memory.FREE_SERVER), Server.NEXT);
  setWord(Memory.FREE_SERVER, <u32>server);
}

/** The server of a service with this address (16 bytes) and port (raw), or 0. */
export function findServer(service: usize, family: u32, address: usize, port: u32): usize {
  let server = <usize>load<u32>(service, Service.SERVERS_HEAD);
  while (server !== 0) {
    if (
      <u32>load<u16>(server, Server.PORT) === port &&
      <u32>load<u8>(server, Server.FAMILY) === family &&
      equal16(server + Server.ADDRESS, address)
    )
      return server;
    server = <usize>load<u32>(server, Server.NEXT);
  }
  return 0;
}

export function appendServer(service: usize, server: usize): void {
  const tail = <usize>load<u32>(service, Service.SERVERS_TAIL);
  store<u32>(server, <u32>tail, Server.PREVIOUS);
  store<u32>(server, 0, Server.NEXT);
  if (tail !== 0) store<u32>(tail, <u32>server, Server.NEXT);
  else store<u32>(service, <u32>server, Service.SERVERS_HEAD);
  store<u32>(service, <u32>server, Service.SERVERS_TAIL);
  store<u32>(service, load<u32>(service, Service.SERVER_COUNT) + 1, Service.SERVER_COUNT);
  store<u8>(server, Server.STATE_LIVE, Server.STATE);
  store<u32>(server, <u32>service, Server.SERVICE);
}

export function detachServer(service: usize, server: usize): void {
  const next = <usize>load<u32>(server, Server.NEXT);
  const previous = <usize>load<u32>(server, Server.PREVIOUS);
  if (previous !== 0) store<u32>(previous, <u32>next, Server.NEXT);
  else store<u32>(service, <u32>next, Service.SERVERS_HEAD);
  if (next !== 0) store<u32>(next, <u32>previous, Server.PREVIOUS);
  else store<u32>(service, <u32>previous, Service.SERVERS_TAIL);
  store<u32>(service, load<u32>(service, Service.SERVER_COUNT) - 1, Service.SERVER_COUNT);
}

/** A detached server goes to the removed ones, where connections still find it and re-adding finds it again. */
export function retire(server: usize): void {
  store<u8>(server, Server.STATE_REMOVED, Server.STATE);
  store<u32>(server, load<u32>(server, Server.FLAGS) & ~Server.FLAG_AVAILABLE, Server.FLAGS);
  store<u32>(server, 0, Server.QUIESCED_SINCE);
  if (word(Memory.TRASH_HEAD) === 0) setWord(Memory.TRASH_TICK, now() + TRASH_PERIOD);
  const head = <usize>word(Memory.TRASH_HEAD);
  store<u32>(server, <u32>head, Server.NEXT);
  store<u32>(server, 0, Server.PREVIOUS);
  if (head !== 0) store<u32>(head, <u32>server, Server.PREVIOUS);
  setWord(Memory.TRASH_HEAD, <u32>server);
}

/** A service goes: removed servers forget it, whose record another one may get. */
export function disown(service: usize): void {
  let server = <usize>word(Memory.TRASH_HEAD);
  while (server !== 0) {
    if (<usize>load<u32>(server, Server.SERVICE) === service) {
      store<u32>(server, 0, Server.SERVICE);
      store<u8>(server, Server.FAILURE_NONE, Server.FAILURE);
    }
    server = <usize>load<u32>(server, Server.NEXT);
  }
}

function takeRetired(server: usize): void {
  const next = <usize>load<u32>(server, Server.NEXT);
  const previous = <usize>load<u32>(server, Server.PREVIOUS);
  if (previous !== 0) store<u32>(previous, <u32>next, Server.NEXT);
  else setWord(Memory.TRASH_HEAD, <u32>next);
  if (next !== 0) store<u32>(next, <u32>previous, Server.PREVIOUS);
}

/** A removed server of this identity that had belonged to a service of that identity, taken back, or 0. */
export function reclaim(service: usize, family: u32, address: usize, port: u32): usize {
  let server = <usize>word(Memory.TRASH_HEAD);
  while (server !== 0) {
    if (
      <u32>load<u16>(server, Server.PORT) === port &&
      <u32>load<u8>(server, Server.FAMILY) === family &&
      equal16(server + Server.ADDRESS, address) &&
      belonged(server, service)
    ) {
      takeRetired(server);
      return server;
    }
    server = <usize>load<u32>(server, Server.NEXT);
  }
  return 0;
}

/** Whether a server was added to a service of this identity. */
function belonged(server: usize, service: usize): bool {
  if (
    load<u32>(server, Server.VIRTUAL_MARK) !== load<u32>(service, Service.MARK) ||
    load<u8>(server, Server.PROTOCOL) !== load<u8>(service, Service.PROTOCOL) ||
    load<u8>(server, Server.SERVICE_FAMILY) !== load<u8>(service, Service.FAMILY)
  )
    return false;
  return (
    load<u32>(service, Service.MARK) !== 0 ||
    (load<u16>(server, Server.VIRTUAL_PORT) === load<u16>(service, Service.PORT) &&
      equal16(server + Server.VIRTUAL_ADDRESS, service + Service.ADDRESS))
  );
}

/** Stamps the identity of the service into a server; a server that comes from another service starts from zero. */
export function bindToService(server: usize, service: usize): void {
  store<u8>(server, load<u8>(service, Service.PROTOCOL), Server.PROTOCOL);
  store<u8>(server, load<u8>(service, Service.FAMILY), Server.SERVICE_FAMILY);
  store<u32>(server, load<u32>(service, Service.MARK), Server.VIRTUAL_MARK);
  store<u16>(server, load<u16>(service, Service.PORT), Server.VIRTUAL_PORT);
  copy16(server + Server.VIRTUAL_ADDRESS, service + Service.ADDRESS);
  if (<usize>load<u32>(server, Server.SERVICE) !== service) {
    memory.fill(server + Server.STATS, 0, 40);
    memory.fill(server + Server.REFUSED, 0, 16);
    startRates(server + Server.STATS, server + Server.RATES);
  }
}

/** Forgets removed servers that nothing holds any more. */
export function forgetRetired(): void {
  if (word(Memory.TRASH_HEAD) === 0 || !reached(now(), word(Memory.TRASH_TICK))) return;
  setWord(Memory.TRASH_TICK, now() + TRASH_PERIOD);
  let server = <usize>word(Memory.TRASH_HEAD);
  while (server !== 0) {
    const next = <usize>load<u32>(server, Server.NEXT);
    const idleSince = load<u32>(server, Server.QUIESCED_SINCE);
    if (load<u32>(server, Server.REFERENCES) === 0) {
      if (idleSince === 0) {
        store<u32>(server, now() | 1, Server.QUIESCED_SINCE);
      } else if (<i32>(now() - idleSince - REMEMBERED) >= 0) {
        takeRetired(server);
        freeServer(server);
      }
    }
    server = next;
  }
}

function totalConnections(server: usize): u32 {
  return load<u32>(server, Server.ACTIVE) + load<u32>(server, Server.INACTIVE);
}

function setFlag(server: usize, flag: u32, on: bool): void {
  const flags = load<u32>(server, Server.FLAGS);
  store<u32>(server, on ? flags | flag : flags & ~flag, Server.FLAGS);
}

/**
 * A connection or template joins a server: method and counters. New connections start inactive.
 * Kernel: the upper threshold is looked at here alone.
 */
export function bindConnection(connection: usize, server: usize): void {
  const method = load<u32>(server, Server.FORWARDING);
  let flags = load<u32>(connection, Connection.FLAGS);
  if (method === Forwarding.FULL_NAT) flags |= Forwarding.NAT | Connection.FLAG_FULL_NAT;
  else flags |= method;
  flags |= Connection.FLAG_INACTIVE | Connection.FLAG_COUNTED;
  if (method !== Forwarding.NAT && method !== Forwarding.FULL_NAT) flags |= Connection.FLAG_NO_OUTPUT;
  store<u32>(connection, flags, Connection.FLAGS);
  store<u32>(connection, <u32>server, Connection.SERVER);
  store<u32>(server, load<u32>(server, Server.REFERENCES) + 1, Server.REFERENCES);
  if ((flags & Connection.FLAG_TEMPLATE) !== 0) {
    store<u32>(server, load<u32>(server, Server.PERSISTENT) + 1, Server.PERSISTENT);
  } else {
    store<u32>(server, load<u32>(server, Server.INACTIVE) + 1, Server.INACTIVE);
  }
  const upper = load<u32>(server, Server.UPPER);
  if (upper !== 0 && totalConnections(server) >= upper) setFlag(server, Server.FLAG_OVERLOAD, true);
}

/** A connection that is older than this memory counts for its server again, as it did: its flags say how. */
export function rebindConnection(connection: usize, server: usize): void {
  const flags = load<u32>(connection, Connection.FLAGS);
  let counter: usize = Server.ACTIVE;
  if ((flags & Connection.FLAG_TEMPLATE) !== 0) counter = Server.PERSISTENT;
  else if ((flags & Connection.FLAG_INACTIVE) !== 0) counter = Server.INACTIVE;
  store<u32>(server + counter, load<u32>(server + counter) + 1);
  store<u32>(server, load<u32>(server, Server.REFERENCES) + 1, Server.REFERENCES);
  store<u32>(connection, <u32>server, Connection.SERVER);
  const upper = load<u32>(server, Server.UPPER);
  if (upper !== 0 && totalConnections(server) >= upper) setFlag(server, Server.FLAG_OVERLOAD, true);
}

export function unbindConnection(connection: usize): void {
  const server = <usize>load<u32>(connection, Connection.SERVER);
  if (server === 0) return;
  const flags = load<u32>(connection, Connection.FLAGS);
  if ((flags & Connection.FLAG_TEMPLATE) !== 0) {
    store<u32>(server, load<u32>(server, Server.PERSISTENT) - 1, Server.PERSISTENT);
  } else if ((flags & Connection.FLAG_INACTIVE) !== 0) {
    store<u32>(server, load<u32>(server, Server.INACTIVE) - 1, Server.INACTIVE);
  } else {
    store<u32>(server, load<u32>(server, Server.ACTIVE) - 1, Server.ACTIVE);
  }
  store<u32>(server, load<u32>(server, Server.REFERENCES) - 1, Server.REFERENCES);
  store<u32>(connection, 0, Connection.SERVER);
  const lower = load<u32>(server, Server.LOWER);
  const upper = load<u32>(server, Server.UPPER);
  const total = totalConnections(server);
  if (lower !== 0) {
    if (total < lower) setFlag(server, Server.FLAG_OVERLOAD, false);
  } else if (upper !== 0) {
    if (<u64>total * 4 < <u64>upper * 3) setFlag(server, Server.FLAG_OVERLOAD, false);
  } else {
    setFlag(server, Server.FLAG_OVERLOAD, false);
  }
}

/** The service of a connection's server, or 0. */
export function serviceOf(connection: usize): usize {
  const server = <usize>load<u32>(connection, Connection.SERVER);
  return server === 0 ? 0 : <usize>load<u32>(server, Server.SERVICE);
}

/** A connection of its server's service begins (1) or ends (-1) to be half open. */
export function countHalfOpen(connection: usize, by: i32): void {
  const service = serviceOf(connection);
  if (service === 0) return;
  const held = load<u32>(service, Service.EMBRYONIC);
  // A server may come back to another service than the one that its connections were counted at.
  if (by > 0 || held !== 0) store<u32>(service, held + <u32>by, Service.EMBRYONIC);
}

/** A handshake of its service was completed. */
export function countHandshake(connection: usize): void {
  const service = serviceOf(connection);
  if (service !== 0) store<u32>(service, load<u32>(service, Service.HANDSHAKES) + 1, Service.HANDSHAKES);
}

/** Moves a connection between the server's active and inactive ones. */
export function setActive(connection: usize, active: bool): void {
  const server = <usize>load<u32>(connection, Connection.SERVER);
  const flags = load<u32>(connection, Connection.FLAGS);
  if (server === 0 || active === ((flags & Connection.FLAG_INACTIVE) === 0)) return;
  const step: u32 = active ? 1 : -1;
  store<u32>(server, load<u32>(server, Server.ACTIVE) + step, Server.ACTIVE);
  store<u32>(server, load<u32>(server, Server.INACTIVE) - step, Server.INACTIVE);
  store<u32>(
    connection,
    active ? flags & ~Connection.FLAG_INACTIVE : flags | Connection.FLAG_INACTIVE,
    Connection.FLAGS,
  );
}
