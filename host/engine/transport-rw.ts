/** Frames by read and write: one system call each. Works on every kernel. */
import * as Slot from "../../assembly/layout/slot.js";
import * as Worker from "../../assembly/layout/worker.js";
import { EAGAIN, EINTR } from "../port/ioctl.js";
import * as native from "../port/native.js";
import { areLong, Coalescing } from "./coalescing.js";
import type { Queue, Transport, TransportEvents } from "./transport.js";

/** Frames of one port before the next one has its turn. */
const BURST = 32;
/** Frames of one breath: bounds how long a frame waits for those behind it, and how much memory a breath walks over. */
const BUDGET = 128;
/** A queue that failed is tried again this often. */
const RETRY_MS = 250;
/** Without empty slots: how soon to look again. */
const STARVED_MS = 4;
const POLLFD_SIZE = 8;
const IOVEC_SIZE = 16;

const SUPPLY_COUNT = Worker.SUPPLY_COUNT >>> 2;
const RECEIVED_COUNT = Worker.RECEIVED_COUNT >>> 2;
const SUPPLY = Worker.SUPPLY >>> 2;
const RECEIVED = Worker.RECEIVED >>> 2;
const SEND = Worker.SEND >>> 2;
const STATE = Worker.STATE >>> 2;
const FRAME = Slot.FRAME >>> 2;
const LENGTH = Slot.LENGTH >>> 2;
const PORT_IN = Slot.PORT_IN >>> 2;
const PORT_OUT = Slot.PORT_OUT >>> 2;
const BODY = Slot.BODY >>> 2;
const BODY_LENGTH = Slot.BODY_LENGTH >>> 2;

export interface RwOptions {
  readonly memory: WebAssembly.Memory;
  /** The worker's record. */
  readonly worker: number;
  /** What this worker reads. */
  readonly queues: readonly Queue[];
  /** Where it writes: every port, through a queue of its own where it has one. */
  readonly outputs: ReadonlyArray<{ readonly record: number; readonly fd: number }>;
  /** Wakes wait(). */
  readonly eventfd: number;
  /** Microseconds of polling before a worker goes to sleep; 0 sleeps at once. */
  readonly spin: number;
  readonly events: TransportEvents;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

export class RwTransport implements Transport {
  private readonly words: Uint32Array;
  private readonly base: number;
  private readonly worker: number;
  private readonly queues: readonly Queue[];
  private readonly events: TransportEvents;
  private readonly eventfd: number;
  private readonly now: () => number;
  /** When a failed queue is tried again; 0 for one that works. */
  private readonly retryAt: Float64Array;
  /** By record of the port: where its frames are written. */
  private readonly outputs = new Map<number, number>();
  private readonly pollfds: DataView;
  private readonly pollfdsAt: number;
  /** Two struct iovec as words, low and high: no BigInt for a frame. */
  private readonly vector: Uint32Array;
  private readonly vectorAt: number;
  /** Held for the sake of its memory: a view that nobody holds is freed, whatever address is known of it. */
  private readonly scratch = new BigUint64Array(new ArrayBuffer(8));
  private readonly scratchAt: number;
  private readonly spinMost: number;
  private spinMs: number;
  private readonly coalescing: Coalescing;
  /** By queue: sixteen times the mean length of its frames. */
  private readonly lengths: Uint32Array;
  private failed = 0;
  private first = 0;
  idleSince = 0;

  constructor(options: RwOptions) {
    this.words = new Uint32Array(options.memory.buffer);
    this.base = native.addressOf(new Uint8Array(options.memory.buffer));
    this.worker = options.worker >>> 2;
    this.queues = options.queues;
    this.events = options.events;
    this.eventfd = options.eventfd;
    this.now = options.now ?? (() => performance.now());
    this.spinMost = options.spin / 1000;
    this.spinMs = this.spinMost;
    this.coalescing = new Coalescing(this.now);
    this.lengths = new Uint32Array(options.queues.length);
    this.retryAt = new Float64Array(options.queues.length);
    for (const { record, fd } of options.outputs) {
      // Whoever had the device before may have left it blocking.
      native.setBlocking(fd, false);
      this.outputs.set(record, fd);
    }
    // Memory of ArrayBuffers of their own, which does not move, for what the kernel reads and writes by address.
    const count = options.queues.length + 1;
    const pollfds = new ArrayBuffer(count * POLLFD_SIZE);
    this.pollfds = new DataView(pollfds);
    this.pollfdsAt = native.addressOf(new Uint8Array(pollfds));
    for (let n = 0; n < count; n++) {
      this.pollfds.setInt32(n * POLLFD_SIZE, n === 0 ? options.eventfd : options.queues[n - 1]!.fd, true);
      this.pollfds.setInt16(n * POLLFD_SIZE + 4, native.POLLIN, true);
    }
    const vector = new ArrayBuffer(2 * IOVEC_SIZE);
    this.vector = new Uint32Array(vector);
    this.vectorAt = native.addressOf(new Uint8Array(vector));
    this.scratchAt = native.addressOf(new Uint8Array(this.scratch.buffer));
  }

  receive(): number {
    const { words, base, worker, queues } = this;
    const most = Math.min(BUDGET, words[worker + SUPPLY_COUNT]!);
    const start = words[worker + RECEIVED_COUNT]!;
    let supply = words[worker + SUPPLY_COUNT]!;
    let received = start;
    const stop = start + most;
    if (this.failed !== 0) this.retry();
    // Whoever was first is last next time: a supply that runs out must not always do so on the same port.
    this.first = this.first + 1 < queues.length ? this.first + 1 : 0;
    let dry = 0;
    let turn = this.first;
    while (dry < queues.length && received < stop) {
      const queue = queues[turn]!;
      const fd = queue.fd;
      const end = Math.min(stop, received + BURST);
      let more = this.retryAt[turn] === 0;
      while (more && received < end) {
        const slot = words[worker + SUPPLY + supply - 1]!;
        const frame = slot + queue.frameAt;
        const length = native.read(fd, base + frame, Slot.FRAME_MAX);
        if (length > 0) {
          const at = slot >>> 2;
          words[at + FRAME] = frame;
          words[at + LENGTH] = length;
          words[at + PORT_IN] = queue.record;
          this.lengths[turn] = this.lengths[turn]! + length - (this.lengths[turn]! >>> 4);
          words[worker + RECEIVED + received] = slot;
          supply--;
          received++;
          dry = 0;
        } else {
          const errno = native.errno();
          if (errno === EINTR) continue;
          if (length < 0 && errno !== EAGAIN) this.fail(turn, errno);
          more = false;
        }
      }
      if (!more) dry++;
      turn = turn + 1 < queues.length ? turn + 1 : 0;
    }
    words[worker + SUPPLY_COUNT] = supply;
    words[worker + RECEIVED_COUNT] = received;
    return received - start;
  }

  send(count: number): void {
    const { words, base, worker } = this;
    // Who does not want polling at all does not want this kind either.
    if (count !== 0 && this.spinMost > 0) this.coalescing.wait(count, this.small);
    for (let n = 0; n < count; n++) {
      const at = words[worker + SEND + n]! >>> 2;
      const port = words[at + PORT_OUT]!;
      const fd = this.outputs.get(port);
      if (fd === undefined) {
        this.events.sendFailed(port);
        continue;
      }
      const frame = words[at + FRAME]!;
      const length = words[at + LENGTH]!;
      const body = words[at + BODY_LENGTH]!;
      let sent: number;
      do {
        sent = body === 0 ? native.write(fd, base + frame, length) : this.writev(fd, at, frame, length, body);
      } while (sent < 0 && native.errno() === EINTR);
      if (sent < 0) this.events.sendFailed(port);
    }
  }

  /** Whether no queue has long frames. */
  private readonly small = (): boolean => {
    for (const sum of this.lengths) if (areLong(sum)) return false;
    return true;
  };

  wait(timeoutMs: number): void {
    const began = this.now();
    this.idleSince = began;
    if (this.spinMs > 0 && this.words[this.worker + SUPPLY_COUNT] !== 0) {
      const until = began + this.spinMs;
      do {
        if (native.poll(this.pollfdsAt, this.queues.length + 1, 0) > 0) {
          this.spinMs = this.spinMost;
          this.drain();
          return;
        }
      } while (this.now() < until);
      // Spinning for nothing: half as long next time, and not at all soon.
      this.spinMs = this.spinMs > 0.004 ? this.spinMs / 2 : 0;
    }
    // Without an empty slot nothing can be read: looking at the devices would only return at once.
    const starved = this.words[this.worker + SUPPLY_COUNT] === 0;
    const count = starved ? 1 : this.queues.length + 1;
    const timeout = starved ? STARVED_MS : this.failed === 0 ? timeoutMs : Math.min(timeoutMs, RETRY_MS);
    Atomics.store(this.words, this.worker + STATE, Worker.STATE_PARKED);
    const ready = native.poll(this.pollfdsAt, count, timeout);
    Atomics.store(this.words, this.worker + STATE, Worker.STATE_RUNNING);
    if (ready <= 0) return;
    // It came so soon that spinning would have caught it: worth trying again.
    if (this.spinMost > 0 && this.now() - began < 2 * this.spinMost) this.spinMs = this.spinMost;
    this.drain();
  }

  close(): void {
    this.outputs.clear();
  }

  /** Takes what lies in the eventfd, so that the next poll sleeps. */
  private drain(): void {
    if (this.pollfds.getInt16(6, true) !== 0) native.read(this.eventfd, this.scratchAt, 8);
  }

  private writev(fd: number, at: number, frame: number, length: number, bodyLength: number): number {
    const vector = this.vector;
    const head = this.base + frame;
    const body = this.base + this.words[at + BODY]!;
    vector[0] = head >>> 0;
    vector[1] = head / 0x1_0000_0000;
    vector[2] = length;
    vector[4] = body >>> 0;
    vector[5] = body / 0x1_0000_0000;
    vector[6] = bodyLength;
    return native.writev(fd, this.vectorAt, 2);
  }

  /** Leaves a queue alone for a while: polling a device that is gone would return at once for ever. */
  private fail(turn: number, errno: number): void {
    const queue = this.queues[turn]!;
    this.failed++;
    this.retryAt[turn] = this.now() + RETRY_MS;
    this.pollfds.setInt32((turn + 1) * POLLFD_SIZE, -1, true);
    this.events.queueFailed(queue, errno);
  }

  private retry(): void {
    const now = this.now();
    for (let turn = 0; turn < this.queues.length; turn++) {
      const at = this.retryAt[turn]!;
      if (at === 0 || now < at) continue;
      const queue = this.queues[turn]!;
      const probe = new DataView(new ArrayBuffer(POLLFD_SIZE));
      probe.setInt32(0, queue.fd, true);
      probe.setInt16(4, native.POLLIN, true);
      native.poll(native.addressOf(new Uint8Array(probe.buffer)), 1, 0);
      if ((probe.getInt16(6, true) & native.POLLERR) !== 0) {
        this.retryAt[turn] = now + RETRY_MS;
        continue;
      }
      this.failed--;
      this.retryAt[turn] = 0;
      this.pollfds.setInt32((turn + 1) * POLLFD_SIZE, queue.fd, true);
      this.events.queueRecovered(queue);
    }
  }
}
