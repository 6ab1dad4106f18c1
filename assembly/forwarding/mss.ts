/**
 * MSS clamping for tunnels. What a server says in its SYN+ACK bounds what its client will send, and that is what goes
 * through the tunnel. (A client's own SYN bounds the answers, which do not: it is left alone.) Only answers that pass
 * by here can be clamped; see docs/ipvs-parity.md for the others.
 */
import * as Connection from "../layout/connection";
import * as Protocol from "../layout/protocol";
import * as Server from "../layout/server";
import * as Slot from "../layout/slot";
import { load16, store16 } from "../wire/bytes";
import { update16 } from "../wire/checksum";
import * as Ipv4 from "../wire/ipv4";
import * as Ipv6 from "../wire/ipv6";
import { isPartial } from "../wire/offload";
import * as Tcp from "../wire/tcp";
import { tunnelOverhead } from "./tunnel";

const OPTION_END: u32 = 0;
const OPTION_NONE: u32 = 1;
const OPTION_MSS: u32 = 2;
const OPENING: u32 = Tcp.SYN | Tcp.ACK;
/** RFC 9293: what everybody takes. */
const MSS_MIN: u32 = 536;

/** A server's SYN+ACK promises no more than fits the tunnel to it. The TCP header MUST lie whole in the packet. */
export function clampAnswer(slot: usize, connection: usize): void {
  const server = <usize>load<u32>(connection, Connection.SERVER);
  if (server === 0 || load<u8>(slot, Slot.PROTOCOL) !== Protocol.TCP) return;
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  if ((Tcp.flags(tcp) & OPENING) !== OPENING) return;
  const header: u32 = Tcp.SIZE + (load<u8>(slot, Slot.FAMILY) === 4 ? Ipv4.SIZE : Ipv6.SIZE);
  const path = <u32>load<u16>(server, Server.ROUTE_MTU);
  const taken = tunnelOverhead(server) + header;
  if (path < taken + MSS_MIN) return;
  const at = findMss(tcp, <usize>load<u32>(slot, Slot.END));
  if (at === 0 || load16(at) <= path - taken) return;
  const old = <u32>load<u16>(at);
  store16(at, path - taken);
  if (isPartial(slot)) return;
  const check = tcp + Tcp.CHECKSUM;
  // An option may begin at an odd place: its bytes then count the other way round.
  const odd = ((at - tcp) & 1) !== 0;
  const from = odd ? swap(old) : old;
  const to = odd ? swap(<u32>load<u16>(at)) : <u32>load<u16>(at);
  store<u16>(check, <u16>update16(<u32>load<u16>(check), from, to));
}

function swap(value: u32): u32 {
  return ((value & 0xff) << 8) | (value >> 8);
}

/** Where the value of the MSS option lies, or 0. */
function findMss(tcp: usize, limit: usize): usize {
  let end = tcp + <usize>Tcp.headerLength(tcp);
  if (end > limit) end = limit;
  for (let at = tcp + Tcp.SIZE; at < end; ) {
    const kind = <u32>load<u8>(at);
    if (kind === OPTION_END) return 0;
    if (kind === OPTION_NONE) {
      at++;
      continue;
    }
    if (at + 2 > end) return 0;
    const length = <usize>load<u8>(at, 1);
    if (length < 2 || at + length > end) return 0;
    if (kind === OPTION_MSS) return length === 4 ? at + 2 : 0;
    at += length;
  }
  return 0;
}
