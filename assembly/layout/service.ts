/** A virtual service, 320 bytes. */
export const SIZE = 320;
export const STATE = 0;
export const FAMILY = 1;
/** IP protocol number; 0 for a firewall mark. */
export const PROTOCOL = 2;
export const SCHEDULER = 3;
export const FLAGS = 4;
/** Network order. */
export const PORT = 8;
export const PERSISTENCE_ENGINE = 10;
export const MARK = 12;
export const ADDRESS = 16;
/** Persistence timeout, ticks. */
export const TIMEOUT = 32;
/** Persistence granularity: IPv4 netmask in network order; IPv6 prefix length. */
export const NETMASK = 36;
/** Real servers in the order they were added. */
export const SERVERS_HEAD = 40;
export const SERVERS_TAIL = 44;
export const SERVER_COUNT = 48;
export const HASH_NEXT = 52;
/** Ten words that belong to the scheduler. */
export const SCHEDULER_STATE = 56;
/** CONNECTIONS, IN_PACKETS, OUT_PACKETS, IN_BYTES, OUT_BYTES: u64 each (layout/stats.ts). */
export const STATS = 96;
export const RATES = 136;
/** Order of adding. */
export const SEQUENCE = 216;
export const NEXT = 220;
export const PREVIOUS = 224;
/** Sum of the weights of the real servers. */
export const WEIGHT_SUM = 228;
/** SYN proxy: what is wanted (PROXY_*), whether it is at work, how many servers cannot have it. u8 each. */
export const PROXY_MODE = 232;
export const PROXY_ON = 233;
/** What its servers have been seen to lack (bits of layout/handshake), and seconds without a flood. u8 each. */
export const PROXY_LACKS = 234;
export const PROXY_CALM = 235;
/** Smallest MSS that its servers have named, 0 before the first (u16). */
export const PROXY_MSS = 236;
/** Servers whose answers are not seen here (u16). */
export const PROXY_UNFIT = 238;
/** Half-open connections; SYN that came and handshakes that were completed in this second; switches on and off. */
export const EMBRYONIC = 240;
export const SYNS = 244;
export const HANDSHAKES = 248;
export const PROXY_SWITCHES = 252;
/** Limits, 0 for none: connections, new ones a second; the same for one source. */
export const LIMIT_CONNECTIONS = 256;
export const LIMIT_RATE = 260;
export const SOURCE_CONNECTIONS = 264;
export const SOURCE_RATE = 268;
/** What is left of LIMIT_RATE (table/bucket). */
export const RATE_BUCKET = 272;
/** How many new connections each limit has refused. */
export const REFUSED_CONNECTIONS = 280;
export const REFUSED_RATE = 284;
export const REFUSED_SOURCE = 288;

// PROXY_MODE: what the service asks for, or what the setting says. As a setting: the number less one.
export const PROXY_DEFAULT = 0;
export const PROXY_OFF = 1;
export const PROXY_ALWAYS = 2;
export const PROXY_AUTO = 3;

// FLAGS, with the kernel's numbers (IP_VS_SVC_F_*).
export const FLAG_PERSISTENT = 1;
export const FLAG_HASHED = 2;
export const FLAG_ONE_PACKET = 4;
export const FLAG_SCHEDULER_1 = 8;
export const FLAG_SCHEDULER_2 = 16;
export const FLAG_SCHEDULER_3 = 32;
