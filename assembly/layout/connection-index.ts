/**
 * A line of the connection index: 64 bytes, 12 entries. An entry is the connection's address, bit 0 set when it stands
 * for the reply direction (server to client). Tags are compared first, all at once.
 *
 *   0         12        14   16
 *   +---------+---------+----+------------------------+
 *   | 12 tags | overflow| -- | 12 references (u32)    |
 *   +---------+---------+----+------------------------+
 */
export const SIZE = 64;
export const TAGS = 0;
/** How many entries passed over this line because it was full. */
export const OVERFLOW = 12;
export const REFERENCES = 16;
export const ENTRIES = 12;
export const REPLY = 1;
