/** The director's process, started without privileges; it waits for the keeper's first message. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { socketPair } from "../port/descriptors.js";
import * as native from "../port/native.js";
import type { User } from "./user.js";

export const DIRECTOR = fileURLToPath(new URL("./director-main.js", import.meta.url));
/** Descriptors of the director: 0 to 2, the channel on 3, then the socket by which it is sent all others. */
export const DESCRIPTORS_FD = 4;

export interface DirectorProcess {
  readonly child: ChildProcess;
  /** Our end of the socket; whoever has the process closes it. */
  readonly socket: number;
}

/** undefined: as the user that this process runs as. */
export function spawnDirector(user: User | undefined): DirectorProcess {
  const [ours, theirs] = socketPair();
  try {
    const child = spawn(process.execPath, ["--title=wlvs-director", DIRECTOR], {
      cwd: "/",
      env: { PATH: process.env.PATH, TZ: process.env.TZ, WLVS_DEBUG: process.env.WLVS_DEBUG },
      stdio: ["ignore", "ignore", "inherit", "ipc", theirs],
      ...(user !== undefined && { uid: user.uid, gid: user.gid }),
    });
    return { child, socket: ours };
  } catch (error) {
    native.close(ours);
    throw error;
  } finally {
    native.close(theirs);
  }
}
