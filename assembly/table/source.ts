/**
 * Sources of limited services (layout/source). The table is small and never full: the source of a line that has no
 * connection and was not seen for longest gives way, then the one that was not seen for longest.
 */
import * as Memory from "../layout/memory";
import * as Source from "../layout/source";
import { siphash } from "../wire/siphash";
import { fillBucket } from "./bucket";
import { now, word } from "./memory";

const KEY: usize = Memory.LAYOUT_BASE + Memory.SOURCE_KEY;
const TEXT: usize = Memory.LAYOUT_BASE + Memory.SOURCE_TEXT;

/** What stands for a client (4 or 16 bytes) of the service with this number. IPv6: for its network of 64 bits. */
export function sourceKey(family: u32, address: usize, service: u32): u64 {
  store<u64>(TEXT, family === 4 ? <u64>load<u32>(address) : load<u64>(address));
  store<u64>(TEXT, ((<u64>family) << 32) | <u64>service, 8);
  return siphash(KEY, TEXT, 2) | 1;
}

function line(key: u64): usize {
  const lines = word(Memory.SOURCES_CAPACITY) / Source.WAYS;
  const number = <usize>(((key >> 32) * <u64>lines) >> 32);
  return <usize>word(Memory.SOURCES_BASE) + number * <usize>(Source.WAYS * Source.SIZE);
}

/** The record of a source, or 0. */
export function findSource(key: u64): usize {
  let record = line(key);
  for (let way = 0; way < Source.WAYS; way++) {
    if (load<u64>(record, Source.KEY) === key) return record;
    record += Source.SIZE;
  }
  return 0;
}

/** The record of a source; a new one has no connection and all of its rate. */
export function ensureSource(key: u64, rate: u32): usize {
  const found = findSource(key);
  if (found !== 0) return found;
  const first = line(key);
  let chosen = first;
  for (let way = 1; way < Source.WAYS; way++) {
    const record = first + <usize>(way * Source.SIZE);
    if (isBetter(record, chosen)) chosen = record;
  }
  memory.fill(chosen, 0, Source.SIZE);
  store<u64>(chosen, key, Source.KEY);
  store<u32>(chosen, now(), Source.SEEN);
  fillBucket(chosen + Source.BUCKET, rate);
  return chosen;
}

/** Whether `a` gives way before `b`. */
function isBetter(a: usize, b: usize): bool {
  const free = load<u64>(a, Source.KEY) === 0;
  if (free !== (load<u64>(b, Source.KEY) === 0)) return free;
  const idle = load<u32>(a, Source.CONNECTIONS) === 0;
  if (idle !== (load<u32>(b, Source.CONNECTIONS) === 0)) return idle;
  return <i32>(load<u32>(a, Source.SEEN) - load<u32>(b, Source.SEEN)) < 0;
}
