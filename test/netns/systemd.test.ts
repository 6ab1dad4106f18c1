/** The unit that is shipped: what systemd says of it, what it is told, and that a director lives with its restrictions. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as native from "../../host/port/native.js";
import { unixAddress } from "../../host/port/unix-address.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { ip, Network, waitFor } from "./network.js";

const ROOT = join(import.meta.dirname, "../..");
const MAIN = join(ROOT, "dist/host/cli/main.js");
const UNIT = readFileSync(join(ROOT, "docs/systemd/wlvs.service"), "utf8");
/** What docs/operations.md says. */
const EXPOSURE_MOST = 2.6;

let network: Network;

beforeEach(() => {
  network = new Network();
});

afterEach(() => network?.close());

/** All values of a key; a line of several words is as many. */
function values(key: string): string[][] {
  return [...UNIT.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map((match) => match[1]!.split(" "));
}

describe("the unit", () => {
  it("is what systemd-analyze verify takes, and has the exposure that is documented", (context) => {
    needsCommands(context, "systemd-analyze");
    const file = network.path("wlvs.service");
    // verify looks for the program.
    writeFileSync(file, UNIT.replaceAll("/usr/bin/wlvs", MAIN));
    const verified = spawnSync("systemd-analyze", ["verify", "--man=no", file], { encoding: "utf8" });
    expect(verified.stderr + verified.stdout).toBe("");
    expect(verified.status).toBe(0);
    const report = execFileSync("systemd-analyze", ["security", "--offline=true", "--no-pager", file], {
      encoding: "utf8",
    });
    const exposure = /Overall exposure level for \S+: ([\d.]+)/.exec(report)![1];
    expect(Number(exposure)).toBeLessThanOrEqual(EXPOSURE_MOST);
    const document = readFileSync(join(ROOT, "docs/operations.md"), "utf8");
    expect(document).toContain(`Overall exposure level for wlvs.service: ${exposure}`);
  });
});

/** systemd-networkd over the three files of the example; without udev, as in a container, it takes links at once. */
const NETWORKD = `set -e
mount -t tmpfs none /run
mount -t tmpfs none /etc/systemd/network
cp "$1"/*.netdev "$1"/*.network /etc/systemd/network/
mount -o remount,bind,ro /sys
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network:systemd-network /run/systemd/netif
SYSTEMD_LOG_LEVEL=warning exec "$2"`;
const NETWORKD_PROGRAM = "/lib/systemd/systemd-networkd";

describe("the bridge of the example", () => {
  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, NETWORKD_PROGRAM, "ping");
  });

  it("is made by systemd-networkd, keeps the uplink's MAC, and lets the director's frames through at once", async () => {
    const client = network.namespace("client");
    const machine = network.namespace("machine");
    ip("-n", machine, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", client);
    ip("-n", client, "addr", "add", "192.168.4.132/24", "dev", "eth0");
    ip("-n", client, "link", "set", "eth0", "up");
    network.start(machine, "sh", "-c", NETWORKD, "sh", join(ROOT, "docs/systemd"), NETWORKD_PROGRAM);
    const shown = () => ip("-n", machine, "-o", "addr", "show");
    await waitFor(() => / br-ext +inet 192\.168\.4\.10\/24 /.test(shown()), "the bridge has the machine's address");
    await waitFor(() => ip("-n", machine, "-o", "link", "show", "eth0").includes("master br-ext"), "eth0 is in it");
    expect(shown()).not.toMatch(/eth0 +inet /);
    expect(ip("-n", machine, "route", "show", "default")).toContain("via 192.168.4.1 dev br-ext");
    const mac = (name: string) => /link\/ether (\S+)/.exec(ip("-n", machine, "link", "show", name))![1];
    expect(mac("br-ext")).toBe(mac("eth0"));

    const port = ["--tap", `ext0,ip=192.168.4.133/24,bridge=br-ext,netns=${machine}`];
    const director = network.director(...port, "--socket", network.path("control.sock"));
    await director.ready();
    const sent = performance.now();
    for (const address of ["192.168.4.133", "192.168.4.10"]) {
      execFileSync("ip", ["netns", "exec", client, "ping", "-c", "1", "-W", "5", address]);
    }
    expect(performance.now() - sent).toBeLessThan(5000);
    expect(mac("br-ext")).toBe(mac("eth0"));
    expect((await director.stop()).status).toBe(0);
  });
});

/** The names of system calls behind what SystemCallFilter= lists, by systemd's own groups. */
function expand(words: readonly string[]): string[] {
  return words.flatMap((word) => {
    if (!word.startsWith("@")) return [word];
    const { stdout } = spawnSync("systemd-analyze", ["syscall-filter", word], { encoding: "utf8" });
    return expand([...stdout.matchAll(/^ {4}([@\w-]+)$/gm)].map((match) => match[1]!));
  });
}

function systemCalls(): number[] {
  const header = readFileSync("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "utf8");
  const numbers = new Map(
    [...header.matchAll(/^#define __NR_(\w+) (\d+)$/gm)].map(([, name, n]) => [name!, Number(n)]),
  );
  const allowed = new Set<string>();
  for (const [first, ...rest] of values("SystemCallFilter")) {
    const denied = first!.startsWith("~");
    for (const name of expand([first!.replace("~", ""), ...rest])) {
      if (denied) allowed.delete(name);
      else allowed.add(name);
    }
  }
  return [...allowed].flatMap((name) => numbers.get(name) ?? []);
}

const FAMILIES: Readonly<Record<string, number>> = { AF_UNIX: 1, AF_INET: 2, AF_INET6: 10, AF_NETLINK: 16 };

describe("a director under the unit's restrictions", () => {
  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, "systemd-analyze", "setpriv", "unshare", "curl");
    if (process.arch !== "x64") context.skip("the numbers of system calls are those of x86-64");
  });

  it("forwards, reloads and ends: system calls, address families, capabilities, a read-only system", async () => {
    const client = network.namespace("client");
    const calls = systemCalls();
    expect(calls.length).toBeGreaterThan(200);
    const families = values("RestrictAddressFamilies")[0]!.map((name) => FAMILIES[name]);
    const capabilities = values("CapabilityBoundingSet")[0]!.map((name) => `+${name.slice(4).toLowerCase()}`);
    const configuration = network.path("wlvs.yaml");
    const port = `wu${process.pid % 100000}`;
    const write = (weight: number) =>
      writeFileSync(
        configuration,
        `ports:\n  - {tap: ${port}, ip: 10.79.0.1/24}\nservices:\n  - vip: 10.79.0.1:80\n` +
          `    servers:\n      - {rip: 10.79.0.9, weight: ${weight}}\n`,
      );
    write(1);
    mkdirSync(network.path("run"));
    const socket = network.path("run/wlvs.sock");
    // RuntimeDirectory= alone may be written; the rest of the system is read-only, root's home is not there.
    const mounts = `mount -t tmpfs none /root && mount --bind '${network.path("run")}' '${network.path("run")}' &&
      mount -o remount,bind,ro / && { ! touch /etc/wlvs-$$ 2>/dev/null || exit 99; } && exec "$@"`;
    const bounds = ["--no-new-privs", "--inh-caps=-all", "--bounding-set", `-all,${capabilities.join(",")}`];
    const confine = [process.execPath, join(ROOT, "test/support/confine.mjs"), calls.join(","), families.join(",")];
    const line = [process.execPath, MAIN, "run", "--config", configuration, "--socket", socket, "--io", "auto"];
    const child = spawn("unshare", ["--mount", "sh", "-c", mounts, "sh", "setpriv", ...bounds, ...confine, ...line], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    let errors = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    child.stderr.on("data", (chunk) => (errors += chunk));
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    try {
      await waitFor(() => out.includes("forwarding") || child.exitCode !== null, "it forwards");
      expect(out, errors).toContain("wlvs: forwarding on");
      // The kernel's end is moved away: nothing of this machine's network is touched.
      execFileSync("ip", ["link", "set", port, "netns", client]);
      execFileSync("ip", ["-n", client, "addr", "add", "10.79.0.2/24", "dev", port]);
      execFileSync("ip", ["-n", client, "link", "set", port, "up"]);
      execFileSync("ip", ["netns", "exec", client, "ping", "-c", "2", "-i", "0.2", "-W", "2", "10.79.0.1"]);
      write(7);
      execFileSync(process.execPath, [MAIN, "reload", "--socket", socket]);
      const rules = execFileSync(process.execPath, [MAIN, "ipvsadm", "-Ln"], {
        env: { ...process.env, WLVS_SOCKET: socket },
        encoding: "utf8",
      });
      expect(rules).toMatch(/10\.79\.0\.9:80 +Masq +7 /);
      const keeper = readFileSync(`/proc/${child.pid}/status`, "utf8");
      expect(keeper).toMatch(/^Seccomp:\s+2$/m);
      expect(keeper).toMatch(/^NoNewPrivs:\s+1$/m);
      const director = spawnSync("pgrep", ["-P", `${child.pid}`, "-f", "wlvs-director"], { encoding: "utf8" });
      const status = readFileSync(`/proc/${director.stdout.trim()}/status`, "utf8");
      expect(status).toMatch(/^CapBnd:\s+0+$/m);
      expect(status).not.toMatch(/^Uid:\s+0\s/m);
    } finally {
      child.kill("SIGTERM");
    }
    expect(await ended, errors).toBe(0);
  });
});

/** A socket as a service manager has it. */
class Listener {
  private readonly fd = native.socket(native.AF_UNIX, native.SOCK_DGRAM | native.SOCK_NONBLOCK, 0);
  private readonly buffer = Buffer.from(new ArrayBuffer(4096));
  readonly heard: string[] = [];
  private readonly waiting: string[] = [];

  constructor(path: string) {
    const address = unixAddress(path);
    if (native.bind(this.fd, address, address.length) < 0) throw new Error(`bind ${path}: ${native.errno()}`);
  }

  /** Everything that came since the last call. */
  take(): string[] {
    for (;;) {
      const length = native.read(this.fd, native.addressOf(this.buffer), this.buffer.length);
      if (length < 0) break;
      this.waiting.push(this.buffer.toString("utf8", 0, length));
    }
    const fresh = this.waiting.splice(0);
    this.heard.push(...fresh);
    return fresh;
  }

  /** The next message like that; those before it are passed over. */
  async until(pattern: RegExp): Promise<string> {
    let found: string | undefined;
    const look = () => {
      const fresh = this.take();
      const at = fresh.findIndex((text) => pattern.test(text));
      if (at < 0) return false;
      found = fresh[at]!;
      this.waiting.push(...fresh.slice(at + 1));
      this.heard.length -= fresh.length - at - 1;
      return true;
    };
    await waitFor(look, `${pattern} is said`);
    return found!;
  }

  close(): void {
    native.close(this.fd);
  }
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("a service manager", () => {
  let manager: Listener;
  const WATCHDOG_MS = 1200;

  beforeEach((context) => needsDevices(context));
  afterEach(() => manager?.close());

  it("is reached by an abstract name", async () => {
    const path = `@wlvs-test-${process.pid}`;
    manager = new Listener(path);
    process.env.NOTIFY_SOCKET = path;
    const director = network.director(
      "--socket",
      network.path("control.sock"),
      "--tap",
      `wn0,netns=${network.namespace("there")}`,
    );
    delete process.env.NOTIFY_SOCKET;
    await manager.until(/^READY=1$/m);
    expect((await director.stop()).status).toBe(0);
    expect(manager.take().join("")).toMatch(/^STOPPING=1$/m);
    // Nobody asked for signs of life.
    expect(manager.heard.join("")).not.toContain("WATCHDOG");
  });

  it("is told all that happens, and hears no more of a director that hangs", async () => {
    const path = network.path("notify");
    manager = new Listener(path);
    const there = network.namespace("there");
    const configuration = network.path("wlvs.yaml");
    const good = `ports:\n  - {tap: wn0, ip: 10.79.1.1/24, netns: ${there}}\nservices:\n  - vip: 10.79.1.1:80\n`;
    writeFileSync(configuration, good);
    Object.assign(process.env, { NOTIFY_SOCKET: path, WATCHDOG_USEC: `${WATCHDOG_MS * 1000}` });
    const director = network.director("--config", configuration, "--socket", network.path("control.sock"));
    delete process.env.NOTIFY_SOCKET;
    delete process.env.WATCHDOG_USEC;
    await director.ready();
    const ready = await manager.until(/^READY=1$/m);
    expect(ready).toMatch(/^STATUS=forwarding on wn0$/m);
    expect(manager.heard[0]).toBe(ready);
    await manager.until(/^WATCHDOG=1$/m);
    await manager.until(/^WATCHDOG=1$/m);

    writeFileSync(configuration, `${good}    scheduler: rr\n`);
    director.child.kill("SIGHUP");
    const reloading = await manager.until(/^RELOADING=1$/m);
    const now = Number(process.hrtime.bigint() / 1000n);
    const said = Number(/^MONOTONIC_USEC=(\d+)$/m.exec(reloading)![1]);
    expect(now - said).toBeGreaterThanOrEqual(0);
    expect(now - said).toBeLessThan(10_000_000);
    // With the new configuration, and nothing to add.
    expect(await manager.until(/^READY=1$/m)).toMatch(/^STATUS=forwarding on wn0$/m);

    writeFileSync(configuration, "services: [}");
    director.child.kill("SIGHUP");
    expect(await manager.until(/READY=1/)).toMatch(/^STATUS=forwarding on wn0; nothing is reloaded: /m);

    const { pid } = JSON.parse(
      execFileSync("curl", ["-sS", "--unix-socket", network.path("control.sock"), "http://localhost/v1/status"], {
        encoding: "utf8",
      }),
    ) as { pid: number };
    process.kill(pid, "SIGSTOP");
    try {
      // A sign that was on its way may still arrive.
      await wait(WATCHDOG_MS / 3);
      manager.take();
      await wait(2 * WATCHDOG_MS);
      expect(manager.take()).toEqual([]);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await manager.until(/^WATCHDOG=1$/m);

    process.kill(pid, "SIGKILL");
    await manager.until(/^STATUS=the director died: SIGKILL; starting it again$/m);
    await manager.until(/^READY=1$/m);
    expect((await director.stop()).status).toBe(0);
    await manager.until(/^STOPPING=1$/m);
  });
});

describe("a service manager that is not there", () => {
  beforeEach((context) => needsDevices(context));

  it.each([
    ["/nowhere/notify", "no such file or directory"],
    ["vsock:2:1234", "vsock:2:1234 is no Unix socket"],
  ])("is no reason not to forward: %s", async (path, why) => {
    const there = network.namespace("there");
    process.env.NOTIFY_SOCKET = path;
    const director = network.director("--tap", `wn0,netns=${there}`, "--socket", network.path("control.sock"));
    delete process.env.NOTIFY_SOCKET;
    await director.ready();
    await waitFor(() => director.stderr.includes(why), "it is logged");
    expect((await director.stop()).status).toBe(0);
  });
});
