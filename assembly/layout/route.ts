/** A route, 64 bytes; the region is an array ordered by family, then longest prefix first. */
export const SIZE = 64;
export const FAMILY = 0;
export const PREFIX = 1;
/** 0 unicast through PORT, 1 local, 2 unreachable. */
export const KIND = 2;
export const PORT = 4;
export const METRIC = 8;
export const MTU = 12;
export const DESTINATION = 16;
/** All zero: on link. */
export const GATEWAY = 32;
/** Preferred source; all zero: the port's first. */
export const SOURCE = 48;
