/**
 * A connection: one cache line of what every packet needs, and 16 cold bytes beside it. With the index (2 entries of
 * 64/12 bytes at a load of 0.7) it takes under 96 bytes.
 *
 *   0        4         8        12    14    16    18 19 20    24      28      32   36     40
 *   +--------+---------+--------+-----+-----+-----+--+--+-----+-------+-------+----+------+------+
 *   | client | virtual | server | cp  | vp  | sp  |pr|st|flags|expires|timeout|fire|w.next|w.prev| ...
 *   +--------+---------+--------+-----+-----+-----+--+--+-----+-------+-------+----+------+------+
 *
 * IPv6: the three words hold hashes of the addresses, which lie whole in the extension.
 */
export const SIZE = 64;
export const CLIENT_ADDRESS = 0;
export const VIRTUAL_ADDRESS = 4;
export const SERVER_ADDRESS = 8;
export const CLIENT_PORT = 12;
export const VIRTUAL_PORT = 14;
export const SERVER_PORT = 16;
export const PROTOCOL = 18;
export const STATE = 19;
/** Low 16 bits as the kernel's IP_VS_CONN_F_*; 0 when the record is free. */
export const FLAGS = 20;
/** When it ends, unless seen again (ticks). */
export const EXPIRES = 24;
export const TIMEOUT = 28;
/** When the wheel looks at it. */
export const FIRE = 32;
export const WHEEL_NEXT = 36;
export const WHEEL_PREVIOUS = 40;
/** Real server record, or 0. */
export const SERVER = 44;
/** Template that controls it, or 0. */
export const CONTROL = 48;
export const PACKETS = 52;
/** Connections that this template controls. */
export const CONTROLLED = 56;
export const FAMILY = 60;
export const OLD_STATE = 61;
/** Where the wheel holds it: level * 64 + place, or 0xffff. */
export const WHEEL_SLOT = 62;

export const COLD_SIZE = 16;
export const COLD_MARK = 0;
export const COLD_EXTENSION = 4;
/** Full NAT: place of the local address (layout/address) and its port (raw), which stand for the client. */
export const COLD_LOCAL = 8;
export const COLD_SINCE = 12;

/** Extension: IPv6 addresses, state of a helper, or what a persistence engine found. */
export const EXTENSION_SIZE = 128;
export const EXTENSION_NEXT = 0;
/** FTP: which answer the control connection waits for (helper/ftp.ts). */
export const EXTENSION_MODE = 4;
/** More data: extensions that hold nothing else, from EXTENSION_MORE_DATA on; and a hash of all of them. */
export const EXTENSION_MORE = 8;
export const EXTENSION_DATA_HASH = 12;
export const EXTENSION_CLIENT = 16;
export const EXTENSION_VIRTUAL = 32;
export const EXTENSION_SERVER = 48;
/** How far a helper moved the sequence numbers of a server (helper/sequence.ts). */
export const EXTENSION_SEQUENCE = 64;
/** Data that a persistence engine tells clients apart by (SIP: Call-ID): length, first bytes. */
export const EXTENSION_DATA_LENGTH = 76;
export const EXTENSION_DATA = 80;
export const EXTENSION_DATA_SIZE = 48;
/** A sampled connection, which is no template: bytes (u64) and packets of either direction, its number. */
export const EXTENSION_IN_BYTES = 80;
export const EXTENSION_OUT_BYTES = 88;
export const EXTENSION_IN_PACKETS = 96;
export const EXTENSION_OUT_PACKETS = 100;
export const EXTENSION_NUMBER = 104;
export const EXTENSION_MORE_DATA = 12;
export const EXTENSION_MORE_SIZE = 116;

/**
 * SYN proxy, in the same extension: the client's sequence number and the cookie that it got; what is added to a server's
 * timestamps; the timestamp that the client got, and its own; the number of the port that it came in by.
 */
export const PROXY_CLIENT = 80;
export const PROXY_COOKIE = 84;
export const PROXY_TIMESTAMP_BY = 88;
export const PROXY_TIMESTAMP = 92;
export const PROXY_CLIENT_TIMESTAMP = 96;
export const PROXY_PORT = 100;
/** MSS and window of the client, u16. */
export const PROXY_MSS = 104;
export const PROXY_WINDOW = 106;
/** Options that client and director agreed on (layout/handshake), and PROXY_WAITING etc. u8 each. */
export const PROXY_OPTIONS = 108;
export const PROXY_STATE = 109;
export const PROXY_TRIES = 110;
/** By how many bits windows are shifted: to the left towards the server, to the client (i8). */
export const PROXY_SHIFT_IN = 111;
export const PROXY_SHIFT_OUT = 112;
/** The server wants no ECN: what the client sends loses its mark. And: the server has timestamps. */
export const PROXY_NO_ECN = 113;
export const PROXY_TIMED = 114;
/** The first number of the server. */
export const PROXY_SERVER = 116;

// PROXY_STATE
export const PROXY_WAITING = 1;
export const PROXY_SPLICED = 2;
export const PROXY_OVER = 3;

/** Sequence number of the last change, what was added before it, and what is added since. */
export const SEQUENCE_POSITION = 0;
export const SEQUENCE_BEFORE = 4;
export const SEQUENCE_AFTER = 8;
/** Next free record. */
export const NEXT_FREE = 0;

// FLAGS: forwarding method in the low three bits, then the kernel's bits.
export const METHOD_MASK = 7;
export const FLAG_NO_OUTPUT = 0x0008;
export const FLAG_SYNC = 0x0020;
export const FLAG_HASHED = 0x0040;
/** No output packets seen (packets from the server make it leave the inactive ones). */
export const FLAG_INACTIVE = 0x0100;
export const FLAG_OUT_SEQUENCE = 0x0200;
export const FLAG_IN_SEQUENCE = 0x0400;
export const FLAG_NO_CLIENT_PORT = 0x0800;
export const FLAG_TEMPLATE = 0x1000;
export const FLAG_ONE_PACKET = 0x2000;
/** Ours: the record is in use. */
export const FLAG_USED = 0x10000;
/** Ours: the connection was counted in its server's ACTIVE or INACTIVE. */
export const FLAG_COUNTED = 0x20000;
/** Ours: a helper (FTP) looks at its packets. */
export const FLAG_HELPER = 0x40000;
/** Ours: full NAT. */
export const FLAG_FULL_NAT = 0x80000;
/** Ours: the IPv6 addresses are in the extension. */
export const FLAG_IPV6 = 0x100000;
/** Ours: the server's address is of the other family, and in the extension. */
export const FLAG_MIXED = 0x200000;
/** Ours: a template that is found by a persistence engine's data. */
export const FLAG_ENGINE = 0x800000;
/** Ours: full NAT, the server has answered after its SYN: it need not be told of the client any more. */
export const FLAG_TOLD = 0x400000;
/** Ours: the handshake was the director's own; numbers are translated (SYN proxy). */
export const FLAG_PROXY = 0x1000000;
/** Ours: counted at its source (table/source). */
export const FLAG_SOURCE = 0x2000000;
/** Ours: whether its server answers is known: it did, or its silence was counted. */
export const FLAG_JUDGED = 0x4000000;
/** Ours: it is told of when it ends, and its packets and bytes are counted, if it has an extension. */
export const FLAG_SAMPLED = 0x8000000;
