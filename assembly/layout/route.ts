/** A route, 64 bytes; the region is an array ordered by family, then longest prefix first. */
export const SIZE = 64;
export const FAMILY = 0;
export const PREFIX = 1;
/** KIND_* below. */
export const KIND = 2;
export const PORT = 4;
export const METRIC = 8;
export const MTU = 12;
/** Of a local route: the mark that a packet must have, 0 for any. */
export const MARK = 12;
export const DESTINATION = 16;
/** All zero: on link. */
export const GATEWAY = 32;
/** Preferred source; all zero: the port's first. */
export const SOURCE = 48;

/** Through PORT. */
export const KIND_UNICAST = 0;
/** For the director itself: how a mark service takes whole networks. */
export const KIND_LOCAL = 1;
export const KIND_UNREACHABLE = 2;
