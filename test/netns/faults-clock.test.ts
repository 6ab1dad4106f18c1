/** Somebody sets the clock, a day ahead and two days back: a director that lives under another time of day than the rest. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import { needsFaketime } from "../support/needs.js";
import { childrenByRole } from "../support/processes.js";
import {
  calm,
  edge,
  events,
  hold,
  INNER,
  inner,
  network,
  pings,
  remote,
  SERVER,
  server,
  socket,
  useSite,
  VIP,
} from "./faults.js";
import { ip, journalled, waitFor } from "./network.js";
import { until } from "./pair.js";

const DAY_S = 86_400;
const CHECKED = 9001;
const INTERVAL_MS = 200;

useSite("ss", "ping");

/** Says a letter for every connection that it takes. */
const COUNTER = `
require("node:net").createServer((socket) => {
  process.stdout.write("c");
  socket.on("error", () => {}).resume();
}).listen({ host: process.argv[1], port: Number(process.argv[2]) }, () => process.stdout.write("l"));
`;

const configuration = () => `ports:
  - {tap: ext0, ip: ${VIP}/24, netns: ${edge}, bridge: brx}
  - {tap: int0, ip: ${INNER}/24, netns: ${inner}, bridge: bri}
socket: ${socket}
state: ${network.path("state")}
watch: false
check_netns: ${inner}
services:
  - vip: ${VIP}:9000
    persistent: 300
    check: {type: tcp, port: ${CHECKED}, interval: ${INTERVAL_MS}ms, timeout: 10s, rise: 1}
    on_failure: inhibit
    servers: [{rip: "${SERVER}:9000"}]
`;

it("forwards, checks, keeps and ends as before, whatever the time of day", async (context) => {
  const library = needsFaketime(context);
  chmodSync(network.directory, 0o755);
  ip("-n", inner, "addr", "add", "192.168.2.131/24", "dev", "bri");
  const counter = spawn("ip", ["netns", "exec", server, process.execPath, "-e", COUNTER, SERVER, `${CHECKED}`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await follow(counter, library);
  } finally {
    counter.kill("SIGKILL");
  }
});

async function follow(counter: ChildProcess, library: string): Promise<void> {
  let said = "";
  counter.stdout!.on("data", (text) => (said += text));
  await waitFor(() => said.startsWith("l"), "there is something to check");
  // What the keeper starts gets no environment, so that nothing like this can be done to it.
  const version = network.version();
  for (const file of ["keeper/spawn.js", "keeper/checkers.js"]) {
    version.change(file, "env: { PATH:", "env: { ...process.env, PATH:");
  }
  const clock = network.path("clock");
  const set = (seconds: number) => {
    writeFileSync(`${clock}.new`, `${seconds < 0 ? "-" : "+"}${Math.abs(seconds)}\n`);
    renameSync(`${clock}.new`, clock);
  };
  set(0);
  Object.assign(version.env, {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: clock,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
    FAKETIME_DISABLE_SHM: "1",
  });
  const file = network.path("wlvs.yaml");
  writeFileSync(file, configuration());
  const director = network.directorOf(version, "--config", file);
  await director.ready();
  await until(pings, "it answers");
  await until(async () => (await remote.health())[0]?.state === "up", "the server is well", 30_000);
  const connections = await hold(5);
  const began = performance.now();
  const { pid } = await remote.status();
  const checker = childrenByRole(director.child.pid!).get("checker")!;
  expect(checker).toHaveLength(1);
  const pids = [director.child.pid!, pid, ...checker];
  for (const one of pids) expect(readFileSync(`/proc/${one}/maps`, "latin1")).toContain(library);

  for (const [times, seconds] of [DAY_S, -DAY_S].entries()) {
    set(seconds);
    // A line of each: the director reloads, the keeper refuses what cannot be read.
    for (const [text, event] of [
      [configuration(), "config.reloaded"],
      ["nonsense", "config.refused"],
    ] as const) {
      writeFileSync(file, text);
      director.child.kill("SIGHUP");
      await waitFor(() => events(director, event).length > times, event);
      expect(Math.abs(Number(events(director, event).at(-1)!.time) - Date.now() - seconds * 1000)).toBeLessThan(60_000);
    }
    expect(await connections.check()).toEqual({ well: 5, resets: 0 });
    const more = await hold(2);
    expect(await more.check()).toEqual({ well: 2, resets: 0 });
    more.child.kill();
    // Checks go on as often as before, and nothing is busy.
    const [checked, from] = [said.length, performance.now()];
    await calm(...pids);
    const most = (performance.now() - from) / INTERVAL_MS + 2;
    await waitFor(() => said.length - checked >= 3, "the server is checked");
    expect(said.length - checked).toBeLessThanOrEqual(Math.max(most, 3));
    await expectTimers(began);
    expect(await traceTime()).toBeCloseTo(Date.now() / 1000 + seconds, -2);
  }

  // What is in the file is from a day ahead, and from a day back.
  const another = await hold(1);
  await journalled(network.path("state"));
  expect((await remote.status()).pid).toBe(pid);
  const silent = ["director.died", "director.hung", "worker.hung", "worker.restarted", "checks.died", "health.down"];
  for (const event of silent) expect(events(director, event), event).toEqual([]);
  process.kill(pid, "SIGKILL");
  await until(async () => (await remote.status()).pid !== pid, "another director", 30_000);
  expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  expect(await another.check()).toEqual({ well: 1, resets: 0 });
  expect(events(director, "state.restored")).toMatchObject([{ left: 0 }]);
  await expectTimers(began);
  counter.kill("SIGKILL");
  await waitFor(() => events(director, "health.down").length === 1, "a server that fails is seen");
  expect((await director.stop()).status).toBe(0);
}

/** Nothing has ended, or is to end, sooner or later than so long after it began. */
async function expectTimers(began: number): Promise<void> {
  const passed = (performance.now() - began) / 1000 + 2;
  let templates = 0;
  let established = 0;
  for await (const { template, state, expires } of remote.connections()) {
    if (!template && state !== "ESTABLISHED") continue;
    const whole = template ? 300 : 900;
    expect(expires).toBeGreaterThan(whole - passed);
    expect(expires).toBeLessThanOrEqual(whole);
    if (template) templates++;
    else established++;
  }
  expect(templates).toBe(1);
  expect(established).toBeGreaterThanOrEqual(5);
}

/** Seconds since 1970, as a trace has them, of a frame that comes now. */
async function traceTime(): Promise<number> {
  const stop = new AbortController();
  const pinging = (async () => {
    while (!stop.signal.aborted) await pings();
  })();
  try {
    for await (const record of remote.trace({ filter: "icmp" }, stop.signal)) {
      if ("time" in record) return record.time / 1000;
    }
    throw new Error("the trace ended");
  } finally {
    stop.abort();
    await pinging;
  }
}
