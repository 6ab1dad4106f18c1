/**
 * The worker's io_uring, whose rings lie in this memory: takes what the kernel completed, runs a breath over it, posts
 * what is to go out and fills the buffer rings with empty slots. The system call between two breaths is the host's.
 *
 * A slot is in exactly one place: the free list, a buffer ring (PROVIDED), a worker's lists, or a submission that the
 * kernel has not consumed (POSTED). Writes carry RWF_NOWAIT: once the kernel has consumed one, it is over, and it
 * leaves a completion only if it failed.
 */

import { process, startBreath } from "./breath";
import { keepHouse } from "./housekeeping";
import * as Counters from "./layout/counters";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Reason from "./layout/reason";
import * as Slot from "./layout/slot";
import * as Uring from "./layout/uring";
import * as Worker from "./layout/worker";
import { acquire, release } from "./table/lock";
import { count, countAt, now, reached, setWord, word } from "./table/memory";
import { freeSlots, giveSlot, popSlot, resetSlot } from "./table/slot";

/** A queue whose reads ended with an error is tried again after this many ticks. */
const RETRY: u32 = 62;
/** Milliseconds until empty slots are looked for again. */
const STARVED_MS: u32 = 4;
/** Bytes of frames that one turn of the kernel may put into a queue's buffers: they are to be in the cache still. */
const BURST_BYTES: u32 = 1 << 18;
const BURST_LEAST: u32 = 4;
const RECEIVED_LIMIT: u32 = 1024;

const EINTR = 4;
const EAGAIN = 11;
const ENOMEM = 12;
const EIO = 5;
const ENOBUFS = 105;
const ECANCELED = 125;

function blockOf(worker: u32): usize {
  return <usize>word(Memory.RINGS_BASE) + <usize>worker * Uring.SIZE;
}

function queueOf(state: usize, number: u32): usize {
  return state + Uring.QUEUE + <usize>number * Uring.QUEUE_SIZE;
}

function providedOf(block: usize, number: u32): usize {
  return block + Uring.PROVIDED + <usize>number * Uring.BUFFERS * 4;
}

/** Slots of submissions that the kernel has consumed are free again. */
function freePosted(block: usize, state: usize): void {
  const head = atomic.load<u32>(<usize>load<u32>(state, Uring.SUBMIT_HEAD));
  let at = load<u32>(state, Uring.FREED);
  const posted = block + Uring.POSTED;
  for (; at !== head; at++) {
    const place = posted + ((<usize>at & (Uring.SUBMISSIONS - 1)) << 2);
    const slot = <usize>load<u32>(place);
    if (slot === 0) continue;
    store<u32>(place, 0);
    giveSlot(slot);
  }
  store<u32>(state, at, Uring.FREED);
}

/** An empty submission, or 0 when the ring is full. It is handed over by moving SUBMIT_TAIL. */
function nextEntry(block: usize, state: usize): usize {
  const tail = load<u32>(<usize>load<u32>(state, Uring.SUBMIT_TAIL));
  if (tail - load<u32>(state, Uring.FREED) >= <u32>Uring.SUBMISSIONS) return 0;
  return block + Uring.ENTRIES + (<usize>tail & (Uring.SUBMISSIONS - 1)) * Uring.ENTRY_SIZE;
}

/** Hands the entry over that nextEntry() gave. `slot` is free again when it is consumed; 0 is none. */
function postEntry(block: usize, state: usize, slot: usize): void {
  const at = <usize>load<u32>(state, Uring.SUBMIT_TAIL);
  const tail = load<u32>(at);
  store<u32>(block + Uring.POSTED + ((<usize>tail & (Uring.SUBMISSIONS - 1)) << 2), <u32>slot);
  atomic.store<u32>(at, tail + 1);
}

function writeEntry(
  entry: usize,
  opcode: u32,
  flags: u32,
  descriptor: u32,
  offset: u64,
  address: u64,
  length: u32,
  operationFlags: u32,
  userData: u32,
  group: u32,
): void {
  store<u64>(entry, <u64>(opcode | ((flags | Uring.FIXED_FILE) << 8)) | ((<u64>descriptor) << 32));
  store<u64>(entry, offset, Uring.ENTRY_OFFSET);
  store<u64>(entry, address, Uring.ENTRY_ADDRESS);
  store<u64>(entry, <u64>length | ((<u64>operationFlags) << 32), Uring.ENTRY_LENGTH);
  store<u64>(entry, <u64>userData, Uring.ENTRY_USER_DATA);
  store<u64>(entry, <u64>group, Uring.ENTRY_GROUP);
}

function sendFailed(port: usize): void {
  countAt(port + Port.DROPS_OUT, 1);
  count(Counters.REASONS + (Reason.PORT_DOWN << 3), 1);
}

function inFlight(state: usize, by: i32): void {
  store<u32>(state, load<u32>(state, Uring.IN_FLIGHT) + by, Uring.IN_FLIGHT);
}

/** The reads of a queue ended. */
function readEnded(state: usize, queue: usize, result: i32): bool {
  store<u32>(queue, 0, Uring.QUEUE_ARMED);
  inFlight(state, -1);
  if (result > 0 || result === -ENOBUFS) {
    store<u32>(queue, now(), Uring.QUEUE_RETRY);
    return false;
  }
  if (result === -EINTR || result === -EAGAIN || result === -ENOMEM || result === -ECANCELED) {
    store<u32>(queue, now() + 1, Uring.QUEUE_RETRY);
    return false;
  }
  store<u32>(queue, now() + RETRY, Uring.QUEUE_RETRY);
  if (load<u32>(queue, Uring.QUEUE_FAILED) !== 0) return false;
  store<u32>(queue, result === 0 ? EIO : -result, Uring.QUEUE_FAILED);
  return true;
}

/** The slot in place `id` of a queue's buffer ring, taken out of it; 0 when there is none. */
function takeProvided(block: usize, state: usize, queue: usize, number: u32, id: u32): usize {
  if (id >= <u32>Uring.BUFFERS) return 0;
  const place = providedOf(block, number) + ((<usize>id) << 2);
  const slot = <usize>load<u32>(place);
  if (slot === 0) return 0;
  store<u32>(place, 0);
  store<u32>(queue, load<u32>(queue, Uring.QUEUE_HELD) - 1, Uring.QUEUE_HELD);
  store<u32>(state, load<u32>(state, Uring.HELD) - 1, Uring.HELD);
  return slot;
}

/** Takes what the kernel completed: frames go to RECEIVED. Returns whether a queue's state changed. */
function reap(block: usize, state: usize, worker: usize): bool {
  const headAt = <usize>load<u32>(state, Uring.COMPLETE_HEAD);
  const tail = atomic.load<u32>(<usize>load<u32>(state, Uring.COMPLETE_TAIL));
  const base = <usize>load<u32>(state, Uring.COMPLETE_BASE);
  const mask = load<u32>(state, Uring.COMPLETE_MASK);
  const queues = load<u32>(state, Uring.QUEUE_COUNT);
  let head = load<u32>(headAt);
  let received = load<u32>(worker, Worker.RECEIVED_COUNT);
  let odd: u32 = 0;
  let changed = false;
  for (; head !== tail && received < RECEIVED_LIMIT; head++) {
    const completion = base + <usize>(head & mask) * Uring.COMPLETION_SIZE;
    const data = load<u32>(completion);
    const result = load<i32>(completion, Uring.COMPLETION_RESULT);
    const flags = load<u32>(completion, Uring.COMPLETION_FLAGS);
    const kind = <i32>(data >> 16);
    const number = data & 0xffff;
    if (kind === Uring.KIND_READ && number < queues) {
      const queue = queueOf(state, number);
      if ((flags & Uring.HAS_BUFFER) !== 0) {
        const slot = takeProvided(block, state, queue, number, flags >> 16);
        if (slot !== 0) resetSlot(slot);
        if (slot === 0) odd++;
        else if (result <= 0 || result > Slot.FRAME_MAX) {
          giveSlot(slot);
          odd++;
        } else {
          const length = <u32>result;
          store<u32>(slot, <u32>slot + load<u32>(queue, Uring.QUEUE_FRAME_AT), Slot.FRAME);
          store<u32>(slot, length, Slot.LENGTH);
          store<u32>(slot, load<u32>(queue, Uring.QUEUE_PORT), Slot.PORT_IN);
          store<u32>(worker + ((<usize>received) << 2), <u32>slot, Worker.RECEIVED);
          received++;
          const average = load<u32>(queue, Uring.QUEUE_LENGTH);
          store<u32>(queue, average + length - (average >> 4), Uring.QUEUE_LENGTH);
          if (load<u32>(queue, Uring.QUEUE_FAILED) !== 0) {
            store<u32>(queue, 0, Uring.QUEUE_FAILED);
            changed = true;
          }
        }
      }
      if ((flags & Uring.MORE) === 0 && load<u32>(queue, Uring.QUEUE_ARMED) !== 0) {
        if (readEnded(state, queue, result)) changed = true;
      }
    } else if (kind === Uring.KIND_WRITE && number < word(Memory.PORTS_CAPACITY)) {
      sendFailed(<usize>word(Memory.PORTS_BASE) + <usize>number * Port.SIZE);
    } else if (kind === Uring.KIND_EVENT) {
      if ((flags & Uring.MORE) === 0 && load<u32>(state, Uring.EVENT_ARMED) !== 0) {
        store<u32>(state, 0, Uring.EVENT_ARMED);
        inFlight(state, -1);
      }
    } else if (kind === Uring.KIND_CANCEL) inFlight(state, -1);
    else odd++;
  }
  if (odd !== 0) store<u32>(state, load<u32>(state, Uring.ODD) + odd, Uring.ODD);
  store<u32>(worker, received, Worker.RECEIVED_COUNT);
  atomic.store<u32>(headAt, head);
  return changed;
}

/** Posts what lies in SEND, in order. Returns whether some of it found no place. */
function post(block: usize, state: usize, worker: usize): bool {
  const sending = load<u32>(worker, Worker.SEND_COUNT);
  if (sending === 0) return false;
  const origin = load<u64>(state, Uring.MEMORY);
  const ports = word(Memory.PORTS_BASE);
  let done: u32 = 0;
  for (; done < sending; done++) {
    const entry = nextEntry(block, state);
    if (entry === 0) break;
    const slot = <usize>load<u32>(worker + ((<usize>done) << 2), Worker.SEND);
    const port = load<u32>(slot, Slot.PORT_OUT);
    const number = (port - ports) / Port.SIZE;
    const descriptor = number < <u32>Uring.QUEUES ? load<i32>(state + ((<usize>number) << 2), Uring.OUTPUTS) : -1;
    if (descriptor < 0) {
      sendFailed(<usize>port);
      giveSlot(slot);
      continue;
    }
    const frame = origin + <u64>load<u32>(slot, Slot.FRAME);
    const length = load<u32>(slot, Slot.LENGTH);
    const bodyLength = load<u32>(slot, Slot.BODY_LENGTH);
    const data = (Uring.KIND_WRITE << 16) | number;
    const fd = <u32>descriptor;
    if (bodyLength === 0) {
      writeEntry(entry, Uring.WRITE, Uring.SKIP_SUCCESS, fd, 0, frame, length, Uring.RWF_NOWAIT, data, 0);
    } else {
      const vector = block + Uring.VECTORS + ((entry - block - Uring.ENTRIES) >> 1);
      store<u64>(vector, frame);
      store<u64>(vector, <u64>length, 8);
      store<u64>(vector, origin + <u64>load<u32>(slot, Slot.BODY), 16);
      store<u64>(vector, <u64>bodyLength, 24);
      const at = origin + <u64>vector;
      writeEntry(entry, Uring.WRITEV, Uring.SKIP_SUCCESS, fd, 0, at, 2, Uring.RWF_NOWAIT, data, 0);
    }
    postEntry(block, state, slot);
  }
  const left = sending - done;
  if (left !== 0 && done !== 0)
    memory.copy(worker + Worker.SEND, worker + Worker.SEND + ((<usize>done) << 2), (<usize>left) << 2);
  store<u32>(worker, left, Worker.SEND_COUNT);
  return left !== 0;
}

/** How many slots a queue's buffer ring is to hold: many small frames, few large ones. */
function wanted(queue: usize): u32 {
  const limit = load<u32>(queue, Uring.QUEUE_LIMIT);
  // Plus one: nothing has come yet.
  const fit = BURST_BYTES / ((load<u32>(queue, Uring.QUEUE_LENGTH) >> 4) + 1);
  if (fit >= limit) return limit;
  return fit < BURST_LEAST ? (BURST_LEAST < limit ? BURST_LEAST : limit) : fit;
}

/** Fills a queue's buffer ring with no more than its share of the slots. False when the empty slots ran out. */
function provide(block: usize, state: usize, queue: usize, number: u32, share: u32): bool {
  let held = load<u32>(queue, Uring.QUEUE_HELD);
  const before = held;
  let most = wanted(queue);
  if (most > share) most = share;
  if (held >= most) return most !== 0;
  const frameAt = load<u32>(queue, Uring.QUEUE_FRAME_AT);
  const origin = load<u64>(state, Uring.MEMORY);
  const ring = block + Uring.BUFFER_RINGS + <usize>number * (Uring.BUFFERS * Uring.BUFFER_SIZE);
  const provided = providedOf(block, number);
  let tail = load<u32>(queue, Uring.QUEUE_TAIL);
  let enough = true;
  for (; held < most; held++) {
    const id = tail & (Uring.BUFFERS - 1);
    const place = provided + ((<usize>id) << 2);
    if (load<u32>(place) !== 0) break;
    // Reset when it comes back with a frame: its lines are needed then, not now.
    const slot = popSlot();
    if (slot === 0) {
      enough = false;
      break;
    }
    store<u32>(place, <u32>slot);
    const buffer = ring + <usize>id * Uring.BUFFER_SIZE;
    store<u64>(buffer, origin + <u64>(<u32>slot + frameAt));
    store<u32>(buffer, Slot.FRAME_MAX, Uring.BUFFER_LENGTH);
    // Not the two bytes behind it: in the first place they are the ring's tail.
    store<u16>(buffer, <u16>id, Uring.BUFFER_ID);
    tail++;
  }
  store<u32>(state, load<u32>(state, Uring.HELD) + held - before, Uring.HELD);
  store<u32>(queue, held, Uring.QUEUE_HELD);
  store<u32>(queue, tail, Uring.QUEUE_TAIL);
  atomic.store<u16>(ring + Uring.BUFFER_RING_TAIL, <u16>tail);
  return enough;
}

function arm(block: usize, state: usize, queue: usize, number: u32): void {
  const entry = nextEntry(block, state);
  if (entry === 0) return;
  const descriptor = load<u32>(queue, Uring.QUEUE_DESCRIPTOR);
  const data = (Uring.KIND_READ << 16) | number;
  // The file's own position: neither devices nor sockets have any.
  writeEntry(entry, Uring.READ_MULTISHOT, Uring.BUFFER_SELECT, descriptor, ~(<u64>0), 0, 0, 0, data, number);
  postEntry(block, state, 0);
  inFlight(state, 1);
  store<u32>(queue, 1, Uring.QUEUE_ARMED);
  store<u32>(queue, now(), Uring.QUEUE_ARMED_AT);
}

/** Every queue has empty slots and is being read. Returns whether a queue's state changed; sets WAIT_MS. */
function refill(block: usize, state: usize): bool {
  let wait = word(Memory.IDLE_MS);
  let changed = false;
  const queues = load<u32>(state, Uring.QUEUE_COUNT);
  if (load<u32>(state, Uring.EVENT_ARMED) === 0) watchEvents(block, state);
  let number = load<u32>(state, Uring.FIRST) + 1;
  if (number >= queues) number = 0;
  // Slots that run out must not always do so for the same queue.
  store<u32>(state, number, Uring.FIRST);
  // A queue where nothing comes must not lie on all of them.
  const share: u32 = queues === 0 ? 0 : (freeSlots() + load<u32>(state, Uring.HELD) + queues - 1) / queues;
  for (let n: u32 = 0; n < queues; n++) {
    const queue = queueOf(state, number);
    const enough = provide(block, state, queue, number, share);
    if (load<u32>(queue, Uring.QUEUE_ARMED) === 0) {
      const retry = load<u32>(queue, Uring.QUEUE_RETRY);
      if (!reached(now(), retry)) {
        const left = (retry - now()) * Memory.TICK_MS;
        if (left < wait) wait = left;
      } else if (load<u32>(queue, Uring.QUEUE_HELD) !== 0) arm(block, state, queue, number);
      else if (!enough && STARVED_MS < wait) wait = STARVED_MS;
    } else if (load<u32>(queue, Uring.QUEUE_FAILED) !== 0) {
      if (reached(now(), load<u32>(queue, Uring.QUEUE_ARMED_AT) + RETRY)) {
        store<u32>(queue, 0, Uring.QUEUE_FAILED);
        changed = true;
      } else if (RETRY * Memory.TICK_MS < wait) wait = RETRY * Memory.TICK_MS;
    }
    number = number + 1 < queues ? number + 1 : 0;
  }
  store<u32>(state, wait, Uring.WAIT_MS);
  return changed;
}

/** Whoever writes to the worker's eventfd wakes it: nobody reads it, each write is a completion. */
function watchEvents(block: usize, state: usize): void {
  const entry = nextEntry(block, state);
  if (entry === 0) return;
  const descriptor = load<u32>(state, Uring.EVENT_DESCRIPTOR);
  writeEntry(entry, Uring.POLL_ADD, 0, descriptor, 0, 0, Uring.POLL_MULTI, Uring.POLLIN, Uring.KIND_EVENT << 16, 0);
  postEntry(block, state, 0);
  inFlight(state, 1);
  store<u32>(state, 1, Uring.EVENT_ARMED);
}

function unsubmitted(state: usize): u32 {
  const head = atomic.load<u32>(<usize>load<u32>(state, Uring.SUBMIT_HEAD));
  return load<u32>(<usize>load<u32>(state, Uring.SUBMIT_TAIL)) - head;
}

/** One breath. Returns how many submissions the system call is to take, with BUSY and CHANGED (layout/uring). */
export function runUringBreath(worker: u32, now: u32): u32 {
  acquire(worker);
  const lists = startBreath(worker, now);
  const block = blockOf(worker);
  const state = block + Uring.STATE;
  freePosted(block, state);
  let changed = reap(block, state, lists);
  const received = load<u32>(lists, Worker.RECEIVED_COUNT);
  process(lists);
  keepHouse();
  let busy = received !== 0;
  if (post(block, state, lists)) busy = true;
  if (refill(block, state)) changed = true;
  const result = unsubmitted(state) | (busy ? Uring.BUSY : 0) | (changed ? Uring.CHANGED : 0);
  release();
  return result;
}

/**
 * Ends a worker's ring: the first call cancels all that the kernel holds, every call takes what it completed, and lets
 * out what had been read. Returns
 * what runUringBreath() does, BUSY while there is something in flight; without it every slot is back in the free list.
 */
export function endUringBreath(worker: u32): u32 {
  acquire(worker);
  const block = blockOf(worker);
  const state = block + Uring.STATE;
  const lists = startBreath(worker, now());
  freePosted(block, state);
  if (load<u32>(state, Uring.CLOSING) === 0) {
    const entry = nextEntry(block, state);
    if (entry !== 0) {
      const flags: u32 = Uring.CANCEL_ALL | Uring.CANCEL_ANY;
      writeEntry(entry, Uring.ASYNC_CANCEL, 0, 0, 0, 0, 0, flags, Uring.KIND_CANCEL << 16, 0);
      store<u8>(entry, 0, Uring.ENTRY_FLAGS);
      postEntry(block, state, 0);
      inFlight(state, 1);
      store<u32>(state, 1, Uring.CLOSING);
    }
  }
  reap(block, state, lists);
  // What was read goes its way: its sender would miss it, and whoever comes next does not have it.
  process(lists);
  const waits = post(block, state, lists) || load<u32>(lists, Worker.RECEIVED_COUNT) !== 0;
  const submit = unsubmitted(state);
  const ended =
    load<u32>(state, Uring.CLOSING) !== 0 && submit === 0 && !waits && load<u32>(state, Uring.IN_FLIGHT) === 0;
  if (ended) giveAll(block, state, lists);
  release();
  return submit | (ended ? 0 : Uring.BUSY);
}

/** Slots of a ring that the kernel does not hold any more. */
function giveAll(block: usize, state: usize, lists: usize): void {
  const sending = load<u32>(lists, Worker.SEND_COUNT);
  for (let n: u32 = 0; n < sending; n++) giveSlot(<usize>load<u32>(lists + ((<usize>n) << 2), Worker.SEND));
  store<u32>(lists, 0, Worker.SEND_COUNT);
  for (let number: u32 = 0; number < load<u32>(state, Uring.QUEUE_COUNT); number++) {
    const queue = queueOf(state, number);
    for (let id: u32 = 0; id < <u32>Uring.BUFFERS; id++) {
      const slot = takeProvided(block, state, queue, number, id);
      if (slot === 0) continue;
      resetSlot(slot);
      giveSlot(slot);
    }
  }
}

/**
 * The thread of a worker is gone, and its ring with it: what it held is free again. Frames that it had not come to are
 * lost; the slot of the one that it was at, if it was at one, is lost too.
 */
export function abandonWorker(worker: u32): void {
  const lists = <usize>word(Memory.WORKERS_BASE) + <usize>worker * Worker.SIZE;
  const received = load<u32>(lists, Worker.RECEIVED_COUNT);
  for (let n = load<u32>(lists, Worker.DONE); n < received; n++)
    giveSlot(<usize>load<u32>(lists + ((<usize>n) << 2), Worker.RECEIVED));
  store<u32>(lists, 0, Worker.DONE);
  store<u32>(lists, 0, Worker.RECEIVED_COUNT);
  setWord(Memory.TRACE_FRAME, 0);
  const block = blockOf(worker);
  const hasRing = (worker + 1) * <u32>Uring.SIZE <= word(Memory.RINGS_CAPACITY);
  if (!hasRing) {
    const sending = load<u32>(lists, Worker.SEND_COUNT);
    for (let n: u32 = 0; n < sending; n++) giveSlot(<usize>load<u32>(lists + ((<usize>n) << 2), Worker.SEND));
    store<u32>(lists, 0, Worker.SEND_COUNT);
    return;
  }
  for (let n: u32 = 0; n < <u32>Uring.SUBMISSIONS; n++) {
    const place = block + Uring.POSTED + ((<usize>n) << 2);
    const slot = <usize>load<u32>(place);
    if (slot === 0) continue;
    store<u32>(place, 0);
    giveSlot(slot);
  }
  giveAll(block, block + Uring.STATE, lists);
}
