/** ICMP (RFC 792) and ICMPv6 (RFC 4443). */
export const TYPE = 0;
export const CODE = 1;
export const CHECKSUM = 2;
export const REST = 4;
export const DATA = 8;
export const SIZE = 8;

export const ECHO_REPLY = 0;
export const UNREACHABLE = 3;
export const SOURCE_QUENCH = 4;
export const REDIRECT = 5;
export const ECHO = 8;
export const TIME_EXCEEDED = 11;
export const PARAMETER_PROBLEM = 12;
export const TIMESTAMP = 13;
export const TIMESTAMP_REPLY = 14;

export const NET_UNREACHABLE = 0;
export const HOST_UNREACHABLE = 1;
export const PROTOCOL_UNREACHABLE = 2;
export const PORT_UNREACHABLE = 3;
export const FRAGMENTATION_NEEDED = 4;

export const V6_UNREACHABLE = 1;
export const V6_TOO_BIG = 2;
export const V6_TIME_EXCEEDED = 3;
export const V6_PARAMETER_PROBLEM = 4;
export const V6_ECHO = 128;
export const V6_ECHO_REPLY = 129;
export const V6_ROUTER_SOLICITATION = 133;
export const V6_ROUTER_ADVERTISEMENT = 134;
export const V6_NEIGHBOUR_SOLICITATION = 135;
export const V6_NEIGHBOUR_ADVERTISEMENT = 136;
export const V6_REDIRECT = 137;
