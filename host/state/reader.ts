/**
 * Reads a state file, as far as it is whole, and gives tables what was in it: connections on the way, so that a file is
 * read once. A file that another director still writes to can be looked at again, for what came since.
 */
import { fstatSync, readSync } from "node:fs";
import { CONTROL as CONTROL_AT } from "../../assembly/layout/connection.js";
import * as Snapshot from "../../assembly/layout/snapshot.js";
import { END, type Restored, SLICE_MOST, type Snapshots } from "../core/snapshot.js";
import * as Format from "./format.js";

/** What a file holds. */
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
  readonly at: number;
  readonly length: number;
  readonly tick: number;
}

/** Whose ticks the entries' times are in. "gone": those of a director that is no more, for which time stood still since. */
type Clock = "gone" | "ours";

const CHUNK = 1 << 20;
/** No memory has room for so many connections. */
const NUMBERS = 1 << 26;

/** One reading of one file: look, as often as there may be more, then restore. */
export class StateReader {
  private readonly fd: number;
  private readonly into: Snapshots;
  private readonly clock: Clock;
  /** Bytes of the file from `chunkAt` on. */
  private chunk: Buffer = Buffer.alloc(0);
  private chunkAt = 0;
  private chunkLength = 0;
  /** Batches of connections that were taken, in case they have to be taken otherwise. */
  private batches: Batch[] = [];
  /** Payloads of the last tables. */
  private tables: Array<{ readonly payload: Buffer; readonly tick: number }> = [];
  private first: number | undefined;
  private tick = 0;
  private at = 0;
  private sequence = 0;
  private complete = false;
  private text = "";
  private wall = 0;
  private damaged = 0;
  private linked = false;

  /** A descriptor that can be read from any place, and tables that nothing has used yet. */
  constructor(fd: number, into: Snapshots, clock: Clock = "gone") {
    this.fd = fd;
    this.into = into;
    this.clock = clock;
  }

  /** Reads and checks everything that was added since the last look. */
  look(): StateFound | StateRefused {
    const { size } = fstatSync(this.fd);
    if (size === 0) return { refused: "it is empty", empty: true };
    const head = Buffer.alloc(Format.HEAD_SIZE);
    const kind = Format.decodeHead(head.subarray(0, this.read(head, 0)));
    if (typeof kind === "string") return { refused: kind, empty: false };
    if (this.at === 0) {
      this.at = Format.HEAD_SIZE;
      this.into.begin();
    }
    // What was there of a batch may have been a part of it.
    this.chunkLength = 0;
    for (;;) {
      const batchHead = this.bytes(this.at, Format.BATCH_HEAD_SIZE);
      const batch = Format.decodeBatchHead(batchHead);
      if (batch === undefined || batch.sequence !== this.sequence || batch.length > Format.BATCH_MOST) break;
      if (this.at + Format.BATCH_HEAD_SIZE + batch.length > size) break;
      if (batch.kind !== Format.KIND.text && batch.length > SLICE_MOST) break;
      const whole = this.bytes(this.at, Format.BATCH_HEAD_SIZE + batch.length);
      const payload = whole.subarray(Format.BATCH_HEAD_SIZE);
      if (payload.length !== batch.length || !Format.isWhole(whole, payload)) break;
      this.see(batch, payload, kind.fits);
      this.tick = batch.tick;
      this.wall = batch.wall;
      this.at += whole.length;
      this.sequence++;
    }
    if (!this.complete) {
      this.into.begin();
      return { refused: `it is damaged at byte ${this.at}, before its snapshot is whole`, empty: false };
    }
    const unfit = kind.fits ? undefined : `they were written by a build with other tables (layout ${kind.layout})`;
    return { text: this.text, unfit, wall: this.wall, torn: size - this.at };
  }

  /** After look(), into tables that have their services: connections are linked, so that less is left for later. */
  link(): void {
    // Records that have to move can only do so when all of them are known.
    if (!this.isTooLarge()) this.linkTaken();
  }

  private isTooLarge(): boolean {
    return this.into.highest > this.into.capacity;
  }

  private linkTaken(): void {
    const { into } = this;
    for (const { payload } of this.tables) if (!into.take(payload, 0)) this.damaged++;
    into.link(this.clock === "ours" || this.first === undefined ? 0 : (this.tick - this.first) | 0);
    this.linked = true;
    this.batches = [];
  }

  /** After look(): connections and counters, into tables that have their services. They may be used then. */
  restore(): Restored {
    if (!this.linked && this.isTooLarge()) this.compact();
    this.linkTaken();
    const restored = this.into.finish();
    return { ...restored, refused: restored.refused + this.damaged };
  }

  private see({ kind, length, tick }: Format.BatchHead, payload: Buffer, fits: boolean): void {
    switch (kind) {
      case Format.KIND.text:
        this.text = payload.toString();
        return;
      case Format.KIND.complete:
        this.complete = true;
        return;
      case Format.KIND.tablesFirst:
        // What a server counted at the end is what counts, and every connection's server is known by then.
        this.tables = [];
        break;
      case Format.KIND.tables:
        break;
      case Format.KIND.connections:
        if (!fits) return;
        this.first ??= tick;
        if (!this.linked) this.batches.push({ at: this.at + Format.BATCH_HEAD_SIZE, length, tick });
        if (!this.into.take(payload, this.age(tick))) this.damaged++;
        return;
      default:
        // Of a version that knows more.
        return;
    }
    if (fits) this.tables.push({ payload: Buffer.from(payload), tick });
  }

  /** How many ticks ago it was. What is linked later is made earlier by as much as the last batch is later than the first. */
  private age(tick: number): number {
    return ((this.clock === "ours" ? this.into.tick : this.first!) - tick) | 0;
  }

  /** The table was larger than it is now: what is left of it moves together. */
  private compact(): void {
    const { into } = this;
    const most = Math.min(into.highest, NUMBERS);
    const each = (see: (entries: Buffer, tick: number) => void) => {
      for (const { at, length, tick } of this.batches) see(this.bytes(at, length), tick);
    };
    const alive = new Uint8Array(most);
    each((entries) =>
      walk(entries, (_, kind, index) => {
        if (index < most && kind !== Snapshot.TIMER) alive[index] = kind === Snapshot.CONNECTION ? 1 : 0;
      }),
    );
    const places = new Uint32Array(most).fill(END);
    let next = 0;
    for (let index = 0; index < most; index++) if (alive[index] === 1) places[index] = next++;
    const CONTROL = Snapshot.HEAD + CONTROL_AT;
    into.begin();
    this.damaged = 0;
    each((entries, tick) => {
      const kept: Buffer[] = [];
      walk(entries, (found, kind, index) => {
        if (kind < Snapshot.CONNECTION || kind > Snapshot.TIMER) return void kept.push(found);
        const place = index < most ? places[index]! : END;
        // Those beyond the table go to the core, too: it counts what does not fit.
        if (place === END) return;
        const entry = Buffer.from(found);
        entry.writeUInt32LE(place, Snapshot.INDEX);
        if (kind === Snapshot.CONNECTION) {
          const control = entry.readUInt32LE(CONTROL);
          const controller = control === 0 || control > most ? END : places[control - 1]!;
          entry.writeUInt32LE(controller === END ? 0 : controller + 1, CONTROL);
        }
        kept.push(entry);
      });
      if (!into.take(Buffer.concat(kept), this.age(tick))) this.damaged++;
    });
  }

  /** So many bytes of the file from a place on, or fewer where it ends: a view that lasts until the next call. */
  private bytes(from: number, length: number): Buffer {
    if (from < this.chunkAt || from + length > this.chunkAt + this.chunkLength) {
      const rest = fstatSync(this.fd).size - from;
      const wanted = Math.max(length, Math.min(CHUNK, rest));
      if (wanted > this.chunk.length) this.chunk = Buffer.allocUnsafe(wanted);
      this.chunkAt = from;
      this.chunkLength = this.read(this.chunk, from);
    }
    const at = from - this.chunkAt;
    return this.chunk.subarray(at, Math.min(at + length, this.chunkLength));
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
