/** `wlvs bench peers`: measures what is there, and leaves nothing behind however it ends. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import type { PeersReport } from "../../host/bench/peers-bench.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { waitFor } from "./network.js";

const MAIN = join(import.meta.dirname, "../../dist/host/cli/main.js");
const SCRIPT = join(import.meta.dirname, "../../scripts/performance-table.mjs");

const folder = mkdtempSync(join(tmpdir(), "wlvs-test-bench-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function start(...args: string[]): ChildProcess & { said: string } {
  const child = spawn(process.execPath, [MAIN, "bench", "peers", ...args], { stdio: ["ignore", "ignore", "pipe"] });
  const told = Object.assign(child, { said: "" });
  child.stderr.on("data", (text) => (told.said += text));
  return told;
}

/** Namespaces of a bench that was this process, and processes that stand in them or beside them. */
function left(pid: number): string {
  const spaces = spawnSync("ip", ["netns", "list"], { encoding: "utf8" }).stdout;
  const processes = spawnSync("pgrep", ["-af", `wp${pid}c`], { encoding: "utf8" }).stdout;
  return [...spaces.split("\n").filter((line) => line.startsWith(`wlvs-bench-${pid}-`)), processes.trim()]
    .join("\n")
    .trim();
}

describe("wlvs bench peers", () => {
  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, "cc", "taskset", "sysctl", "pgrep");
  });

  it("measures in turn, and its tables are made from what it wrote", async () => {
    const file = join(folder, "peers.json");
    const bench = start("--seconds", "0.1", "--rounds", "2", "--only", "rr", "--only", "bulk", "--json", file);
    const [status] = await once(bench, "close");
    expect(bench.said).not.toMatch(/wlvs: (?!bench: )/);
    expect(status).toBe(0);
    expect(left(bench.pid!)).toBe("");
    const report = JSON.parse(readFileSync(file, "utf8")) as PeersReport;
    expect(report.tests.map(({ test }) => test)).toEqual(["bulk", "rr"]);
    for (const { rows, best } of report.tests) {
      expect(rows[0]!.contender).toMatch(/^wlvs, /);
      expect(rows[0]!.wlvs).toMatchObject({ median: 1, least: 1, most: 1 });
      expect(rows.find(({ contender }) => contender === best)!.bare).toMatchObject({ median: 1 });
      // Nobody in between is in the tables, and is no contender.
      expect(rows.filter(({ isCeiling }) => isCeiling).map(({ contender }) => contender)).toEqual([
        expect.stringMatching(/^no forwarder/),
      ]);
      for (const { value, cpu, load } of rows) {
        expect(value.rounds).toHaveLength(2);
        expect(value.least).toBeGreaterThan(0);
        expect(cpu.median).toBeGreaterThanOrEqual(0);
        expect(load.least).toBeGreaterThan(0);
        expect(load.most).toBeLessThanOrEqual(1);
      }
    }

    const started = report.contenders.filter(({ ready }) => ready !== undefined);
    expect(started.map(({ ready }) => ready!.rounds.length)).toContain(2);
    expect(Math.min(...started.map(({ ready }) => ready!.least))).toBeGreaterThan(0);

    mkdirSync(join(folder, "docs"));
    const marked = (name: string) => `before\n<!-- peers: ${name} -->\nold\n<!-- peers: end -->\nafter\n`;
    writeFileSync(join(folder, "docs/performance.md"), marked("tests"));
    writeFileSync(join(folder, "README.md"), marked("short"));
    const make = (...more: string[]) => spawnSync(process.execPath, [SCRIPT, file, ...more], { cwd: folder }).status;
    expect(make("--check")).toBe(1);
    expect(make()).toBe(0);
    expect(make("--check")).toBe(0);
    const page = readFileSync(join(folder, "docs/performance.md"), "utf8");
    expect(page).toMatch(
      /^before\n<!-- peers: tests -->\n[\s\S]*### TCP bulk[\s\S]*\| C, io_uring \|[\s\S]*<!-- peers: end -->\nafter\n$/,
    );
    expect(page).not.toContain("old");
    expect(readFileSync(join(folder, "README.md"), "utf8")).toMatch(/\| wlvs, \w+ \| [\d.]+ \| [\d.]+ \|/);
  });

  // While contenders are started, some run already; while they are measured, the load runs, too. Both at once: neither
  // is measured here.
  it.concurrent.each([
    ["SIGTERM", "C, read/write: starting"],
    ["SIGKILL", "warming up"],
  ] as const)("leaves nothing behind after %s at '%s'", async (signal, moment) => {
    const bench = start("--seconds", "30", "--rounds", "1", "--only", "bulk");
    await waitFor(() => bench.said.includes(moment), moment, 60_000);
    expect(left(bench.pid!)).not.toBe("");
    const ended = once(bench, "close");
    bench.kill(signal);
    await ended;
    await waitFor(() => left(bench.pid!) === "", "everything goes", 30_000);
  });
});
