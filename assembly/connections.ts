/** The life of a connection: made, ended, pushed out when the table is full. Each of these happens here alone. */
import * as Connection from "./layout/connection";
import * as Counters from "./layout/counters";
import * as Memory from "./layout/memory";
import * as Protocol from "./layout/protocol";
import * as Reason from "./layout/reason";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Source from "./layout/source";
import * as State from "./layout/state";
import { control, release } from "./protocol/control";
import { isSpare } from "./protocol/tcp";
import { isUnanswered } from "./protocol/udp";
import * as Table from "./table/connection";
import { giveLocal, takeLocal } from "./table/local";
import { count, now, reached, setWord, word } from "./table/memory";
import { noteSilence } from "./table/outcome";
import { bindConnection, countHalfOpen, serviceOf, unbindConnection } from "./table/server";
import { FTP_PORT } from "./table/service";
import { ensureSource, findSource, keyAtServer } from "./table/source";
import { noteCreated, noteEnded } from "./trace";
import { copy16 } from "./wire/bytes";

/** What a new connection lives for until its protocol says otherwise, as in the kernel. */
const INITIAL: u32 = 3 * Memory.TICKS_PER_SECOND;
/** A controller that still controls others is looked at again after this. */
const LATER: u32 = 60 * Memory.TICKS_PER_SECOND;
/** How many timers one breath looks at. */
const BUDGET: u32 = 512;
/** Methods other than NAT, full NAT, and templates. */
const NOT_FOLLOWED: u32 = Connection.METHOD_MASK | Connection.FLAG_FULL_NAT | Connection.FLAG_TEMPLATE;

/**
 * A new connection or template, bound to its server and found by lookups from now on; 0 when there is no room.
 * (REFUSAL in the header says of what). Addresses are pointers (4 or 16 bytes), ports raw. A one-packet connection is
 * not found by what its client sends.
 */
export function create(
  family: u32,
  protocol: u32,
  client: usize,
  clientPort: u32,
  virtual: usize,
  virtualPort: u32,
  serverAddress: usize,
  serverPort: u32,
  flags: u32,
  server: usize,
  mark: u32,
): usize {
  setWord(Memory.REFUSAL, Reason.TABLE_FULL);
  let connection = Table.allocate();
  if (connection === 0) {
    if (!evict()) return 0;
    connection = Table.allocate();
    if (connection === 0) return 0;
  }
  store<u8>(connection, <u8>protocol, Connection.PROTOCOL);
  store<u8>(connection, <u8>family, Connection.FAMILY);
  store<u16>(connection, <u16>clientPort, Connection.CLIENT_PORT);
  store<u16>(connection, <u16>virtualPort, Connection.VIRTUAL_PORT);
  store<u16>(connection, <u16>serverPort, Connection.SERVER_PORT);
  // UDP tells by no flag of its own that a server has answered.
  const fresh = flags | (protocol === Protocol.UDP ? Connection.FLAG_NO_OUTPUT : 0);
  store<u32>(connection, load<u32>(connection, Connection.FLAGS) | fresh, Connection.FLAGS);
  store<u32>(connection, INITIAL, Connection.TIMEOUT);
  store<u32>(Table.cold(connection), mark, Connection.COLD_MARK);
  if (family === 4) {
    store<u32>(connection, load<u32>(client), Connection.CLIENT_ADDRESS);
    store<u32>(connection, load<u32>(virtual), Connection.VIRTUAL_ADDRESS);
    store<u32>(connection, load<u32>(serverAddress), Connection.SERVER_ADDRESS);
  } else if (!Table.setAddresses6(connection, client, virtual, serverAddress)) {
    Table.free(connection);
    return 0;
  }
  if (server !== 0 && <u32>load<u8>(server, Server.FAMILY) !== family) {
    const more = Table.extend(connection);
    if (more === 0) {
      Table.free(connection);
      return 0;
    }
    copy16(more + Connection.EXTENSION_SERVER, server + Server.ADDRESS);
    store<u32>(connection, 0, Connection.SERVER_ADDRESS);
    store<u32>(connection, load<u32>(connection, Connection.FLAGS) | Connection.FLAG_MIXED, Connection.FLAGS);
  }
  if (clientPort === 0 && (flags & Connection.FLAG_TEMPLATE) === 0 && Table.isCrowded(connection)) {
    Table.free(connection);
    return 0;
  }
  if (server !== 0) bindConnection(connection, server);
  if (isFullNat(connection)) {
    const refusal = takeLocal(connection);
    if (refusal !== 0) {
      setWord(Memory.REFUSAL, refusal);
      unbindConnection(connection);
      Table.free(connection);
      return 0;
    }
  }
  if (isFtpControl(connection))
    store<u32>(connection, load<u32>(connection, Connection.FLAGS) | Connection.FLAG_HELPER, Connection.FLAGS);
  if ((flags & Connection.FLAG_NO_CLIENT_PORT) !== 0) countNoClientPort(1);
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_ONE_PACKET) === 0 || isFullNat(connection))
    Table.link(connection);
  Table.restart(connection);
  noteCreated(connection);
  return connection;
}

/** Whether a local address and port stand for the client. Of a template none do. */
function isFullNat(connection: usize): bool {
  const flags = load<u32>(connection, Connection.FLAGS);
  return (flags & (Connection.FLAG_FULL_NAT | Connection.FLAG_TEMPLATE)) === Connection.FLAG_FULL_NAT;
}

/** FTP's control connections are followed where addresses are rewritten. */
function isFtpControl(connection: usize): bool {
  return (
    <u32>load<u16>(connection, Connection.VIRTUAL_PORT) === FTP_PORT &&
    load<u8>(connection, Connection.PROTOCOL) === Protocol.TCP &&
    (load<u32>(connection, Connection.FLAGS) & NOT_FOLLOWED) === 0
  );
}

function countNoClientPort(by: u32): void {
  setWord(Memory.NO_CLIENT_PORT_COUNT, word(Memory.NO_CLIENT_PORT_COUNT) + by);
}

/** The first packet of a connection whose client's port was not known tells it (raw). */
export function fillClientPort(connection: usize, port: u32): void {
  Table.unlink(connection);
  store<u32>(connection, load<u32>(connection, Connection.FLAGS) & ~Connection.FLAG_NO_CLIENT_PORT, Connection.FLAGS);
  store<u16>(connection, <u16>port, Connection.CLIENT_PORT);
  Table.link(connection);
  countNoClientPort(-1);
}

/** What the source of a connection that has a server is known by. */
function keyOf(connection: usize): u64 {
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  const client =
    family === 4 ? connection + Connection.CLIENT_ADDRESS : Table.extension(connection) + Connection.EXTENSION_CLIENT;
  return keyAtServer(family, client, <usize>load<u32>(connection, Connection.SERVER));
}

/** A limited source has one connection less. */
function leaveSource(connection: usize): void {
  if (load<u32>(connection, Connection.SERVER) === 0) return;
  const source = findSource(keyOf(connection));
  if (source === 0 || load<u32>(source, Source.CONNECTIONS) === 0) return;
  store<u32>(source, load<u32>(source, Source.CONNECTIONS) - 1, Source.CONNECTIONS);
}

/**
 * A limited source has one connection more: a new one, or again one of an earlier director. It counts at the service of the
 * server that it got, if that limits sources. That is another than the packet's where a persistent FTP service goes by a
 * template of the one of all ports.
 */
export function joinSource(connection: usize): void {
  const flags = load<u32>(connection, Connection.FLAGS);
  const service = serviceOf(connection);
  if (service === 0 || load<u32>(service, Service.SOURCE_CONNECTIONS) === 0) {
    store<u32>(connection, flags & ~Connection.FLAG_SOURCE, Connection.FLAGS);
    return;
  }
  const source = ensureSource(keyOf(connection), load<u32>(service, Service.SOURCE_RATE));
  store<u32>(source, load<u32>(source, Source.CONNECTIONS) + 1, Source.CONNECTIONS);
  store<u32>(connection, flags | Connection.FLAG_SOURCE, Connection.FLAGS);
}

function isHalfOpen(connection: usize): bool {
  return (
    load<u8>(connection, Connection.PROTOCOL) === Protocol.TCP &&
    load<u8>(connection, Connection.STATE) === State.TCP_SYN_RECV
  );
}

/** What is counted of connections beside what their servers count, of one that is bound to its server again. */
export function startCounting(connection: usize): void {
  const flags = load<u32>(connection, Connection.FLAGS);
  if ((flags & Connection.FLAG_NO_CLIENT_PORT) !== 0) countNoClientPort(1);
  if ((flags & Connection.FLAG_SOURCE) !== 0) joinSource(connection);
  if (isHalfOpen(connection)) countHalfOpen(connection, 1);
}

/** The same of one that still is bound. */
export function stopCounting(connection: usize): void {
  const flags = load<u32>(connection, Connection.FLAGS);
  if ((flags & Connection.FLAG_NO_CLIENT_PORT) !== 0) countNoClientPort(-1);
  if ((flags & Connection.FLAG_SOURCE) !== 0) leaveSource(connection);
  if (isHalfOpen(connection)) countHalfOpen(connection, -1);
}

/** A connection ends: its server counts one less, its controller is let go. */
export function end(connection: usize): void {
  noteEnded(connection);
  stopCounting(connection);
  const controller = release(connection);
  if (isFullNat(connection)) {
    Table.unlink(connection);
    giveLocal(connection);
  }
  unbindConnection(connection);
  Table.free(connection);
  if (controller !== 0 && load<u32>(controller, Connection.CONTROLLED) === 0) {
    // A template that nobody got through to a server with is not kept.
    const flags = load<u32>(controller, Connection.FLAGS);
    const template = (flags & Connection.FLAG_TEMPLATE) !== 0;
    if (load<u32>(controller, Connection.TIMEOUT) === 0 && template) expire(controller);
  }
}

/** Its time is up: ends, unless it controls others. */
export function expire(connection: usize): void {
  if (load<u32>(connection, Connection.CONTROLLED) !== 0) {
    store<u32>(connection, LATER, Connection.TIMEOUT);
    Table.restart(connection);
    return;
  }
  end(connection);
}

/** From here on a breath looks at its share of timers. */
export function startTimers(): void {
  setWord(Memory.TIMERS_LEFT, BUDGET);
}

/**
 * Ends connections whose time has come, a bounded number of them. One of the SYN proxy that waits for its server is
 * returned instead, off the wheel, and is the caller's to go on with; 0 when there is no more.
 */
export function tickConnections(): usize {
  let left = word(Memory.TIMERS_LEFT);
  while (left !== 0) {
    const connection = Table.nextExpired(left);
    if (connection === 0) return 0;
    // Those that were only put off count too: most may have been, and each is a line of memory.
    left -= word(Memory.WHEEL_LOOKED);
    setWord(Memory.TIMERS_LEFT, left);
    if (isWaiting(connection)) return connection;
    noteSilence(connection);
    expire(connection);
  }
  setWord(Memory.WHEEL_DUE, 1);
  return 0;
}

/** Whether the SYN proxy waits for the server's answer. */
export function isWaiting(connection: usize): bool {
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_PROXY) === 0) return false;
  const more = Table.extension(connection);
  return more !== 0 && load<u8>(more, Connection.PROXY_STATE) === Connection.PROXY_WAITING;
}

/**
 * Makes room: of what is embryonic, closing or (UDP) unanswered, the one that would end soonest goes. False when all are
 * worth keeping.
 */
function evict(): bool {
  // What was in vain is not tried again at once: else each packet of a flood would cost hundreds of cold records.
  if (!reached(now(), word(Memory.EVICT_AFTER))) return false;
  if (spareOne(false) || spareOne(true)) return true;
  setWord(Memory.EVICT_AFTER, now() + 1);
  return false;
}

/** `templates`: those that nobody got through to a server with, else connections. */
function spareOne(templates: bool): bool {
  for (let tries = 0; tries < 32; tries++) {
    let candidate = Table.soonest(word(Memory.EVICT_CURSOR));
    if (candidate === 0) {
      setWord(Memory.EVICT_CURSOR, 0);
      candidate = Table.soonest(0);
      if (candidate === 0) return false;
    }
    for (let looked = 0; candidate !== 0 && looked < 16; looked++) {
      const next = <usize>load<u32>(candidate, Connection.WHEEL_NEXT);
      if (isSpareConnection(candidate, templates)) {
        end(candidate);
        count(Counters.EVICTIONS, 1);
        return true;
      }
      candidate = next;
    }
    setWord(Memory.EVICT_CURSOR, word(Memory.EVICT_CURSOR) + 1);
  }
  return false;
}

function isSpareConnection(connection: usize, templates: bool): bool {
  if (load<u32>(connection, Connection.CONTROLLED) !== 0) return false;
  const flags = load<u32>(connection, Connection.FLAGS);
  const state = <u32>load<u8>(connection, Connection.STATE);
  if (((flags & Connection.FLAG_TEMPLATE) !== 0) !== templates) return false;
  if (templates) return (state & State.TEMPLATE_ASSURED) === 0;
  const protocol = <i32>load<u8>(connection, Connection.PROTOCOL);
  if (protocol === Protocol.TCP) return isSpare(state);
  // Whoever has sent a single datagram may be nobody, though a server has answered: an answer proves no client. What a
  // server began has had none.
  return protocol === Protocol.UDP && (isUnanswered(connection) || load<u32>(connection, Connection.PACKETS) === 1);
}

/** A connection came by a template, or by its control connection. */
export function controlledBy(connection: usize, controller: usize): void {
  control(connection, controller);
}

/** A template that has lost its server is put aside under port 65535 until it ends, as in the kernel. */
export function invalidateTemplate(template: usize): void {
  if (load<u16>(template, Connection.VIRTUAL_PORT) === 0xffff) return;
  Table.unlink(template);
  store<u16>(template, 0xffff, Connection.SERVER_PORT);
  store<u16>(template, 0xffff, Connection.VIRTUAL_PORT);
  store<u16>(template, 0, Connection.CLIENT_PORT);
  Table.link(template);
}

/** Whether a server takes packets of its connections. */
export function isAvailable(server: usize): bool {
  return server !== 0 && (load<u32>(server, Server.FLAGS) & Server.FLAG_AVAILABLE) !== 0;
}

export function isEstablished(connection: usize): bool {
  return (
    load<u8>(connection, Connection.PROTOCOL) === Protocol.TCP &&
    load<u8>(connection, Connection.STATE) === State.TCP_ESTABLISHED
  );
}
