/** A port: an interface that the host owns (TAP, TUN, pcap, memory). Record of 256 bytes. */
export const SIZE = 256;
/** 0 free, 1 used. */
export const STATE = 0;
export const KIND = 1;
export const UP = 2;
/** Bits of CAPABILITY_*. */
export const CAPABILITIES = 3;
export const MAC = 4;
/** Largest packet (IP) that leaves here. */
export const MTU = 12;
/** The host's number of this port: index into its list. */
export const NUMBER = 16;
/** Source of the core's own packets on this link (first address), network order; and IPv6 link-local, first global. */
export const ADDRESS = 20;
export const LINK_LOCAL = 24;
export const ADDRESS6 = 40;
export const FRAMES_IN = 64;
export const FRAMES_OUT = 72;
export const BYTES_IN = 80;
export const BYTES_OUT = 88;
export const DROPS_OUT = 96;
export const FILE_DESCRIPTOR = 104;
/** First of the addresses configured here, in the order of adding (layout/address, NEXT_LOCAL). */
export const LOCALS = 108;

export const KIND_TAP = 1;
export const KIND_TUN = 2;
export const KIND_PCAP = 3;
export const KIND_MEMORY = 4;

export const CAPABILITY_CHECKSUM = 1;
export const CAPABILITY_TSO4 = 2;
export const CAPABILITY_TSO6 = 4;
export const CAPABILITY_USO = 8;
/** Frames have an Ethernet header. */
export const CAPABILITY_LINK = 16;
