/** wlvs beside other ways to do what it does: one run, the same clients and servers, rounds in turn. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { LvsError } from "../errors.js";
import { compileC } from "./compile.js";
import { CONTENDERS, Lane, PORT, type TestName } from "./contenders.js";
import { type Figure, figure, type Machine, machine, type Progress } from "./figures.js";
import { familyOf, has, processorTime, type Running, Stage } from "./stage.js";

export interface PeersRow {
  readonly contender: string;
  /** Forwards nothing: what the load could do at all. */
  readonly isCeiling?: true | undefined;
  readonly value: Figure;
  /** Seconds of the forwarder's core for the test's unit of work. */
  readonly cpu: Figure;
  /** How much of the load's cores was at work, of 1: where it is all of them, the forwarder is not what limits. */
  readonly load: Figure;
  /** rr: the 99th percentile. */
  readonly p99?: Figure | undefined;
  /** Of the values, round by round: wlvs (the first of the rows) / this one, and this one / the better bare forwarder. */
  readonly wlvs: Figure;
  readonly bare?: Figure | undefined;
}

export interface PeersTest {
  readonly test: TestName;
  readonly title: string;
  readonly unit: string;
  /** What CPU seconds are counted for. */
  readonly work: string;
  readonly better: "higher" | "lower";
  /** The better bare forwarder. */
  readonly best?: string | undefined;
  readonly rows: readonly PeersRow[];
}

export interface PeersContender {
  readonly id: string;
  readonly name: string;
  readonly version?: string | undefined;
  /** From starts of the process until frames flow, in milliseconds, on all cores. */
  readonly ready?: Figure | undefined;
  /** Processors that it uses while nothing happens. */
  readonly idle?: number | undefined;
}

export interface PeersReport {
  readonly bench: "peers";
  readonly machine: Machine;
  /** Of each measurement. */
  readonly seconds: number;
  readonly rounds: number;
  readonly contenders: readonly PeersContender[];
  readonly tests: readonly PeersTest[];
  /** What could not be measured, and why. */
  readonly missing: readonly string[];
}

export interface PeersOptions {
  /** Of each measurement: there are contenders × tests × rounds of them. */
  readonly seconds: number;
  readonly rounds?: number;
  readonly only?: readonly TestName[];
  readonly progress?: Progress;
}

interface Measured {
  readonly value: number;
  readonly work: number;
  readonly p99?: number;
}

interface Test {
  readonly name: TestName;
  readonly title: string;
  readonly unit: string;
  readonly work: string;
  readonly better: "higher" | "lower";
  readonly needs?: readonly string[];
  serve(stage: Stage, load: string): Promise<Running>;
  measure(lane: Lane, load: string, seconds: number, server: Running): Promise<Measured>;
}

const bulk = (name: TestName, flows: number): Test => ({
  name,
  title: `TCP bulk, ${flows === 1 ? "1 connection" : `${flows} connections`}`,
  unit: "bit/s",
  work: "Gb",
  better: "higher",
  serve: (stage, load) => servant(stage, load, ["sink", `${PORT}`]),
  async measure(lane, load, seconds, server) {
    const told = once(server.lines, "line", { signal: AbortSignal.timeout((seconds + 10) * 1000) }) as Promise<
      [string]
    >;
    told.catch(() => {});
    await client(lane, load, ["bulk", lane.vip, `${PORT}`, `${seconds}`, `${flows}`], seconds);
    const [bytes = 0, time = 1] = (await told)[0].split(" ").map(Number);
    return { value: (bytes * 8) / time, work: (bytes * 8) / 1e9 };
  },
});

/** Open connections at once, in the test of new ones. */
const CONNECTIONS = 32;
const FLOWS = 16;

const TESTS: readonly Test[] = [
  bulk("bulk", 1),
  bulk("bulk8", 8),
  {
    name: "udp",
    title: "UDP, frames of 64 bytes",
    unit: "packets/s",
    work: "million packets",
    better: "higher",
    serve: (stage, load) => servant(stage, load, ["hole", `${PORT}`]),
    async measure(lane, load, seconds) {
      const before = await lane.arrived();
      await client(lane, load, ["flood", lane.vip, `${PORT}`, `${seconds}`, `${FLOWS}`], seconds);
      const packets = (await lane.arrived()) - before;
      return { value: packets / seconds, work: packets / 1e6 };
    },
  },
  {
    name: "rr",
    title: "TCP request and response, 64 bytes, p50",
    unit: "us",
    work: "million requests",
    better: "lower",
    serve: (stage, load) => servant(stage, load, ["echo", `${PORT}`]),
    async measure(lane, load, seconds) {
      const text = await client(lane, load, ["ask", lane.vip, `${PORT}`, `${seconds}`], seconds);
      const [count = 0, p50 = 0, p99 = 0] = text.split(" ").map(Number);
      return { value: p50 / 1000, p99: p99 / 1000, work: count / 1e6 };
    },
  },
  {
    name: "connections",
    title: "New connections, HTTP with Connection: close",
    unit: "1/s",
    work: "million connections",
    better: "higher",
    needs: ["wrk", "nginx"],
    serve: startNginx,
    async measure(lane, _load, seconds) {
      const { stage, vip } = lane;
      // wrk counts in whole seconds.
      const time = Math.max(1, Math.round(seconds));
      const argv = ["-t1", `-c${CONNECTIONS}`, `-d${time}s`, "-H", "Connection: close", `http://${vip}:${PORT}/`];
      const text = await stage.run("wrk", argv, { netns: stage.client, on: "load", timeout: (time + 15) * 1000 });
      const rate = Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]);
      const count = Number(/(\d+) requests in/.exec(text)?.[1]);
      const errors = /Socket errors: .*|Non-2xx.*/.exec(text)?.[0];
      if (!(rate > 0)) throw new LvsError("ERR_LVS_DIRECTOR", `wrk: ${errors ?? "no requests"}`);
      return { value: rate, work: count / 1e6 };
    },
  },
];

export const TEST_NAMES: readonly TestName[] = TESTS.map(({ name }) => name);

function servant(stage: Stage, load: string, argv: readonly string[]): Promise<Running> {
  return stage.start(load, argv, { netns: stage.server, on: "load", line: "listening" });
}

function client(lane: Lane, load: string, argv: readonly string[], seconds: number): Promise<string> {
  const { stage } = lane;
  return stage.run(load, argv, { netns: stage.client, on: "load", timeout: (seconds + 15) * 1000 });
}

async function startNginx(stage: Stage): Promise<Running> {
  const file = join(stage.folder, "http.conf");
  const own = (name: string) => join(stage.folder, `http-${name}`);
  writeFileSync(
    file,
    `daemon off; user root; pid ${own("pid")}; error_log stderr crit; worker_processes 1;
events { worker_connections 8000; }
http {
  access_log off; server_tokens off;
  client_body_temp_path ${own("body")}; proxy_temp_path ${own("proxy")}; fastcgi_temp_path ${own("fastcgi")};
  uwsgi_temp_path ${own("uwsgi")}; scgi_temp_path ${own("scgi")};
  server { listen ${PORT} backlog=4096 deferred; location / { return 204; } }
}
`,
  );
  const server = await stage.start("nginx", ["-c", file, "-e", "stderr"], { netns: stage.server, on: "load" });
  await waitUntil(
    () => listens(stage),
    5000,
    () => `nginx did not start: ${server.said()}`,
  );
  return server;
}

/** Whether something listens on the port in the servers' namespace. */
async function listens(stage: Stage): Promise<boolean> {
  const text = await stage.run("cat", ["/proc/net/tcp"], { netns: stage.server });
  return text.includes(`00000000:${PORT.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`);
}

async function waitUntil(condition: () => Promise<boolean>, limitMs: number, what: () => string): Promise<void> {
  const until = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > until) throw new LvsError("ERR_LVS_DIRECTOR", what());
    await pause(50);
  }
}

const IDLE_SECONDS = 5;
/** What is loaded behind the first frames, and V8's tidying up 8 s after a start, happen once. */
const SETTLE_SECONDS = 10;

export async function benchPeers(options: PeersOptions): Promise<PeersReport> {
  const { seconds, rounds = 5, only = TEST_NAMES, progress = () => {} } = options;
  if (process.getuid?.() !== 0)
    throw new LvsError("ERR_LVS_PERMISSION", "bench peers makes namespaces and devices: run it as root");
  for (const command of ["ip", "taskset", "sysctl"]) {
    if (!has(command)) throw new LvsError("ERR_LVS_DIRECTOR", `bench peers needs ${command}`);
  }
  const load = compileC("load");
  if ("missing" in load) throw new LvsError("ERR_LVS_DIRECTOR", `bench peers needs its load: ${load.missing}`);
  const missing: string[] = [];
  const stage = new Stage();
  // Ctrl-C must not leave namespaces behind.
  const interrupt = () => stage.interrupt();
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.once(signal, interrupt);
  try {
    await stage.open();
    const lanes = await startAll(stage, load.path, { only, rounds, progress }, missing);
    progress("all of them: idle");
    const contenders = await describe(lanes);
    const tests: PeersTest[] = [];
    const chosen = TESTS.filter(({ name }) => only.includes(name));
    const all = chosen.reduce((sum, { name }) => sum + (rounds + 1) * fielded(lanes, name).length, 0);
    let done = 0;
    const step: Progress = (text) => progress(text, done++ / all);
    for (const test of chosen) {
      const lacks = (test.needs ?? []).filter((command) => !has(command));
      if (lacks.length > 0) missing.push(`${test.title}: ${lacks.join(", ")} not installed`);
      else tests.push(await runTest(test, stage, lanes, load.path, { seconds, rounds, progress: step }, missing));
    }
    return { bench: "peers", machine: machine(), seconds, rounds, contenders, tests, missing };
  } catch (error) {
    if (stage.interrupted) throw new LvsError("ERR_LVS_DIRECTOR", "interrupted");
    throw error;
  } finally {
    await stage.close();
    for (const signal of signals) process.off(signal, interrupt);
  }
}

/** Starts every contender and sees that a request comes through it; who cannot take part is named and left out. */
async function startAll(
  stage: Stage,
  load: string,
  { only, rounds, progress }: { only: readonly TestName[]; rounds: number; progress: Progress },
  missing: string[],
): Promise<Lane[]> {
  const lanes: Lane[] = [];
  const server = await servant(stage, load, ["echo", `${PORT}`]);
  for (const [at, contender] of CONTENDERS.entries()) {
    if (contender.tests !== undefined && !contender.tests.some((test) => only.includes(test))) continue;
    const lacks = contender.missing?.();
    if (lacks !== undefined) {
      missing.push(`${contender.name}: ${lacks}`);
      continue;
    }
    progress(`${contender.name}: starting`);
    const lane = new Lane(stage, contender, at + 1, rounds);
    try {
      await contender.start(lane);
      const asks = () =>
        client(lane, load, ["ask", lane.vip, `${PORT}`, "0.02"], 0).then(
          () => true,
          () => false,
        );
      await waitUntil(asks, 5000, () => lane.process?.said() || "nothing comes through it");
      lanes.push(lane);
    } catch (error) {
      if (stage.interrupted) throw error;
      missing.push(`${contender.name}: ${error instanceof Error ? error.message : error}`);
      if (lane.process !== undefined) await stage.stop(lane.process);
    }
  }
  await stage.stop(server);
  return lanes;
}

async function describe(lanes: readonly Lane[]): Promise<PeersContender[]> {
  const families = lanes.map(({ process: running }) =>
    running?.child.pid === undefined ? undefined : familyOf(running.child.pid),
  );
  const spent = () => families.map((family) => family?.reduce((sum, pid) => sum + processorTime(pid), 0));
  await pause(SETTLE_SECONDS * 1000);
  const before = spent();
  await pause(IDLE_SECONDS * 1000);
  const after = spent();
  return lanes.map(({ contender, ready }, at) => {
    const from = before[at];
    const idle = from === undefined ? undefined : (after[at]! - from) / IDLE_SECONDS;
    return {
      id: contender.id,
      name: contender.name,
      version: contender.version?.(),
      ready: ready.length === 0 ? undefined : figure(ready),
      idle,
    };
  });
}

/** Those that take part in a test. */
function fielded(lanes: readonly Lane[], test: TestName): Lane[] {
  return lanes.filter(({ contender }) => contender.tests === undefined || contender.tests.includes(test));
}

async function runTest(
  test: Test,
  stage: Stage,
  all: readonly Lane[],
  load: string,
  { seconds, rounds, progress }: { seconds: number; rounds: number; progress: Progress },
  missing: string[],
): Promise<PeersTest> {
  let lanes = fielded(all, test.name);
  const server = await test.serve(stage, load);
  const results = new Map<Lane, Array<Measured & { cpu: number; load: number }>>(lanes.map((lane) => [lane, []]));
  // The first round only warms up, and is short.
  for (let round = 0; round <= rounds; round++) {
    // Each round begins with another one: nobody always follows the same neighbour.
    const first = round % Math.max(1, lanes.length);
    for (const lane of [...lanes.slice(first), ...lanes.slice(0, first)]) {
      const { name } = lane.contender;
      progress(`${test.title}: ${round === 0 ? "warming up" : `round ${round} of ${rounds}`}, ${name}`);
      try {
        const [before, loadBefore, from] = [stage.busy("forwarder"), stage.busy("load"), performance.now()];
        const measured = await test.measure(lane, load, round === 0 ? Math.min(seconds, 0.3) : seconds, server);
        const cpu = (stage.busy("forwarder") - before) / measured.work;
        const spent = ((performance.now() - from) / 1000) * stage.loadCpus.length;
        // Ticks are counted when they end: a part of one more may be among them.
        const share = Math.min(1, (stage.busy("load") - loadBefore) / spent);
        if (round > 0) results.get(lane)!.push({ ...measured, cpu, load: share });
      } catch (error) {
        if (stage.interrupted) throw error;
        missing.push(`${test.title}, ${name}: ${error instanceof Error ? error.message : error}`);
        lanes = lanes.filter((one) => one !== lane);
      }
    }
  }
  await stage.stop(server);
  const values = (lane: Lane) => results.get(lane)!.map(({ value }) => value);
  const bare = lanes
    .filter(({ contender }) => contender.id === "c-rw" || contender.id === "c-uring")
    .sort((a, b) => (figure(values(a)).median - figure(values(b)).median) * (test.better === "higher" ? -1 : 1))[0];
  const ratio = (over: Lane, under: Lane) => figure(values(over).map((value, at) => value / values(under)[at]!));
  const ours = lanes.find(({ contender }) => contender.id === "wlvs-uring") ?? lanes[0]!;
  const rows = lanes.map((lane) => {
    const measured = results.get(lane)!;
    const late = measured.flatMap(({ p99 }) => (p99 === undefined ? [] : [p99]));
    return {
      contender: lane.contender.name,
      ...(lane.contender.isCeiling === true && { isCeiling: true as const }),
      value: figure(values(lane)),
      cpu: figure(measured.map(({ cpu }) => cpu)),
      load: figure(measured.map(({ load }) => load)),
      ...(late.length > 0 && { p99: figure(late) }),
      wlvs: ratio(ours, lane),
      ...(bare !== undefined && { bare: ratio(lane, bare) }),
    };
  });
  const { name, title, unit, work, better } = test;
  return { test: name, title, unit, work, better, best: bare?.contender.name, rows };
}
