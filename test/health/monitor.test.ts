/** When what is checked, and what answers mean: real sockets where it counts, scripted answers where order does. */
import { type ChildProcess, spawn } from "node:child_process";
import { afterEach, describe, expect, it } from "vitest";
import type { Checker, Problem, Target } from "../../host/health/checker.js";
import { type Checkers, createCheckers } from "../../host/health/checkers.js";
import { type Health, Monitor } from "../../host/health/monitor.js";
import { FAST, sleep, target, until } from "./support.js";

let monitor: Monitor | undefined;
const children: ChildProcess[] = [];
/** WLVS_CHECK_SECONDS=20 takes longer over it. */
const SECONDS = Number(process.env.WLVS_CHECK_SECONDS ?? 5);

afterEach(() => {
  monitor?.close();
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** A checker whose answers are known beforehand; the last one goes on for ever. */
function scripted(...answers: Array<Problem | "never">): { checkers: Checkers; times: number[] } {
  const times: number[] = [];
  const checker: Checker = {
    begin(_target, done) {
      const answer = answers[Math.min(times.length, answers.length - 1)];
      times.push(performance.now());
      if (answer !== "never") queueMicrotask(() => done(answer));
      return () => {};
    },
  };
  return { checkers: { ...createCheckers([]), tcp: checker }, times };
}

function watching(checkers: Checkers, ...targets: Target[]): Health[] {
  const seen: Health[] = [];
  monitor = new Monitor({ checkers, changed: (health) => seen.push(health), random: () => 0 });
  monitor.watch(targets);
  return seen;
}

const spec = (more: object) => target({ type: "tcp", interval: 20, retry: 20, ...more }, 80);

describe("monitor", () => {
  it("wants as many answers in a row as rise and fall say", async () => {
    const bad = "ill";
    const { checkers, times } = scripted(
      undefined,
      undefined,
      bad,
      undefined,
      bad,
      bad,
      bad,
      undefined,
      bad,
      undefined,
      undefined,
    );
    const seen = watching(checkers, spec({ rise: 2, fall: 3 }));
    await until(() => seen.length === 3, "three changes");
    expect(seen.map(({ up }) => up)).toEqual([true, false, true]);
    expect(seen[1]!.problem).toBe("ill");
    expect(times.length).toBe(11);
  });

  it("tells of a new server only once it knows", async () => {
    const { checkers } = scripted("ill");
    const seen = watching(checkers, spec({ fall: 3, delay: 40 }));
    expect(monitor!.health()).toEqual([]);
    await until(() => seen.length === 1, "a verdict");
    expect(monitor!.health()).toMatchObject([{ up: false, problem: "ill" }]);
  });

  it("keeps its interval whatever answers take, and retries sooner", async () => {
    const { checkers, times } = scripted(undefined, "ill", "ill", "ill");
    const seen = watching(checkers, spec({ interval: 150, retry: 30, rise: 1, fall: 3 }));
    await until(() => seen.length === 2, "down");
    const gaps = times.slice(1).map((time, at) => time - times[at]!);
    expect(gaps[0]).toBeGreaterThan(130);
    expect(gaps[1]).toBeLessThan(100);
    expect(gaps[2]).toBeLessThan(100);
  });

  it("takes a time-out for a failure and abandons the attempt", async () => {
    let abandoned = 0;
    const never: Checker = { begin: () => () => void abandoned++ };
    const seen = watching({ ...createCheckers([]), tcp: never }, spec({ timeout: 30, fall: 2 }));
    await until(() => seen.length === 1, "down");
    expect(seen[0]).toMatchObject({ up: false, problem: "no answer within 0.03 s" });
    expect(abandoned).toBe(2);
  });

  it("goes on undisturbed with what it watches already, and forgets what it no longer does", async () => {
    const { checkers, times } = scripted("ill");
    const one = spec({ fall: 2 });
    const seen = watching(checkers, one);
    await until(() => seen.length === 1, "down");
    const other = { ...one, id: "other" };
    monitor!.watch([{ ...one, spec: { ...one.spec, interval: 25 } }, other]);
    expect(monitor!.health()).toMatchObject([{ id: one.id, up: false }]);
    await until(() => seen.length === 2, "the other");
    monitor!.watch([other]);
    expect(monitor!.health()).toMatchObject([{ id: "other", up: false }]);
    monitor!.watch([]);
    const before = times.length;
    await sleep(100);
    expect(times.length).toBe(before);
  });

  it("spreads first checks over the interval", async () => {
    const began: number[] = [];
    const checker: Checker = {
      begin(_target, done) {
        began.push(performance.now());
        queueMicrotask(() => done(undefined));
        return () => {};
      },
    };
    const start = performance.now();
    monitor = new Monitor({ checkers: { ...createCheckers([]), tcp: checker }, changed: () => {} });
    monitor.watch(Array.from({ length: 200 }, (_, at) => ({ ...spec({ interval: 400, delay: 100 }), id: `${at}` })));
    await until(() => began.length >= 200, "all");
    const firsts = began.map((time) => time - start);
    expect(Math.min(...firsts)).toBeGreaterThanOrEqual(99);
    const early = firsts.filter((time) => time < 300).length;
    expect(early).toBeGreaterThan(60);
    expect(early).toBeLessThan(140);
  });

  it("checks 1000 servers a second with a fifth of a core", async () => {
    const port = await acceptEverything();
    const targets = Array.from({ length: 1000 }, (_, at) => ({
      ...target(
        { type: "tcp", ...FAST, interval: 1000, timeout: 900, fall: 3 },
        port,
        `127.0.${at % 4}.${(at % 250) + 1}`,
      ),
      id: `${at}`,
    }));
    const down: Health[] = [];
    monitor = new Monitor({ checkers: createCheckers([]), changed: (health) => !health.up && down.push(health) });
    monitor.watch(targets);
    await sleep(1500);
    const before = process.cpuUsage();
    const began = performance.now();
    const attempts = monitor.attempts;
    await sleep(SECONDS * 1000);
    const seconds = (performance.now() - began) / 1000;
    const { user, system } = process.cpuUsage(before);
    const done = monitor.attempts - attempts;
    // What 1000 of them take: a busy machine lets fewer be made, and each costs what it costs.
    const share = (((user + system) / 1e6) * 1000) / done;
    console.log(`${Math.round(done / seconds)} checks a second; 1000 take ${(share * 100).toFixed(1)} % of a core`);
    expect(done / seconds).toBeGreaterThan(100);
    expect(down).toEqual([]);
    // A fifth, where it is measured for long; what else runs beside the tests costs caches and time.
    expect(share).toBeLessThan(process.env.WLVS_CHECK_SECONDS === undefined ? 0.4 : 0.2);
  });
});

/** A process that takes connections on every address of this machine, so that its share is not counted here. */
function acceptEverything(): Promise<number> {
  const script = `
const server = require("node:net").createServer((socket) => socket.on("error", () => {}));
server.listen(0, () => process.send(server.address().port));
process.on("disconnect", () => process.exit());`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  children.push(child);
  return new Promise((resolve) => child.once("message", (port) => resolve(port as number)));
}
