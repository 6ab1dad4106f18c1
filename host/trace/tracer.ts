/** Traces of a director: takes records out of the core's ring and hands them to those that asked for them. */
import * as Memory from "../../assembly/layout/memory.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as Trace from "../../assembly/layout/trace.js";
import type { Control } from "../core/control.js";
import { IpvsError } from "../ipvs/model.js";
import { compileFilter, FilterError, parseFilter } from "./filter.js";
import type {
  ConnectionEvent,
  TraceLosses,
  TraceNotice,
  TraceOptions,
  TraceOrigin,
  TraceRecord,
  TraceSource,
} from "./model.js";
import { type PortNames, type RawRecord, RecordReader } from "./record.js";

export const SNAP_DEFAULT = 256;
/** For those who may only read over TCP: headers with their options, under one more header of a tunnel. */
export const SNAP_READ_ONLY = 128;
export const SNAP_MOST = Slot.FRAME_MAX;
export const RATE_DEFAULT = 1000;
export const SAMPLE_MOST = 1_000_000;
/** How often the ring is looked at. */
const DRAIN_MS = 10;
/** Bytes that wait for a reader at most. */
const WAITING_MOST = 32 << 20;
const EBUSY = 16;
const EINVAL = 22;
const LISTENERS_MOST = 4;
const REMOTE_MOST = 2;

/** Somebody who reads records, at their own pace. */
export class Subscription {
  readonly snap: number;
  private readonly tracer: Tracer;
  readonly number: number;
  readonly remote: boolean;
  private waiting: RawRecord[] = [];
  private bytes = 0;
  private dropped = 0;
  private wake: (() => void) | undefined;
  private ended = false;

  constructor(tracer: Tracer, number: number, snap: number, remote: boolean) {
    this.remote = remote;
    this.tracer = tracer;
    this.number = number;
    this.snap = snap;
  }

  put(record: RawRecord): void {
    if (this.bytes + record.bytes.length > WAITING_MOST) {
      this.dropped++;
      return;
    }
    this.bytes += record.bytes.length;
    this.waiting.push(record);
    this.wake?.();
  }

  /** What has come since, at least one record unless the time is over or the subscription has ended. */
  async take(timeoutMs: number): Promise<RawRecord[]> {
    if (this.waiting.length === 0 && !this.ended) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.wake = undefined;
    }
    const taken = this.waiting;
    this.waiting = [];
    this.bytes = 0;
    return taken;
  }

  get isOpen(): boolean {
    return !this.ended;
  }

  losses(): TraceLosses {
    const { lost, limited } = this.tracer.lossesOf(this.number);
    return { lost: lost + this.dropped, limited };
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.tracer.closed(this);
    this.wake?.();
  }
}

export class Tracer implements TraceSource {
  readonly reader: RecordReader;
  readonly ports: readonly PortNames[];
  private readonly control: Control;
  private readonly epoch: () => number;
  private readonly view: DataView;
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly base: number;
  private readonly size: number;
  private readonly traces: Array<Subscription | undefined> = [];
  private readonly listeners = new Map<Subscription, number>();
  private timer: NodeJS.Timeout | undefined;

  /** `epoch`: milliseconds since 1970 at tick 0. */
  constructor(
    control: Control,
    memory: WebAssembly.Memory,
    ports: readonly PortNames[],
    epoch: () => number = () => 0,
  ) {
    this.control = control;
    this.epoch = epoch;
    this.ports = ports;
    this.view = new DataView(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    const word = (at: number) => this.view.getUint32(Memory.LAYOUT_BASE + at, true);
    this.base = word(Memory.TRACE_BASE);
    this.size = (word(Memory.TRACE_CAPACITY) - Trace.RING) & ~7;
    this.reader = new RecordReader(ports, memory);
  }

  /** Throws an IpvsError: EINVAL with the place in the filter, EBUSY when there are enough traces. */
  open(options: TraceOptions): Subscription {
    const snap = options.snap ?? SNAP_DEFAULT;
    let program: Uint8Array;
    try {
      program = compileFilter(
        parseFilter(options.filter ?? ""),
        this.ports.map(({ name }) => name),
      );
    } catch (error) {
      if (error instanceof FilterError) throw new IpvsError("EINVAL", EINVAL, error.message);
      throw error;
    }
    let number = 0;
    while (this.traces[number] !== undefined) number++;
    const remotes = this.traces.filter((trace) => trace?.remote).length;
    if (number >= Trace.TRACE_COUNT || (options.remote && remotes >= REMOTE_MOST)) {
      const most = options.remote ? `${REMOTE_MOST} traces over TCP` : `${Trace.TRACE_COUNT} traces`;
      throw new IpvsError("EBUSY", EBUSY, `${most} run already: end one of them`);
    }
    this.drain();
    this.control.traceStart(number, program, snap, options.rate ?? RATE_DEFAULT);
    const subscription = new Subscription(this, number, snap, options.remote ?? false);
    this.traces[number] = subscription;
    this.watch();
    return subscription;
  }

  /** Events of one of `sample` new connections. Throws an IpvsError, EBUSY. */
  listen(sample: number, remote = false): Subscription {
    const remotes = [...this.listeners.keys()].filter((one) => one.remote).length;
    if (this.listeners.size >= LISTENERS_MOST || (remote && remotes >= REMOTE_MOST)) {
      const [most, where] = remote ? [REMOTE_MOST, " over TCP"] : [LISTENERS_MOST, ""];
      throw new IpvsError("EBUSY", EBUSY, `${most} readers of connection events are there already${where}`);
    }
    const subscription = new Subscription(this, Trace.TRACE_COUNT, 0, remote);
    this.listeners.set(subscription, sample);
    this.control.traceSample(this.commonSample());
    this.watch();
    return subscription;
  }

  trace(options: Parameters<TraceSource["trace"]>[0], signal: AbortSignal): AsyncGenerator<TraceRecord | TraceNotice> {
    const subscription = this.open(options);
    signal.addEventListener("abort", () => subscription.close());
    return traceLines(subscription, this.reader, options);
  }

  events(options: Parameters<TraceSource["events"]>[0], signal: AbortSignal): AsyncGenerator<ConnectionEvent> {
    const subscription = this.listen(options.sample, options.remote);
    signal.addEventListener("abort", () => subscription.close());
    return eventLines(subscription, this.reader, options);
  }

  origin(): TraceOrigin {
    const word = (at: number) => this.view.getUint32(Memory.LAYOUT_BASE + at, true);
    return { seed: word(Memory.SEED), nextId: word(Memory.NEXT_ID), epoch: this.epoch(), ports: this.ports };
  }

  lossesOf(number: number): TraceLosses {
    if (number >= Trace.TRACE_COUNT) {
      return { lost: this.view.getUint32(this.base + Trace.EVENTS_LOST, true), limited: 0 };
    }
    const at = this.base + Trace.TRACES + number * Trace.TRACE_SIZE;
    return {
      lost: this.view.getUint32(at + Trace.LOST, true),
      limited: this.view.getUint32(at + Trace.LIMITED, true),
    };
  }

  closed(subscription: Subscription): void {
    if (this.listeners.delete(subscription)) this.control.traceSample(this.commonSample());
    else {
      this.control.traceStop(subscription.number);
      this.traces[subscription.number] = undefined;
    }
    this.watch();
  }

  /** Every subscription ends. */
  close(): void {
    for (const subscription of [...this.traces, ...this.listeners.keys()]) subscription?.close();
  }

  /** Hands out what lies in the ring. */
  drain(): void {
    const headAt = (this.base + Trace.HEAD) >>> 2;
    const tailAt = (this.base + Trace.TAIL) >>> 2;
    const ring = this.base + Trace.RING;
    const head = Atomics.load(this.words, headAt);
    let tail = Atomics.load(this.words, tailAt);
    while (tail !== head) {
      const at = ring + tail;
      const size = this.view.getUint32(at + Trace.SIZE, true);
      const kind = this.bytes[at + Trace.KIND];
      if (kind !== Trace.KIND_WRAP) this.hand(kind!, this.bytes.slice(at, at + size));
      tail += size;
      if (tail >= this.size) tail = 0;
    }
    Atomics.store(this.words, tailAt, tail);
  }

  private hand(kind: number, bytes: Uint8Array): void {
    if (kind === Trace.KIND_FRAME) {
      const mask = bytes[Trace.MASK]!;
      for (const [number, subscription] of this.traces.entries()) {
        if ((mask & (1 << number)) !== 0) subscription?.put({ kind: "frame", mask, bytes });
      }
      return;
    }
    const number = this.reader.eventNumber(bytes);
    const record: RawRecord = { kind: kind === Trace.KIND_OPEN ? "open" : "close", mask: 0, bytes };
    for (const [listener, sample] of this.listeners) if (number % sample === 0) listener.put(record);
  }

  /** The core tells of all that any listener wants: one sample that is in each of theirs. */
  private commonSample(): number {
    const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));
    return [...this.listeners.values()].reduce(divisor, 0);
  }

  private watch(): void {
    const wanted = this.listeners.size > 0 || this.traces.some((trace) => trace !== undefined);
    if (wanted && this.timer === undefined) this.timer = setInterval(() => this.drain(), DRAIN_MS);
    else if (!wanted) {
      clearInterval(this.timer);
      this.timer = undefined;
    }
  }
}

const NOTICE_MS = 1000;

/** Records of a subscription as they come, until `count` were given, the reader leaves or the trace is ended. */
async function* traceLines(
  subscription: Subscription,
  reader: RecordReader,
  options: { readonly count?: number | undefined; readonly notices?: boolean | undefined },
): AsyncGenerator<TraceRecord | TraceNotice> {
  let left = options.count ?? Number.POSITIVE_INFINITY;
  let told: TraceLosses = { lost: 0, limited: 0 };
  try {
    while (subscription.isOpen && left > 0) {
      const records = await subscription.take(NOTICE_MS);
      const losses = subscription.losses();
      for (const { bytes } of records) {
        if (left-- <= 0) return;
        yield reader.frame(bytes, subscription.snap, losses.lost - told.lost, losses.limited - told.limited);
        told = losses;
      }
      if (options.notices && (losses.lost !== told.lost || losses.limited !== told.limited)) {
        yield { notice: "losses", lost: losses.lost - told.lost, limited: losses.limited - told.limited };
        told = losses;
      }
    }
  } finally {
    subscription.close();
  }
}

async function* eventLines(
  subscription: Subscription,
  reader: RecordReader,
  options: { readonly count?: number | undefined },
): AsyncGenerator<ConnectionEvent> {
  let left = options.count ?? Number.POSITIVE_INFINITY;
  let told = subscription.losses().lost;
  try {
    while (subscription.isOpen && left > 0) {
      for (const { kind, bytes } of await subscription.take(NOTICE_MS)) {
        if (kind === "frame") continue;
        if (left-- <= 0) return;
        const { lost } = subscription.losses();
        yield reader.event(bytes, kind, lost - told);
        told = lost;
      }
    }
  } finally {
    subscription.close();
  }
}
