/** Locality-based least connection with replication: a destination has a set of servers, which grows under load. */

import * as State from "../layout/scheduler-state";
import * as Setting from "../layout/setting";
import { now, setting } from "../table/memory";
import {
  add,
  tick as check,
  find,
  giveCell,
  isBusy,
  lifetime,
  remember,
  remembered,
  revive,
  takeCell,
} from "./locality";
import { isAvailable, isMore, isOverloaded, leastLoaded, overhead, weight } from "./servers";

/** The available member of least overhead per weight, or 0. */
function least(service: usize, entry: usize): usize {
  let best: usize = 0;
  let member = <usize>load<u32>(entry, State.CELL_MEMBERS);
  for (; member !== 0; member = <usize>load<u32>(member, State.CELL_NEXT)) {
    const server = remembered(service, member);
    if (server === 0 || isOverloaded(server)) continue;
    if (best === 0) {
      if (isAvailable(server)) best = server;
    } else if (isMore(overhead(best), weight(best), overhead(server), weight(server))) {
      best = server;
    }
  }
  return best;
}

/** Takes the member of most overhead per weight out of the set. */
function dropMost(service: usize, entry: usize): void {
  let most: usize = 0;
  let mostLink: usize = 0;
  let link = entry + State.CELL_MEMBERS;
  for (let member = <usize>load<u32>(link); member !== 0; member = <usize>load<u32>(link)) {
    const server = <usize>load<u32>(member, State.CELL_SERVER);
    if (weight(server) > 0 && (most === 0 || isMore(overhead(server), weight(server), overhead(most), weight(most)))) {
      most = server;
      mostLink = link;
    }
    link = member + State.CELL_NEXT;
  }
  if (most === 0) return;
  const member = <usize>load<u32>(mostLink);
  store<u32>(mostLink, load<u32>(member, State.CELL_NEXT));
  giveCell(service, member);
  store<u32>(entry, now(), State.CELL_CHANGED);
}

/** Adds a server to the set, in front, unless it is there. */
function join(service: usize, entry: usize, server: usize): void {
  let member = <usize>load<u32>(entry, State.CELL_MEMBERS);
  for (; member !== 0; member = <usize>load<u32>(member, State.CELL_NEXT)) {
    if (remembered(service, member) === server) return;
  }
  member = takeCell(service);
  if (member === 0) return;
  remember(member, server);
  store<u32>(member, load<u32>(entry, State.CELL_MEMBERS), State.CELL_NEXT);
  store<u32>(entry, <u32>member, State.CELL_MEMBERS);
  store<u32>(entry, now(), State.CELL_CHANGED);
}

function hasSeveral(entry: usize): bool {
  const member = <usize>load<u32>(entry, State.CELL_MEMBERS);
  return member !== 0 && load<u32>(member, State.CELL_NEXT) !== 0;
}

export function pick(service: usize, slot: usize): usize {
  let entry = find(service, slot);
  if (entry !== 0) {
    store<u32>(entry, now(), State.CELL_USED);
    const server = least(service, entry);
    const unchanged = now() - load<u32>(entry, State.CELL_CHANGED);
    if (hasSeveral(entry) && unchanged > lifetime(setting(Setting.LBLCR_EXPIRATION))) dropMost(service, entry);
    if (server !== 0 && !isBusy(service, server)) return server;
  }
  const server = leastLoaded(service);
  if (server === 0) return 0;
  if (entry === 0) entry = add(service, slot);
  if (entry !== 0) join(service, entry, server);
  return server;
}

export function tick(service: usize): void {
  check(service, lifetime(setting(Setting.LBLCR_EXPIRATION)), true);
}

export function added(service: usize, server: usize): void {
  revive(service, server, true);
}
