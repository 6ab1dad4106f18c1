/** Between whoever decides and the process that checks. */
import type { Target } from "./checker.js";
import type { Health, Tally } from "./monitor.js";

export interface ToChecker {
  readonly targets: readonly Target[];
  /** Descriptors of the process for pings. */
  readonly icmp: ReadonlyArray<{ readonly family: 4 | 6; readonly fd: number; readonly raw: boolean }>;
}

export interface FromChecker {
  readonly health: readonly Health[];
  /** Of those that were checked since the last time; now and then. */
  readonly tallies: readonly Tally[];
}
