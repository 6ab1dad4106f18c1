/**
 * The state file: a head, then batches, each with its checksum. A snapshot ends with a batch COMPLETE; what follows is
 * what changed since, and may end anywhere (docs/state.md). Little-endian.
 */
import { crc32 } from "node:zlib";
import * as Connection from "../../assembly/layout/connection.js";
import { LAYOUT_VERSION } from "../../assembly/layout/memory.js";
import * as Server from "../../assembly/layout/server.js";
import * as Service from "../../assembly/layout/service.js";

export const FORMAT_VERSION = 1;

const MAGIC = Buffer.from("WLVSTATE", "latin1");
export const HEAD_SIZE = 64;
export const BATCH_HEAD_SIZE = 32;
const BATCH_MAGIC = 0x48435442;
/** The largest batch: no state file has more text than that about services. */
export const BATCH_MOST = 64 << 20;

/** What a batch holds. */
export const KIND = {
  /** Entries of connections. */
  connections: 1,
  /** Entries of servers, services, addresses and totals: all of them, in one batch or several that follow each other. */
  tables: 2,
  /** The first batch of tables: those before it do not count any more. */
  tablesFirst: 3,
  /** Text: what the host knows (JSON). */
  text: 4,
  /** The snapshot is whole. */
  complete: 5,
} as const;

export interface BatchHead {
  readonly kind: number;
  readonly length: number;
  readonly sequence: number;
  /** Time of the tables, in ticks of the director that wrote them. */
  readonly tick: number;
  /** Milliseconds since 1970. */
  readonly wall: number;
  readonly crc: number;
}

/** The sizes of the records that are copied as they are: another build may have others. */
const RECORDS = [
  LAYOUT_VERSION,
  Connection.SIZE,
  Connection.COLD_SIZE,
  Connection.EXTENSION_SIZE,
  Server.SIZE,
  Service.SIZE,
] as const;

export function encodeHead(wall: number): Buffer {
  const head = Buffer.alloc(HEAD_SIZE);
  MAGIC.copy(head);
  head.writeUInt32LE(FORMAT_VERSION, 8);
  head.writeUInt32LE(HEAD_SIZE, 12);
  for (const [at, size] of RECORDS.entries()) head.writeUInt32LE(size, 16 + 4 * at);
  head.writeDoubleLE(wall, 48);
  head.writeUInt32LE(crc32(head.subarray(0, HEAD_SIZE - 4)), HEAD_SIZE - 4);
  return head;
}

/** Whether the file's records fit this build; a string says why the file is none of ours. */
export function decodeHead(head: Buffer): { readonly fits: boolean; readonly layout: number } | string {
  if (head.length < HEAD_SIZE) return "it is cut off";
  if (!head.subarray(0, 8).equals(MAGIC)) return "it is no state file";
  if (head.readUInt32LE(8) !== FORMAT_VERSION) {
    return `it has format ${head.readUInt32LE(8)}, this is for format ${FORMAT_VERSION}`;
  }
  if (head.readUInt32LE(HEAD_SIZE - 4) !== crc32(head.subarray(0, HEAD_SIZE - 4))) return "its head is damaged";
  const fits = RECORDS.every((size, at) => head.readUInt32LE(16 + 4 * at) === size);
  return { fits, layout: head.readUInt32LE(16) };
}

/** A batch that has no number and no checksum yet: they depend on the file that it goes to. */
export function encodeBatch(kind: number, tick: number, wall: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const batch = Buffer.allocUnsafe(BATCH_HEAD_SIZE + payload.length);
  batch.writeUInt32LE(BATCH_MAGIC, 0);
  batch.writeUInt32LE(kind, 4);
  batch.writeUInt32LE(payload.length, 8);
  batch.writeUInt32LE(tick, 16);
  batch.writeDoubleLE(wall, 20);
  batch.set(payload, BATCH_HEAD_SIZE);
  return batch;
}

/** The same batch, as the one of this number in its file. */
export function number(batch: Buffer, sequence: number): void {
  batch.writeUInt32LE(sequence, 12);
  batch.writeUInt32LE(crc32(batch.subarray(BATCH_HEAD_SIZE), crc32(batch.subarray(0, 28))), 28);
}

/** The head of a batch, or undefined when it is none. */
export function decodeBatchHead(head: Buffer): BatchHead | undefined {
  if (head.length < BATCH_HEAD_SIZE || head.readUInt32LE(0) !== BATCH_MAGIC) return undefined;
  return {
    kind: head.readUInt32LE(4),
    length: head.readUInt32LE(8),
    sequence: head.readUInt32LE(12),
    tick: head.readUInt32LE(16),
    wall: head.readDoubleLE(20),
    crc: head.readUInt32LE(28),
  };
}

/** Whether head and payload are as they were written. */
export function isWhole(head: Buffer, payload: Buffer): boolean {
  return crc32(payload, crc32(head.subarray(0, 28))) === head.readUInt32LE(28);
}
