/**
 * The traffic of the core bench, the same as bench/core.c makes: TCP connections of many clients behind a router to one
 * virtual service over NAT, four real servers in turn.
 */
import * as Slot from "../../assembly/layout/slot.js";

export const SERVERS = 4;
export const VIRTUAL = "192.168.4.133";
export const VIRTUAL_PORT = 80;
export const REAL_PORT = 8080;
export const DIRECTOR_MACS = ["02:00:00:00:04:85", "02:00:00:00:02:82"] as const;
export const ROUTER = { address: "192.168.4.1", mac: "02:00:00:00:04:01" } as const;
export const server = (at: number) => ({
  address: `192.168.2.${11 + at}`,
  mac: `02:00:00:00:02:0${(11 + at).toString(16)}`,
});

/** The servers as they are to be added: rr begins with the last one, so that flow n is of server(n % SERVERS). */
export const SERVERS_TO_ADD = Array.from({ length: SERVERS }, (_, at) => server(SERVERS - 1 - at));

export const FLAGS_SYN = 0x02;
export const FLAGS_SYN_ACK = 0x12;
export const FLAGS_ACK = 0x10;

const ETHERNET = Slot.VNET_SIZE;
const IP = ETHERNET + 14;
const TCP = IP + 20;
const VIRTUAL_WORDS = [0xc0a8, 0x0485] as const;

export const clientPort = (flow: number) => 1024 + ((Math.imul(flow, 7919) >>> 0) % 60000);

/** Writes frames into slots, 16 bits at a time: every field of theirs lies at an even offset. */
export class FrameWriter {
  private readonly halves: Uint16Array;
  private readonly macs: readonly (readonly number[])[];

  constructor(buffer: SharedArrayBuffer) {
    this.halves = new Uint16Array(buffer);
    this.macs = [...DIRECTOR_MACS, ROUTER.mac].map((mac) => {
      const bytes = mac.split(":").map((part) => Number.parseInt(part, 16));
      return [0, 2, 4].map((at) => (bytes[at]! << 8) | bytes[at + 1]!);
    });
  }

  /** A frame of `size` bytes (Ethernet on) at the vnet_hdr's address `frame`; `out` is 1 for one from the server. */
  put(frame: number, flow: number, out: 0 | 1, size: number, flags: number): void {
    const { halves } = this;
    const at = frame >> 1;
    const half = (offset: number, value: number) => {
      halves[at + (offset >> 1)] = ((value & 0xff) << 8) | ((value >> 8) & 0xff);
    };
    halves.fill(0, at, at + ((TCP + 20) >> 1));
    for (let i = 0; i < 3; i++) {
      half(ETHERNET + i * 2, this.macs[out]![i]!);
      half(ETHERNET + 6 + i * 2, this.macs[2]![i]!);
    }
    half(ETHERNET + 12, 0x0800);
    const length = size - 14;
    const client = [0x0a00 | (flow >>> 16), flow & 0xffff] as const;
    const server = [0xc0a8, 0x020b + (flow % SERVERS)] as const;
    const source = out === 1 ? server : client;
    const destination = out === 1 ? client : VIRTUAL_WORDS;
    const sourcePort = out === 1 ? REAL_PORT : clientPort(flow);
    const destinationPort = out === 1 ? clientPort(flow) : VIRTUAL_PORT;
    const addresses = source[0] + source[1] + destination[0] + destination[1];
    half(IP, 0x4500);
    half(IP + 2, length);
    half(IP + 6, 0x4000);
    half(IP + 8, 0x4006);
    half(IP + 10, check(0x4500 + length + 0x4000 + 0x4006 + addresses));
    half(IP + 12, source[0]);
    half(IP + 14, source[1]);
    half(IP + 16, destination[0]);
    half(IP + 18, destination[1]);
    half(TCP, sourcePort);
    half(TCP + 2, destinationPort);
    half(TCP + 12, 0x5000 | flags);
    half(TCP + 16, check(addresses + 6 + (length - 20) + sourcePort + destinationPort + (0x5000 | flags)));
  }
}

/** The Internet checksum that makes `sum` come out right. */
function check(sum: number): number {
  let folded = (sum & 0xffff) + (sum >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  return ~folded & 0xffff;
}
