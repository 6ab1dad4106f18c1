/** The lab as an ordinary user: nobody, who has nothing but a /dev/net/tun that may be opened. */
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";

const ROOT = join(import.meta.dirname, "../..");
const NOBODY = 65534;

let directory: string;

beforeEach((context) => {
  needsDevices(context);
  needsCommands(context, "unshare", "setpriv");
  directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
  chmodSync(directory, 0o755);
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/**
 * Runs wlvs as nobody. The checkout may lie where nobody may look: it is seen at a place of its own, in a mount
 * namespace that also has a /dev/net/tun with the given mode, or none.
 */
function asNobody(args: readonly string[], tun: string | undefined, before = ""): SpawnSyncReturns<string> {
  const device = tun === undefined ? "" : `&& mknod -m ${tun} /dev/net/tun c 10 200`;
  const script = `mount --bind '${ROOT}' '${directory}' && mount -t tmpfs none /dev/net ${device} ${before} &&
    cd '${directory}' && exec setpriv --reuid=${NOBODY} --regid=${NOBODY} --clear-groups \\
    '${process.execPath}' dist/host/cli/main.js "$@"`;
  const environment = { PATH: process.env.PATH, HOME: "/" };
  return spawnSync("unshare", ["--mount", "sh", "-c", script, "sh", ...args], {
    encoding: "utf8",
    env: environment,
    timeout: 60_000,
  });
}

function leftovers(): string[] {
  const ours = (name: string) => name.startsWith("wlvs-lab-");
  const namespaces = existsSync("/run/netns") ? readdirSync("/run/netns") : [];
  return [
    ...readdirSync(tmpdir()).filter(ours),
    ...namespaces.filter((name) => /^wlvs-\d+-(client|switch)/.test(name)),
  ];
}

describe("the lab without root", () => {
  it.each(["nat", "dr", "tun"])("%s: every request goes where the scheduler says", (method) => {
    const before = leftovers();
    const { status, stdout, stderr } = asNobody(["lab", method, "--requests", "3", "--server", "builtin"], "666");
    expect(stderr).toBe("");
    expect(stdout).toContain("just as wrr has it");
    expect(stdout).toMatch(/3 {2}I am 192\.168\.2\.129/);
    expect(status).toBe(0);
    expect(leftovers()).toEqual(before);
  });

  it.each([
    ["600", "/dev/net/tun is closed to this user (chmod 0666 /dev/net/tun, as udev has it)"],
    [undefined, "/dev/net/tun is missing (modprobe tun)"],
  ])("says in one line why it cannot be, with a device of mode %s", (mode, why) => {
    const { status, stderr } = asNobody(["lab", "nat"], mode);
    expect(stderr).toBe(
      `wlvs: the lab makes network namespaces, and as this user cannot: ${why}; or run it as root (sudo wlvs lab ...)\n`,
    );
    expect(status).toBe(1);
  });

  it("names the setting where user namespaces are switched off", () => {
    // Counted in a user namespace of its own: nothing of this machine is changed.
    const script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"';
    const inner = [
      "unshare",
      "--user",
      "--map-root-user",
      "sh",
      "-c",
      script,
      "sh",
      "setpriv",
      "--bounding-set",
      "-all",
    ];
    const { stderr, status } = spawnSync(
      inner[0]!,
      [...inner.slice(1), process.execPath, "-e", ASK, join(ROOT, "dist/host/lab/rootless.js")],
      { encoding: "utf8" },
    );
    expect(stderr).toContain("user.max_user_namespaces is 0 (set it to a number above 0, as 10000)");
    expect(status).toBe(1);
  });
});

const ASK = `import(process.argv[1]).then((lab) => lab.runInUserNamespace([])).catch((error) => {
  console.error(error.message);
  process.exit(1);
});`;
