/** Weighted failover: the available server of the highest weight. */
import { first, following, isOverloaded, weight } from "./servers";

export function pick(service: usize): usize {
  let highest: usize = 0;
  let highestWeight: i32 = 0;
  for (let server = first(service); server !== 0; server = following(server)) {
    if (isOverloaded(server) || weight(server) <= highestWeight) continue;
    highest = server;
    highestWeight = weight(server);
  }
  return highest;
}
