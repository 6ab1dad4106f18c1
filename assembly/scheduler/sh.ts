/** Source hashing: 256 places, each server has as many in a row as its weight says. */
import * as State from "../layout/scheduler-state";
import * as Service from "../layout/service";
import * as Slot from "../layout/slot";
import { clientAddress, clientPort, foldAddress, isV6, multiplicative } from "./hash";
import { first, following, isAvailable, isSuspect, weight } from "./servers";
import { at, refilling } from "./table";

const FALLBACK = Service.FLAG_SCHEDULER_1;
const WITH_PORT = Service.FLAG_SCHEDULER_2;

function fill(service: usize, table: usize): void {
  let server = first(service);
  let given: i32 = 0;
  for (let place: usize = 0; place < <usize>State.HASH_SIZE; place++) {
    store<u32>(table + (place << 2), <u32>server);
    // A weight of 0 or less keeps one place, which nobody is then sent to.
    if (++given >= weight(server)) {
      server = following(server);
      if (server === 0) server = first(service);
      given = 0;
    }
  }
}

export function pick(service: usize, slot: usize): usize {
  if (first(service) === 0) return 0;
  const table = refilling(service);
  if (table !== 0) fill(service, table);
  const flags = load<u32>(service, Service.FLAGS);
  const key =
    foldAddress(clientAddress(slot), isV6(<usize>load<u32>(slot, Slot.IP))) +
    ((flags & WITH_PORT) !== 0 ? clientPort(slot) : 0);
  const hash = multiplicative(key, State.HASH_BITS);
  const server = at(service, hash);
  if (server === 0 || isAvailable(server)) return server;
  if ((flags & FALLBACK) === 0 && !isSuspect(server)) return 0;
  for (let offset: u32 = 0; offset < <u32>State.HASH_SIZE; offset++) {
    // The hash is in the offset already, and is added once more.
    const other = at(service, (((offset + hash) & 255) + hash) & 255);
    if (other === 0) return 0;
    if (isAvailable(other)) return other;
  }
  return 0;
}
