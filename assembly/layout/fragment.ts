/**
 * A packet that is being put together from its fragments: 64 bytes here, the bytes themselves in a slot.
 *
 *   slot: 0            704                           67744       67776      68800     69824
 *   +------------+----+-----------------------------+-----------+----------+---------+
 *   | descriptor | <- | what was fragmented, 65535  | addresses | received | starts  |
 *   +------------+----+-----------------------------+-----------+----------+---------+
 *            L2 and IP header of the first fragment
 *
 * The two maps have a bit for every 8 bytes: whether they came, and whether a fragment began there.
 */
export const SIZE = 64;
/** First record of the chain of hash i, in record i: it belongs to the place. */
export const BUCKET = 0;
/** Next record of its chain, or next free one. */
export const NEXT = 4;
/** Slot that holds the bytes; 0 when the record is free. */
export const SLOT = 8;
/** When its first fragment came (ticks). */
export const BEGAN = 12;
/** Hash of the whole key, and of the source address alone. */
export const HASH = 16;
export const SOURCE_HASH = 20;
/** Identification as it lies in the packet: 16 bits of IPv4, 32 of IPv6. */
export const ID = 24;
export const FAMILY = 28;
export const PROTOCOL = 29;
/** One bit for each ECN codepoint seen. */
export const ECN = 30;
export const FLAGS = 31;
/** How long the whole is, as far as known, and how many bytes of it are here. */
export const LENGTH = 32;
export const RECEIVED = 36;
/** Largest fragment, largest one with DF (packet length). */
export const LARGEST = 40;
export const LARGEST_DF = 44;
/** Bytes after the header in the fragment with offset 0, and bytes of its header. */
export const FIRST_LENGTH = 48;
export const HEADER_LENGTH = 52;

// FLAGS
export const FIRST_IN = 1;
export const LAST_IN = 2;

// Places in the slot.
export const DATA = 704;
export const ADDRESSES = 67744;
export const RECEIVED_MAP = 67776;
export const START_MAP = 68800;
export const MAP_SIZE = 1024;
/** The longest header that fits before DATA, room for tunnels kept. */
export const HEADER_MAX = 232;

/** Seconds until an unfinished packet is given up. */
export const SECONDS_4 = 30;
export const SECONDS_6 = 60;
/** Unfinished packets that one source address may have. */
export const SOURCE_MAX = 64;
