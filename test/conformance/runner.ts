/** Runs one trace against the core and the command parser, and tells what differs. */
import { readFileSync } from "node:fs";
import { settingName } from "../../host/core/settings.js";
import { type Emitted, MemoryEngine, type MemoryRoute } from "../../host/engine/memory-engine.js";
import { isProcFile, procText } from "../../host/ipvs/proc.js";
import { Marks } from "../../host/marks/marks.js";
import { compareFrames, compareText, type Frame, frameOf, isSynchronisation } from "./compare.js";
import { isNoise } from "./frames.js";
import { ipvsadm } from "./ipvsadm.js";
import { type Outcome, ShellRunner } from "./shell.js";
import { shellWords, type Trace, type TraceFrame, type TraceStep } from "./trace.js";

export interface Difference {
  /** "setup 3" or "step 12". */
  readonly where: string;
  readonly text: string;
}

export interface Result {
  readonly name: string;
  readonly differences: readonly Difference[];
}

/** A trace asks for something that the director cannot do yet. */
class NotBuilt extends Error {}

/**
 * The tick that time begins at. Timers of 16 s to 2 min end up to two seconds late, in steps whose phase a trace does
 * not tell; from this tick on those of 30 and 90 s are about one second late, in the middle of what a kernel may do.
 */
const START = 1308;
/** What the traced machine printed as the size of its connection table. */
const TABLE_SIZE = 4096;
/** Of the network, not of the tables: what the director does anyway, or what has no meaning here. */
const NETWORK_SETTINGS = /^net[./](ipv4[./](conf|ip_forward|icmp_ratelimit)|ipv6[./](conf|icmp))\b/;

/** `default via 10.0.0.1 dev ext`, `local 10.1.0.0/16 dev lo` and their like, as `ip route add` takes them. */
function parseRoute(text: string): MemoryRoute {
  const words = text.split(/\s+/);
  const kinds = ["local", "unreachable", "unicast"] as const;
  const kind = kinds.find((name) => name === words[0]);
  if (kind !== undefined) words.shift();
  const target = words.shift() ?? "";
  const option = (name: string) => (words.includes(name) ? words[words.indexOf(name) + 1] : undefined);
  const gateway = option("via");
  const to = target === "default" ? (gateway?.includes(":") ? "::/0" : "0.0.0.0/0") : target;
  const dev = option("dev");
  return { to, gateway, dev: dev === "lo" ? undefined : dev, source: option("src"), kind: kind ?? "unicast" };
}

/** What an `nft` command line is to do: the text of -f, or its words. */
function nftText(words: readonly string[], stdin: string): string {
  if (words[1] !== "-f") return words.slice(1).join(" ");
  return words[2] === "-" || words[2] === "/dev/stdin" ? stdin : readFileSync(words[2]!, "utf8");
}

function createEngine(trace: Trace): MemoryEngine {
  const { interfaces, routes, neighbours, sysctls } = trace.director;
  const settings = Object.fromEntries(Object.entries(sysctls ?? {}).filter(([name]) => !NETWORK_SETTINGS.test(name)));
  for (const name of Object.keys(settings)) {
    if (settingName(name) === undefined) throw new NotBuilt(`setting ${name} is not built`);
  }
  return new MemoryEngine({
    interfaces: interfaces.map(({ name, mac, mtu, addrs }) => ({
      name,
      ...(mac === undefined ? {} : { mac }),
      ...(mtu === undefined ? {} : { mtu }),
      addresses: addrs ?? [],
    })),
    routes: (routes ?? []).map(parseRoute),
    neighbours: neighbours ?? [],
    settings,
    forward: (sysctls?.["net.ipv4.ip_forward"] ?? "0") !== "0",
    ipvs: { tableSize: TABLE_SIZE },
    start: START,
  });
}

/** The whole of a trace's run: the director, and what it has differed in so far. */
class Run {
  readonly differences: Difference[] = [];
  private readonly engine: MemoryEngine;
  private readonly shell: ShellRunner;
  private readonly marks: Marks;
  /** Synchronisation messages go out when they like: they are compared at the end. */
  private readonly wantedSync: Frame[] = [];
  private readonly gotSync: Frame[] = [];
  private readonly limit: number;

  constructor(trace: Trace, limit: number) {
    this.engine = createEngine(trace);
    this.marks = new Marks(
      this.engine.control,
      this.engine.ports.map(({ name }) => name),
    );
    this.shell = new ShellRunner(this.engine, this.marks);
    this.limit = limit;
  }

  async steps(trace: Trace): Promise<void> {
    const all = [
      ...trace.setup.map((step, n) => ({ step, where: `setup ${n + 1}` })),
      ...trace.steps.map((step, n) => ({ step, where: `step ${n + 1}` })),
    ];
    this.engine.advanceTo(all[0]?.step.t_ms ?? trace.director.warmup_ms ?? 0);
    // What the network's own configuration sent is no part of a trace.
    this.engine.collect();
    for (const [n, { step, where }] of all.entries()) {
      const next = all[n + 1];
      // Time until the next step belongs to this one, unless the next one waited before it began.
      const waits = next?.step.delay_ms ?? 0;
      const until = next === undefined ? this.end(step) : (next.step.t_ms ?? this.engine.clock.nowMs);
      await this.act(step, where, waits === 0 ? until : this.engine.clock.nowMs);
      if (waits === 0) this.engine.advanceTo(until);
      if (step.repeat === undefined) this.frames(where, step.out ?? [], this.take());
      else this.counts(where, step.out_counts ?? {}, this.take());
      if (waits > 0) {
        this.engine.advanceTo(until);
        this.frames(`${next!.where}, while waiting`, next!.step.out_during_delay ?? [], this.take());
      }
      if (this.differences.length >= this.limit) return;
    }
    const sync = compareFrames(this.wantedSync, this.gotSync);
    if (sync !== undefined) this.differ("synchronisation", sync);
  }

  close(): Promise<void> {
    return this.shell.close();
  }

  private end(step: TraceStep): number {
    return (step.t_ms ?? this.engine.clock.nowMs) + (step.sleep_ms ?? 10);
  }

  private async act(step: TraceStep, where: string, until: number): Promise<void> {
    if (step.frame !== undefined && step.in !== undefined) {
      const frame = Uint8Array.from(Buffer.from(step.frame, "hex"));
      const count = step.repeat ?? 1;
      // Many frames took the kernel their time: they are spread over it.
      const from = this.engine.clock.nowMs;
      for (let n = 0; n < count; n++) {
        if (n > 0) this.engine.advanceTo(Math.floor(from + ((until - from) * n) / count));
        this.engine.inject(step.in, frame);
      }
    } else if (step.sysctl !== undefined) {
      this.sysctl(step.sysctl, `${step.value ?? ""}`);
    } else if (step.cmd !== undefined) {
      const outcome = await this.command(step.cmd, step.stdin ?? "");
      this.engine.breathe();
      if (outcome !== undefined) this.text(where, step, outcome);
    }
  }

  private sysctl(name: string, value: string): void {
    if (NETWORK_SETTINGS.test(name)) return;
    if (settingName(name) === undefined) throw new NotBuilt(`setting ${name} is not built`);
    this.engine.control.setting(name, value);
  }

  private async command(line: string, stdin: string): Promise<Outcome> {
    const words = shellWords(line);
    const done: Outcome = { status: 0, stdout: "", stderr: "" };
    switch (words[0]) {
      case "ipvsadm":
      case "ipvsadm-save":
      case "ipvsadm-restore":
        return ipvsadm(words, this.engine.ipvs, stdin);
      case "sh":
        return this.shell.run(words, stdin);
      case "ip":
        if (words[1] === "neigh" && words[2] === "flush") {
          this.engine.control.neighbourFlush();
          return done;
        }
        break;
      case "nft":
        this.marks.apply(nftText(words, stdin));
        return done;
      case "cat": {
        const file = /^\/proc\/net\/(\w+)$/.exec(words[1] ?? "")?.[1];
        if (words.length !== 2 || file === undefined || !isProcFile(file)) break;
        return { ...done, stdout: await procText(file, this.engine.ipvs) };
      }
      case "true":
        return done;
    }
    throw new NotBuilt(`\`${line}\` is not built`);
  }

  private take(): Emitted[] {
    return this.engine.collect().filter(({ frame }) => !isNoise(frame));
  }

  private frames(where: string, expected: readonly TraceFrame[], actual: readonly Frame[]): void {
    const wanted = expected.map(frameOf);
    this.wantedSync.push(...wanted.filter(isSynchronisation));
    this.gotSync.push(...actual.filter(isSynchronisation));
    const others = (frames: readonly Frame[]) => frames.filter((frame) => !isSynchronisation(frame));
    const difference = compareFrames(others(wanted), others(actual));
    if (difference !== undefined) this.differ(where, difference);
  }

  private counts(where: string, expected: Readonly<Record<string, number>>, actual: readonly Frame[]): void {
    const counts: Record<string, number> = {};
    for (const { dev } of actual) counts[dev] = (counts[dev] ?? 0) + 1;
    for (const dev of new Set([...Object.keys(expected), ...Object.keys(counts)])) {
      const [want, have] = [expected[dev] ?? 0, counts[dev] ?? 0];
      if (want !== have) this.differ(where, `frames on ${dev}: expected ${want}, got ${have}`);
    }
  }

  private text(where: string, step: TraceStep, outcome: Outcome): void {
    const command = step.cmd ?? "";
    for (const stream of ["stdout", "stderr"] as const) {
      const minutes = Math.floor(this.engine.clock.nowMs / 60_000);
      const difference = compareText(command, step[stream] ?? "", outcome[stream], minutes);
      if (difference !== undefined) this.differ(where, `${stream} of \`${command}\`: ${difference}`);
    }
    if (step.status !== outcome.status) {
      this.differ(where, `status of \`${command}\`: expected ${step.status}, got ${outcome.status}`);
    }
  }

  private differ(where: string, text: string): void {
    this.differences.push({ where, text });
  }
}

/** Runs a trace; `limit` differences end it. */
export async function runTrace(trace: Trace, limit = 1): Promise<Result> {
  let run: Run | undefined;
  const failed = (error: unknown): Difference => {
    const text = error instanceof NotBuilt ? error.message : error instanceof Error ? (error.stack ?? "") : `${error}`;
    return { where: "run", text };
  };
  try {
    run = new Run(trace, limit);
    await run.steps(trace);
    return { name: trace.name, differences: run.differences };
  } catch (error) {
    return { name: trace.name, differences: [...(run?.differences ?? []), failed(error)] };
  } finally {
    await run?.close();
  }
}
