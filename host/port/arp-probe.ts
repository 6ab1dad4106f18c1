/** Who has an address? Asked by ARP (RFC 826) as a machine asks before it takes one (RFC 5227), so no cache is changed. */
import { errnoText } from "../errors.js";
import { macText } from "./device.js";
import { inNamespace, interfaceIndex, kernelMac } from "./ioctl.js";
import * as native from "./native.js";

const AF_PACKET = 17;
const ETH_P_ARP = 0x0806;
const FRAME_SIZE = 42;
const REQUEST = 1;
const REPLY = 2;
const HEADER = Buffer.from([0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 6, 4, 0, REQUEST]);
const POLL_MS = 10;

/** sockaddr_ll */
function packetAddress(index: number): Buffer {
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_ARP, 2);
  address.writeInt32LE(index, 4);
  return address;
}

function request(mac: Buffer, target: Buffer): Buffer {
  const frame = Buffer.alloc(FRAME_SIZE);
  frame.fill(0xff, 0, 6);
  mac.copy(frame, 6);
  HEADER.copy(frame, 12);
  mac.copy(frame, 22);
  target.copy(frame, 38);
  return frame;
}

/**
 * The MACs that answer for each IPv4 address on a device's network, within that time. Needs CAP_NET_RAW; throws where
 * the device is not, or the socket is refused.
 */
export async function arpProbe(
  device: string,
  netns: string | undefined,
  addresses: readonly string[],
  waitMs: number,
): Promise<Map<string, Set<string>>> {
  const answers = new Map<string, Set<string>>(addresses.map((address) => [address, new Set()]));
  const { fd, index, mac } = inNamespace(netns, () => {
    const flags = native.SOCK_RAW | native.SOCK_CLOEXEC | native.SOCK_NONBLOCK;
    const fd = native.socket(AF_PACKET, flags, 0);
    if (fd < 0) throw new Error(`packet socket: ${errnoText(native.errno())}`);
    try {
      const index = interfaceIndex(device);
      if (index === 0) throw new Error(`no device ${device}`);
      const address = packetAddress(index);
      if (native.bind(fd, address, address.length) < 0) throw new Error(`bind: ${errnoText(native.errno())}`);
      return { fd, index, mac: kernelMac(device) };
    } catch (error) {
      native.close(fd);
      throw error;
    }
  });
  try {
    const to = packetAddress(index);
    for (const address of addresses) {
      const frame = request(mac, Buffer.from(address.split(".").map(Number)));
      native.sendto(fd, frame, frame.length, 0, to, to.length);
    }
    const buffer = Buffer.from(new ArrayBuffer(2048));
    for (const until = performance.now() + waitMs; performance.now() < until; ) {
      const length = native.read(fd, native.addressOf(buffer), buffer.length);
      if (length < 0) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        continue;
      }
      if (length < FRAME_SIZE || buffer.readUInt16BE(12) !== ETH_P_ARP || buffer.readUInt16BE(20) !== REPLY) continue;
      answers.get([...buffer.subarray(28, 32)].join("."))?.add(macText(buffer.subarray(22, 28)));
    }
  } finally {
    native.close(fd);
  }
  return answers;
}
