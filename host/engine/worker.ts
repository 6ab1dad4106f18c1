/**
 * A worker: a thread with its own instance of the core and its own queue of every port, turning breaths. It hears from
 * the main thread through one shared word and an eventfd alone: most of the time it sleeps in a system call, so it is
 * never terminated, it ends.
 */
import { parentPort, workerData } from "node:worker_threads";
import * as Counters from "../../assembly/layout/counters.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Worker from "../../assembly/layout/worker.js";
import { type Core, instantiate } from "../core/instance.js";
import { errnoText } from "../errors.js";
import { setQueueAttached } from "../port/ioctl.js";
import { SystemClock } from "./clock.js";
import type { Queue } from "./transport.js";
import { RwTransport } from "./transport-rw.js";

/** What the main thread gives a worker. */
export interface WorkerConfig {
  readonly index: number;
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  readonly queues: readonly Queue[];
  /** Descriptors of the queues that wait, detached, for their worker. */
  readonly detached: readonly number[];
  readonly outputs: ReadonlyArray<{ readonly record: number; readonly fd: number }>;
  readonly eventfd: number;
  /** Words of CONTROL_*. */
  readonly control: Int32Array;
  readonly spin: number;
}

/** Word of WorkerConfig.control: not 0 when the worker is to end. */
export const CONTROL_STOP = 0;
export const CONTROL_WORDS = 16;

export type WorkerMessage =
  | { readonly type: "ready" }
  | { readonly type: "trap"; readonly message: string; readonly traps: number }
  | { readonly type: "queue-failed"; readonly port: string; readonly reason: string }
  | { readonly type: "queue-recovered"; readonly port: string };

/** A worker that trapped this often goes on only to trap again: somebody must start afresh. */
const TRAPS_MOST = 64;
/** The longest sleep: a clock that somebody watches must not stand still. */
const SLEEP_MOST = 1000;

export class WorkerLoop {
  private readonly config: WorkerConfig;
  private readonly say: (message: WorkerMessage) => void;
  private readonly clock = new SystemClock();
  private readonly words: Uint32Array;
  private readonly record: number;
  private readonly transport: RwTransport;
  private core: Core;
  private traps = 0;

  constructor(config: WorkerConfig, say: (message: WorkerMessage) => void) {
    this.config = config;
    this.say = say;
    this.core = instantiate(config.memory, config.module);
    this.words = new Uint32Array(config.memory.buffer);
    this.record = this.header(Memory.WORKERS_BASE) + config.index * Worker.SIZE;
    this.transport = new RwTransport({
      memory: config.memory,
      worker: this.record,
      queues: config.queues,
      outputs: config.outputs,
      eventfd: config.eventfd,
      spin: config.spin,
      events: {
        sendFailed: (port) => this.core.sendFailed(port),
        queueFailed: (queue, errno) => say({ type: "queue-failed", port: queue.name, reason: errnoText(errno) }),
        queueRecovered: (queue) => say({ type: "queue-recovered", port: queue.name }),
      },
    });
  }

  /** Until the main thread says stop. */
  run(): void {
    const { config, transport, words } = this;
    const received = (this.record + Worker.RECEIVED_COUNT) >>> 2;
    const supply = (this.record + Worker.SUPPLY_COUNT) >>> 2;
    const idle = (Memory.LAYOUT_BASE + Memory.IDLE_MS) >>> 2;
    // The first breath fills the supply of empty slots.
    transport.send(this.breathe());
    for (const fd of config.detached) setQueueAttached(fd, true);
    this.say({ type: "ready" });
    while (Atomics.load(config.control, CONTROL_STOP) === 0) {
      const count = transport.receive();
      const sent = this.breathe();
      transport.send(sent);
      if (count !== 0 || sent !== 0 || words[received] !== 0) continue;
      if (this.traps > 0 && words[supply] === 0) throw new Error("traps of the core have cost every frame slot");
      transport.wait(Math.min(Math.max(words[idle]!, 1), SLEEP_MOST));
    }
    for (const fd of config.detached) setQueueAttached(fd, false);
    transport.close();
  }

  /** Runs the core over what was received; how many frames are to be sent. */
  private breathe(): number {
    try {
      Atomics.store(this.words, (Memory.LAYOUT_BASE + Memory.DAY_MS) >>> 2, this.clock.dayMs());
      return this.core.run(this.config.index, this.clock.ticks()) >>> 0;
    } catch (error) {
      this.recover(error);
      return this.words[(this.record + Worker.SEND_COUNT) >>> 2]!;
    }
  }

  /**
   * A trap is a bug of the core. What it has in SEND is whole and goes out; the frame it was at is lost with its slot,
   * those behind it wait for the next breath. The lock is given back, and a new instance goes on over the same tables.
   */
  private recover(error: unknown): void {
    const { config, words } = this;
    const lock = (Memory.LAYOUT_BASE + Memory.LOCK) >>> 2;
    if (Atomics.compareExchange(words, lock, config.index + 1, 0) === config.index + 1) {
      Atomics.notify(new Int32Array(config.memory.buffer), lock, 1);
    }
    const received = (this.record + Worker.RECEIVED) >>> 2;
    const count = words[(this.record + Worker.RECEIVED_COUNT) >>> 2]!;
    const done = Math.min(words[(this.record + Worker.DONE) >>> 2]!, count);
    words.copyWithin(received, received + done, received + count);
    words[(this.record + Worker.RECEIVED_COUNT) >>> 2] = count - done;
    words[(this.record + Worker.DONE) >>> 2] = 0;
    const counters = new BigUint64Array(config.memory.buffer, this.header(Memory.COUNTERS_BASE), Counters.SIZE >>> 3);
    Atomics.add(counters, Counters.TRAPS >>> 3, 1n);
    this.traps++;
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.say({ type: "trap", message, traps: this.traps });
    if (this.traps >= TRAPS_MOST) throw new Error(`the core trapped ${this.traps} times`);
    this.core = instantiate(config.memory, config.module);
  }

  private header(at: number): number {
    return this.words[(Memory.LAYOUT_BASE + at) >>> 2]!;
  }
}

if (parentPort !== null && workerData !== null && typeof workerData === "object" && "eventfd" in workerData) {
  const port = parentPort;
  new WorkerLoop(workerData as WorkerConfig, (message) => port.postMessage(message)).run();
}
