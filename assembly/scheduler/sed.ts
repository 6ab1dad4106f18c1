/** Shortest expected delay: the least (active + 1) per weight. */
import * as Server from "../layout/server";
import { first, following, isAvailable, isMore, isOverloaded, weight } from "./servers";

/** Active connections if one more came. */
function delay(server: usize): u32 {
  return load<u32>(server, Server.ACTIVE) + 1;
}

export function pick(service: usize): usize {
  let server = first(service);
  while (server !== 0 && !isAvailable(server)) server = following(server);
  if (server === 0) return 0;
  let least = server;
  for (server = following(server); server !== 0; server = following(server)) {
    if (isOverloaded(server)) continue;
    if (isMore(delay(least), weight(least), delay(server), weight(server))) least = server;
  }
  return least;
}
