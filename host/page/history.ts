/** Figures of the last ten minutes, one column a second, in a ring that never grows. */

export const LENGTH = 600;

export class History {
  readonly width: number;
  private readonly times = new Float64Array(LENGTH);
  private readonly values: Float32Array;
  private next = 0;
  private filled = 0;

  /** `width` figures a second. */
  constructor(width: number) {
    this.width = width;
    this.values = new Float32Array(LENGTH * width);
  }

  /** `time` in seconds. */
  add(time: number, figures: readonly number[]): void {
    this.times[this.next] = time;
    for (let at = 0; at < this.width; at++) this.values[at * LENGTH + this.next] = figures[at] ?? 0;
    this.next = (this.next + 1) % LENGTH;
    this.filled = Math.min(LENGTH, this.filled + 1);
  }

  clear(): void {
    this.next = 0;
    this.filled = 0;
  }

  /** The newest first: how many there are of at most `seconds`. */
  private place(back: number): number {
    return (this.next - 1 - back + 2 * LENGTH) % LENGTH;
  }

  /** Times, then the figures asked for, oldest first, of the last `seconds`; a gap in the stream is a gap here. */
  columns(seconds: number, figures: readonly number[]): Array<Array<number | null>> {
    const rows: Array<Array<number | null>> = [[], ...figures.map(() => [])];
    const newest = this.times[this.place(0)]!;
    let before: number | undefined;
    for (let back = this.filled - 1; back >= 0; back--) {
      const place = this.place(back);
      const time = this.times[place]!;
      if (newest - time > seconds) continue;
      if (before !== undefined && time - before > 3.5) {
        rows[0]!.push((before + time) / 2);
        for (let at = 1; at < rows.length; at++) rows[at]!.push(null);
      }
      rows[0]!.push(time);
      for (const [at, figure] of figures.entries()) rows[at + 1]!.push(this.values[figure * LENGTH + place]!);
      before = time;
    }
    return rows;
  }

  /** The last `count` values of one figure, oldest first. */
  last(figure: number, count: number): number[] {
    const found: number[] = [];
    for (let back = Math.min(count, this.filled) - 1; back >= 0; back--) {
      found.push(this.values[figure * LENGTH + this.place(back)]!);
    }
    return found;
  }
}
