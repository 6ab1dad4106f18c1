/**
 * The client's address for a server that sees only ours (full NAT): a TCP option of kind 254 with the client's port and
 * address, 8 bytes over IPv4 and 20 over IPv6, as DPVS writes it and the servers' toa module reads it.
 *
 * It goes with the SYN and with every ACK until the server has answered one: that one has opened the connection there.
 * Options take no sequence numbers. Where it does not fit, a segment goes without.
 */
import * as Connection from "../layout/connection";
import * as Protocol from "../layout/protocol";
import * as Setting from "../layout/setting";
import * as Slot from "../layout/slot";
import { setting } from "../table/memory";
import { headroom } from "../table/slot";
import { copy16, load16, store16, swap16 } from "../wire/bytes";
import { fold, sum, updateSum } from "../wire/checksum";
import * as Ipv4 from "../wire/ipv4";
import * as Ipv6 from "../wire/ipv6";
import { isPartial } from "../wire/offload";
import * as Tcp from "../wire/tcp";
import * as Vnet from "../wire/virtionet";
import { clientAddress } from "./nat";

const KIND: u8 = 254;
const SIZE_4: u32 = 8;
const SIZE_6: u32 = 20;
const HEADER_MOST: u32 = 60;
/** A segment with data grows no larger than this: a narrower way than ours would lose it each time anew. */
const DATA_MOST: u32 = 1280;

/** Tells the server who the client is, where that is wanted and due. The packet is translated already. */
export function tellClient(slot: usize, connection: usize): void {
  if (setting(Setting.TOA) === 0) return;
  const state = load<u32>(connection, Connection.FLAGS);
  if ((state & (Connection.FLAG_FULL_NAT | Connection.FLAG_TOLD)) !== Connection.FLAG_FULL_NAT) return;
  if (load<u8>(slot, Slot.PROTOCOL) !== Protocol.TCP || load<u16>(slot, Slot.FRAGMENT_LARGEST) !== 0) return;
  const frame = <usize>load<u32>(slot, Slot.FRAME);
  if (load<u8>(frame, Vnet.GSO_TYPE) !== 0) return;
  const ip = <usize>load<u32>(slot, Slot.IP);
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  if ((Tcp.flags(tcp) & Tcp.RST) !== 0) return;
  const six = load<u8>(slot, Slot.FAMILY) === 6;
  const size = six ? SIZE_6 : SIZE_4;
  const header = Tcp.headerLength(tcp);
  if (header < <u32>Tcp.SIZE || header + size > HEADER_MOST || tcp + <usize>header > end) return;
  const length = <u32>(end - ip) + size;
  if (length > load<u32>(slot, Slot.MTU) || (tcp + <usize>header < end && length > DATA_MOST)) return;
  if (headroom(slot) < size) return;

  const segment = <u32>(end - tcp);
  memory.copy(frame - <usize>size, frame, tcp + Tcp.SIZE - frame);
  moveBack(slot, Slot.FRAME, size);
  moveBack(slot, Slot.ETHERNET, size);
  moveBack(slot, Slot.IP, size);
  moveBack(slot, Slot.TRANSPORT, size);
  moveBack(slot, Slot.NEXT_HEADER, size);
  moveBack(slot, Slot.FRAGMENT_HEADER, size);
  store<u32>(slot, load<u32>(slot, Slot.LENGTH) + size, Slot.LENGTH);
  const to = tcp - <usize>size;
  const option = to + Tcp.SIZE;
  store<u8>(option, KIND);
  store<u8>(option, <u8>size, 1);
  store<u16>(option, load<u16>(connection, Connection.CLIENT_PORT), 2);
  if (six) copy16(option + 4, clientAddress(connection));
  else store<u32>(option, load<u32>(clientAddress(connection)), 4);

  const was = <u32>load<u16>(to, Tcp.OFFSET);
  store<u8>(to, <u8>(((header + size) << 2) | (<u32>load<u8>(to, Tcp.OFFSET) & 15)), Tcp.OFFSET);
  const is = <u32>load<u16>(to, Tcp.OFFSET);
  const before = swap16(segment);
  const after = swap16(segment + size);
  const field = to + Tcp.CHECKSUM;
  if (isPartial(slot)) {
    store<u16>(field, <u16>fold(<u64>load<u16>(field) + <u64>(~before & 0xffff) + <u64>after));
  } else {
    const from = <u64>was + <u64>before;
    store<u16>(field, <u16>updateSum(<u32>load<u16>(field), from, <u64>is + <u64>after + sum(option, size)));
  }
  const moved = ip - <usize>size;
  if (six) {
    store16(moved + Ipv6.PAYLOAD_LENGTH, load16(moved + Ipv6.PAYLOAD_LENGTH) + size);
  } else {
    Ipv4.setTotalLength(moved, length);
    Ipv4.seal(moved);
  }
}

function moveBack(slot: usize, field: i32, size: u32): void {
  const at = load<u32>(slot + <usize>field);
  if (at !== 0) store<u32>(slot + <usize>field, at - size);
}
