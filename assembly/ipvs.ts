/**
 * Packets for virtual services: the connection they belong to, or a new one, and on to its server (ip_vs_in); packets
 * of servers on their way to clients (ip_vs_out). The order of the steps is the kernel's.
 */

import { portUnreachable, reset, resetApart } from "./answer";
import { create, end, isAvailable, joinSource } from "./connections";
import { isUnlucky } from "./defence";
import { EMBEDDED, parseEmbedded } from "./embedded";
import { toClientSide, toRealServer } from "./forward";
import { clientAddress, rewriteError } from "./forwarding/nat";
import { spliceError } from "./helper/splice";
import * as Connection from "./layout/connection";
import * as Forwarding from "./layout/forwarding";
import * as Memory from "./layout/memory";
import * as Protocol from "./layout/protocol";
import * as Reason from "./layout/reason";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as State from "./layout/state";
import * as Trace from "./layout/trace";
import * as Verdict from "./layout/verdict";
import { isLimited, refusalOf } from "./limits";
import { answered, destinationPort, incoming, outgoing, portsAreThere, sourcePort } from "./lookup";
import { connectFromServer, IGNORED, NO_ROOM, NO_SERVER, schedulePersistent } from "./persistence";
import { DIRECTION_IN } from "./protocol/direction";
import { hasPorts, isKnown, transition } from "./protocol/index";
import { headerIsWhole, isError, isIcmp, REFUSED, respond, respondError, TURNED } from "./reply";
import { pick } from "./scheduler/index";
import { drop } from "./send";
import { answerSyn, begin, bringsCookie, hear, hold, isProxied } from "./syn-proxy";
import { extension, restart } from "./table/connection";
import { isEnabled, setting, word } from "./table/memory";
import { isOurs } from "./table/ours";
import { isEmbryonic, isSuspect, noteSilence } from "./table/outcome";
import { findRealServer, hasRealServer } from "./table/real";
import { FTP_DATA_PORT, FTP_PORT, findService } from "./table/service";
import { countConnection, countPacketIn } from "./table/stats";
import { noteService, observe } from "./trace";
import { deliver, destinationAt, packetLength, sourceAt } from "./transmit";
import { receiveTunnelError } from "./tunnel-error";
import { transportChecksumIsRight } from "./verify";
import { copy16 } from "./wire/bytes";
import * as Icmp from "./wire/icmp";
import * as Tcp from "./wire/tcp";

/** The packet is nobody's here: it goes on to the host or the router. */
export const CONTINUE: i32 = Verdict.NONE;

const KEY: usize = Memory.LAYOUT_BASE + Memory.SCRATCH + 16;
const ZERO: usize = Memory.LAYOUT_BASE + Memory.ZERO;

/** An address of a packet as a 16-byte key. */
function key(family: u32, address: usize): usize {
  if (family === 4) {
    store<u64>(KEY, <u64>load<u32>(address));
    store<u64>(KEY, 0, 8);
  } else {
    copy16(KEY, address);
  }
  return KEY;
}

/** A packet that may open a connection. */
function isOpening(slot: usize): bool {
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  if (protocol === Protocol.TCP) return Tcp.isSyn(transport);
  // The first chunk is INIT.
  if (protocol === Protocol.SCTP)
    return transport + 16 <= <usize>load<u32>(slot, Slot.END) && load<u8>(transport, 12) === 1;
  return false;
}

/** Whether a SYN on a connection in this state is a new connection's (conn_reuse_mode). */
function isReused(connection: usize, mode: u32): bool {
  if (load<u32>(connection, Connection.CONTROL) !== 0) return false;
  const state = <i32>load<u8>(connection, Connection.STATE);
  const protocol = <i32>load<u8>(connection, Connection.PROTOCOL);
  if (protocol === Protocol.TCP) {
    return (
      state === State.TCP_TIME_WAIT ||
      state === State.TCP_CLOSE ||
      ((mode & 2) !== 0 &&
        state === State.TCP_FIN_WAIT &&
        (load<u32>(connection, Connection.FLAGS) & Connection.FLAG_NO_OUTPUT) !== 0)
    );
  }
  return protocol === Protocol.SCTP && state === State.SCTP_CLOSED;
}

function leave(connection: usize): void {
  if (load<u32>(connection, Connection.CONTROLLED) === 0) end(connection);
}

/** Whether a packet finds its connection over because the server failed: what it opens anew, another one gets. */
function isGivenUp(slot: usize, connection: usize, failure: i32): bool {
  if (failure === Server.FAILURE_RESET || load<u8>(slot, Slot.PROTOCOL) === Protocol.UDP) return true;
  return isOpening(slot) && isEmbryonic(connection);
}

/**
 * The connection that a packet found, unless it is to be scheduled anew: 0 then, and REFUSE when the packet may not
 * go on.
 */
const REFUSE: usize = 1;

function reconsider(slot: usize, connection: usize): usize {
  const server = <usize>load<u32>(connection, Connection.SERVER);
  const failure: i32 = server === 0 ? Server.FAILURE_NONE : load<u8>(server, Server.FAILURE);
  if (failure >= Server.FAILURE_RESET && isGivenUp(slot, connection, failure)) {
    leave(connection);
    return 0;
  }
  if (isOpening(slot)) {
    if (isEmbryonic(connection)) {
      noteSilence(connection);
      // Whoever asks again need not ask a server that does not answer.
      if (isSuspect(server)) {
        leave(connection);
        return 0;
      }
    }
    const mode = setting(Setting.CONN_REUSE_MODE);
    const orphan = setting(Setting.EXPIRE_NODEST_CONN) !== 0 && server !== 0 && load<i32>(server, Server.WEIGHT) === 0;
    if (orphan || isOver(connection) || (mode !== 0 && isReused(connection, mode))) {
      leave(connection);
      return 0;
    }
  }
  if (server !== 0 && !isAvailable(server) && failure === Server.FAILURE_NONE) {
    if (setting(Setting.EXPIRE_NODEST_CONN) !== 0) {
      leave(connection);
      return 0;
    }
    // Ours: what can start anew does so at once; the middle of a TCP connection cannot.
    if (setting(Setting.RESCHEDULE) !== 0 && (isOpening(slot) || load<u8>(slot, Slot.PROTOCOL) === Protocol.UDP)) {
      leave(connection);
      return 0;
    }
    return REFUSE;
  }
  return connection;
}

/** Schedules a packet of a service: a connection, or IGNORED, NO_SERVER, NO_ROOM. */
function schedule(slot: usize, service: usize): usize {
  const client = sourceAt(slot);
  const virtual = destinationAt(slot);
  const clientPort = sourcePort(slot);
  const virtualPort = destinationPort(slot);
  // Never from FTP's data port: those connections are made by the helper, or with persistence on SYN+ACK.
  if (clientPort === FTP_DATA_PORT) return IGNORED;
  let connection: usize;
  if ((load<u32>(service, Service.FLAGS) & Service.FLAG_PERSISTENT) !== 0) {
    connection = schedulePersistent(slot, service, client, clientPort, virtual, virtualPort);
    if (connection <= NO_ROOM) return connection;
  } else {
    const mark = load<u32>(service, Service.MARK);
    // Port 0 takes any port only with persistence.
    if (mark === 0 && virtualPort !== <u32>load<u16>(service, Service.PORT)) return NO_SERVER;
    const server = pick(service, slot);
    if (server === 0) return NO_SERVER;
    const serverPort = <u32>load<u16>(server, Server.PORT);
    const protocol = <u32>load<u8>(slot, Slot.PROTOCOL);
    const onePacket = (load<u32>(service, Service.FLAGS) & Service.FLAG_ONE_PACKET) !== 0 && protocol === Protocol.UDP;
    connection = create(
      <u32>load<u8>(slot, Slot.FAMILY),
      protocol,
      client,
      clientPort,
      virtual,
      virtualPort,
      server + Server.ADDRESS,
      serverPort !== 0 ? serverPort : virtualPort,
      onePacket ? Connection.FLAG_ONE_PACKET : 0,
      server,
      load<u32>(slot, Slot.MARK),
    );
    if (connection === 0) return NO_ROOM;
  }
  countConnection(<usize>load<u32>(connection, Connection.SERVER), service);
  return connection;
}

/** cache_bypass: a connection without server, straight to where the packet wants to go; 0 when there is no room. */
function bypass(slot: usize, service: usize): usize {
  const protocol = <u32>load<u8>(slot, Slot.PROTOCOL);
  const onePacket = (load<u32>(service, Service.FLAGS) & Service.FLAG_ONE_PACKET) !== 0 && protocol === Protocol.UDP;
  return create(
    <u32>load<u8>(slot, Slot.FAMILY),
    protocol,
    sourceAt(slot),
    sourcePort(slot),
    destinationAt(slot),
    destinationPort(slot),
    ZERO,
    0,
    Forwarding.BYPASS | (onePacket ? Connection.FLAG_ONE_PACKET : 0),
    0,
    load<u32>(slot, Slot.MARK),
  );
}

/** No server for a packet of a service (ip_vs_leave). */
function refuse(slot: usize, service: usize): i32 {
  if (
    setting(Setting.CACHE_BYPASS) !== 0 &&
    load<u32>(service, Service.MARK) !== 0 &&
    !isOurs(<u32>load<u8>(slot, Slot.FAMILY), destinationAt(slot))
  ) {
    const connection = bypass(slot, service);
    return connection === 0 ? drop(slot, <i32>word(Memory.REFUSAL)) : forwardOn(slot, connection);
  }
  // With FTP as a service, packets for other ports of its address come here too; they are not ours to refuse.
  if (<u32>load<u16>(service, Service.PORT) === FTP_PORT && destinationPort(slot) !== FTP_PORT) return CONTINUE;
  portUnreachable(slot);
  return drop(slot, Reason.NO_SERVER);
}

/** A packet without connection: scheduled, refused, or nobody's. */
function open(slot: usize): i32 {
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  if (!hasPorts(protocol)) return CONTINUE;
  if (!portsAreThere(slot) || !headerIsWhole(slot)) return drop(slot, Reason.TRANSPORT_TRUNCATED);
  let flags: u32 = 0;
  if (protocol === Protocol.TCP) {
    flags = Tcp.flags(<usize>load<u32>(slot, Slot.TRANSPORT));
    if ((flags & Tcp.RST) !== 0) return CONTINUE;
    // An ACK may bring a cookie back.
    if ((flags & (Tcp.SYN | Tcp.ACK)) === 0 && setting(Setting.SLOPPY_TCP) === 0) return CONTINUE;
  } else if (protocol === Protocol.SCTP) {
    if (!isOpening(slot) && setting(Setting.SLOPPY_SCTP) === 0) return CONTINUE;
  }
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const service = findService(
    family,
    protocol,
    load<u32>(slot, Slot.MARK),
    key(family, destinationAt(slot)),
    destinationPort(slot),
    ZERO,
  );
  if (service === 0) return CONTINUE;
  noteService(service);
  const opening = (flags & (Tcp.SYN | Tcp.ACK | Tcp.FIN)) === <u32>Tcp.SYN;
  if (opening) store<u32>(service, load<u32>(service, Service.SYNS) + 1, Service.SYNS);
  const proxied = protocol === Protocol.TCP && sourcePort(slot) !== FTP_DATA_PORT && isProxied(service);
  if (proxied) {
    if (!opening && ((flags & Tcp.SYN) !== 0 || !bringsCookie(slot))) return CONTINUE;
  } else if (protocol === Protocol.TCP && (flags & Tcp.SYN) === 0 && setting(Setting.SLOPPY_TCP) === 0) {
    return CONTINUE;
  }
  if (isUnlucky()) return drop(slot, Reason.DROP_SETTING);
  if (proxied && opening) return answerSyn(slot, service);
  const limited = isLimited(service);
  const refusal: u32 = limited ? refusalOf(slot, service) : 0;
  if (refusal !== 0) return turnAway(slot, refusal);
  const connection = schedule(slot, service);
  if (connection === IGNORED) return CONTINUE;
  if (connection === NO_SERVER) return proxied ? reset(slot) : refuse(slot, service);
  if (connection === NO_ROOM) return drop(slot, <i32>word(Memory.REFUSAL));
  if (limited) joinSource(connection);
  if (!proxied) return forwardOn(slot, connection);
  observe(slot, connection, Trace.FLAG_FROM_CLIENT);
  return begin(slot, service, connection);
}

/** A client over a limit: told, as far as answers go, or not. */
function turnAway(slot: usize, reason: u32): i32 {
  if (setting(Setting.LIMIT_ANSWER) !== 0) {
    if (load<u8>(slot, Slot.PROTOCOL) === Protocol.TCP) resetApart(slot);
    else portUnreachable(slot);
  }
  return drop(slot, <i32>reason);
}

/** A packet of a connection: counted, its state moved on, sent to the server. */
function forwardOn(slot: usize, connection: usize): i32 {
  observe(slot, connection, Trace.FLAG_FROM_CLIENT);
  countPacketIn(<usize>load<u32>(connection, Connection.SERVER), packetLength(slot));
  transition(connection, slot, DIRECTION_IN);
  store<u32>(connection, load<u32>(connection, Connection.PACKETS) + 1, Connection.PACKETS);
  const verdict = toRealServer(slot, connection, false);
  const flags = load<u32>(connection, Connection.FLAGS);
  // With full NAT the answer needs it.
  if ((flags & (Connection.FLAG_ONE_PACKET | Connection.FLAG_FULL_NAT)) === Connection.FLAG_ONE_PACKET) end(connection);
  else restart(connection);
  return verdict;
}

/** What a server sent to a local address of a full NAT connection goes to its client. */
function answerOn(slot: usize, connection: usize): i32 {
  if (!headerIsWhole(slot)) return drop(slot, Reason.TRANSPORT_TRUNCATED);
  const refusal = toClientSide(slot, clientAddress(connection), false);
  if (refusal !== 0) return drop(slot, <i32>refusal);
  const reason = passBack(slot, connection);
  return reason === 0 ? deliver(slot) : drop(slot, reason);
}

/** A server's packet on its way back, translated. Returns 0, or the reason for which it must not go on. */
function passBack(slot: usize, connection: usize): i32 {
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_PROXY) !== 0) {
    const reason = hear(slot, connection);
    if (reason !== 0) return <i32>reason;
  }
  return respond(slot, connection);
}

/** Of the SYN proxy, and its server has not answered. */
function isUnspliced(connection: usize): bool {
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_PROXY) === 0) return false;
  const more = extension(connection);
  return more === 0 || load<u8>(more, Connection.PROXY_STATE) !== Connection.PROXY_SPLICED;
}

/** Of the SYN proxy, and it came to nothing: the client may begin anew. */
function isOver(connection: usize): bool {
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_PROXY) === 0) return false;
  const more = extension(connection);
  return more === 0 || load<u8>(more, Connection.PROXY_STATE) === Connection.PROXY_OVER;
}

/** A packet for one of the director's addresses. */
export function receiveIn(slot: usize): i32 {
  if (!isEnabled(<u32>load<u8>(slot, Slot.FAMILY))) return CONTINUE;
  if (isIcmp(slot)) {
    const outcome = receiveOut(slot);
    return outcome !== CONTINUE ? outcome : receiveError(slot);
  }
  if (!isKnown(<i32>load<u8>(slot, Slot.PROTOCOL))) return CONTINUE;
  // The kernel looks for a server's answer first; what is a client's packet by its tuple is none.
  let connection = incoming(slot, false);
  if (connection !== 0) {
    if (!headerIsWhole(slot)) return drop(slot, Reason.TRANSPORT_TRUNCATED);
    connection = reconsider(slot, connection);
    if (connection === REFUSE) return drop(slot, Reason.SERVER_UNAVAILABLE);
    if (connection !== 0) return isUnspliced(connection) ? hold(slot, connection) : forwardOn(slot, connection);
  } else {
    const outcome = receiveOut(slot);
    if (outcome !== CONTINUE) return outcome;
  }
  connection = answered(slot, false);
  if (connection !== 0) return answerOn(slot, connection);
  return open(slot);
}

/**
 * A packet that may come from a server: CONTINUE when it is to go on (translated, if it was a connection's), else its
 * verdict.
 */
export function receiveOut(slot: usize): i32 {
  if (isIcmp(slot)) {
    const outcome = respondError(slot);
    if (outcome === REFUSED) return drop(slot, Reason.ICMP_MALFORMED);
    if (outcome !== TURNED) return CONTINUE;
    const refusal = toClientSide(slot, destinationAt(slot), true);
    return refusal === 0 ? deliver(slot) : drop(slot, <i32>refusal);
  }
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  if (!isKnown(protocol)) return CONTINUE;
  const connection = outgoing(slot, false);
  if (connection !== 0) {
    if (!headerIsWhole(slot)) return drop(slot, Reason.TRANSPORT_TRUNCATED);
    const reason = passBack(slot, connection);
    return reason === 0 ? CONTINUE : drop(slot, reason);
  }
  if (word(Memory.ENGINES) !== 0 && protocol === Protocol.UDP && headerIsWhole(slot) && begunByServer(slot))
    return CONTINUE;
  if (setting(Setting.NAT_ICMP_SEND) !== 0 && hasPorts(protocol) && portsAreThere(slot)) return nobodysAnswer(slot);
  return CONTINUE;
}

/** A datagram without connection that a real server forwards through the director: its engine may begin one. */
function begunByServer(slot: usize): bool {
  if ((<u32>load<u16>(slot, Slot.FLAGS) & Slot.TO_DIRECTOR) !== 0 || !portsAreThere(slot)) return false;
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const server = findRealServer(family, Protocol.UDP, key(family, sourceAt(slot)), sourcePort(slot), true);
  if (server === 0) return false;
  const connection = connectFromServer(slot, server, destinationAt(slot), destinationPort(slot));
  if (connection === 0) return false;
  respond(slot, connection);
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_ONE_PACKET) !== 0) end(connection);
  return true;
}

/** nat_icmp_send: a real server that speaks without a connection is told so. */
function nobodysAnswer(slot: usize): i32 {
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  if (!hasRealServer(family, protocol, key(family, sourceAt(slot)), sourcePort(slot))) return CONTINUE;
  if (protocol === Protocol.TCP && headerIsWhole(slot) && (Tcp.flags(transport) & Tcp.RST) !== 0) return CONTINUE;
  // ABORT is SCTP's reset.
  if (protocol === Protocol.SCTP && transport + 16 <= <usize>load<u32>(slot, Slot.END) && load<u8>(transport, 12) === 6)
    return CONTINUE;
  portUnreachable(slot);
  return drop(slot, Reason.STATE_INVALID);
}

/** An ICMP error from the clients' side about what a server had sent: translated, and sent to that server. */
export function receiveError(slot: usize): i32 {
  const icmp = <usize>load<u32>(slot, Slot.TRANSPORT);
  if (icmp + Icmp.SIZE > <usize>load<u32>(slot, Slot.END)) return drop(slot, Reason.ICMP_MALFORMED);
  if (!isError(slot)) return CONTINUE;
  if (load<u8>(slot, Slot.FAMILY) === 4 && (<u32>load<u16>(slot, Slot.FLAGS) & Slot.TO_DIRECTOR) !== 0) {
    const verdict = receiveTunnelError(slot, icmp + Icmp.SIZE);
    if (verdict !== CONTINUE) return verdict;
  }
  if (!parseEmbedded(slot, icmp + Icmp.SIZE)) return CONTINUE;
  if (!isKnown(<i32>load<u8>(EMBEDDED, Slot.PROTOCOL))) return CONTINUE;
  const connection = incoming(EMBEDDED, true);
  if (connection === 0) return CONTINUE;
  if (!transportChecksumIsRight(slot)) return drop(slot, Reason.TRANSPORT_CHECKSUM);
  observe(slot, connection, Trace.FLAG_FROM_CLIENT | Trace.FLAG_ERROR);
  countPacketIn(<usize>load<u32>(connection, Connection.SERVER), packetLength(slot));
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_PROXY) !== 0) spliceError(EMBEDDED, connection, false);
  if ((load<u32>(connection, Connection.FLAGS) & Connection.METHOD_MASK) === Forwarding.NAT)
    rewriteError(slot, EMBEDDED, connection, false);
  return toRealServer(slot, connection, true);
}
