/** Which side of a packet slot.HASH is the hash of. */
export const HINT_NONE = 0;
export const HINT_SOURCE = 1;
export const HINT_DESTINATION = 2;
