/** One breath: what a worker does between two visits to its devices. */

import { receive } from "./director";
import { forwardPlain } from "./fast-path";
import { provoke } from "./fault";
import { keepHouse } from "./housekeeping";
import * as Counters from "./layout/counters";
import * as Memory from "./layout/memory";
import * as Verdict from "./layout/verdict";
import * as Worker from "./layout/worker";
import { countVerdict } from "./neighbour";
import { peekAll } from "./peek";
import { acquire, release } from "./table/lock";
import { count, countAt, setWord, word } from "./table/memory";
import { countReceived } from "./table/port";
import { giveSlot, takeSlot } from "./table/slot";
import { beginFrame, endFrame } from "./trace";

/** Places of the send queue that a breath's answers, fragments and timers may still need. */
const RESERVE: u32 = 512;

function freeSent(queue: usize): void {
  const sent = load<u32>(queue, Worker.SEND_COUNT);
  for (let i: u32 = 0; i < sent; i++) giveSlot(<usize>load<u32>(queue + <usize>(i << 2), Worker.SEND));
  store<u32>(queue, 0, Worker.SEND_COUNT);
}

function supply(queue: usize): void {
  let held = load<u32>(queue, Worker.SUPPLY_COUNT);
  while (held < <u32>Worker.SUPPLY_TARGET) {
    const slot = takeSlot();
    if (slot === 0) break;
    store<u32>(queue + <usize>(held << 2), <u32>slot, Worker.SUPPLY);
    held++;
  }
  store<u32>(queue, held, Worker.SUPPLY_COUNT);
}

/** The breath's time and its worker's lists, which are current from now on. Returns these. Under the lock. */
export function startBreath(worker: u32, now: u32): usize {
  const queue = <usize>word(Memory.WORKERS_BASE) + <usize>worker * Worker.SIZE;
  setWord(Memory.CURRENT_QUEUE, <u32>queue);
  // Workers hand in their own readings of one clock: it never goes back.
  if (<i32>(now - word(Memory.NOW)) > 0) setWord(Memory.NOW, now);
  if (word(Memory.FAULT) !== 0) provoke(worker);
  return queue;
}

/** What the worker itself counts. No bucket is missing: RECEIVED has 1024 entries. */
function countBreath(queue: usize, frames: u32, bytes: u64): void {
  countAt(queue + Worker.BREATHS, 1);
  countAt(queue + Worker.FRAMES_BUCKETS + ((<usize>(32 - clz(frames))) << 3), 1);
  if (frames === 0) return;
  countAt(queue + Worker.FRAMES_IN, <u64>frames);
  countAt(queue + Worker.BYTES_IN, bytes);
}

/** A frame by the general path. Returns its bytes. */
function processOne(queue: usize, slot: usize, traced: bool): u32 {
  const bytes = countReceived(slot);
  if (traced) beginFrame(queue, slot);
  const verdict = receive(slot);
  if (traced) endFrame(queue, slot, verdict);
  if (verdict !== Verdict.WAIT) countVerdict(verdict);
  return bytes;
}

/** Every frame of RECEIVED goes its way, as long as there is room in SEND. */
export function process(queue: usize): void {
  peekAll(queue);
  const received = load<u32>(queue, Worker.RECEIVED_COUNT);
  const traced = word(Memory.TRACE_ON) !== 0;
  let done: u32 = 0;
  let bytes: u64 = 0;
  while (done < received) {
    const sending = load<u32>(queue, Worker.SEND_COUNT);
    if (sending > <u32>(Worker.SEND_LIMIT - RESERVE)) break;
    // As many as go the fast path; then one that does not.
    const room = <u32>(Worker.SEND_LIMIT - RESERVE) + 1 - sending;
    const next = forwardPlain(queue, done, min<u32>(received, done + room));
    if (next !== done) {
      done = next;
      continue;
    }
    store<u32>(queue, done + 1, Worker.DONE);
    bytes += <u64>processOne(queue, <usize>load<u32>(queue + <usize>(done << 2), Worker.RECEIVED), traced);
    done++;
  }
  count(Counters.FRAMES_IN, <u64>done);
  countBreath(queue, done, bytes);
  // What did not fit waits for the next breath.
  if (done !== 0 && done !== received)
    memory.copy(queue + Worker.RECEIVED, queue + Worker.RECEIVED + <usize>(done << 2), <usize>((received - done) << 2));
  store<u32>(queue, 0, Worker.DONE);
  store<u32>(queue, received - done, Worker.RECEIVED_COUNT);
}

export function runBreath(worker: u32, now: u32): u32 {
  acquire(worker);
  const queue = startBreath(worker, now);
  freeSent(queue);
  process(queue);
  keepHouse();
  supply(queue);
  const sending = load<u32>(queue, Worker.SEND_COUNT);
  release();
  return sending;
}
