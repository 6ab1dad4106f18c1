/** What happens as time passes, frames or not. */

import { tickAnnouncements } from "./announce";
import { hostUnreachable, timeExceeded } from "./answer";
import { startTimers, tickConnections } from "./connections";
import { tickDefence } from "./defence";
import { sweepConnections } from "./failure";
import * as Counters from "./layout/counters";
import * as Memory from "./layout/memory";
import * as Reason from "./layout/reason";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import { countVerdict, tickNeighbours } from "./neighbour";
import { nextExpiredFragment } from "./reassembly";
import { tick as tickScheduler } from "./scheduler/index";
import { drop } from "./send";
import { askAgain, tickProxy } from "./syn-proxy";
import { count, now, reached, setWord, word } from "./table/memory";
import { forgetRetired } from "./table/server";
import { giveSlot } from "./table/slot";
import { estimate, totals } from "./table/stats";
import { queued, traceTimers } from "./trace";

const SECOND: u32 = Memory.TICKS_PER_SECOND;
/** Estimator period (ip_vs_est). */
const ESTIMATE: u32 = 2 * SECOND;
/** A worker without work looks at the timers this often: milliseconds. */
const IDLE_MAX: u32 = 1000;

function tickTimers(): void {
  startTimers();
  for (;;) {
    const waiting = tickConnections();
    if (waiting === 0) return;
    askAgain(waiting);
  }
}

function tickFragments(): void {
  for (;;) {
    const slot = nextExpiredFragment(now());
    if (slot === 0) return;
    timeExceeded(slot, 1);
    count(Counters.REASONS + (Reason.FRAGMENT_TIMEOUT << 3), 1);
    giveSlot(slot);
  }
}

function endUnreachable(): void {
  for (;;) {
    let slot = tickNeighbours();
    if (slot === 0) return;
    while (slot !== 0) {
      const next = <usize>load<u32>(slot, Slot.NEXT);
      setWord(Memory.WAITING, word(Memory.WAITING) - 1);
      if ((load<u16>(slot, Slot.FLAGS) & Slot.GENERATED) === 0) {
        hostUnreachable(slot);
        countVerdict(Verdict.DROP);
      }
      drop(slot, Reason.NEIGHBOUR_FAILED);
      slot = next;
    }
  }
}

function tickRates(): void {
  if (!reached(now(), word(Memory.ESTIMATOR_NEXT))) return;
  let next = word(Memory.ESTIMATOR_NEXT) + ESTIMATE;
  if (reached(now(), next)) next = now() + ESTIMATE;
  setWord(Memory.ESTIMATOR_NEXT, next);
  estimate(totals(), <usize>word(Memory.COUNTERS_BASE) + Counters.RATES);
  let service = <usize>word(Memory.SERVICES_HEAD);
  while (service !== 0) {
    estimate(service + Service.STATS, service + Service.RATES);
    let server = <usize>load<u32>(service, Service.SERVERS_HEAD);
    while (server !== 0) {
      estimate(server + Server.STATS, server + Server.RATES);
      server = <usize>load<u32>(server, Server.NEXT);
    }
    service = <usize>load<u32>(service, Service.NEXT);
  }
}

function tickSecond(): void {
  if (!reached(now(), word(Memory.NEXT_HOUSEKEEPING))) return;
  setWord(Memory.NEXT_HOUSEKEEPING, now() + SECOND);
  forgetRetired();
  tickDefence();
  let service = <usize>word(Memory.SERVICES_HEAD);
  while (service !== 0) {
    tickScheduler(service);
    tickProxy(service);
    service = <usize>load<u32>(service, Service.NEXT);
  }
}

/** Drives every timer, and says how long a worker may block (header IDLE_MS). */
export function keepHouse(): void {
  const before = queued();
  tickAnnouncements();
  tickTimers();
  sweepConnections();
  endUnreachable();
  tickFragments();
  tickRates();
  tickSecond();
  if (word(Memory.TRACE_ON) !== 0) traceTimers(before);
  let idle: u32 = IDLE_MAX;
  if (word(Memory.SWEEP) !== 0) {
    idle = 1;
  } else if (word(Memory.WHEEL_DUE) !== 0) {
    idle = Memory.TICK_MS;
  } else if (word(Memory.NEIGHBOUR_COUNT) !== 0) {
    const left = <i32>(word(Memory.NEIGHBOUR_TICK) - now());
    const wait = left <= 0 ? Memory.TICK_MS : <u32>left * Memory.TICK_MS;
    if (<u32>wait < idle) idle = wait;
  }
  setWord(Memory.IDLE_MS, idle);
}
