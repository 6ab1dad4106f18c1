/** The ABI of the core: what the host may call. Nothing else is exported. */

import { runBreath } from "./breath";
import * as Control from "./control";
import { format } from "./format";
import * as Counters from "./layout/counters";
import * as Errno from "./layout/errno";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Reason from "./layout/reason";
import * as Marks from "./marks";
import * as Restore from "./restore";
import * as Snapshot from "./snapshot";
import { acquire, BETWEEN, hold as holdLock, release as releaseLock, unhold } from "./table/lock";
import { count, countAt, word } from "./table/memory";
import * as Trace from "./trace";
import { abandonWorker as abandon, endUringBreath, runUringBreath } from "./uring";

export function layoutVersion(): u32 {
  return Memory.LAYOUT_VERSION;
}

/** Formats the memory that the host laid out; once, by the first instance. 0 or -errno. */
export function init(): i32 {
  if (__heap_base > <usize>Memory.LAYOUT_BASE) return -Errno.EINVAL;
  if (word(Memory.MAGIC) !== Memory.LAYOUT_MAGIC || word(Memory.VERSION) !== Memory.LAYOUT_VERSION)
    return -Errno.EINVAL;
  format();
  return 0;
}

/**
 * One breath of a worker: frees what was sent, processes what was received, drives the timers, fills the supply of
 * empty slots. `now` in ticks. Returns how many frames are to be sent.
 */
export function run(worker: u32, now: u32): u32 {
  return runBreath(worker, now);
}

/** The same over the worker's io_uring: what the system call is to do next (layout/uring). */
export function runUring(worker: u32, now: u32): u32 {
  return runUringBreath(worker, now);
}

/** Takes a worker's io_uring down, step by step: until nothing is in flight. */
export function endUring(worker: u32): u32 {
  return endUringBreath(worker);
}

/** A frame that the device did not take. Any worker's thread says so: the control instance's hold is not its. */
export function sendFailed(port: u32): void {
  acquire(BETWEEN);
  countAt(<usize>port + Port.DROPS_OUT, 1);
  count(Counters.REASONS + (Reason.PORT_DOWN << 3), 1);
  releaseLock();
}

/** Keeps the lock over several control calls. */
export function hold(): void {
  holdLock();
}

export function release(): void {
  unhold();
}

export function serviceAdd(): u32 {
  holdLock();
  const result = Control.serviceAdd();
  unhold();
  return result;
}

export function serviceEdit(): u32 {
  holdLock();
  const result = Control.serviceEdit();
  unhold();
  return result;
}

export function serviceRemove(): u32 {
  holdLock();
  const result = Control.serviceRemove();
  unhold();
  return result;
}

export function serviceFind(): u32 {
  holdLock();
  const result = Control.serviceFind();
  unhold();
  return result;
}

export function serverAdd(): u32 {
  holdLock();
  const result = Control.serverAdd();
  unhold();
  return result;
}

export function serverEdit(): u32 {
  holdLock();
  const result = Control.serverEdit();
  unhold();
  return result;
}

export function serverRemove(): u32 {
  holdLock();
  const result = Control.serverRemove();
  unhold();
  return result;
}

/** Passive checks: what makes a server suspect. */
export function serverWatch(): u32 {
  holdLock();
  const result = Control.serverWatch();
  unhold();
  return result;
}

export function flush(): u32 {
  holdLock();
  const result = Control.flush();
  unhold();
  return result;
}

export function zero(service: u32): u32 {
  holdLock();
  const result = Control.zero(service);
  unhold();
  return result;
}

export function settingSet(id: u32, value: u32): u32 {
  holdLock();
  const result = Control.settingSet(id, value);
  unhold();
  return result;
}

export function timeoutsSet(tcp: u32, tcpFin: u32, udp: u32): u32 {
  holdLock();
  const result = Control.timeoutsSet(tcp, tcpFin, udp);
  unhold();
  return result;
}

export function portAdd(): u32 {
  holdLock();
  const result = Control.portAdd();
  unhold();
  return result;
}

export function portUp(port: u32, up: u32): u32 {
  holdLock();
  const result = Control.portUp(port, up);
  unhold();
  return result;
}

export function portMtu(port: u32, mtu: u32): u32 {
  holdLock();
  const result = Control.portMtu(port, mtu);
  unhold();
  return result;
}

export function addressAdd(): u32 {
  holdLock();
  const result = Control.addressAdd();
  unhold();
  return result;
}

export function addressRemove(): u32 {
  holdLock();
  const result = Control.addressRemove();
  unhold();
  return result;
}

export function routeAdd(): u32 {
  holdLock();
  const result = Control.routeAdd();
  unhold();
  return result;
}

export function routeRemove(): u32 {
  holdLock();
  const result = Control.routeRemove();
  unhold();
  return result;
}

export function neighbourAdd(): u32 {
  holdLock();
  const result = Control.neighbourAdd();
  unhold();
  return result;
}

export function neighbourRemove(): u32 {
  holdLock();
  const result = Control.neighbourRemove();
  unhold();
  return result;
}

export function neighbourFlush(number: u32): u32 {
  holdLock();
  const result = Control.neighbourFlush(number);
  unhold();
  return result;
}

/** Takes `length` bytes of the request record into the next program of firewall marks, `offset` from its start. */
export function marksPut(offset: u32, length: u32): u32 {
  return Marks.marksPut(offset, length);
}

/** The program that was put, `length` bytes and `rules` rules, replaces the one in use at once; none for 0. */
export function marksLoad(length: u32, rules: u32): u32 {
  const refusal = Marks.marksCheck(length);
  if (refusal !== 0) return refusal;
  holdLock();
  const result = Marks.marksLoad(length, rules);
  unhold();
  return result;
}

/** Gratuitous ARP and advertisements for every address, with the next breath. */
export function announce(): void {
  holdLock();
  Control.announce();
  unhold();
}

/** SYN proxy and limits of a service: see control.ts. */
export function serviceGuard(mode: u32, connections: u32, rate: u32, ofSource: u32, sourceRate: u32): u32 {
  holdLock();
  const result = Control.serviceGuard(mode, connections, rate, ofSource, sourceRate);
  unhold();
  return result;
}

/** Timers without frames, for a director that has no worker yet. */
export function tick(now: u32): u32 {
  return runBreath(0, now);
}

/** The tables as entries of layout/snapshot in the STATE region (STATE_LENGTH bytes), a slice from `from` on. */
export function snapshotServers(from: u32): u32 {
  holdLock();
  const next = Snapshot.snapshotServers(from);
  unhold();
  return next;
}

export function snapshotServices(from: u32): u32 {
  holdLock();
  const next = Snapshot.snapshotServices(from);
  unhold();
  return next;
}

export function snapshotAddresses(from: u32): u32 {
  holdLock();
  const next = Snapshot.snapshotAddresses(from);
  unhold();
  return next;
}

export function snapshotNeighbours(from: u32): u32 {
  holdLock();
  const next = Snapshot.snapshotNeighbours(from);
  unhold();
  return next;
}

export function snapshotConnections(from: u32): u32 {
  holdLock();
  const next = Snapshot.snapshotConnections(from);
  unhold();
  return next;
}

export function snapshotChanged(from: u32): u32 {
  holdLock();
  const next = Snapshot.snapshotChanged(from);
  unhold();
  return next;
}

export function snapshotTimers(from: u32, since: u32): u32 {
  holdLock();
  const next = Snapshot.snapshotTimers(from, since);
  unhold();
  return next;
}

export function noteChanges(on: u32): void {
  holdLock();
  Snapshot.noteChanges(on);
  unhold();
}

/** Entries in the STATE region become tables again (restore.ts). No worker may have taken a breath yet. */
export function restoreBegin(): void {
  holdLock();
  Restore.restoreBegin();
  unhold();
}

export function restoreEntries(length: u32, age: u32): u32 {
  holdLock();
  const result = Restore.restoreEntries(length, age);
  unhold();
  return result;
}

export function restoreTime(tick: u32): void {
  holdLock();
  Restore.restoreTime(tick);
  unhold();
}

export function restoreLink(from: u32, late: u32): u32 {
  holdLock();
  const next = Restore.restoreLink(from, late);
  unhold();
  return next;
}

export function restoreFinish(from: u32): u32 {
  holdLock();
  const next = Restore.restoreFinish(from);
  unhold();
  return next;
}

/** Trace `number` begins, with the filter in the request record (layout/trace), `length` bytes of it. */
export function traceStart(number: u32, length: u32, snap: u32, rate: u32): u32 {
  holdLock();
  const result = Trace.traceStart(number, length, snap, rate);
  unhold();
  return result;
}

export function traceStop(number: u32): u32 {
  holdLock();
  const result = Trace.traceStop(number);
  unhold();
  return result;
}

/** One of so many new connections is told of when it begins and ends; 0 for none. */
export function traceSample(every: u32): u32 {
  holdLock();
  const result = Trace.traceSample(every);
  unhold();
  return result;
}

/** The thread of a worker is gone, its ring with it: see uring.ts. */
export function abandonWorker(worker: u32): void {
  holdLock();
  abandon(worker);
  unhold();
}
