/** What is published: which files, how much, and that it runs from an empty folder with nothing beside it. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { needsCommands, needsDevices } from "../support/needs.js";

const ROOT = join(import.meta.dirname, "../..");
/** All that may be in it. */
const ALLOWED = [
  /^package\.json$/,
  /^(README|ARCHITECTURE|CHANGELOG)\.md$/,
  /^LICENSE$/,
  /^bench\/[\w-]+\.[ch]$/,
  /^dist\/core\.wasm$/,
  /^dist\/assembly\/layout\/[\w-]+(\.d\.ts|\.js)$/,
  /^dist\/host\/[\w/-]+(\.d\.ts|\.js)$/,
  /^dist\/host\/page\/[\w-]+\.(html|css|svg)$/,
  /^dist\/man\/wlvs(adm)?\.8$/,
  /^docs\/[\w/.-]+$/,
];
const REQUIRED = [
  "dist/core.wasm",
  "dist/host/cli/main.js",
  "dist/man/wlvs.8",
  "dist/man/wlvsadm.8",
  "docs/systemd/wlvs.service",
  "docs/container/Dockerfile",
  "LICENSE",
];
const PACKED_MOST = 1_500_000;
const UNPACKED_MOST = 6_000_000;

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: ReadonlyArray<{ readonly path: string; readonly mode: number }>;
}

let directory: string;
let packed: Packed;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
  chmodSync(directory, 0o755);
  const out = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", directory], {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  packed = (JSON.parse(out) as Packed[])[0]!;
}, 120_000);

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/**
 * An empty folder with the package and what it depends on, and nothing that only its developers need: as npm would lay
 * it out, from what is installed here, so that no registry is asked.
 */
function install(): string {
  const folder = join(directory, "empty");
  const modules = join(folder, "node_modules");
  const home = join(modules, "wlvs");
  mkdirSync(home, { recursive: true });
  execFileSync("tar", ["-xzf", join(directory, packed.filename), "-C", home, "--strip-components=1"]);
  const lock = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean }>;
  };
  for (const [path, { dev }] of Object.entries(lock.packages)) {
    // Nested ones come with those that they are in; optional ones for other systems are not there.
    if (path === "" || dev === true || path.indexOf("node_modules/", 1) > 0 || !existsSync(join(ROOT, path))) continue;
    cpSync(join(ROOT, path), join(folder, path), { recursive: true });
  }
  return folder;
}

describe("the package", () => {
  it("has what it needs, and neither tests nor sources nor maps", () => {
    const paths = packed.files.map(({ path }) => path);
    for (const path of paths)
      expect(
        ALLOWED.some((pattern) => pattern.test(path)),
        path,
      ).toBe(true);
    for (const path of REQUIRED) expect(paths).toContain(path);
    expect(paths.filter((path) => /\.map$|(^|\/)test\/|(?<!\.d)\.ts$|\.tgz$/.test(path))).toEqual([]);
    expect(packed.size).toBeLessThan(PACKED_MOST);
    expect(packed.unpackedSize).toBeLessThan(UNPACKED_MOST);
  });

  it("names commands and manual pages that are in it", () => {
    const { bin, man, main, types } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      bin: Record<string, string>;
      man: string[];
      main: string;
      types: string;
    };
    const modes = new Map(packed.files.map(({ path, mode }) => [path, mode]));
    for (const path of Object.values(bin)) expect(modes.get(path)! & 0o111, path).toBe(0o111);
    for (const path of [...man, main, types]) expect(modes.has(path.replace("./", "")), path).toBe(true);
  });
});

describe("the container example", () => {
  const example = (name: string) => join(ROOT, "docs/container", name);

  it("is YAML with one device, a read-only root and no capability but those that are explained", () => {
    const { services } = parse(readFileSync(example("compose.yaml"), "utf8")) as {
      services: Record<string, { devices: string[]; cap_drop: string[]; cap_add?: string[]; read_only: boolean }>;
    };
    for (const { devices, cap_drop, read_only } of Object.values(services)) {
      expect({ devices, cap_drop, read_only }).toEqual({
        devices: ["/dev/net/tun"],
        cap_drop: ["ALL"],
        read_only: true,
      });
    }
    expect(services.wlvs!.cap_add).toEqual(["NET_ADMIN", "SETUID", "SETGID", "SETPCAP", "KILL"]);
    expect(services["wlvs-nonroot"]!.cap_add).toBeUndefined();
  });

  it("has a configuration that wlvs check takes", () => {
    const main = join(ROOT, "dist/host/cli/main.js");
    const { stdout, status } = spawnSync(process.execPath, [main, "check", example("wlvs.yaml")], { encoding: "utf8" });
    expect(stdout).toContain("is right: 1 port, 1 service, 2 real servers");
    expect(status).toBe(0);
  });
});

describe("the package in an empty folder", () => {
  let folder: string;

  beforeAll(() => {
    folder = install();
  }, 120_000);

  it("runs the lab, finds its core and its manual", (context) => {
    needsDevices(context);
    const main = join(folder, "node_modules/wlvs/dist/host/cli/main.js");
    const options = { cwd: folder, encoding: "utf8", timeout: 100_000 } as const;
    const lab = spawnSync(process.execPath, [main, "lab", "nat", "--requests", "3", "--server", "builtin"], options);
    expect(lab.stderr).toBe("");
    expect(lab.stdout).toContain("just as wrr has it");
    expect(lab.status).toBe(0);
    const doctor = spawnSync(process.execPath, [main, "doctor", "--json"], options);
    const { findings } = JSON.parse(doctor.stdout) as { findings: Array<{ subject: string; found: string }> };
    expect(findings.find(({ subject }) => subject === "core")!.found).toBe(
      join(folder, "node_modules/wlvs/dist/core.wasm"),
    );
    expect(statSync(join(folder, "node_modules/wlvs/dist/man/wlvs.8")).size).toBeGreaterThan(1000);
  });

  /**
   * What docs/container/compose.yaml gives: /dev/net/tun, NET_ADMIN, an own network, a read-only root, an ordinary user
   * in a user namespace, and no privilege to be gained. There is no engine here: its parts are made by hand.
   */
  it("forwards in a container's confines: one device, one capability, a read-only root, no root outside", (context) => {
    needsDevices(context);
    needsCommands(context, "unshare", "setpriv", "ip", "ping");
    const main = join(folder, "node_modules/wlvs/dist/host/cli/main.js");
    const wlvs = `'${process.execPath}' '${main}'`;
    // As nobody: a user namespace, and in it namespaces of mounts, network, processes. Then capabilities are dropped.
    const inside = `set -e
mount -t proc proc /proc
mount -t tmpfs none /run
ip link set lo up
mount -o remount,bind,ro /
! touch /etc/wlvs-test 2>/run/readonly
grep -q "Read-only" /run/readonly
setpriv --no-new-privs --bounding-set -all,+net_admin --inh-caps -all,+net_admin --ambient-caps -all \\
  ${wlvs} run --tap ext0,ip=10.78.0.1/24 --socket /run/wlvs.sock --vip 10.78.0.1:80 --rip 10.78.0.2:8080 >/run/out 2>/run/err &
for n in $(seq 100); do grep -q forwarding /run/out && break; sleep 0.1; done
cat /run/out
ip addr add 10.78.0.2/24 dev ext0
ping -c 3 -i 0.2 -W 2 10.78.0.1
grep -E '^(CapBnd|NoNewPrivs)' /proc/$!/status
kill $!
wait $! && echo "ended well"`;
    const script = `mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 &&
      exec setpriv --reuid=65534 --regid=65534 --clear-groups \\
      unshare --user --map-root-user --mount --net --pid --fork sh -c "$0"`;
    const { stdout, stderr, status } = spawnSync("unshare", ["--mount", "sh", "-c", script, inside], {
      encoding: "utf8",
      cwd: "/",
      timeout: 60_000,
    });
    expect(stderr).toBe("");
    expect(stdout).toContain("wlvs: forwarding on ext0, control /run/wlvs.sock");
    expect(stdout).toMatch(/3 received, 0% packet loss/);
    expect(stdout).toMatch(/^CapBnd:\s+0{12}1000$/m);
    expect(stdout).toContain("ended well");
    expect(status).toBe(0);
  });
});
