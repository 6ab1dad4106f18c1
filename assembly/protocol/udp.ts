/** UDP "connections": one state, one timeout. */
import * as Connection from "../layout/connection";
import * as Setting from "../layout/setting";
import * as State from "../layout/state";
import { setting } from "../table/memory";
import { assureControl } from "./control";
import { DIRECTION_OUT } from "./direction";

export function transition(connection: usize, direction: u32): void {
  store<u8>(connection, State.UDP_NORMAL, Connection.STATE);
  store<u32>(connection, setting(Setting.TIMEOUT_UDP), Connection.TIMEOUT);
  if (direction === DIRECTION_OUT) assureControl(connection);
}
