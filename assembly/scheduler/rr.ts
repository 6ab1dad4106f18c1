/** Round robin: the next available server after the last one. */
import * as State from "../layout/scheduler-state";
import * as Service from "../layout/service";
import { first, following, isAvailable, preceding } from "./servers";

const CURRENT = Service.SCHEDULER_STATE + State.CURRENT;
const BEFORE = Service.SCHEDULER_STATE + State.BEFORE;

function settle(service: usize, current: usize): void {
  store<u32>(service, <u32>current, CURRENT);
  store<u32>(service, current !== 0 ? <u32>preceding(current) : 0, BEFORE);
}

/** A server came. */
export function added(service: usize): void {
  settle(service, <usize>load<u32>(service, CURRENT));
}

/** The server was taken off the list: if it was the last one picked, the turn goes on at its place. */
export function removed(service: usize, server: usize): void {
  const current = <usize>load<u32>(service, CURRENT);
  settle(service, current === server ? <usize>load<u32>(service, BEFORE) : current);
}

export function pick(service: usize): usize {
  const current = <usize>load<u32>(service, CURRENT);
  let server = current !== 0 ? following(current) : first(service);
  while (server !== 0 && !isAvailable(server)) server = following(server);
  if (server === 0) {
    if (current === 0) return 0;
    // Once more from the head, up to and with the last one picked.
    server = first(service);
    while (server !== 0 && !isAvailable(server)) server = server === current ? 0 : following(server);
    if (server === 0) return 0;
  }
  settle(service, server);
  return server;
}
