/** Namespaces, processes and directors of one test file: whatever it makes goes away with it, however it ends. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RemoteIpvs } from "../../host/control/client.js";
import type { UpgradeResult } from "../../host/control/director-info.js";

/** The built command, seen from the source and from what was built of it. */
export const MAIN = ["../../dist/host/cli/main.js", "../../host/cli/main.js"]
  .map((path) => join(import.meta.dirname, path))
  .find((path) => existsSync(path))!;

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Director {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = "";
  stderr = "";

  /** `main`: the program, when it is not the one that was built. */
  constructor(args: readonly string[], main = MAIN, env = process.env) {
    this.child = spawn(process.execPath, [main, "run", ...args], { stdio: ["ignore", "pipe", "pipe"], env });
    this.child.stdout!.on("data", (chunk) => (this.stdout += chunk));
    this.child.stderr!.on("data", (chunk) => (this.stderr += chunk));
    this.ended = new Promise((resolve) => this.child.once("close", (status, signal) => resolve({ status, signal })));
  }

  /** Until frames flow. */
  async ready(): Promise<void> {
    const early = this.ended.then(() => {
      throw new Error(`the director ended: ${this.stderr}`);
    });
    early.catch(() => {});
    await Promise.race([early, waitFor(() => this.stdout.includes("forwarding"), "the director forwards")]);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Ended> {
    this.child.kill(signal);
    return this.ended;
  }
}

/** What was built, once more: a version of one's own, which can be changed and broken. */
export class Version {
  readonly main: string;
  /** What its director is to find in its environment, beside what this process has. */
  readonly env: NodeJS.ProcessEnv = { ...process.env };
  private readonly home: string;

  constructor(home: string) {
    const root = join(import.meta.dirname, "../..");
    this.home = home;
    this.main = join(home, "dist/host/cli/main.js");
    cpSync(join(root, "dist"), join(home, "dist"), { recursive: true });
    cpSync(join(root, "package.json"), join(home, "package.json"));
    symlinkSync(join(root, "node_modules"), join(home, "node_modules"));
  }

  /** Where a file of the host is, by its path under host/. */
  file(path: string): string {
    return join(this.home, "dist/host", path);
  }

  /** What is there is there once. */
  change(path: string, from: string, to: string): void {
    const text = readFileSync(this.file(path), "utf8");
    if (text.split(from).length !== 2) throw new Error(`${path} has ${JSON.stringify(from)} not just once`);
    writeFileSync(
      this.file(path),
      text.replace(from, () => to),
    );
  }
}

export class Network {
  readonly directory = mkdtempSync(join(tmpdir(), "wlvs-netns-"));
  /** The director that was started last. */
  latest: Director | undefined;
  private readonly namespaces: string[] = [];
  private readonly children: ChildProcess[] = [];
  private readonly onExit = () => this.close();
  private count = 0;

  constructor() {
    process.on("exit", this.onExit);
  }

  /** A namespace of its own name, loopback up. */
  namespace(role: string): string {
    const name = `wlvs-${process.pid}-${this.count++}-${role}`;
    ip("netns", "add", name);
    this.namespaces.push(name);
    ip("-n", name, "link", "set", "lo", "up");
    return name;
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  version(): Version {
    return new Version(this.path("version"));
  }

  director(...args: string[]): Director {
    return this.directorOf({ main: MAIN, env: process.env }, ...args);
  }

  directorOf({ main, env }: Pick<Version, "main" | "env">, ...args: string[]): Director {
    const director = new Director(args, main, env);
    this.children.push(director.child);
    this.latest = director;
    return director;
  }

  /** A program in a namespace, until the end of the test. */
  start(namespace: string, command: string, ...args: string[]): ChildProcess {
    const child = spawn("ip", ["netns", "exec", namespace, command, ...args], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    this.children.push(child);
    return child;
  }

  close(): void {
    process.off("exit", this.onExit);
    for (const child of this.children) child.kill("SIGKILL");
    for (const name of this.namespaces) spawnSync("ip", ["netns", "del", name], { stdio: "ignore" });
    this.namespaces.length = 0;
    // What was killed may be writing there still.
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

export function ip(...args: string[]): string {
  return execFileSync("ip", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

export function hasLink(namespace: string, name: string): boolean {
  return spawnSync("ip", ["-n", namespace, "link", "show", name], { stdio: "ignore" }).status === 0;
}

/** Standard output of a program in a namespace. Does not block: servers of this process must go on. */
export function inside(namespace: string, command: string, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn("ip", ["netns", "exec", namespace, command, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let errors = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    child.stderr.on("data", (chunk) => (errors += chunk));
    child.once("close", (status) =>
      status === 0 ? resolve(out) : reject(new Error(`${command} ${args.join(" ")}: status ${status} ${errors}`)),
    );
  });
}

/** How long a test waits for what takes moments: machines are slow at times, and other tests run beside it. */
export const PATIENCE_MS = 45_000;

export async function waitFor(condition: () => boolean, what: string, limitMs = PATIENCE_MS): Promise<void> {
  const until = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > until) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What was in the tables is in the state file: it has grown twice since, once perhaps by what was gathered before. */
export async function journalled(file: string): Promise<void> {
  for (let times = 0; times < 2; times++) {
    const { size } = statSync(file);
    await waitFor(() => statSync(file).size !== size, "the state is written");
  }
}

/** Once more where the machine was so slow that the new director was given up. */
export async function upgrade(ipvs: RemoteIpvs): Promise<UpgradeResult> {
  try {
    return await ipvs.upgrade();
  } catch (error) {
    if ((error as { code?: unknown }).code !== "EAGAIN") throw error;
    return ipvs.upgrade();
  }
}
