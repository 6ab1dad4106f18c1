/** The soak itself: traffic, changes and accidents for a time; then everything is looked at. */
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { cpus } from "node:os";
import { createInterface } from "node:readline";
import { machine } from "../../host/bench/figures.js";
import { hasLink } from "../netns/network.js";
import { Operator, pause } from "./operator.js";
import type { AtEnd, Burst, Failure, LogLine, SoakRecord, Stall } from "./record.js";
import { CLIENTS, EXTERNAL, INTERNAL, Site, VIP } from "./site.js";
import type { ClientReport, ClientSpec } from "./traffic.js";
import { measure, type Sample } from "./watch.js";

export interface SoakOptions {
  readonly seconds: number;
  readonly progress: (text: string) => void;
}

/** So many failures are kept with their times; a soak that has more has failed anyway. */
const FAILURES_MOST = 20_000;
/** TIME_WAIT lasts two minutes: a shorter soak waits for its connections to close, a longer one for the table to empty. */
const SETTLE_MS = 150_000;
const LONG_SECONDS = 180;
const CLOSE_MS = 45_000;
const IDLE_MS = 5000;
const WARNING = 40;
const PULSE_MS = 100;
const STALL_MS = 1000;

function specs(sha256: string): ClientSpec[] {
  const all = { host: VIP, from: CLIENTS, timeoutMs: 15_000 };
  const pages = { ...all, kind: "pages" as const };
  return [
    { ...pages, name: "pages, keep-alive", port: 80, count: 8, pauseMs: 40, keepAlive: 50 },
    { ...pages, name: "pages, connection: close", port: 80, count: 4, pauseMs: 80, keepAlive: 1 },
    { ...pages, name: "files of 2 MB", port: 80, count: 1, pauseMs: 1500, keepAlive: 3, sha256 },
    { ...pages, name: "pages of mortal servers, keep-alive", port: 81, count: 6, pauseMs: 60, keepAlive: 40 },
    { ...pages, name: "pages of mortal servers, connection: close", port: 81, count: 2, pauseMs: 100, keepAlive: 1 },
    { ...all, name: "streams", kind: "streams", port: 9000, count: 24, pauseMs: 250, timeoutMs: 30_000 },
    { ...all, name: "datagrams", kind: "datagrams", port: 7000, count: 8, pauseMs: 50 },
  ];
}

export async function soak({ seconds, progress }: SoakOptions): Promise<SoakRecord> {
  const site = new Site();
  try {
    return await run(site, seconds, progress);
  } finally {
    site.close();
  }
}

async function run(site: Site, seconds: number, progress: (text: string) => void): Promise<SoakRecord> {
  const began = Date.now();
  await site.open({ pages: [1, 1], streams: [1, 1], datagrams: [1, 1] });
  const keeper = site.director.child.pid!;
  const pulse = startPulse();
  const operator = new Operator(site);
  const failures: Failure[] = [];
  let failuresMore = 0;
  let again = 0;
  const done: Record<string, number> = {};
  const bytes: Record<string, number> = {};
  const bursts: Burst[] = [];
  const look = () => measure(site.listen, keeper, began, done, bytes);
  const samples: Sample[] = [];
  await operator.ready();
  // A first look makes what is made once: buffers of the server, the code of the scrape.
  await look();
  await pause(1000);
  const first = await look();
  const { version } = await site.remote.status();

  const hear = (report: ClientReport) => {
    if ("failure" in report) {
      if (failures.length < FAILURES_MOST) failures.push(report);
      else failuresMore++;
      return;
    }
    done[report.name] = (done[report.name] ?? 0) + report.done;
    bytes[report.name] = (bytes[report.name] ?? 0) + report.bytes;
    again += report.again;
  };
  const clients = specs(site.sha256).map((spec) => follow(site.visitor(spec), spec.name, hear));
  const short = seconds < LONG_SECONDS;
  const tasks = [
    operator.changes(short ? 300 : 1500),
    operator.fates(short ? 1000 : 15_000),
    operator.listings(short ? 500 : 2000),
    burst(site, operator, bursts, short ? 4000 : 20_000),
  ];
  const until = performance.now() + seconds * 1000;
  const everyMs = Math.max(1000, Math.min(10_000, seconds * 5));
  let told = 0;
  while (performance.now() < until) {
    await pause(Math.min(everyMs, Math.max(0, until - performance.now())));
    try {
      samples.push(await look());
    } catch (error) {
      operator.problems.push(`no sample: ${(error as Error).message}`);
    }
    if (performance.now() - told > 60_000) {
      told = performance.now();
      progress(line(samples.at(-1), failures.length + failuresMore, operator));
    }
  }
  operator.ending = true;
  await Promise.all(tasks);
  for (const { child } of clients) child.stdin!.end();
  const stuck = setTimeout(() => {
    for (const { child, name } of clients) {
      if (child.exitCode === null) operator.problems.push(`${name}: the client does not end`);
      child.kill("SIGKILL");
    }
  }, 60_000);
  await Promise.all(clients.map(({ ended }) => ended));
  clearTimeout(stuck);

  const settled = await settle(site, seconds >= LONG_SECONDS);
  const before = await look();
  await pause(IDLE_MS);
  const last = await look();
  const log = logOf(site.director.stderr);
  const { status, signal } = await site.director.stop();
  await pause(500);
  const devicesLeft = [
    [site.client, EXTERNAL],
    [site.fabric, INTERNAL],
  ].filter(([namespace, name]) => hasLink(namespace!, name!)).length;
  const end: AtEnd = {
    ...settled,
    idleCpu: (last.cpu - before.cpu) / ((last.at - before.at) / 1000),
    status,
    signal,
    devicesLeft,
    socketLeft: existsSync(site.socket),
  };
  return {
    version,
    node: process.version,
    kernel: machine().kernel,
    processors: cpus().length,
    date: new Date(began).toISOString(),
    seconds,
    samples,
    outages: operator.outages,
    failures,
    failuresMore,
    bursts,
    again,
    stalls: pulse.stop(),
    changes: operator.done,
    problems: operator.problems,
    log,
    first,
    last,
    end,
    began,
  };
}

/** Notices when the machine gives this process no processor, and so none to others either. */
function startPulse() {
  const stalls: Stall[] = [];
  let last = Date.now();
  const timer = setInterval(() => {
    const now = Date.now();
    if (now - last > STALL_MS) stalls.push({ began: last, ended: now });
    last = now;
  }, PULSE_MS);
  return {
    stop: () => {
      clearInterval(timer);
      return stalls;
    },
  };
}

function line(sample: Sample | undefined, failures: number, operator: Operator): string {
  if (sample === undefined) return "no sample yet";
  const done = Object.values(sample.done).reduce((sum, value) => sum + value, 0);
  const rss = Math.round(sample.rss / 2 ** 20);
  const after = Math.round(sample.at / 1000);
  return `after ${after} s: ${done} answers, ${failures} failures, ${sample.connections} connections, ${rss} MiB, ${operator.problems.length} problems`;
}

/** A client's lines. */
function follow(child: ChildProcess, name: string, hear: (report: ClientReport) => void) {
  const lines = createInterface(child.stdout!);
  lines.on("line", (text) => hear(JSON.parse(text) as ClientReport));
  const ended = new Promise<void>((resolve) => {
    child.once("close", (status, signal) => {
      const now = Date.now();
      if (status !== 0) hear({ name, failure: `the client ended: ${signal ?? status}`, began: now, ended: now });
      resolve();
    });
  });
  return { child, name, ended };
}

/** Every now and then as many requests as there can be. */
async function burst(site: Site, operator: Operator, bursts: Burst[], pauseMs: number): Promise<void> {
  const seconds = 3;
  for (let n = 0; !operator.ending; n++) {
    const keepAlive = n % 2 === 0;
    const { status, out, err } = await site.wrk(80, seconds, 8, ...(keepAlive ? [] : ["-H", "Connection: close"]));
    const requests = Number(/(\d+) requests in/.exec(out)?.[1] ?? 0);
    const errors = [/Socket errors:.*/.exec(out)?.[0], /Non-2xx.*/.exec(out)?.[0]].filter(Boolean).join("; ");
    bursts.push({ requests, seconds, keepAlive, errors });
    if (status !== 0 || requests === 0) operator.problems.push(`wrk: status ${status} ${err}`);
    await operator.rest(pauseMs);
  }
}

/**
 * Until no connection is left, or (a short soak) until none is established. A client that gave up in its handshake, as
 * wrk does when its time is up, leaves a half-open connection for a minute: a reset in SYN_RECV does not end it.
 */
async function settle(
  site: Site,
  whole: boolean,
): Promise<Pick<AtEnd, "established" | "connections" | "waitedMs" | "left">> {
  const began = performance.now();
  for (;;) {
    const lines = (await site.wlvsadm(["-Lnc"])).out.split("\n");
    const established = lines.filter((one) => / ESTABLISHED /.test(one));
    const connections = (await site.remote.status()).connections.used;
    const waitedMs = Math.round(performance.now() - began);
    const end = { established: established.length, connections, waitedMs };
    if ((whole ? connections : established.length) === 0) return { ...end, left: [] };
    if (waitedMs > (whole ? SETTLE_MS : CLOSE_MS)) return { ...end, left: (whole ? lines : established).slice(0, 20) };
    await pause(500);
  }
}

function logOf(text: string): LogLine[] {
  const lines: LogLine[] = [];
  for (const one of text.split("\n")) {
    if (one === "") continue;
    let parsed: LogLine;
    try {
      parsed = JSON.parse(one) as LogLine;
    } catch {
      // What is no log is worse than a warning.
      lines.push({ level: 60, msg: one, time: 0 });
      continue;
    }
    if (parsed.level >= WARNING) lines.push(parsed);
  }
  return lines;
}
