/**
 * Sources of limited services (layout/source). The table is small and never full: the source of a line that has no
 * connection and was not seen for longest gives way, then the one that was not seen for longest.
 */
import * as Memory from "../layout/memory";
import * as Server from "../layout/server";
import * as Service from "../layout/service";
import * as Source from "../layout/source";
import { siphash } from "../wire/siphash";
import { fillBucket } from "./bucket";
import { now, word } from "./memory";

const KEY: usize = Memory.LAYOUT_BASE + Memory.SOURCE_KEY;
const TEXT: usize = Memory.LAYOUT_BASE + Memory.SOURCE_TEXT;

const WORDS: u32 = 5;

/**
 * What stands for a client (4 or 16 bytes) of a service: of what the service is known by, so that a connection whose
 * server is no longer in it, or was taken over by a service of that name, is counted where it was. IPv6: the client's
 * network of 64 bits.
 */
function keyOf(family: u32, client: usize, protocol: u32, mark: u32, port: u32, virtual: usize): u64 {
  store<u64>(TEXT, family === 4 ? <u64>load<u32>(client) : load<u64>(client));
  store<u64>(TEXT, ((<u64>mark) << 32) | (family << 8) | protocol, 8);
  if (mark === 0) {
    store<u64>(TEXT, port, 16);
    store<u64>(TEXT, load<u64>(virtual), 24);
    store<u64>(TEXT, load<u64>(virtual, 8), 32);
  } else {
    memory.fill(TEXT + 16, 0, 24);
  }
  return siphash(KEY, TEXT, WORDS) | 1;
}

/** Of a client of a service. */
export function keyAtService(family: u32, client: usize, service: usize): u64 {
  const protocol = <u32>load<u8>(service, Service.PROTOCOL);
  const port = <u32>load<u16>(service, Service.PORT);
  return keyOf(family, client, protocol, load<u32>(service, Service.MARK), port, service + Service.ADDRESS);
}

/** Of a client of the service that this server was added to. */
export function keyAtServer(family: u32, client: usize, server: usize): u64 {
  const mark = load<u32>(server, Server.VIRTUAL_MARK);
  const protocol = <u32>load<u8>(server, Server.PROTOCOL);
  const port = <u32>load<u16>(server, Server.VIRTUAL_PORT);
  return keyOf(family, client, protocol, mark, port, server + Server.VIRTUAL_ADDRESS);
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
