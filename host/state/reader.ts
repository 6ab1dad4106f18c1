/** Reads a state file, as far as it is whole, and gives tables what was in it. */
import { fstatSync, readSync } from "node:fs";
import { CONTROL as CONTROL_AT } from "../../assembly/layout/connection.js";
import * as Snapshot from "../../assembly/layout/snapshot.js";
import { END, type Restored, SLICE_MOST, type Snapshots } from "../core/snapshot.js";
import * as Format from "./format.js";

/** What a file holds, before anything of it is in the tables. */
export interface StateFound {
  /** What the host wrote of itself. */
  readonly text: string;
  /** Why connections and counters cannot come back; the text can. */
  readonly unfit: string | undefined;
  /** Milliseconds since 1970 of the last that was written. */
  readonly wall: number;
  /** Bytes behind the last whole batch. */
  readonly torn: number;
}

/** A file that is of no use: an empty one is not even a pity. */
export interface StateRefused {
  readonly refused: string;
  readonly empty: boolean;
}

interface Batch {
  readonly kind: number;
  readonly at: number;
  readonly length: number;
  readonly tick: number;
}

/** One reading of one file: look first, then restore. */
export class StateReader {
  private readonly fd: number;
  /** Checked, and not in the tables yet. */
  private batches: Batch[] = [];
  private tick = 0;
  private at = 0;
  private sequence = 0;
  private complete = false;
  private text = "";
  private wall = 0;
  private begun = false;

  /** A descriptor that can be read from any place. */
  constructor(fd: number) {
    this.fd = fd;
  }

  /** Reads and checks everything that was added since the last look. */
  look(): StateFound | StateRefused {
    const { size } = fstatSync(this.fd);
    if (size === 0) return { refused: "it is empty", empty: true };
    const head = Buffer.alloc(Format.HEAD_SIZE);
    const kind = Format.decodeHead(head.subarray(0, this.read(head, 0)));
    if (typeof kind === "string") return { refused: kind, empty: false };
    if (this.at === 0) this.at = Format.HEAD_SIZE;
    let payload = Buffer.alloc(SLICE_MOST);
    const batchHead = Buffer.alloc(Format.BATCH_HEAD_SIZE);
    for (;;) {
      const batch = Format.decodeBatchHead(batchHead.subarray(0, this.read(batchHead, this.at)));
      if (batch === undefined || batch.sequence !== this.sequence || batch.length > Format.BATCH_MOST) break;
      const from = this.at + Format.BATCH_HEAD_SIZE;
      if (from + batch.length > size) break;
      if (batch.kind !== Format.KIND.text && batch.length > SLICE_MOST) break;
      if (batch.length > payload.length) payload = Buffer.alloc(batch.length);
      const found = payload.subarray(0, batch.length);
      if (this.read(found, from) !== batch.length || !Format.isWhole(batchHead, found)) break;
      if (batch.kind === Format.KIND.text) this.text = found.toString();
      if (batch.kind === Format.KIND.complete) this.complete = true;
      this.batches.push({ kind: batch.kind, at: from, length: batch.length, tick: batch.tick });
      this.tick = batch.tick;
      this.wall = batch.wall;
      this.at = from + batch.length;
      this.sequence++;
    }
    if (!this.complete)
      return { refused: `it is damaged at byte ${this.at}, before its snapshot is whole`, empty: false };
    const unfit = kind.fits ? undefined : `they were written by a build with other tables (layout ${kind.layout})`;
    return { text: this.text, unfit, wall: this.wall, torn: size - this.at };
  }

  /** After look(), and before more is looked at: connections go where they will be, so that less is left for later. */
  take(snapshots: Snapshots): void {
    if (this.compaction(snapshots.capacity) !== undefined) return;
    this.give(snapshots, undefined);
    this.batches = this.batches.filter(({ kind }) => kind !== Format.KIND.connections);
  }

  /** After look(): connections and counters, into tables that have their services. */
  restore(snapshots: Snapshots): Restored {
    const damaged = this.give(snapshots, this.begun ? undefined : this.compaction(snapshots.capacity));
    // What a server counted at the end is what counts, and every connection's server is known by then.
    const first = this.batches.findLastIndex(({ kind }) => kind === Format.KIND.tablesFirst);
    const after = this.batches.slice(first);
    const { tables, tablesFirst } = Format.KIND;
    this.batches = first < 0 ? [] : after.filter(({ kind }) => kind === tables || kind === tablesFirst);
    const damagedTables = this.give(snapshots, undefined, tables, tablesFirst);
    const restored = snapshots.finish();
    this.batches = [];
    return { ...restored, refused: restored.refused + damaged + damagedTables };
  }

  /** Returns how many batches were none. */
  private give(
    snapshots: Snapshots,
    compact: ((entries: Buffer) => Buffer) | undefined,
    ...kinds: readonly number[]
  ): number {
    if (!this.begun) snapshots.begin();
    this.begun = true;
    let damaged = 0;
    const buffer = Buffer.alloc(SLICE_MOST);
    const one = ({ at, length, tick }: Batch) => {
      const entries = buffer.subarray(0, length);
      this.read(entries, at);
      const kept = compact === undefined ? entries : compact(entries);
      if (!snapshots.take(kept, (this.tick - tick) | 0)) damaged++;
    };
    const wanted = kinds.length === 0 ? [Format.KIND.connections as number] : kinds;
    for (const batch of this.batches) if (wanted.includes(batch.kind)) one(batch);
    return damaged;
  }

  /**
   * Where the table was larger than it is now: what is left of it moves together. Returns what rewrites entries, or
   * undefined when all of them can stay where they are.
   */
  private compaction(capacity: number): ((entries: Buffer) => Buffer) | undefined {
    const buffer = Buffer.alloc(SLICE_MOST);
    let most = 0;
    const each = (see: (entry: Buffer, kind: number, index: number) => void) => {
      for (const { kind, at, length } of this.batches) {
        if (kind !== Format.KIND.connections) continue;
        const entries = buffer.subarray(0, length);
        this.read(entries, at);
        walk(entries, see);
      }
    };
    each((_, kind, index) => {
      if (kind === Snapshot.CONNECTION && index < END && index >= most) most = index + 1;
    });
    if (most <= capacity) return undefined;
    const alive = new Uint8Array(most);
    each((_, kind, index) => {
      if (index < most && kind !== Snapshot.TIMER) alive[index] = kind === Snapshot.CONNECTION ? 1 : 0;
    });
    const places = new Uint32Array(most).fill(END);
    let next = 0;
    for (let index = 0; index < most; index++) if (alive[index] === 1) places[index] = next++;
    const CONTROL = Snapshot.HEAD + CONTROL_AT;
    return (entries) => {
      const kept: Buffer[] = [];
      walk(entries, (entry, kind, index) => {
        if (kind < Snapshot.CONNECTION || kind > Snapshot.TIMER) return void kept.push(entry);
        const place = index < most ? places[index]! : END;
        // Those beyond the table go to the core, too: it counts what does not fit.
        if (place === END) return;
        entry.writeUInt32LE(place, Snapshot.INDEX);
        if (kind === Snapshot.CONNECTION) {
          const control = entry.readUInt32LE(CONTROL);
          const controller = control === 0 || control > most ? END : places[control - 1]!;
          entry.writeUInt32LE(controller === END ? 0 : controller + 1, CONTROL);
        }
        kept.push(entry);
      });
      return Buffer.concat(kept);
    };
  }

  private read(into: Buffer, from: number): number {
    let done = 0;
    while (done < into.length) {
      const count = readSync(this.fd, into, done, into.length - done, from + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  }
}

function walk(entries: Buffer, see: (entry: Buffer, kind: number, index: number) => void): void {
  let at = 0;
  while (at + Snapshot.HEAD <= entries.length) {
    const length = entries.readUInt32LE(at + Snapshot.LENGTH);
    if (length < Snapshot.HEAD || at + length > entries.length) return;
    const entry = entries.subarray(at, at + length);
    see(entry, entry.readUInt32LE(Snapshot.KIND), entry.readUInt32LE(Snapshot.INDEX));
    at += length;
  }
}
