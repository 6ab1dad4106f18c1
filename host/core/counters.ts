/** What the core counts, as plain data. */

/** What a worker counted since the start. */
export interface WorkerCounters {
  readonly breaths: number;
  readonly framesIn: number;
  readonly bytesIn: number;
  readonly framesOut: number;
  /** Seconds that its breaths took, waiting left out. */
  readonly busy: number;
  /** Empty slots that the kernel holds, to receive into; 0 without io_uring. */
  readonly held: number;
  /** How many breaths took in 0, 1, 2 to 3, 4 to 7 ... frames. */
  readonly frames: readonly number[];
  /** How many breaths took less than 1, 1 to 2, 2 to 4 ... microseconds; the last is for all longer ones. */
  readonly durations: readonly number[];
}

/** How full a table of the core is. */
export interface Occupancy {
  readonly table: string;
  readonly used: number;
  readonly capacity: number;
}

/** What became of frames. */
export interface CoreCounters {
  readonly framesIn: number;
  readonly framesOut: number;
  readonly generated: number;
  readonly evictions: number;
  /** Handshakes of the SYN proxy: SYN answered, cookies that came back, others, and what the servers said. */
  readonly synProxy: Readonly<Record<"answered" | "accepted" | "invalid" | "spliced" | "refused" | "silent", number>>;
  /** Neighbours that took another MAC. */
  readonly neighboursChanged: number;
  /** What gave way to others in full tables: neighbours, packets in fragments. */
  readonly neighboursEvicted: number;
  readonly fragmentsEvicted: number;
  /** ICMP errors and RST of limits that were over the rate. RST of others are dropped for `rate-limited`. */
  readonly errorsWithheld: number;
  /** By name in lower case: forward, local, consumed, drop. */
  readonly verdicts: Readonly<Record<string, number>>;
  /** By name in lower case with dashes: no-route, table-full ... Those at 0 may be left out. */
  readonly reasons: Readonly<Record<string, number>>;
}
