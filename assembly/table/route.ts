/** Routes: a small array, longest prefix first. */
import * as Memory from "../layout/memory";
import * as Route from "../layout/route";
import { swap32 } from "../wire/bytes";
import { setWord, word } from "./memory";

function at(index: u32): usize {
  return <usize>word(Memory.ROUTES_BASE) + <usize>index * Route.SIZE;
}

/** Netmask of a prefix length, raw. */
export function mask4(prefix: u32): u32 {
  return prefix === 0 ? 0 : swap32(0xffffffff << (32 - prefix));
}

/** Whether the first `prefix` bits of two IPv6 addresses agree. */
export function covers6(network: usize, address: usize, prefix: u32): bool {
  const whole = prefix >> 3;
  for (let i: u32 = 0; i < whole; i++) {
    if (load<u8>(network + <usize>i) !== load<u8>(address + <usize>i)) return false;
  }
  const rest = prefix & 7;
  if (rest === 0) return true;
  return <u32>(load<u8>(network + <usize>whole) ^ load<u8>(address + <usize>whole)) >> (8 - rest) === 0;
}

/** Whether the record at `route` makes addresses of a family the director's, for a packet with this mark. */
function isLocalFor(route: usize, family: u32, mark: u32): bool {
  if (load<u8>(route, Route.KIND) !== Route.KIND_LOCAL || <u32>load<u8>(route, Route.FAMILY) !== family) return false;
  const wanted = load<u32>(route, Route.MARK);
  return wanted === 0 || wanted === mark;
}

/**
 * Whether a local route makes an address (raw) the director's, for a packet with this mark. Local routes come before
 * all others, however short their prefix.
 */
export function isLocal4(addressBe: u32, mark: u32): bool {
  if (word(Memory.LOCAL_ROUTE_COUNT) === 0) return false;
  const end = at(word(Memory.ROUTE_COUNT));
  for (let route = at(0); route < end; route += Route.SIZE) {
    const outside = (addressBe ^ load<u32>(route, Route.DESTINATION)) & load<u32>(route, Route.DESTINATION + 4);
    if (outside === 0 && isLocalFor(route, 4, mark)) return true;
  }
  return false;
}

/** The same of an IPv6 address (16 bytes). */
export function isLocal6(address: usize, mark: u32): bool {
  if (word(Memory.LOCAL_ROUTE_COUNT) === 0) return false;
  const end = at(word(Memory.ROUTE_COUNT));
  for (let route = at(0); route < end; route += Route.SIZE) {
    if (!isLocalFor(route, 6, mark)) continue;
    if (covers6(route + Route.DESTINATION, address, <u32>load<u8>(route, Route.PREFIX))) return true;
  }
  return false;
}

/** The way that a route found for an address is: itself, or 0 when nothing can be sent there. */
function passable(route: usize): usize {
  return load<u8>(route, Route.KIND) === Route.KIND_UNREACHABLE ? 0 : route;
}

/** The route to send by to an IPv4 address (raw), or 0. */
export function findRoute4(addressBe: u32): usize {
  const end = at(word(Memory.ROUTE_COUNT));
  for (let route = at(0); route < end; route += Route.SIZE) {
    if (((addressBe ^ load<u32>(route, Route.DESTINATION)) & load<u32>(route, Route.DESTINATION + 4)) !== 0) continue;
    if (load<u8>(route, Route.FAMILY) !== 4) continue;
    if (load<u8>(route, Route.KIND) !== Route.KIND_LOCAL) return passable(route);
  }
  return 0;
}

/** The route to send by to an address (pointer to 4 or 16 bytes), or 0. */
export function findRoute(family: u32, address: usize): usize {
  if (family === 4) return findRoute4(load<u32>(address));
  const end = at(word(Memory.ROUTE_COUNT));
  for (let route = at(0); route < end; route += Route.SIZE) {
    if (
      load<u8>(route, Route.FAMILY) === 6 &&
      covers6(route + Route.DESTINATION, address, <u32>load<u8>(route, Route.PREFIX)) &&
      load<u8>(route, Route.KIND) !== Route.KIND_LOCAL
    )
      return passable(route);
  }
  return 0;
}

/** Makes room for a route in its place (longer prefixes first, then lower metric) and returns it zeroed; 0 when full. */
export function insertRoute(family: u32, prefix: u32, metric: u32): usize {
  const count = word(Memory.ROUTE_COUNT);
  if (count === word(Memory.ROUTES_CAPACITY)) return 0;
  let i: u32 = 0;
  for (; i < count; i++) {
    const other = at(i);
    const length = <u32>load<u8>(other, Route.PREFIX);
    if (length < prefix || (length === prefix && load<u32>(other, Route.METRIC) > metric)) break;
  }
  memory.copy(at(i + 1), at(i), <usize>(count - i) * Route.SIZE);
  memory.fill(at(i), 0, Route.SIZE);
  setWord(Memory.ROUTE_COUNT, count + 1);
  store<u8>(at(i), <u8>family, Route.FAMILY);
  store<u8>(at(i), <u8>prefix, Route.PREFIX);
  store<u32>(at(i), metric, Route.METRIC);
  return at(i);
}

export function removeRoute(route: usize): void {
  if (load<u8>(route, Route.KIND) === Route.KIND_LOCAL)
    setWord(Memory.LOCAL_ROUTE_COUNT, word(Memory.LOCAL_ROUTE_COUNT) - 1);
  const count = word(Memory.ROUTE_COUNT);
  memory.copy(route, route + Route.SIZE, at(count) - route - Route.SIZE);
  setWord(Memory.ROUTE_COUNT, count - 1);
}

/** The first route at or after `from` with this family, prefix, destination; 0 when there is none. */
export function nextRoute(from: usize, family: u32, prefix: u32, destination: usize): usize {
  let route = from === 0 ? at(0) : from;
  const end = at(word(Memory.ROUTE_COUNT));
  for (; route < end; route += Route.SIZE) {
    if (<u32>load<u8>(route, Route.FAMILY) !== family || <u32>load<u8>(route, Route.PREFIX) !== prefix) continue;
    if (
      family === 4
        ? load<u32>(route, Route.DESTINATION) === load<u32>(destination)
        : covers6(route + Route.DESTINATION, destination, 128)
    )
      return route;
  }
  return 0;
}
