/** Why a frame was dropped. Keys in lower case with dashes are the names in metrics. */
export const NONE = 0;
export const FRAME_TRUNCATED = 1;
export const FRAME_OVERSIZED = 2;
export const VNET_HEADER_BAD = 3;
export const NOT_FOR_US = 4;
export const UNKNOWN_ETHERTYPE = 5;
export const ARP_MALFORMED = 6;
export const IP_MALFORMED = 7;
export const IP_CHECKSUM = 8;
export const IP_OPTIONS = 9;
export const SOURCE_INVALID = 10;
export const DESTINATION_INVALID = 11;
export const TRANSPORT_TRUNCATED = 12;
export const TRANSPORT_CHECKSUM = 13;
export const ICMP_MALFORMED = 14;
export const ICMP_UNRELATED = 15;
export const FRAGMENT_BAD = 16;
export const FRAGMENT_TIMEOUT = 17;
export const FRAGMENT_LIMIT = 18;
export const TTL_EXPIRED = 19;
export const NO_ROUTE = 20;
export const NOT_FORWARDING = 21;
export const MTU_EXCEEDED = 22;
export const NO_SERVER = 23;
export const SERVER_UNAVAILABLE = 24;
export const SERVICE_REJECTED = 25;
export const TABLE_FULL = 26;
export const NEIGHBOUR_FAILED = 27;
export const NEIGHBOUR_QUEUE_FULL = 28;
export const SLOTS_EXHAUSTED = 29;
export const PORT_DOWN = 30;
export const LOCAL_UNANSWERED = 31;
export const DROP_SETTING = 32;
export const TUNNEL_UNSUPPORTED = 33;
export const EXTENSION_HEADER = 34;
export const RATE_LIMITED = 35;
export const BROADCAST = 36;
export const STATE_INVALID = 37;
export const NDP_MALFORMED = 38;
/** Full NAT: no port of a local address is free towards the server; no local address at all. */
export const LOCAL_PORTS_EXHAUSTED = 39;
export const LOCAL_ADDRESS_MISSING = 40;
/** A persistence engine did not find in a packet what it goes by (SIP: a Call-ID). */
export const PERSISTENCE_DATA = 41;
/** Limits: of one source, of the service's connections, of its new connections a second. */
export const SOURCE_LIMIT = 48;
export const SERVICE_LIMIT = 49;
export const RATE_LIMIT = 50;
/** The client sends although its window is shut, because its server has not answered yet. */
export const SYN_PROXY_WAITING = 51;
/** A segment that a connection of the SYN proxy cannot have from its server. */
export const SYN_PROXY_STATE = 52;
export const COUNT = 64;
