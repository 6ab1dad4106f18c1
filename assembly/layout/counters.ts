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
export const SIZE = 1024;
