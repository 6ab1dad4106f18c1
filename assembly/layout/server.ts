/** A real server of one virtual service, 320 bytes. */
export const SIZE = 320;
/** 0 free, 1 in its service's list, 2 removed but still held by connections. */
export const STATE = 0;
export const FAMILY = 1;
export const TUNNEL_TYPE = 2;
export const TUNNEL_FLAGS = 3;
/** layout/forwarding.ts */
export const FORWARDING = 4;
/** i32; 0 quiesced. */
export const WEIGHT = 8;
/** Network order. */
export const PORT = 12;
export const TUNNEL_PORT = 14;
export const ADDRESS = 16;
export const NEXT = 32;
export const PREVIOUS = 36;
export const SERVICE = 40;
export const ACTIVE = 44;
export const INACTIVE = 48;
export const PERSISTENT = 52;
export const UPPER = 56;
export const LOWER = 60;
export const FLAGS = 64;
/** Connections and templates that point here. */
export const REFERENCES = 68;
/** Virtual address, port, protocol, mark of the service it was added to: how a removed one is found again. */
export const VIRTUAL_ADDRESS = 72;
export const VIRTUAL_PORT = 88;
export const PROTOCOL = 90;
export const VIRTUAL_MARK = 92;
export const STATS = 96;
export const RATES = 136;
/** Six words that belong to the scheduler. */
export const SCHEDULER_STATE = 216;
/** Since when its weight is 0 (ticks); meaningful while WEIGHT is 0. */
export const QUIESCED_SINCE = 240;
/** Path MTU towards it as ICMP errors taught (tunnels), and when it runs out. */
export const PATH_MTU = 244;
export const PATH_MTU_UNTIL = 248;
/** Service family when it differs (IPv6 tunnel server of an IPv4 service). */
export const SERVICE_FAMILY = 252;
/** Which method last looked up the route to it: see forward.ts. */
export const ROUTE_MODE = 253;

/** MTU of the way as it was when a packet last went through the tunnel. */
export const ROUTE_MTU = 254;

/** The way to it (a route record, or WAY_LOCAL), good while the memory header's GENERATION is this. */
export const WAY = 256;
export const WAY_GENERATION = 260;
export const WAY_LOCAL = 1;

/**
 * What its clients met, for whoever looks (u64 each): connections that it refused, and those that it left without an
 * answer until the client asked again or gave up. Only answers that pass by here tell: NAT and full NAT.
 */
export const REFUSED = 272;
export const UNANSWERED = 280;
/** Passive checks: how many of each within a window (ticks) make it suspect; 0: any number may be. */
export const WINDOW = 288;
/** When the window began, and what was seen in it. */
export const WINDOW_SINCE = 292;
export const REFUSED_LIMIT = 296;
export const UNANSWERED_LIMIT = 298;
export const REFUSED_SEEN = 300;
export const UNANSWERED_SEEN = 302;
/** It failed, and this is to become of its connections: FAILURE_*. */
export const FAILURE = 304;

/** As the settings have it (expire_nodest_conn, reschedule). */
export const FAILURE_NONE = 0;
/** They go on, though the server may be gone from its service. */
export const FAILURE_KEEP = 1;
/** Clients are told that they are over. */
export const FAILURE_RESET = 2;
/** Those that were not established yet are scheduled anew, the others go on. */
export const FAILURE_RESCHEDULE = 3;

export const ROUTE_NONE = 0;
export const ROUTE_PLAIN = 1;
export const ROUTE_DIRECT = 2;

export const STATE_FREE = 0;
export const STATE_LIVE = 1;
export const STATE_REMOVED = 2;

export const FLAG_AVAILABLE = 1;
export const FLAG_OVERLOAD = 2;
/** Its clients met too many failures (passive checks): no new connections until somebody has changed it. */
export const FLAG_SUSPECT = 4;
