/** The power of two: two servers drawn at random by weight, and of them the one with less overhead per weight. */
import * as Memory from "../layout/memory";
import * as State from "../layout/scheduler-state";
import * as Service from "../layout/service";
import { word } from "../table/memory";
import { mix } from "./hash";
import { first, following, isAvailable, isMore, overhead, weight } from "./servers";

const DRAWS = Service.SCHEDULER_STATE + State.DRAWS;

/** A number below `bound`, from the process' random word and a counter. */
function draw(service: usize, bound: u64): i64 {
  const count = load<u32>(service, DRAWS) + 1;
  store<u32>(service, count, DRAWS);
  const random = mix(mix(word(Memory.SEED) ^ <u32>service) + count * 0x9e3779b9);
  return <i64>((<u64>random * bound) >> 32);
}

/** The server whose part of the sum of weights holds `number`. */
function find(service: usize, number: i64): usize {
  let server = first(service);
  for (; server !== 0; server = following(server)) {
    if (!isAvailable(server)) continue;
    number -= <i64>weight(server);
    if (number <= 0) break;
  }
  return server;
}

export function pick(service: usize): usize {
  let total: u64 = 0;
  for (let server = first(service); server !== 0; server = following(server)) {
    if (isAvailable(server)) total += <u64>weight(server);
  }
  if (total === 0) return 0;
  // Kernel: both ends of [0, total] may be drawn.
  const one = find(service, draw(service, total + 1));
  const other = find(service, draw(service, total + 1));
  return isMore(overhead(one), weight(one), overhead(other), weight(other)) ? other : one;
}
