/** Five u64 counters as of a service, a server, or the whole; the rates that follow are what --rate shows. */
export const CONNECTIONS = 0;
export const IN_PACKETS = 8;
export const OUT_PACKETS = 16;
export const IN_BYTES = 24;
export const OUT_BYTES = 32;
export const SIZE = 40;

/** Estimator: last seen values (u32 of packets and connections, u64 of bytes), then rates scaled by 2^10 / 2^5. */
export const LAST_CONNECTIONS = 0;
export const LAST_IN_PACKETS = 4;
export const LAST_OUT_PACKETS = 8;
export const LAST_IN_BYTES = 16;
export const LAST_OUT_BYTES = 24;
export const CPS = 32;
export const IN_PPS = 36;
export const OUT_PPS = 40;
export const IN_BPS = 48;
export const OUT_BPS = 56;
export const RATES_SIZE = 80;
