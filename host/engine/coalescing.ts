/**
 * When small frames come fast, a worker waits a moment between two visits to its devices, as NICs delay their
 * interrupts. It is quick enough to fetch every frame alone, and then everything that is paid once a visit is paid once a
 * frame: the system call, and for whoever receives, an interrupt of another processor (a quarter of the forwarder's time
 * with UDP of 64 bytes). Below the rate, and for large frames, nothing waits.
 */

/** Mean bytes of a queue's frames up to which they are small. */
const SMALL = 512;
/** Milliseconds between two visits, at least. */
const PERIOD = 0.05;
/** Frames a millisecond that are fast. */
const FAST = 80;
/** The rate is taken anew after so many milliseconds. */
const WINDOW = 0.25;
/** A visit that moved so many frames need not wait. */
const ENOUGH = 64;

/** Whether a queue's frames are long; `sum` is sixteen times their mean. */
export function areLong(sum: number): boolean {
  return sum > SMALL * 16;
}

export class Coalescing {
  private readonly now: () => number;
  private frames = 0;
  private since = 0;
  private fast = false;
  private visited = 0;

  /** `now`: milliseconds, monotonic, with fractions. */
  constructor(now: () => number) {
    this.now = now;
  }

  /** Before a visit that takes `frames` frames out: returns when it is time. `small` tells whether frames are short. */
  wait(frames: number, small: () => boolean): void {
    let now = this.now();
    this.frames += frames;
    const elapsed = now - this.since;
    if (elapsed >= WINDOW) {
      this.fast = this.frames > elapsed * FAST && small();
      this.frames = 0;
      this.since = now;
    }
    if (this.fast && frames < ENOUGH) {
      const until = this.visited + PERIOD;
      while (now < until) now = this.now();
    }
    this.visited = now;
  }
}
