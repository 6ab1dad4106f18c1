/** A virtual service, 256 bytes. */
export const SIZE = 256;
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
/** Reserved for limits and the SYN proxy. */
export const LIMIT = 232;

// FLAGS, with the kernel's numbers (IP_VS_SVC_F_*).
export const FLAG_PERSISTENT = 1;
export const FLAG_HASHED = 2;
export const FLAG_ONE_PACKET = 4;
export const FLAG_SCHEDULER_1 = 8;
export const FLAG_SCHEDULER_2 = 16;
export const FLAG_SCHEDULER_3 = 32;
