/** What TAP and TUN devices have in common: opened here, described by plain data, so that another process can use them. */
import * as Port from "../../assembly/layout/port.js";
import * as Slot from "../../assembly/layout/slot.js";
import { errnoText, LvsError } from "../errors.js";
import * as ioctl from "./ioctl.js";
import * as native from "./native.js";

export interface DeviceOptions {
  readonly name: string;
  /** Queues wanted: one a worker. */
  readonly queues: number;
  readonly mtu?: number | undefined;
  readonly netns?: string | undefined;
  readonly bridge?: string | undefined;
  readonly persist?: boolean | undefined;
  /** MAC for the kernel's end of a TAP that is made here; one that the kernel chooses by default. */
  readonly kernelMac?: string | undefined;
}

/** An open device: the descriptors of its queues, all but the first detached when there are several. */
export interface Device {
  readonly name: string;
  readonly kind: "tap" | "tun";
  readonly queues: readonly number[];
  /** layout/port CAPABILITY_*. */
  readonly capabilities: number;
  readonly mtu: number;
  /** MAC of the kernel's end; empty for a device without a link layer. */
  readonly kernelMac: string;
}

const OFFLOADS_TCP = ioctl.OFFLOAD_CHECKSUM | ioctl.OFFLOAD_TSO4 | ioctl.OFFLOAD_TSO6 | ioctl.OFFLOAD_TSO_ECN;
const OFFLOADS_ALL = OFFLOADS_TCP | ioctl.OFFLOAD_USO4 | ioctl.OFFLOAD_USO6;
const CAPABILITIES_TCP = Port.CAPABILITY_CHECKSUM | Port.CAPABILITY_TSO4 | Port.CAPABILITY_TSO6;

/** First byte of the highest locally administered MACs. */
const HIGHEST_LOCAL = 0xfe;

export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(":"), (byte) => Number.parseInt(byte, 16));
}

/** Opens (or makes) the device in its namespace and brings its kernel end up. Throws an LvsError, nothing left open. */
export function openDevice(kind: "tap" | "tun", options: DeviceOptions): Device {
  const queues: number[] = [];
  try {
    return ioctl.inNamespace(options.netns, () => openHere(kind, options, queues));
  } catch (error) {
    for (const fd of queues) native.close(fd);
    if (error instanceof LvsError) throw error;
    throw explain(kind, options, error);
  }
}

function openHere(kind: "tap" | "tun", options: DeviceOptions, queues: number[]): Device {
  const { name } = options;
  const base = (kind === "tap" ? ioctl.IFF_TAP : ioctl.IFF_TUN) | ioctl.IFF_NO_PI | ioctl.IFF_VNET_HDR;
  const existed = ioctl.interfaceIndex(name) !== 0;
  if (existed && !ioctl.isTunDevice(name)) throw otherKind(kind, name);
  // With many queues a second program would be let in as one more queue: a carrier tells that somebody is there.
  if (existed && ioctl.hasCarrier(name)) throw new DeviceInUse(name);
  // Said before anything is made: who waits for a bridge tries this again and again.
  if (options.bridge !== undefined && ioctl.interfaceIndex(options.bridge) === 0) throw noBridge(options.bridge, name);
  let multi = true;
  try {
    queues.push(ioctl.openTun(name, base | ioctl.IFF_MULTI_QUEUE));
  } catch (error) {
    // A device made beforehand with a single queue is refused as such.
    if (!(error instanceof ioctl.SystemError) || error.errno !== ioctl.EINVAL) throw error;
    multi = false;
    queues.push(ioctl.openTun(name, base));
  }
  const first = queues[0]!;
  if (existed && !ioctl.isPersistent(first)) throw new DeviceInUse(name);
  if (options.persist) ioctl.setPersist(first);
  if (multi) {
    for (let n = 1; n < options.queues; n++) {
      const fd = ioctl.openTun(name, base | ioctl.IFF_MULTI_QUEUE);
      queues.push(fd);
      ioctl.setQueueAttached(fd, false);
    }
  }
  let capabilities = kind === "tap" ? Port.CAPABILITY_LINK : 0;
  for (const fd of queues) ioctl.setVnetHeaderSize(fd, Slot.VNET_SIZE);
  if (ioctl.setOffload(first, OFFLOADS_ALL)) capabilities |= CAPABILITIES_TCP | Port.CAPABILITY_USO;
  else if (ioctl.setOffload(first, OFFLOADS_TCP)) capabilities |= CAPABILITIES_TCP;
  if (options.mtu !== undefined && options.mtu !== ioctl.getMtu(name)) ioctl.setMtu(name, options.mtu);
  if (options.kernelMac && !existed) ioctl.setKernelMac(name, macBytes(options.kernelMac));
  if (options.bridge !== undefined) enslave(options.bridge, name);
  bringUp(name, options);
  return {
    name,
    kind,
    queues,
    capabilities,
    mtu: ioctl.getMtu(name),
    kernelMac: kind === "tap" ? macText(ioctl.kernelMac(name)) : "",
  };
}

/** A device made for an unprivileged user may already be up, and only root may bring it up. */
function bringUp(name: string, options: DeviceOptions): void {
  if (ioctl.isUp(name)) return;
  try {
    ioctl.setUp(name);
  } catch (error) {
    if (!(error instanceof ioctl.SystemError) || error.errno !== ioctl.EPERM) throw error;
    throw new LvsError(
      "ERR_LVS_PERMISSION",
      `${name} is down and only root may bring it up: "ip link set ${name} up"${options.netns === undefined ? "" : ` in ${options.netns}`}`,
    );
  }
}

/** Puts a device that somebody took out of its bridge, or whose bridge was made anew, into it. Throws an LvsError. */
export function joinBridge(bridge: string, name: string, netns: string | undefined): void {
  ioctl.inNamespace(netns, () => enslave(bridge, name));
}

function enslave(bridge: string, name: string): void {
  try {
    // A bridge takes the lowest MAC of its ports for the machine's own: never this one's, which comes and goes.
    const mac = ioctl.kernelMac(name);
    mac[0] = HIGHEST_LOCAL;
    ioctl.setKernelMac(name, mac);
    ioctl.addToBridge(bridge, name);
  } catch (error) {
    // EBUSY: a persistent device that is in this bridge, or in another.
    if (error instanceof ioctl.SystemError && error.errno === ioctl.EBUSY) return;
    throw new LvsError("ERR_LVS_PORT_OPEN", `cannot put ${name} into ${bridge}: ${reason(error)}`, error);
  }
}

/** Somebody has the device, or had it a moment ago: the kernel lets go of what a killed process held after it is gone. */
export class DeviceInUse extends LvsError {
  readonly device: string;
  constructor(device: string) {
    super("ERR_LVS_PORT_OPEN", `${device} is in use by another program: end it, or take another name`);
    this.device = device;
  }
}

function noBridge(bridge: string, name: string): LvsError {
  return new LvsError(
    "ERR_LVS_PORT_OPEN",
    `no bridge ${bridge} for ${name}: make it with "ip link add ${bridge} type bridge"`,
  );
}

function otherKind(kind: "tap" | "tun", name: string): LvsError {
  return new LvsError("ERR_LVS_PORT_OPEN", `${name} exists and is no ${kind} device: take another name`);
}

function reason(error: unknown): string {
  return error instanceof ioctl.SystemError ? errnoText(error.errno) : String(error);
}

/** The line for a device that could not be opened. */
function explain(kind: "tap" | "tun", { name, mtu }: DeviceOptions, error: unknown): LvsError {
  if (!(error instanceof ioctl.SystemError))
    return new LvsError("ERR_LVS_PORT_OPEN", `${name}: ${reason(error)}`, error);
  const { errno, message } = error;
  const say = (text: string) => new LvsError("ERR_LVS_PORT_OPEN", text, error);
  if (message.startsWith("open /dev/net/tun")) {
    if (errno === ioctl.ENOENT || errno === ioctl.ENODEV) {
      return say('/dev/net/tun is missing: load it with "modprobe tun", or give it to the container');
    }
    return new LvsError("ERR_LVS_PERMISSION", `cannot open /dev/net/tun: ${errnoText(errno)} (run as root)`, error);
  }
  if (errno === ioctl.EPERM || errno === ioctl.EACCES) {
    return new LvsError(
      "ERR_LVS_PERMISSION",
      `no permission to open ${name}: run as root, or make it first with "ip tuntap add ${name} mode ${kind} user $USER vnet_hdr"`,
      error,
    );
  }
  if (message.startsWith("TUNSETIFF")) {
    if (errno === ioctl.EBUSY) return new DeviceInUse(name);
    if (errno === ioctl.EINVAL) return otherKind(kind, name);
  }
  if (message.startsWith("SIOCSIFMTU")) return say(`${name} does not take an MTU of ${mtu}: ${errnoText(errno)}`);
  return say(`cannot open ${name}: ${message}`);
}

export function closeDevice(device: Device): void {
  for (const fd of device.queues) native.close(fd);
}
