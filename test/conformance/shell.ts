/** Shell commands of a trace: a real shell whose ipvsadm is this project's, talking to the director of the trace. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { DirectorInfo } from "../../host/control/director-info.js";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import type { Marks } from "../../host/marks/marks.js";
import { Tracer } from "../../host/trace/tracer.js";

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const COMMANDS: Readonly<Record<string, string>> = {
  ipvsadm: "wlvsadm.js",
  "ipvsadm-save": "wlvsadm-save.js",
  "ipvsadm-restore": "wlvsadm-restore.js",
};
const CLI = fileURLToPath(new URL("../../host/cli/", import.meta.url));
/** No command of a trace takes long. */
const LIMIT_MS = 30_000;

let folder: string | undefined;
let sockets = 0;

/** A folder whose bin/ has the commands; it goes away with the process. */
function workFolder(): string {
  if (folder !== undefined) return folder;
  folder = mkdtempSync(join(tmpdir(), "conformance-"));
  mkdirSync(join(folder, "bin"));
  for (const [name, file] of Object.entries(COMMANDS)) {
    if (!existsSync(join(CLI, file))) throw new Error(`${file} is not built`);
    symlinkSync(join(CLI, file), join(folder, "bin", name));
  }
  process.on("exit", () => rmSync(folder!, { recursive: true, force: true }));
  return folder;
}

/** The control socket of one director, opened when it is first needed. */
export class ShellRunner {
  private readonly engine: MemoryEngine;
  private readonly marks: Marks;
  private server: Promise<ControlServer> | undefined;
  private socket = "";

  constructor(engine: MemoryEngine, marks: Marks) {
    this.engine = engine;
    this.marks = marks;
  }

  async run(argv: readonly string[], stdin: string): Promise<Outcome> {
    const work = workFolder();
    this.server ??= this.listen(work);
    await this.server;
    const env = { ...process.env, PATH: `${join(work, "bin")}:${process.env.PATH ?? ""}`, WLVS_SOCKET: this.socket };
    return new Promise((resolve, reject) => {
      const child = spawn(argv[0]!, argv.slice(1), { env, stdio: "pipe", timeout: LIMIT_MS });
      let stdout = "";
      let stderr = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
      child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
      child.stdin.on("error", () => {});
      child.stdin.end(stdin);
      child.on("error", reject);
      child.on("close", (status) => resolve({ status: status ?? 128, stdout, stderr }));
    });
  }

  async close(): Promise<void> {
    const server = await this.server;
    await server?.close();
  }

  private listen(work: string): Promise<ControlServer> {
    this.socket = join(work, `${++sockets}.sock`);
    return createControlServer({
      ipvs: this.engine.ipvs,
      info: infoOf(this.engine, this.marks),
      socketPath: this.socket,
    });
  }
}

/** What the control server may ask beside the tables; commands of traces look at none of it. */
function infoOf(engine: MemoryEngine, marks: Marks): DirectorInfo {
  return {
    status: () => ({
      version: "0.0.0",
      pid: process.pid,
      uptime: 0,
      profile: "kernel",
      workers: 1,
      io: "memory",
      connections: { used: 0, capacity: 0 },
    }),
    ports: () => [],
    neighbours: () => [],
    routes: () => [],
    counters: () => ({ ...engine.ipvs.tables.counters(), traps: 0 }),
    settings: () => ({}),
    marks: () => ({ rules: marks.text(), count: marks.count() }),
    setMarks: (text, how) => (how === "replace" ? marks.replace(text) : marks.apply(text)),
    tracer: () => new Tracer(engine.control, engine.memory, []),
    health: () => [],
    workers: () => engine.ipvs.tables.workers(),
    occupancy: () => engine.ipvs.tables.occupancy(),
    metrics: async function* () {},
    tables: () => engine.ipvs.services(),
    configuration: async () => ({ read: "", drift: [] }),
    reload: async () => ({ changes: [], restart: [] }),
    upgrade: async () => ({ pid: process.pid, version: "0.0.0", connections: 0, pause: 0 }),
    setSetting: (name, value) => engine.control.setting(name, `${value}`),
  };
}
