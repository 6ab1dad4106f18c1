/** How long a worker's breaths take: counted in its own words of the shared memory, without allocating anything. */
import * as Worker from "../../assembly/layout/worker.js";

export class BreathMeter {
  private readonly words: Uint32Array;
  private readonly busy: number;
  private readonly buckets: number;
  /** Part of a microsecond that BUSY has not got yet. */
  private rest = 0;

  /** `record` is the worker's, in the memory that `words` shows. */
  constructor(words: Uint32Array, record: number) {
    this.words = words;
    this.busy = (record + Worker.BUSY) >>> 2;
    this.buckets = (record + Worker.DURATION_BUCKETS) >>> 2;
  }

  /** One breath of so many milliseconds. */
  count(ms: number): void {
    const exact = ms * 1000;
    const whole = exact | 0;
    const bucket = 32 - Math.clz32(whole);
    const last = Worker.DURATION_BUCKET_COUNT - 1;
    this.add(this.buckets + 2 * (bucket < last ? bucket : last), 1);
    const rest = this.rest + exact;
    const micros = rest | 0;
    this.rest = rest - micros;
    this.add(this.busy, micros);
  }

  /** To a u64 of two words: this thread alone writes it. */
  private add(at: number, value: number): void {
    const { words } = this;
    const low = words[at]! + value;
    words[at] = low;
    if (low >= 0x1_0000_0000) words[at + 1]!++;
  }
}
