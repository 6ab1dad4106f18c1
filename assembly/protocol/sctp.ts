/**
 * SCTP connection states as the kernel's IPVS keeps them: from the packet's first chunk, in a table per direction.
 */
import * as Connection from "../layout/connection";
import * as Memory from "../layout/memory";
import * as Slot from "../layout/slot";
import * as State from "../layout/state";
import { noteChange } from "../table/connection";
import { setActive } from "../table/server";
import { load16 } from "../wire/bytes";
import * as Sctp from "../wire/sctp";
import { assureControl } from "./control";
import { DIRECTION_OUT } from "./direction";

const EVENT_DATA: u32 = 0;
const EVENTS_COUNT: u32 = 10;
/** Row of packets from the client where the server's answers are not seen. */
const INPUT_ONLY: u32 = 2;

/** What a chunk type means: data, INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, SHUTDOWN, its ACK, its end, error, abort. */
const EVENTS: usize = memory.data<u8>([0, 1, 2, 0, 0, 0, 9, 5, 6, 8, 3, 4, 0, 0, 7]);

// Rows: those events for input, output, input only. Columns: states 0 to 13. An entry is the next state.
// biome-ignore format: a table
const NEXT: usize = memory.data<u8>([
  8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
  1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 2, 2,
  5, 5, 5, 3, 4, 6, 6, 7, 8, 9, 10, 11, 12, 13,
  4, 2, 2, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
  8, 1, 2, 3, 4, 5, 6, 8, 8, 9, 10, 11, 12, 13,
  10, 1, 2, 3, 4, 5, 6, 7, 10, 9, 10, 11, 12, 13,
  13, 2, 2, 3, 4, 5, 6, 7, 8, 13, 10, 13, 12, 13,
  13, 13, 13, 3, 4, 5, 6, 7, 8, 9, 10, 13, 12, 13,
  13, 1, 2, 3, 4, 5, 6, 13, 8, 9, 10, 11, 12, 13,
  13, 13, 13, 13, 13, 12, 13, 13, 13, 13, 13, 13, 13, 13,
  8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
  5, 5, 5, 5, 5, 5, 5, 5, 8, 5, 5, 5, 5, 5,
  3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 9, 10, 11, 12, 13,
  8, 8, 8, 8, 8, 8, 8, 8, 8, 9, 10, 11, 12, 13,
  9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 10, 11, 12, 13,
  11, 11, 11, 11, 11, 5, 6, 7, 8, 11, 11, 11, 12, 13,
  13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
  13, 13, 13, 13, 13, 5, 6, 7, 8, 9, 10, 11, 12, 13,
  13, 12, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13,
  8, 1, 2, 3, 4, 8, 6, 7, 8, 9, 10, 11, 12, 13,
  1, 2, 2, 2, 2, 2, 6, 7, 8, 9, 10, 11, 2, 2,
  7, 7, 7, 7, 7, 7, 6, 7, 8, 9, 10, 11, 12, 13,
  8, 8, 8, 8, 8, 8, 6, 7, 8, 9, 10, 11, 12, 13,
  8, 1, 2, 8, 8, 5, 8, 8, 8, 9, 10, 11, 12, 13,
  10, 1, 2, 3, 4, 5, 6, 7, 10, 9, 10, 11, 12, 13,
  13, 2, 2, 3, 4, 5, 6, 7, 13, 13, 10, 13, 12, 13,
  13, 13, 13, 13, 13, 5, 6, 7, 8, 9, 13, 13, 12, 13,
  13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
  13, 13, 13, 13, 13, 12, 13, 13, 13, 13, 13, 13, 13, 13,
]);

/** Seconds a connection lives in each state. */
const SECONDS: usize = memory.data<u16>([2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61, 2]);

export function timeout(state: u32): u32 {
  return <u32>load<u16>(SECONDS + ((<usize>state) << 1)) * Memory.TICKS_PER_SECOND;
}

/** Embryonic or closing: the first to go when the table is full. */
export function isSpare(state: u32): bool {
  return state !== State.SCTP_ESTABLISHED;
}

/** Type of the chunk that decides; -1 if there is none. An ABORT right behind a cookie goes before the cookie. */
function decidingChunk(slot: usize): i32 {
  const end = <usize>load<u32>(slot, Slot.END);
  const chunk = <usize>load<u32>(slot, Slot.TRANSPORT) + Sctp.CHUNK;
  if (chunk + Sctp.CHUNK_SIZE > end) return -1;
  const kind = <i32>load<u8>(chunk, Sctp.CHUNK_TYPE);
  if (kind !== Sctp.COOKIE_ECHO && kind !== Sctp.COOKIE_ACK) return kind;
  const length = load16(chunk + Sctp.CHUNK_LENGTH);
  if (length < <u32>Sctp.CHUNK_SIZE) return kind;
  const next = chunk + <usize>((length + 3) & ~3);
  if (next + Sctp.CHUNK_SIZE > end) return kind;
  return load<u8>(next) === Sctp.ABORT ? Sctp.ABORT : kind;
}

/**
 * Moves the state, the server's counts and the timeout on. Reads the packet in `slot` from TRANSPORT to END only; one
 * without a chunk changes nothing.
 */
export function transition(connection: usize, slot: usize, direction: u32): void {
  const kind = decidingChunk(slot);
  if (kind < 0) return;
  const event = kind <= Sctp.SHUTDOWN_COMPLETE ? <u32>load<u8>(EVENTS + <usize>kind) : EVENT_DATA;
  const flags = load<u32>(connection, Connection.FLAGS);
  let row = direction;
  if ((flags & Connection.FLAG_NO_OUTPUT) !== 0) {
    if (direction === DIRECTION_OUT) store<u32>(connection, flags & ~Connection.FLAG_NO_OUTPUT, Connection.FLAGS);
    else row = INPUT_ONLY;
  }
  const state = <u32>load<u8>(connection, Connection.STATE);
  const at = (row * EVENTS_COUNT + event) * State.SCTP_LAST + state;
  const next: u32 = state < <u32>State.SCTP_LAST ? <u32>load<u8>(NEXT + <usize>at) : State.SCTP_CLOSED;
  if (next !== state) {
    setActive(connection, next === State.SCTP_ESTABLISHED);
    if (next === State.SCTP_ESTABLISHED) assureControl(connection);
    store<u8>(connection, <u8>next, Connection.STATE);
    noteChange(connection);
  }
  store<u32>(connection, timeout(next), Connection.TIMEOUT);
}
