/** Tables of server addresses that hashes point into: filled when next needed, not at each change of a server. */
import * as Errno from "../layout/errno";
import * as State from "../layout/scheduler-state";
import * as Service from "../layout/service";
import { allocate, release } from "./arena";

const TABLE = Service.SCHEDULER_STATE + State.TABLE;
const DIRTY = Service.SCHEDULER_STATE + State.DIRTY;

/** Makes an empty table of so many places. */
export function start(service: usize, places: u32): i32 {
  const table = allocate(places << 2);
  if (table === 0) return -Errno.ENOMEM;
  store<u32>(service, <u32>table, TABLE);
  store<u32>(service, 1, DIRTY);
  return 0;
}

export function stop(service: usize): void {
  release(<usize>load<u32>(service, TABLE));
  store<u32>(service, 0, TABLE);
}

/** Servers came, went or changed. */
export function spoil(service: usize): void {
  store<u32>(service, 1, DIRTY);
}

/** The table when it has to be filled (and now counts as filled), else 0. */
export function refilling(service: usize): usize {
  if (load<u32>(service, DIRTY) === 0) return 0;
  store<u32>(service, 0, DIRTY);
  return <usize>load<u32>(service, TABLE);
}

/** Server at a place of the table, or 0. */
export function at(service: usize, place: u32): usize {
  return <usize>load<u32>(<usize>load<u32>(service, TABLE) + ((<usize>place) << 2));
}
