/** The engine of a director: shared memory, the control instance over it, and the workers. */
import type { Worker as Thread } from "node:worker_threads";
import * as Port from "../../assembly/layout/port.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as Uring from "../../assembly/layout/uring.js";
import { Control } from "../core/control.js";
import { type Core, compileCore, instantiate } from "../core/instance.js";
import { LocalIpvs } from "../core/local-ipvs.js";
import { capacitiesOf, createMemory, planMemory, roomText } from "../core/memory.js";
import { errnoText, LvsError } from "../errors.js";
import type { Logger } from "../log.js";
import * as native from "../port/native.js";
import { SystemClock } from "./clock.js";
import { startThread } from "./thread.js";
import type { Queue } from "./transport.js";
import {
  CONTROL_BREATHS,
  CONTROL_GO,
  CONTROL_STOP,
  CONTROL_WORDS,
  type Io,
  type WorkerConfig,
  type WorkerMessage,
} from "./worker.js";

/** A port of the engine: an open device whose descriptors this process has. */
export interface EnginePort {
  readonly name: string;
  readonly kind: "tap" | "tun";
  readonly queues: readonly number[];
  readonly capabilities: number;
  readonly mtu: number;
  readonly mac: string;
  /** A descriptor of rtnetlink in the namespace of the kernel's end; undefined where that could not be had. */
  readonly netlink?: number | undefined;
}

export interface EngineOptions {
  readonly ports: readonly EnginePort[];
  readonly workers: number;
  readonly maxConnections: number;
  readonly forward: boolean;
  readonly spin: number;
  /** How frames move; auto: uring where it can be. */
  readonly io: "auto" | Io;
  readonly log: Logger;
  /** What startThread(0) has made: the first worker's. */
  readonly thread?: Thread | undefined;
  /** Something that the process must not outlive. */
  fatal(error: Error): void;
}

/** Ethernet's 14 bytes are what makes the IP header behind them aligned; a frame without them begins later. */
const LINK_HEADER = 14;
/** How often breaths are looked for. */
const BREATH_POLL_MS = 5;
/** Ring of traces: some hundred super-frames, or tens of thousands of headers. Untouched pages cost nothing. */
const TRACE_BYTES = 16 << 20;
const NO_MAC = "00:00:00:00:00:00";

interface WorkerThread {
  readonly thread: Thread;
  readonly eventfd: number;
  readonly control: Int32Array;
  /** Waits for its first breath; has taken it; touches no frame any more; is gone. */
  readonly prepared: Promise<void>;
  readonly started: Promise<void>;
  readonly idle: Promise<void>;
  readonly ended: Promise<void>;
}

export class Engine {
  readonly memory: WebAssembly.Memory;
  readonly control: Control;
  readonly ipvs: LocalIpvs;
  readonly clock = new SystemClock();
  private readonly options: EngineOptions;
  private readonly records: readonly number[];
  private readonly threads: WorkerThread[] = [];
  /** What an eventfd is written. */
  private readonly one = new BigUint64Array(new ArrayBuffer(8)).fill(1n);
  private stopping = false;
  private movedBy: Io = "rw";
  private spare: Thread | undefined;

  constructor(options: EngineOptions) {
    this.options = options;
    this.spare = options.thread;
    const { workers, maxConnections: connections } = options;
    const rings = options.io === "rw" ? 0 : workers * Uring.SIZE;
    const plan = planMemory(capacitiesOf({ workers, connections, rings, trace: TRACE_BYTES }));
    this.memory = createMemory(plan, { forward: options.forward, now: this.clock.ticks() });
    // Frames lie 68 KiB apart: with small pages each one would cost the processor a walk through the page tables.
    native.madvise(native.addressOf(new Uint8Array(this.memory.buffer)), plan.total, native.MADV_HUGEPAGE);
    options.log.info({ event: "tables.room", connections, bytes: plan.total }, roomText(plan));
    this.control = new Control(guarded(instantiate(this.memory), options.fatal), this.memory);
    this.control.init();
    this.ipvs = new LocalIpvs(this.control, {
      now: () => this.clock.ticks(),
      interfaces: options.ports.map((port) => port.name),
    });
    this.records = options.ports.map((port, number) => {
      const { kind, capabilities, mtu } = port;
      const record = this.control.portAdd({
        number,
        kind,
        capabilities,
        mtu,
        mac: port.mac === "" ? NO_MAC : port.mac,
      });
      this.control.portUp(record, true);
      return record;
    });
  }

  /** The record of a port in the shared memory. */
  recordOf(number: number): number {
    return this.records[number]!;
  }

  /** How frames move, once the workers have started. */
  get io(): Io {
    return this.movedBy;
  }

  /** Starts the workers, but lets none touch a frame before start(). Resolves when they only wait for that. */
  async prepare(): Promise<void> {
    this.stopping = false;
    for (let index = 0; index < this.options.workers; index++) this.startWorker(index, true);
    await Promise.all(this.threads.map(({ prepared }) => prepared));
  }

  /** Starts the workers; resolves when every one of them has taken its first breath. */
  async start(): Promise<void> {
    this.stopping = false;
    if (this.threads.length === 0) {
      for (let index = 0; index < this.options.workers; index++) this.startWorker(index, false);
    }
    for (const { control } of this.threads) {
      Atomics.store(control, CONTROL_GO, 1);
      Atomics.notify(control, CONTROL_GO);
    }
    await Promise.all(this.threads.map(({ started }) => started));
  }

  /** Asks the workers to end; resolves when no frame is touched any more, before the threads have gone. */
  async halt(): Promise<void> {
    this.stopping = true;
    for (const { control } of this.threads) Atomics.store(control, CONTROL_STOP, 1);
    this.wake();
    await Promise.all(this.threads.map(({ idle }) => idle));
  }

  /** Asks the workers to end and waits for them; they are never terminated. */
  async stop(): Promise<void> {
    await this.halt();
    await Promise.all(this.threads.map(({ ended }) => ended));
    for (const { eventfd } of this.threads) native.close(eventfd);
    this.threads.length = 0;
  }

  /** Makes sleeping workers take a breath: for what a control call wants to be sent. */
  wake(): void {
    const at = native.addressOf(new Uint8Array(this.one.buffer));
    for (const { eventfd } of this.threads) native.write(eventfd, at, 8);
  }

  /** Resolves with whether every worker begins another breath within that time. Those that sleep are woken. */
  async breathing(limitMs: number): Promise<boolean> {
    const count = () => this.threads.map(({ control }) => Atomics.load(control, CONTROL_BREATHS));
    const before = count();
    const until = performance.now() + limitMs;
    this.wake();
    while (count().some((now, at) => now === before[at])) {
      if (performance.now() > until) return false;
      await new Promise((resolve) => setTimeout(resolve, BREATH_POLL_MS));
    }
    return this.threads.length > 0;
  }

  private tellIo(why: string | undefined): void {
    const { log, io: asked } = this.options;
    const how = this.movedBy === "uring" ? "frames move by io_uring" : "frames move by read and write";
    log.info({ event: "engine.io", io: this.movedBy, asked }, why === undefined ? how : `${how}: ${why}`);
  }

  private startWorker(index: number, hold: boolean): void {
    const { ports, log } = this.options;
    const eventfd = native.eventfd(0, native.EFD_NONBLOCK | native.EFD_CLOEXEC);
    if (eventfd < 0) throw new LvsError("ERR_LVS_DIRECTOR", `eventfd: ${errnoText(native.errno())}`);
    const control = new Int32Array(new SharedArrayBuffer(4 * CONTROL_WORDS));
    const queues: Queue[] = [];
    const outputs: Array<{ record: number; fd: number }> = [];
    for (const [number, port] of ports.entries()) {
      const record = this.records[number]!;
      const own = port.queues[index];
      outputs.push({ record, fd: own ?? port.queues[0]! });
      if (own === undefined) continue;
      const link = (port.capabilities & Port.CAPABILITY_LINK) !== 0;
      queues.push({ number, name: port.name, fd: own, record, frameAt: Slot.FRAME_AT + (link ? 0 : LINK_HEADER) });
    }
    const config: WorkerConfig = {
      index,
      memory: this.memory,
      module: compileCore(),
      queues,
      detached: index === 0 ? [] : queues.map(({ fd }) => fd),
      outputs,
      eventfd,
      control,
      spin: this.options.spin,
      io: this.options.io,
      hold,
    };
    const thread = this.spare ?? startThread(index);
    this.spare = undefined;
    thread.postMessage(config);
    const started = withResolvers();
    const prepared = withResolvers();
    const idle = withResolvers();
    const ended = withResolvers();
    const failed = (error: unknown) => {
      prepared.reject(error);
      started.reject(error);
    };
    this.threads.push({
      thread,
      eventfd,
      control,
      started: started.promise,
      prepared: prepared.promise,
      idle: idle.promise,
      ended: ended.promise,
    });
    thread.once("exit", () => {
      idle.resolve();
      ended.resolve();
      if (!this.stopping) this.options.fatal(new Error(`worker ${index} ended`));
    });
    thread.once("error", (error) => {
      failed(error);
      this.options.fatal(error instanceof Error ? error : new Error(String(error)));
    });
    thread.on("message", (message: WorkerMessage) => {
      if (message.type === "ready") {
        this.movedBy = message.io;
        if (index === 0) this.tellIo(message.why);
        started.resolve();
      } else if (message.type === "prepared") prepared.resolve();
      else if (message.type === "ended") idle.resolve();
      else if (message.type === "refused") {
        this.stopping = true;
        failed(new LvsError("ERR_LVS_DIRECTOR", `--io uring: ${message.why}`));
      } else if (message.type === "trap")
        log.error({ event: "engine.trap", worker: index, traps: message.traps }, message.message);
      else if (message.type === "queue-failed")
        log.error({ event: "port.failed", port: message.port }, `cannot read: ${message.reason}`);
      else log.info({ event: "port.recovered", port: message.port }, "reads again");
    });
  }
}

interface Resolvers {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: unknown): void;
}

/** A promise that others settle; nobody has to look at it. */
function withResolvers(): Resolvers {
  let resolve: () => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<void>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}

/** The control instance: a trap in it leaves the lock held and the tables half changed, so nothing may go on after it. */
function guarded(core: Core, fatal: (error: Error) => void): Core {
  const guard =
    (call: (...args: number[]) => unknown) =>
    (...args: number[]): unknown => {
      try {
        return call(...args);
      } catch (error) {
        fatal(error as Error);
        throw error;
      }
    };
  const calls = Object.entries(core as unknown as Record<string, unknown>).map(([name, value]) => [
    name,
    typeof value === "function" ? guard(value as (...args: number[]) => unknown) : value,
  ]);
  return Object.fromEntries(calls) as Core;
}
