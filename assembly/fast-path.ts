/**
 * The fast path: what most frames are, a segment or datagram of an established NAT connection over IPv4 and Ethernet,
 * from its receipt to its place in SEND in one function.
 *
 * It is a list of guards, which read only, and then the work, which cannot fail. A frame that a guard turns away takes
 * the general path (director.ts) from its begin, as if nothing had been; one that passes them all leaves as it would
 * have left there, byte by byte, with the same counters, timers and states (test/differential/fast-path.test.ts).
 *
 * A stage that must see every frame, or every one of some connections, closes the path for them: a word in isOpen(),
 * or a flag of the connection, of which ORDINARY are the only ones that pass.
 */
import * as Address from "./layout/address";
import * as Connection from "./layout/connection";
import * as Index from "./layout/connection-index";
import * as Counters from "./layout/counters";
import * as Forwarding from "./layout/forwarding";
import * as Hint from "./layout/hint";
import * as Memory from "./layout/memory";
import * as Neighbour from "./layout/neighbour";
import * as Port from "./layout/port";
import * as Protocol from "./layout/protocol";
import * as Route from "./layout/route";
import * as Server from "./layout/server";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as State from "./layout/state";
import * as Verdict from "./layout/verdict";
import * as Worker from "./layout/worker";
import { findNeighbour4 } from "./neighbour";
import { assureControl } from "./protocol/control";
import { append } from "./send";
import { findAddress4 } from "./table/address";
import { candidates, lineOf, nextLine, restart, tagOf } from "./table/connection";
import { count, countAt, setting, word } from "./table/memory";
import { countReceived } from "./table/port";
import { findRoute4 } from "./table/route";
import { countServedIn, countServedOut } from "./table/stats";
import { swap16 } from "./wire/bytes";
import { fold, updateSum } from "./wire/checksum";
import * as Ethernet from "./wire/ethernet";
import * as Ipv4 from "./wire/ipv4";
import * as Tcp from "./wire/tcp";
import * as Udp from "./wire/udp";
import * as Vnet from "./wire/virtionet";

const HEADERS: u32 = Vnet.SIZE + Ethernet.SIZE;
/** MF and offset of the IPv4 header's second word, as it lies in memory. */
const FRAGMENT_RAW: u32 = 0xff3f0000;
/** Flags of a segment that moves no state of an established connection. */
const STATE_FLAGS: u32 = Tcp.SYN | Tcp.FIN | Tcp.RST | Tcp.ACK;
/** Flags that a connection may have, and no other. Its method is NAT. */
const ORDINARY: u32 =
  Connection.FLAG_USED |
  Connection.FLAG_HASHED |
  Connection.FLAG_COUNTED |
  Connection.FLAG_INACTIVE |
  Connection.FLAG_SOURCE |
  Connection.FLAG_JUDGED;
/** States in which a neighbour is sent to at once, and stays as it is. */
const SENDABLE: u32 =
  (1 << Neighbour.STATE_REACHABLE) |
  (1 << Neighbour.STATE_DELAY) |
  (1 << Neighbour.STATE_PROBE) |
  (1 << Neighbour.STATE_PERMANENT);
/** Flags and segmentation of a vnet header that leave work to a device. */
const OFFLOAD: u32 = 0xff00 | Vnet.NEEDS_CHECKSUM;
const MAC_MASK: u64 = 0xffffffffffff;
/** What counting TTL down adds to the header's one's complement sum, inverted old and new word together. */
const TTL_STEP: u64 = 0xfffe;

/** Whether any frame of this breath may take the fast path. All of it changes between breaths only. */
export function isOpen(): bool {
  return (
    word(Memory.ENABLED_4) !== 0 &&
    word(Memory.IP_FORWARD) !== 0 &&
    (word(Memory.GENERAL_PATH_ONLY) |
      word(Memory.TRACE_ON) |
      word(Memory.MARK_COUNT) |
      word(Memory.LOCAL_ROUTE_COUNT)) ===
      0
  );
}

/**
 * Marks the frame of `slot` as a plain one, if it is: a whole TCP segment that moves no state, or a UDP datagram, for
 * our MAC, in an IPv4 header without options, that no check of the general path would drop. What is known of it: it is
 * of a port with link header, its type and first byte are those of such a header, its protocol is one of these two, and
 * its ports lie within its `length`. `hint` tells which side its hash is of, `record` is its destination's (0: not ours).
 */
export function markPlain(
  slot: usize,
  port: usize,
  frame: usize,
  length: u32,
  hint: u32,
  record: usize,
  first: u32,
  third: u32,
  source: u32,
  destination: u32,
  ports: u32,
): void {
  const ip = frame + <usize>HEADERS;
  const transport = ip + Ipv4.SIZE;
  const target = load<u64>(frame, Vnet.SIZE);
  if ((target ^ load<u64>(port, Port.MAC)) << 16 !== 0) return;
  if ((<u32>target & 1) !== 0) return;
  const second = load<u32>(ip, Ipv4.ID);
  if ((second & FRAGMENT_RAW) !== 0) return;
  if ((third & 0xff) <= 1) return;
  if (fold(<u64>first + <u64>second + <u64>third + <u64>source + <u64>destination) !== 0xffff) return;
  const total = swap16(first >> 16);
  if (total + HEADERS > length) return;
  if (length > <u32>Slot.FRAME_MAX) return;
  // 1.0.0.0 to 223.255.255.255 without 127.0.0.0/8.
  if ((source & 0xff) - 1 >= 223) return;
  if (Ipv4.isLoopback(source)) return;
  if ((destination & 0xff) - 1 >= 223) return;
  if (Ipv4.isLoopback(destination)) return;
  if (findAddress4(source) !== 0) return;
  if (record !== 0) {
    if ((load<u8>(record, Address.FLAGS) & Address.FLAG_BROADCAST) !== 0) return;
  }
  // Who sends from port 0 is looked for in a way of his own.
  if ((ports & 0xffff) === 0) return;
  const offload = <u32>load<u16>(frame) & OFFLOAD;
  if (((third >> 8) & 0xff) === Protocol.TCP) {
    if (total < <u32>(Ipv4.SIZE + Tcp.SIZE)) return;
    if ((<u32>load<u8>(transport, Tcp.FLAGS) & STATE_FLAGS) !== <u32>Tcp.ACK) return;
    if (offload !== 0) {
      if (!isUsualOffload(frame, transport, total, true)) return;
    }
  } else {
    if (total < <u32>(Ipv4.SIZE + Udp.SIZE)) return;
    if (offload !== 0) {
      if (!isUsualOffload(frame, transport, total, false)) return;
    } else {
      // A datagram without checksum gets one.
      if (load<u16>(transport, Udp.CHECKSUM) === 0) return;
    }
  }
  store<u8>(slot, <u8>(hint | Hint.HINT_PLAIN), Slot.HINT);
}

/** Whether a partial checksum, and segments to be cut, are those of this very packet. */
function isUsualOffload(frame: usize, transport: usize, total: u32, isTcp: bool): bool {
  if ((load<u8>(frame, Vnet.FLAGS) & Vnet.NEEDS_CHECKSUM) === 0) return false;
  if (load<u16>(frame, Vnet.CHECKSUM_START) !== Ethernet.SIZE + Ipv4.SIZE) return false;
  if (<i32>load<u16>(frame, Vnet.CHECKSUM_OFFSET) !== (isTcp ? Tcp.CHECKSUM : Udp.CHECKSUM)) return false;
  const type = <i32>load<u8>(frame, Vnet.GSO_TYPE);
  if (type === Vnet.GSO_NONE) return true;
  if (load<u16>(frame, Vnet.GSO_SIZE) === 0) return false;
  const header = transportHeader(transport, isTcp);
  const least: u32 = isTcp ? Tcp.SIZE : Udp.SIZE;
  if (header < least || header + Ipv4.SIZE >= total) return false;
  return (type & ~Vnet.GSO_ECN) === (isTcp ? Vnet.GSO_TCPV4 : Vnet.GSO_UDP_L4);
}

function transportHeader(transport: usize, isTcp: bool): u32 {
  return isTcp ? Tcp.headerLength(transport) : <u32>Udp.SIZE;
}

/**
 * The connection whose client sent the packet at `ip`, or 0: addresses and ports lie there as in the record. `guess` is
 * the first reference that fits the hash, or 0 where that is not known.
 */
function ofClient(guess: usize, hash: u32, ip: usize, protocol: u32): usize {
  const addresses = load<u64>(ip, Ipv4.SOURCE);
  const ports = load<u32>(ip, Ipv4.SIZE);
  if (guess !== 0 && (guess & Index.REPLY) === 0) {
    if (load<u64>(guess) === addresses) {
      if (load<u32>(guess, Connection.CLIENT_PORT) === ports) {
        if (<u32>load<u8>(guess, Connection.PROTOCOL) === protocol) return guess;
      }
    }
  }
  const tag = tagOf(hash);
  let line = lineOf(hash);
  while (true) {
    for (let mask = candidates(line, tag); mask !== 0; mask &= mask - 1) {
      const connection = <usize>load<u32>(line + ((<usize>ctz(mask)) << 2), Index.REFERENCES);
      if ((connection & Index.REPLY) !== 0) continue;
      if (load<u64>(connection) !== addresses) continue;
      if (load<u32>(connection, Connection.CLIENT_PORT) !== ports) continue;
      if (<u32>load<u8>(connection, Connection.PROTOCOL) === protocol) return connection;
    }
    if (load<u16>(line, Index.OVERFLOW) === 0) return 0;
    line = nextLine(line);
  }
}

/** The NAT connection whose server sent the packet at `ip`, or 0. */
function ofServer(guess: usize, hash: u32, ip: usize, protocol: u32): usize {
  const source = load<u32>(ip, Ipv4.SOURCE);
  const client = load<u32>(ip, Ipv4.DESTINATION);
  const ports = load<u32>(ip, Ipv4.SIZE);
  if (guess !== 0 && (guess & Index.REPLY) === 0) {
    if (load<u32>(guess) === client) {
      if (load<u32>(guess, Connection.SERVER_ADDRESS) === source) {
        if (<u32>load<u16>(guess, Connection.CLIENT_PORT) === ports >> 16) {
          if (<u32>load<u16>(guess, Connection.SERVER_PORT) === (ports & 0xffff)) {
            if (<u32>load<u8>(guess, Connection.PROTOCOL) === protocol) return guess;
          }
        }
      }
    }
  }
  const tag = tagOf(hash);
  let line = lineOf(hash);
  while (true) {
    for (let mask = candidates(line, tag); mask !== 0; mask &= mask - 1) {
      const connection = <usize>load<u32>(line + ((<usize>ctz(mask)) << 2), Index.REFERENCES);
      if ((connection & Index.REPLY) !== 0) continue;
      if (load<u32>(connection) !== client) continue;
      if (load<u32>(connection, Connection.SERVER_ADDRESS) !== source) continue;
      if (<u32>load<u16>(connection, Connection.CLIENT_PORT) !== ports >> 16) continue;
      if (<u32>load<u16>(connection, Connection.SERVER_PORT) !== (ports & 0xffff)) continue;
      if (<u32>load<u8>(connection, Connection.PROTOCOL) === protocol) return connection;
    }
    if (load<u16>(line, Index.OVERFLOW) === 0) return 0;
    line = nextLine(line);
  }
}

/**
 * Forwards the frames of RECEIVED from place `from` on, as long as markPlain() has marked them in this breath and no guard
 * turns one away: of that one nothing has changed. `end` is not beyond RECEIVED_COUNT, and SEND has room for so many.
 * Returns the place of the first one that stays.
 */
export function forwardPlain(queue: usize, from: u32, end: u32): u32 {
  // In here none comes or goes.
  const isCurrent = word(Memory.INDEX_CHANGED) === 0;
  let bytes: u64 = 0;
  let done = from;
  for (; done < end; done++) {
    const slot = <usize>load<u32>(queue + <usize>(done << 2), Worker.RECEIVED);
    const hint = load<u8>(slot, Slot.HINT);
    if ((hint & Hint.HINT_PLAIN) === 0) break;
    store<u32>(queue, done + 1, Worker.DONE);
    const frame = <usize>load<u32>(slot, Slot.FRAME);
    const ip = frame + <usize>HEADERS;
    const transport = ip + Ipv4.SIZE;
    const protocol = <u32>load<u8>(ip, Ipv4.PROTOCOL);
    const isIn = (hint & Hint.HINT_SOURCE) !== 0;

    // Its connection.
    const hash = load<u32>(slot, Slot.HASH);
    const guess: usize = isCurrent ? <usize>load<u32>(queue + <usize>(done << 2), Worker.FOUND) : 0;
    const connection = isIn ? ofClient(guess, hash, ip, protocol) : ofServer(guess, hash, ip, protocol);
    if (connection === 0) break;
    if ((load<u32>(connection, Connection.FLAGS) & ~ORDINARY) !== Forwarding.NAT) break;
    if (protocol === Protocol.TCP) {
      if (load<u8>(connection, Connection.STATE) !== State.TCP_ESTABLISHED) break;
    }
    const server = <usize>load<u32>(connection, Connection.SERVER);
    if (server === 0) break;
    if ((load<u32>(server, Server.FLAGS) & Server.FLAG_AVAILABLE) === 0) break;

    // Its way out.
    let route: usize;
    let hop: u32;
    if (isIn) {
      if (load<u32>(server, Server.WAY_GENERATION) !== word(Memory.GENERATION)) break;
      if (load<u8>(server, Server.ROUTE_MODE) === Server.ROUTE_NONE) {
        if (setting(Setting.KERNEL_QUIRKS) !== 0) break;
      }
      route = <usize>load<u32>(server, Server.WAY);
      if (route <= <usize>Server.WAY_LOCAL) break;
      hop = load<u32>(connection, Connection.SERVER_ADDRESS);
    } else {
      hop = load<u32>(ip, Ipv4.DESTINATION);
      route = findRoute4(hop);
      if (route === 0) break;
    }
    const gateway = load<u32>(route, Route.GATEWAY);
    if (gateway !== 0) hop = gateway;
    const port = <usize>load<u32>(route, Route.PORT);
    if (load<u8>(port, Port.UP) === 0) break;
    const capabilities = <u32>load<u8>(port, Port.CAPABILITIES);
    if ((capabilities & Port.CAPABILITY_LINK) === 0) break;
    const total = Ipv4.totalLength(ip);
    let mtu = load<u32>(route, Route.MTU);
    if (mtu === 0) mtu = load<u32>(port, Port.MTU);
    const offload = <u32>load<u16>(frame) & OFFLOAD;
    if (offload === 0) {
      if (total > mtu) break;
    } else {
      if (!isCarried(frame, transport, total, protocol === Protocol.TCP, capabilities, mtu)) break;
    }
    const neighbour = findNeighbour4(port, hop);
    if (neighbour === 0) break;
    if (((1 << (<u32>load<u8>(neighbour, Neighbour.STATE))) & SENDABLE) === 0) break;

    // All guards are passed. Counters, state and timer:
    bytes += <u64>countReceived(slot);
    let at: usize;
    let to: u64;
    let portTo: u32;
    let portAt = transport;
    if (isIn) {
      countServedIn(server, total);
      store<u32>(connection, load<u32>(connection, Connection.PACKETS) + 1, Connection.PACKETS);
      at = ip + Ipv4.DESTINATION;
      to = <u64>load<u32>(connection, Connection.SERVER_ADDRESS);
      portTo = <u32>load<u16>(connection, Connection.SERVER_PORT);
      portAt += Tcp.DESTINATION_PORT;
    } else {
      countServedOut(server, total);
      at = ip + Ipv4.SOURCE;
      to = <u64>load<u32>(connection, Connection.VIRTUAL_ADDRESS);
      portTo = <u32>load<u16>(connection, Connection.VIRTUAL_PORT);
    }
    let checkAt = transport;
    if (protocol === Protocol.TCP) {
      checkAt += Tcp.CHECKSUM;
      store<u32>(connection, setting(Setting.TIMEOUT_TCP), Connection.TIMEOUT);
    } else {
      checkAt += Udp.CHECKSUM;
      if (!isIn) assureControl(connection);
      store<u8>(connection, State.UDP_NORMAL, Connection.STATE);
      store<u32>(connection, setting(Setting.TIMEOUT_UDP), Connection.TIMEOUT);
    }
    restart(connection);

    // One address and port rewritten, TTL counted down, checksums by the difference:
    const from = <u64>load<u32>(at);
    const portFrom = <u32>load<u16>(portAt);
    store<u32>(at, <u32>to);
    store<u16>(portAt, <u16>portTo);
    const life = load<u32>(ip, Ipv4.TTL);
    store<u32>(ip, ((life & 0xffff) - 1) | (updateSum(life >> 16, from, to + TTL_STEP) << 16), Ipv4.TTL);
    const old = <u32>load<u16>(checkAt);
    if ((offload & Vnet.NEEDS_CHECKSUM) !== 0) {
      store<u16>(checkAt, <u16>~updateSum(~old & 0xffff, from, to));
    } else {
      let check = updateSum(old, from + <u64>portFrom, to + <u64>portTo);
      // RFC 768: zero means "no checksum"; a computed zero is sent as all ones.
      if (check === 0) {
        if (protocol === Protocol.UDP) check = 0xffff;
      }
      store<u16>(checkAt, <u16>check);
    }

    // The link header, and its place in SEND:
    store<u32>(neighbour, word(Memory.NOW), Neighbour.USED);
    const mac = load<u64>(port, Port.MAC);
    store<u64>(frame, (load<u64>(neighbour, Neighbour.MAC) & MAC_MASK) | (mac << 48), Vnet.SIZE);
    store<u32>(frame, <u32>(mac >> 16), Vnet.SIZE + 8);
    store<u32>(slot, total + HEADERS, Slot.LENGTH);
    append(queue, load<u32>(queue, Worker.SEND_COUNT), slot, port, total + HEADERS + load<u32>(slot, Slot.BODY_LENGTH));
  }
  count(Counters.VERDICTS + (Verdict.FORWARD << 3), <u64>(done - from));
  countAt(queue + Worker.BYTES_IN, bytes);
  return done;
}

/** Whether a port of these capabilities completes the checksum and cuts the segments of what fits its MTU then. */
function isCarried(frame: usize, transport: usize, total: u32, isTcp: bool, capabilities: u32, mtu: u32): bool {
  if ((capabilities & Port.CAPABILITY_CHECKSUM) === 0) return false;
  if (load<u8>(frame, Vnet.GSO_TYPE) === 0) return total <= mtu;
  if ((capabilities & (isTcp ? Port.CAPABILITY_TSO4 : Port.CAPABILITY_USO)) === 0) return false;
  const segment = transportHeader(transport, isTcp) + Ipv4.SIZE + <u32>load<u16>(frame, Vnet.GSO_SIZE);
  return min<u32>(segment, total) <= mtu;
}
