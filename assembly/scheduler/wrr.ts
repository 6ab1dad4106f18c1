/**
 * Weighted round robin: passes over the list with a falling bar. A server is picked when its weight reaches the bar;
 * the bar falls by the greatest common divisor of the weights and starts again at the highest.
 */
import * as State from "../layout/scheduler-state";
import * as Service from "../layout/service";
import { first, following, greatestDivisor, isOverloaded, weight } from "./servers";

const CURRENT = Service.SCHEDULER_STATE + State.CURRENT;
const BAR = Service.SCHEDULER_STATE + State.PASS_WEIGHT;
const MAXIMUM = Service.SCHEDULER_STATE + State.MAXIMUM;
const STEP = Service.SCHEDULER_STATE + State.STEP;

function measure(service: usize): void {
  let divisor: u32 = 0;
  let highest: i32 = 0;
  for (let server = first(service); server !== 0; server = following(server)) {
    const its = weight(server);
    if (its <= 0) continue;
    divisor = greatestDivisor(<u32>its, divisor);
    if (its > highest) highest = its;
  }
  const step = divisor === 0 ? 1 : <i32>divisor;
  store<i32>(service, step, STEP);
  store<i32>(service, highest - (step - 1), MAXIMUM);
}

export function start(service: usize): void {
  store<u32>(service, 0, CURRENT);
  measure(service);
  store<i32>(service, load<i32>(service, MAXIMUM), BAR);
}

/** A server came, went, or changed: the pass goes on at about the bar where it was, from the head of the list. */
export function changed(service: usize): void {
  store<u32>(service, 0, CURRENT);
  measure(service);
  const bar = load<i32>(service, BAR);
  const maximum = load<i32>(service, MAXIMUM);
  const step = load<i32>(service, STEP);
  if (bar > maximum || bar === 0) store<i32>(service, maximum, BAR);
  else if (step > 1) store<i32>(service, (bar / step) * step + 1, BAR);
}

export function pick(service: usize): usize {
  const maximum = load<i32>(service, MAXIMUM);
  const step = load<i32>(service, STEP);
  if (maximum === 0) return 0;
  const last = <usize>load<u32>(service, CURRENT);
  let bar = load<i32>(service, BAR);
  let server = last !== 0 ? following(last) : first(service);
  let lowest = false;
  let restarted = false;
  let whole = false;
  let reachable: i32 = 0;
  for (;;) {
    for (; server !== 0; server = following(server)) {
      if (!isOverloaded(server) && weight(server) >= bar) return settle(service, server, server, bar);
      // Every server was looked at with the lowest bar.
      if (server === last && lowest && restarted) return settle(service, last, 0, bar);
    }
    bar -= step;
    if (whole) {
      // Between the bar and what any server that may be picked has are passes that find nothing: billions, at worst.
      if (reachable === 0) reachable = highestOf(service, step);
      if (bar > reachable) bar -= ((bar - reachable + step - 1) / step) * step;
    }
    whole = true;
    if (bar <= 0) {
      bar = maximum;
      if (lowest || last === 0) break;
      restarted = true;
    }
    lowest = bar <= step;
    server = first(service);
  }
  return settle(service, 0, 0, bar);
}

/** The highest weight of those that may be picked; the lowest bar, `step`, at least: it is never passed over. */
function highestOf(service: usize, step: i32): i32 {
  let highest = step;
  for (let server = first(service); server !== 0; server = following(server)) {
    const its = weight(server);
    if (its > highest && !isOverloaded(server)) highest = its;
  }
  return highest;
}

/** Keeps where the passes stand. */
function settle(service: usize, current: usize, picked: usize, bar: i32): usize {
  store<u32>(service, <u32>current, CURRENT);
  store<i32>(service, bar, BAR);
  return picked;
}
