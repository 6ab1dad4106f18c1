/**
 * The SYN proxy: a client's SYN is answered here, with a cookie for a sequence number, an empty window and no memory of
 * it. Who sends the cookie back is there, and gets a connection: the server is asked with the client's own number and
 * options, and when it has answered the client's window is opened. From then on numbers are translated (helper/splice).
 *
 *   client                      director                      server
 *     | SYN x                      |                             |
 *     | <--- SYN+ACK c, window 0   |                             |
 *     | ACK c+1 -----------------> | SYN x --------------------> |
 *     |                            | <--------------- SYN+ACK y  |
 *     | <--------- ACK c+1, window | ACK y+1 ------------------> |
 *     | data x+1 ----------------> | ------------------ as it is |
 *     | <-- y+1 said as c+1        | <----------------- data y+1 |
 */
import { answerSegment, finishSegment, reset, sealSegment, segmentHeader } from "./answer";
import { end } from "./connections";
import { toRealServer } from "./forward";
import { clientAddress, virtualAddress } from "./forwarding/nat";
import * as Connection from "./layout/connection";
import * as Counters from "./layout/counters";
import * as Forwarding from "./layout/forwarding";
import * as Handshake from "./layout/handshake";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Protocol from "./layout/protocol";
import * as Reason from "./layout/reason";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { newPacket } from "./link";
import { DIRECTION_IN } from "./protocol/direction";
import { transition } from "./protocol/index";
import { drop } from "./send";
import { isCookie, makeCookie, mssOf, timestampOf } from "./syn-cookie";
import * as Table from "./table/connection";
import { count, setting } from "./table/memory";
import { noteSilence } from "./table/outcome";
import { findPort } from "./table/port";
import { giveSlot } from "./table/slot";
import { countPacketIn } from "./table/stats";
import { destinationAt, packetLength, portMtu, routeTo, sourceAt } from "./transmit";
import { transportChecksumIsRight } from "./verify";
import { copy16, load16, load32, store16, store32 } from "./wire/bytes";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import * as Tcp from "./wire/tcp";
import * as Options from "./wire/tcp-options";

/** Options that were read last; behind them, what the last good cookie stood for: the client's number, the options. */
const READ: usize = Memory.LAYOUT_BASE + Memory.TCP_OPTIONS;
const CLIENT: usize = READ + Options.READ_SIZE;
const AGREED: usize = READ + Options.READ_SIZE + 4;

/** RFC 9293, 3.7.1: what a TCP that names no MSS takes. */
const MSS_4: u32 = 536;
const MSS_6: u32 = 1220;
/** The server is asked again after this, then after twice that, and so on; so many times. */
const AGAIN: u32 = Memory.TICKS_PER_SECOND;
const TRIES: u32 = 3;
/** An ended flood is believed after so many seconds. */
const CALM: u32 = 10;

function modeOf(service: usize): u32 {
  const own = <u32>load<u8>(service, Service.PROXY_MODE);
  if (own !== Service.PROXY_DEFAULT) return own;
  const usual = setting(Setting.SYN_PROXY);
  return usual === 1 ? Service.PROXY_ALWAYS : usual === 2 ? Service.PROXY_AUTO : Service.PROXY_OFF;
}

function turn(service: usize, on: u8): void {
  store<u8>(service, on, Service.PROXY_ON);
  store<u8>(service, 0, Service.PROXY_CALM);
  store<u32>(service, load<u32>(service, Service.PROXY_SWITCHES) + 1, Service.PROXY_SWITCHES);
}

/** Whether handshakes of the service are the director's at the moment. Looked at for each packet without connection. */
export function isProxied(service: usize): bool {
  const mode = modeOf(service);
  if (mode === Service.PROXY_OFF) return false;
  // Not where answers pass by elsewhere, and not where there is nobody to ask.
  if (load<u16>(service, Service.PROXY_UNFIT) !== 0 || load<u32>(service, Service.WEIGHT_SUM) === 0) return false;
  if (mode === Service.PROXY_ALWAYS || load<u8>(service, Service.PROXY_ON) !== 0) return true;
  if (load<u32>(service, Service.EMBRYONIC) < setting(Setting.SYN_PROXY_THRESHOLD)) return false;
  turn(service, 1);
  return true;
}

/** Once a second: is it still needed, or is it needed now? */
export function tickProxy(service: usize): void {
  const syns = load<u32>(service, Service.SYNS);
  const done = load<u32>(service, Service.HANDSHAKES);
  store<u32>(service, 0, Service.SYNS);
  store<u32>(service, 0, Service.HANDSHAKES);
  const mode = modeOf(service);
  const on = load<u8>(service, Service.PROXY_ON) !== 0;
  if (mode !== Service.PROXY_AUTO || load<u16>(service, Service.PROXY_UNFIT) !== 0) {
    if (on) turn(service, 0);
    return;
  }
  const threshold = setting(Setting.SYN_PROXY_THRESHOLD);
  const halfOpen = load<u32>(service, Service.EMBRYONIC);
  if (!on) {
    if (halfOpen >= threshold || (syns >= threshold && done < syns / 2)) turn(service, 1);
    return;
  }
  if (halfOpen >= threshold / 2 || (syns >= threshold / 2 && done < syns - syns / 4)) {
    store<u8>(service, 0, Service.PROXY_CALM);
    return;
  }
  const calm = <u32>load<u8>(service, Service.PROXY_CALM) + 1;
  store<u8>(service, <u8>calm, Service.PROXY_CALM);
  if (calm >= CALM) turn(service, 0);
}

/** What its servers are to be asked about anew: one of them is another. */
export function forgetAbilities(service: usize): void {
  store<u8>(service, 0, Service.PROXY_LACKS);
  store<u16>(service, 0, Service.PROXY_MSS);
}

function isHeaderSane(slot: usize): bool {
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const header = <usize>Tcp.headerLength(tcp);
  return header >= <usize>Tcp.SIZE && tcp + header <= <usize>load<u32>(slot, Slot.END);
}

/** The largest segment that the director takes on behalf of a service's servers. */
function ownMss(slot: usize, service: usize): u32 {
  const header: u32 = Tcp.SIZE + (load<u8>(slot, Slot.FAMILY) === 4 ? Ipv4.SIZE : Ipv6.SIZE);
  const mtu = portMtu(slot);
  const here: u32 = mtu > header + MSS_4 ? mtu - header : MSS_4;
  const learned = <u32>load<u16>(service, Service.PROXY_MSS);
  return learned !== 0 && learned < here ? learned : here;
}

/** Answers a SYN; nothing of it is kept. Returns the frame's verdict. */
export function answerSyn(slot: usize, service: usize): i32 {
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  if (!isHeaderSane(slot)) return drop(slot, Reason.TRANSPORT_TRUNCATED);
  if (!transportChecksumIsRight(slot)) return drop(slot, Reason.TRANSPORT_CHECKSUM);
  Options.readOptions(tcp, <usize>load<u32>(slot, Slot.END), READ);
  const lacks = <u32>load<u8>(service, Service.PROXY_LACKS);
  const named = <u32>load<u16>(READ, Options.READ_MSS);
  const flags = Tcp.flags(tcp);
  let agreed: u32 = Handshake.NO_SCALE;
  if ((load<u8>(READ, Options.READ_FLAGS) & Options.FLAG_TIMESTAMPS) !== 0 && (lacks & Handshake.TIMESTAMPS) === 0) {
    const scale = load<u8>(READ, Options.READ_SCALE);
    if (scale !== Options.NO_SCALE && (lacks & Handshake.SCALE) === 0) agreed = <u32>scale;
    if ((load<u8>(READ, Options.READ_FLAGS) & Options.FLAG_SACK) !== 0) agreed |= Handshake.SACK & ~lacks;
    if ((flags & Tcp.ECN) === <u32>Tcp.ECN) agreed |= Handshake.ECN & ~lacks;
    agreed |= Handshake.TIMESTAMPS;
  }
  const mss = named !== 0 ? named : load<u8>(slot, Slot.FAMILY) === 4 ? MSS_4 : MSS_6;
  const cookie = makeCookie(slot, agreed, mss);
  const own = ownMss(slot, service);
  const said: u32 = Tcp.SYN | Tcp.ACK | ((agreed & Handshake.ECN) !== 0 ? Tcp.ECE : 0);
  let at = answerSegment(slot, cookie, load32(tcp + Tcp.SEQUENCE) + 1, said, 0);
  at = writeOptions(at, agreed, own, Handshake.OWN_SCALE, timestampOf(agreed), load<u32>(READ, Options.READ_VALUE));
  count(Counters.COOKIES_SENT, 1);
  return finishSegment(slot, at);
}

function writeOptions(at: usize, agreed: u32, mss: u32, scale: u32, value: u32, echo: u32): usize {
  at = Options.writeMss(at, mss);
  if ((agreed & Handshake.SACK) !== 0) at = Options.writeSackPermitted(at);
  if ((agreed & Handshake.TIMESTAMPS) !== 0) at = Options.writeTimestamps(at, value, echo);
  if ((agreed & Handshake.SCALE_MASK) !== Handshake.NO_SCALE) at = Options.writeScale(at, scale);
  return at;
}

/**
 * Whether a segment without connection brings a cookie back; what it stands for is then at CLIENT and AGREED. A client
 * whose first ACK was lost probes the window: with the number before, and no data.
 */
export function bringsCookie(slot: usize): bool {
  if (!isHeaderSane(slot)) return false;
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const limit = <usize>load<u32>(slot, Slot.END);
  Options.readOptions(tcp, limit, READ);
  const timed = (load<u8>(READ, Options.READ_FLAGS) & Options.FLAG_TIMESTAMPS) !== 0;
  const echoed = load<u32>(READ, Options.READ_ECHO);
  const agreed: u32 = timed ? (echoed & Handshake.CARRIED) | Handshake.TIMESTAMPS : Handshake.NO_SCALE;
  const cookie = load32(tcp + Tcp.ACKNOWLEDGEMENT) - 1;
  const sequence = load32(tcp + Tcp.SEQUENCE);
  const isBare = tcp + <usize>Tcp.headerLength(tcp) === limit;
  let client = sequence - 1;
  if (!isCookie(slot, cookie, client, agreed)) {
    client = sequence;
    if (!isBare || !isCookie(slot, cookie, client, agreed)) {
      count(Counters.COOKIES_REFUSED, 1);
      return false;
    }
  }
  if (!transportChecksumIsRight(slot)) return false;
  store<u32>(CLIENT, client);
  store<u32>(AGREED, agreed);
  return true;
}

/** A client that brought its cookie back was given this connection: its server is asked. Returns the frame's verdict. */
export function begin(slot: usize, service: usize, connection: usize): i32 {
  const more: usize = isNat(connection) ? Table.extend(connection) : 0;
  if (more === 0) {
    end(connection);
    return reset(slot);
  }
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const agreed = load<u32>(AGREED);
  const cookie = load32(tcp + Tcp.ACKNOWLEDGEMENT) - 1;
  store<u32>(more, load<u32>(CLIENT), Connection.PROXY_CLIENT);
  store<u32>(more, cookie, Connection.PROXY_COOKIE);
  store<u32>(more, load<u32>(READ, Options.READ_ECHO), Connection.PROXY_TIMESTAMP);
  store<u32>(more, load<u32>(READ, Options.READ_VALUE), Connection.PROXY_CLIENT_TIMESTAMP);
  store<u32>(more, load<u32>(<usize>load<u32>(slot, Slot.PORT_IN), Port.NUMBER), Connection.PROXY_PORT);
  store<u16>(more, <u16>mssOf(cookie), Connection.PROXY_MSS);
  store<u16>(more, <u16>load16(tcp + Tcp.WINDOW), Connection.PROXY_WINDOW);
  store<u8>(more, <u8>agreed, Connection.PROXY_OPTIONS);
  store<u8>(more, Connection.PROXY_WAITING, Connection.PROXY_STATE);
  let flags = load<u32>(connection, Connection.FLAGS) | Connection.FLAG_PROXY;
  if ((flags & Connection.FLAG_HELPER) !== 0) flags |= Connection.FLAG_OUT_SEQUENCE;
  store<u32>(connection, flags, Connection.FLAGS);
  count(Counters.COOKIES_ACCEPTED, 1);
  store<u32>(service, load<u32>(service, Service.HANDSHAKES) + 1, Service.HANDSHAKES);
  writeSyn(slot, more);
  countPacketIn(<usize>load<u32>(connection, Connection.SERVER), packetLength(slot));
  transition(connection, slot, DIRECTION_IN);
  store<u32>(connection, load<u32>(connection, Connection.PACKETS) + 1, Connection.PACKETS);
  store<u32>(connection, AGAIN, Connection.TIMEOUT);
  Table.restart(connection);
  return toRealServer(slot, connection, false);
}

function isNat(connection: usize): bool {
  return (load<u32>(connection, Connection.FLAGS) & Connection.METHOD_MASK) === Forwarding.NAT;
}

/** TCP header in the slot, without options; returns where they go. Ports stay. */
function writeHeader(slot: usize, sequence: u32, acknowledgement: u32, flags: u32, window: u32): usize {
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  store32(tcp + Tcp.SEQUENCE, sequence);
  store32(tcp + Tcp.ACKNOWLEDGEMENT, acknowledgement);
  store<u8>(tcp, <u8>flags, Tcp.FLAGS);
  store16(tcp + Tcp.WINDOW, window);
  store<u16>(tcp, 0, Tcp.URGENT);
  return tcp + Tcp.SIZE;
}

/** The client's SYN as it once was, but for the window, which is as it is now. */
function writeSyn(slot: usize, more: usize): void {
  const agreed = <u32>load<u8>(more, Connection.PROXY_OPTIONS);
  const scale = agreed & Handshake.SCALE_MASK;
  const wide = (<u32>load<u16>(more, Connection.PROXY_WINDOW)) << (scale === <u32>Handshake.NO_SCALE ? 0 : scale);
  const flags: u32 = Tcp.SYN | ((agreed & Handshake.ECN) !== 0 ? Tcp.ECN : 0);
  let at = writeHeader(slot, load<u32>(more, Connection.PROXY_CLIENT), 0, flags, wide > 0xffff ? 0xffff : wide);
  const stamp = load<u32>(more, Connection.PROXY_CLIENT_TIMESTAMP);
  at = writeOptions(at, agreed, <u32>load<u16>(more, Connection.PROXY_MSS), scale, stamp, 0);
  sealSegment(slot, at);
}

/** A segment of the director's own between client and virtual service, its ports set; 0 when no slot is left. */
function segmentOf(connection: usize, more: usize, outward: bool): usize {
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  const slot = newPacket(family, 0);
  if (slot === 0) return 0;
  const client = clientAddress(connection);
  const virtual = virtualAddress(connection);
  const from: usize = outward ? virtual : client;
  const to: usize = outward ? client : virtual;
  if (family === 4) {
    store<u32>(sourceAt(slot), load<u32>(from));
    store<u32>(destinationAt(slot), load<u32>(to));
  } else {
    copy16(sourceAt(slot), from);
    copy16(destinationAt(slot), to);
  }
  const port = <u32>load<u16>(connection, Connection.CLIENT_PORT);
  const virtualPort = <u32>load<u16>(connection, Connection.VIRTUAL_PORT);
  segmentHeader(slot, outward ? virtualPort | (port << 16) : port | (virtualPort << 16), 0, 0, 0, 0);
  store<u8>(slot, Protocol.TCP, Slot.PROTOCOL);
  // By its number: the record may be elsewhere when connections came back from a file.
  store<u32>(slot, <u32>findPort(load<u32>(more, Connection.PROXY_PORT)), Slot.PORT_IN);
  return slot;
}

/** The server is told that there is no such connection, in the number that it asked for. */
function resetServer(connection: usize, more: usize, sequence: u32): void {
  const slot = segmentOf(connection, more, false);
  if (slot === 0) return;
  sealSegment(slot, writeHeader(slot, sequence, 0, Tcp.RST, 0));
  toRealServer(slot, connection, false);
}

/** Nobody answers for the server: the client's connection ends, and this record with it. */
function giveUp(connection: usize, more: usize): void {
  const slot = segmentOf(connection, more, true);
  if (slot !== 0) {
    const sequence = load<u32>(more, Connection.PROXY_COOKIE) + 1;
    const acknowledgement = load<u32>(more, Connection.PROXY_CLIENT) + 1;
    sealSegment(slot, writeHeader(slot, sequence, acknowledgement, Tcp.RST | Tcp.ACK, 0));
    routeTo(slot, destinationAt(slot));
  }
  count(Counters.PROXY_SERVER_SILENT, 1);
  end(connection);
}

/** A connection that waits for its server has waited long enough for now. It is off the wheel. */
export function askAgain(connection: usize): void {
  const more = Table.extension(connection);
  const tries = <u32>load<u8>(more, Connection.PROXY_TRIES);
  const server = <usize>load<u32>(connection, Connection.SERVER);
  noteSilence(connection);
  if (tries >= TRIES || server === 0 || (load<u32>(server, Server.FLAGS) & Server.FLAG_AVAILABLE) === 0) {
    giveUp(connection, more);
    return;
  }
  store<u8>(more, <u8>(tries + 1), Connection.PROXY_TRIES);
  store<u32>(connection, AGAIN << (tries + 1), Connection.TIMEOUT);
  Table.restart(connection);
  const slot = segmentOf(connection, more, false);
  if (slot === 0) return;
  writeSyn(slot, more);
  toRealServer(slot, connection, false);
}

/**
 * What a client sends on a connection whose server has not answered (yet, or at all). Returns the frame's verdict, or
 * NONE: the host answers it.
 */
export function hold(slot: usize, connection: usize): i32 {
  const more = Table.extension(connection);
  if (more === 0 || load<u8>(more, Connection.PROXY_STATE) !== Connection.PROXY_WAITING) return Verdict.NONE;
  if (!isHeaderSane(slot)) return drop(slot, Reason.TRANSPORT_TRUNCATED);
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const next = load<u32>(more, Connection.PROXY_CLIENT) + 1;
  const flags = Tcp.flags(tcp);
  if ((flags & Tcp.RST) !== 0) {
    if (!transportChecksumIsRight(slot)) return drop(slot, Reason.TRANSPORT_CHECKSUM);
    if (load32(tcp + Tcp.SEQUENCE) !== next) return drop(slot, Reason.SYN_PROXY_STATE);
    store<u8>(more, Connection.PROXY_OVER, Connection.PROXY_STATE);
    Table.noteChange(connection);
    sealSegment(slot, writeHeader(slot, next, 0, Tcp.RST, 0));
    transition(connection, slot, DIRECTION_IN);
    Table.restart(connection);
    return toRealServer(slot, connection, false);
  }
  const hasMore = tcp + <usize>Tcp.headerLength(tcp) < <usize>load<u32>(slot, Slot.END) || (flags & Tcp.FIN) !== 0;
  if (hasMore) return drop(slot, Reason.SYN_PROXY_WAITING);
  giveSlot(slot);
  return Verdict.CONSUMED;
}

/**
 * A segment of the server of a proxied connection, before it is translated: its SYN+ACK becomes what opens the client's
 * window, its refusal the client's. Returns 0, or the reason to drop it. The TCP header MUST lie whole in the packet.
 */
export function hear(slot: usize, connection: usize): u32 {
  const more = Table.extension(connection);
  if (more === 0) return Reason.SYN_PROXY_STATE;
  const state = <i32>load<u8>(more, Connection.PROXY_STATE);
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const flags = Tcp.flags(tcp);
  if (state === Connection.PROXY_SPLICED && (flags & Tcp.SYN) === 0) return 0;
  if (!isHeaderSane(slot)) return Reason.TRANSPORT_TRUNCATED;
  if (!transportChecksumIsRight(slot)) return Reason.TRANSPORT_CHECKSUM;
  const acknowledgement = load32(tcp + Tcp.ACKNOWLEDGEMENT);
  const next = load<u32>(more, Connection.PROXY_CLIENT) + 1;
  const isAnswer = (flags & Tcp.ACK) !== 0 && acknowledgement === next;
  if ((flags & Tcp.RST) !== 0) {
    if (state !== Connection.PROXY_WAITING || !isAnswer) return Reason.SYN_PROXY_STATE;
    store<u8>(more, Connection.PROXY_OVER, Connection.PROXY_STATE);
    Table.noteChange(connection);
    count(Counters.PROXY_SERVER_REFUSED, 1);
    const sequence = load<u32>(more, Connection.PROXY_COOKIE) + 1;
    sealSegment(slot, writeHeader(slot, sequence, next, Tcp.RST | Tcp.ACK, 0));
    markSpliced(slot);
    return 0;
  }
  if (state === Connection.PROXY_OVER) {
    resetServer(connection, more, next);
    return Reason.SYN_PROXY_STATE;
  }
  if (!isAnswer || (flags & Tcp.SYN) === 0) {
    // It remembers an older connection: told that it is none, it takes the next SYN.
    if (state === Connection.PROXY_WAITING && (flags & Tcp.ACK) !== 0) resetServer(connection, more, acknowledgement);
    return Reason.SYN_PROXY_STATE;
  }
  const sequence = load32(tcp + Tcp.SEQUENCE);
  Options.readOptions(tcp, <usize>load<u32>(slot, Slot.END), READ);
  if (state === Connection.PROXY_WAITING) {
    splice(connection, more, sequence, flags);
  } else if (sequence !== load<u32>(more, Connection.PROXY_SERVER)) {
    // Not its first SYN+ACK again, whose answer was lost.
    return Reason.SYN_PROXY_STATE;
  }
  acknowledge(connection, more);
  openWindow(slot, connection, more, sequence);
  return 0;
}

function markSpliced(slot: usize): void {
  store<u16>(slot, load<u16>(slot, Slot.FLAGS) | Slot.SPLICED, Slot.FLAGS);
}

/** The server has answered, with the options at READ: from here on all is known that translates. */
function splice(connection: usize, more: usize, sequence: u32, flags: u32): void {
  const agreed = <u32>load<u8>(more, Connection.PROXY_OPTIONS);
  const timed = (load<u8>(READ, Options.READ_FLAGS) & Options.FLAG_TIMESTAMPS) !== 0;
  const selective = (load<u8>(READ, Options.READ_FLAGS) & Options.FLAG_SACK) !== 0;
  const scaled = load<u8>(READ, Options.READ_SCALE) !== Options.NO_SCALE;
  const scale = agreed & Handshake.SCALE_MASK;
  const by = load<u32>(more, Connection.PROXY_COOKIE) - sequence;
  store<u32>(more, sequence, Connection.PROXY_SERVER);
  store<u32>(more, sequence, Connection.EXTENSION_SEQUENCE + Connection.SEQUENCE_POSITION);
  store<u32>(more, by, Connection.EXTENSION_SEQUENCE + Connection.SEQUENCE_BEFORE);
  store<u32>(more, by, Connection.EXTENSION_SEQUENCE + Connection.SEQUENCE_AFTER);
  let lacks: u32 = 0;
  if ((agreed & Handshake.TIMESTAMPS) !== 0) {
    if (timed) {
      store<u8>(more, 1, Connection.PROXY_TIMED);
      const offset = load<u32>(more, Connection.PROXY_TIMESTAMP) - load<u32>(READ, Options.READ_VALUE);
      store<u32>(more, offset, Connection.PROXY_TIMESTAMP_BY);
    } else lacks |= Handshake.TIMESTAMPS;
  }
  if ((agreed & Handshake.SACK) !== 0 && !selective) lacks |= Handshake.SACK;
  if (scale !== <u32>Handshake.NO_SCALE) {
    if (!scaled) {
      lacks |= Handshake.SCALE;
      store<u8>(more, <u8>scale, Connection.PROXY_SHIFT_IN);
    }
    const theirs: i32 = scaled ? <i32>load<u8>(READ, Options.READ_SCALE) : 0;
    store<i8>(more, <i8>(theirs - Handshake.OWN_SCALE), Connection.PROXY_SHIFT_OUT);
  }
  if ((agreed & Handshake.ECN) !== 0 && (flags & Tcp.ECE) === 0) {
    lacks |= Handshake.ECN;
    store<u8>(more, 1, Connection.PROXY_NO_ECN);
  }
  store<u8>(more, Connection.PROXY_SPLICED, Connection.PROXY_STATE);
  Table.noteChange(connection);
  count(Counters.PROXY_SPLICED, 1);
  learn(connection, lacks);
}

/** What this server lacks is not offered to the next client of its service. */
function learn(connection: usize, lacks: u32): void {
  const server = <usize>load<u32>(connection, Connection.SERVER);
  const service: usize = server === 0 ? 0 : <usize>load<u32>(server, Server.SERVICE);
  if (service === 0) return;
  store<u8>(service, <u8>(<u32>load<u8>(service, Service.PROXY_LACKS) | lacks), Service.PROXY_LACKS);
  let mss = <u32>load<u16>(READ, Options.READ_MSS);
  if (mss === 0) mss = load<u8>(connection, Connection.FAMILY) === 4 ? MSS_4 : MSS_6;
  const known = <u32>load<u16>(service, Service.PROXY_MSS);
  if (known === 0 || mss < known) store<u16>(service, <u16>mss, Service.PROXY_MSS);
}

/** The end of the handshake with the server, in the client's numbers: they are translated on the way. */
function acknowledge(connection: usize, more: usize): void {
  const slot = segmentOf(connection, more, false);
  if (slot === 0) return;
  const sequence = load<u32>(more, Connection.PROXY_CLIENT) + 1;
  const acknowledgement = load<u32>(more, Connection.PROXY_COOKIE) + 1;
  const window = <u32>load<u16>(more, Connection.PROXY_WINDOW);
  let at = writeHeader(slot, sequence, acknowledgement, Tcp.ACK, window);
  if (load<u8>(more, Connection.PROXY_TIMED) !== 0) {
    const value = load<u32>(more, Connection.PROXY_CLIENT_TIMESTAMP);
    at = Options.writeTimestamps(at, value, load<u32>(more, Connection.PROXY_TIMESTAMP));
  }
  sealSegment(slot, at);
  toRealServer(slot, connection, false);
}

/** The server's SYN+ACK becomes an ACK that opens the client's window. */
function openWindow(slot: usize, connection: usize, more: usize, sequence: u32): void {
  const agreed = <u32>load<u8>(more, Connection.PROXY_OPTIONS);
  const real = load16(<usize>load<u32>(slot, Slot.TRANSPORT) + Tcp.WINDOW);
  const scaled = (agreed & Handshake.SCALE_MASK) !== Handshake.NO_SCALE;
  let window: u32 = scaled ? real >> Handshake.OWN_SCALE : real;
  if (window === 0 && real !== 0) window = 1;
  // FTP's helper moves the number itself.
  const followed = (load<u32>(connection, Connection.FLAGS) & Connection.FLAG_HELPER) !== 0;
  const first = followed ? sequence : load<u32>(more, Connection.PROXY_COOKIE);
  let at = writeHeader(slot, first + 1, load<u32>(more, Connection.PROXY_CLIENT) + 1, Tcp.ACK, window);
  if ((agreed & Handshake.TIMESTAMPS) !== 0) {
    const value = load<u32>(more, Connection.PROXY_TIMESTAMP);
    at = Options.writeTimestamps(at, value, load<u32>(more, Connection.PROXY_CLIENT_TIMESTAMP));
  }
  sealSegment(slot, at);
  markSpliced(slot);
}
