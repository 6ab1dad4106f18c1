/**
 * Where forwarders are measured: one namespace with the clients, one with the servers, one core for whoever forwards
 * and the others for the load. Whatever is made here goes away with it, however the process ends.
 */
import { type ChildProcess, type ExecFileException, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { LvsError } from "../errors.js";

/** Outlives this process, and clears up behind it when it did not do so itself. */
const GUARDIAN = `
pids= spaces= limit= folder=
while read -r word value; do
  case $word in
    pid) pids="$pids $value" ;;
    gone) pids=$(for one in $pids; do [ "$one" = "$value" ] || echo "$one"; done) ;;
    netns) spaces="$spaces $value" ;;
    conntrack) limit=$value ;;
    folder) folder=$value ;;
    done) exit 0 ;;
  esac
done
[ -z "$pids" ] || { kill $pids; sleep 1; kill -9 $pids; }
for one in $spaces; do
  for pid in $(ip netns pids "$one"); do kill -9 "$pid"; done
  ip netns del "$one"
done
[ -z "$limit" ] || echo "$limit" >/proc/sys/net/netfilter/nf_conntrack_max
[ -z "$folder" ] || rm -rf "$folder"
`;

const CONNTRACK_MAX = "/proc/sys/net/netfilter/nf_conntrack_max";
const CONNTRACK_WANTED = 2_000_000;
const CLOCK_TICKS = 100;

/** What every namespace is set to: nothing of it favours anybody. */
const SYSCTLS = [
  // What the machine's own default limits is not what is measured.
  "net.ipv4.tcp_congestion_control=reno",
  // A connection must not begin with what the one before it learned.
  "net.ipv4.tcp_no_metrics_save=1",
  "net.ipv4.ip_local_port_range=1024 65535",
  "net.ipv4.tcp_tw_reuse=1",
  "net.ipv4.conf.all.rp_filter=0",
  "net.ipv4.conf.default.rp_filter=0",
  "net.ipv6.conf.all.disable_ipv6=1",
  "net.ipv6.conf.default.disable_ipv6=1",
] as const;

export type Place = "forwarder" | "load" | "all";

export interface RunOptions {
  readonly netns?: string;
  readonly on?: Place;
  readonly input?: string;
  readonly timeout?: number;
}

/** A process that stays until it is stopped, and its lines. */
export interface Running {
  readonly child: ChildProcess;
  readonly lines: Interface;
  /** The last that it wrote to stderr. */
  said(): string;
}

export class Stage {
  readonly client: string;
  readonly server: string;
  readonly folder = mkdtempSync(join(tmpdir(), "wlvs-bench-"));
  /** The forwarder's core, and those of the load. */
  readonly forwarderCpu: number;
  readonly loadCpus: readonly number[];
  private readonly namespaces: string[] = [];
  private readonly running: Running[] = [];
  private readonly guardian: ChildProcess;
  private conntrack: string | undefined;
  private readonly abort = new AbortController();

  constructor() {
    const cores = cpus().length;
    if (cores < 2)
      throw new LvsError("ERR_LVS_DIRECTOR", "two processors are needed: one forwards, the other is the load");
    this.forwarderCpu = cores - 1;
    this.loadCpus = Array.from({ length: cores - 1 }, (_, at) => at);
    this.guardian = spawn("sh", ["-c", GUARDIAN], { stdio: ["pipe", "ignore", "ignore"], detached: true });
    this.guardian.stdin!.on("error", () => {});
    this.guardian.unref();
    this.tell(`folder ${this.folder}`);
    this.client = this.name("client");
    this.server = this.name("server");
  }

  async open(): Promise<void> {
    await this.run("taskset", ["-a", "-c", "-p", this.loadCpus.join(","), `${process.pid}`]);
    await this.makeNamespace("client");
    await this.makeNamespace("server");
  }

  /** A namespace of its own; returns its name. */
  async makeNamespace(role: string): Promise<string> {
    const name = this.name(role);
    this.tell(`netns ${name}`);
    this.namespaces.push(name);
    await this.run("ip", ["netns", "add", name]);
    await this.run("ip", ["-n", name, "link", "set", "lo", "up"]);
    for (const setting of SYSCTLS) {
      // A kernel without IPv6 has nothing to turn off.
      await this.run("sysctl", ["-qw", setting], { netns: name }).catch((error) => {
        if (!setting.includes("ipv6")) throw error;
      });
    }
    return name;
  }

  /** Packets that arrive at a device are looked at on these cores. */
  async steer(netns: string, device: string, place: Place): Promise<void> {
    let mask = 0n;
    for (const cpu of this.cpusOf(place)) mask |= 1n << BigInt(cpu);
    const groups: string[] = [];
    for (; mask > 0n; mask >>= 32n) groups.unshift((mask & 0xffffffffn).toString(16).padStart(8, "0"));
    const script = `for queue in /sys/class/net/${device}/queues/rx-*; do echo ${groups.join(",")} >"$queue/rps_cpus"; done`;
    await this.run("sh", ["-c", script], { netns });
  }

  /** Moves a process that runs, with all that descend from it and all their threads, to other cores. */
  async confine({ child }: Running, place: Place): Promise<void> {
    const cpus = this.cpusOf(place).join(",");
    for (const pid of familyOf(child.pid!)) await this.run("taskset", ["-a", "-c", "-p", cpus, `${pid}`]);
  }

  /** Room for what a kernel's NAT has to remember; the limit is one for the whole machine. */
  widenConntrack(): void {
    const now = spawnSync("cat", [CONNTRACK_MAX], { encoding: "utf8" }).stdout?.trim() ?? "";
    if (now === "" || Number(now) >= CONNTRACK_WANTED) return;
    this.tell(`conntrack ${now}`);
    this.conntrack = now;
    setConntrack(`${CONNTRACK_WANTED}`);
  }

  /** Runs a program to its end; its standard output. */
  run(command: string, argv: readonly string[], options: RunOptions = {}): Promise<string> {
    const [file, ...words] = this.words(command, argv, options);
    return new Promise((resolve, reject) => {
      const ended = (error: ExecFileException | null, stdout: string, stderr: string) => {
        if (error === null) return resolve(stdout);
        const why = this.abort.signal.aborted ? "interrupted" : stderr.trim().split("\n").at(-1) || error.message;
        reject(new LvsError("ERR_LVS_DIRECTOR", `${command}: ${why}`));
      };
      const timeout = options.timeout ?? 20_000;
      const child = execFile(
        file!,
        words,
        { timeout, killSignal: "SIGKILL", signal: this.abort.signal, maxBuffer: 1 << 24 },
        ended,
      );
      child.stdin?.on("error", () => {});
      child.stdin?.end(options.input ?? "");
    });
  }

  /** Starts a program; with `line`, resolves when it has printed one that begins so. */
  async start(
    command: string,
    argv: readonly string[],
    options: RunOptions & { line?: string } = {},
  ): Promise<Running> {
    const [file, ...words] = this.words(command, argv, options);
    const child = spawn(file!, words, { stdio: ["ignore", "pipe", "pipe"] });
    if (child.pid !== undefined) this.tell(`pid ${child.pid}`);
    let text = "";
    child.stderr.on("data", (chunk: Buffer) => (text = `${text}${chunk}`.slice(-2000)));
    const running: Running = {
      child,
      lines: createInterface(child.stdout),
      said: () => text.trim().split("\n").at(-1) ?? "",
    };
    this.running.push(running);
    child.on("error", (error) => (text = error.message));
    if (options.line === undefined) return running;
    const limit = AbortSignal.any([this.abort.signal, AbortSignal.timeout(options.timeout ?? 10_000)]);
    const begun = (async () => {
      for (;;) {
        const [line] = (await once(running.lines, "line", { signal: limit })) as [string];
        if (line.includes(options.line!)) return true;
      }
    })();
    const ended = Promise.race([once(child, "exit"), once(child, "error")]).then(() => false);
    ended.catch(() => {});
    const good = await Promise.race([begun, ended]).catch(() => false);
    begun.catch(() => {});
    if (!good) throw new LvsError("ERR_LVS_DIRECTOR", `${command} did not start: ${running.said() || "in time"}`);
    return running;
  }

  async stop(running: Running): Promise<void> {
    const { child } = running;
    const at = this.running.indexOf(running);
    if (at >= 0) this.running.splice(at, 1);
    if (child.pid === undefined) return;
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 5000);
      await ended;
      clearTimeout(late);
    }
    this.tell(`gone ${child.pid}`);
  }

  /** Ends what is under way; who waits for it is told so. */
  interrupt(): void {
    this.abort.abort();
  }

  get interrupted(): boolean {
    return this.abort.signal.aborted;
  }

  async close(): Promise<void> {
    for (const running of [...this.running].reverse()) await this.stop(running);
    for (const name of this.namespaces) spawnSync("ip", ["netns", "del", name], { stdio: "ignore" });
    if (this.conntrack !== undefined) setConntrack(this.conntrack);
    rmSync(this.folder, { recursive: true, force: true });
    this.tell("done");
    this.guardian.stdin!.end();
  }

  /** Seconds that cores have been at work, for whoever and in whichever part of the kernel. */
  busy(place: Place): number {
    const names = new Set(this.cpusOf(place).map((cpu) => `cpu${cpu}`));
    let ticks = 0;
    for (const line of readFileSync("/proc/stat", "latin1").split("\n")) {
      const [name = "", ...fields] = line.split(" ");
      if (!names.has(name)) continue;
      const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = fields.map(Number);
      ticks += user + nice + system + irq + softirq;
    }
    return ticks / CLOCK_TICKS;
  }

  private cpusOf(place: Place): readonly number[] {
    if (place === "forwarder") return [this.forwarderCpu];
    return place === "load" ? this.loadCpus : [...this.loadCpus, this.forwarderCpu];
  }

  private name(role: string): string {
    return `wlvs-bench-${process.pid}-${role}`;
  }

  private words(command: string, argv: readonly string[], { netns, on }: RunOptions): string[] {
    const within = netns === undefined ? [] : ["ip", "netns", "exec", netns];
    const where = on === undefined ? [] : ["taskset", "-c", this.cpusOf(on).join(",")];
    return [...within, ...where, command, ...argv];
  }

  private tell(line: string): void {
    this.guardian.stdin!.write(`${line}\n`);
  }
}

function setConntrack(value: string): void {
  spawnSync("sh", ["-c", `echo ${value} >${CONNTRACK_MAX}`], { stdio: "ignore" });
}

export function has(command: string): boolean {
  return spawnSync("sh", ["-c", 'command -v -- "$0"', command], { stdio: "ignore" }).status === 0;
}

/** A process and all that descend from it. */
export function familyOf(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    const one = Number(name);
    if (!Number.isInteger(one)) continue;
    const parent = Number(statOf(one)?.[1]);
    if (parent > 0) children.set(parent, [...(children.get(parent) ?? []), one]);
  }
  const family = [pid];
  for (const one of family) family.push(...(children.get(one) ?? []));
  return family;
}

/** Seconds that the threads of a process have run for. */
export function processorTime(pid: number): number {
  try {
    let sum = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      sum += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1").split(" ")[0]);
    }
    return sum / 1e9;
  } catch {
    return 0;
  }
}

/** Fields of /proc/PID/stat after the name: state, parent ... */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}
