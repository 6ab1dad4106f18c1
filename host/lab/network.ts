/** Namespaces, links and programs of one lab, and their end: whatever happens, close() leaves nothing behind. */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from "node:child_process";
import { accessSync, constants, existsSync, lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { LvsError } from "../errors.js";

const NETNS_DIRECTORY = "/run/netns";
const STOP_WAIT_MS = 4000;
const DELETE_TRIES = 5;

/** Where a program is, or undefined. The administrator's directories count though PATH may lack them. */
export function findProgram(name: string): string | undefined {
  const directories = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  for (const directory of directories) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // The next one.
    }
  }
  return undefined;
}

export interface Running {
  readonly name: string;
  readonly child: ChildProcess;
  /** The last of what it wrote to stderr. */
  errors(): string;
  /** Status or signal, once it ended. */
  ended(): string | undefined;
}

/** A lab's machines: each a network namespace named `wlvs-PID-ROLE`, so that two labs do not meet. */
export class LabNetwork {
  /** A directory of this lab alone: the socket, configuration files of servers. */
  readonly directory: string;
  private readonly ip: string;
  private readonly nsenter: string | undefined;
  private readonly setpriv: string | undefined;
  private readonly namespaces: string[] = [];
  private readonly running: Running[] = [];
  private isClosed = false;

  constructor() {
    const ip = findProgram("ip");
    if (ip === undefined)
      throw new LvsError("ERR_LVS_NETNS", "the lab needs the 'ip' command: apt-get install iproute2");
    this.ip = ip;
    this.nsenter = findProgram("nsenter");
    this.setpriv = findProgram("setpriv");
    sweep(ip);
    this.directory = mkdtempSync(join(tmpdir(), `wlvs-lab-${process.pid}-`));
  }

  /** Makes a machine without any link; its loopback is up, and it keeps to IPv4. */
  machine(role: string): string {
    const name = `wlvs-${process.pid}-${role}`;
    // First of all: who is interrupted here has made it, perhaps.
    this.namespaces.push(name);
    this.run(["netns", "add", name]);
    this.ipIn(name, "link set lo up");
    this.sysctl(name, { "net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1 });
    return name;
  }

  /** A switch: a bridge that forwards at once. */
  switch(role: string): string {
    const name = this.machine(role);
    this.ipIn(name, "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set br0 up");
    return name;
  }

  /** A cable from a machine (its eth0) to a switch's port. */
  cable(machine: string, link: string, switchName: string, port: string): void {
    this.ipIn(
      switchName,
      `link add ${port} type veth peer name ${link} netns ${machine}`,
      `link set ${port} master br0 up`,
    );
    this.ipIn(machine, `link set ${link} up`);
  }

  /** Several `ip` commands in a machine, in one go. */
  ipIn(machine: string, ...commands: string[]): void {
    this.run(["-n", machine, "-batch", "-"], `${commands.join("\n")}\n`);
  }

  sysctl(machine: string, values: Readonly<Record<string, number>>): void {
    const script = Object.entries(values).map(
      ([name, value]) => `[ ! -e /proc/sys/${name} ] || echo ${value} >/proc/sys/${name}`,
    );
    const [program, ...args] = this.inside(machine, ["/bin/sh", "-c", script.join("\n")]);
    execFileSync(program!, args, { stdio: ["ignore", "ignore", "pipe"] });
  }

  /** The command line that runs something inside a machine. */
  inside(machine: string, command: readonly string[]): string[] {
    // ip netns exec also mounts a /sys, which not every container allows.
    if (this.nsenter !== undefined) return [this.nsenter, `--net=${NETNS_DIRECTORY}/${machine}`, "--", ...command];
    return [this.ip, "netns", "exec", machine, ...command];
  }

  /** Starts a program (in a machine, or here) that close() will end. It has a process group of its own. */
  start(name: string, machine: string | undefined, command: readonly string[], options: SpawnOptions = {}): Running {
    if (this.isClosed) throw new LvsError("ERR_LVS_NETNS", "the lab is being taken away");
    const line = machine === undefined ? command : this.inside(machine, command);
    // Whoever kills the lab with a signal that it cannot see ends its programs too.
    const [program, ...args] = this.setpriv === undefined ? line : [this.setpriv, "--pdeathsig", "TERM", ...line];
    const child = spawn(program!, args, { stdio: ["pipe", "pipe", "pipe"], detached: true, ...options });
    let errors = "";
    let ended: string | undefined;
    child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
      errors = (errors + chunk).slice(-8192);
    });
    child.on("error", (error) => (ended = error.message));
    child.on("exit", (status, signal) => (ended = signal === null ? `status ${status}` : signal));
    child.stdin?.on("error", () => {});
    const running = { name, child, errors: () => errors.trim(), ended: () => ended };
    this.running.push(running);
    return running;
  }

  /** Runs a program in a machine to its end and resolves with what it wrote. */
  output(machine: string, command: readonly string[]): Promise<string> {
    const { child, errors } = this.start(command[0] ?? "", machine, command);
    child.stdin?.end();
    let text = "";
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    return new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (status) => {
        if (status === 0) resolve(text);
        else
          reject(
            new LvsError("ERR_LVS_NETNS", `${command.join(" ")}: ${errors().split("\n").at(-1) || `status ${status}`}`),
          );
      });
    });
  }

  /** Ends one program, at once if `force`, and resolves when it is gone. */
  async stop(running: Running, force = false): Promise<void> {
    const { child, ended } = running;
    if (ended() !== undefined) return;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill(force ? "SIGKILL" : "SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_WAIT_MS);
    await gone;
    clearTimeout(timer);
  }

  /** Ends all programs, the last one first, and takes the machines away. */
  async close(): Promise<void> {
    this.isClosed = true;
    for (const running of this.running.reverse()) await this.stop(running);
    this.remove();
  }

  /** The same at once, for the last moment of a process. */
  remove(): void {
    // Not SIGKILL: the director has devices of its own to take away.
    for (const { child, ended } of this.running) if (ended() === undefined) child.kill("SIGTERM");
    for (const name of this.namespaces.splice(0).reverse()) {
      // A second Ctrl-C ends the program that does it.
      for (let tries = 0; tries < DELETE_TRIES && existsSync(join(NETNS_DIRECTORY, name)); tries++) {
        try {
          execFileSync(this.ip, ["netns", "del", name], { stdio: "ignore" });
        } catch {
          // Once more, if it is still there.
        }
      }
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  private run(args: readonly string[], input?: string): void {
    try {
      execFileSync(this.ip, args, { input: input ?? "", stdio: ["pipe", "ignore", "pipe"] });
    } catch (cause) {
      const said =
        String((cause as { stderr?: Buffer }).stderr ?? cause)
          .trim()
          .split("\n")[0] ?? "";
      const hint = /not permitted|mount/.test(said)
        ? " (a container needs --privileged for the lab; see 'wlvs doctor')"
        : "";
      throw new LvsError(
        "ERR_LVS_NETNS",
        `ip ${input?.trim().replaceAll("\n", "; ") ?? args.join(" ")}: ${said}${hint}`,
        cause,
      );
    }
  }
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** What labs that were killed left behind: programs, namespaces, directories. */
function sweep(ip: string): void {
  const isOrphan = (owner: RegExpExecArray | null) => owner !== null && !isAlive(Number(owner[1]));
  for (const name of entries(NETNS_DIRECTORY)) {
    if (!isOrphan(/^wlvs-(\d+)-[a-z0-9]+$/.exec(name))) continue;
    try {
      const pids = execFileSync(ip, ["netns", "pids", name], { encoding: "utf8" }).split("\n").filter(Boolean);
      for (const pid of pids) process.kill(Number(pid), "SIGKILL");
      execFileSync(ip, ["netns", "del", name], { stdio: "ignore" });
    } catch {
      // Another lab is at it.
    }
  }
  for (const name of entries(tmpdir())) {
    const path = join(tmpdir(), name);
    if (!isOrphan(/^wlvs-lab-(\d+)-\w{6}$/.exec(name)) || lstatSync(path).uid !== 0) continue;
    rmSync(path, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Resolves with the first line of stdout that matches; rejects when the program ends, or takes too long. */
export function lineOf(running: Running, pattern: RegExp, timeoutMs: number): Promise<string> {
  const { child, name, errors, ended } = running;
  return new Promise((resolve, reject) => {
    let text = "";
    const fail = (what: string) => {
      clearTimeout(timer);
      const why = errors()
        .split("\n")
        .filter(Boolean)
        .at(-1)
        ?.replace(/^wlvs: /, "");
      // A flag that was passed on and refused there is a mistake made here.
      const code = ended() === "status 2" ? "ERR_LVS_USAGE" : "ERR_LVS_DIRECTOR";
      reject(new LvsError(code, `${name} ${what}${why === undefined ? "" : `: ${why}`}`));
    };
    const timer = setTimeout(() => fail(`said nothing for ${timeoutMs / 1000} s`), timeoutMs);
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      const line = text.split("\n").find((candidate) => pattern.test(candidate));
      if (line === undefined) return;
      clearTimeout(timer);
      resolve(line);
    });
    child.once("error", (error) => fail(error.message));
    child.once("close", () => fail(`ended at once (${ended()})`));
  });
}
