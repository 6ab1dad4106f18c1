/** Who the director runs as. */
import { fileURLToPath } from "node:url";
import { corePath } from "../core/instance.js";
import { LvsError } from "../errors.js";
import { DIRECTOR } from "./spawn.js";
import { barred, findUser, isMapped, type User } from "./user.js";

export interface Choice {
  /** undefined: whoever runs the keeper. */
  readonly user: User | undefined;
  /** Why it is root all the same, though nobody asked for that. */
  readonly because?: { readonly reason: "user-namespace" | "barred"; readonly text: string } | undefined;
}

/** By what --user said. Throws when the director cannot be run as that user. */
export function chooseUser(name: string | undefined): Choice {
  if (process.getuid?.() !== 0) {
    if (name === undefined) return { user: undefined };
    const user = findUser(name);
    if (user.uid === process.getuid?.()) return { user: undefined };
    throw new LvsError("ERR_LVS_PERMISSION", `--user ${name}: only root can start a director as another user`);
  }
  const user = findUser(name ?? "nobody");
  if (!isMapped(user)) {
    const text = `${user.name} is not in this user namespace`;
    if (name !== undefined) throw new LvsError("ERR_LVS_PERMISSION", `--user ${name}: ${text}`);
    return { user: undefined, because: { reason: "user-namespace", text } };
  }
  const koffi = fileURLToPath(import.meta.resolve("koffi"));
  for (const file of [process.execPath, DIRECTOR, corePath(), koffi]) {
    const bar = barred(user, file);
    if (bar === undefined) continue;
    const text = `${user.name} cannot read ${file} (${bar} is closed to others)`;
    if (name !== undefined) {
      throw new LvsError("ERR_LVS_PERMISSION", `${text}: install wlvs where it can be read, or give another --user`);
    }
    return { user: undefined, because: { reason: "barred", text } };
  }
  return { user };
}
