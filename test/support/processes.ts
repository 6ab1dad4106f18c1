import { readdirSync, readFileSync } from "node:fs";

/** The children of a running `wlvs run` by what they are: director, checker, or else their whole command line. */
export function childrenByRole(keeper: number): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const parent = readFileSync(`/proc/${name}/stat`, "latin1")
        .replace(/^.*\) /s, "")
        .split(" ")[1];
      if (Number(parent) !== keeper) continue;
      const title = readFileSync(`/proc/${name}/cmdline`, "latin1").split("\0").join(" ");
      const role = /wlvs-(director|checker)/.exec(title)?.[1] ?? title;
      found.set(role, [...(found.get(role) ?? []), Number(name)]);
    } catch {
      // Ended meanwhile.
    }
  }
  return found;
}
