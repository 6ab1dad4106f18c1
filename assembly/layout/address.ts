/** An address that the core answers for: its own ones and the virtual ones. Open-addressed set of 32-byte records. */
export const SIZE = 32;
/** 0 free, 4 or 6; 0xff deleted. */
export const FAMILY = 0;
export const PREFIX = 1;
export const FLAGS = 2;
/** How many services hold it as their VIP. */
export const USERS = 4;
/** Port record that it lies on; 0 for any. */
export const PORT = 8;
/** Network order; IPv4 in the first four bytes. */
export const ADDRESS = 16;

/** Configured on a port, as `ip addr add` would. */
export const FLAG_OWN = 1;
/** VIP of a service. */
export const FLAG_VIRTUAL = 2;
/** Broadcast address of a subnet of ours. */
export const FLAG_BROADCAST = 4;
export const DELETED = 255;
