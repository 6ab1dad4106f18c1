/** A director's process that was started before it was known what for: claimed, or gone without a trace. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";

const AHEAD = join(import.meta.dirname, "../../../dist/host/keeper/ahead.js");
const MAIN = join(import.meta.dirname, "../../../dist/host/cli/main.js");

interface Said {
  readonly started: number[];
  readonly [name: string]: unknown;
}

/** Runs `source` in a process of its own (it gives privileges up), which has `ahead` and prints one object. */
function inProcess(argv: readonly string[], source: string): Said {
  const script = `
    import { readFileSync } from "node:fs";
    const { startAhead } = await import(${JSON.stringify(AHEAD)});
    const ahead = startAhead(${JSON.stringify(argv)});
    const children = () => readFileSync("/proc/self/task/" + process.pid + "/children", "utf8").trim().split(" ").filter(Boolean).map(Number);
    const started = children();
    const say = (more) => console.log(JSON.stringify({ started, ...more }));
    ${source}
  `;
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
  });
  expect([status, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout) as Said;
}

/** Whether it runs no more, zombies apart. */
async function ends(pid: number): Promise<boolean> {
  for (let tries = 0; tries < 200; tries++) {
    if (!existsSync(`/proc/${pid}`) || /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) return true;
    await delay(25);
  }
  return false;
}

it("is started for what looks like a director, and for nothing else", () => {
  const none = "say(); ahead?.discard();";
  expect(inProcess(["run", "--tap", "ext0"], none).started).toHaveLength(1);
  expect(inProcess(["run", "--config=wlvs.yaml"], none).started).toHaveLength(1);
  expect(inProcess(["run", "--help", "--tap", "ext0"], none).started).toEqual([]);
  expect(inProcess(["run"], none).started).toEqual([]);
  expect(inProcess(["status", "--tap", "ext0"], none).started).toEqual([]);
  expect(inProcess(["run", "--tap", "ext0", "--user", "nobody-of-that-name"], none).started).toEqual([]);
});

it("does not keep a process going that has nothing else to do, and ends with it", async () => {
  const { started } = inProcess(["run", "--tap", "ext0"], "say();");
  expect(await ends(started[0]!)).toBe(true);
});

it("is claimed once, by who runs it as the same user", async () => {
  const claims = `
    const { chooseUser } = await import(${JSON.stringify(AHEAD.replace("ahead.js", "director-user.js"))});
    const user = chooseUser(undefined).user;
    const process1 = ahead.claim(user);
    const again = ahead.claim(user) !== undefined;
    ahead.discard();
    say({ pid: process1?.child.pid, again, alive: process1?.child.exitCode === null && !process1.child.killed });
    process1?.child.kill("SIGKILL");
  `;
  const said = inProcess(["run", "--tap", "ext0"], claims);
  expect(said).toMatchObject({ pid: said.started[0], again: false, alive: true });
  expect(await ends(said.started[0]!)).toBe(true);
});

it("is ended by who runs it as somebody else", async () => {
  const claim = `
    const claimed = ahead.claim({ name: "x", uid: 12345, gid: 12345 }) !== undefined;
    const until = performance.now() + 10_000;
    const look = () => {
      const left = children();
      if (left.length > 0 && performance.now() < until) setTimeout(look, 25);
      else say({ claimed, left });
    };
    look();
  `;
  const said = inProcess(["run", "--tap", "ext0"], claim);
  expect(said).toMatchObject({ claimed: false, left: [] });
  expect(said.started).toHaveLength(1);
});

it("leaves nothing of a command line that cannot be", () => {
  const { status, stderr } = spawnSync(process.execPath, [MAIN, "run", "--tap", "ext0", "--vip", "nonsense"], {
    encoding: "utf8",
  });
  // The director's end of the pipe of stderr is closed, or this would wait.
  expect([status, stderr.split("\n").length]).toEqual([2, 2]);
});
