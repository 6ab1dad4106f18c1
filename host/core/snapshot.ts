/** The tables as entries of layout/snapshot, out of a core's memory and into one, slice by slice. */
import * as Memory from "../../assembly/layout/memory.js";
import * as Snapshot from "../../assembly/layout/snapshot.js";
import type { Core } from "./instance.js";

/** Where a walk over a table that is at its end would go on. */
export const END = 0xffffffff;

/** The most that a slice may be. */
export const SLICE_MOST = Snapshot.BUFFER_SIZE;

export type Walk = "servers" | "services" | "addresses" | "neighbours" | "connections" | "changed";

/** What came back, and what did not fit or made no sense. */
export interface Restored {
  readonly connections: number;
  readonly refused: number;
}

export class Snapshots {
  private readonly core: Core;
  private readonly words: Uint32Array;
  private readonly buffer: Uint8Array;

  constructor(core: Core, memory: WebAssembly.Memory) {
    this.core = core;
    this.words = new Uint32Array(memory.buffer);
    this.buffer = new Uint8Array(memory.buffer, this.word(Memory.STATE_BASE), Snapshot.BUFFER_SIZE);
  }

  /** Changes of connections are noted from now on, or no longer. */
  note(on: boolean): void {
    this.core.noteChanges(on ? 1 : 0);
  }

  /** Writes the next slice into the buffer, and says where to go on. */
  slice(walk: Walk, from: number): number {
    const { core } = this;
    switch (walk) {
      case "servers":
        return core.snapshotServers(from) >>> 0;
      case "services":
        return core.snapshotServices(from) >>> 0;
      case "addresses":
        return core.snapshotAddresses(from) >>> 0;
      case "neighbours":
        return core.snapshotNeighbours(from) >>> 0;
      case "connections":
        return core.snapshotConnections(from) >>> 0;
      case "changed":
        return core.snapshotChanged(from) >>> 0;
    }
  }

  /** The same with the timers of connections that were seen after a tick. */
  timers(from: number, since: number): number {
    return this.core.snapshotTimers(from, since) >>> 0;
  }

  /** What the last slice wrote: a view that the next one writes over. */
  get written(): Uint8Array {
    return this.buffer.subarray(0, this.word(Memory.STATE_LENGTH));
  }

  /** The time that the entries' times are counted from, in ticks. */
  get tick(): number {
    return this.word(Memory.NOW);
  }

  /** Records of connections that were ever in use. */
  get high(): number {
    return this.word(Memory.CONNECTION_HIGH);
  }

  get capacity(): number {
    return this.word(Memory.CONNECTIONS_CAPACITY);
  }

  /** Counts every change of services, servers and what belongs to them. */
  get generation(): number {
    return this.word(Memory.GENERATION);
  }

  /** Forgets what an earlier restoration knew. */
  begin(): void {
    this.core.restoreBegin();
  }

  /** Takes entries that were written so many ticks before the last ones. False: they are none. */
  take(entries: Uint8Array, age: number): boolean {
    this.buffer.set(entries);
    return this.core.restoreEntries(entries.length, age) === 0;
  }

  /** 1 + the highest number of a connection that was among them, whether it fits here or not. */
  get highest(): number {
    return this.word(Memory.RESTORE_HIGHEST);
  }

  /** The core's time is at least this: ticks of a clock that runs while no worker breathes. */
  advance(tick: number): void {
    this.core.restoreTime(tick);
  }

  /**
   * Links what has been taken and is sound, with the times `late` ticks earlier; the servers have been taken, too. More
   * may be taken afterwards, and linked.
   */
  link(late: number): void {
    for (let from = 0; from !== END; ) from = this.core.restoreLink(from, late) >>> 0;
  }

  /** All entries have been taken and linked: the tables may be used. */
  finish(): Restored {
    for (let from = 0; from !== END; ) from = this.core.restoreFinish(from) >>> 0;
    return { connections: this.word(Memory.RESTORED), refused: this.word(Memory.RESTORE_REFUSED) };
  }

  private word(at: number): number {
    return this.words[(Memory.LAYOUT_BASE + at) >>> 2]!;
  }
}
