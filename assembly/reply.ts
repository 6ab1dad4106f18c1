/** What servers send back: translated towards the client, and the connection's state moved on (ip_vs_out). */

import { EMBEDDED, parseEmbedded } from "./embedded";
import { clampAnswer } from "./forwarding/mss";
import { rewriteError, toClient } from "./forwarding/nat";
import { fromServer } from "./helper/ftp";
import { spliceError, spliceOut } from "./helper/splice";
import * as Connection from "./layout/connection";
import * as Forwarding from "./layout/forwarding";
import * as Protocol from "./layout/protocol";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as Trace from "./layout/trace";
import { answered, outgoing } from "./lookup";
import { DIRECTION_OUT } from "./protocol/direction";
import { hasPorts, isKnown, transition } from "./protocol/index";
import { noteChange, restart } from "./table/connection";
import { isEnabled, setting } from "./table/memory";
import { isEmbryonic, noteRefusal } from "./table/outcome";
import { countPacketOut } from "./table/stats";
import { observe } from "./trace";
import { packetLength } from "./transmit";
import { transportChecksumIsRight } from "./verify";
import * as Icmp from "./wire/icmp";
import * as Tcp from "./wire/tcp";

/** Outcomes of looking at a packet. */
export const UNRELATED: i32 = 0;
/** It is of a connection, and goes on its way. */
export const RELATED: i32 = 1;
/** It must not go on. */
export const REFUSED: i32 = 2;
/** It is of a full NAT connection, and goes to the client instead of us. */
export const TURNED: i32 = 3;

/** Whether the transport header that state and rewriting need lies whole in the packet. */
export function headerIsWhole(slot: usize): bool {
  const transport = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  if (protocol === Protocol.TCP) return transport + Tcp.SIZE <= end;
  if (protocol === Protocol.UDP) return transport + 8 <= end;
  if (protocol === Protocol.SCTP) return transport + 12 <= end;
  return true;
}

function isNat(connection: usize): bool {
  return (load<u32>(connection, Connection.FLAGS) & Connection.METHOD_MASK) === Forwarding.NAT;
}

function isTunnel(connection: usize): bool {
  return (load<u32>(connection, Connection.FLAGS) & Connection.METHOD_MASK) === Forwarding.TUNNEL;
}

/** A packet of a connection's server goes to the client. Returns 0, or the reason for which it must not. */
export function respond(slot: usize, connection: usize): i32 {
  observe(slot, connection, Trace.FLAG_FROM_SERVER);
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_HELPER) !== 0) {
    const reason = fromServer(slot, connection);
    if (reason !== 0) return reason;
  }
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_PROXY) !== 0) spliceOut(slot, connection);
  if (isNat(connection)) toClient(slot, connection);
  noteAnswer(slot, connection);
  if (isTunnel(connection) && setting(Setting.MSS_CLAMP) !== 0) clampAnswer(slot, connection);
  countPacketOut(<usize>load<u32>(connection, Connection.SERVER), packetLength(slot));
  transition(connection, slot, DIRECTION_OUT);
  restart(connection);
  return 0;
}

/** Full NAT: a segment after its SYN shows that the server has taken an ACK, with all that it said of the client. */
function noteAnswer(slot: usize, connection: usize): void {
  const flags = load<u32>(connection, Connection.FLAGS);
  if ((flags & (Connection.FLAG_FULL_NAT | Connection.FLAG_TOLD)) !== Connection.FLAG_FULL_NAT) return;
  if (load<u8>(slot, Slot.PROTOCOL) !== Protocol.TCP || Tcp.isSyn(<usize>load<u32>(slot, Slot.TRANSPORT))) return;
  store<u32>(connection, flags | Connection.FLAG_TOLD, Connection.FLAGS);
  noteChange(connection);
}

/** An ICMP error of type that may be about a connection. */
export function isError(slot: usize): bool {
  const type = <i32>load<u8>(<usize>load<u32>(slot, Slot.TRANSPORT));
  if (load<u8>(slot, Slot.FAMILY) === 6) return type < 128;
  return type === Icmp.UNREACHABLE || type === Icmp.SOURCE_QUENCH || type === Icmp.TIME_EXCEEDED;
}

export function isIcmp(slot: usize): bool {
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  return load<u8>(slot, Slot.FAMILY) === 4 ? protocol === Protocol.ICMP : protocol === Protocol.ICMPV6;
}

/** An ICMP error from the servers' side about what a client had sent: translated for the client. */
export function respondError(slot: usize): i32 {
  const icmp = <usize>load<u32>(slot, Slot.TRANSPORT);
  if (icmp + Icmp.SIZE > <usize>load<u32>(slot, Slot.END)) return REFUSED;
  if (!isError(slot)) return UNRELATED;
  if (!parseEmbedded(slot, icmp + Icmp.SIZE)) return RELATED;
  if (!isKnown(<i32>load<u8>(EMBEDDED, Slot.PROTOCOL))) return RELATED;
  let connection = outgoing(EMBEDDED, true);
  const turned = connection === 0;
  if (turned) connection = answered(EMBEDDED, true);
  if (connection === 0) return RELATED;
  if (!transportChecksumIsRight(slot)) return REFUSED;
  observe(slot, connection, Trace.FLAG_FROM_SERVER | Trace.FLAG_ERROR);
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_PROXY) !== 0) spliceError(EMBEDDED, connection, true);
  if (isNat(connection)) {
    noteUnreachable(icmp, load<u8>(slot, Slot.FAMILY) === 4, connection);
    rewriteError(slot, EMBEDDED, connection, true);
  }
  countPacketOut(<usize>load<u32>(connection, Connection.SERVER), packetLength(slot));
  return turned ? TURNED : RELATED;
}

/** A server, or somebody on the way to it, says that it cannot have what its client sent. */
function noteUnreachable(icmp: usize, four: bool, connection: usize): void {
  const type = <i32>load<u8>(icmp, Icmp.TYPE);
  if (
    four
      ? type !== Icmp.UNREACHABLE || load<u8>(icmp, Icmp.CODE) === Icmp.FRAGMENTATION_NEEDED
      : type !== Icmp.V6_UNREACHABLE
  )
    return;
  if (load<u8>(connection, Connection.PROTOCOL) === Protocol.UDP || isEmbryonic(connection)) noteRefusal(connection);
}

/** A packet that the director itself sends may be the answer of a real server that it is. */
export function replyFromDirector(slot: usize): void {
  if (!isEnabled(<u32>load<u8>(slot, Slot.FAMILY))) return;
  if (isIcmp(slot)) {
    respondError(slot);
    return;
  }
  if (!hasPorts(<i32>load<u8>(slot, Slot.PROTOCOL)) || !headerIsWhole(slot)) return;
  let connection = outgoing(slot, false);
  if (connection === 0) connection = answered(slot, false);
  if (connection !== 0) respond(slot, connection);
}
