/**
 * TCP bulk through a director on TAPs between two namespaces, beside the bare C forwarder that does the same NAT: what
 * the appliance costs over its device.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { LvsError } from "../errors.js";
import { compileC } from "./compile.js";
import { type Figure, figure, type Machine, machine, type Progress } from "./figures.js";
import { familyOf, has, processorTime } from "./stage.js";

const run = promisify(execFile);

export interface PathRow {
  readonly contender: string;
  /** Bits per second that arrive. */
  readonly rate: Figure;
  /** Processors that the forwarder kept busy, its device's work included. */
  readonly cpu: Figure;
}

export interface PathReport {
  readonly bench: "path";
  readonly machine: Machine;
  readonly sender: "iperf3" | "node";
  readonly rows: readonly PathRow[];
  /** wlvs / C, of the rates' medians. */
  readonly ratio?: number | undefined;
  /** What could not be measured, and why. */
  readonly missing: readonly string[];
}

export interface PathOptions {
  /** Spent on each contender. */
  readonly seconds: number;
  readonly rounds?: number;
  readonly progress?: Progress;
}

const PORT = 5201;
const CLIENT = "192.168.4.132";
const OUTER = "192.168.4.133";
const INNER = "192.168.2.130";
const SERVER = "192.168.2.128";
/** Outer, inner, client, server: only the bare forwarder needs to be told. */
const MACS = ["02:00:00:00:04:85", "02:00:00:00:02:82", "02:00:00:00:04:84", "02:00:00:00:02:80"] as const;

/** Two namespaces with a forwarder between them. */
class Lane {
  readonly name: string;
  readonly client: string;
  readonly server: string;
  readonly taps: readonly [string, string];
  private readonly children: ChildProcess[] = [];
  private forwarder: ChildProcess | undefined;

  constructor(name: string, letter: string) {
    this.name = name;
    this.client = `wlvs-bench-${process.pid}-${letter}c`;
    this.server = `wlvs-bench-${process.pid}-${letter}s`;
    this.taps = [`wb${process.pid}${letter}0`, `wb${process.pid}${letter}1`];
  }

  async makeNamespaces(): Promise<void> {
    for (const netns of [this.client, this.server]) {
      await run("ip", ["netns", "add", netns]);
      await run("ip", ["-n", netns, "link", "set", "lo", "up"]);
      // What the machine's own default limits is not what is measured.
      await run("ip", ["netns", "exec", netns, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno"]);
    }
  }

  /** Starts the forwarder and resolves when it has printed its line. */
  async start(command: string, argv: readonly string[]): Promise<void> {
    const child = spawn(command, argv, { stdio: ["ignore", "pipe", "pipe"] });
    this.forwarder = child;
    this.children.push(child);
    let said = "";
    child.stderr.on("data", (text: Buffer) => (said = `${said}${text}`.slice(-2000)));
    const first = await Promise.race([
      once(createInterface(child.stdout), "line").then(() => true),
      once(child, "exit").then(() => false),
      once(child, "error").then(() => false),
    ]);
    if (!first) throw new LvsError("ERR_LVS_DIRECTOR", `${this.name} did not start: ${said.trim().split("\n").at(-1)}`);
  }

  /** Gives the kernel ends of the TAPs their addresses; `move` when they are not in the namespaces yet. */
  async configure(move: boolean): Promise<void> {
    const ends = [
      [this.client, `${CLIENT}/24`, MACS[2], OUTER, MACS[0]],
      [this.server, `${SERVER}/24`, MACS[3], INNER, MACS[1]],
    ] as const;
    for (const [at, [netns, address, mac, peer, peerMac]] of ends.entries()) {
      const tap = this.taps[at]!;
      if (move) {
        await run("ip", ["link", "set", tap, "address", mac]);
        await run("ip", ["link", "set", tap, "netns", netns]);
      }
      await run("ip", ["-n", netns, "addr", "add", address, "dev", tap]);
      await run("ip", ["-n", netns, "link", "set", tap, "up"]);
      if (move) await run("ip", ["-n", netns, "neigh", "replace", peer, "lladdr", peerMac, "dev", tap]);
    }
    await run("ip", ["-n", this.server, "route", "add", "default", "via", INNER]);
  }

  async startServer(sender: "iperf3" | "node"): Promise<void> {
    const command =
      sender === "iperf3" ? ["iperf3", "-s", "--forceflush"] : [process.execPath, bulk(), "server", `${PORT}`];
    const child = spawn("ip", ["netns", "exec", this.server, ...command], { stdio: ["ignore", "pipe", "ignore"] });
    this.children.push(child);
    await once(createInterface(child.stdout), "line");
  }

  /** One transfer: bits a second that arrived, and processors the forwarder used meanwhile. */
  async transfer(sender: "iperf3" | "node", seconds: number): Promise<{ rate: number; cpu: number }> {
    const before = this.spent();
    const from = performance.now();
    const rate = sender === "iperf3" ? await this.iperf(seconds) : await this.bulk(seconds);
    const cpu = (this.spent() - before) / ((performance.now() - from) / 1000);
    return { rate, cpu };
  }

  private async iperf(seconds: number): Promise<number> {
    const argv = ["netns", "exec", this.client, "iperf3", "-c", OUTER, "-t", `${seconds}`, "-J"];
    const { stdout } = await run("ip", argv, { timeout: (seconds + 20) * 1000, maxBuffer: 1 << 24 }).catch(
      (error: { stdout?: string; message: string }) => ({
        stdout: error.stdout || JSON.stringify({ error: error.message }),
      }),
    );
    const report = JSON.parse(stdout) as { error?: string; end?: { sum_received?: { bits_per_second: number } } };
    const rate = report.end?.sum_received?.bits_per_second;
    if (rate === undefined)
      throw new LvsError("ERR_LVS_DIRECTOR", `${this.name}: iperf3: ${report.error ?? "no result"}`);
    return rate;
  }

  private async bulk(seconds: number): Promise<number> {
    const served = once(createInterface(this.children.at(-1)!.stdout!), "line") as Promise<[string]>;
    const argv = ["netns", "exec", this.client, process.execPath, bulk(), "client", OUTER, `${PORT}`, `${seconds}`];
    await run("ip", argv, { timeout: (seconds + 20) * 1000 });
    const [bytes = 0, time = 1] = (await served)[0].split(" ").map(Number);
    return (bytes * 8) / time;
  }

  /** Seconds of processor time of the forwarder and its children. */
  private spent(): number {
    const pid = this.forwarder?.pid;
    return pid === undefined ? 0 : familyOf(pid).reduce((sum, one) => sum + processorTime(one), 0);
  }

  async stop(): Promise<void> {
    for (const child of this.children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 5000);
      await ended;
      clearTimeout(late);
    }
    for (const netns of [this.client, this.server]) spawnSync("ip", ["netns", "del", netns], { stdio: "ignore" });
  }
}

function bulk(): string {
  return fileURLToPath(new URL("bulk.js", import.meta.url));
}

async function startWlvs(lane: Lane): Promise<void> {
  const main = fileURLToPath(new URL("../cli/main.js", import.meta.url));
  const [outer, inner] = lane.taps;
  await lane.start(process.execPath, [
    main,
    "run",
    ...["--tap", `${outer},ip=${OUTER}/24,netns=${lane.client}`],
    ...["--tap", `${inner},ip=${INNER}/24,netns=${lane.server}`],
    ...["--vip", `${OUTER}:${PORT}`, "--mode", "nat", "--rip", `${SERVER}:${PORT}`],
    ...["--socket", join(tmpdir(), `wlvs-bench-${process.pid}.sock`), "--log-level", "warn"],
  ]);
  await lane.configure(false);
}

async function startBare(lane: Lane, program: string): Promise<void> {
  const nat = ["--nat", `${OUTER}:${PORT},${SERVER}:${PORT}`, "--mac", MACS.join(",")];
  await lane.start(program, [...lane.taps, ...nat]);
  await lane.configure(true);
}

export async function benchPath(options: PathOptions): Promise<PathReport> {
  const { seconds, rounds = 5, progress = () => {} } = options;
  if (process.getuid?.() !== 0)
    throw new LvsError("ERR_LVS_PERMISSION", "bench path makes namespaces and devices: run it as root");
  const sender = has("iperf3") ? "iperf3" : "node";
  const missing = sender === "node" ? ["iperf3 is not installed: a sender in Node stands in for it"] : [];
  const lanes: Lane[] = [];
  const results = new Map<Lane, { rate: number; cpu: number }[]>();
  // Ctrl-C must not leave namespaces behind.
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
    for (const lane of lanes) void lane.stop();
  };
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  try {
    const wlvs = new Lane("wlvs", "w");
    lanes.push(wlvs);
    progress("starting a director");
    await wlvs.makeNamespaces();
    await startWlvs(wlvs);
    for (const [name, program] of [["C, read/write", "forward-rw"]] as const) {
      const compiled = compileC(program);
      if ("missing" in compiled) {
        missing.push(`${name}: ${compiled.missing}`);
        continue;
      }
      const lane = new Lane(name, "c");
      lanes.push(lane);
      await lane.makeNamespaces();
      await startBare(lane, compiled.path);
    }
    for (const lane of lanes) {
      await lane.startServer(sender);
      progress(`${lane.name}: warming up`);
      await lane.transfer(sender, 1);
      results.set(lane, []);
    }
    const each = Math.max(1, Math.round(seconds / rounds));
    for (let round = 1; round <= rounds; round++) {
      // Every other round begins with the other one: neither always follows a busy machine.
      for (const lane of round % 2 === 1 ? lanes : [...lanes].reverse()) {
        progress(`${lane.name}: round ${round} of ${rounds}`);
        results.get(lane)!.push(await lane.transfer(sender, each));
      }
    }
  } catch (error) {
    if (interrupted) throw new LvsError("ERR_LVS_DIRECTOR", "interrupted");
    throw error;
  } finally {
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
    for (const lane of lanes) await lane.stop();
  }
  const rows = lanes.map((lane) => ({
    contender: lane.name,
    rate: figure(results.get(lane)!.map((one) => one.rate)),
    cpu: figure(results.get(lane)!.map((one) => one.cpu)),
  }));
  const ratio = rows[1] === undefined ? undefined : rows[0]!.rate.median / rows[1].rate.median;
  return { bench: "path", machine: machine(), sender, rows, ratio, missing };
}
