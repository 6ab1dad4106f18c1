/** Small things that are read of this machine. */
import { readFileSync } from "node:fs";

export { findProgram as onPath } from "../lab/network.js";

/** A file without the space around it; undefined when it cannot be read. */
export function text(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

export function sysctl(name: string): string | undefined {
  return text(`/proc/sys/${name.replaceAll(".", "/")}`);
}
