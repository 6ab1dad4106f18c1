/** Never queue: the first idle server, else as sed. */
import * as Server from "../layout/server";
import { first, following, isAvailable, isMore, weight } from "./servers";

export function pick(service: usize): usize {
  let least: usize = 0;
  let leastDelay: u32 = 0;
  for (let server = first(service); server !== 0; server = following(server)) {
    if (!isAvailable(server)) continue;
    const active = load<u32>(server, Server.ACTIVE);
    if (active === 0) return server;
    if (least === 0 || isMore(leastDelay, weight(least), active + 1, weight(server))) {
      least = server;
      leastDelay = active + 1;
    }
  }
  return least;
}
