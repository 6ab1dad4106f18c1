/** What a decapsulator has to know of a packet that came in another one. */

const IPIP = 4;
const IPV6 = 41;
const TCP = 6;
const UDP = 17;
const HEADER = 20;
export const VNET_SIZE = 10;
const NEEDS_CHECKSUM = 1;

/** Where the inner packet of an IP-in-IP one lies, or undefined when there is none. */
export function innerPacket(packet: Buffer): { start: number; end: number } | undefined {
  if (packet.length < HEADER || packet[0]! >> 4 !== 4) return undefined;
  const start = (packet[0]! & 15) * 4;
  const end = packet.readUInt16BE(2);
  const protocol = packet[9]!;
  const isFragment = (packet.readUInt16BE(6) & 0x3fff) !== 0;
  if ((protocol !== IPIP && protocol !== IPV6) || start < HEADER || end > packet.length || isFragment) return undefined;
  const version = packet[start]! >> 4;
  if (protocol === IPIP ? version !== 4 || end < start + HEADER : version !== 6 || end < start + 40) return undefined;
  return { start, end };
}

function sum(bytes: Buffer, from: number, to: number, seed: number): number {
  let total = seed;
  let at = from;
  for (; at + 1 < to; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!;
  if (at < to) total += bytes[at]! << 8;
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

/**
 * Fills the vnet_hdr for a packet that came over a virtual wire. Machines on one host leave the checksum to hardware
 * that is not there, so the field may hold no more than the pseudo-header's sum: such a packet is handed on as
 * unfinished, any other as it is, right or wrong.
 */
export function fillVnetHeader(header: Buffer, packet: Buffer): void {
  header.fill(0, 0, VNET_SIZE);
  if (packet[0]! >> 4 !== 4) return;
  const transport = (packet[0]! & 15) * 4;
  const protocol = packet[9]!;
  const offset = protocol === TCP ? 16 : protocol === UDP ? 6 : -1;
  const isFragment = (packet.readUInt16BE(6) & 0x3fff) !== 0;
  const end = Math.min(packet.length, packet.readUInt16BE(2));
  if (offset < 0 || isFragment || end < transport + offset + 2) return;
  const pseudo = sum(packet, 12, 20, protocol + (end - transport));
  if (packet.readUInt16BE(transport + offset) !== pseudo) return;
  if (sum(packet, transport, end, pseudo) === 0xffff) return;
  header[0] = NEEDS_CHECKSUM;
  header.writeUInt16LE(transport, 6);
  header.writeUInt16LE(offset, 8);
}
