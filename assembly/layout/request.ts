/** Arguments of control calls: the control instance's caller writes them here, then makes the call. Network order. */
export const SIZE = 4096;
export const FAMILY = 0;
export const PROTOCOL = 4;
export const PORT = 8;
export const MARK = 12;
export const ADDRESS = 16;
export const SCHEDULER = 32;
export const FLAGS = 36;
/** Seconds. */
export const TIMEOUT = 40;
export const NETMASK = 44;
export const PERSISTENCE_ENGINE = 48;
export const SERVER_FAMILY = 52;
export const SERVER_PORT = 56;
export const WEIGHT = 60;
export const SERVER_ADDRESS = 64;
export const FORWARDING = 80;
export const UPPER = 84;
export const LOWER = 88;
export const TUNNEL_TYPE = 92;
export const TUNNEL_PORT = 96;
export const TUNNEL_FLAGS = 100;
// Ports, addresses, routes, neighbours.
export const NUMBER = 104;
export const KIND = 108;
export const CAPABILITIES = 112;
export const MTU = 116;
export const MAC = 120;
export const PREFIX = 128;
export const METRIC = 132;
export const GATEWAY = 144;
export const SOURCE = 160;
/** Connection search: client address and port in ADDRESS and PORT, virtual in SERVER_*. */
export const LIMIT = 176;
/** Of a server that is removed or edited because it failed: layout/server FAILURE_*. */
export const FAILURE = 184;
/** Passive checks: layout/server. The window in ticks. */
export const REFUSED_LIMIT = 188;
export const UNANSWERED_LIMIT = 192;
export const WINDOW = 196;
