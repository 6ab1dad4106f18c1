/** The control socket: made by the keeper, listened on by the director, so that it outlives a director that died. */
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { errnoText, LvsError } from "../errors.js";
import * as native from "../port/native.js";
import { unixAddress } from "../port/unix-address.js";

const BACKLOG = 128;
const EAGAIN = 11;
const ENOENT = 2;
const ECONNREFUSED = 111;

export interface ControlSocket {
  readonly fd: number;
  close(): void;
}

function openSocket(): number {
  const fd = native.socket(native.AF_UNIX, native.SOCK_STREAM | native.SOCK_CLOEXEC | native.SOCK_NONBLOCK, 0);
  if (fd < 0) throw new LvsError("ERR_LVS_SOCKET", `socket: ${errnoText(native.errno())}`);
  return fd;
}

/** Whether somebody listens on a socket that is there already. */
function isLive(path: string, address: Uint8Array): boolean {
  const fd = openSocket();
  try {
    if (native.connect(fd, address, address.length) >= 0) return true;
    const errno = native.errno();
    if (errno === ECONNREFUSED || errno === ENOENT) return false;
    // A full backlog: somebody is there, only busy.
    if (errno === EAGAIN) return true;
    throw new LvsError("ERR_LVS_SOCKET", `cannot look at ${path}: ${errnoText(errno)}`);
  } finally {
    native.close(fd);
  }
}

/** Takes away the socket of a director that ended badly, and nothing else. */
function clearPath(path: string, address: Uint8Array): void {
  let found: ReturnType<typeof lstatSync>;
  try {
    found = lstatSync(path);
  } catch {
    return;
  }
  if (!found.isSocket()) throw new LvsError("ERR_LVS_SOCKET", `${path} exists and is no socket: give --socket PATH`);
  if (isLive(path, address)) {
    throw new LvsError("ERR_LVS_SOCKET", `a director already answers on ${path}: end it, or give --socket PATH`);
  }
  unlinkSync(path);
}

/** 0600, or 0660 for a group. */
export function openControlSocket(path: string, gid: number | undefined): ControlSocket {
  const address = unixAddress(path);
  const failed = (what: string, reason: string, cause?: unknown) =>
    new LvsError("ERR_LVS_SOCKET", `cannot ${what} ${path}: ${reason} (give --socket PATH)`, cause);
  try {
    // One directory, as /run/wlvs/ is; a longer path that does not exist is more likely a slip.
    if (!existsSync(dirname(path))) mkdirSync(dirname(path));
    clearPath(path, address);
  } catch (error) {
    if (error instanceof LvsError) throw error;
    throw failed("make", errnoText(-((error as NodeJS.ErrnoException).errno ?? 0)), error);
  }
  const fd = openSocket();
  const before = process.umask(0o177);
  const bound = native.bind(fd, address, address.length);
  const errno = native.errno();
  process.umask(before);
  if (bound < 0) {
    native.close(fd);
    throw failed("make", errnoText(errno));
  }
  const { ino } = lstatSync(path);
  const close = () => {
    native.close(fd);
    try {
      // Somebody may have put another one there meanwhile.
      if (lstatSync(path).ino === ino) unlinkSync(path);
    } catch {
      // Gone already.
    }
  };
  try {
    if (gid !== undefined) {
      chownSync(path, -1, gid);
      chmodSync(path, 0o660);
    }
    if (native.listen(fd, BACKLOG) < 0) throw new Error(errnoText(native.errno()));
  } catch (error) {
    close();
    throw failed("open", (error as Error).message, error);
  }
  return { fd, close };
}
