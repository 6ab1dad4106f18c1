/** IP-in-IP without the kernel's ipip: a raw socket takes the packets, a TUN device gives out what was in them. */
import { Worker } from "node:worker_threads";
import { errnoText, LvsError } from "../errors.js";
import * as ioctl from "../port/ioctl.js";
import * as native from "../port/native.js";
import { VNET_SIZE } from "./ipip.js";
import { TUNNEL_DEVICE } from "./prepare.js";

const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
/** A burst of super-frames waits here while the thread is busy: a small buffer loses it. */
const RECEIVE_BYTES = 16 << 20;
const IPPROTO_IPIP = 4;

export interface Decapsulator {
  close(): Promise<void>;
}

/** Makes the device, up and ready for an address. */
export function openDecapsulator(): Decapsulator {
  const raw = native.socket(native.AF_INET, SOCK_RAW | native.SOCK_CLOEXEC | native.SOCK_NONBLOCK, IPPROTO_IPIP);
  if (raw < 0) {
    const errno = native.errno();
    const hint = errno === ioctl.EPERM ? " (run as root)" : "";
    throw new LvsError("ERR_LVS_PERMISSION", `cannot open a raw socket for IP-in-IP: ${errnoText(errno)}${hint}`);
  }
  const size = Buffer.alloc(4);
  size.writeInt32LE(RECEIVE_BYTES);
  native.setsockopt(raw, SOL_SOCKET, SO_RCVBUFFORCE, size, size.length);
  let tun: number;
  try {
    tun = ioctl.openTun(TUNNEL_DEVICE, ioctl.IFF_TUN | ioctl.IFF_NO_PI | ioctl.IFF_VNET_HDR);
    ioctl.setVnetHeaderSize(tun, VNET_SIZE);
    ioctl.setUp(TUNNEL_DEVICE);
  } catch (error) {
    native.close(raw);
    throw new LvsError("ERR_LVS_PORT_OPEN", `cannot make ${TUNNEL_DEVICE}: ${(error as Error).message}`, error);
  }
  const stop = new SharedArrayBuffer(4);
  const worker = new Worker(new URL("./decapsulator-worker.js", import.meta.url), { workerData: { raw, tun, stop } });
  const gone = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  return {
    close: async () => {
      Atomics.store(new Int32Array(stop), 0, 1);
      await gone;
      native.close(tun);
      native.close(raw);
    },
  };
}
