/** What a test may have a worker do in its next breath, as only a bug would: the word FAULT of the header. */
export const NONE = 0;
export const TRAP = 1;
/** Goes on for ever, and holds the lock. */
export const HANG = 2;
/** Goes on for ever, without the lock. */
export const HANG_APART = 3;
