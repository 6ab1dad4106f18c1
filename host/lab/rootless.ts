/**
 * The lab as an ordinary user: in a user namespace, whoever made it is root of the network namespaces within, and may
 * make devices there. The command is run again inside, with a /run of its own for the names of namespaces.
 */
import { execFileSync, spawn } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { LvsError } from "../errors.js";
import { findProgram } from "./network.js";

const TUN = "/dev/net/tun";
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const STATUS_OF_SIGNAL: Readonly<Record<string, number>> = { SIGHUP: 129, SIGINT: 130, SIGKILL: 137, SIGTERM: 143 };
const NAMESPACES = ["--user", "--map-root-user", "--net", "--mount"];
const MOUNT = 'mount -t tmpfs wlvs-lab /run && exec "$@"';

export function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/** Inside of a user namespace that has no other user than this one. */
export function isRootOfLab(): boolean {
  try {
    return /^\s*0\s+[1-9]\d*\s+1\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));
  } catch {
    return false;
  }
}

/** Runs `wlvs ARGS` as the root of a user namespace and resolves with its status. Throws where that cannot be. */
export async function runInUserNamespace(args: readonly string[]): Promise<number> {
  const unshare = findProgram("unshare");
  if (unshare === undefined) throw cannot("there is no 'unshare' (apt-get install util-linux)");
  if (findProgram("ip") === undefined) throw cannot("there is no 'ip' (apt-get install iproute2)");
  try {
    execFileSync(unshare, [...NAMESPACES, "true"], { stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    throw cannot(whyNoNamespace(String((error as { stderr?: Buffer }).stderr ?? error)));
  }
  try {
    accessSync(TUN, constants.R_OK | constants.W_OK);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw cannot(
      missing
        ? `${TUN} is missing (modprobe tun)`
        : `${TUN} is closed to this user (chmod 0666 ${TUN}, as udev has it)`,
    );
  }
  const setpriv = findProgram("setpriv");
  const line = [
    ...(setpriv === undefined ? [] : [setpriv, "--pdeathsig", "TERM"]),
    ...[unshare, ...NAMESPACES, "sh", "-c", MOUNT, "sh"],
    ...[process.execPath, ...args],
  ];
  const child = spawn(line[0]!, line.slice(1), { stdio: "inherit" });
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of SIGNALS) process.on(signal, pass);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (status, signal) => resolve(status ?? STATUS_OF_SIGNAL[signal ?? ""] ?? 1));
    });
  } finally {
    for (const signal of SIGNALS) process.off(signal, pass);
  }
}

function cannot(why: string): LvsError {
  return new LvsError(
    "ERR_LVS_PERMISSION",
    `the lab makes network namespaces, and as this user cannot: ${why}; or run it as root (sudo wlvs lab ...)`,
  );
}

function sysctl(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name.replaceAll(".", "/")}`, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** Each of these is switched off somewhere by default. */
function whyNoNamespace(said: string): string {
  const off = [
    ["user.max_user_namespaces", "0", "a number above 0, as 10000"],
    ["kernel.unprivileged_userns_clone", "0", "1"],
    ["kernel.apparmor_restrict_unprivileged_userns", "1", "0"],
  ].find(([name, value]) => sysctl(name!) === value);
  if (off !== undefined) return `${off[0]} is ${off[1]} (set it to ${off[2]})`;
  return `${said.trim().split("\n", 1)[0]} (a container's seccomp profile may forbid it)`;
}
