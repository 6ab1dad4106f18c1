// After npm ci, and whenever npm links this folder (npx does, at its first call): builds what is not built yet, or is
// older than its sources.
import { spawnSync } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const PRODUCTS = ["dist/core.wasm", "dist/host/cli/main.js"];
const SOURCES = ["assembly", "host", "test", "scripts", "asconfig.json", "tsconfig.json", "tsconfig.build.json"];

const time = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

function newest(path) {
  const status = statSync(path);
  if (!status.isDirectory()) return status.mtimeMs;
  return Math.max(0, ...readdirSync(path).map((name) => newest(join(path, name))));
}

if (Math.min(...PRODUCTS.map(time)) < Math.max(...SOURCES.map(newest))) {
  const { status } = spawnSync("npm", ["run", "build"], { stdio: "inherit" });
  process.exitCode = status ?? 1;
}
