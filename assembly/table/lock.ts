/**
 * The core's one lock. A worker holds it from the first to the last frame of a breath, a control call while it changes
 * the tables; nobody across a system call. What a frame costs in here is a few per cent of what its device costs, so
 * workers that exclude each other in the core still move frames in parallel.
 */
import * as Memory from "../layout/memory";

const LOCK: usize = Memory.LAYOUT_BASE + Memory.LOCK;
const WAITERS: usize = Memory.LAYOUT_BASE + Memory.LOCK_WAITERS;
const HOLD_DEPTH: usize = Memory.LAYOUT_BASE + Memory.HOLD_DEPTH;

/** Holder number of the control instance; workers are 0, 1, 2 ... */
export const CONTROL: u32 = 255;
/** Of a worker between two breaths: what it holds the lock for is one count, and it never holds it twice. */
export const BETWEEN: u32 = 254;

const SPINS = 200;
/** A lost wake-up costs at most this: nanoseconds. */
const WAIT_LIMIT: i64 = 200_000;

export function acquire(holder: u32): void {
  const mine = holder + 1;
  for (let i = 0; i < SPINS; i++) {
    if (atomic.load<u32>(LOCK) === 0 && atomic.cmpxchg<u32>(LOCK, 0, mine) === 0) return;
  }
  atomic.add<u32>(WAITERS, 1);
  for (;;) {
    const held = atomic.cmpxchg<u32>(LOCK, 0, mine);
    if (held === 0) break;
    atomic.wait<i32>(LOCK, <i32>held, WAIT_LIMIT);
  }
  atomic.sub<u32>(WAITERS, 1);
}

export function release(): void {
  atomic.store<u32>(LOCK, 0);
  if (atomic.load<u32>(WAITERS) !== 0) atomic.notify(LOCK, 1);
}

/** The control instance may hold the lock over several calls: they nest. */
export function hold(): void {
  if (atomic.load<u32>(LOCK) !== CONTROL + 1) acquire(CONTROL);
  store<u32>(HOLD_DEPTH, load<u32>(HOLD_DEPTH) + 1);
}

export function unhold(): void {
  const depth = load<u32>(HOLD_DEPTH) - 1;
  store<u32>(HOLD_DEPTH, depth);
  if (depth === 0) release();
}
