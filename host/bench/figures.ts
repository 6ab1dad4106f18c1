/** What a measurement comes to: rounds, their median and range, and the machine that they were made on. */
import { cpus, release } from "node:os";

export interface Figure {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly rounds: readonly number[];
}

export function figure(rounds: readonly number[]): Figure {
  const ordered = [...rounds].sort((a, b) => a - b);
  const middle = ordered.length >> 1;
  const median = ordered.length % 2 === 1 ? ordered[middle]! : (ordered[middle - 1]! + ordered[middle]!) / 2;
  return { median, least: ordered[0]!, most: ordered.at(-1)!, rounds };
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** Its version: what distributions and clouds add to it is theirs. */
  readonly kernel: string;
  readonly node: string;
}

export function machine(): Machine {
  const all = cpus();
  const kernel = release().split("-")[0]!;
  return { cpu: all[0]?.model.trim() ?? "unknown", cores: all.length, kernel, node: process.version };
}

/** Says what is being measured now, and how much of all is done where that is known (0 to 1). */
export type Progress = (text: string, done?: number) => void;
