/** Which way a packet of a connection goes. */
export const DIRECTION_IN: u32 = 0;
export const DIRECTION_OUT: u32 = 1;
