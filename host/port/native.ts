/**
 * The system calls that Node does not offer, through FFI. Nothing else in the host loads koffi.
 *
 * Addresses are plain numbers (they fit 53 bits), so that a hot call allocates nothing. Calls return what libc does:
 * -1 and an errno, which errno() tells as long as no other call came between.
 */
import koffi from "koffi";

const libc = koffi.load("libc.so.6");

export const open = libc.func("open", "int", ["str", "int", "int"]) as (
  path: string,
  flags: number,
  mode: number,
) => number;
export const close = libc.func("close", "int", ["int"]) as (fd: number) => number;
/** Reads to a plain address: WASM memory of a shared, never growing memory. */
export const read = libc.func("read", "intptr_t", ["int", "uintptr_t", "size_t"]) as (
  fd: number,
  address: number,
  length: number,
) => number;
export const write = libc.func("write", "intptr_t", ["int", "uintptr_t", "size_t"]) as (
  fd: number,
  address: number,
  length: number,
) => number;
/** The vector is an array of struct iovec at that address. */
export const writev = libc.func("writev", "intptr_t", ["int", "uintptr_t", "int"]) as (
  fd: number,
  vector: number,
  count: number,
) => number;
/** Blocks the calling thread: for workers, and with a timeout of 0 for anybody. */
export const poll = libc.func("poll", "int", ["uintptr_t", "ulong", "int"]) as (
  fds: number,
  count: number,
  timeoutMs: number,
) => number;
export const eventfd = libc.func("eventfd", "int", ["uint", "int"]) as (value: number, flags: number) => number;
export const setns = libc.func("setns", "int", ["int", "int"]) as (fd: number, type: number) => number;
export const socket = libc.func("socket", "int", ["int", "int", "int"]) as (
  domain: number,
  type: number,
  protocol: number,
) => number;
export const bind = libc.func("bind", "int", ["int", "void *", "uint"]) as (
  fd: number,
  address: Uint8Array,
  length: number,
) => number;
export const connect = libc.func("connect", "int", ["int", "void *", "uint"]) as (
  fd: number,
  address: Uint8Array,
  length: number,
) => number;
export const setsockopt = libc.func("setsockopt", "int", ["int", "int", "int", "void *", "uint"]) as (
  fd: number,
  level: number,
  option: number,
  value: Uint8Array,
  length: number,
) => number;
export const sendto = libc.func("sendto", "intptr_t", ["int", "void *", "size_t", "int", "void *", "uint"]) as (
  fd: number,
  data: Uint8Array,
  length: number,
  flags: number,
  address: Uint8Array,
  addressLength: number,
) => number;
/** Fills two ints with descriptors. */
export const socketpair = libc.func("socketpair", "int", ["int", "int", "int", "void *"]) as (
  domain: number,
  type: number,
  protocol: number,
  pair: Uint8Array,
) => number;
/** The header begins with a struct msghdr. */
export const sendmsg = libc.func("sendmsg", "intptr_t", ["int", "void *", "int"]) as (
  fd: number,
  header: Uint8Array,
  flags: number,
) => number;
export const recvmsg = libc.func("recvmsg", "intptr_t", ["int", "void *", "int"]) as (
  fd: number,
  header: Uint8Array,
  flags: number,
) => number;
export const listen = libc.func("listen", "int", ["int", "int"]) as (fd: number, backlog: number) => number;
/** ioctl with a structure, and with a value in the argument itself. */
export const ioctl = libc.func("ioctl", "int", ["int", "ulong", "void *"]) as (
  fd: number,
  request: number,
  argument: Uint8Array,
) => number;
export const ioctlValue = libc.func("ioctl", "int", ["int", "ulong", "uintptr_t"]) as (
  fd: number,
  request: number,
  argument: number,
) => number;
export const madvise = libc.func("madvise", "int", ["uintptr_t", "size_t", "int"]) as (
  address: number,
  length: number,
  advice: number,
) => number;
/** A file that lies in memory and has no name. */
export const memfdCreate = libc.func("memfd_create", "int", ["str", "uint"]) as (name: string, flags: number) => number;
export const flock = libc.func("flock", "int", ["int", "int"]) as (fd: number, operation: number) => number;
/** F_GETFL and F_SETFL. */
export const fcntl = libc.func("fcntl", "int", ["int", "int", "long"]) as (
  fd: number,
  command: number,
  argument: number,
) => number;
/** Acts on the calling thread alone. */
export const prctl = libc.func("prctl", "int", ["int", "ulong", "ulong", "ulong", "ulong"]) as (
  option: number,
  a: number,
  b: number,
  c: number,
  d: number,
) => number;
/** Of the calling thread alone; the header is struct __user_cap_header_struct, the data two of __user_cap_data_struct. */
export const capget = libc.func("capget", "int", ["void *", "void *"]) as (
  header: Uint8Array,
  data: Uint8Array,
) => number;
export const capset = libc.func("capset", "int", ["void *", "void *"]) as (
  header: Uint8Array,
  data: Uint8Array,
) => number;
/** For io_uring: setup, enter, register. */
export const syscall6 = libc.func("syscall", "long", ["long", "long", "long", "long", "long", "long", "long"]) as (
  number: number,
  a: number,
  b: number,
  c: number,
  d: number,
  e: number,
  f: number,
) => number;

/** The errno of the last call of this thread. */
export function errno(): number {
  return koffi.errno();
}

/** Where a view's first byte lies. Valid for ever on WASM memory whose initial size is its maximum. */
export function addressOf(view: Uint8Array): number {
  return Number(koffi.address(view));
}

/** Whether reads that find nothing return at once. Holds for everybody who shares the open file. */
export function setBlocking(fd: number, blocking: boolean): void {
  const flags = fcntl(fd, F_GETFL, 0);
  if (flags < 0) return;
  fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

const F_GETFL = 3;
const F_SETFL = 4;
export const O_RDONLY = 0;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;
export const EFD_CLOEXEC = 0o2000000;
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOCK_CLOEXEC = 0o2000000;
export const SOCK_NONBLOCK = 0o4000;
export const CLONE_NEWNET = 0x40000000;
export const MFD_CLOEXEC = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const PR_SET_PDEATHSIG = 1;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_CAPBSET_DROP = 24;
export const PR_CAPBSET_READ = 23;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;
export const POLLIN = 1;
export const POLLERR = 8;
