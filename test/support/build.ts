/** Builds what the tests run, once, when a source is newer than what was made of it. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

function newest(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}

function stale(product: string, sources: readonly string[]): boolean {
  return !existsSync(product) || statSync(product).mtimeMs < Math.max(...sources.map(newest));
}

function run(script: string): void {
  execFileSync("npm", ["run", "--silent", script], { stdio: ["ignore", "inherit", "inherit"] });
}

/** WLVS_TEST_NO_BUILD=1 takes the last build as it is. */
export function setup(): void {
  if (process.env.WLVS_TEST_NO_BUILD === "1") return;
  if (stale("dist/core.wasm", ["assembly", "asconfig.json", "scripts/build-core.mjs"])) run("build:core");
  const sources = [
    "host",
    "test/conformance",
    "test/flood",
    "test/fuzz",
    "test/hammer",
    "test/netns/network.ts",
    "test/soak",
    "test/support/free-port.ts",
    "test/support/processes.ts",
    "assembly/layout",
    "tsconfig.json",
    "tsconfig.build.json",
  ];
  if (stale("dist/host/cli/main.js", sources)) run("build:host");
}
