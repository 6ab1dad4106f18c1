/**
 * Firewall marks: a program that every packet runs through before it is routed. The host compiles it, the core checks
 * it before it is used. Jumps go forward only, so a run ends after as many steps as there are instructions.
 *
 *   region:       0        64                 64 + BANK
 *                 +--------+------------------+------------------+
 *                 | ACTIVE | program          | the next program |
 *                 +--------+------------------+------------------+
 *
 *   instruction:  0    1       2       3    4        8       12   16
 *                 +----+-------+-------+----+--------+-------+----+----------------+
 *                 | op | flags | field | -- | target | count | -- | count operands |
 *                 +----+-------+-------+----+--------+-------+----+----------------+
 */
export const HEAD = 64;
/** Address of the program in use. */
export const ACTIVE = 0;

export const SIZE = 16;
export const OP = 0;
export const FLAGS = 1;
export const FIELD = 2;
/** Where to go on, from the program's start: OP_GOTO, and OP_TEST that fails. */
export const TARGET = 4;
/** OP_TEST: how many ranges follow, in ascending order, none touching another. */
export const COUNT = 8;
/** OP_SET: mark = (mark & AND) ^ XOR. */
export const AND = 4;
export const XOR = 8;

export const OP_END = 0;
export const OP_TEST = 1;
export const OP_SET = 2;
export const OP_GOTO = 3;
export const OP_LAST = 3;

/** The test wants a value outside the ranges. What a packet does not have fails either way. */
export const FLAG_NOT = 1;

// Fields of 32 bits; a range is two words, both inclusive, in the order of this machine.
export const FIELD_FAMILY = 1;
export const FIELD_PROTOCOL = 2;
/** As the IP header says it: of IPv6 the first extension header, if there is one. */
export const FIELD_NEXT_HEADER = 3;
export const FIELD_SOURCE_4 = 4;
export const FIELD_DESTINATION_4 = 5;
export const FIELD_SOURCE_PORT = 6;
export const FIELD_DESTINATION_PORT = 7;
/** The host's number of the port that it came in by. */
export const FIELD_PORT_IN = 8;
export const FIELD_MARK = 9;
export const FIELD_DSCP = 10;
/** Length of the packet. */
export const FIELD_LENGTH = 11;
// Fields of 128 bits, in network order.
export const FIELD_SOURCE_6 = 12;
export const FIELD_DESTINATION_6 = 13;
export const FIELD_LAST = 13;

export const RANGE_SIZE = 8;
export const RANGE_SIZE_6 = 32;
