/** `wlvs run` with what cannot be: one line, the right status, and nothing half made. Stopped at any moment: nothing left. */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";
import { hasLink, Network, waitFor } from "./network.js";

const MAIN = join(import.meta.dirname, "../../dist/host/cli/main.js");
const FULL = process.env.WLVS_ACCEPTANCE === "full";
const STARTS = FULL ? 20 : 8;

interface Outcome {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

function run(command: string, ...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], cwd: "/" });
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => (out += chunk));
    child.stderr.on("data", (chunk) => (err += chunk));
    child.once("close", (status) => resolve({ status, out, err }));
  });
}

/** Whether a process has a word on its command line. */
function processesWith(word: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(word);
      } catch {
        return false;
      }
    })
    .map(Number);
}

let network: Network;
let client: string;
let server: string;
let socket: string;

beforeEach((context) => {
  needsDevices(context);
  network = new Network();
  client = network.namespace("client");
  server = network.namespace("server");
  socket = network.path("control.sock");
});

afterEach(() => network?.close());

const ports = () => [
  ...["--tap", `ext0,ip=192.168.4.133/24,netns=${client}`, "--tap", `int0,ip=192.168.2.130/24,netns=${server}`],
  ...["--socket", socket],
];

function nothingLeft(): void {
  expect(hasLink(client, "ext0") || hasLink(server, "int0"), "a device is left").toBe(false);
  expect(existsSync(socket), "the socket is left").toBe(false);
}

describe("a run that cannot be", () => {
  const vip = ["--vip", "192.168.4.133:80"];
  const cases: ReadonlyArray<readonly [what: string, args: () => string[], status: number, line: RegExp]> = [
    ["an address", () => [...ports(), "--vip", "192.168.4.300:80"], 2, /192\.168\.4\.300/],
    ["a prefix", () => ["--tap", "ext0,ip=192.168.4.1/33"], 2, /\/0 to \/32/],
    ["a port", () => [...ports(), "--vip", "192.168.4.133:70000"], 2, /70000/],
    ["a weight", () => [...ports(), ...vip, "--rip", "192.168.2.1,weight=-1"], 2, /0 to 65535/],
    ["a scheduler", () => [...ports(), ...vip, "--scheduler", "fastest"], 2, /fastest.*wlc/],
    ["a mode", () => [...ports(), ...vip, "--mode", "proxy"], 2, /proxy.*nat, dr, tun, fullnat/],
    [
      "a server given twice",
      () => [...ports(), ...vip, "--rip", "192.168.2.1", "--rip", "192.168.2.1"],
      2,
      /given twice/,
    ],
    ["a flag that nobody knows", () => [...ports(), "--colour", "red"], 2, /--colour/],
    ["a rules file that is not there", () => [...ports(), "--rules", network.path("none")], 1, /no such file/],
    ["a namespace that is not there", () => ["--tap", "x0,netns=wlvs-none", "--socket", socket], 1, /wlvs-none/],
    ["a bridge that is not there", () => ["--tap", `x0,netns=${client},bridge=br9`, "--socket", socket], 1, /br9/],
    ["a device that is none of its kind", () => ["--tap", `lo,netns=${client}`, "--socket", socket], 1, /lo exists/],
    ["a socket in no directory", () => [...ports().slice(0, 4), "--socket", "/none/at/all"], 1, /\/none\/at\/all/],
    ["a user that is not there", () => [...ports(), "--user", "wlvs-nobody"], 2, /wlvs-nobody/],
  ];

  it.each(cases.map(([what, args, status, line]) => ({ what, args, status, line })))(
    "says what is wrong with $what",
    async ({ args, status, line }) => {
      const outcome = await run(process.execPath, MAIN, "run", ...args(), "--log-level", "silent");
      expect(outcome.err).toMatch(/^wlvs: [^\n]+\n$/);
      expect(outcome.err).toMatch(line);
      expect(outcome).toMatchObject({ status, out: "" });
      nothingLeft();
      expect(hasLink(client, "x0")).toBe(false);
    },
  );

  it("names the line of a rules file, and takes nothing of it", async () => {
    const rules = network.path("rules");
    for (const [text, line] of [
      ["-A -t 192.168.4.133:80 -s wrr\n-a -t 192.168.4.133:80 -r 192.168.2.1:80 -m -w x\n", 2],
      ["# rules\n\n-A -t 192.168.4.133:http:80\n", 3],
      ["-a -t 192.168.4.133:80 -r 192.168.2.1:80 -m\n", 1],
    ] as const) {
      writeFileSync(rules, text);
      const outcome = await run(process.execPath, MAIN, "run", ...ports(), "--rules", rules, "--log-level", "silent");
      expect(outcome.err).toMatch(new RegExp(`^wlvs: --rules ${rules}, line ${line}: [^\\n]+\\n$`));
      expect(outcome.status).toBeGreaterThan(0);
      nothingLeft();
    }
  });

  it("says what a user without rights is to do", async (context) => {
    needsCommands(context, "setpriv");
    const nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", process.execPath, MAIN];
    const device = await run("setpriv", ...nobody, "run", "--tap", "ext0", "--socket", "/tmp/wlvs-nobody.sock");
    expect(device).toMatchObject({ status: 1, out: "" });
    expect(device.err.trim().split("\n").at(-1)).toMatch(/^wlvs: .*(run as root|as root|ip tuntap add)/);
  });

  it("says how to get a /dev/net/tun that is missing", async (context) => {
    needsCommands(context, "unshare", "mount");
    const line = `mount -t tmpfs none /dev/net && exec "$0" "$@"`;
    const words = [process.execPath, MAIN, "run", "--tap", "ext0", "--socket", socket, "--log-level", "silent"];
    const outcome = await run("unshare", "--mount", "sh", "-c", line, ...words);
    expect(outcome.err).toMatch(/^wlvs: \/dev\/net\/tun is missing: [^\n]+\n$/);
    expect(outcome.status).toBe(1);
    expect(existsSync(socket)).toBe(false);
  });
});

describe("a run that is stopped", () => {
  it(`leaves nothing, at ${STARTS} moments of its start`, async () => {
    let clean = 0;
    for (let n = 0; n < STARTS; n++) {
      const director = network.director(...ports(), "--vip", "192.168.4.133:80", "--workers", `${1 + (n % 2)}`);
      await new Promise((resolve) => setTimeout(resolve, 30 + Math.random() * 900));
      const { status, signal } = await director.stop(n % 3 === 0 ? "SIGINT" : "SIGTERM");
      // Before its own code runs a process can only die of the signal.
      if (signal === null) {
        expect(status, director.stderr).toBe(0);
        clean++;
      }
      nothingLeft();
      expect(processesWith(socket)).toEqual([]);
    }
    expect(clean).toBeGreaterThan(0);
  });

  it("leaves nothing when it is killed at any moment of its start", async () => {
    for (let n = 0; n < STARTS / 2; n++) {
      const director = network.director(...ports(), "--workers", `${1 + (n % 2)}`);
      await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 900));
      await director.stop("SIGKILL");
      await waitFor(() => !hasLink(client, "ext0") && !hasLink(server, "int0"), "the devices go");
      await waitFor(() => processesWith(socket).length === 0, "the processes end");
    }
  });

  it.each([1, 2])(`uses no time of a processor while nothing comes, with %s worker(s)`, async (workers) => {
    const director = network.director(...ports(), "--workers", `${workers}`);
    await director.ready();
    // Neighbour discovery of the new links is traffic, too.
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const pids = [director.child.pid!, ...childrenOf(director.child.pid!)];
    expect(pids.length).toBeGreaterThan(1);
    const spent = () => pids.reduce((sum, pid) => sum + ticksOf(pid), 0);
    const before = spent();
    const seconds = FULL ? 5 : 2;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const used = spent() - before;
    process.stdout.write(
      `idle: ${used} hundredths of a second in ${seconds} s, ${workers} worker(s), keeper and director\n`,
    );
    // Of 100 a second: one or two for the clock of a process that sleeps, more where others have emptied its caches.
    expect(used).toBeLessThanOrEqual((FULL ? 2 : 6) * seconds);
    expect((await director.stop()).status).toBe(0);
  });
});

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.split(" ").filter(Boolean).map(Number);
}

function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return Number(fields[11]) + Number(fields[12]);
}
