/** A real server is made and put back; who may not, is told so and sent home. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { needsDevices } from "../support/needs.js";

const MAIN = join(import.meta.dirname, "../../dist/host/cli/main.js");
const NOBODY = 65534;
const VIP = "192.168.4.133";
const machine = `wlvs-${process.pid}-test`;
let child: ChildProcess | undefined;

function inside(...command: string[]): string {
  return execFileSync("ip", ["netns", "exec", machine, ...command], { encoding: "utf8" });
}

/** What the real server changes, as it is now. */
function state(): string {
  const settings = ["arp_ignore", "arp_announce", "rp_filter"].map((name) => `/proc/sys/net/ipv4/conf/all/${name}`);
  return inside("cat", ...settings) + inside("ip", "-o", "-4", "addr", "show");
}

beforeEach((context) => {
  needsDevices(context);
  execFileSync("ip", ["netns", "add", machine]);
  inside("ip", "link", "set", "lo", "up");
});

afterEach(() => {
  if (child?.exitCode === null) child.kill("SIGKILL");
  child = undefined;
  spawnSync("ip", ["netns", "del", machine]);
});

describe.each([
  ["dr", "lo"],
  ["tun", "wlvstun0"],
])("wlvs realserver %s", (method, device) => {
  it("prepares the machine and puts it back", async () => {
    const before = state();
    child = spawn("ip", ["netns", "exec", machine, process.execPath, MAIN, "realserver", method, "--vip", VIP], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const line = await new Promise<string>((resolve) => {
      child!.stdout!.setEncoding("utf8").once("data", resolve);
    });
    expect(line).toBe(`wlvs: ready, ${VIP} is on ${device}; Ctrl-C puts it back\n`);
    expect(state()).toContain(`inet ${VIP}/32 scope global ${device}`);
    expect(state()).toMatch(/^1\n2\n/);
    child.kill("SIGINT");
    expect(await new Promise((resolve) => child!.once("exit", resolve))).toBe(0);
    expect(state()).toBe(before);
  });
});

describe("without the right", () => {
  function asNobody(...argv: string[]): { status: number | null; err: string } {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, ...argv], {
      uid: NOBODY,
      gid: NOBODY,
      encoding: "utf8",
      timeout: 20_000,
    });
    return { status, err: stderr };
  }

  it.each([
    [
      ["realserver", "dr", "--vip", VIP],
      "wlvs: cannot set net.ipv4.conf.all.arp_ignore: permission denied (run as root)\n",
    ],
    [
      ["realserver", "tun", "--vip", VIP],
      "wlvs: cannot open a raw socket for IP-in-IP: operation not permitted (run as root)\n",
    ],
  ])("%j ends at once and says so", (argv, message) => {
    expect(asNobody(...argv)).toEqual({ status: 1, err: message });
  });

  it("the doctor names remedies", () => {
    expect(asNobody("doctor").status).toBe(1);
  });
});
