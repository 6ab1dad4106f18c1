/** Counters of services, servers and the whole, and the rates that are estimated from them every two seconds. */
import * as Counters from "../layout/counters";
import * as Memory from "../layout/memory";
import * as Server from "../layout/server";
import * as Service from "../layout/service";
import * as Setting from "../layout/setting";
import * as Stats from "../layout/stats";
import { countAt, setting, word } from "./memory";

export function totals(): usize {
  return <usize>word(Memory.COUNTERS_BASE) + Counters.STATS;
}

function countIn(stats: usize, bytes: u32): void {
  countAt(stats + Stats.IN_PACKETS, 1);
  countAt(stats + Stats.IN_BYTES, <u64>bytes);
}

function countOut(stats: usize, bytes: u32): void {
  countAt(stats + Stats.OUT_PACKETS, 1);
  countAt(stats + Stats.OUT_BYTES, <u64>bytes);
}

/** A packet from a client. Servers that are not available count nothing, as in the kernel. */
export function countPacketIn(server: usize, bytes: u32): void {
  if (server === 0 || (load<u32>(server, Server.FLAGS) & Server.FLAG_AVAILABLE) === 0) return;
  countServedIn(server, bytes);
}

/** The same of a server that is known to be available. */
export function countServedIn(server: usize, bytes: u32): void {
  countIn(server + Server.STATS, bytes);
  const service = <usize>load<u32>(server, Server.SERVICE);
  if (service !== 0) countIn(service + Service.STATS, bytes);
  countIn(totals(), bytes);
}

/** A packet to a client. */
export function countPacketOut(server: usize, bytes: u32): void {
  if (server === 0 || (load<u32>(server, Server.FLAGS) & Server.FLAG_AVAILABLE) === 0) return;
  countServedOut(server, bytes);
}

/** The same of a server that is known to be available. */
export function countServedOut(server: usize, bytes: u32): void {
  countOut(server + Server.STATS, bytes);
  const service = <usize>load<u32>(server, Server.SERVICE);
  if (service !== 0) countOut(service + Service.STATS, bytes);
  countOut(totals(), bytes);
}

export function countConnection(server: usize, service: usize): void {
  if (server !== 0) countAt(server + Server.STATS + Stats.CONNECTIONS, 1);
  countAt(service + Service.STATS + Stats.CONNECTIONS, 1);
  countAt(totals() + Stats.CONNECTIONS, 1);
}

/** Rates start from the counters as they are. */
export function startRates(stats: usize, rates: usize): void {
  memory.fill(rates, 0, Stats.RATES_SIZE);
  store<u32>(rates, <u32>load<u64>(stats, Stats.CONNECTIONS), Stats.LAST_CONNECTIONS);
  store<u32>(rates, <u32>load<u64>(stats, Stats.IN_PACKETS), Stats.LAST_IN_PACKETS);
  store<u32>(rates, <u32>load<u64>(stats, Stats.OUT_PACKETS), Stats.LAST_OUT_PACKETS);
  store<u64>(rates, load<u64>(stats, Stats.IN_BYTES), Stats.LAST_IN_BYTES);
  store<u64>(rates, load<u64>(stats, Stats.OUT_BYTES), Stats.LAST_OUT_BYTES);
}

/**
 * Counters start again from zero. The kernel's zero is what its estimator had last seen: packets of the last two
 * seconds stay counted (with KERNEL_QUIRKS).
 */
export function zeroStats(stats: usize, rates: usize): void {
  if (setting(Setting.KERNEL_QUIRKS) === 0) {
    memory.fill(stats, 0, Stats.SIZE);
  } else {
    store<u64>(
      stats,
      <u64>(<u32>load<u64>(stats, Stats.CONNECTIONS) - load<u32>(rates, Stats.LAST_CONNECTIONS)),
      Stats.CONNECTIONS,
    );
    store<u64>(
      stats,
      <u64>(<u32>load<u64>(stats, Stats.IN_PACKETS) - load<u32>(rates, Stats.LAST_IN_PACKETS)),
      Stats.IN_PACKETS,
    );
    store<u64>(
      stats,
      <u64>(<u32>load<u64>(stats, Stats.OUT_PACKETS) - load<u32>(rates, Stats.LAST_OUT_PACKETS)),
      Stats.OUT_PACKETS,
    );
    store<u64>(stats, load<u64>(stats, Stats.IN_BYTES) - load<u64>(rates, Stats.LAST_IN_BYTES), Stats.IN_BYTES);
    store<u64>(stats, load<u64>(stats, Stats.OUT_BYTES) - load<u64>(rates, Stats.LAST_OUT_BYTES), Stats.OUT_BYTES);
  }
  memory.fill(rates, 0, Stats.RATES_SIZE);
}

function estimateCount(rates: usize, last: usize, rate: usize, seen: u32): void {
  const perSecond = (<i64>(seen - load<u32>(rates + last))) << 9;
  store<u32>(rates + last, seen);
  const average = <i64>load<u32>(rates + rate);
  store<u32>(rates + rate, <u32>(average + ((perSecond - average) >> 2)));
}

function estimateBytes(rates: usize, last: usize, rate: usize, seen: u64): void {
  const perSecond = (<i64>(seen - load<u64>(rates + last))) << 4;
  store<u64>(rates + last, seen);
  const average = <i64>load<u64>(rates + rate);
  store<u64>(rates + rate, <u64>(average + ((perSecond - average) >> 2)));
}

/**
 * One step of the estimator, every 2 s: an exponential average that gives the newest two seconds a quarter of the
 * weight. Connections and packets are scaled by 2^10, bytes by 2^5.
 */
export function estimate(stats: usize, rates: usize): void {
  estimateCount(rates, Stats.LAST_CONNECTIONS, Stats.CPS, <u32>load<u64>(stats, Stats.CONNECTIONS));
  estimateCount(rates, Stats.LAST_IN_PACKETS, Stats.IN_PPS, <u32>load<u64>(stats, Stats.IN_PACKETS));
  estimateCount(rates, Stats.LAST_OUT_PACKETS, Stats.OUT_PPS, <u32>load<u64>(stats, Stats.OUT_PACKETS));
  estimateBytes(rates, Stats.LAST_IN_BYTES, Stats.IN_BPS, load<u64>(stats, Stats.IN_BYTES));
  estimateBytes(rates, Stats.LAST_OUT_BYTES, Stats.OUT_BPS, load<u64>(stats, Stats.OUT_BYTES));
}
