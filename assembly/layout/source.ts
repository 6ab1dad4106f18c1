/**
 * Where the clients of a limited service come from: an IPv4 address, or an IPv6 network of 64 bits. Four records make a
 * line; a source is in the line that its hash says, or nowhere.
 */
export const SIZE = 32;
export const WAYS = 4;
/** Keyed hash of service and address, u64, which stands for them; 0: free. */
export const KEY = 0;
export const CONNECTIONS = 8;
/** What is left of its rate (table/bucket). */
export const BUCKET = 12;
/** When it was last seen. */
export const SEEN = 20;
