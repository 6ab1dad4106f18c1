/** Compiles the C programs of bench/ with the machine's own compiler, when there is one. */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as Address from "../../assembly/layout/address.js";
import * as Connection from "../../assembly/layout/connection.js";
import * as ConnectionIndex from "../../assembly/layout/connection-index.js";
import * as Counters from "../../assembly/layout/counters.js";
import * as Forwarding from "../../assembly/layout/forwarding.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Neighbour from "../../assembly/layout/neighbour.js";
import * as Port from "../../assembly/layout/port.js";
import * as Reason from "../../assembly/layout/reason.js";
import * as Route from "../../assembly/layout/route.js";
import * as Server from "../../assembly/layout/server.js";
import * as Service from "../../assembly/layout/service.js";
import * as Setting from "../../assembly/layout/setting.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as State from "../../assembly/layout/state.js";
import * as Stats from "../../assembly/layout/stats.js";
import * as Verdict from "../../assembly/layout/verdict.js";
import * as Worker from "../../assembly/layout/worker.js";

const LAYOUT: Readonly<Record<string, object>> = {
  ADDRESS: Address,
  CONNECTION: Connection,
  CONNECTION_INDEX: ConnectionIndex,
  COUNTERS: Counters,
  FORWARDING: Forwarding,
  MEMORY: Memory,
  NEIGHBOUR: Neighbour,
  PORT: Port,
  REASON: Reason,
  ROUTE: Route,
  SERVER: Server,
  SERVICE: Service,
  SETTING: Setting,
  SLOT: Slot,
  STATE: State,
  STATS: Stats,
  VERDICT: Verdict,
  WORKER: Worker,
};

/** The records' offsets for C: one macro a constant, so that they stay written once. */
function layoutHeader(): string {
  const lines = ["/* Made from assembly/layout. */"];
  for (const [record, module] of Object.entries(LAYOUT)) {
    for (const [name, value] of Object.entries(module)) lines.push(`#define ${record}_${name} ${value}u`);
  }
  return `${lines.join("\n")}\n`;
}

/** bench/ of this package: beside host/ in the sources, one level higher from dist/. */
function sourceFolder(): string {
  const candidates = ["../../bench/", "../../../bench/"].map((path) => fileURLToPath(new URL(path, import.meta.url)));
  return candidates.find((path) => existsSync(join(path, "core.c"))) ?? candidates[0]!;
}

function buildFolder(sources: string): string {
  try {
    const folder = join(sources, "build");
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
    return folder;
  } catch {
    // An installed package may be read-only.
    return mkdtempSync(join(tmpdir(), "wlvs-bench-"));
  }
}

export type Compiled = { readonly path: string } | { readonly missing: string };

/** The program made of bench/NAME.c, or why there is none. */
export function compileC(name: "core" | "forward-rw" | "forward-uring" | "load"): Compiled {
  const sources = sourceFolder();
  const source = join(sources, `${name}.c`);
  if (!existsSync(source)) return { missing: `${source} is missing` };
  const folder = buildFolder(sources);
  writeFileSync(join(folder, "layout.h"), layoutHeader());
  const path = join(folder, name);
  const run = spawnSync("cc", ["-O2", `-I${folder}`, "-o", path, source], { encoding: "utf8" });
  if (run.error !== undefined) return { missing: "there is no C compiler (cc)" };
  if (run.status !== 0) return { missing: `cc: ${run.stderr.split("\n").find((line) => line.includes("error"))}` };
  return { path };
}
