/**
 * A worker's io_uring, inside the memory: the kernel writes and reads the rings here, the core posts and reaps, and the
 * host makes the one system call. One block a worker in the rings region.
 *
 *   0         65536             200704      266240     282624   286720    319488    323584
 *   +---------+-----------------+-----------+----------+--------+---------+---------+
 *   | entries | completion ring | buffer    | slots in | slots  | iovecs  | state   |
 *   | (SQE)   | and head, tail  | rings     | them     | posted |         |         |
 *   +---------+-----------------+-----------+----------+--------+---------+---------+
 */
export const SUBMISSIONS = 1024;
/** More than all buffers and all submissions together: completions never overflow. */
export const COMPLETIONS = 8192;
/** Queues that a worker reads, at most: as many as there are ports. */
export const QUEUES = 16;
/** Places of a queue's buffer ring; how many of them are filled is the queue's LIMIT. */
export const BUFFERS = 256;

/** 64 bytes each. */
export const ENTRIES = 0;
export const RINGS = 65536;
export const RINGS_SIZE = 135168;
/** 16 bytes each, QUEUES times BUFFERS. */
export const BUFFER_RINGS = 200704;
/** Slot that lies in that place of the buffer ring, or 0 (u32). */
export const PROVIDED = 266240;
/** Slot that a submission sends, or 0 (u32). */
export const POSTED = 282624;
/** Two struct iovec a submission. */
export const VECTORS = 286720;
export const STATE = 319488;
export const SIZE = 323584;

// Words of the state. Written by the host when it has made the ring: addresses in this memory of the ring's words.
export const SUBMIT_HEAD = 0;
export const SUBMIT_TAIL = 4;
export const SUBMIT_FLAGS = 8;
export const COMPLETE_HEAD = 12;
export const COMPLETE_TAIL = 16;
export const COMPLETE_BASE = 20;
export const COMPLETE_MASK = 24;
export const QUEUE_COUNT = 28;
/** Where this memory begins in the process's: u64. */
export const MEMORY = 32;
/** Place in the ring's table of descriptors. */
export const EVENT_DESCRIPTOR = 40;

// Words of the core.
/** Submissions before this one are finished. */
export const FREED = 64;
/** Operations that the kernel holds: armed reads, the eventfd's poll, a cancellation. */
export const IN_FLIGHT = 68;
export const EVENT_ARMED = 72;
export const CLOSING = 76;
/** Milliseconds that the worker may block. */
export const WAIT_MS = 80;
/** Queue that is refilled first. */
export const FIRST = 84;
/** Completions that make no sense. */
export const ODD = 88;
/** Slots that lie in the buffer rings. */
export const HELD = 92;

/** What io_uring_enter is given with IORING_ENTER_EXT_ARG: the argument (24 bytes), and its timespec. */
export const ARGUMENT = 128;
export const TIMESPEC = 160;

/** By the number of a port's record: what its frames are written to, -1 for none (i32). Places in the ring's table. */
export const OUTPUTS = 192;

/** Queues: 64 bytes each. */
export const QUEUE = 1024;
export const QUEUE_SIZE = 64;
export const QUEUE_DESCRIPTOR = 0;
export const QUEUE_PORT = 4;
export const QUEUE_FRAME_AT = 8;
/** Most slots that lie in its buffer ring. */
export const QUEUE_LIMIT = 12;
/** u16 in a u32: the ring's tail. */
export const QUEUE_TAIL = 16;
export const QUEUE_HELD = 20;
export const QUEUE_ARMED = 24;
/** Not armed again before this tick. */
export const QUEUE_RETRY = 28;
/** errno that ended its reads, until it works again. */
export const QUEUE_FAILED = 32;
export const QUEUE_ARMED_AT = 36;
/** Average length of its frames, times 16. */
export const QUEUE_LENGTH = 40;

// What runUring() returns: how many submissions the system call is to take, and these.
export const SUBMIT_MASK = 0xffff;
/** There is more to do: do not block. */
export const BUSY = 0x10000;
/** A queue's FAILED changed. */
export const CHANGED = 0x20000;

// The kernel's ABI (include/uapi/linux/io_uring.h).
export const ENTRY_SIZE = 64;
export const ENTRY_OPCODE = 0;
export const ENTRY_FLAGS = 1;
export const ENTRY_DESCRIPTOR = 4;
export const ENTRY_OFFSET = 8;
export const ENTRY_ADDRESS = 16;
export const ENTRY_LENGTH = 24;
/** rw_flags, poll32_events or cancel_flags. */
export const ENTRY_OPERATION_FLAGS = 28;
export const ENTRY_USER_DATA = 32;
export const ENTRY_GROUP = 40;

export const WRITEV = 2;
export const POLL_ADD = 6;
export const ASYNC_CANCEL = 14;
export const WRITE = 23;
export const READ_MULTISHOT = 49;
/** DESCRIPTOR is an index into the ring's own table. */
export const FIXED_FILE = 1;
export const BUFFER_SELECT = 0x20;
export const SKIP_SUCCESS = 0x40;
export const RWF_NOWAIT = 8;
export const POLL_MULTI = 1;
export const POLLIN = 1;
export const CANCEL_ALL = 1;
export const CANCEL_ANY = 4;

export const COMPLETION_SIZE = 16;
export const COMPLETION_RESULT = 8;
export const COMPLETION_FLAGS = 12;
export const HAS_BUFFER = 1;
export const MORE = 2;

export const BUFFER_SIZE = 16;
export const BUFFER_LENGTH = 8;
export const BUFFER_ID = 12;
/** The ring's tail, in its first place. */
export const BUFFER_RING_TAIL = 14;

/** Bits of SUBMIT_FLAGS. */
export const COMPLETIONS_OVERFLOW = 2;
export const TASKRUN = 4;

// user_data: what it was, in the upper half of a word, and the number of its queue or port record.
export const KIND_READ = 1;
export const KIND_WRITE = 2;
export const KIND_EVENT = 3;
export const KIND_CANCEL = 4;
