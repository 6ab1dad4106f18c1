/** Protocols that connections are kept for. */
import * as Protocol from "../layout/protocol";
import * as Slot from "../layout/slot";
import * as Sctp from "./sctp";
import * as Tcp from "./tcp";
import * as Udp from "./udp";

/** Whether IPVS looks at packets of this protocol at all. */
export function isKnown(protocol: i32): bool {
  return hasPorts(protocol) || protocol === Protocol.ESP || protocol === Protocol.AH;
}

export function hasPorts(protocol: i32): bool {
  return protocol === Protocol.TCP || protocol === Protocol.UDP || protocol === Protocol.SCTP;
}

/** Moves the connection's state on as this packet says. The transport header MUST lie whole in the packet. */
export function transition(connection: usize, slot: usize, direction: u32): void {
  const protocol = <i32>load<u8>(slot, Slot.PROTOCOL);
  if (protocol === Protocol.TCP) Tcp.transition(connection, <usize>load<u32>(slot, Slot.TRANSPORT), direction);
  else if (protocol === Protocol.UDP) Udp.transition(connection, direction);
  else if (protocol === Protocol.SCTP) Sctp.transition(connection, slot, direction);
}
