/** What the director must never have, and what the keeper goes on having. */
import { errnoText, LvsError } from "../errors.js";
import * as native from "../port/native.js";

const CAPABILITIES_MOST = 63;

/** Their numbers are the kernel's. */
const CAPABILITY = {
  DAC_OVERRIDE: 1,
  KILL: 5,
  SETGID: 6,
  SETUID: 7,
  NET_ADMIN: 12,
  NET_RAW: 13,
  SYS_ADMIN: 21,
} as const;

/** _LINUX_CAPABILITY_VERSION_3: two words of each set. */
const VERSION_3 = 0x20080522;
/** Words of the data, of which there are three for the lower 32 capabilities and three for the others. */
const EFFECTIVE = 0;
const PERMITTED = 1;
const INHERITABLE = 2;
const HALF = 3;

interface CapabilitySets {
  readonly data: Uint32Array;
  readonly headerBytes: Uint8Array;
  readonly dataBytes: Uint8Array;
}

/** Of the calling thread. undefined: errno says why not. */
function capabilitySets(): CapabilitySets | undefined {
  const data = new Uint32Array(2 * HALF);
  const [headerBytes, dataBytes] = [
    new Uint8Array(new Uint32Array([VERSION_3, 0]).buffer),
    new Uint8Array(data.buffer),
  ];
  return native.capget(headerBytes, dataBytes) < 0 ? undefined : { data, headerBytes, dataBytes };
}

/**
 * Gives this thread these sets, but nothing to hand on: what is inheritable or ambient would go to a director without a
 * change of user. False: errno says why not.
 */
function keepFromChildren({ data, headerBytes, dataBytes }: CapabilitySets): boolean {
  native.prctl(native.PR_CAP_AMBIENT, native.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  data[INHERITABLE] = data[HALF + INHERITABLE] = 0;
  return native.capset(headerBytes, dataBytes) >= 0;
}

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
  const sets = capabilitySets();
  if (sets === undefined || !keepFromChildren(sets)) whole = false;
  if (native.prctl(native.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
    throw new LvsError("ERR_LVS_PERMISSION", "cannot set no_new_privs");
  }
  return whole;
}

/**
 * Gives up what a running keeper has no use for, in the thread that does its work; for ever, and whatever of it there was.
 * It goes on making devices and routes (NET_ADMIN), sockets for pings (NET_RAW), directors and checkers of another user
 * (SETUID, SETGID), which it ends (KILL), and reading and writing files whose owner is somebody else (DAC_OVERRIDE).
 * `namespaces`: also moving into network namespaces, which takes SYS_ADMIN.
 *
 * The kernel lets no thread change another's: those that Node made before for files and for compiling stay as they were.
 * Returns why it was not permitted (a filter of system calls may forbid it); all is as it was then.
 */
export function restrictKeeper(namespaces: boolean): string | undefined {
  const { SYS_ADMIN, ...always } = CAPABILITY;
  let kept = 0;
  for (const number of Object.values(always)) kept |= 1 << number;
  if (namespaces) kept |= 1 << SYS_ADMIN;
  const sets = capabilitySets();
  if (sets === undefined) return errnoText(native.errno());
  const { data } = sets;
  data[EFFECTIVE]! &= kept;
  data[PERMITTED]! &= kept;
  data[HALF + EFFECTIVE] = data[HALF + PERMITTED] = 0;
  return keepFromChildren(sets) ? undefined : errnoText(native.errno());
}
