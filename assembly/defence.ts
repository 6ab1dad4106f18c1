/**
 * What is given up under load: connections that may be false (drop_entry), attempts to open more of them (drop_packet),
 * trust in clients (secure_tcp). Decided once a second, as the kernel's update_defense_level does; where the kernel
 * looks at its memory, the room in the connection table is looked at.
 */

import { end } from "./connections";
import * as Connection from "./layout/connection";
import * as Memory from "./layout/memory";
import * as Protocol from "./layout/protocol";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Setting from "./layout/setting";
import * as State from "./layout/state";
import { now, setSetting, setting, setWord, word } from "./table/memory";

const MINUTE: i32 = 60 * Memory.TICKS_PER_SECOND;
/** How many connections one second's look passes over, at most. */
const LOOKS: u32 = 8192;
/** Connections with more packets than this are worth keeping. */
const PACKETS: u32 = 8;

const SPARED: usize = Memory.LAYOUT_BASE + Memory.SPARED;

/** A strategy's mode for the next second: 1 and 2 are the automatic one, waiting and at work. */
function adapted(id: i32, isShort: bool): u32 {
  let mode = setting(id);
  if (mode === 1 && isShort) mode = 2;
  else if (mode === 2 && !isShort) mode = 1;
  setSetting(id, mode);
  return mode;
}

export function tickDefence(): void {
  const threshold = setting(Setting.AMEMTHRESH);
  const room = word(Memory.CONNECTIONS_CAPACITY) - word(Memory.CONNECTION_COUNT);
  const isShort = room < threshold;
  if (adapted(Setting.DROP_ENTRY, isShort) >= 2) dropEntries();
  const packets = adapted(Setting.DROP_PACKET, isShort);
  if (packets === 2) {
    setWord(Memory.DROP_RATE, threshold / (threshold - room));
    setWord(Memory.DROP_RATE_COUNT, word(Memory.DROP_RATE));
  } else {
    setWord(Memory.DROP_RATE, packets >= 3 ? setting(Setting.AM_DROPRATE) : 0);
  }
  setWord(Memory.SECURE_TCP_ON, adapted(Setting.SECURE_TCP, isShort) >= 2 ? 1 : 0);
}

/** drop_packet: whether this attempt to open a connection is the one in so many that is given up, the first at once. */
export function isUnlucky(): bool {
  if (word(Memory.DROP_RATE) === 0) return false;
  const left = word(Memory.DROP_RATE_COUNT) - 1;
  setWord(Memory.DROP_RATE_COUNT, left);
  if (<i32>left > 0) return false;
  setWord(Memory.DROP_RATE_COUNT, word(Memory.DROP_RATE));
  return true;
}

/** drop_entry: looks at a thirty-second part of the table, and ends what may be false there. */
function dropEntries(): void {
  const high = word(Memory.CONNECTION_HIGH);
  if (high === 0) return;
  let left = (high >> 5) + 1;
  if (left > LOOKS) left = LOOKS;
  let at = word(Memory.DROP_CURSOR);
  const base = <usize>word(Memory.CONNECTIONS_BASE);
  for (; left > 0; left--) {
    if (at >= high) at = 0;
    const connection = base + <usize>at * Connection.SIZE;
    at++;
    if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_USED) !== 0 && isDoubtful(connection))
      end(connection);
  }
  setWord(Memory.DROP_CURSOR, at);
}

function isDoubtful(connection: usize): bool {
  if (load<u32>(connection, Connection.CONTROLLED) !== 0) return false;
  const state = <i32>load<u8>(connection, Connection.STATE);
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_TEMPLATE) !== 0) {
    if (isOnePacket(connection)) return isIdle(connection);
    return (state & State.TEMPLATE_ASSURED) === 0;
  }
  const protocol = <i32>load<u8>(connection, Connection.PROTOCOL);
  if (protocol === Protocol.TCP) {
    if (state === State.TCP_SYN_RECV || state === State.TCP_SYNACK) return true;
    return state === State.TCP_ESTABLISHED && isIdle(connection);
  }
  if (protocol === Protocol.SCTP) {
    if (state === State.SCTP_INIT1 || state === State.SCTP_INIT) return true;
    return state === State.SCTP_ESTABLISHED && isIdle(connection);
  }
  return isIdle(connection);
}

function isOnePacket(template: usize): bool {
  const server = <usize>load<u32>(template, Connection.SERVER);
  if (server === 0) return false;
  const service = <usize>load<u32>(server, Server.SERVICE);
  return service !== 0 && (load<u32>(service, Service.FLAGS) & Service.FLAG_ONE_PACKET) !== 0;
}

/** Not seen for a minute, with few packets; the more packets, the more such connections are spared. */
function isIdle(connection: usize): bool {
  const left = <i32>(load<u32>(connection, Connection.EXPIRES) - now());
  if (<i32>load<u32>(connection, Connection.TIMEOUT) - left < MINUTE) return false;
  const packets = load<u32>(connection, Connection.PACKETS);
  if (packets > PACKETS || packets === 0) return false;
  const counter = SPARED + <usize>packets;
  const spared = <u32>load<u8>(counter);
  if (spared > 1) {
    store<u8>(counter, <u8>(spared - 1));
    return false;
  }
  store<u8>(counter, <u8>packets);
  return true;
}
