/** A neighbour (ARP, NDP), 64 bytes, hashed by port and address. */
export const SIZE = 64;
export const STATE = 0;
export const FAMILY = 1;
export const PROBES = 2;
export const WAITING = 3;
export const PORT = 4;
export const MAC = 8;
/** When the state was entered, when it is to be looked at again, when last used (ticks). */
export const SINCE = 16;
export const NEXT_PROBE = 20;
export const USED = 24;
export const QUEUE_HEAD = 28;
export const QUEUE_TAIL = 32;
export const CONFIRMED = 36;
export const ADDRESS = 40;

export const STATE_FREE = 0;
export const STATE_INCOMPLETE = 1;
export const STATE_REACHABLE = 2;
export const STATE_STALE = 3;
export const STATE_DELAY = 4;
export const STATE_PROBE = 5;
export const STATE_FAILED = 6;
export const STATE_PERMANENT = 7;
export const STATE_DELETED = 8;
/** Head of the hash bucket with this record's number, and the next record of the bucket that this record is in. */
export const BUCKET = 56;
export const NEXT = 60;
