/** Descriptors of this process and the programs that it starts. */
import { readdirSync } from "node:fs";
import { errnoText, LvsError } from "../errors.js";
import * as native from "./native.js";

const F_SETFD = 2;
const F_DUPFD_CLOEXEC = 1030;
const FD_CLOEXEC = 1;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_CTRUNC = 8;
/** So many go in one message; the kernel takes 253. */
const TOGETHER = 128;
/** Parts of a message's buffer: struct msghdr, struct iovec, the one byte that it points at, then the control message. */
const HEADER = 0;
const FLAGS = HEADER + 48;
const VECTOR = 56;
const BYTE = VECTOR + 16;
const CONTROL = BYTE + 8;
/** struct cmsghdr. */
const CONTROL_HEADER = 16;
const SIZE = CONTROL + CONTROL_HEADER + 4 * TOGETHER;

/**
 * Keeps every descriptor to this process. Node does so with what it opens, and with what it inherits, but gives up at
 * the first gap in the numbers. (What a child is handed on purpose is not touched: that happens later, in the child.)
 */
export function keepDescriptors(): void {
  for (const name of readdirSync("/proc/self/fd")) {
    const fd = Number(name);
    if (fd > 2) native.fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
}

/** Another number for the same; -1 when none is left. It is not inherited. */
export function duplicate(fd: number): number {
  return native.fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/** Two ends over which descriptors can be sent; neither is inherited. */
export function socketPair(): readonly [number, number] {
  const pair = new Int32Array(2);
  const type = native.SOCK_SEQPACKET | native.SOCK_CLOEXEC;
  if (native.socketpair(native.AF_UNIX, type, 0, new Uint8Array(pair.buffer)) < 0) throw failed("socketpair");
  return [pair[0]!, pair[1]!];
}

/** Sends copies of descriptors over a socket, in their order; whoever sends closes its own. Never waits. */
export function sendDescriptors(socket: number, descriptors: readonly number[]): void {
  for (let at = 0; at < descriptors.length; at += TOGETHER) {
    const some = descriptors.slice(at, at + TOGETHER);
    const message = new Message(some.length);
    for (const [number, fd] of some.entries()) message.set(number, fd);
    if (native.sendmsg(socket, message.bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) throw failed("sendmsg");
  }
}

/** So many descriptors that were sent already, under the numbers that they have here. They are not inherited. */
export function receiveDescriptors(socket: number, count: number): number[] {
  const descriptors: number[] = [];
  while (descriptors.length < count) {
    const expected = Math.min(count - descriptors.length, TOGETHER);
    const message = new Message(expected);
    if (native.recvmsg(socket, message.bytes, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0) throw failed("recvmsg");
    for (let number = 0; number < message.count; number++) descriptors.push(message.get(number));
    if (message.isCut || message.count !== expected) {
      for (const fd of descriptors) native.close(fd);
      throw new LvsError("ERR_LVS_DIRECTOR", "not every descriptor arrived: are too many open (ulimit -n)?");
    }
  }
  return descriptors;
}

/** A struct msghdr with one byte of data and room for descriptors. */
class Message {
  /** Outside of the heap, so that they stay where they are: the header points at what follows it. */
  readonly bytes = new Uint8Array(new ArrayBuffer(SIZE));
  private readonly view = new DataView(this.bytes.buffer);
  private readonly address = native.addressOf(this.bytes);

  constructor(descriptors: number) {
    this.pointer(HEADER + 16, VECTOR);
    this.word(HEADER + 24, 1);
    this.pointer(HEADER + 32, CONTROL);
    const length = CONTROL_HEADER + 4 * descriptors;
    this.word(HEADER + 40, (length + 7) & ~7);
    this.pointer(VECTOR, BYTE);
    this.word(VECTOR + 8, 1);
    this.word(CONTROL, length);
    this.view.setInt32(CONTROL + 8, SOL_SOCKET, true);
    this.view.setInt32(CONTROL + 12, SCM_RIGHTS, true);
  }

  /** How many came. */
  get count(): number {
    const { view } = this;
    if (Number(view.getBigUint64(HEADER + 40, true)) < CONTROL_HEADER) return 0;
    return (Number(view.getBigUint64(CONTROL, true)) - CONTROL_HEADER) >>> 2;
  }

  /** There was no room for all of them. */
  get isCut(): boolean {
    return (this.view.getInt32(FLAGS, true) & MSG_CTRUNC) !== 0;
  }

  get(number: number): number {
    return this.view.getInt32(CONTROL + CONTROL_HEADER + 4 * number, true);
  }

  set(number: number, fd: number): void {
    this.view.setInt32(CONTROL + CONTROL_HEADER + 4 * number, fd, true);
  }

  private pointer(at: number, to: number): void {
    this.word(at, this.address + to);
  }

  private word(at: number, value: number): void {
    this.view.setBigUint64(at, BigInt(value), true);
  }
}

function failed(call: string): LvsError {
  return new LvsError("ERR_LVS_DIRECTOR", `${call}: ${errnoText(native.errno())}`);
}
