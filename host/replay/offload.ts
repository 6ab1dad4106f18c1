/**
 * What a device would have said of a captured frame. A capture at the kernel's end of a TAP has super-frames and partial
 * checksums in it, and no word about them: the field holds the pseudo-header's sum, and the packet is longer than any
 * link would carry.
 */
import * as Slot from "../../assembly/layout/slot.js";

const NEEDS_CHECKSUM = 1;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;
const GSO_UDP_L4 = 5;

function sum(bytes: Uint8Array, from: number, to: number, start = 0): number {
  let total = start;
  for (let at = from; at < to; at += 2) total += (bytes[at]! << 8) | (at + 1 < to ? bytes[at + 1]! : 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

/** The vnet_hdr of a frame on a link of this MTU; all zero for one that needs nothing. */
export function guessVnet(frame: Uint8Array, link: boolean, mtu: number): Uint8Array {
  const none = new Uint8Array(Slot.VNET_SIZE);
  let ip = link ? 14 : 0;
  if (link && frame.length >= 18 && frame[12] === 0x81 && frame[13] === 0) ip = 18;
  if (frame.length < ip + 20) return none;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const four = frame[ip]! >> 4 === 4;
  if (!four && (frame[ip]! >> 4 !== 6 || frame.length < ip + 40)) return none;
  const transport = ip + (four ? (frame[ip]! & 15) * 4 : 40);
  const protocol = four ? frame[ip + 9]! : frame[ip + 6]!;
  const end = Math.min(frame.length, four ? ip + view.getUint16(ip + 2) : transport + view.getUint16(ip + 4));
  const isTcp = protocol === 6;
  if ((!isTcp && protocol !== 17) || transport + (isTcp ? 20 : 8) > end) return none;
  if (four && (view.getUint16(ip + 6) & 0x3fff) !== 0) return none;
  const field = isTcp ? 16 : 6;
  const addresses = four ? sum(frame, ip + 12, ip + 20) : sum(frame, ip + 8, ip + 40);
  const pseudo = sum(new Uint8Array(), 0, 0, addresses + protocol + (end - transport));
  if (view.getUint16(transport + field) !== pseudo) return none;
  // By chance it may be the right one.
  if (sum(frame, transport, end, pseudo) === 0xffff) return none;
  const header = view.getUint8(transport + 12) >> 4;
  const headers = transport + (isTcp ? header * 4 : 8);
  const vnet = new Uint8Array(Slot.VNET_SIZE);
  const out = new DataView(vnet.buffer);
  out.setUint8(0, NEEDS_CHECKSUM);
  out.setUint16(6, transport, true);
  out.setUint16(8, field, true);
  if (end - ip > mtu) {
    out.setUint8(1, isTcp ? (four ? GSO_TCPV4 : GSO_TCPV6) : GSO_UDP_L4);
    out.setUint16(2, headers, true);
    out.setUint16(4, mtu - (headers - ip), true);
  }
  return vnet;
}
