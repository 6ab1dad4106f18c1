/** Network devices through ioctl: /dev/net/tun, MTU, up, bridge, and the namespace that all this happens in. */
import { errnoText, LvsError } from "../errors.js";
import * as native from "./native.js";

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const TUNGETIFF = 0x800454d2;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUNSETQUEUE = 0x400454d9;
export const IFF_TUN = 0x1;
export const IFF_TAP = 0x2;
export const IFF_MULTI_QUEUE = 0x100;
const IFF_ATTACH_QUEUE = 0x200;
const IFF_DETACH_QUEUE = 0x400;
const IFF_PERSIST = 0x800;
export const IFF_NO_PI = 0x1000;
export const IFF_VNET_HDR = 0x4000;

export const OFFLOAD_CHECKSUM = 1;
export const OFFLOAD_TSO4 = 2;
export const OFFLOAD_TSO6 = 4;
export const OFFLOAD_TSO_ECN = 8;
export const OFFLOAD_USO4 = 0x20;
export const OFFLOAD_USO6 = 0x40;

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFMTU = 0x8921;
const SIOCSIFMTU = 0x8922;
const SIOCSIFHWADDR = 0x8924;
const SIOCGIFHWADDR = 0x8927;
const SIOCGIFINDEX = 0x8933;
const SIOCETHTOOL = 0x8946;
const SIOCBRADDIF = 0x89a2;
const ETHTOOL_GDRVINFO = 0x03;
const ETHTOOL_GLINK = 0x0a;
const IFF_UP = 1;
const ARPHRD_ETHER = 1;
const IFREQ_SIZE = 40;
export const NAME_MAX = 15;

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EBUSY = 16;
export const ENODEV = 19;
export const EINVAL = 22;
export const EBADFD = 77;

/** A system call that failed; what it was for is said by whoever asked. */
export class SystemError extends Error {
  readonly errno: number;
  constructor(call: string, errno: number) {
    super(`${call}: ${errnoText(errno)}`);
    this.name = "SystemError";
    this.errno = errno;
  }
}

function ifreq(name: string): Buffer {
  const request = Buffer.alloc(IFREQ_SIZE);
  request.write(name, 0, NAME_MAX, "latin1");
  return request;
}

function check(result: number, call: string): number {
  if (result < 0) throw new SystemError(call, native.errno());
  return result;
}

/** Opens /dev/net/tun without blocking reads and attaches it to a device, which it makes when there is none. */
export function openTun(name: string, flags: number): number {
  const fd = check(
    native.open("/dev/net/tun", native.O_RDWR | native.O_NONBLOCK | native.O_CLOEXEC, 0),
    "open /dev/net/tun",
  );
  const request = ifreq(name);
  request.writeUInt16LE(flags, 16);
  if (native.ioctl(fd, TUNSETIFF, request) < 0) {
    const error = new SystemError("TUNSETIFF", native.errno());
    native.close(fd);
    throw error;
  }
  return fd;
}

export function setVnetHeaderSize(fd: number, size: number): void {
  const argument = Buffer.alloc(4);
  argument.writeInt32LE(size, 0);
  check(native.ioctl(fd, TUNSETVNETHDRSZ, argument), "TUNSETVNETHDRSZ");
}

/** Tells the kernel which unfinished frames may be read here; false when it knows less than that. */
export function setOffload(fd: number, offloads: number): boolean {
  return native.ioctlValue(fd, TUNSETOFFLOAD, offloads) >= 0;
}

export function setPersist(fd: number): void {
  check(native.ioctlValue(fd, TUNSETPERSIST, 1), "TUNSETPERSIST");
}

export function isPersistent(fd: number): boolean {
  const request = Buffer.alloc(IFREQ_SIZE);
  check(native.ioctl(fd, TUNGETIFF, request), "TUNGETIFF");
  return (request.readUInt16LE(16) & IFF_PERSIST) !== 0;
}

/** False once the device under this descriptor was deleted. */
export function isAttached(fd: number): boolean {
  return native.ioctl(fd, TUNGETIFF, Buffer.alloc(IFREQ_SIZE)) >= 0;
}

/** A queue that is attached receives; one that is detached waits for its owner. */
export function setQueueAttached(fd: number, attached: boolean): void {
  const request = Buffer.alloc(IFREQ_SIZE);
  request.writeUInt16LE(attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE, 16);
  if (native.ioctl(fd, TUNSETQUEUE, request) >= 0) return;
  const errno = native.errno();
  // It is so already: whoever had the queue before was killed.
  if (errno !== EINVAL) throw new SystemError("TUNSETQUEUE", errno);
}

/** Runs with a socket that device requests are made on, in the namespace that the thread is in. */
function withSocket<T>(body: (fd: number) => T): T {
  const fd = check(native.socket(native.AF_INET, native.SOCK_DGRAM | native.SOCK_CLOEXEC, 0), "socket");
  try {
    return body(fd);
  } finally {
    native.close(fd);
  }
}

function ask(name: string, code: number, call: string): Buffer {
  return withSocket((fd) => {
    const request = ifreq(name);
    check(native.ioctl(fd, code, request), call);
    return request;
  });
}

/** 0 when there is no such device. */
export function interfaceIndex(name: string): number {
  return withSocket((fd) => {
    const request = ifreq(name);
    if (native.ioctl(fd, SIOCGIFINDEX, request) >= 0) return request.readInt32LE(16);
    const errno = native.errno();
    if (errno === ENODEV) return 0;
    throw new SystemError("SIOCGIFINDEX", errno);
  });
}

export function getMtu(name: string): number {
  return ask(name, SIOCGIFMTU, "SIOCGIFMTU").readInt32LE(16);
}

export function setMtu(name: string, mtu: number): void {
  withSocket((fd) => {
    const request = ifreq(name);
    request.writeInt32LE(mtu, 16);
    check(native.ioctl(fd, SIOCSIFMTU, request), "SIOCSIFMTU");
  });
}

export function isUp(name: string): boolean {
  return (ask(name, SIOCGIFFLAGS, "SIOCGIFFLAGS").readUInt16LE(16) & IFF_UP) !== 0;
}

export function setUp(name: string): void {
  withSocket((fd) => {
    const request = ifreq(name);
    check(native.ioctl(fd, SIOCGIFFLAGS, request), "SIOCGIFFLAGS");
    const flags = request.readUInt16LE(16);
    if ((flags & IFF_UP) !== 0) return;
    request.writeUInt16LE(flags | IFF_UP, 16);
    check(native.ioctl(fd, SIOCSIFFLAGS, request), "SIOCSIFFLAGS");
  });
}

/** The MAC of the kernel's end. */
export function kernelMac(name: string): Buffer {
  return Buffer.from(ask(name, SIOCGIFHWADDR, "SIOCGIFHWADDR").subarray(18, 24));
}

export function setKernelMac(name: string, mac: Uint8Array): void {
  withSocket((fd) => {
    const request = ifreq(name);
    request.writeUInt16LE(ARPHRD_ETHER, 16);
    request.set(mac, 18);
    check(native.ioctl(fd, SIOCSIFHWADDR, request), "SIOCSIFHWADDR");
  });
}

/** A TAP has a carrier as long as some program holds a queue of it. */
export function hasCarrier(name: string): boolean {
  return ethtool(name, ETHTOOL_GLINK, 8)?.[4] === 1;
}

/** Made by /dev/net/tun: a TAP or a TUN. */
export function isTunDevice(name: string): boolean {
  const answer = ethtool(name, ETHTOOL_GDRVINFO, 196);
  return answer !== undefined && answer.toString("latin1", 4, 8) === "tun\0";
}

function ethtool(name: string, command: number, size: number): Buffer | undefined {
  // The kernel follows a pointer: memory of an ArrayBuffer of its own does not move.
  const value = Buffer.from(new ArrayBuffer(size));
  value.writeUInt32LE(command, 0);
  return withSocket((fd) => {
    const request = ifreq(name);
    request.writeBigUInt64LE(BigInt(native.addressOf(value)), 16);
    return native.ioctl(fd, SIOCETHTOOL, request) >= 0 ? value : undefined;
  });
}

export function addToBridge(bridge: string, name: string): void {
  const index = interfaceIndex(name);
  withSocket((fd) => {
    const request = ifreq(bridge);
    request.writeInt32LE(index, 16);
    check(native.ioctl(fd, SIOCBRADDIF, request), "SIOCBRADDIF");
  });
}

/**
 * Runs something synchronous in a named network namespace: what it opens stays there. The thread is back in its own
 * afterwards, whatever happens.
 */
export function inNamespace<T>(name: string | undefined, body: () => T): T {
  if (name === undefined) return body();
  const flags = native.O_RDONLY | native.O_CLOEXEC;
  const there = native.open(name.startsWith("/") ? name : `/var/run/netns/${name}`, flags, 0);
  if (there < 0) {
    const errno = native.errno();
    throw new LvsError(
      "ERR_LVS_NETNS",
      errno === ENOENT
        ? `no network namespace ${name}: make it with "ip netns add ${name}"`
        : `network namespace ${name}: ${errnoText(errno)}`,
    );
  }
  const home = native.open("/proc/thread-self/ns/net", flags, 0);
  try {
    check(home, "open /proc/thread-self/ns/net");
    if (native.setns(there, native.CLONE_NEWNET) < 0) {
      const errno = native.errno();
      throw new LvsError(
        errno === EPERM ? "ERR_LVS_PERMISSION" : "ERR_LVS_NETNS",
        `cannot enter the network namespace ${name}: ${errnoText(errno)}${errno === EPERM ? " (run as root)" : ""}`,
      );
    }
    try {
      return body();
    } finally {
      // A thread left in a foreign namespace would do everything else there too.
      if (native.setns(home, native.CLONE_NEWNET) < 0) process.abort();
    }
  } finally {
    native.close(there);
    if (home >= 0) native.close(home);
  }
}
