/** What the first pass over a breath's frames found. Which side of a packet slot.HASH is the hash of: */
export const HINT_NONE = 0;
export const HINT_SOURCE = 1;
export const HINT_DESTINATION = 2;
export const HINT_SIDE = 3;
/** Nothing in the frame keeps it from the fast path. */
export const HINT_PLAIN = 4;
