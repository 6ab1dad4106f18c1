/** A small seeded generator (mulberry32): the same seed, the same run. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** From here on as a new one with that seed. */
  reseed(seed: number): void {
    this.state = seed >>> 0;
  }

  /** 32 bits. */
  word(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return Math.floor((this.word() / 4294967296) * n);
  }

  chance(probability: number): boolean {
    return this.word() < probability * 4294967296;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** A number that breaks things more often than most: edges of its width, or any. */
  edge(bits: 8 | 16 | 32): number {
    const most = 2 ** bits - 1;
    if (this.chance(0.4)) return this.below(most + 1);
    return (
      this.pick([
        0,
        1,
        2,
        7,
        8,
        19,
        20,
        21,
        59,
        60,
        64,
        127,
        128,
        255,
        256,
        1479,
        1480,
        1500,
        32767,
        32768,
        65515,
        65535,
        most - 1,
        most,
      ]) & most
    );
  }
}
