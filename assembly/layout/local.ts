/**
 * Full NAT: which ports of a local address stand for clients at one server. 64 bytes, and a bit for each port, so that
 * a free one is found at once even when hardly any is left. Hashed by all that makes the tuple but the port.
 */
export const SIZE = 8256;
/** Next of its chain, or next free one. */
export const NEXT = 0;
/** First record of the chain of hash i, in record i: it belongs to the place. */
export const BUCKET = 4;
/** How many ports are taken; the record is given back with the last of them. */
export const COUNT = 8;
/** The local address (layout/address record). */
export const ADDRESS = 12;
/** The server: port (raw), protocol, address of 16 bytes. */
export const SERVER_PORT = 16;
export const PROTOCOL = 18;
export const SERVER_ADDRESS = 24;
export const MAP = 64;

/** Ports that may be taken. */
export const PORT_FIRST = 1024;
export const PORT_LAST = 65535;
