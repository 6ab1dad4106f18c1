/** One breath: what a worker does between two visits to its devices. */

import { receive } from "./director";
import { forwardPlain, TURNED_AWAY } from "./fast-path";
import { provoke } from "./fault";
import { keepHouse } from "./housekeeping";
import * as Counters from "./layout/counters";
import * as Hint from "./layout/hint";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Slot from "./layout/slot";
import * as Verdict from "./layout/verdict";
import * as Worker from "./layout/worker";
import { countVerdict } from "./neighbour";
import { peekAll } from "./peek";
import { acquire, release } from "./table/lock";
import { count, countAt, setWord, word } from "./table/memory";
import { giveSlot, takeSlot } from "./table/slot";
import { beginFrame, endFrame } from "./trace";
import * as Vnet from "./wire/virtionet";

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

/** Every frame of RECEIVED goes its way, as long as there is room in SEND. */
export function process(queue: usize): void {
  peekAll(queue);
  const received = load<u32>(queue, Worker.RECEIVED_COUNT);
  const traced = word(Memory.TRACE_ON) !== 0;
  let done: u32 = 0;
  let bytes: u64 = 0;
  for (; done < received; done++) {
    if (load<u32>(queue, Worker.SEND_COUNT) > <u32>(Worker.SEND_LIMIT - RESERVE)) break;
    const slot = <usize>load<u32>(queue + <usize>(done << 2), Worker.RECEIVED);
    store<u32>(queue, done + 1, Worker.DONE);
    const port = <usize>load<u32>(slot, Slot.PORT_IN);
    const length = load<u32>(slot, Slot.LENGTH);
    countAt(port + Port.FRAMES_IN, 1);
    if (length > <u32>Vnet.SIZE) {
      countAt(port + Port.BYTES_IN, <u64>(length - Vnet.SIZE));
      bytes += <u64>(length - Vnet.SIZE);
    }
    if (traced) beginFrame(queue, slot);
    const plain = (load<u8>(slot, Slot.HINT) & Hint.HINT_PLAIN) !== 0;
    let verdict = plain ? forwardPlain(slot) : TURNED_AWAY;
    if (verdict === TURNED_AWAY) verdict = receive(slot);
    if (traced) endFrame(queue, slot, verdict);
    if (verdict !== Verdict.WAIT) countVerdict(verdict);
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
