/** What the director must never have. */
import { LvsError } from "../errors.js";
import * as native from "../port/native.js";

const CAPABILITIES_MOST = 63;

/**
 * Takes every capability out of the bounding set of this thread, and lets no exec ever gain any. Children inherit both;
 * the keeper itself keeps what it has for as long as it does not exec. (libuv starts children from the calling thread.)
 * False where a container holds CAP_SETPCAP back: a director that is not root gains nothing even so.
 */
export function boundChildren(): boolean {
  let whole = true;
  if (process.getuid?.() === 0) {
    for (let capability = 0; capability <= CAPABILITIES_MOST; capability++) {
      const held = native.prctl(native.PR_CAPBSET_READ, capability, 0, 0, 0);
      if (held < 0) break;
      if (held === 1 && native.prctl(native.PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) whole = false;
    }
  }
  if (native.prctl(native.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
    throw new LvsError("ERR_LVS_PERMISSION", "cannot set no_new_privs");
  }
  return whole;
}
