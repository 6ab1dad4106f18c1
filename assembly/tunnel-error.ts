/** ICMP errors about packets that went into a tunnel: their sender, the client, is told (ip_vs_in_icmp). */

import { complain } from "./answer";
import { EMBEDDED, parseEmbedded } from "./embedded";
import * as Connection from "./layout/connection";
import * as Forwarding from "./layout/forwarding";
import * as Memory from "./layout/memory";
import * as Protocol from "./layout/protocol";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { incoming } from "./lookup";
import { isKnown } from "./protocol/index";
import { now, setting, word } from "./table/memory";
import { giveSlot } from "./table/slot";
import { countPacketOut } from "./table/stats";
import { packetLength } from "./transmit";
import { load16, load32 } from "./wire/bytes";
import * as Icmp from "./wire/icmp";
import * as Ipv4 from "./wire/ipv4";

/** How long a path MTU is believed, and the least that is (Linux: mtu_expires, min_pmtu). */
const PATH_MTU_LIFE: u32 = 600 * Memory.TICKS_PER_SECOND;
const PATH_MTU_MIN: u32 = 552;
const MTU_MIN: u32 = 68;

/** A server with this address (raw) that is reached through this kind of tunnel and port (raw), or 0. */
function findTunnel(addressBe: u32, type: i32, port: u32): usize {
  let service = <usize>word(Memory.SERVICES_HEAD);
  while (service !== 0) {
    let server = <usize>load<u32>(service, Service.SERVERS_HEAD);
    while (server !== 0) {
      if (
        load<u32>(server, Server.FORWARDING) === Forwarding.TUNNEL &&
        load<u8>(server, Server.FAMILY) === 4 &&
        <i32>load<u8>(server, Server.TUNNEL_TYPE) === type &&
        load<u32>(server, Server.ADDRESS) === addressBe &&
        (type !== Forwarding.TUNNEL_GUE || <u32>load<u16>(server, Server.TUNNEL_PORT) === port)
      )
        return server;
      server = <usize>load<u32>(server, Server.NEXT);
    }
    service = <usize>load<u32>(service, Service.NEXT);
  }
  return 0;
}

/** Where the packet inside a tunnel begins, `outer` being the tunnel's header as quoted; 0 when it is no tunnel of ours. */
function innerPacket(outer: usize, end: usize): usize {
  if (outer + Ipv4.SIZE > end || <u32>load<u8>(outer) >> 4 !== 4) return 0;
  if ((load16(outer + Ipv4.FRAGMENT) & Ipv4.OFFSET_MASK) !== 0) return 0;
  const header = <usize>Ipv4.headerLength(outer);
  if (header < <usize>Ipv4.SIZE) return 0;
  const at = outer + header;
  const protocol = <i32>load<u8>(outer, Ipv4.PROTOCOL);
  const destination = load<u32>(outer, Ipv4.DESTINATION);
  if (protocol === Protocol.IPIP) return at;
  if (protocol === Protocol.UDP) {
    if (at + 12 > end || findTunnel(destination, Forwarding.TUNNEL_GUE, <u32>load<u16>(at, 2)) === 0) return 0;
    const first = <u32>load<u8>(at, 8);
    // Version 0, no control message; options counted in words.
    if ((first & 0xe0) !== 0 || load<u8>(at, 9) !== Protocol.IPIP) return 0;
    return at + 12 + <usize>((first & 31) << 2);
  }
  if (protocol === Protocol.GRE) {
    if (at + 4 > end || findTunnel(destination, Forwarding.TUNNEL_GRE, 0) === 0) return 0;
    const flags = load16(at);
    if ((flags & 0x7fff) !== 0 || load16(at + 2) !== 0x0800) return 0;
    return at + ((flags & 0x8000) !== 0 ? 8 : 4);
  }
  return 0;
}

/**
 * An ICMP error to the director whose quoted packet starts at `outer`. Verdict.NONE when it is about no tunnel of ours;
 * else the frame is taken in, and the client has been told where that is due.
 */
export function receiveTunnelError(slot: usize, outer: usize): i32 {
  const end = <usize>load<u32>(slot, Slot.END);
  const inner = innerPacket(outer, end);
  if (inner === 0 || inner >= end || !parseEmbedded(slot, inner)) return Verdict.NONE;
  if (!isKnown(<i32>load<u8>(EMBEDDED, Slot.PROTOCOL))) return Verdict.NONE;
  const connection = incoming(EMBEDDED, false);
  if (connection === 0) return Verdict.NONE;
  const icmp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const type = <i32>load<u8>(icmp, Icmp.TYPE);
  const code = <u32>load<u8>(icmp, Icmp.CODE);
  const server = <usize>load<u32>(connection, Connection.SERVER);
  let info = load32(icmp + Icmp.REST);
  if (type === Icmp.UNREACHABLE && code === Icmp.FRAGMENTATION_NEEDED && server !== 0) {
    const overhead = <u32>(inner - outer);
    const before = <u32>load<u16>(server, Server.ROUTE_MTU);
    let mtu = load16(icmp + 6);
    if (mtu < PATH_MTU_MIN) mtu = PATH_MTU_MIN;
    store<u32>(server, mtu, Server.PATH_MTU);
    store<u32>(server, now() + PATH_MTU_LIFE, Server.PATH_MTU_UNTIL);
    if ((load16(inner + Ipv4.FRAGMENT) & Ipv4.DF) === 0) return take(slot);
    // The kernel tells the MTU that the way had until now; the next packet gets the new one.
    if (setting(Setting.KERNEL_QUIRKS) !== 0 && before !== 0) mtu = before;
    if (mtu > MTU_MIN + overhead) mtu -= overhead;
    info = mtu;
  }
  store<u16>(EMBEDDED, <u16>(<u32>load<u16>(EMBEDDED, Slot.FLAGS) | Slot.TO_DIRECTOR), Slot.FLAGS);
  store<u32>(EMBEDDED, load<u32>(slot, Slot.PORT_IN), Slot.PORT_IN);
  complain(EMBEDDED, <u32>type, code, info);
  countPacketOut(server, packetLength(EMBEDDED));
  return take(slot);
}

function take(slot: usize): i32 {
  giveSlot(slot);
  return Verdict.CONSUMED;
}
