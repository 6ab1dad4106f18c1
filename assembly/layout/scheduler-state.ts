/** What schedulers keep in service.SCHEDULER_STATE (ten words) and server.SCHEDULER_STATE (six words). */

/** rr, wrr: the server picked last; 0 is the head of the list. */
export const CURRENT = 0;
/** rr: the server just before it, in case it is removed. */
export const BEFORE = 4;
/** wrr: the weight a server needs in this pass, the highest one, and the step from pass to pass. */
export const PASS_WEIGHT = 4;
export const MAXIMUM = 8;
export const STEP = 12;

/** sh, dh, mh, maglev, lblc, lblcr: the table in the arena. */
export const TABLE = 0;
/** sh, dh, mh, maglev: 1 when servers changed since the table was filled; 2 when there is nobody to fill it with. */
export const DIRTY = 4;
/** lblc, lblcr: how many destinations are held; cells in chunks so far, free ones, and the chunks themselves. */
export const ENTRIES = 4;
export const CELLS = 8;
export const FREE_CELL = 12;
export const CHUNKS = 16;
/** lblc, lblcr: where the last partial collection ended, how many checks since the full one, when the next is due. */
export const ROVER = 20;
export const CHECKS = 24;
export const NEXT_CHECK = 28;
/** twos: how many numbers were drawn. */
export const DRAWS = 0;

/** Of a server: its latest weight that was not 0, whatever the scheduler is. */
export const LAST_WEIGHT = 0;
/** Of a server: a hash of its address and port. */
export const IDENTITY = 4;
/** mh, while the table is filled: where the server's permutation stands, its step, entries a turn. */
export const PLACE = 8;
export const SKIP = 12;
export const TURNS = 16;

/** sh and dh. */
export const HASH_BITS = 8;
export const HASH_SIZE = 256;
/** mh: a prime. */
export const MH_SIZE = 4093;
export const MH_BITS = 12;
/** maglev: a prime. */
export const MAGLEV_SIZE = 65537;

/** lblc and lblcr: buckets by destination address, and cells of 32 bytes that hold an entry or a member of its set. */
export const LOCALITY_BITS = 10;
export const LOCALITY_SIZE = 1024;
export const CELL_SIZE = 32;
export const CELL_NEXT = 0;
export const CELL_USED = 4;
/** lblc: the server, and its IDENTITY when it was stored. */
export const CELL_SERVER = 8;
export const CELL_IDENTITY = 12;
export const CELL_ADDRESS = 16;
/** lblcr: first member of the set, and when the set last changed. A member uses CELL_NEXT, _SERVER, _IDENTITY. */
export const CELL_MEMBERS = 8;
export const CELL_CHANGED = 12;
export const CHUNK_CELLS = 128;
export const CELLS_MAX = 65536;

/** Block of the arena: its size with this head, in bytes; when free, the next free one. The rest is the caller's. */
export const BLOCK_SIZE = 0;
export const BLOCK_NEXT = 4;
export const BLOCK_HEAD = 16;
/** First word of the arena once it is set up; bytes in use follow. */
export const ARENA_MAGIC = 0x616e6572;
export const ARENA_STATE = 0;
export const ARENA_USED = 4;
