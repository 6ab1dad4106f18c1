/** Round robin: the next available server after the last one. */
import * as State from "../layout/scheduler-state";
import * as Service from "../layout/service";
import { first, following, isAvailable, preceding } from "./servers";

const CURRENT = Service.SCHEDULER_STATE + State.CURRENT;

/** The server was taken off the list, its own links still as they were. */
export function removed(service: usize, server: usize): void {
  if (<usize>load<u32>(service, CURRENT) === server) store<u32>(service, <u32>preceding(server), CURRENT);
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
  store<u32>(service, <u32>server, CURRENT);
  return server;
}
