/**
 * Sequence numbers of a connection whose server's text a helper made longer or shorter: what the server sends after
 * it is moved, and what the client acknowledges is moved back. As in the kernel's connection tracking, one change is
 * remembered with what held before it; `state` is the record of layout/connection SEQUENCE_*.
 */
import * as Connection from "../layout/connection";
import * as Slot from "../layout/slot";
import { load32, store32 } from "../wire/bytes";
import { sum, updateSum } from "../wire/checksum";
import { isPartial } from "../wire/offload";
import * as Tcp from "../wire/tcp";

/** RFC 2018 */
const SACK: u32 = 5;
const SACK_BLOCK: u32 = 8;
const NO_OPERATION: u32 = 1;
const END_OF_OPTIONS: u32 = 0;

/** The server's text at `sequence` grew by so many bytes. A text that is sent again changes nothing. */
export function recordChange(state: usize, sequence: u32, by: i32): void {
  const after = load<u32>(state, Connection.SEQUENCE_AFTER);
  if (
    load<u32>(state, Connection.SEQUENCE_BEFORE) !== after &&
    <i32>(sequence - load<u32>(state, Connection.SEQUENCE_POSITION)) <= 0
  )
    return;
  store<u32>(state, sequence, Connection.SEQUENCE_POSITION);
  store<u32>(state, after, Connection.SEQUENCE_BEFORE);
  store<u32>(state, after + <u32>by, Connection.SEQUENCE_AFTER);
}

function offsetAt(state: usize, sequence: u32): u32 {
  return <i32>(sequence - load<u32>(state, Connection.SEQUENCE_POSITION)) > 0
    ? load<u32>(state, Connection.SEQUENCE_AFTER)
    : load<u32>(state, Connection.SEQUENCE_BEFORE);
}

/** What the server calls `sequence`, a number that the client uses. */
function movedBack(state: usize, sequence: u32): u32 {
  return sequence - offsetAt(state, sequence - load<u32>(state, Connection.SEQUENCE_BEFORE));
}

/** Bytes of the header that are there: all of it, or the fixed part when its length is nonsense. */
function headerHere(slot: usize, tcp: usize): u32 {
  const length = Tcp.headerLength(tcp);
  const there = load<u32>(slot, Slot.END) - <u32>tcp;
  return length < <u32>Tcp.SIZE || length > there ? Tcp.SIZE : length;
}

/** After the header changed: `from` is its sum as it was. A partial checksum does not cover it. */
function keepChecksum(slot: usize, tcp: usize, header: u32, from: u64): void {
  if (isPartial(slot)) return;
  const check = updateSum(<u32>load<u16>(tcp, Tcp.CHECKSUM), from, sum(tcp, header));
  store<u16>(tcp, <u16>check, Tcp.CHECKSUM);
}

/** A segment of the server on its way to the client. The TCP header MUST lie whole in the packet. */
export function moveOut(slot: usize, state: usize): void {
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  const from = sum(tcp, Tcp.SIZE);
  const sequence = load32(tcp + Tcp.SEQUENCE);
  store32(tcp + Tcp.SEQUENCE, sequence + offsetAt(state, sequence));
  keepChecksum(slot, tcp, Tcp.SIZE, from);
}

/** A segment of the client on its way to the server: acknowledgements, selective ones too. Header as above. */
export function moveIn(slot: usize, state: usize): void {
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  if ((Tcp.flags(tcp) & Tcp.ACK) === 0) return;
  const header = headerHere(slot, tcp);
  const from = sum(tcp, header);
  store32(tcp + Tcp.ACKNOWLEDGEMENT, movedBack(state, load32(tcp + Tcp.ACKNOWLEDGEMENT)));
  moveSelective(state, tcp + Tcp.SIZE, tcp + <usize>header);
  keepChecksum(slot, tcp, header, from);
}

function moveSelective(state: usize, options: usize, end: usize): void {
  let at = options;
  while (at < end) {
    const kind = <u32>load<u8>(at);
    if (kind === END_OF_OPTIONS) return;
    if (kind === NO_OPERATION) {
      at++;
      continue;
    }
    if (at + 2 > end) return;
    const length = <u32>load<u8>(at, 1);
    if (length < 2 || at + <usize>length > end) return;
    if (kind === SACK && length >= 2 + SACK_BLOCK && (length - 2) % SACK_BLOCK === 0) {
      for (let edge: u32 = 2; edge < length; edge += 4) {
        store32(at + <usize>edge, movedBack(state, load32(at + <usize>edge)));
      }
    }
    at += <usize>length;
  }
}
