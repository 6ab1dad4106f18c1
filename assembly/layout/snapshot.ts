/**
 * What the tables are written as when they are to outlive their memory: entries, one after the other, in the STATE
 * region. They hold no address of the memory they come from: a reference is 1 + the record's number, 0 is none; a time
 * is in ticks from the time of the entries.
 *
 *   0      4        8       12      16
 *   +------+--------+-------+-------+------------------+
 *   | kind | length | index | extra | the record's copy |
 *   +------+--------+-------+-------+------------------+
 *
 * LENGTH counts the head, too, and is a multiple of 8.
 */
export const HEAD = 16;
export const KIND = 0;
export const LENGTH = 4;
/** Number of the record in its table. */
export const INDEX = 8;
export const EXTRA = 12;

/** A server record, removed ones too. EXTRA: 1 + number of its service. */
export const SERVER = 1;
/** A service record, after the servers that its scheduler refers to. */
export const SERVICE = 2;
/** An address that stands for clients of full NAT, or may. */
export const ADDRESS = 3;
/** A connection: the hot half, the cold half, EXTRA extensions. */
export const CONNECTION = 4;
/** The connection of this number has ended. */
export const GONE = 5;
/** The connection of this number ends in EXTRA ticks, unless seen again. */
export const TIMER = 6;
/** Counters and rates of the whole. */
export const TOTALS = 7;
/** A neighbour whose MAC is known, EXTRA: number of its port. Nothing but MAC, address and family is told of it. */
export const NEIGHBOUR = 8;
/** What SYN cookies are made with and known by: secret, key, the key before, ticks until the next one, epoch. */
export const COOKIES = 9;
export const COOKIES_SIZE = 56;

/** The largest entry: a connection with as many extensions as a persistence engine's data take. */
export const EXTENSIONS_MOST = 4;
export const CONNECTION_MOST = 608;

/** STATE region: entries, then two maps from numbers in a snapshot to records here: servers, addresses. */
export const BUFFER_SIZE = 131072;
export const SERVER_MAP = 131072;
export const SERVER_MAP_ENTRIES = 16384;
export const ADDRESS_MAP = 196608;
export const ADDRESS_MAP_ENTRIES = 4096;
/** Room for a persistence engine's data while they are put together. */
export const DATA = 212992;
export const DATA_SIZE = 512;
export const SIZE = 213504;
