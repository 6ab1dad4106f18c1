/** `wlvs top`: on a real terminal (a pseudo one), and where there is none. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { keysOf, press } from "../../host/cli/commands/top.js";
import { type Sample, viewOf } from "../../host/cli/top/sample.js";
import { chosen, INITIAL, picture, snapshotText } from "../../host/cli/top/screen.js";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import type { ServerConfig, ServiceConfig } from "../../host/ipvs/model.js";
import { needsCommands } from "../support/needs.js";
import { FakeInfo, FakeIpvs } from "./fake.js";

const MAIN = join(import.meta.dirname, "../../dist/host/cli/main.js");
const service = (port: number): ServiceConfig => ({
  id: { family: 4, protocol: "tcp", address: "192.168.4.133", port },
  scheduler: "wrr",
  persistencePrefix: 32,
  onePacket: false,
  schedulerFlags: 0,
});
const server = (last: number): ServerConfig => ({
  id: { family: 4, address: `192.168.2.${last}`, port: 80 },
  forwarding: "nat",
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
});

/** Ten frames, one of them dropped, and a hundredth of a second of work, at every look. */
class Busy extends FakeInfo {
  looks = 0;
  override counters() {
    const before = super.counters();
    this.looks++;
    return { ...before, framesIn: 1234 + 10 * this.looks, reasons: { "no-route": 4 + this.looks } };
  }
  override workers() {
    return super.workers().map((worker) => ({ ...worker, busy: 0.25 + this.looks / 100 }));
  }
}

async function sampleOf(ipvs: FakeIpvs, info: FakeInfo, at: number): Promise<Sample> {
  const status = { ...info.status(), ports: info.ports(), services: await ipvs.services() };
  return { at, status, counters: info.counters(), health: info.health(), workers: info.workers() };
}

let ipvs: FakeIpvs;
let info: Busy;

beforeEach(async () => {
  ipvs = new FakeIpvs();
  info = new Busy();
  await ipvs.addService(service(80));
  await ipvs.addServer(service(80).id, server(129));
  await ipvs.addService(service(443));
});

describe("rates", () => {
  it("are what happened between two looks, by the time between them", async () => {
    const first = await sampleOf(ipvs, info, 1000);
    const second = await sampleOf(ipvs, info, 3000);
    const [web, other] = second.status.services;
    const stats = { ...web!.stats, connections: web!.stats.connections + 9, outBytes: web!.stats.outBytes + 4096 };
    const view = viewOf(first, { ...second, status: { ...second.status, services: [{ ...web!, stats }, other!] } });
    expect(view.services[0]).toMatchObject({ connections: 4.5, bytesOut: 2048, packetsIn: 0, active: 1, inactive: 2 });
    expect(view.services[1]).toMatchObject({ connections: 0, health: "-" });
    expect(view.frames.in).toBe(5);
    expect(view.drops).toEqual([{ reason: "no-route", rate: 0.5 }]);
    expect(view.workers[0]!.load).toBeCloseTo(0.005);
  });

  it("of counters that began anew count from there", async () => {
    const first = await sampleOf(ipvs, info, 0);
    const second = await sampleOf(ipvs, info, 1000);
    const zeroed = { ...second, counters: { ...second.counters, framesIn: 7 } };
    expect(viewOf(first, zeroed).frames.in).toBe(7);
  });

  it("of the SYN proxy and of limits stand in the head, once there are some", async () => {
    const first = await sampleOf(ipvs, info, 0);
    const quiet = await sampleOf(ipvs, info, 1000);
    expect(snapshotText(viewOf(first, quiet))).not.toContain("SYN proxy");
    const synProxy = { ...quiet.counters.synProxy, answered: 9 + 500, accepted: 3 + 2 };
    const reasons = { ...quiet.counters.reasons, "source-limit": 30, "rate-limit": 10 };
    const [web, other] = quiet.status.services;
    const refused = { connections: 0, rate: 0, source: 0 };
    const guarded = { ...web!, defence: { synProxy: true, switches: 1, halfOpen: 0, refused } };
    const flood = {
      ...quiet,
      counters: { ...quiet.counters, synProxy, reasons },
      status: { ...quiet.status, services: [guarded, other!] },
    };
    const text = snapshotText(viewOf(first, flood));
    expect(text).toContain("SYN proxy: cookies 500/s, valid 2.0/s, invalid 0/s, over a limit 40/s\n");
    expect(text).toMatch(/tcp:192\.168\.4\.133:80 +wrr syn-proxy /);
    expect(text).toMatch(/tcp:192\.168\.4\.133:443 +wrr {2}/);
  });

  it("show a server that is down, and so out of the table", async () => {
    const now = await sampleOf(ipvs, info, 0);
    const key = "tcp:192.168.4.133:80";
    const health = [
      { service: key, server: "192.168.2.128:80", state: "down" as const, passed: 0, failed: 3 },
      { service: key, server: "192.168.2.129:80", state: "up" as const, passed: 3, failed: 0 },
    ];
    const row = viewOf(now, { ...now, health, at: 1000 }).services[0]!;
    expect(row.health).toBe("1/2");
    expect(row.servers.map(({ name, health: state }) => [name, state])).toEqual([
      ["192.168.2.129:80", "up"],
      ["192.168.2.128:80", "down"],
    ]);
  });
});

describe("keys", () => {
  const place = () => ({ state: INITIAL, typing: undefined as string | undefined });

  it("sort, filter, scroll and end", () => {
    const one = place();
    for (const key of keysOf("c/44x\x7f3\r")) expect(press(one, key, 10, 5)).toBe(false);
    expect(one.state).toMatchObject({ sort: "connections", filter: "443" });
    for (const key of keysOf("\x1b[6~\x1b[A")) press(one, key, 10, 5);
    expect(one.state.scroll).toBe(4);
    press(one, "\x1b", 10, 5);
    expect(one.state.filter).toBe("");
    press(one, "s", 10, 5);
    expect(one.state.servers).toBe(false);
    expect(press(one, "q", 10, 5)).toBe(true);
    expect(press({ ...place(), typing: "q" }, "q", 10, 5)).toBe(false);
    expect(press({ ...place(), typing: "q" }, "\x03", 10, 5)).toBe(true);
  });

  it("filter by service or by server, and put the largest first", async () => {
    const now = await sampleOf(ipvs, info, 0);
    const { services } = viewOf(now, { ...now, at: 1000 });
    const names = (more: object) => chosen(services, { ...INITIAL, ...more }).map(({ name }) => name);
    expect(names({ filter: ":443" })).toEqual(["tcp:192.168.4.133:443"]);
    expect(names({ filter: "2.129" })).toEqual(["tcp:192.168.4.133:80"]);
    expect(names({ filter: "nothing" })).toEqual([]);
    const larger = services.map((row, at) => ({ ...row, bytesIn: at }));
    expect(chosen(larger, { ...INITIAL, sort: "bytes" })[0]!.name).toBe("tcp:192.168.4.133:443");
  });
});

describe("the picture", () => {
  it.each([
    [120, 40],
    [80, 24],
    [30, 6],
    [10, 2],
    [1, 1],
  ])("fits %i columns and %i rows", async (columns, rows) => {
    const now = await sampleOf(ipvs, info, 0);
    const { lines } = picture(viewOf(now, { ...now, at: 1000 }), INITIAL, { columns, rows }, "q quit");
    expect(lines).toHaveLength(rows);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
    expect(lines.at(-1)).toBe("q quit".slice(0, columns));
  });
});

describe("wlvs top", () => {
  let directory: string;
  let path: string;
  let control: ControlServer;
  const terminals: ChildProcess[] = [];

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "wlvs-top-"));
    path = join(directory, "wlvs.sock");
    control = await createControlServer({ ipvs, info, socketPath: path });
  });
  afterEach(async () => {
    for (const child of terminals.splice(0)) child.kill("SIGKILL");
    await control.close();
    rmSync(directory, { recursive: true, force: true });
  });

  function run(...args: string[]): Promise<{ status: number | null; out: string; err: string }> {
    return new Promise((resolve) => {
      const child = spawn(process.execPath, [MAIN, "top", "--socket", path, ...args], { stdio: "pipe" });
      let out = "";
      let err = "";
      child.stdout.on("data", (chunk) => (out += chunk));
      child.stderr.on("data", (chunk) => (err += chunk));
      child.once("close", (status) => resolve({ status, out, err }));
    });
  }

  it("prints one snapshot where there is no terminal", async () => {
    const { status, out } = await run("--interval", "0.2");
    expect(status).toBe(0);
    expect(out).not.toContain("\x1b");
    expect(out).toMatch(/^wlvs 0\.1\.0, pid 42, up 1h 2m, 12 of 1000000 connections$/m);
    expect(out).toMatch(/^frames in [\d.]+\/s, out 0\/s, dropped [\d.]+\/s \(no-route [\d.]+\)$/m);
    expect(out).toMatch(/^worker 0: \d+ %/m);
    expect(out).toMatch(/^tcp:192\.168\.4\.133:80 +wrr/m);
    expect(out).toMatch(/^ {2}-> 192\.168\.2\.129:80 +nat +1 /m);
  });

  it("prints JSON", async () => {
    const { status, out } = await run("--json", "--interval", "0.2");
    expect(status).toBe(0);
    const view = JSON.parse(out);
    expect(view.services.map(({ name }: { name: string }) => name)).toEqual([
      "tcp:192.168.4.133:80",
      "tcp:192.168.4.133:443",
    ]);
    expect(view.frames.in * view.seconds).toBeCloseTo(10);
  });

  it("refuses an interval that is none", async () => {
    for (const interval of ["0", "x", "61"]) {
      const { status, err } = await run("--interval", interval);
      expect(status).toBe(2);
      expect(err).toBe(`wlvs: --interval ${interval}: write seconds from 0.1 to 60\n`);
    }
  });

  it("says when there is no director", async () => {
    await control.close();
    const { status, err } = await run();
    expect(status).toBe(1);
    expect(err).toMatch(/^wlvs: no director .*\n$/);
    control = await createControlServer({ ipvs, info, socketPath: path });
  });

  /** On a pseudo-terminal of script(1), 20 rows and 100 columns; what it shows grows in `shown`. */
  function onTerminal(): { child: ChildProcess; shown(): string; ended: Promise<number | null>; pid(): number } {
    const command = `stty rows 20 cols 100; exec '${process.execPath}' '${MAIN}' top --socket '${path}' --interval 0.2`;
    const child = spawn("script", ["-qefc", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
    terminals.push(child);
    let shown = "";
    child.stdout!.on("data", (chunk) => (shown += chunk));
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    const pid = () => {
      const found = readdirSync("/proc").filter((name) => {
        try {
          return readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0").includes(path) && name !== `${child.pid}`;
        } catch {
          return false;
        }
      });
      return Number(found[0]);
    };
    return { child, shown: () => shown, ended, pid };
  }

  async function until(condition: () => boolean, what: string): Promise<void> {
    const end = performance.now() + 25_000;
    while (!condition()) {
      if (performance.now() > end) throw new Error(`not within 25 s: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  const ENTER = "\x1b[?1049h\x1b[?25l";
  const LEAVE = "\x1b[?25h\x1b[?1049l";

  it("lives on a terminal, takes keys and another size, and gives the terminal back", async (context) => {
    needsCommands(context, "script", "stty");
    const { child, shown, ended, pid } = onTerminal();
    await until(() => shown().includes("192.168.2.129:80"), "the table is shown");
    expect(shown()).toContain(ENTER);
    child.stdin!.write("/443\r");
    await until(() => shown().includes("filter 443"), "the filter is on");
    const from = shown().length;
    await until(() => shown().slice(from).includes("tcp:192.168.4.133:443"), "it is drawn again");
    const frame = shown().slice(from).split("\x1b[H").at(-2)!;
    expect(frame).not.toContain("192.168.2.129:80");
    const terminal = readlinkSync(`/proc/${pid()}/fd/0`);
    execFileSync("stty", ["-F", terminal, "rows", "8", "cols", "40"]);
    const linesShown = () => {
      const last = shown().split("\x1b[H").at(-2) ?? "";
      return last.replaceAll("\x1b[K", "").replaceAll("\x1b[J", "").split(/\r+\n/);
    };
    // Rows and columns may change one after the other.
    const fits = () => linesShown().length === 8 && linesShown().every((line) => line.length <= 40);
    await until(fits, "it is as high and as wide as the terminal");
    child.stdin!.write("q");
    expect(await ended).toBe(0);
    expect(shown().endsWith(LEAVE)).toBe(true);
  });

  it("gives the terminal back when it is ended from outside", async (context) => {
    needsCommands(context, "script", "stty");
    const { shown, ended, pid } = onTerminal();
    await until(() => shown().includes("192.168.2.129:80"), "the table is shown");
    process.kill(pid(), "SIGTERM");
    expect(await ended).toBe(143);
    expect(shown()).toContain(LEAVE);
  });

  it("goes on when the director comes back", async (context) => {
    needsCommands(context, "script", "stty");
    const { child, shown, ended } = onTerminal();
    await until(() => shown().includes("192.168.2.129:80"), "the table is shown");
    await control.close();
    await until(() => shown().includes("no director"), "it says that nobody answers");
    control = await createControlServer({ ipvs, info, socketPath: path });
    const from = shown().length;
    await until(() => shown().slice(from).includes("q quit"), "it shows the director again");
    child.stdin!.write("\x03");
    expect(await ended).toBe(0);
  });
});
