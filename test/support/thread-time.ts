/** Milliseconds that this thread has run for; others, of this process too, may have the processor in between. */
import { readFileSync } from "node:fs";

export function threadTime(): number {
  return Number(readFileSync("/proc/thread-self/schedstat", "utf8").split(" ", 1)[0]) / 1e6;
}
