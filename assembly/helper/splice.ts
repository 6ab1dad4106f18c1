/**
 * A connection whose handshake was the director's own (syn-proxy.ts): what either end says is put into the other one's
 * numbers. The client knows a cookie where the server has a number of its own, and a timestamp of the director's; what
 * the client sends keeps its numbers. Windows are shifted where the scales differ.
 */
import * as Connection from "../layout/connection";
import * as Slot from "../layout/slot";
import { extension } from "../table/connection";
import { load16, load32, store16, store32 } from "../wire/bytes";
import { sum, update16, updateSum } from "../wire/checksum";
import * as Ipv4 from "../wire/ipv4";
import { isPartial } from "../wire/offload";
import * as Tcp from "../wire/tcp";
import * as Options from "../wire/tcp-options";
import { moveIn, moveOut } from "./sequence";

function isFollowed(connection: usize): bool {
  // FTP's helper moves the sequence numbers, by the same record.
  return (load<u32>(connection, Connection.FLAGS) & Connection.FLAG_HELPER) !== 0;
}

function headerHere(slot: usize, tcp: usize): u32 {
  const length = Tcp.headerLength(tcp);
  const there = load<u32>(slot, Slot.END) - <u32>tcp;
  return length < <u32>Tcp.SIZE || length > there ? Tcp.SIZE : length;
}

/** Where the timestamps of a header lie that ends at `end`, or 0. */
function timestamps(tcp: usize, end: usize): usize {
  for (let at = tcp + Tcp.SIZE; at < end; ) {
    const kind = <i32>load<u8>(at);
    if (kind === Options.END) return 0;
    if (kind === Options.NONE) {
      at++;
      continue;
    }
    if (at + 2 > end) return 0;
    const length = <usize>load<u8>(at, 1);
    if (length < 2 || at + length > end) return 0;
    if (kind === Options.TIMESTAMPS && length === 10) return at;
    at += length;
  }
  return 0;
}

/** A window as the other end counts it. */
export function shifted(window: u32, by: i32): u32 {
  if (by < 0) return window >> <u32>-by;
  const wide = (<u64>window) << (<u64>by);
  return wide > 0xffff ? 0xffff : <u32>wide;
}

function translate(slot: usize, more: usize, stamp: i32, by: u32, shift: i32): void {
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const header = headerHere(slot, tcp);
  const from = sum(tcp, header);
  if (shift !== 0 && (Tcp.flags(tcp) & (Tcp.SYN | Tcp.RST)) === 0)
    store16(tcp + Tcp.WINDOW, shifted(load16(tcp + Tcp.WINDOW), shift));
  if (load<u8>(more, Connection.PROXY_TIMED) !== 0) {
    const at = timestamps(tcp, tcp + <usize>header);
    // An echo of nothing stays nothing.
    if (at !== 0 && (stamp === 2 || (Tcp.flags(tcp) & Tcp.ACK) !== 0))
      store32(at + <usize>stamp, load32(at + <usize>stamp) + by);
  }
  if (isPartial(slot)) return;
  const check = updateSum(<u32>load<u16>(tcp, Tcp.CHECKSUM), from, sum(tcp, header));
  store<u16>(tcp, <u16>check, Tcp.CHECKSUM);
}

/** A segment of the client on its way to the server. The TCP header MUST lie whole in the packet. */
export function spliceIn(slot: usize, connection: usize): void {
  const more = extension(connection);
  if (more === 0 || load<u8>(more, Connection.PROXY_STATE) !== Connection.PROXY_SPLICED) return;
  if (!isFollowed(connection)) moveIn(slot, more + Connection.EXTENSION_SEQUENCE);
  translate(slot, more, 6, -load<u32>(more, Connection.PROXY_TIMESTAMP_BY), load<i8>(more, Connection.PROXY_SHIFT_IN));
  if (load<u8>(more, Connection.PROXY_NO_ECN) !== 0) clearEcn(slot);
}

/** A segment of the server on its way to the client. The TCP header MUST lie whole in the packet. */
export function spliceOut(slot: usize, connection: usize): void {
  if ((<u32>load<u16>(slot, Slot.FLAGS) & Slot.SPLICED) !== 0) return;
  const more = extension(connection);
  if (more === 0 || load<u8>(more, Connection.PROXY_STATE) !== Connection.PROXY_SPLICED) return;
  if (!isFollowed(connection)) moveOut(slot, more + Connection.EXTENSION_SEQUENCE);
  translate(slot, more, 2, load<u32>(more, Connection.PROXY_TIMESTAMP_BY), load<i8>(more, Connection.PROXY_SHIFT_OUT));
}

/**
 * The packet inside an ICMP error, `inner`, before its addresses are turned: what the receiver knows it by. `outward`:
 * to the client, about what it sent. The ICMP checksum is the caller's business, the inner one's nobody's.
 */
export function spliceError(inner: usize, connection: usize, outward: bool): void {
  const more = extension(connection);
  if (more === 0 || load<u8>(more, Connection.PROXY_STATE) !== Connection.PROXY_SPLICED) return;
  const tcp = <usize>load<u32>(inner, Slot.TRANSPORT);
  const end = <usize>load<u32>(inner, Slot.END);
  const by = load<u32>(more, Connection.EXTENSION_SEQUENCE + Connection.SEQUENCE_AFTER);
  if (outward) {
    const at = tcp + Tcp.ACKNOWLEDGEMENT;
    if (at + 4 <= end) store32(at, load32(at) + by);
  } else {
    const at = tcp + Tcp.SEQUENCE;
    if (at + 4 <= end) store32(at, load32(at) - by);
  }
}

/** Not-ECT: the server would not tell of congestion. */
function clearEcn(slot: usize): void {
  const ip = <usize>load<u32>(slot, Slot.IP);
  if (load<u8>(slot, Slot.FAMILY) === 6) {
    store<u8>(ip, load<u8>(ip, 1) & 0xcf, 1);
    return;
  }
  const was = <u32>load<u16>(ip);
  if ((was & 0x300) === 0) return;
  store<u8>(ip, load<u8>(ip, Ipv4.TOS) & 0xfc, Ipv4.TOS);
  store<u16>(ip, <u16>update16(load<u16>(ip, Ipv4.CHECKSUM), was, <u32>load<u16>(ip)), Ipv4.CHECKSUM);
}
