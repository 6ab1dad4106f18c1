/** An address that the core answers for: its own ones and the virtual ones. Open-addressed set of 64-byte records. */
export const SIZE = 64;
/** 0 free, 4 or 6; 0x84 or 0x86 removed, but still the local address of connections; 0xff deleted. */
export const FAMILY = 0;
export const PREFIX = 1;
export const FLAGS = 2;
/** How many times the link is still to be told of it. */
export const ANNOUNCE = 3;
/** How many services hold it as their VIP. */
export const USERS = 4;
/** Port record that it lies on; 0 for any. */
export const PORT = 8;
/** Network order; IPv4 in the first four bytes. */
export const ADDRESS = 16;
/** Next address of our own on the same port. */
export const NEXT_LOCAL = 32;
/** Full NAT: how many connections it stands for the client of. */
export const LOCALS = 36;

/** Configured on a port, as `ip addr add` would. */
export const FLAG_OWN = 1;
/** VIP of a service. */
export const FLAG_VIRTUAL = 2;
/** Broadcast address of a subnet of ours. */
export const FLAG_BROADCAST = 4;
/** Bits of the filter of IPv4 addresses in the header (ADDRESS_FILTER). */
export const FILTER_BITS = 512;
export const RETIRED = 128;
export const DELETED = 255;
