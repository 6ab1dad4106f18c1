/** How a frame ends. Each frame in ends in exactly one; DROP has a reason (layout/reason.ts). */
export const NONE = 0;
/** Sent on, rewritten or routed. */
export const FORWARD = 1;
/** Answered by the core as a host would: echo, RST, port unreachable. */
export const LOCAL = 2;
/** Taken in: ARP, a fragment put together with others. */
export const CONSUMED = 3;
export const DROP = 4;
/** Not an end: waits for a neighbour's address. */
export const WAIT = 5;
export const COUNT = 6;
