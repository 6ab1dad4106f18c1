/** Destination hashing: 256 places, dealt to the servers in turn. */
import * as State from "../layout/scheduler-state";
import * as Slot from "../layout/slot";
import { destinationAddress, foldAddress, isV6, multiplicative } from "./hash";
import { first, following, isAvailable, isSuspect } from "./servers";
import { at, refilling } from "./table";

function fill(service: usize, table: usize): void {
  let server = first(service);
  for (let place: usize = 0; place < <usize>State.HASH_SIZE; place++) {
    store<u32>(table + (place << 2), <u32>server);
    server = following(server);
    if (server === 0) server = first(service);
  }
}

export function pick(service: usize, slot: usize): usize {
  if (first(service) === 0) return 0;
  const table = refilling(service);
  if (table !== 0) fill(service, table);
  const key = foldAddress(destinationAddress(slot), isV6(<usize>load<u32>(slot, Slot.IP)));
  let place = multiplicative(key, State.HASH_BITS);
  let server = at(service, place);
  // A server that is about to leave is passed over as it will be when the table is dealt anew.
  for (let i = 0; i < State.HASH_SIZE && server !== 0 && isSuspect(server); i++) {
    place = (place + 1) & (<u32>State.HASH_SIZE - 1);
    server = at(service, place);
  }
  return server !== 0 && isAvailable(server) ? server : 0;
}
