/** What a client and the director agree on in a handshake: one byte, that fits into the low bits of a timestamp. */
/** Window scale of the client, or NO_SCALE. */
export const SCALE_MASK = 15;
export const NO_SCALE = 15;
export const SACK = 16;
export const ECN = 32;
/** The bits that a timestamp carries. */
export const CARRIED = 63;
/** Not in the timestamp: there is one. */
export const TIMESTAMPS = 64;
/** As a bit of Service.PROXY_LACKS: window scaling. */
export const SCALE = 1;

/** Window scale that the director names itself, whatever its servers do: theirs is translated. */
export const OWN_SCALE = 7;
