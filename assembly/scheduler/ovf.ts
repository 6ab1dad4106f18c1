/** Weighted overflow: the highest weight among those whose active connections do not exceed their weight. */
import * as Server from "../layout/server";
import { first, following, isOverloaded, weight } from "./servers";

export function pick(service: usize): usize {
  let highest: usize = 0;
  let highestWeight: i32 = 0;
  for (let server = first(service); server !== 0; server = following(server)) {
    const its = weight(server);
    if (isOverloaded(server) || its <= highestWeight || <i64>load<u32>(server, Server.ACTIVE) > <i64>its) continue;
    highest = server;
    highestWeight = its;
  }
  return highest;
}
