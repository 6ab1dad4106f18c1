/** Locality-based least connection: a destination keeps its server until that is busy or gone. */

import * as State from "../layout/scheduler-state";
import * as Setting from "../layout/setting";
import { now, setting } from "../table/memory";
import { add, tick as check, find, isBusy, lifetime, remember, remembered, revive } from "./locality";
import { isSuspect, leastLoaded, weight } from "./servers";

export function pick(service: usize, slot: usize): usize {
  let entry = find(service, slot);
  if (entry !== 0) {
    store<u32>(entry, now(), State.CELL_USED);
    const server = remembered(service, entry);
    // An upper threshold does not move a destination away.
    if (server !== 0 && weight(server) > 0 && !isSuspect(server) && !isBusy(service, server)) return server;
  }
  const server = leastLoaded(service);
  if (server === 0) return 0;
  if (entry === 0) entry = add(service, slot);
  if (entry !== 0) remember(entry, server);
  return server;
}

export function tick(service: usize): void {
  check(service, lifetime(setting(Setting.LBLC_EXPIRATION)), false);
}

export function added(service: usize, server: usize): void {
  revive(service, server, false);
}
