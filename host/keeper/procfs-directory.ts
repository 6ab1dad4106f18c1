/** The directory of --procfs: made by the keeper, the director's own, taken away at the end. */
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { errnoText, LvsError } from "../errors.js";
import { barred, type User } from "./user.js";

const FILES = ["ip_vs", "ip_vs_stats"].flatMap((name) => [name, `${name}.new`]);

export interface ProcfsDirectory {
  /** DIR/net. */
  readonly path: string;
  close(): void;
}

/** Throws an LvsError when it cannot be made, or when it is somebody else's. */
export function openProcfsDirectory(directory: string, user: User | undefined): ProcfsDirectory {
  const path = join(directory, "net");
  const made = [directory, path].filter((one) => !existsSync(one));
  try {
    for (const one of made) mkdirSync(one, 0o755);
    const others = readdirSync(path).filter((name) => !FILES.includes(name));
    if (others.length > 0) {
      throw new LvsError(
        "ERR_LVS_FILE",
        `--procfs ${directory}: ${path} has other files (${others[0]}): give a directory of its own`,
      );
    }
    const bar = user === undefined ? undefined : barred(user, path);
    if (bar !== undefined) {
      throw new LvsError(
        "ERR_LVS_FILE",
        `--procfs ${directory}: ${user!.name}, who writes there, cannot reach it (${bar} is closed to others): give a directory that others can read`,
      );
    }
    own(path, user);
  } catch (error) {
    for (const one of made.reverse()) if (existsSync(one)) rmdirSync(one);
    if (error instanceof LvsError) throw error;
    const reason = errnoText(-((error as NodeJS.ErrnoException).errno ?? 0));
    throw new LvsError("ERR_LVS_FILE", `--procfs ${directory}: ${reason}: give a directory that can be made`, error);
  }
  return {
    path,
    close: () => {
      try {
        for (const name of FILES) rmSync(join(path, name), { force: true });
        for (const one of made.toReversed()) rmdirSync(one);
      } catch {
        // Somebody put something there, or took it away: it is theirs.
      }
    },
  };
}

/** By descriptor: what the path names must not be exchanged for something else in between. */
function own(path: string, user: User | undefined): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    if (user !== undefined) fchownSync(fd, user.uid, user.gid);
    fchmodSync(fd, 0o755);
  } finally {
    closeSync(fd);
  }
}
