/** Connections that are controlled by another: by a persistence template, or by an FTP control connection. */
import * as Connection from "../layout/connection";
import * as State from "../layout/state";
import { noteChange } from "../table/connection";

export function control(connection: usize, controller: usize): void {
  store<u32>(connection, <u32>controller, Connection.CONTROL);
  noteChange(connection);
  store<u32>(controller, load<u32>(controller, Connection.CONTROLLED) + 1, Connection.CONTROLLED);
}

/** While a connection is made by a template, that must not be what makes room for it. */
export function hold(template: usize): void {
  if (template !== 0) store<u32>(template, load<u32>(template, Connection.CONTROLLED) + 1, Connection.CONTROLLED);
}

export function letGo(template: usize): void {
  if (template !== 0) store<u32>(template, load<u32>(template, Connection.CONTROLLED) - 1, Connection.CONTROLLED);
}

/** Ends the relation; returns the controller, or 0. */
export function release(connection: usize): usize {
  const controller = <usize>load<u32>(connection, Connection.CONTROL);
  if (controller === 0) return 0;
  store<u32>(connection, 0, Connection.CONTROL);
  store<u32>(controller, load<u32>(controller, Connection.CONTROLLED) - 1, Connection.CONTROLLED);
  return controller;
}

/** A connection got through: its template is worth keeping. */
export function assureControl(connection: usize): void {
  const controller = <usize>load<u32>(connection, Connection.CONTROL);
  if (controller === 0 || (load<u32>(controller, Connection.FLAGS) & Connection.FLAG_TEMPLATE) === 0) return;
  const state = load<u8>(controller, Connection.STATE);
  if ((state & State.TEMPLATE_ASSURED) !== 0) return;
  store<u8>(controller, state | State.TEMPLATE_ASSURED, Connection.STATE);
  noteChange(controller);
}
