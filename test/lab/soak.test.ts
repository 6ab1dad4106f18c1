/** The soak, for twenty seconds: that it runs, finds nothing, and would find something. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";

const MAIN = join(import.meta.dirname, "../../dist/test/soak/main.js");

it("holds for twenty seconds, and a chart and a report are made of it", (context) => {
  needsDevices(context);
  needsCommands(context, "nginx", "wrk", "ethtool", "curl");
  const out = mkdtempSync(join(tmpdir(), "wlvs-soak-"));
  try {
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, "--seconds", "20", "--out", out], {
      encoding: "utf8",
      timeout: 140_000,
    });
    expect(`${stdout}${stderr}`).not.toContain("FAILED");
    expect(status).toBe(0);
    expect(readFileSync(`${out}/soak.svg`, "utf8")).toMatch(/^<svg [\s\S]*Memory, MiB[\s\S]*<\/svg>\n$/);
    const report = readFileSync(`${out}/soak.md`, "utf8");
    expect(report).toContain("Everything held.");
    expect(report).toMatch(/\| streams \| \d+ \| \d+ \| 0 \| 0 \|/);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}, 150_000);

it("says what is wrong with its arguments", () => {
  for (const args of [
    ["--minutes", "x"],
    ["--seconds", "1"],
    ["--hours", "1"],
  ]) {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], { encoding: "utf8" });
    expect([status, stderr.split("\n")[0]]).toEqual([
      2,
      "usage: npm run soak -- [--minutes N | --seconds N] [--out DIR] [--from FILE]",
    ]);
  }
});
