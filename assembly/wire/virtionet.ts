/** struct virtio_net_hdr_v1 without num_buffers, 12 bytes with padding as TUNSETVNETHDRSZ 12 has it. Little-endian. */
export const FLAGS = 0;
export const GSO_TYPE = 1;
export const HEADER_LENGTH = 2;
export const GSO_SIZE = 4;
export const CHECKSUM_START = 6;
export const CHECKSUM_OFFSET = 8;
export const SIZE = 12;

export const NEEDS_CHECKSUM = 1;
export const DATA_VALID = 2;

export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_UDP = 3;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
export const GSO_ECN = 0x80;
