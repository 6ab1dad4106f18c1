/** Small things that are read of this machine. */
import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

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

/** Where a program is. The administrator's directories count though PATH may lack them. */
export function onPath(name: string): string | undefined {
  const directories = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  for (const directory of directories) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // The next one.
    }
  }
  return undefined;
}
