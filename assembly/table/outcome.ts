/** What clients meet at a server: refusals and silence are counted, and too many of them make it suspect. */
import * as Connection from "../layout/connection";
import * as Forwarding from "../layout/forwarding";
import * as Memory from "../layout/memory";
import * as Protocol from "../layout/protocol";
import * as Server from "../layout/server";
import * as State from "../layout/state";
import { countAt, now, setWord, word } from "./memory";

/** One more in a server's window, `seen` of at most `limit` (offsets); the window begins with the first in it. */
function note(server: usize, seen: usize, limit: usize): void {
  const window = load<u32>(server, Server.WINDOW);
  if (window === 0) return;
  if (now() - load<u32>(server, Server.WINDOW_SINCE) > window) {
    store<u32>(server, now(), Server.WINDOW_SINCE);
    store<u16>(server, 0, Server.REFUSED_SEEN);
    store<u16>(server, 0, Server.UNANSWERED_SEEN);
  }
  const most = <u32>load<u16>(server + limit);
  const times = <u32>load<u16>(server + seen) + 1;
  if (times <= 0xffff) store<u16>(server + seen, <u16>times);
  const flags = load<u32>(server, Server.FLAGS);
  if (most === 0 || times < most || (flags & Server.FLAG_SUSPECT) !== 0) return;
  store<u32>(server, flags | Server.FLAG_SUSPECT, Server.FLAGS);
  setWord(Memory.SUSPECTS, word(Memory.SUSPECTS) + 1);
}

/** Nothing is held against a server any more. */
export function acquit(server: usize): void {
  store<u32>(server, load<u32>(server, Server.FLAGS) & ~Server.FLAG_SUSPECT, Server.FLAGS);
  store<u16>(server, 0, Server.REFUSED_SEEN);
  store<u16>(server, 0, Server.UNANSWERED_SEEN);
}

/** A connection whose handshake is under way. */
export function isEmbryonic(connection: usize): bool {
  const state = <i32>load<u8>(connection, Connection.STATE);
  const protocol = <i32>load<u8>(connection, Connection.PROTOCOL);
  if (protocol === Protocol.TCP) return state === State.TCP_SYN_RECV || state === State.TCP_SYNACK;
  return protocol === Protocol.SCTP && state < State.SCTP_ESTABLISHED;
}

/** Its server answered a client that was waiting for it. */
export function noteAnswer(connection: usize): void {
  store<u32>(connection, load<u32>(connection, Connection.FLAGS) | Connection.FLAG_JUDGED, Connection.FLAGS);
}

/** Its server does not want it: a reset in the handshake, or an ICMP error that says so. */
export function noteRefusal(connection: usize): void {
  noteAnswer(connection);
  const server = <usize>load<u32>(connection, Connection.SERVER);
  if (server === 0) return;
  countAt(server + Server.REFUSED, 1);
  note(server, Server.REFUSED_SEEN, Server.REFUSED_LIMIT);
}

/** Its client asks again, or its time is up: counted once, where an answer would have passed by here. */
export function noteSilence(connection: usize): void {
  const flags = load<u32>(connection, Connection.FLAGS);
  if ((flags & (Connection.FLAG_JUDGED | Connection.FLAG_TEMPLATE)) !== 0) return;
  if ((flags & Connection.METHOD_MASK) !== Forwarding.NAT || !isEmbryonic(connection)) return;
  if (load<u8>(connection, Connection.PROTOCOL) !== Protocol.TCP) return;
  store<u32>(connection, flags | Connection.FLAG_JUDGED, Connection.FLAGS);
  const server = <usize>load<u32>(connection, Connection.SERVER);
  if (server === 0) return;
  countAt(server + Server.UNANSWERED, 1);
  note(server, Server.UNANSWERED_SEEN, Server.UNANSWERED_LIMIT);
}

export function isSuspect(server: usize): bool {
  return server !== 0 && (load<u32>(server, Server.FLAGS) & Server.FLAG_SUSPECT) !== 0;
}
