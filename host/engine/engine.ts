/** The engine of a director: shared memory, the control instance over it, and the workers. */
import { existsSync } from "node:fs";
import type { Worker as Thread } from "node:worker_threads";
import * as Memory from "../../assembly/layout/memory.js";
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
import { adviseHugePages, HugePages } from "./huge-pages.js";
import { startThread } from "./thread.js";
import type { Queue } from "./transport.js";
import { isClosed } from "./transport-uring.js";
import {
  CONTROL_BREATHS,
  CONTROL_GO,
  CONTROL_LIFE,
  CONTROL_PORTS,
  CONTROL_RING,
  CONTROL_STOP,
  CONTROL_SWAP,
  CONTROL_SWAPPED,
  CONTROL_THREAD,
  type Io,
  type Output,
  type WorkerConfig,
  type WorkerMessage,
} from "./worker.js";

/** A port of the engine: an open device whose descriptors this process has. */
export interface EnginePort {
  readonly name: string;
  readonly kind: "tap" | "tun";
  /** None while the device is gone. */
  readonly queues: readonly number[];
  readonly capabilities: number;
  readonly mtu: number;
  readonly mac: string;
  /** A descriptor of rtnetlink in the namespace of the kernel's end; undefined where that could not be had. */
  readonly netlink?: number | undefined;
  /** Why there is no device. */
  readonly problem?: string | undefined;
  /** How often it was made again since the start. */
  readonly remade?: number | undefined;
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
  /** Milliseconds between two looks whether the workers breathe; HUNG_LOOKS in vain, and one is taken for dead. */
  readonly lookMs?: number | undefined;
  /** Something that the process must not outlive. */
  fatal(error: Error): void;
  /** A worker cannot read a port. */
  portFailed?(number: number): void;
}

/** Ethernet's 14 bytes are what makes the IP header behind them aligned; a frame without them begins later. */
const LINK_HEADER = 14;
/** How often breaths are looked for. */
const BREATH_POLL_MS = 5;
/** Ring of traces: some hundred super-frames, or tens of thousands of headers. Untouched pages cost nothing. */
const TRACE_BYTES = 16 << 20;
const NO_MAC = "00:00:00:00:00:00";
const LOOK_MS = 1000;
/** Between two pieces of memory that become huge pages. */
const COLLAPSE_MS = 50;
/**
 * Looks, not time: where the whole process stood still, as many as one may have been missed, and they are not made up for.
 */
const HUNG_LOOKS = 5;
/** Of one worker, within RESTARTS_MS: who dies this often will die again. */
const RESTARTS_MOST = 5;
const RESTARTS_MS = 60_000;
/** How long a thread that is told to end at once may take, and then its ring. */
const TERMINATE_MS = 3000;
const RING_MS = 5000;
/** How long all workers may take to go on with other descriptors: longer than it takes to replace one that hangs. */
const SWAP_MS = 15_000;
/** How long, in looks, a control call waits for one breath to end. */
const LOCKED_LOOKS = 4;

interface WorkerThread {
  readonly index: number;
  readonly thread: Thread;
  readonly eventfd: number;
  readonly control: Int32Array;
  /** Breaths at the last look, and looks since they have changed. */
  seen: number;
  stale: number;
  /** Why it was told to end at once. */
  hung: boolean;
  /** It has begun, and nothing but stop() is to end it. */
  runs: boolean;
  hopeless: boolean;
  gone: boolean;
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
  private readonly current: EnginePort[];
  /** When threads of a worker were replaced, by its number. */
  private readonly replaced: number[][] = [];
  private readonly restarts: number[] = [];
  private replacing: Promise<unknown> = Promise.resolve();
  private watch: NodeJS.Timeout | undefined;
  private readonly hugePages: HugePages;
  private collapsing: NodeJS.Timeout | undefined;
  /** What an eventfd is written. */
  private readonly one = new BigUint64Array(new ArrayBuffer(8)).fill(1n);
  private stopping = false;
  private moved: Io | undefined;
  private lockWords: Int32Array = new Int32Array(0);
  private spare: Thread | undefined;

  constructor(options: EngineOptions) {
    this.options = options;
    this.spare = options.thread;
    this.current = [...options.ports];
    const { workers, maxConnections: connections } = options;
    const rings = options.io === "rw" ? 0 : workers * Uring.SIZE;
    const plan = planMemory(capacitiesOf({ workers, connections, rings, trace: TRACE_BYTES }));
    this.memory = createMemory(plan, { forward: options.forward, now: this.clock.ticks() });
    adviseHugePages(this.memory, plan);
    this.hugePages = new HugePages(this.memory);
    this.lockWords = new Int32Array(this.memory.buffer);
    options.log.info({ event: "tables.room", connections, bytes: plan.total }, roomText(plan));
    this.control = new Control(
      guarded(instantiate(this.memory), options.fatal, () => this.settle()),
      this.memory,
    );
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
      this.control.portUp(record, port.queues.length > 0);
      return record;
    });
  }

  /** The ports as they are now. */
  get ports(): readonly EnginePort[] {
    return this.current;
  }

  /** How often the thread of a worker was replaced, by its number. */
  restartsOf(index: number): number {
    return this.restarts[index] ?? 0;
  }

  /**
   * The port is what this says from now on: a device that was made again, or none (its frames are then dropped as those of
   * a port that is down). Resolves when no worker uses the descriptors from before, which are the caller's to close.
   */
  async replacePort(number: number, port: EnginePort): Promise<void> {
    this.current[number] = port;
    const record = this.records[number]!;
    const up = port.queues.length > 0;
    if (!up) this.control.portUp(record, false);
    for (const worker of this.threads) {
      this.describePorts(worker.index, worker.control);
      Atomics.add(worker.control, CONTROL_SWAP, 1);
    }
    this.wake();
    const until = performance.now() + SWAP_MS;
    const behind = () =>
      this.threads.some(
        ({ control, gone }) => gone || Atomics.load(control, CONTROL_SWAPPED) !== Atomics.load(control, CONTROL_SWAP),
      );
    while (behind() && !this.stopping) {
      if (performance.now() > until) throw new LvsError("ERR_LVS_DIRECTOR", "a worker does not let go of it");
      await new Promise((resolve) => setTimeout(resolve, BREATH_POLL_MS));
    }
    if (!up) return;
    this.control.portMtu(record, port.mtu);
    this.control.portUp(record, true);
    this.announce();
  }

  /** What has become of the device of a port, whose descriptors stay. */
  describePort(number: number, { mtu, problem }: Pick<EnginePort, "mtu" | "problem">): void {
    this.current[number] = { ...this.current[number]!, mtu, problem };
    this.control.portMtu(this.records[number]!, mtu);
    // Switches may have forgotten where we are.
    if (problem === undefined && this.current[number]!.queues.length > 0) this.announce();
  }

  /** Tells the links who has our addresses. */
  announce(): void {
    this.control.announce();
    this.wake();
  }

  /** The record of a port in the shared memory. */
  recordOf(number: number): number {
    return this.records[number]!;
  }

  /** How frames move, once the workers have started. */
  get io(): Io {
    return this.moved ?? "rw";
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
    for (const worker of this.threads) worker.runs = true;
    clearInterval(this.watch);
    this.watch = setInterval(() => this.look(), this.options.lookMs ?? LOOK_MS);
    this.watch.unref();
    this.collapse();
  }

  /** Asks the workers to end; resolves when no frame is touched any more, before the threads have gone. */
  async halt(): Promise<void> {
    this.stopping = true;
    clearInterval(this.watch);
    clearTimeout(this.collapsing);
    await this.replacing;
    for (const { control } of this.threads) Atomics.store(control, CONTROL_STOP, 1);
    this.wake();
    await Promise.all(this.threads.map(({ idle }) => idle));
  }

  /** Asks the workers to end and waits for them. */
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

  /** Soon again as long as there is something to do: a worker may be held for a moment each time. */
  private collapse(): void {
    clearTimeout(this.collapsing);
    const more = this.hugePages.turn();
    this.collapsing = setTimeout(() => this.collapse(), more ? COLLAPSE_MS : LOOK_MS);
    this.collapsing.unref();
  }

  private tellIo(io: Io, why: string | undefined): void {
    const { log, io: asked } = this.options;
    this.moved = io;
    const how = io === "uring" ? "frames move by io_uring" : "frames move by read and write";
    log.info({ event: "engine.io", io, asked }, why === undefined ? how : `${how}: ${why}`);
  }

  /** What a worker reads and writes now, for it to take up. */
  private describePorts(index: number, control: Int32Array): void {
    for (const [number, { queues }] of this.current.entries()) {
      const own = queues[index];
      Atomics.store(control, CONTROL_PORTS + 2 * number, own ?? -1);
      Atomics.store(control, CONTROL_PORTS + 2 * number + 1, own ?? queues[0] ?? -1);
    }
  }

  private startWorker(index: number, hold: boolean, eventfd = this.openEventfd()): WorkerThread {
    const control = new Int32Array(new SharedArrayBuffer(4 * (CONTROL_PORTS + 2 * this.current.length)));
    this.describePorts(index, control);
    const queues: Queue[] = [];
    const outputs: Output[] = [];
    for (const [number, port] of this.current.entries()) {
      const record = this.records[number]!;
      const link = (port.capabilities & Port.CAPABILITY_LINK) !== 0;
      const frameAt = Slot.FRAME_AT + (link ? 0 : LINK_HEADER);
      outputs.push({ number, record, fd: -1 });
      queues.push({ number, name: port.name, fd: -1, record, frameAt });
    }
    const config: WorkerConfig = {
      index,
      memory: this.memory,
      module: compileCore(),
      queues,
      detached: index !== 0,
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
    const worker: WorkerThread = {
      index,
      thread,
      eventfd,
      control,
      seen: -1,
      stale: 0,
      hung: false,
      runs: false,
      hopeless: false,
      gone: false,
      started: started.promise,
      prepared: prepared.promise,
      idle: idle.promise,
      ended: ended.promise,
    };
    this.threads[index] = worker;
    let failure: Error | undefined;
    thread.once("exit", () => {
      worker.gone = true;
      idle.resolve();
      ended.resolve();
      if (this.stopping) return;
      const why = failure ?? new Error(worker.hung ? `worker ${index} hung` : `worker ${index} ended`);
      prepared.reject(why);
      started.reject(why);
      this.replacing = this.replacing
        .then(() => this.replaceThread(worker, why))
        .catch((error) => this.options.fatal(error as Error));
    });
    thread.once("error", (error) => (failure = error instanceof Error ? error : new Error(String(error))));
    thread.on("message", (message: WorkerMessage) => {
      if (message.type === "ready") {
        if (index === 0 && this.moved !== message.io) this.tellIo(message.io, message.why);
        started.resolve();
      } else if (message.type === "prepared") prepared.resolve();
      else if (message.type === "ended") idle.resolve();
      else if (message.type === "hopeless") worker.hopeless = true;
      else if (message.type === "refused") {
        this.stopping = true;
        const error = new LvsError("ERR_LVS_DIRECTOR", `--io uring: ${message.why}`);
        prepared.reject(error);
        started.reject(error);
        // Of one that has begun nobody waits for that.
        if (worker.runs) this.options.fatal(error);
      } else this.tellRare(index, message);
    });
    return worker;
  }

  private openEventfd(): number {
    const eventfd = native.eventfd(0, native.EFD_NONBLOCK | native.EFD_CLOEXEC);
    if (eventfd < 0) throw new LvsError("ERR_LVS_DIRECTOR", `eventfd: ${errnoText(native.errno())}`);
    return eventfd;
  }

  private tellRare(
    index: number,
    message: Extract<WorkerMessage, { type: "trap" | "queue-failed" | "queue-recovered" }>,
  ): void {
    const { log } = this.options;
    if (message.type === "trap") {
      log.error({ event: "engine.trap", worker: index, traps: message.traps }, message.message);
      return;
    }
    const { port } = message;
    if (message.type === "queue-recovered") log.info({ event: "port.recovered", port }, "reads again");
    else {
      log.error({ event: "port.failed", port }, `cannot read: ${message.reason}`);
      this.options.portFailed?.(this.current.findIndex(({ name }) => name === port));
    }
  }

  /** Who has begun no breath for some looks hangs. */
  private look(): void {
    const holder = this.threads[Atomics.load(this.lockWords, (Memory.LAYOUT_BASE + Memory.LOCK) >>> 2) - 1];
    for (const worker of this.threads) {
      if (!worker.runs || worker.gone) continue;
      const breaths = Atomics.load(worker.control, CONTROL_BREATHS);
      worker.stale = breaths === worker.seen ? worker.stale + 1 : 0;
      worker.seen = breaths;
    }
    for (const worker of this.threads) {
      if (worker.stale < HUNG_LOOKS) continue;
      // Who waits for the lock of one that hangs is well, as far as anybody can tell.
      if (holder !== undefined && holder !== worker && holder.stale > 0) worker.stale = 0;
      else this.end(worker);
    }
    // An idle one sleeps for as long as nothing happens, but never through two looks.
    this.wake();
  }

  /** Another thread goes on in the place of one that is gone, over the same tables. */
  private async replaceThread(worker: WorkerThread, why: Error): Promise<void> {
    if (this.stopping) return;
    const { index, control, eventfd } = worker;
    const { log } = this.options;
    const now = performance.now();
    const before = (this.replaced[index] ?? []).filter((at) => now - at < RESTARTS_MS);
    if (worker.hopeless || !worker.runs || before.length >= RESTARTS_MOST) throw why;
    this.replaced[index] = [...before, now];
    this.restarts[index] = this.restartsOf(index) + 1;
    this.freeLock(index);
    const ring = Atomics.load(control, CONTROL_RING) - 1;
    if (ring >= 0) {
      const life = Atomics.load(control, CONTROL_LIFE) - 1;
      native.close(ring);
      // The kernel takes a ring down in its own time, and writes into its memory until it has.
      for (const until = now + RING_MS; !isClosed(life); ) {
        if (performance.now() > until) throw new Error(`the kernel does not let go of the ring of worker ${index}`);
        await new Promise((resolve) => setTimeout(resolve, BREATH_POLL_MS));
      }
      native.close(life);
    }
    this.control.abandonWorker(index);
    if (this.stopping) return;
    const fresh = this.startWorker(index, false, eventfd);
    await fresh.started;
    fresh.runs = true;
    log.error(
      { event: "worker.restarted", worker: index, restarts: this.restartsOf(index) },
      `a new thread goes on as worker ${index}, over the same tables: ${why.message}`,
    );
  }

  /** A thread that is gone cannot give the lock back. */
  private freeLock(index: number): void {
    const lock = (Memory.LAYOUT_BASE + Memory.LOCK) >>> 2;
    const words = new Int32Array(this.memory.buffer);
    if (Atomics.compareExchange(words, lock, index + 1, 0) === index + 1) Atomics.notify(words, lock);
  }

  /**
   * Before a control call: waits while one and the same breath goes on. If it does for too long its worker hangs, and is
   * ended from here: this thread must not wait for the lock with it, as nobody would be left to see to that worker.
   */
  private settle(): void {
    const lock = (Memory.LAYOUT_BASE + Memory.LOCK) >>> 2;
    const words = this.lockWords;
    const holder = Atomics.load(words, lock);
    const worker = this.threads[holder - 1];
    if (worker === undefined) return;
    const breath = Atomics.load(worker.control, CONTROL_BREATHS);
    const isStuck = () =>
      Atomics.load(words, lock) === holder && Atomics.load(worker.control, CONTROL_BREATHS) === breath;
    const most = LOCKED_LOOKS * (this.options.lookMs ?? LOOK_MS);
    // Counted, not measured, for the same reason as looks.
    for (let ms = 0; isStuck(); ms++) {
      if (ms === most) this.end(worker);
      if (ms >= most && !existsSync(`/proc/self/task/${Atomics.load(worker.control, CONTROL_THREAD)}`)) {
        this.freeLock(worker.index);
        return;
      }
      if (ms === most + TERMINATE_MS) {
        const error = new Error(`worker ${worker.index} hangs in a system call, with the lock`);
        this.options.fatal(error);
        throw error;
      }
      Atomics.wait(words, lock, holder, 1);
    }
  }

  /** Ends a worker's thread that begins no breath any more; one that is in a system call would not even hear that. */
  private end(worker: WorkerThread): void {
    if (worker.hung) return;
    worker.hung = true;
    const { index } = worker;
    this.options.log.error({ event: "worker.hung", worker: index }, `worker ${index} begins no breath any more`);
    void worker.thread.terminate();
    setTimeout(() => {
      if (!worker.gone) this.options.fatal(new Error(`worker ${index} hangs in a system call`));
    }, TERMINATE_MS).unref();
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
function guarded(core: Core, fatal: (error: Error) => void, before: () => void): Core {
  const guard =
    (call: (...args: number[]) => unknown) =>
    (...args: number[]): unknown => {
      before();
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
