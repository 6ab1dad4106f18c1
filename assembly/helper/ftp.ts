/**
 * FTP over NAT (ip_vs_ftp): data connections that the control connection announces.
 *
 *   client                                            server
 *   PORT a,b,c,d,p,p   EPRT |1|address|port|   ->             listens for  server:20 -> client:port
 *   PASV   EPSV                                ->             the answer is waited for
 *                          <-  227 ... (a,b,c,d,p,p)   229 ... (|||port|)
 *                                                             listens for  client:any -> server:port
 *
 * The server's address in its answer becomes the virtual one. Text is looked at in one segment; what is split over
 * two passes as it is, as in the kernel.
 */
import { controlledBy, create } from "../connections";
import { clientAddress, serverAddress, virtualAddress } from "../forwarding/nat";
import * as Connection from "../layout/connection";
import * as Memory from "../layout/memory";
import * as Protocol from "../layout/protocol";
import * as Reason from "../layout/reason";
import * as Slot from "../layout/slot";
import * as State from "../layout/state";
import { timeout } from "../protocol/tcp";
import { extend, extension, findIn, findOut, fold6, hashSide, noteChange, restart } from "../table/connection";
import { word } from "../table/memory";
import { transportChecksumIsRight } from "../verify";
import { copy16, load32, swap16 } from "../wire/bytes";
import * as Tcp from "../wire/tcp";
import { parseAddress4, parseAddress6 } from "./address-text";
import { replace } from "./payload";
import { moveIn, moveOut, recordChange } from "./sequence";

// What the control connection waits for.
const NOTHING: u8 = 0;
const PASSIVE: u8 = 1;
const EXTENDED_PASSIVE: u8 = 2;

// Words as they lie in memory, upper case.
const PORT: u32 = 0x54524f50;
const EPRT: u32 = 0x54525045;
const PASV: u32 = 0x56534150;
const EPSV: u32 = 0x56535045;
const END_OF_LINE: u32 = 0x0a0d;
const ANSWER_227: u32 = 0x20373232;
const ANSWER_229: u32 = 0x20393232;
/** Letters of either case become upper case; what is no letter matches none. */
const UPPER: u32 = 0xdfdfdfdf;

const SPACE: u32 = 0x20;
const PARENTHESIS: u32 = 0x28;
const COMMA: u32 = 0x2c;
const RETURN: u32 = 0x0d;
const BAR: u32 = 0x7c;

/** What was read from a text: address (16 bytes), port (raw), where they stand. */
const ADDRESS: usize = Memory.LAYOUT_BASE + Memory.HELPER;
const PORT_READ: usize = ADDRESS + 16;
const FROM: usize = ADDRESS + 20;
const TO: usize = ADDRESS + 24;
const TEXT: usize = ADDRESS + 32;

/** Where the payload begins, or 0 when there is none. */
function payload(slot: usize): usize {
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const header = Tcp.headerLength(tcp);
  const at = tcp + <usize>header;
  return header < <u32>Tcp.SIZE || at >= <usize>load<u32>(slot, Slot.END) ? 0 : at;
}

function isDigit(c: u32): bool {
  return c >= 0x30 && c <= 0x39;
}

/** Past the run of `mark`s; to the first digit before them, when `digits`. 0 when the text ends there. */
function skipTo(from: usize, end: usize, mark: u32, digits: bool): usize {
  let found = false;
  for (let at = from; at < end; at++) {
    const c = <u32>load<u8>(at);
    if (c === mark) found = true;
    else if (found || (digits && isDigit(c))) return at;
  }
  return 0;
}

/** h,h,h,h,p,p up to another character, which must come. */
function parsePlain(from: usize, end: usize, mark: u32): bool {
  const start = skipTo(from, end, mark, true);
  if (start === 0) return false;
  let fields: usize = 0;
  let value: u32 = 0;
  for (let at = start; at < end; at++) {
    const c = <u32>load<u8>(at);
    if (isDigit(c)) {
      value = value * 10 + c - 0x30;
      if (value > 0xff) return false;
      continue;
    }
    store<u8>(ADDRESS + fields, <u8>value);
    if (c === COMMA && fields < 5) {
      fields++;
      value = 0;
      continue;
    }
    if (fields !== 5) return false;
    store<u32>(PORT_READ, <u32>load<u16>(ADDRESS, 4));
    store<u32>(FROM, <u32>start);
    store<u32>(TO, <u32>at);
    return true;
  }
  return false;
}

/**
 * |family|address|port| with any mark for the bars (RFC 2428); with `bare` also |||port|, which leaves ADDRESS alone.
 */
function parseExtended(text: usize, end: usize, mark: u32, family: u32, bare: bool): bool {
  const start = skipTo(text, end, mark, false);
  if (start === 0) return false;
  const bar = <u32>load<u8>(start);
  if (bar < 33 || bar > 126) return false;
  let at = start + 1;
  if (at >= end) return false;
  if (<u32>load<u8>(at) === bar) {
    if (!bare || at + 1 >= end || <u32>load<u8>(at, 1) !== bar) return false;
    at += 2;
  } else {
    if (<u32>load<u8>(at) !== (family === 4 ? 0x31 : 0x32)) return false;
    if (at + 2 >= end || <u32>load<u8>(at, 1) !== bar) return false;
    at = family === 4 ? parseAddress4(at + 2, end, bar, ADDRESS) : parseAddress6(at + 2, end, bar, ADDRESS);
    if (at === 0) return false;
    at++;
  }
  let port: u32 = 0;
  while (at < end && isDigit(<u32>load<u8>(at))) {
    port = port * 10 + <u32>load<u8>(at) - 0x30;
    if (port > 0xffff) return false;
    at++;
  }
  if (port === 0 || at >= end || <u32>load<u8>(at) !== bar) return false;
  store<u32>(PORT_READ, swap16(port));
  store<u32>(FROM, <u32>start);
  store<u32>(TO, <u32>(at + 1));
  return true;
}

/** Puts a connection where a server or client may begin it: LISTEN, for two minutes. */
function listen(connection: usize): void {
  store<u8>(connection, State.TCP_LISTEN, Connection.STATE);
  store<u32>(connection, timeout(State.TCP_LISTEN), Connection.TIMEOUT);
  restart(connection);
}

function setMode(connection: usize, mode: u8): void {
  // Without an extension there is nothing to forget.
  const more = mode === NOTHING ? extension(connection) : extend(connection);
  if (more === 0) return;
  store<u8>(more, mode, Connection.EXTENSION_MODE);
  noteChange(connection);
}

function mode(connection: usize): u8 {
  const more = extension(connection);
  return more === 0 ? NOTHING : load<u8>(more, Connection.EXTENSION_MODE);
}

function isEstablished(connection: usize): bool {
  return load<u8>(connection, Connection.STATE) === State.TCP_ESTABLISHED;
}

/**
 * A segment from the client of a control connection, its state moved on already, its addresses not yet. Returns 0, or
 * the reason for which it must not go on.
 */
export function fromClient(slot: usize, connection: usize): i32 {
  if (!transportChecksumIsRight(slot)) return Reason.TRANSPORT_CHECKSUM;
  const reason = isEstablished(connection) ? readCommand(slot, connection) : 0;
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_OUT_SEQUENCE) !== 0)
    moveIn(slot, extension(connection) + Connection.EXTENSION_SEQUENCE);
  return reason;
}

/** The passive command that the text holds; at any place, as clients may send several at once. */
function passiveCommand(from: usize, end: usize, family: u32): i32 {
  for (let at = from; at + 6 <= end; at++) {
    const name = load<u32>(at) & UPPER;
    if (family === 4 && name === PASV && <u32>load<u16>(at, 4) === END_OF_LINE) return PASSIVE;
    if (name !== EPSV) continue;
    const next = <u32>load<u8>(at, 4);
    if (next === RETURN) return EXTENDED_PASSIVE;
    if (next !== SPACE) continue;
    // EPSV ALL, and EPSV for the other family, are refused by reading no further.
    const own: u32 = family === 4 ? 0x31 : 0x32;
    const fits = at + 7 <= end && <u32>load<u8>(at, 5) === own && <u32>load<u8>(at, 6) === RETURN;
    return fits ? EXTENDED_PASSIVE : NOTHING;
  }
  return -1;
}

function readCommand(slot: usize, connection: usize): i32 {
  const text = payload(slot);
  if (text === 0) return Reason.NONE;
  const end = <usize>load<u32>(slot, Slot.END);
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  const passive = passiveCommand(text, end, family);
  if (passive >= 0) {
    if (passive !== NOTHING) setMode(connection, <u8>passive);
    return Reason.NONE;
  }
  if (text + 4 > end) return Reason.NONE;
  const name = load<u32>(text) & UPPER;
  let read = false;
  if (name === PORT && family === 4) read = parsePlain(text + 4, end, SPACE);
  else if (name === EPRT) read = parseExtended(text + 4, end, SPACE, family, false);
  if (!read) return Reason.NONE;
  setMode(connection, NOTHING);
  return expectFromServer(slot, connection) ? Reason.NONE : Reason.TABLE_FULL;
}

function portBelow(port: u32): u32 {
  return swap16((swap16(port) - 1) & 0xffff);
}

/** Active: the server will call the client's ADDRESS and PORT_READ from the port below that of its service. */
function expectFromServer(slot: usize, connection: usize): bool {
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  const virtual = virtualAddress(connection);
  const port = load<u32>(PORT_READ);
  const virtualPort = portBelow(<u32>load<u16>(connection, Connection.VIRTUAL_PORT));
  const client: u32 = family === 4 ? load<u32>(ADDRESS) : fold6(ADDRESS);
  let data = findFrom(family, client, port, connection, virtualPort, 0);
  if (data === 0 && word(Memory.NO_CLIENT_PORT_COUNT) !== 0)
    data = findFrom(family, client, 0, connection, virtualPort, Connection.FLAG_NO_CLIENT_PORT);
  if (data === 0) {
    data = create(
      family,
      Protocol.TCP,
      ADDRESS,
      port,
      virtual,
      virtualPort,
      serverAddress(connection),
      portBelow(<u32>load<u16>(connection, Connection.SERVER_PORT)),
      0,
      <usize>load<u32>(connection, Connection.SERVER),
      load<u32>(slot, Slot.MARK),
    );
    if (data === 0) return false;
    controlledBy(data, connection);
  }
  listen(data);
  return true;
}

/** The connection of `client` (its address is at ADDRESS) with the virtual address of the control connection. */
function findFrom(family: u32, client: u32, port: u32, connection: usize, virtualPort: u32, wanted: u32): usize {
  // Port 0 of a client stands for a port that is not known yet.
  if (port === 0 && wanted === 0) return 0;
  const four = family === 4;
  return findIn(
    hashSide(client, port, Protocol.TCP),
    client,
    load<u32>(connection, Connection.VIRTUAL_ADDRESS),
    port,
    virtualPort,
    Protocol.TCP,
    four ? 0 : ADDRESS,
    four ? 0 : virtualAddress(connection),
    wanted,
  );
}

/** A segment from the server of a control connection, before its addresses change. 0, or the reason to drop it. */
export function fromServer(slot: usize, connection: usize): i32 {
  if (!transportChecksumIsRight(slot)) return Reason.TRANSPORT_CHECKSUM;
  const waits = isEstablished(connection) ? mode(connection) : NOTHING;
  const reason = waits === NOTHING ? 0 : readAnswer(slot, connection, waits);
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_OUT_SEQUENCE) !== 0)
    moveOut(slot, extension(connection) + Connection.EXTENSION_SEQUENCE);
  return reason;
}

function readAnswer(slot: usize, connection: usize, waits: u8): i32 {
  const text = payload(slot);
  const end = <usize>load<u32>(slot, Slot.END);
  if (text === 0 || text + 4 > end) return Reason.NONE;
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  if (waits === PASSIVE) {
    if (load<u32>(text) !== ANSWER_227 || !parsePlain(text + 4, end, PARENTHESIS)) return Reason.NONE;
  } else {
    // The answer seldom names an address: it is the server's then.
    if (family === 4) store<u32>(ADDRESS, load<u32>(serverAddress(connection)));
    else copy16(ADDRESS, serverAddress(connection));
    if (load<u32>(text) !== ANSWER_229 || !parseExtended(text + 4, end, PARENTHESIS, family, true)) return Reason.NONE;
  }
  const data = expectFromClient(slot, connection);
  if (data === 0) return Reason.TABLE_FULL;
  setMode(connection, NOTHING);
  listen(data);
  const length = waits === PASSIVE ? writePlain(data) : writeExtended(data);
  const from = <usize>load<u32>(FROM);
  const to = <usize>load<u32>(TO);
  const grown = <i32>length - <i32>(to - from);
  if (!replace(slot, from, to, TEXT, length)) return Reason.FRAME_OVERSIZED;
  if (grown !== 0) {
    const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
    recordChange(extension(connection) + Connection.EXTENSION_SEQUENCE, load32(tcp + Tcp.SEQUENCE), grown);
    const flags = load<u32>(connection, Connection.FLAGS);
    store<u32>(connection, flags | Connection.FLAG_OUT_SEQUENCE, Connection.FLAGS);
    noteChange(connection);
  }
  return Reason.NONE;
}

/** Passive: the client will call from a port that is not known yet; the server listens on ADDRESS and PORT_READ. */
function expectFromClient(slot: usize, connection: usize): usize {
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  const four = family === 4;
  const client = load<u32>(connection, Connection.CLIENT_ADDRESS);
  const port = load<u32>(PORT_READ);
  const found = findOut(
    hashSide(client, 0, Protocol.TCP),
    four ? load<u32>(ADDRESS) : fold6(ADDRESS),
    client,
    port,
    0,
    Protocol.TCP,
    four ? 0 : ADDRESS,
    four ? 0 : clientAddress(connection),
  );
  if (found !== 0) return found;
  const data = create(
    family,
    Protocol.TCP,
    clientAddress(connection),
    0,
    virtualAddress(connection),
    port,
    ADDRESS,
    port,
    Connection.FLAG_NO_CLIENT_PORT,
    <usize>load<u32>(connection, Connection.SERVER),
    load<u32>(slot, Slot.MARK),
  );
  if (data !== 0) controlledBy(data, connection);
  return data;
}

/** Writes a number at `at`; returns where it ends. */
function writeNumber(at: usize, value: u32): usize {
  if (value >= 10) at = writeNumber(at, value / 10);
  store<u8>(at, <u8>(0x30 + (value % 10)));
  return at + 1;
}

/** h,h,h,h,p,p of a data connection's virtual side, at TEXT. Returns its length. */
function writePlain(data: usize): u32 {
  const address = virtualAddress(data);
  const port = data + Connection.VIRTUAL_PORT;
  let at = TEXT;
  for (let i: usize = 0; i < 6; i++) {
    if (i !== 0) store<u8>(at++, <u8>COMMA);
    at = writeNumber(at, <u32>load<u8>(i < 4 ? address + i : port + i - 4));
  }
  return <u32>(at - TEXT);
}

/** |||port|: the client takes the address that it speaks to. */
function writeExtended(data: usize): u32 {
  let at = TEXT;
  for (let i = 0; i < 3; i++) store<u8>(at++, <u8>BAR);
  at = writeNumber(at, swap16(<u32>load<u16>(data, Connection.VIRTUAL_PORT)));
  store<u8>(at++, <u8>BAR);
  return <u32>(at - TEXT);
}
