/**
 * Tracing: filters, the record of the frame that is under way, and the ring of what the core decided. One region; the
 * words that tell whether anything is traced at all are in the memory header.
 *
 *   0        1024           17408                84480
 *   +--------+--------------+--------------------+------------------------------+
 *   | words  | 4 programs   | frame as it came   | ring of records ...          |
 *   +--------+--------------+--------------------+------------------------------+
 */

// Words of the region.
/** Where the core writes next, and where the host reads next: bytes from RING on. The ring is empty when they agree. */
export const HEAD = 0;
export const TAIL = 64;
/** Records of connections that the ring had no room for; and how many connections were made since events are asked for. */
export const EVENTS_LOST = 128;
export const OPENED = 132;

/** One block a trace. */
export const TRACES = 192;
export const TRACE_SIZE = 32;
export const TRACE_COUNT = 4;
/** Records a second at most, 0 for all; what is left of it, and since which tick. */
export const RATE = 0;
export const TOKENS = 4;
export const TOKENS_TICK = 8;
/** Bytes of a frame that are kept. */
export const SNAP = 12;
/** Bytes of its program; 0 takes every frame. */
export const LENGTH = 16;
/** Records that the ring had no room for, and that were over the rate: since the trace began. */
export const LOST = 20;
export const LIMITED = 24;

/** What filters look at, of the frame as it came and as it left. */
export const KEY_BEFORE = 320;
export const KEY_AFTER = 384;
export const KEY_SIZE = 64;
/** Ethernet type behind tags (of a TUN: what it would be), 0 for no frame; IP protocol; KEY_* bits below. */
export const KEY_TYPE = 0;
export const KEY_PROTOCOL = 4;
export const KEY_FAMILY = 5;
export const KEY_FLAGS = 6;
/** Host order. */
export const KEY_SOURCE_PORT = 8;
export const KEY_DESTINATION_PORT = 10;
/** 0xffff without a tag. */
export const KEY_VLAN = 12;
export const KEY_LENGTH = 16;
export const KEY_SOURCE = 20;
export const KEY_DESTINATION = 36;
export const KEY_MACS = 52;
export const KEY_HAS_PORTS = 1;
export const KEY_FRAGMENT = 2;
export const KEY_LINK = 4;

/** Where the first of them is kept while another frame is told of. */
export const KEY_HELD = 960;

/** The record of the frame under way, and the one of another that ends or leaves meanwhile. */
export const PENDING = 448;
export const OTHER = 704;

export const PROGRAMS = 1024;
export const PROGRAM_SIZE = 4096;
export const BEFORE = 17408;
export const RING = 84480;

/** An instruction of a filter: where to go on when it is true, and when it is not. */
export const STEP_SIZE = 32;
export const OP = 0;
/** DIRECTION_* */
export const DIRECTION = 1;
export const FAMILY = 2;
export const PREFIX = 3;
/** Number of the instruction, higher than its own, or ACCEPT or REJECT. */
export const THEN = 4;
export const ELSE = 6;
export const FIRST = 8;
export const LAST = 12;
export const ADDRESS = 16;

export const ACCEPT = 0xffff;
export const REJECT = 0xfffe;

export const DIRECTION_SOURCE = 1;
export const DIRECTION_DESTINATION = 2;

export const OP_TYPE = 1;
export const OP_PROTOCOL = 2;
export const OP_ADDRESS = 3;
export const OP_PORT = 4;
export const OP_VLAN = 5;
export const OP_MAC = 6;
export const OP_LENGTH = 7;
export const OP_FRAGMENT = 8;
/** From here on: what the core decided. */
export const OP_VERDICT = 9;
export const OP_REASON = 10;
export const OP_DEVICE = 11;
export const OP_SERVICE = 12;
export const OP_SERVICE_MARK = 13;
export const OP_SERVER = 14;
export const OP_MADE = 15;
export const OP_NEW = 16;
export const OP_MARK = 17;
export const OP_LATEST = 17;

/** What a record in the ring is of. */
export const KIND_FRAME = 1;
export const KIND_OPEN = 2;
export const KIND_CLOSE = 3;
/** Nothing more up to the end of the ring. */
export const KIND_WRAP = 4;

/** A record: 208 bytes, then of a frame its bytes before and after, each filled up to eight. */
export const RECORD_SIZE = 208;
/** All bytes of it. */
export const SIZE = 0;
export const KIND = 4;
/** Bit n: for trace n. */
export const MASK = 5;
export const WORKER = 6;
export const VERDICT = 7;
/** Milliseconds since 1970 of the breath (f64), 0 when the host did not say. */
export const TIME = 8;
export const TICK = 16;
/** FLAG_* below. */
export const FLAGS = 20;
/** Number of the port plus one; 0 for none. */
export const PORT_IN = 24;
export const PORT_OUT = 25;
export const REASON = 26;
export const STATE_BEFORE = 27;
/** 0xff when the connection is gone. */
export const STATE_AFTER = 28;
/** Of the connection. */
export const PROTOCOL = 29;
export const CONNECTION_FAMILY = 30;
export const SERVER_FAMILY = 31;
export const CLIENT = 32;
export const VIRTUAL = 48;
export const SERVER = 64;
/** Raw. */
export const CLIENT_PORT = 80;
export const VIRTUAL_PORT = 82;
export const SERVER_PORT = 84;
/** Full NAT: the word of connection.COLD_LOCAL. */
export const LOCAL = 88;
/** Flags of the connection as in layout/connection, and its record; 0 for none. */
export const CONNECTION_FLAGS = 92;
export const CONNECTION = 96;
/** The service, when one is known: family, protocol, scheduler, raw port, mark, address. */
export const SERVICE_FAMILY = 100;
export const SERVICE_PROTOCOL = 101;
export const SERVICE_SCHEDULER = 102;
export const SERVICE_PORT = 104;
export const SERVICE_MARK = 108;
export const SERVICE_ADDRESS = 112;
export const NEXT_HOP = 128;
export const MTU = 144;
export const PACKET_MARK = 148;
/** Bytes kept of the frame, and bytes that it had; without the vnet_hdr. */
export const BEFORE_KEPT = 152;
export const BEFORE_LENGTH = 156;
export const AFTER_KEPT = 160;
export const AFTER_LENGTH = 164;
export const BEFORE_VNET = 168;
export const AFTER_VNET = 180;
/** Place in the send queue before the frame's turn; slot of the frame. While it is under way alone. */
export const SENT_BEFORE = 192;
export const FRAME_SLOT = 196;

// Of connections' records, in the place of what only frames have.
/** Client to server, server to client: packets and bytes of IP, u64; all ones where it was not counted. */
export const IN_PACKETS = 128;
export const OUT_PACKETS = 136;
export const IN_BYTES = 144;
export const OUT_BYTES = 152;
/** Ticks that it lived; its number among those that were made. */
export const LIVED = 160;
export const NUMBER = 164;

// FLAGS
/** The director made this frame itself. */
export const FLAG_MADE = 1;
export const FLAG_SERVICE = 2;
export const FLAG_FROM_CLIENT = 4;
export const FLAG_FROM_SERVER = 8;
export const FLAG_CREATED = 16;
export const FLAG_TEMPLATE_CREATED = 32;
/** An ICMP error about the connection. */
export const FLAG_ERROR = 64;
export const FLAG_ENDED = 128;
/** Sent after it waited for its neighbour's address, or dropped meanwhile. */
export const FLAG_WAITED = 256;
/** One of several frames that another was cut into. */
export const FLAG_PIECE = 512;
/** Put together from fragments. */
export const FLAG_WHOLE = 1024;
export const FLAG_TIMER = 2048;
/** The connection came by a persistence template or a control connection. */
export const FLAG_CONTROLLED = 4096;
/** For one of the director's addresses. */
export const FLAG_TO_DIRECTOR = 8192;
