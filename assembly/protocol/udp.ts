/** UDP "connections": one state, one timeout, and a shorter one as long as no server has answered. */
import * as Connection from "../layout/connection";
import * as Forwarding from "../layout/forwarding";
import * as Memory from "../layout/memory";
import * as Setting from "../layout/setting";
import * as State from "../layout/state";
import { setting } from "../table/memory";
import { assureControl } from "./control";
import { DIRECTION_OUT } from "./direction";

/** Whether answers would pass by here, and none has. */
export function isUnanswered(connection: usize): bool {
  const flags = load<u32>(connection, Connection.FLAGS);
  return (
    (flags & Connection.METHOD_MASK) === Forwarding.NAT &&
    (flags & (Connection.FLAG_NO_OUTPUT | Connection.FLAG_ONE_PACKET)) === Connection.FLAG_NO_OUTPUT
  );
}

export function transition(connection: usize, direction: u32): void {
  store<u8>(connection, State.UDP_NORMAL, Connection.STATE);
  if (direction === DIRECTION_OUT) {
    const flags = load<u32>(connection, Connection.FLAGS);
    store<u32>(connection, flags & ~Connection.FLAG_NO_OUTPUT, Connection.FLAGS);
    assureControl(connection);
  }
  const unanswered = setting(Setting.UDP_UNANSWERED) * Memory.TICKS_PER_SECOND;
  const usual = setting(Setting.TIMEOUT_UDP);
  const isShort = unanswered !== 0 && unanswered < usual && isUnanswered(connection);
  store<u32>(connection, isShort ? unanswered : usual, Connection.TIMEOUT);
}
