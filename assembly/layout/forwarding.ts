/** Forwarding methods, with the kernel's numbers (IP_VS_CONN_F_*), and ours. */
export const NAT = 0;
export const LOCAL = 1;
export const TUNNEL = 2;
export const DR = 3;
export const BYPASS = 4;
export const FULL_NAT = 5;

export const TUNNEL_IPIP = 0;
export const TUNNEL_GUE = 1;
export const TUNNEL_GRE = 2;
export const TUNNEL_NO_CHECKSUM = 0;
export const TUNNEL_CHECKSUM = 1;
export const TUNNEL_REMOTE_CHECKSUM = 2;
