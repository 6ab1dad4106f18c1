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

/** The machine's clocks: monotonic ticks, wall time for the day. Every thread reads the same ticks. */
export class SystemClock implements Clock {
  /** performance.now() counts from the start of its thread, hrtime from the start of the machine. */
  private readonly origin = Number(process.hrtime.bigint()) / 1e6 - performance.now();
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
    return performance.timeOrigin + this.now;
  }

  /** Milliseconds since 1970 at tick 0. */
  tickZero(): number {
    return performance.timeOrigin - this.origin;
  }

  dayMs(): number {
    return Date.now() % DAY_MS;
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
