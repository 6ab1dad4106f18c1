/** Text inside TCP that is replaced by text of another length. */
import * as Protocol from "../layout/protocol";
import * as Slot from "../layout/slot";
import { store16, swap16 } from "../wire/bytes";
import { checksum, fold, pseudo4, pseudo6, update16 } from "../wire/checksum";
import * as Ipv4 from "../wire/ipv4";
import * as Ipv6 from "../wire/ipv6";
import { isPartial } from "../wire/offload";
import * as Tcp from "../wire/tcp";
import * as Vnet from "../wire/virtionet";

const PACKET_MAX: u32 = 65535;

/**
 * Puts `length` bytes of `text` in the place of `from`..`to`, which lies in the TCP payload of the packet. Lengths,
 * checksums and the offload header are kept right; the TCP checksum MUST have been right. False, and nothing done,
 * when the packet would be too long.
 */
export function replace(slot: usize, from: usize, to: usize, text: usize, length: u32): bool {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const end = <usize>load<u32>(slot, Slot.END);
  const fresh = end - (to - from) + <usize>length;
  const four = load<u8>(slot, Slot.FAMILY) === 4;
  const counted = <u32>(fresh - ip) - (four ? 0 : Ipv6.SIZE);
  if (counted > PACKET_MAX || fresh > slot + Slot.SIZE) return false;
  memory.copy(from + <usize>length, to, end - to);
  memory.copy(from, text, <usize>length);
  store<u32>(slot, <u32>fresh, Slot.END);
  if (four) {
    const old = <u32>load<u16>(ip, Ipv4.TOTAL_LENGTH);
    store16(ip + Ipv4.TOTAL_LENGTH, counted);
    const check = update16(<u32>load<u16>(ip, Ipv4.CHECKSUM), old, <u32>load<u16>(ip, Ipv4.TOTAL_LENGTH));
    store<u16>(ip, <u16>check, Ipv4.CHECKSUM);
  } else {
    store16(ip + Ipv6.PAYLOAD_LENGTH, counted);
  }
  sealAgain(slot, <u32>(end - tcp), <u32>(fresh - tcp));
  return true;
}

/** The TCP checksum for the new text: a partial one holds the length, any other one is computed anew. */
function sealAgain(slot: usize, oldLength: u32, length: u32): void {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  if (isPartial(slot)) {
    const field = <u64>load<u16>(tcp, Tcp.CHECKSUM) + <u64>(~swap16(oldLength) & 0xffff) + <u64>swap16(length);
    store<u16>(tcp, <u16>fold(field), Tcp.CHECKSUM);
    endSuperFrame(slot, length - Tcp.headerLength(tcp));
    return;
  }
  store<u16>(tcp, 0, Tcp.CHECKSUM);
  const pseudo =
    load<u8>(slot, Slot.FAMILY) === 4
      ? pseudo4(load<u32>(ip, Ipv4.SOURCE), load<u32>(ip, Ipv4.DESTINATION), Protocol.TCP, length)
      : pseudo6(ip + Ipv6.SOURCE, ip + Ipv6.DESTINATION, Protocol.TCP, length);
  store<u16>(tcp, <u16>checksum(tcp, length, pseudo), Tcp.CHECKSUM);
}

/** A super-frame whose payload now fits one segment is none: devices refuse such a one. */
function endSuperFrame(slot: usize, payload: u32): void {
  const vnet = <usize>load<u32>(slot, Slot.FRAME);
  if (load<u8>(vnet, Vnet.GSO_TYPE) === Vnet.GSO_NONE || payload > <u32>load<u16>(vnet, Vnet.GSO_SIZE)) return;
  store<u8>(vnet, Vnet.GSO_NONE, Vnet.GSO_TYPE);
  store<u16>(vnet, 0, Vnet.GSO_SIZE);
}
