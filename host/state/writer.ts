/**
 * Keeps a state file: a snapshot, then a few times a second what changed since. When as much has been added as the
 * snapshot is long, the next one is written beside it and takes its place whole.
 *
 * The tables are read a slice at a time; the data path waits for one slice, never for the disk. What cannot be written
 * stays noted in the core, and is written once it can be.
 */
import { fsync, ftruncate, write, writeSync } from "node:fs";
import { promisify } from "node:util";
import { END, type Snapshots, type Walk } from "../core/snapshot.js";
import { oneLine } from "../errors.js";
import type { Logger } from "../log.js";
import * as Format from "./format.js";

const syncFile = promisify(fsync);
const truncateFile = promisify(ftruncate);
const writeFile = promisify(write) as (
  fd: number,
  data: Uint8Array,
  offset: number,
  length: number,
  position: number,
) => Promise<{ bytesWritten: number }>;

/** How old what is written may be: the time between two looks at the tables. */
export const PERIOD_MS = 250;
/** How old the rest of a connection's time may be. */
const TIMERS_MS = 10_000;
/** Counters are written this often, when they are short, */
const TABLES_MS = 1000;
/** and so many bytes of them a second when they are not. */
const TABLES_BYTES = 256 << 10;
/** A sign of life, so that whoever reads knows until when nothing happened. */
const QUIET_MS = 5000;
/** Between two attempts to write what could not be written. */
const RETRY_MS = 1000;
const SNAPSHOT_RETRY_MS = 5000;
/** What changes may take beside the snapshot before there is another one. */
const JOURNAL_LEAST = 8 << 20;
/** Bytes gathered before they are written. */
const GATHERED = 1 << 20;
/** How long reading slices may keep the event loop. */
const TURN_MS = 8;

export interface StateFiles {
  /** The file that is read after a crash; and one for the next snapshot. */
  current: number;
  spare: number;
  /** They lie in memory, and are read by who waits: nothing is gained by not waiting for them. */
  readonly inMemory?: boolean;
  /** Makes the spare the current one, and the other way round. */
  commit(): Promise<void>;
}

export interface StateWriterOptions {
  readonly snapshots: Snapshots;
  readonly files: StateFiles;
  readonly log: Logger;
  /** What the host wants to find again. */
  text(): string;
}

/** A file that batches are added to. */
interface Sink {
  readonly fd: number;
  readonly inMemory: boolean;
  at: number;
  sequence: number;
  /** Bytes up to and with COMPLETE. */
  snapshot: number;
}

export interface StateStatus {
  /** Bytes of the file. */
  readonly bytes: number;
  readonly snapshots: number;
  /** Why nothing can be written. */
  readonly failed: string | undefined;
}

export class StateWriter {
  private readonly options: StateWriterOptions;
  private readonly snapshots: Snapshots;
  /** What a crash would leave to the next director. */
  private current: Sink | undefined;
  /** A snapshot on its way. */
  private next: Sink | undefined;
  /** One after the other: what is in the tables later is in the file later. */
  private lane: Promise<unknown> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;
  private busy = false;
  private closed = false;
  /** Gathered, and not written yet. */
  private pending: Buffer[] = [];
  private failure: string | undefined;
  private retryAt = 0;
  /** No snapshot could be written; when the next one is tried. */
  private behind = false;
  private snapshotAt = 0;
  private text = "";
  private textChanged = false;
  private generation = -1;
  private tablesAt = 0;
  private tablesBefore: Buffer = Buffer.alloc(0);
  private timersFrom = 0;
  private timersSince: number;
  private timersBegan: number;
  /** Since when connections may have been seen whose timers were written before. */
  private caughtUp: number;
  private lastAt = 0;
  private made = 0;
  private snapping = false;

  constructor(options: StateWriterOptions) {
    this.options = options;
    this.snapshots = options.snapshots;
    this.timersSince = this.snapshots.tick;
    this.timersBegan = this.timersSince;
    this.caughtUp = this.timersSince;
  }

  get status(): StateStatus {
    return { bytes: this.current?.at ?? 0, snapshots: this.made, failed: this.failure };
  }

  /** Begins with a snapshot. Resolves when it is in its place, or could not be written. */
  async start(): Promise<void> {
    this.snapshots.note(true);
    this.timer = setInterval(() => void this.turn(), PERIOD_MS);
    await this.snapshot();
  }

  /** The text will be written anew. */
  changed(): void {
    this.textChanged = true;
  }

  /** The last of it: the data path has stopped. `durable`: the machine may be switched off after it. */
  async close(durable = true): Promise<void> {
    await this.pause();
    if (this.current === undefined) {
      await this.snapshot();
      return;
    }
    const { current } = this;
    await this.inLane(async () => {
      await this.gather("all");
      if (this.failure === undefined && durable) await syncFile(current.fd);
    });
  }

  /** Writes what has changed, and the timers of all that were seen, since the start or since the last time. */
  async catchUp(): Promise<void> {
    await this.inLane(() => this.gather("seen"));
  }

  /** The last of it for somebody who has read what was written so far. */
  async handOver(): Promise<void> {
    await this.pause();
    await this.catchUp();
  }

  /** Writes nothing any more: somebody else does. What has been begun is finished first. */
  async pause(): Promise<void> {
    this.closed = true;
    clearInterval(this.timer);
    // A snapshot that is not in its place yet is not wanted any more.
    await this.inLane(async () => {
      this.next = undefined;
    });
    this.snapshots.note(false);
  }

  private inLane<T>(work: () => Promise<T>): Promise<T> {
    const done = this.lane.then(work);
    this.lane = done.catch(() => {});
    return done;
  }

  private async turn(): Promise<void> {
    if (this.busy || this.closed) return;
    this.busy = true;
    try {
      await this.inLane(() => this.gather("some"));
      const { current } = this;
      const grown = current === undefined || current.at - current.snapshot > JOURNAL_LEAST + current.snapshot;
      if (grown && !this.snapping && !this.closed && performance.now() >= this.snapshotAt) void this.snapshot();
    } finally {
      this.busy = false;
    }
  }

  /**
   * Writes what changed. Of timers some, as time goes on; or those of connections that were seen since it was asked for
   * last, or all: and then everything else that a reader could want to know at the end.
   */
  private async gather(timers: "some" | "seen" | "all"): Promise<void> {
    const all = timers !== "some";
    if (this.current === undefined && this.next === undefined) return;
    if (performance.now() < this.retryAt && !all) return;
    // Until what is pending has been written the core keeps note of what comes after it.
    if (this.pending.length > 0 && !(await this.flush())) return;
    for (let from = 0; from !== END; ) {
      from = this.snapshots.slice("changed", from);
      this.keep(Format.KIND.connections, this.snapshots.written);
      if (!(await this.breathe())) return;
    }
    const { high } = this.snapshots;
    let left = all ? high : Math.ceil((high * PERIOD_MS) / TIMERS_MS);
    if (all) this.timersFrom = 0;
    const since = timers === "all" ? this.snapshots.tick - 0x7fffffff : this.caughtUp;
    if (timers === "seen") this.caughtUp = this.snapshots.tick;
    while (left > 0) {
      const from = this.timersFrom;
      const to = this.snapshots.timers(from, all ? since : this.timersSince);
      this.keep(Format.KIND.connections, this.snapshots.written);
      this.timersFrom = to === END ? 0 : to;
      left -= to === END ? left : to - from;
      if (to === END) {
        this.timersSince = this.timersBegan;
        this.timersBegan = this.snapshots.tick;
      }
      if (!(await this.breathe())) return;
    }
    const now = performance.now();
    const due = this.tablesAt + Math.max(TABLES_MS, (this.tablesBefore.length / TABLES_BYTES) * 1000);
    if (all || this.generation !== this.snapshots.generation || now >= due) this.keepTables(all);
    if (this.textChanged || all) this.keepText();
    if (this.pending.length === 0 && now - this.lastAt >= QUIET_MS) this.keep(Format.KIND.connections, undefined);
    await this.flush();
  }

  /** Servers come before the services whose schedulers refer to them, all of it in one turn of the event loop. */
  private keepTables(all: boolean): void {
    const walks: readonly Walk[] = ["servers", "services", "addresses", "neighbours"];
    const parts: Buffer[] = [];
    this.generation = this.snapshots.generation;
    this.tablesAt = performance.now();
    for (const walk of walks) {
      for (let from = 0; from !== END; ) {
        from = this.snapshots.slice(walk, from);
        if (this.snapshots.written.length > 0) parts.push(Buffer.from(this.snapshots.written));
      }
    }
    const whole = Buffer.concat(parts);
    if (!all && whole.equals(this.tablesBefore)) return;
    this.tablesBefore = whole;
    for (const [at, part] of parts.entries()) {
      this.keep(at === 0 ? Format.KIND.tablesFirst : Format.KIND.tables, part);
    }
  }

  private keepText(): void {
    this.textChanged = false;
    const text = this.options.text();
    if (text === this.text) return;
    this.text = text;
    this.keep(Format.KIND.text, Buffer.from(text));
  }

  /** A batch for every sink. Nothing is kept of an empty slice; undefined is a sign of life. */
  private keep(kind: number, payload: Uint8Array | undefined): void {
    if (payload?.length === 0) return;
    // Sequence numbers differ from sink to sink: they are written in when it is known where it goes.
    this.pending.push(Format.encodeBatch(kind, this.snapshots.tick, Date.now(), payload));
  }

  /** Writes when enough is gathered. False: it cannot be written now. */
  private async breathe(): Promise<boolean> {
    let bytes = 0;
    for (const batch of this.pending) bytes += batch.length;
    return bytes < GATHERED || (await this.flush());
  }

  private async flush(): Promise<boolean> {
    const batches = this.pending;
    if (batches.length === 0) return true;
    const { current, next } = this;
    if (current !== undefined) {
      try {
        await append(current, batches);
      } catch (error) {
        this.failed(error);
        return false;
      }
    }
    this.pending = [];
    this.lastAt = performance.now();
    if (this.failure !== undefined) this.recovered();
    if (next !== undefined) {
      try {
        await append(next, batches);
      } catch (error) {
        this.giveUp(error);
        return current !== undefined;
      }
    }
    return true;
  }

  private failed(error: unknown): void {
    this.retryAt = performance.now() + RETRY_MS;
    if (this.failure !== undefined) return;
    this.failure = oneLine(error);
    this.options.log.error(
      { event: "state.failed" },
      `the state cannot be written: ${this.failure}; the file stays as it was`,
    );
  }

  private recovered(): void {
    this.failure = undefined;
    this.options.log.warn({ event: "state.recovered" }, "the state is written again");
  }

  /** The next snapshot goes nowhere. */
  private giveUp(error: unknown): void {
    const { next } = this;
    this.next = undefined;
    if (next !== undefined) truncateFile(next.fd, 0).catch(() => {});
    this.snapshotAt = performance.now() + SNAPSHOT_RETRY_MS;
    if (this.current === undefined) this.failed(error);
    else if (!this.behind) {
      this.options.log.warn(
        { event: "state.behind" },
        `no new snapshot can be written: ${oneLine(error)}; the file goes on growing`,
      );
    }
    this.behind = true;
  }

  /** Everything, beside the current file, which goes on being kept; then it takes its place. */
  private async snapshot(): Promise<void> {
    this.snapping = true;
    await this.tryToSnapshot();
    this.snapping = false;
  }

  private async tryToSnapshot(): Promise<void> {
    const { files, log } = this.options;
    const next: Sink = { fd: files.spare, inMemory: files.inMemory === true, at: 0, sequence: 0, snapshot: 0 };
    const began = performance.now();
    let isMine = false;
    try {
      await this.inLane(async () => {
        await truncateFile(next.fd, 0);
        const head = Format.encodeHead(Date.now());
        await writeAll(next, head, 0);
        next.at = head.length;
        const text = this.options.text();
        this.text = text;
        await append(next, [Format.encodeBatch(Format.KIND.text, this.snapshots.tick, Date.now(), Buffer.from(text))]);
        this.next = next;
        isMine = true;
      });
      for (let from = 0; from !== END; ) from = await this.inLane(() => this.someConnections(next, from));
      await this.inLane(async () => {
        if (this.next !== next) return;
        this.keepTables(true);
        this.keep(Format.KIND.complete, undefined);
        if (!(await this.flush()) || this.next !== next) return;
        next.snapshot = next.at;
      });
      if (this.next !== next) return;
      if (!next.inMemory) await syncFile(next.fd);
      await this.inLane(async () => {
        if (this.next !== next) return;
        await files.commit();
        files.spare = files.current;
        files.current = next.fd;
        this.current = next;
        this.next = undefined;
        this.made++;
        this.behind = false;
        if (this.failure !== undefined) this.recovered();
      });
      log.debug(
        { event: "state.snapshot", bytes: next.snapshot, ms: Math.round(performance.now() - began) },
        "snapshot",
      );
    } catch (error) {
      // Not wanted any more: its file may be somebody else's.
      if (isMine && this.next !== next) return;
      this.next = next;
      this.giveUp(error);
    }
  }

  /** A turn's worth of connections into a snapshot alone. Returns where to go on. */
  private async someConnections(next: Sink, from: number): Promise<number> {
    if (this.next !== next) return END;
    const until = performance.now() + TURN_MS;
    const batches: Buffer[] = [];
    let bytes = 0;
    let at = from;
    do {
      at = this.snapshots.slice("connections", at);
      const { written, tick } = this.snapshots;
      if (written.length === 0) continue;
      batches.push(Format.encodeBatch(Format.KIND.connections, tick, Date.now(), written));
      bytes += written.length;
    } while (at !== END && bytes < GATHERED && performance.now() < until);
    await append(next, batches);
    return at;
  }
}

/** Adds batches with the sink's numbers; a sink that does not take them all is as it was before. */
async function append(sink: Sink, batches: readonly Buffer[]): Promise<void> {
  if (batches.length === 0) return;
  for (const [at, batch] of batches.entries()) Format.number(batch, sink.sequence + at);
  const whole = Buffer.concat(batches);
  try {
    await writeAll(sink, whole, sink.at);
  } catch (error) {
    await truncateFile(sink.fd, sink.at).catch(() => {});
    throw error;
  }
  sink.at += whole.length;
  sink.sequence += batches.length;
}

async function writeAll({ fd, inMemory }: Sink, data: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const left = data.length - done;
    if (inMemory) done += writeSync(fd, data, done, left, position + done);
    else done += (await writeFile(fd, data, done, left, position + done)).bytesWritten;
  }
}
