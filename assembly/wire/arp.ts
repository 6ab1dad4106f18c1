/** ARP for IPv4 over Ethernet (RFC 826). */
export const HARDWARE = 0;
export const PROTOCOL = 2;
export const HARDWARE_SIZE = 4;
export const PROTOCOL_SIZE = 5;
export const OPERATION = 6;
export const SENDER_MAC = 8;
export const SENDER_IP = 14;
export const TARGET_MAC = 18;
export const TARGET_IP = 24;
export const SIZE = 28;
export const REQUEST = 1;
export const REPLY = 2;
