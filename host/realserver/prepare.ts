/**
 * A real server of direct routing or tunnelling has the virtual address too, and keeps quiet about it: it neither
 * answers ARP for it (arp_ignore) nor asks with it (arp_announce). What is changed is put back.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { LvsError } from "../errors.js";

export type RealServerMethod = "dr" | "tun";

export interface RealServerPlan {
  readonly method: RealServerMethod;
  readonly vip: string;
  /** Device that has the VIP. */
  readonly device: string;
  /** Below /proc/sys. */
  readonly settings: ReadonlyArray<readonly [name: string, value: string]>;
}

export const TUNNEL_DEVICE = "wlvstun0";

export function realServerPlan(method: RealServerMethod, vip: string): RealServerPlan {
  const device = method === "dr" ? "lo" : TUNNEL_DEVICE;
  // IPv6 needs no quieting: neighbour discovery answers only for addresses of the link it is asked on.
  const quiet: Array<readonly [string, string]> = isIPv6(vip)
    ? []
    : [
        ["net/ipv4/conf/all/arp_ignore", "1"],
        ["net/ipv4/conf/all/arp_announce", "2"],
      ];
  // What comes out of the tunnel is from clients whom another device leads to.
  const loose: Array<readonly [string, string]> =
    method === "tun" && !isIPv6(vip)
      ? [
          ["net/ipv4/conf/all/rp_filter", "0"],
          [`net/ipv4/conf/${TUNNEL_DEVICE}/rp_filter`, "0"],
        ]
      : [];
  return { method, vip, device, settings: [...quiet, ...loose] };
}

function host(vip: string): string {
  return isIPv6(vip) ? `${vip}/128` : `${vip}/32`;
}

/** The same as commands, for a machine that wlvs does not run on. */
export function planText({ method, vip, settings }: RealServerPlan): string {
  const device = method === "dr" ? "lo" : "tunl0";
  const sysctl = settings.map(([name, value]) => {
    return `sysctl -w ${name.replace(TUNNEL_DEVICE, device).replaceAll("/", ".")}=${value}`;
  });
  const nodad = isIPv6(vip) ? " nodad" : "";
  return [
    ...(method === "tun" ? ["modprobe ipip", "ip link set tunl0 up"] : []),
    ...sysctl,
    `ip addr add ${host(vip)} dev ${device}${nodad}`,
    "",
  ].join("\n");
}

function ip(...args: string[]): void {
  try {
    execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
  } catch (cause) {
    const { code, stderr } = cause as { code?: string; stderr?: Buffer };
    if (code === "ENOENT")
      throw new LvsError("ERR_LVS_FILE", "the 'ip' command is missing: apt-get install iproute2", cause);
    const said = String(stderr ?? cause)
      .trim()
      .split("\n")[0];
    const denied = /not permitted/.test(said ?? "") ? " (run as root)" : "";
    throw new LvsError("ERR_LVS_PERMISSION", `ip ${args.join(" ")}: ${said}${denied}`, cause);
  }
}

function setting(name: string, value: string): () => void {
  const path = `/proc/sys/${name}`;
  try {
    const before = readFileSync(path, "utf8");
    writeFileSync(path, value);
    return () => writeFileSync(path, before);
  } catch (cause) {
    const reason =
      (cause as NodeJS.ErrnoException).code === "EACCES" ? "permission denied (run as root)" : String(cause);
    throw new LvsError("ERR_LVS_PERMISSION", `cannot set ${name.replaceAll("/", ".")}: ${reason}`, cause);
  }
}

/** Makes the machine a real server; the answer puts it back as it was. Throws with everything put back. */
export function prepare(plan: RealServerPlan): () => void {
  const undo: Array<() => void> = [];
  const putBack = () => {
    for (const step of undo.splice(0).reverse()) {
      try {
        step();
      } catch {
        // A device may be gone, with all that was set on it.
      }
    }
  };
  try {
    // Quiet first: the address must not be announced for even a moment.
    for (const [name, value] of plan.settings) undo.push(setting(name, value));
    const address = [host(plan.vip), "dev", plan.device];
    ip("addr", "add", ...address, ...(isIPv6(plan.vip) ? ["nodad"] : []));
    undo.push(() => ip("addr", "del", ...address));
  } catch (error) {
    putBack();
    throw error;
  }
  return putBack;
}
