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
export const SUPPLY = 128;
/** 1024 entries. */
export const RECEIVED = 4224;
/** 4096 entries; the core stops processing a breath's frames when fewer than 512 places are left. */
export const SEND = 8320;
export const SEND_LIMIT = 4096;

export const STATE_PARKED = 0;
export const STATE_RUNNING = 1;
