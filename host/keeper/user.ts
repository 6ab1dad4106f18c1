/** Users and groups by name, and whether one of them could read a file. */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { LvsError, usage } from "../errors.js";

export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

function entries(file: string): string[][] {
  try {
    return (
      readFileSync(file, "utf8")
        .split("\n")
        .map((line) => line.split(":"))
        // The last line is empty, and NIS has lines that name nobody.
        .filter(([name, , id]) => name !== "" && /^\d+$/.test(id ?? ""))
    );
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `cannot read ${file}`, error);
  }
}

/** A user of /etc/passwd, by name or number. */
export function findUser(text: string): User {
  const found = entries("/etc/passwd").find(([name, , uid]) => name === text || uid === text);
  if (found === undefined) throw usage(`--user ${text}: no such user in /etc/passwd`);
  return { name: found[0]!, uid: Number(found[2]), gid: Number(found[3]) };
}

/** Whether this user namespace has that user and its group: only then can a process become it. */
export function isMapped({ uid, gid }: User): boolean {
  const maps = [
    ["uid_map", uid],
    ["gid_map", gid],
  ] as const;
  return maps.every(([file, id]) => {
    let map: string;
    try {
      map = readFileSync(`/proc/self/${file}`, "utf8");
    } catch {
      return true;
    }
    return map.split("\n").some((line) => {
      const [first = Number.NaN, , count = 0] = line.trim().split(/\s+/).map(Number);
      return id >= first && id - first < count;
    });
  });
}

export function findGroup(text: string): number {
  const found = entries("/etc/group").find(([name, , gid]) => name === text || gid === text);
  if (found === undefined) throw usage(`--socket-group ${text}: no such group in /etc/group`);
  return Number(found[2]);
}

/** The first part of a path that bars this user, without supplementary groups; undefined when the file can be read. */
export function barred(user: User, file: string): string | undefined {
  if (user.uid === 0) return undefined;
  let path = realpathSync(file);
  let wanted = 4;
  for (;;) {
    const { mode, uid, gid } = statSync(path);
    const bits = uid === user.uid ? mode >> 6 : gid === user.gid ? mode >> 3 : mode;
    if ((bits & wanted) === 0) return path;
    const parent = dirname(path);
    if (parent === path) return undefined;
    path = parent;
    wanted = 1;
  }
}
