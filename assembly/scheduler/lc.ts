/** Least connection: the least overhead, whatever the weight. */
import { first, following, isAvailable, overhead } from "./servers";

export function pick(service: usize): usize {
  let least: usize = 0;
  let leastLoad: u32 = 0;
  for (let server = first(service); server !== 0; server = following(server)) {
    if (!isAvailable(server)) continue;
    const its = overhead(server);
    if (least === 0 || its < leastLoad) {
      least = server;
      leastLoad = its;
    }
  }
  return least;
}
