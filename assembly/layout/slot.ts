/**
 * A frame slot: descriptor, headroom, frame. The descriptor doubles as the packet's context in the core's stages.
 *
 *   0          128                 386        398       412
 *   +----------+-------------------+----------+---------+--------------------------+
 *   | descriptor | headroom (258)  | vnet_hdr | L2 (14) | packet, up to 65535 ...  |
 *   +----------+-------------------+----------+---------+--------------------------+
 *                                  ^ FRAME_AT: where a device writes
 */
/** Not a multiple of 4096: aligned strides fall into the same cache sets. */
export const SIZE = 69824;
export const FRAME_AT = 386;
export const VNET_SIZE = 12;
/** The longest frame that a port may deliver, vnet_hdr included. */
export const FRAME_MAX = 65565;

/** Next slot of the list that this one is in. */
export const NEXT = 0;
/** Address of the vnet_hdr, and length of the frame from there on. */
export const FRAME = 4;
export const LENGTH = 8;
/** Port records. */
export const PORT_IN = 12;
export const PORT_OUT = 16;
/** Addresses of the headers: Ethernet, IP, transport (after options and extension headers); END of the packet. */
export const ETHERNET = 20;
export const IP = 24;
export const TRANSPORT = 28;
export const END = 32;
export const FAMILY = 36;
export const PROTOCOL = 37;
export const FLAGS = 38;
export const MARK = 40;
export const CONNECTION = 44;
/** Next hop, 16 bytes, IPv4 in the first four. */
export const NEXT_HOP = 48;
export const VERDICT = 64;
export const REASON = 65;
/** Largest fragment (IP header included) of a packet put together from fragments; 0 for any other. */
export const FRAGMENT_LARGEST = 66;
/** Hash of the packet's tuple, good once when HINT says of which side (two-pass batches). */
export const HASH = 68;
/**
 * Bytes that follow the frame on the wire but lie elsewhere (segments of a super-frame): address and length. LENGTH is
 * without them; END is where the packet would end if they lay behind the frame, and there is room for them.
 */
export const BODY = 72;
export const BODY_LENGTH = 76;
/** MTU of the way out. */
export const MTU = 80;
/** When a waiting frame was queued (ticks). */
export const SINCE = 84;
/** IPv6: address of the byte that names the transport protocol (next header), and of the fragment header if any. */
export const NEXT_HEADER = 88;
export const FRAGMENT_HEADER = 92;
/** The service that took the packet. */
export const SERVICE = 96;
/** Scratch of schedulers and helpers. */
export const SCRATCH = 100;

/** Where several small frames share a slot (table/slot, takePiece): the slot's address, and there how many are left. */
export const HOME = 108;
export const PIECES = 112;

export const HINT = 116;

/** The super-frame's slot that BODY lies in: it is free again when the last of those is that point into it. */
export const BODY_HOME = 120;

export const DESCRIPTOR_SIZE = 128;

// FLAGS
/** A fragment other than the first: no transport header. */
export const LATER_FRAGMENT = 1;
/** Any fragment that is not yet put together. */
export const FRAGMENT = 2;
/** Destination is one of the director's addresses. */
export const TO_DIRECTOR = 4;
/** Came to a broadcast or multicast MAC. */
export const LINK_BROADCAST = 8;
/** Made by the core itself. */
export const GENERATED = 16;
/** The IP total length says less than the frame: padding was cut. */
export const TRIMMED = 32;
/** IP and TRANSPORT are those of a packet quoted in an ICMP error: its destination is the client. */
export const REVERSED = 64;
/** SYN proxy: the segment is in its client's numbers already. */
export const SPLICED = 128;
/** Length of the Ethernet header with its tags, as it came in. */
export const LINK_LENGTH = 104;
