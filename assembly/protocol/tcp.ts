/**
 * TCP connection states as the kernel's IPVS keeps them: from flags alone, in a table per direction, with a second set
 * for the defence against floods (secure_tcp).
 */
import * as Connection from "../layout/connection";
import * as Memory from "../layout/memory";
import * as Setting from "../layout/setting";
import * as State from "../layout/state";
import { noteChange } from "../table/connection";
import { setting, word } from "../table/memory";
import { noteAnswer, noteRefusal } from "../table/outcome";
import { countHalfOpen, countHandshake, setActive } from "../table/server";
import * as Tcp from "../wire/tcp";
import { assureControl } from "./control";
import { DIRECTION_OUT } from "./direction";

// Rows: SYN, FIN, ACK, RST for input, output, input only. Columns: states 0 to 10. An entry is the next state.
// biome-ignore format: a table
const NORMAL: usize = memory.data<u8>([
  3, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3,
  6, 7, 2, 5, 5, 5, 6, 7, 8, 9, 5,
  1, 1, 2, 1, 4, 5, 6, 7, 6, 9, 1,
  6, 6, 6, 3, 6, 6, 6, 6, 8, 9, 3,
  2, 1, 2, 3, 2, 2, 2, 2, 2, 9, 3,
  5, 4, 2, 5, 4, 5, 6, 5, 8, 9, 5,
  1, 1, 2, 1, 4, 5, 6, 7, 8, 1, 1,
  6, 6, 2, 6, 6, 5, 6, 6, 6, 6, 6,
  3, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3,
  6, 4, 2, 5, 4, 5, 6, 7, 8, 9, 5,
  1, 1, 2, 1, 4, 5, 6, 7, 6, 9, 1,
  6, 6, 6, 3, 6, 6, 6, 6, 8, 9, 6,
]);
// biome-ignore format: a table
const DEFENCE: usize = memory.data<u8>([
  3, 1, 1, 3, 3, 3, 3, 3, 3, 3, 10,
  6, 7, 2, 5, 5, 5, 6, 7, 8, 9, 10,
  1, 1, 2, 3, 4, 5, 6, 7, 6, 9, 10,
  6, 6, 6, 3, 6, 6, 6, 6, 8, 9, 6,
  2, 1, 2, 10, 2, 2, 2, 2, 2, 9, 10,
  5, 4, 2, 5, 4, 5, 6, 5, 8, 9, 5,
  1, 1, 2, 1, 4, 5, 6, 7, 8, 1, 1,
  6, 6, 2, 6, 6, 5, 6, 6, 6, 6, 6,
  10, 1, 1, 3, 10, 10, 10, 10, 10, 10, 10,
  6, 4, 2, 5, 4, 5, 6, 7, 8, 9, 5,
  1, 1, 2, 1, 4, 5, 6, 7, 6, 9, 1,
  6, 6, 6, 3, 6, 6, 6, 6, 8, 9, 6,
]);

/** Seconds a connection lives in each state; ESTABLISHED and FIN_WAIT come from the settings. */
const SECONDS: usize = memory.data<u8>([2, 0, 120, 60, 0, 120, 10, 60, 30, 120, 120, 2]);

export function timeout(state: u32): u32 {
  if (state === State.TCP_ESTABLISHED) return setting(Setting.TIMEOUT_TCP);
  if (state === State.TCP_FIN_WAIT) return setting(Setting.TIMEOUT_TCP_FIN);
  return <u32>load<u8>(SECONDS + <usize>state) * Memory.TICKS_PER_SECOND;
}

/** Whether a connection in this state counts as active. */
function isActive(state: u32): bool {
  return (
    state === State.TCP_ESTABLISHED ||
    state === State.TCP_SYN_SENT ||
    state === State.TCP_SYN_RECV ||
    state === State.TCP_SYNACK
  );
}

/** Embryonic or closing: the first to go when the table is full. */
export function isSpare(state: u32): bool {
  return state !== State.TCP_ESTABLISHED;
}

const RESET: i32 = 3;

function event(flags: u32): i32 {
  if ((flags & Tcp.RST) !== 0) return RESET;
  if ((flags & Tcp.SYN) !== 0) return 0;
  if ((flags & Tcp.FIN) !== 0) return 1;
  if ((flags & Tcp.ACK) !== 0) return 2;
  return -1;
}

/** Moves the state, the server's counts and the timeout on. */
export function transition(connection: usize, tcp: usize, direction: u32): void {
  let row = direction * 4;
  const flags = load<u32>(connection, Connection.FLAGS);
  if ((flags & Connection.FLAG_NO_OUTPUT) !== 0) {
    if (direction === DIRECTION_OUT) store<u32>(connection, flags & ~Connection.FLAG_NO_OUTPUT, Connection.FLAGS);
    else row = 8;
  }
  const state = <u32>load<u8>(connection, Connection.STATE);
  let next: u32 = State.TCP_CLOSE;
  const happened = event(load<u8>(tcp, Tcp.FLAGS));
  if (happened >= 0 && state < <u32>State.TCP_LAST) {
    const table = word(Memory.SECURE_TCP_ON) !== 0 ? DEFENCE : NORMAL;
    next = <u32>load<u8>(table + <usize>((row + happened) * 11 + state));
  }
  if (direction === DIRECTION_OUT && (state === State.TCP_SYN_RECV || state === State.TCP_SYNACK)) {
    if (happened === RESET) noteRefusal(connection);
    else noteAnswer(connection);
  }
  if (next !== state) {
    setActive(connection, isActive(next));
    if (next === State.TCP_ESTABLISHED) assureControl(connection);
    if (state === State.TCP_SYN_RECV) {
      countHalfOpen(connection, -1);
      // The proxy has counted what its client brought back.
      if (next === State.TCP_ESTABLISHED && (flags & Connection.FLAG_PROXY) === 0) countHandshake(connection);
    } else if (next === State.TCP_SYN_RECV) {
      countHalfOpen(connection, 1);
    }
    store<u8>(connection, <u8>next, Connection.STATE);
    noteChange(connection);
  }
  store<u32>(connection, timeout(next), Connection.TIMEOUT);
}
