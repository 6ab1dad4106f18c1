/** What schedulers ask about servers, and the order in which they look at them. */
import * as Server from "../layout/server";
import * as Service from "../layout/service";

/** Schedulers go through the servers newest first, as IPVS does; the list itself is in order of adding. */
export function first(service: usize): usize {
  return <usize>load<u32>(service, Service.SERVERS_TAIL);
}

export function following(server: usize): usize {
  return <usize>load<u32>(server, Server.PREVIOUS);
}

/** The one that schedulers look at just before this one; 0 for the first. */
export function preceding(server: usize): usize {
  return <usize>load<u32>(server, Server.NEXT);
}

export function weight(server: usize): i32 {
  return load<i32>(server, Server.WEIGHT);
}

/** At its upper threshold, and not yet back below the lower one; or suspect, which asks for the same. */
export function isOverloaded(server: usize): bool {
  return (load<u8>(server, Server.FLAGS) & (Server.FLAG_OVERLOAD | Server.FLAG_SUSPECT)) !== 0;
}

/** Passed over even where a scheduler would rather refuse a client than send it elsewhere. */
export function isSuspect(server: usize): bool {
  return (load<u8>(server, Server.FLAGS) & Server.FLAG_SUSPECT) !== 0;
}

/** May be given a new connection. */
export function isAvailable(server: usize): bool {
  return load<i32>(server, Server.WEIGHT) > 0 && !isOverloaded(server);
}

/** Load of a server: an active connection counts as 256 inactive ones. */
export function overhead(server: usize): u32 {
  return (load<u32>(server, Server.ACTIVE) << 8) + load<u32>(server, Server.INACTIVE);
}

/** Whether `load` per `weight` is more than `otherLoad` per `otherWeight`. */
export function isMore(load: u32, weight: i32, otherLoad: u32, otherWeight: i32): bool {
  return <i64>load * <i64>otherWeight > <i64>otherLoad * <i64>weight;
}

/** Least overhead per weight among the available ones; 0 for none. The earlier one wins a tie. */
export function leastLoaded(service: usize): usize {
  let server = first(service);
  while (server !== 0 && !isAvailable(server)) server = following(server);
  if (server === 0) return 0;
  let least = server;
  let leastLoad = overhead(least);
  for (server = following(server); server !== 0; server = following(server)) {
    if (isOverloaded(server)) continue;
    const itsLoad = overhead(server);
    if (isMore(leastLoad, weight(least), itsLoad, weight(server))) {
      least = server;
      leastLoad = itsLoad;
    }
  }
  return least;
}

export function greatestDivisor(a: u32, b: u32): u32 {
  while (b !== 0) {
    const rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}
