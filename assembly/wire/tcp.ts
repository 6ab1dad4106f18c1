/** TCP header (RFC 9293). */
import { swap16 } from "./bytes";

export const SOURCE_PORT = 0;
export const DESTINATION_PORT = 2;
export const SEQUENCE = 4;
export const ACKNOWLEDGEMENT = 8;
export const OFFSET = 12;
export const FLAGS = 13;
export const WINDOW = 14;
export const CHECKSUM = 16;
export const URGENT = 18;
export const SIZE = 20;

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;
export const URG = 32;
/** RFC 3168: a SYN with both asks for ECN, a SYN+ACK with ECE alone agrees. */
export const ECE = 64;
export const CWR = 128;
export const ECN = 192;

export function headerLength(tcp: usize): u32 {
  return (<u32>load<u8>(tcp, OFFSET) >> 4) << 2;
}

export function flags(tcp: usize): u32 {
  return load<u8>(tcp, FLAGS);
}

export function isSyn(tcp: usize): bool {
  return (load<u8>(tcp, FLAGS) & SYN) !== 0;
}

export function destinationPort(tcp: usize): u32 {
  return swap16(load<u16>(tcp, DESTINATION_PORT));
}
