/**
 * The memory map: one header at LAYOUT_BASE, then the regions, whose bases and capacities are words of the header,
 * written by the host once at start (capacities are chosen at run time).
 *
 * Portable: compiled by asc and by tsc. Untyped integer constants only.
 *
 * References between records are absolute u32 addresses in this memory; 0 means none. Addresses and L4 ports in the
 * tables are in network byte order, as in a packet. Times are u32 ticks of TICK_MS, compared by signed difference.
 */
export const LAYOUT_VERSION = 2;
export const LAYOUT_MAGIC = 0x73766c77;
export const TICK_MS = 4;
export const TICKS_PER_SECOND = 250;

/** Below lie the core's read-only data and its stack. */
export const LAYOUT_BASE = 65536;
export const HEADER_SIZE = 4096;

// Words of the header (offsets from LAYOUT_BASE).
export const MAGIC = 0;
export const VERSION = 4;
export const TOTAL = 8;
/** How many workers share this memory. */
export const WORKER_COUNT = 12;
/** Time of the breath, in ticks; the last one that run() was given. */
export const NOW = 16;
/** Milliseconds a worker may block when nothing arrives, as the timers want it. */
export const IDLE_MS = 20;
/** A random word of this process: seeds of hashes that an attacker must not know. */
export const SEED = 24;
/** Milliseconds since midnight UTC at the last run() (ICMP timestamp replies). */
export const DAY_MS = 28;
/** Counts every change of services, servers, routes, addresses, ports. */
export const GENERATION = 32;
/** Next IPv4 identification of packets that the director makes itself. */
export const NEXT_ID = 36;
export const PROFILE = 40;
/** Route packets that match nothing between ports (ip_forward). */
export const IP_FORWARD = 44;

// Regions: base address, and how many records.
export const PORTS_BASE = 64;
export const PORTS_CAPACITY = 68;
export const ADDRESSES_BASE = 72;
export const ADDRESSES_CAPACITY = 76;
export const ROUTES_BASE = 80;
export const ROUTES_CAPACITY = 84;
export const NEIGHBOURS_BASE = 88;
export const NEIGHBOURS_CAPACITY = 92;
export const SERVICES_BASE = 96;
export const SERVICES_CAPACITY = 100;
export const SERVERS_BASE = 104;
export const SERVERS_CAPACITY = 108;
/** Bytes that schedulers build their tables in. */
export const ARENA_BASE = 112;
export const ARENA_CAPACITY = 116;
export const FRAGMENTS_BASE = 120;
export const FRAGMENTS_CAPACITY = 124;
/** Hot halves of the connections. */
export const CONNECTIONS_BASE = 128;
export const CONNECTIONS_CAPACITY = 132;
/** Cold halves, same numbering. */
export const COLD_BASE = 136;
/** The index over both tuples: lines of 64 bytes. */
export const INDEX_BASE = 140;
export const INDEX_CAPACITY = 144;
/** IPv6 addresses and helper state of connections that need it. */
export const EXTENSIONS_BASE = 148;
export const EXTENSIONS_CAPACITY = 152;
export const WORKERS_BASE = 156;
export const WORKERS_CAPACITY = 160;
export const SLOTS_BASE = 164;
export const SLOTS_CAPACITY = 168;
export const REQUEST_BASE = 172;
export const REQUEST_CAPACITY = 176;
export const MARKS_BASE = 180;
export const MARKS_CAPACITY = 184;
export const COUNTERS_BASE = 188;
export const COUNTERS_CAPACITY = 192;
export const WHEEL_BASE = 196;
export const WHEEL_CAPACITY = 200;
/** Where the service hash (heads, u32 each) lies. */
export const SERVICE_HASH_BASE = 204;
export const SERVICE_HASH_CAPACITY = 208;
/** io_uring rings of the workers, page-aligned. */
export const RINGS_BASE = 212;
export const RINGS_CAPACITY = 216;
/** Full NAT: ports of local addresses (layout/local). */
export const LOCALS_BASE = 220;
export const LOCALS_CAPACITY = 224;

/** Entries of snapshots (layout/snapshot); and a bit for each connection that changed since it was last written. */
export const STATE_BASE = 496;
export const STATE_CAPACITY = 500;
export const CHANGED_BASE = 504;
export const CHANGED_CAPACITY = 508;

// Mutable words of the core, changed under the lock.
export const FREE_SLOT = 512;
export const FREE_SLOT_COUNT = 516;
export const FREE_CONNECTION = 520;
export const FREE_EXTENSION = 524;
export const FREE_SERVICE = 528;
export const FREE_SERVER = 532;
export const CONNECTION_COUNT = 536;
/** Connections never used yet start here: memory is touched only as the table fills. */
export const CONNECTION_HIGH = 540;
export const EXTENSION_HIGH = 544;
export const SERVICE_COUNT = 548;
export const SERVICES_HEAD = 552;
export const SERVICES_TAIL = 556;
export const MARK_SERVICE_COUNT = 560;
export const PORT_ZERO_COUNT = 564;
export const ROUTE_COUNT = 568;
export const ADDRESS_COUNT = 572;
export const NEIGHBOUR_COUNT = 576;
export const SERVER_HIGH = 580;
export const TRASH_HEAD = 584;
export const ESTIMATOR_NEXT = 588;
export const WHEEL_TICK = 592;
/** How many timers the wheel looked at the last time. */
export const WHEEL_LOOKED = 596;
export const NEIGHBOUR_TICK = 600;
export const FRAGMENT_COUNT = 604;
export const ARENA_FREE = 608;
export const NO_PORT_COUNT = 612;
export const MARK_COUNT = 616;
export const SERVER_FREE_HASH = 620;
export const WAITING = 624;
export const SEQUENCE = 628;
export const DROP_RATE_COUNT = 632;
export const NEXT_HOUSEKEEPING = 636;
export const EXTENSION_COUNT = 640;
export const TUNNEL_SERVER_COUNT = 644;
export const UNAVAILABLE_COUNT = 648;
export const EVICT_CURSOR = 652;

/** The core's lock: 0 free, else 1 + holder; and who waits. Each on a cache line of its own. */
export const LOCK = 1024;
export const LOCK_WAITERS = 1088;

/** Settings (net.ipv4.vs.* and timeouts), one u32 each, by the numbers of layout/setting.ts. */
export const SETTINGS = 1536;
/** Queue block (layout/worker) of the worker that is running; changes are made under the lock. */
export const CURRENT_QUEUE = 664;
/** How deep the control instance holds the lock. */
export const HOLD_DEPTH = 668;
/** Level that the wheel is at within WHEEL_TICK. */
export const WHEEL_LEVEL = 672;
/** How many services there are per family. With none, packets pass by the whole of IPVS, as the kernel's hooks go. */
export const ENABLED_4 = 676;
export const ENABLED_6 = 704;
/** Connections that are still to be looked at for servers that are gone (expire_nodest_conn). */
export const SWEEP = 708;
/** When removed servers are looked at next. */
export const TRASH_TICK = 712;
/** Whether an address is to be announced, and when (ticks). */
export const ANNOUNCING = 680;
export const ANNOUNCE_AT = 736;
export const FTP_SERVICE_COUNT = 684;
export const WHEEL_DUE = 688;
export const FREE_NEIGHBOUR = 692;
export const NEIGHBOUR_HIGH = 696;
/** Where an entry that may give way was last looked for. */
export const NEIGHBOUR_CURSOR = 744;
/** 64 bytes for a function while it runs; and the context of a packet inside an ICMP error (a slot descriptor). */
export const SCRATCH = 768;
export const EMBEDDED = 832;
/** 16 bytes that stay zero. */
export const ZERO = 992;
/** Free records of the fragments region, and the tick at which one of the others may run out. */
export const FREE_FRAGMENT = 756;
export const FRAGMENT_DUE = 760;
/** What the first pass over a breath's frames read. */
export const TOUCHED = 764;
export const NO_CLIENT_PORT_COUNT = 700;
/** Routes of KIND_LOCAL: only with some of them a destination is looked for among the routes before it is forwarded. */
export const LOCAL_ROUTE_COUNT = 716;
/** What the defence strategies are at, set once a second: every how manieth new connection is dropped, and so on. */
export const DROP_RATE = 720;
export const DROP_ENTRY_ON = 724;
export const SECURE_TCP_ON = 728;
export const DROP_CURSOR = 732;
/** Nine bytes: how many connections with so many packets are still spared. */
export const SPARED = 960;
/** Set once a service has had a persistence engine: only then servers' packets are looked at for one. */
export const ENGINES = 740;
/** Not 0: no frame takes the fast path. */
export const GENERAL_PATH_ONLY = 2944;
/** Not 0: an entry of the index came or went since the first pass over this breath's frames. */
export const INDEX_CHANGED = 2948;
/** A bit for each hash of an IPv4 address that the core answers for, or did: one cache line (table/address). */
export const ADDRESS_FILTER = 3008;
/** 64 bytes for a helper while it runs. */
export const HELPER = 2048;
/** Full NAT: records of layout/local that are free, or were never used; connections; why the last one was refused. */
export const FREE_LOCAL = 1152;
export const LOCAL_HIGH = 1156;
export const FULL_NAT_COUNT = 1160;
export const REFUSAL = 1164;
/** Passive checks: how many servers have become suspect so far. */
export const SUSPECTS = 2176;
/** 16 bytes: the server that local ports are looked for. A connection is pushed out while others use SCRATCH. */
export const LOCAL_SERVER = 1168;
/** Whether changes of connections are noted in CHANGED. */
export const NOTING = 2560;
/** Bytes of entries in the STATE region after a call that writes some. */
export const STATE_LENGTH = 2564;
/** Since a restoration began: connections that came back, and entries and connections that could not. */
export const RESTORED = 2568;
export const RESTORE_REFUSED = 2572;
/** 1 + the highest number of a connection among them. */
export const RESTORE_HIGHEST = 2576;
/** Tracing (layout/trace): its region; which traces there are, a bit each. */
export const TRACE_BASE = 2304;
export const TRACE_CAPACITY = 2308;
export const TRACE_ON = 2312;
/** The record of the frame under way while anything is traced, else 0. */
export const TRACE_FRAME = 2316;
/** Every how manieth new connection is told of, and counted; 0 for none. */
export const TRACE_SAMPLE = 2320;
/** SYN cookies: what the next key is made of, this key and the one before (16 bytes each), and when it changes. */
export const COOKIE_SECRET = 2688;
export const COOKIE_KEY = 2704;
export const COOKIE_KEY_BEFORE = 2720;
export const COOKIE_DUE = 2736;
export const COOKIE_EPOCH = 2740;
/** 48 bytes that are hashed. */
export const COOKIE_TEXT = 2752;
/** Timers that this breath may still look at. */
export const TIMERS_LEFT = 2800;
/** When the full table is searched again for a connection to spare, after a search in vain. */
export const EVICT_AFTER = 2804;
/** Where clients come from (layout/source). */
export const SOURCES_BASE = 240;
export const SOURCES_CAPACITY = 244;
/** Options of the TCP header that was read last (wire/tcp-options). */
export const TCP_OPTIONS = 2832;
/** Key and text (40 bytes) of the hash that sources are known by. */
export const SOURCE_KEY = 2864;
export const SOURCE_TEXT = 2880;
/** What is left of the rates of ICMP errors, four kinds of 8 bytes each (answer.ts), and of RST (table/bucket). */
export const ERROR_BUCKETS = 3200;
export const RESET_BUCKET = 3232;
/** Tests of what follows from a bug: what the worker of that number is to do in its next breath (layout/fault), once. */
export const FAULT = 3072;
export const FAULT_WORKER = 3076;
