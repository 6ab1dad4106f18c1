/** What a soak leaves behind: everything that its verdict, its chart and its report are made of. */
import type { Outage } from "./operator.js";
import type { Sample } from "./watch.js";

export interface Failure {
  readonly name: string;
  readonly failure: string;
  /** Milliseconds since the epoch. */
  readonly began: number;
  readonly ended: number;
}

export interface LogLine {
  readonly level: number;
  readonly event?: string;
  readonly server?: string;
  readonly msg: string;
  readonly time: number;
}

export interface Burst {
  readonly requests: number;
  readonly seconds: number;
  readonly keepAlive: boolean;
  /** wrk's line on errors, if it has one. */
  readonly errors: string;
}

/** A second or more in which the soak itself got no processor. Milliseconds since the epoch. */
export interface Stall {
  readonly began: number;
  readonly ended: number;
}

/** The state of things when all clients have gone. */
export interface AtEnd {
  readonly established: number;
  readonly connections: number;
  readonly waitedMs: number;
  /** Some of those that are left, as -Lnc lists them. */
  readonly left: readonly string[];
  /** Processor seconds of the director in a second without traffic. */
  readonly idleCpu: number;
  readonly status: number | null;
  readonly signal: string | null;
  readonly devicesLeft: number;
  readonly socketLeft: boolean;
}

export interface SoakRecord {
  readonly version: string;
  readonly node: string;
  readonly kernel: string;
  readonly processors: number;
  readonly date: string;
  readonly seconds: number;
  readonly samples: readonly Sample[];
  readonly outages: readonly Outage[];
  readonly failures: readonly Failure[];
  /** Failures beyond those that are kept. */
  readonly failuresMore: number;
  readonly bursts: readonly Burst[];
  /** Datagrams that were sent once more; absent in records of before it was counted. */
  readonly again?: number;
  readonly stalls?: readonly Stall[];
  readonly changes: Readonly<Record<string, number>>;
  readonly problems: readonly string[];
  /** Warnings and errors. */
  readonly log: readonly LogLine[];
  readonly first: Sample;
  readonly last: Sample;
  readonly end: AtEnd;
  /** Milliseconds since the epoch. */
  readonly began: number;
}
