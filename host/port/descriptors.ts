/** Descriptors of this process and the programs that it starts. */
import { readdirSync } from "node:fs";
import * as native from "./native.js";

const F_SETFD = 2;
const FD_CLOEXEC = 1;

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
