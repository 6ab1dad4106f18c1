/** Time as the core counts it: u32 ticks of 4 ms that wrap. The one place that reads a clock. */
import { TICK_MS } from "../../assembly/layout/memory.js";

export interface Clock {
  /** Ticks, to compare by signed difference. */
  ticks(): number;
  /** Milliseconds since midnight UTC (ICMP and IP timestamps). */
  dayMs(): number;
  /** Milliseconds since 1970 of what ticks() last said, to the microsecond. */
  epochMs(): number;
}

const DAY_MS = 86_400_000;
/** What is further off was set, and no thread that had to wait between its readings of two clocks. */
const STEP_MS = 100;

/** The machine's clocks: monotonic ticks, wall time for people. Every thread reads the same ticks. */
export class SystemClock implements Clock {
  /** performance.now() counts from the start of its thread, hrtime from the start of the machine. */
  private readonly origin = Number(process.hrtime.bigint()) / 1e6 - performance.now();
  /** Wall time at this thread's start, by what the wall clock says now: somebody may have set it since. */
  private start = performance.timeOrigin;
  private now = 0;

  ticks(): number {
    return this.ticksAt(performance.now());
  }

  /** The tick of a reading of this thread's performance.now(). */
  ticksAt(now: number): number {
    this.now = now;
    return Math.floor((now + this.origin) / TICK_MS) >>> 0;
  }

  epochMs(): number {
    return this.wallStart() + this.now;
  }

  /** Milliseconds since 1970 at tick 0. */
  tickZero(): number {
    return this.wallStart() - this.origin;
  }

  dayMs(): number {
    return Date.now() % DAY_MS;
  }

  private wallStart(): number {
    const start = Date.now() - performance.now();
    if (Math.abs(start - this.start) > STEP_MS) this.start = start;
    return this.start;
  }
}

/** A clock that stands still until it is set: tests and replays. */
export class VirtualClock implements Clock {
  /** Milliseconds since the clock was made. */
  nowMs = 0;
  /** Milliseconds since 1970 that nowMs counts from. */
  readonly epoch: number;
  private readonly start: number;

  /** `start` is the tick to begin at; near the end of u32 it makes ticks wrap. */
  constructor(start = 1000, epoch = 0) {
    this.start = start;
    this.epoch = epoch;
  }

  ticks(): number {
    return (this.start + Math.floor(this.nowMs / TICK_MS)) >>> 0;
  }

  dayMs(): number {
    return Math.floor(this.epochMs()) % DAY_MS;
  }

  epochMs(): number {
    return this.epoch + this.nowMs;
  }
}
