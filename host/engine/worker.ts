/**
 * A worker: a thread with its own instance of the core and its own queue of every port, turning breaths. It hears from
 * the main thread through shared words and an eventfd alone: most of the time it sleeps in a system call, so it is asked
 * to end; only one that hangs is ended.
 */
import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import * as Counters from "../../assembly/layout/counters.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Uring from "../../assembly/layout/uring.js";
import * as Worker from "../../assembly/layout/worker.js";
import { type Core, instantiate } from "../core/instance.js";
import { errnoText } from "../errors.js";
import { NoUring } from "../port/io-uring.js";
import { setQueueAttached } from "../port/ioctl.js";
import { BreathMeter } from "./breath-meter.js";
import { SystemClock } from "./clock.js";
import { WORKER } from "./thread.js";
import type { Queue, TransportEvents } from "./transport.js";
import { RwTransport } from "./transport-rw.js";
import { UringTransport } from "./transport-uring.js";

/** How a worker moves frames. */
export type Io = "uring" | "rw";

/** A port that a worker writes to. */
export interface Output {
  /** The host's number of the port, and its record. */
  readonly number: number;
  readonly record: number;
  readonly fd: number;
}

/** What the main thread gives a worker. */
export interface WorkerConfig {
  readonly index: number;
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  /** What it reads; the descriptors are what CONTROL_PORTS says, where that says anything. */
  readonly queues: readonly Queue[];
  /** Its queues wait, detached, until it begins. */
  readonly detached: boolean;
  /** Where it writes; the same of the descriptors. */
  readonly outputs: readonly Output[];
  readonly eventfd: number;
  /** Words of CONTROL_*. */
  readonly control: Int32Array;
  readonly spin: number;
  /** Prepares everything, and waits for CONTROL_GO before it touches a frame. */
  readonly hold?: boolean | undefined;
  /** auto: uring where it can be. */
  readonly io?: "auto" | Io | undefined;
}

/** Word of WorkerConfig.control: not 0 when the worker is to end. */
export const CONTROL_STOP = 0;
/** Word of WorkerConfig.control: counts the breaths that were begun, and wraps. */
export const CONTROL_BREATHS = 1;
/** Not 0 when a worker that was told to wait may begin. */
export const CONTROL_GO = 2;
/** Counts how often descriptors of ports have changed; and how many of these changes the worker has come after. */
export const CONTROL_SWAP = 3;
export const CONTROL_SWAPPED = 4;
/** The descriptor of the worker's ring, plus 1; 0 while it has none. */
export const CONTROL_RING = 5;
/** And, plus 1, of the socket that tells when that ring is gone. */
export const CONTROL_LIFE = 7;
/** The kernel's number of the thread. */
export const CONTROL_THREAD = 6;
export const CONTROL_WORDS = 16;
/** From here on two words a port, when there are: what the worker reads and what it writes, -1 for nothing. */
export const CONTROL_PORTS = CONTROL_WORDS;

export type WorkerMessage =
  /** Waits for CONTROL_GO. */
  | { readonly type: "prepared" }
  /** Has given its queues back. */
  | { readonly type: "ended" }
  | { readonly type: "ready"; readonly io: Io /** Why it is not uring. */; readonly why?: string | undefined }
  | { readonly type: "refused"; readonly why: string }
  /** Another thread in its place would fare no better. */
  | { readonly type: "hopeless" }
  | { readonly type: "trap"; readonly message: string; readonly traps: number }
  | { readonly type: "queue-failed"; readonly port: string; readonly reason: string }
  | { readonly type: "queue-recovered"; readonly port: string };

/** A worker that trapped this often goes on only to trap again: somebody must start afresh. */
const TRAPS_MOST = 64;
const TRACE_ON = (Memory.LAYOUT_BASE + Memory.TRACE_ON) >>> 2;
const STARVED = "traps of the core have cost every frame slot";
/** The longest sleep: a clock that somebody watches must not stand still. */
const SLEEP_MOST = 1000;
/** A worker that waits to begin looks this often whether it is to end instead. */
const HOLD_LOOK_MS = 100;

interface Ports {
  readonly queues: readonly Queue[];
  readonly outputs: readonly Output[];
}

export class WorkerLoop {
  private readonly config: WorkerConfig;
  private readonly say: (message: WorkerMessage) => void;
  private readonly clock = new SystemClock();
  private readonly words: Uint32Array;
  private readonly view: DataView;
  private readonly record: number;
  private readonly events: TransportEvents = {
    sendFailed: (port) => this.core.sendFailed(port),
    queueFailed: (queue, errno) => this.say({ type: "queue-failed", port: queue.name, reason: errnoText(errno) }),
    queueRecovered: (queue) => this.say({ type: "queue-recovered", port: queue.name }),
  };
  private readonly meter: BreathMeter;
  private core: Core;
  private traps = 0;
  private tick = -1;
  /** When the breath that is being taken began. */
  private began = 0;

  constructor(config: WorkerConfig, say: (message: WorkerMessage) => void) {
    this.config = config;
    this.say = say;
    this.core = instantiate(config.memory, config.module);
    this.words = new Uint32Array(config.memory.buffer);
    this.view = new DataView(config.memory.buffer);
    this.record = this.header(Memory.WORKERS_BASE) + config.index * Worker.SIZE;
    this.meter = new BreathMeter(this.words, this.record);
  }

  /** Until the main thread says stop. Descriptors of a port that change are taken up between two breaths. */
  run(): void {
    const { control, io } = this.config;
    Atomics.store(control, CONTROL_THREAD, Number(basename(readlinkSync("/proc/thread-self"))));
    let wants = io ?? "rw";
    do {
      const swap = Atomics.load(control, CONTROL_SWAP);
      const ports = this.takePorts();
      const uring = wants === "rw" ? undefined : this.openUring(ports);
      if (uring instanceof UringTransport) this.runUring(uring, ports, swap);
      else if (wants === "uring") {
        this.say({ type: "refused", why: uring!.message });
        break;
      } else {
        wants = "rw";
        this.runRw(uring?.message, ports, swap);
      }
    } while (Atomics.load(control, CONTROL_STOP) === 0);
    this.say({ type: "ended" });
  }

  /** Queues and outputs with the descriptors that they have now; those that have none are left out. */
  private takePorts(): Ports {
    const { control, queues, outputs } = this.config;
    const now = <T extends { readonly number: number; readonly fd: number }>(port: T, word: number): T =>
      control.length > CONTROL_PORTS
        ? { ...port, fd: Atomics.load(control, CONTROL_PORTS + 2 * port.number + word) }
        : port;
    return {
      queues: queues.map((queue) => now(queue, 0)).filter(({ fd }) => fd >= 0),
      outputs: outputs.map((output) => now(output, 1)).filter(({ fd }) => fd >= 0),
    };
  }

  /** The ring belongs to this thread: nobody else can make it. */
  private openUring({ queues, outputs }: Ports): UringTransport | NoUring {
    const { eventfd, memory, index, spin, control, hold: held } = this.config;
    const { events } = this;
    try {
      const transport = new UringTransport({ memory, index, queues, outputs, eventfd, spin, events, held });
      Atomics.store(control, CONTROL_LIFE, transport.life + 1);
      Atomics.store(control, CONTROL_RING, transport.fd + 1);
      return transport;
    } catch (error) {
      if (error instanceof NoUring) return error;
      throw error;
    }
  }

  private runRw(why: string | undefined, { queues, outputs }: Ports, swap: number): void {
    const { config, words } = this;
    this.hold();
    const transport = new RwTransport({
      memory: config.memory,
      worker: this.record,
      queues,
      outputs,
      eventfd: config.eventfd,
      spin: config.spin,
      events: this.events,
    });
    const received = (this.record + Worker.RECEIVED_COUNT) >>> 2;
    const supply = (this.record + Worker.SUPPLY_COUNT) >>> 2;
    const idle = (Memory.LAYOUT_BASE + Memory.IDLE_MS) >>> 2;
    // The first breath fills the supply of empty slots.
    transport.send(this.breathe(transport));
    this.begin({ type: "ready", io: "rw", why }, queues, swap);
    while (this.goesOn(swap)) {
      const count = transport.receive();
      const sent = this.breathe(transport);
      transport.send(sent);
      if (count !== 0 || sent !== 0 || words[received] !== 0) continue;
      if (this.traps > 0 && words[supply] === 0) this.giveUp(STARVED);
      transport.wait(Math.min(Math.max(words[idle]!, 1), SLEEP_MOST));
    }
    this.detach(queues);
    transport.close();
  }

  private runUring(transport: UringTransport, { queues }: Ports, swap: number): void {
    const { config, words } = this;
    const block = this.header(Memory.RINGS_BASE) + config.index * Uring.SIZE;
    const held = (block + Uring.STATE + Uring.HELD) >>> 2;
    this.hold();
    if (config.hold === true) transport.begin();
    this.begin({ type: "ready", io: "uring" }, queues, swap);
    while (this.goesOn(swap)) {
      transport.turn(this.breatheUring(transport));
      if (this.traps > 0 && words[held] === 0 && this.header(Memory.FREE_SLOT_COUNT) === 0) this.giveUp(STARVED);
    }
    const drained = transport.drain(() => this.endUring());
    // Whoever takes this thread's place waits for the ring's end.
    if (!drained && Atomics.load(config.control, CONTROL_STOP) === 0)
      throw new Error("the kernel keeps a ring's reads");
    Atomics.store(config.control, CONTROL_RING, 0);
    if (!transport.close() && Atomics.load(config.control, CONTROL_STOP) === 0) this.giveUp("the kernel keeps a ring");
    this.detach(queues);
  }

  private goesOn(swap: number): boolean {
    const { control } = this.config;
    return Atomics.load(control, CONTROL_STOP) === 0 && Atomics.load(control, CONTROL_SWAP) === swap;
  }

  private begin(ready: WorkerMessage, queues: readonly Queue[], swap: number): void {
    const { detached, control } = this.config;
    if (detached) for (const { fd } of queues) setQueueAttached(fd, true);
    Atomics.store(control, CONTROL_SWAPPED, swap);
    this.say(ready);
  }

  /** At the end: what comes then is for the other queues. */
  private detach(queues: readonly Queue[]): void {
    const { detached, control } = this.config;
    if (!detached || Atomics.load(control, CONTROL_STOP) === 0) return;
    for (const { fd } of queues) setQueueAttached(fd, false);
  }

  private giveUp(why: string): never {
    this.say({ type: "hopeless" });
    throw new Error(why);
  }

  /** Until it may begin, if it was told to wait. */
  private hold(): void {
    const { control, hold } = this.config;
    if (hold !== true) return;
    this.say({ type: "prepared" });
    while (Atomics.load(control, CONTROL_GO) === 0 && Atomics.load(control, CONTROL_STOP) === 0) {
      Atomics.wait(control, CONTROL_GO, 0, HOLD_LOOK_MS);
    }
  }

  /** Runs the core over what was received; how many frames are to be sent. */
  private breathe(transport: RwTransport): number {
    try {
      return this.core.run(this.config.index, this.time(transport)) >>> 0;
    } catch (error) {
      this.recover(error);
      return this.words[(this.record + Worker.SEND_COUNT) >>> 2]!;
    }
  }

  private endUring(): number {
    try {
      return this.core.endUring(this.config.index);
    } catch (error) {
      this.recover(error);
      return Uring.BUSY;
    }
  }

  /** The same over the worker's ring: what is to be done next. */
  private breatheUring(transport: UringTransport): number {
    try {
      return this.core.runUring(this.config.index, this.time(transport));
    } catch (error) {
      this.recover(error);
      // The next breath posts what is ready.
      return Uring.BUSY;
    }
  }

  /**
   * The breath's tick. The time of day is told once a tick: nobody needs it finer. The reading that begins a breath ends
   * the one before, if that one's end was not read when it had nothing more to do: measuring reads no clock of its own.
   */
  private time(transport: { idleSince: number }): number {
    const { control } = this.config;
    control[CONTROL_BREATHS] = control[CONTROL_BREATHS]! + 1;
    const now = performance.now();
    if (this.began !== 0) this.meter.count((transport.idleSince === 0 ? now : transport.idleSince) - this.began);
    transport.idleSince = 0;
    this.began = now;
    const tick = this.clock.ticksAt(now);
    if (this.words[TRACE_ON] !== 0) this.view.setFloat64(this.record + Worker.CLOCK, this.clock.epochMs(), true);
    if (tick !== this.tick) {
      this.tick = tick;
      Atomics.store(this.words, (Memory.LAYOUT_BASE + Memory.DAY_MS) >>> 2, this.clock.dayMs());
    }
    return tick;
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
    if (this.traps >= TRAPS_MOST) this.giveUp(`the core trapped ${this.traps} times`);
    this.core = instantiate(config.memory, config.module);
  }

  private header(at: number): number {
    return this.words[(Memory.LAYOUT_BASE + at) >>> 2]!;
  }
}

if (parentPort !== null && workerData === WORKER) {
  const port = parentPort;
  port.once("message", (config: WorkerConfig) => new WorkerLoop(config, (message) => port.postMessage(message)).run());
}
