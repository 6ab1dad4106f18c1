/** The core's own counters: u64 each, in the counters region. */
export const FRAMES_IN = 0;
/** Frames that the core made itself (ARP, ICMP, segments, fragments). */
export const GENERATED = 8;
export const FRAMES_OUT = 16;
/** One u64 a verdict (layout/verdict.ts). */
export const VERDICTS = 64;
/** One u64 a reason (layout/reason.ts). */
export const REASONS = 128;
/** Whole-table stats and rates (layout/stats.ts). */
export const STATS = 640;
export const RATES = 680;
export const EVICTIONS = 768;
export const TRAPS = 776;
/** SYN proxy: SYN answered with a cookie, cookies that came back, those that were none, servers' answers to them. */
export const COOKIES_SENT = 896;
export const COOKIES_ACCEPTED = 904;
export const COOKIES_REFUSED = 912;
export const PROXY_SPLICED = 920;
export const PROXY_SERVER_REFUSED = 928;
export const PROXY_SERVER_SILENT = 936;
/** Neighbours whose MAC changed to another one. */
export const NEIGHBOURS_CHANGED = 944;
/** Neighbours that gave way to others in a full table, and unfinished packets that did. */
export const NEIGHBOURS_EVICTED = 952;
export const FRAGMENTS_EVICTED = 960;
/** ICMP errors, and RST of limits, that were over the rate. */
export const ERRORS_WITHHELD = 968;
export const SIZE = 1024;
