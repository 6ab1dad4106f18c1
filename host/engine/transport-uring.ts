/**
 * Frames by io_uring: the rings lie in the shared memory, the core fills and empties them (assembly/uring.ts), and what
 * is left to do here is one system call a breath.
 */
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import * as Uring from "../../assembly/layout/uring.js";
import * as Worker from "../../assembly/layout/worker.js";
import { socketPair } from "../port/descriptors.js";
import { NoUring, Ring, type RingOffsets } from "../port/io-uring.js";
import * as native from "../port/native.js";
import { areLong, Coalescing } from "./coalescing.js";
import type { Queue, TransportEvents } from "./transport.js";

/** Empty slots that lie ready in all queues of a worker together, as far as each has enough. */
const BUFFERS_MOST = 256;
const BUFFERS_OF_QUEUE = 128;
const BUFFERS_LEAST = 16;
/** Looks at the ring between two looks at the clock. */
const LOOKS = 64;
/** The longest sleep: a clock that somebody watches must not stand still. */
const SLEEP_MOST = 1000;
/** How often the kernel is waited for to give back what it holds, for so long each time, and cancelled anew in between. */
const CLOSE_WAITS = 200;
const CLOSE_STEP_MS = 10;
const CANCEL_WAITS = 20;

export interface UringOptions {
  readonly memory: WebAssembly.Memory;
  /** Number of the worker. */
  readonly index: number;
  readonly queues: readonly Queue[];
  readonly outputs: ReadonlyArray<{ readonly record: number; readonly fd: number }>;
  readonly eventfd: number;
  /** Microseconds of looking at the ring before a worker goes to sleep. */
  readonly spin: number;
  readonly events: Pick<TransportEvents, "queueFailed" | "queueRecovered">;
  /** Somebody else still uses the descriptors: they are left as they are until begin(). */
  readonly held?: boolean | undefined;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

export class UringTransport {
  private readonly words: Uint32Array;
  /** Word of the state. */
  private readonly state: number;
  private readonly parked: number;
  private readonly ring: Ring;
  /** Closed at its other end when the ring is gone. */
  life = -1;
  private readonly queues: readonly Queue[];
  private readonly events: UringOptions["events"];
  private readonly now: () => number;
  private readonly argument: number;
  private readonly flags: number;
  private readonly completeHead: number;
  private readonly completeTail: number;
  private readonly spinMost: number;
  private readonly coalescing: Coalescing;
  private spinMs: number;
  private waitMs = -1;
  /** When it last began to wait, as `now` has it; whoever takes it sets it to 0. */
  idleSince = 0;
  private readonly failed: Uint32Array;
  private readonly outputs: UringOptions["outputs"];

  /** In the thread that will use it. Throws NoUring where it cannot be. */
  constructor(options: UringOptions) {
    const { memory, index, queues, outputs } = options;
    this.words = new Uint32Array(memory.buffer);
    this.queues = queues;
    this.outputs = outputs;
    this.events = options.events;
    this.now = options.now ?? (() => performance.now());
    this.spinMost = options.spin / 1000;
    this.spinMs = this.spinMost;
    this.coalescing = new Coalescing(this.now);
    this.failed = new Uint32Array(queues.length);
    const header = (at: number) => this.words[(Memory.LAYOUT_BASE + at) >>> 2]!;
    const block = header(Memory.RINGS_BASE) + index * Uring.SIZE;
    if ((index + 1) * Uring.SIZE > header(Memory.RINGS_CAPACITY)) throw new NoUring("no memory is laid out for rings");
    if (queues.length > Uring.QUEUES) throw new NoUring(`a worker reads at most ${Uring.QUEUES} queues`);
    const base = native.addressOf(new Uint8Array(memory.buffer));
    new Uint8Array(memory.buffer, block, Uring.SIZE).fill(0);
    this.state = (block + Uring.STATE) >>> 2;
    this.parked = (header(Memory.WORKERS_BASE) + index * Worker.SIZE + Worker.STATE) >>> 2;
    this.argument = base + block + Uring.STATE + Uring.ARGUMENT;

    this.ring = new Ring({
      submissions: Uring.SUBMISSIONS,
      completions: Uring.COMPLETIONS,
      entriesAt: base + block + Uring.ENTRIES,
      ringAt: base + block + Uring.RINGS,
    });
    try {
      const { offsets } = this.ring;
      if (offsets.completions + offsets.completionCount * Uring.COMPLETION_SIZE > Uring.RINGS_SIZE) {
        throw new NoUring("its completion ring is larger than what was asked for");
      }
      if (!this.ring.supports(Uring.READ_MULTISHOT)) throw new NoUring("this kernel has no multishot reads");
      // The other end is the ring's alone: it is closed when the kernel has taken the ring down.
      const [life, held] = socketPair();
      this.life = life;
      native.setBlocking(life, false);
      try {
        this.ring.registerFiles([...describeRing(memory, base, offsets, options), held]);
      } finally {
        native.close(held);
      }
      for (const number of queues.keys()) {
        const buffers = base + block + Uring.BUFFER_RINGS + number * Uring.BUFFERS * Uring.BUFFER_SIZE;
        this.ring.registerBuffers(number, buffers, Uring.BUFFERS);
      }
      const rings = block + Uring.RINGS;
      this.flags = (rings + offsets.submitFlags) >>> 2;
      this.completeHead = (rings + offsets.completeHead) >>> 2;
      this.completeTail = (rings + offsets.completeTail) >>> 2;
    } catch (error) {
      this.ring.close();
      if (this.life >= 0) native.close(this.life);
      throw error;
    }
    if (options.held !== true) this.begin();
  }

  /** From now on the descriptors are this one's alone. */
  begin(): void {
    // With O_NONBLOCK a read would end at once, instead of waiting in the ring.
    for (const { fd } of [...this.outputs, ...this.queues]) native.setBlocking(fd, true);
  }

  /** The ring's descriptor. */
  get fd(): number {
    return this.ring.fd;
  }

  /** What lies between two breaths of the core: `result` is what the last one returned. */
  turn(result: number): void {
    if ((result & Uring.CHANGED) !== 0) this.tell();
    const submit = result & Uring.SUBMIT_MASK;
    // Who does not want polling at all does not want this kind either.
    if (submit !== 0 && this.spinMost > 0) this.coalescing.wait(submit, this.small);
    if ((result & Uring.BUSY) !== 0 || submit !== 0) this.ring.enter(submit);
    else if (this.isReady() || (this.spinMs > 0 && this.spin())) this.ring.enter(0);
    else this.sleep();
  }

  /** Takes back all that the kernel holds; `endUring` is the core's step towards it. False: the kernel keeps some of it. */
  drain(endUring: () => number): boolean {
    this.setWait(CLOSE_STEP_MS);
    // Counted, not measured: where a thread has to wait for the processor, the kernel is not to blame.
    for (let waits = 0; waits < CLOSE_WAITS; ) {
      const result = endUring();
      if ((result & Uring.BUSY) === 0) return true;
      const submit = result & Uring.SUBMIT_MASK;
      if (submit !== 0) this.ring.enter(submit);
      else {
        this.ring.wait(0, this.argument);
        // What was under way just then may have slipped through: it is cancelled again.
        if (++waits % CANCEL_WAITS === 0) this.words[this.state + (Uring.CLOSING >>> 2)] = 0;
      }
    }
    return false;
  }

  /**
   * After drain(). The kernel takes a ring down in its own time, and writes into the ring's memory until it has: it is
   * waited for. False: it has not, and the memory must not be used.
   */
  close(): boolean {
    for (let number = 0; number < this.queues.length; number++) this.ring.unregisterBuffers(number);
    this.ring.close();
    const never = new Int32Array(new SharedArrayBuffer(4));
    let waits = 0;
    for (; waits < CLOSE_WAITS && !isClosed(this.life); waits++) Atomics.wait(never, 0, 0, CLOSE_STEP_MS);
    native.close(this.life);
    return waits < CLOSE_WAITS;
  }

  /** Something was completed, or will be as soon as the kernel is entered. */
  private isReady(): boolean {
    const { words } = this;
    return (
      (Atomics.load(words, this.flags) & (Uring.TASKRUN | Uring.COMPLETIONS_OVERFLOW)) !== 0 ||
      Atomics.load(words, this.completeTail) !== words[this.completeHead]
    );
  }

  /** Whether no queue has long frames: waiting between those would only cost time. */
  private readonly small = (): boolean => {
    for (let number = 0; number < this.queues.length; number++) {
      const at = Uring.QUEUE + number * Uring.QUEUE_SIZE + Uring.QUEUE_LENGTH;
      if (areLong(this.words[this.state + (at >>> 2)]!)) return false;
    }
    return true;
  };

  private spin(): boolean {
    this.idleSince = this.now();
    const until = this.idleSince + this.spinMs;
    do {
      for (let look = 0; look < LOOKS; look++) {
        if (!this.isReady()) continue;
        this.spinMs = this.spinMost;
        return true;
      }
    } while (this.now() < until);
    // For nothing: half as long next time, and not at all soon.
    this.spinMs = this.spinMs > 0.004 ? this.spinMs / 2 : 0;
    return false;
  }

  private sleep(): void {
    const began = this.now();
    if (this.idleSince === 0) this.idleSince = began;
    this.setWait(Math.min(Math.max(this.words[this.state + (Uring.WAIT_MS >>> 2)]!, 1), SLEEP_MOST));
    Atomics.store(this.words, this.parked, Worker.STATE_PARKED);
    this.ring.wait(0, this.argument);
    Atomics.store(this.words, this.parked, Worker.STATE_RUNNING);
    // It came so soon that spinning would have caught it: worth trying again.
    if (this.spinMost > 0 && this.now() - began < 2 * this.spinMost) this.spinMs = this.spinMost;
  }

  private setWait(ms: number): void {
    if (ms === this.waitMs) return;
    this.waitMs = ms;
    const at = this.state + (Uring.TIMESPEC >>> 2);
    this.words[at] = Math.floor(ms / 1000);
    this.words[at + 2] = (ms % 1000) * 1_000_000;
  }

  private tell(): void {
    for (const [number, queue] of this.queues.entries()) {
      const at = Uring.QUEUE + number * Uring.QUEUE_SIZE + Uring.QUEUE_FAILED;
      const errno = this.words[this.state + (at >>> 2)]!;
      const before = this.failed[number]!;
      this.failed[number] = errno;
      if (errno !== 0 && before === 0) this.events.queueFailed(queue, errno);
      else if (errno === 0 && before !== 0) this.events.queueRecovered(queue);
    }
  }
}

/** Whether nobody has the other end of a socket any more. */
export function isClosed(end: number): boolean {
  const one = new Uint8Array(new ArrayBuffer(1));
  return native.read(end, native.addressOf(one), 1) === 0;
}

/**
 * Writes into a worker's block what the core must know of its ring; `base` is the memory's address in the process.
 * Returns the descriptors that the core calls by their place in this list.
 */
export function describeRing(
  memory: WebAssembly.Memory,
  base: number,
  offsets: RingOffsets,
  options: Pick<UringOptions, "index" | "queues" | "outputs" | "eventfd">,
): number[] {
  const { index, queues, outputs, eventfd } = options;
  const words = new Uint32Array(memory.buffer);
  const header = (at: number) => words[(Memory.LAYOUT_BASE + at) >>> 2]!;
  const block = header(Memory.RINGS_BASE) + index * Uring.SIZE;
  const rings = block + Uring.RINGS;
  const set = (at: number, value: number) => {
    words[(block + Uring.STATE + at) >>> 2] = value;
  };
  const setAddress = (at: number, value: number) => {
    set(at, value >>> 0);
    set(at + 4, Math.floor(value / 0x1_0000_0000));
  };
  set(Uring.SUBMIT_HEAD, rings + offsets.submitHead);
  set(Uring.SUBMIT_TAIL, rings + offsets.submitTail);
  set(Uring.SUBMIT_FLAGS, rings + offsets.submitFlags);
  set(Uring.COMPLETE_HEAD, rings + offsets.completeHead);
  set(Uring.COMPLETE_TAIL, rings + offsets.completeTail);
  set(Uring.COMPLETE_BASE, rings + offsets.completions);
  set(Uring.COMPLETE_MASK, words[(rings + offsets.completeMask) >>> 2]!);
  set(Uring.QUEUE_COUNT, queues.length);
  setAddress(Uring.MEMORY, base);
  const files = [eventfd];
  const place = (fd: number) => {
    const found = files.indexOf(fd);
    return found >= 0 ? found : files.push(fd) - 1;
  };
  set(Uring.EVENT_DESCRIPTOR, place(eventfd));
  setAddress(Uring.ARGUMENT + 16, base + block + Uring.STATE + Uring.TIMESPEC);
  for (let number = 0; number < Uring.QUEUES; number++) set(Uring.OUTPUTS + 4 * number, 0xffffffff);
  for (const { record, fd } of outputs) {
    const number = (record - header(Memory.PORTS_BASE)) / Port.SIZE;
    if (!Number.isInteger(number) || number < 0 || number >= Uring.QUEUES) {
      throw new NoUring(`a worker writes to at most ${Uring.QUEUES} ports`);
    }
    set(Uring.OUTPUTS + 4 * number, place(fd));
  }
  const limit = bufferLimit(queues.length);
  for (const [number, queue] of queues.entries()) {
    const at = Uring.QUEUE + number * Uring.QUEUE_SIZE;
    set(at + Uring.QUEUE_DESCRIPTOR, place(queue.fd));
    set(at + Uring.QUEUE_PORT, queue.record);
    set(at + Uring.QUEUE_FRAME_AT, queue.frameAt);
    set(at + Uring.QUEUE_LIMIT, limit);
    set(at + Uring.QUEUE_RETRY, header(Memory.NOW));
  }
  return files;
}

function bufferLimit(queues: number): number {
  const share = Math.floor(BUFFERS_MOST / Math.max(queues, 1));
  return Math.max(BUFFERS_LEAST, Math.min(BUFFERS_OF_QUEUE, share));
}
