/** The thread of a decapsulator: from the raw socket into the TUN device, until told to stop. */
import { workerData } from "node:worker_threads";
import * as native from "../port/native.js";
import { fillVnetHeader, innerPacket, VNET_SIZE } from "./ipip.js";

interface Data {
  readonly raw: number;
  readonly tun: number;
  /** One word: not 0 once it is to end. */
  readonly stop: SharedArrayBuffer;
}

const LARGEST = 65536;
const LOOK_UP_MS = 100;
const POLLFD_SIZE = 8;

const { raw, tun, stop } = workerData as Data;
const stopped = new Int32Array(stop);
// The packet lies where a vnet_hdr fits before it: unpacking is to write from further on.
const buffer = Buffer.alloc(VNET_SIZE + LARGEST);
const at = native.addressOf(buffer);
const poll = Buffer.alloc(POLLFD_SIZE);
poll.writeInt32LE(raw, 0);
poll.writeInt16LE(native.POLLIN, 4);
const pollAt = native.addressOf(poll);

while (Atomics.load(stopped, 0) === 0) {
  const length = native.read(raw, at + VNET_SIZE, LARGEST);
  if (length <= 0) {
    native.poll(pollAt, 1, LOOK_UP_MS);
    continue;
  }
  const packet = buffer.subarray(VNET_SIZE, VNET_SIZE + length);
  const inner = innerPacket(packet);
  if (inner === undefined) continue;
  // The outer header is longer than a vnet_hdr, which takes its last bytes.
  const header = buffer.subarray(inner.start, inner.start + VNET_SIZE);
  fillVnetHeader(header, packet.subarray(inner.start, inner.end));
  native.write(tun, at + inner.start, VNET_SIZE + inner.end - inner.start);
}
