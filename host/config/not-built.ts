/** Flags and values that belong to the interface and are not built yet. Whatever is built leaves this list. */
import { LvsError } from "../errors.js";

const FLAGS: Readonly<Record<string, string>> = {
  "syn-proxy": "--syn-proxy",
};

const VALUES: Readonly<Record<string, string>> = {};

export function refuseFlag(name: string): void {
  const what = FLAGS[name];
  if (what !== undefined) throw new LvsError("ERR_LVS_NOT_BUILT", `${what} is not built yet`);
}

export function refuseValue(flag: string, value: string): void {
  const what = VALUES[`${flag}:${value}`];
  if (what !== undefined) throw new LvsError("ERR_LVS_NOT_BUILT", `${what} is not built yet`);
}
