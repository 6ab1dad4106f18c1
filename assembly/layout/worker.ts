/**
 * A worker's queues, 32 KiB: lists that host and core pass to each other inside one breath (same thread, never at
 * once). SUPPLY holds empty slots to receive into; RECEIVED what arrived; SEND what is to go out. Entries are slot
 * addresses (u32); length and port are in the slot.
 */
export const SIZE = 32768;
export const ENTRIES = 4096;
/** How many empty slots the core keeps in SUPPLY for the host. */
export const SUPPLY_TARGET = 256;
export const SUPPLY_COUNT = 0;
export const RECEIVED_COUNT = 4;
export const SEND_COUNT = 8;
/** How many of RECEIVED the core is done with, or at: after a trap, the slots behind it are still the host's. */
export const DONE = 12;
export const STATE = 64;
/** Milliseconds since 1970 of the breath (f64): told by the host while something is traced. */
export const CLOCK = 72;
export const SUPPLY = 128;
/** 1024 entries. */
export const RECEIVED = 4224;
/** 4096 entries; the core stops processing a breath's frames when fewer than 512 places are left. */
export const SEND = 8320;
export const SEND_LIMIT = 4096;

/**
 * What a worker counts, u64 each: its thread alone writes them, anybody reads them. The core's: breaths, what they took
 * in and sent.
 */
export const BREATHS = 24704;
export const FRAMES_IN = 24712;
export const BYTES_IN = 24720;
export const FRAMES_OUT = 24728;
/** How many breaths took in 0, 1, 2 to 3, 4 to 7 ... frames. */
export const FRAMES_BUCKETS = 24768;
export const FRAMES_BUCKET_COUNT = 12;
/** The host's: microseconds that breaths took, waiting left out; and how many took less than 1, 2, 4 ... of them. */
export const BUSY = 24896;
export const DURATION_BUCKETS = 24960;
/**
 * First pass over RECEIVED: the line of the index that each one's hash leads to, then the reference that fits there
 * first, which mostly is the packet's connection; 0 for none.
 */
export const FOUND = 26624;
/** The last is for all that took longer. */
export const DURATION_BUCKET_COUNT = 24;

export const STATE_PARKED = 0;
export const STATE_RUNNING = 1;
