/** Namespaces, processes and directors of one test file: whatever it makes goes away with it, however it ends. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

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
  constructor(args: readonly string[], main = MAIN) {
    this.child = spawn(process.execPath, [main, "run", ...args], { stdio: ["ignore", "pipe", "pipe"] });
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

export class Network {
  readonly directory = mkdtempSync(join(tmpdir(), "wlvs-netns-"));
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

  director(...args: string[]): Director {
    return this.directorOf(MAIN, ...args);
  }

  directorOf(main: string, ...args: string[]): Director {
    const director = new Director(args, main);
    this.children.push(director.child);
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

export async function waitFor(condition: () => boolean, what: string, limitMs = 15_000): Promise<void> {
  const until = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > until) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
