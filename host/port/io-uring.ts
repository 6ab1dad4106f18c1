/** The three system calls of io_uring, for a ring that lies in memory of ours. */
import { errnoText } from "../errors.js";
import { EAGAIN, EBUSY, EINTR, ENOMEM, EPERM } from "./ioctl.js";
import * as native from "./native.js";

const SETUP = 425;
const ENTER = 426;
const REGISTER = 427;

const SETUP_CQSIZE = 1 << 3;
const SETUP_SUBMIT_ALL = 1 << 7;
const SETUP_TASKRUN_FLAG = 1 << 9;
const SETUP_SINGLE_ISSUER = 1 << 12;
const SETUP_DEFER_TASKRUN = 1 << 13;
const SETUP_NO_MMAP = 1 << 14;
const SETUP_NO_SQARRAY = 1 << 16;

const REGISTER_FILES = 2;
const UNREGISTER_FILES = 3;
const REGISTER_PROBE = 8;
const REGISTER_PBUF_RING = 22;
const UNREGISTER_PBUF_RING = 23;
const ENTER_GETEVENTS = 1;
const ENTER_EXT_ARG = 8;
const OPERATION_SUPPORTED = 1;
const PROBE_OPERATIONS = 64;
const ARGUMENT_SIZE = 24;

const ENOSYS = 38;
const ETIME = 62;

/** This kernel, or what surrounds this process, has no such ring; the message says what is missing. */
export class NoUring extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NoUring";
  }
}

/** Where the ring's words lie, from the begin of its memory. */
export interface RingOffsets {
  readonly submitHead: number;
  readonly submitTail: number;
  readonly submitFlags: number;
  readonly completeHead: number;
  readonly completeTail: number;
  readonly completeMask: number;
  readonly completions: number;
  readonly completionCount: number;
}

export interface RingOptions {
  readonly submissions: number;
  readonly completions: number;
  /** Addresses in this process, page-aligned, zeroed: of the submissions, and of the ring. */
  readonly entriesAt: number;
  readonly ringAt: number;
}

/** Memory that does not move, for what the kernel reads by address. */
function fixed(size: number): Buffer {
  return Buffer.from(new ArrayBuffer(size));
}

function refusal(call: string, errno: number): NoUring {
  if (errno === ENOSYS) return new NoUring("this kernel has no io_uring");
  if (errno === EPERM) return new NoUring("io_uring is forbidden here (kernel.io_uring_disabled, or a seccomp filter)");
  if (errno === ENOMEM) return new NoUring("the limit of locked memory is too low (ulimit -l)");
  return new NoUring(`${call}: ${errnoText(errno)}`);
}

/** A ring of the thread that makes it: nobody else may use it. */
export class Ring {
  readonly offsets: RingOffsets;
  readonly fd: number;

  constructor(options: RingOptions) {
    const params = fixed(120);
    params.writeUInt32LE(
      SETUP_CQSIZE |
        SETUP_SUBMIT_ALL |
        SETUP_TASKRUN_FLAG |
        SETUP_SINGLE_ISSUER |
        SETUP_DEFER_TASKRUN |
        SETUP_NO_MMAP |
        SETUP_NO_SQARRAY,
      8,
    );
    params.writeUInt32LE(options.completions, 4);
    params.writeBigUInt64LE(BigInt(options.entriesAt), 72);
    params.writeBigUInt64LE(BigInt(options.ringAt), 112);
    this.fd = native.syscall6(SETUP, options.submissions, native.addressOf(params), 0, 0, 0, 0);
    if (this.fd < 0) throw refusal("io_uring_setup", native.errno());
    this.offsets = {
      submitHead: params.readUInt32LE(40),
      submitTail: params.readUInt32LE(44),
      submitFlags: params.readUInt32LE(56),
      completeHead: params.readUInt32LE(80),
      completeTail: params.readUInt32LE(84),
      completeMask: params.readUInt32LE(88),
      completions: params.readUInt32LE(100),
      completionCount: params.readUInt32LE(4),
    };
  }

  /** Whether the kernel knows an operation. */
  supports(operation: number): boolean {
    const probe = fixed(16 + 8 * PROBE_OPERATIONS);
    if (native.syscall6(REGISTER, this.fd, REGISTER_PROBE, native.addressOf(probe), PROBE_OPERATIONS, 0, 0) < 0) {
      return false;
    }
    return (probe.readUInt16LE(16 + 8 * operation + 2) & OPERATION_SUPPORTED) !== 0;
  }

  /** The ring's own table of descriptors: an operation then need not take and drop a reference. */
  registerFiles(fds: readonly number[]): void {
    const table = fixed(4 * fds.length);
    for (const [at, fd] of fds.entries()) table.writeInt32LE(fd, 4 * at);
    const at = native.addressOf(table);
    if (native.syscall6(REGISTER, this.fd, REGISTER_FILES, at, fds.length, 0, 0) < 0) {
      throw refusal("table of descriptors", native.errno());
    }
  }

  unregisterFiles(): void {
    native.syscall6(REGISTER, this.fd, UNREGISTER_FILES, 0, 0, 0, 0);
  }

  /** Buffers of a group come from the ring at that address. */
  registerBuffers(group: number, at: number, entries: number): void {
    if (this.register(REGISTER_PBUF_RING, group, at, entries) < 0) {
      throw refusal("rings of provided buffers", native.errno());
    }
  }

  /** From here on the kernel does not look at the group's ring. */
  unregisterBuffers(group: number): void {
    this.register(UNREGISTER_PBUF_RING, group, 0, 0);
  }

  /** Hands over submissions and lets completions come, without waiting. */
  enter(submit: number): void {
    const result = native.syscall6(ENTER, this.fd, submit, 0, ENTER_GETEVENTS, 0, 0);
    if (result < 0) this.check();
  }

  /** The same, and waits for a completion; the time limit is what the argument at that address says. */
  wait(submit: number, argument: number): void {
    const flags = ENTER_GETEVENTS | ENTER_EXT_ARG;
    const result = native.syscall6(ENTER, this.fd, submit, 1, flags, argument, ARGUMENT_SIZE);
    if (result < 0) this.check();
  }

  close(): void {
    native.close(this.fd);
  }

  private register(operation: number, group: number, at: number, entries: number): number {
    const registration = fixed(40);
    registration.writeBigUInt64LE(BigInt(at), 0);
    registration.writeUInt32LE(entries, 8);
    registration.writeUInt16LE(group, 12);
    return native.syscall6(REGISTER, this.fd, operation, native.addressOf(registration), 1, 0, 0);
  }

  /** What the ring's own words tell is no error: a time that is over, a signal, completions that want to be taken. */
  private check(): void {
    const errno = native.errno();
    if (errno === ETIME || errno === EINTR || errno === EBUSY || errno === EAGAIN) return;
    throw new Error(`io_uring_enter: ${errnoText(errno)}`);
  }
}
