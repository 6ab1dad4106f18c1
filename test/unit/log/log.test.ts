/** Lines as they are written, and what becomes of them when nobody reads. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, it, vi } from "vitest";
import { createLog, LOG_LEVELS, type LogLevel } from "../../../host/log.js";

const LOG = join(import.meta.dirname, "../../../dist/host/log.js");
const LINES = 5000;

function lines(level: LogLevel): Array<Record<string, unknown>> {
  const said: string[] = [];
  const log = createLog(level, "keeper", (line) => said.push(line));
  for (const name of LOG_LEVELS) if (name !== "silent") log[name]({ event: "a.b" }, `the ${name} one`);
  return said.map((line) => {
    expect(line.endsWith("\n")).toBe(true);
    return JSON.parse(line) as Record<string, unknown>;
  });
}

it("writes one object a line: level, time, part, pid, fields, sentence", () => {
  const said: string[] = [];
  const port = 'ext0"\n';
  createLog("info", "keeper", (line) => said.push(line)).warn({ event: "a.b", port, none: undefined }, "x\ny");
  const [line] = said;
  expect(line!.match(/\n/g)).toHaveLength(1);
  expect(Object.keys(JSON.parse(line!))).toEqual(["level", "time", "part", "pid", "event", "port", "msg"]);
  expect(JSON.parse(line!)).toMatchObject({
    level: 40,
    part: "keeper",
    pid: process.pid,
    event: "a.b",
    port,
    msg: "x\ny",
  });
  expect(Math.abs(JSON.parse(line!).time - Date.now())).toBeLessThan(60_000);
});

it("says what is of its level or above", () => {
  expect(lines("trace").map(({ level }) => level)).toEqual([10, 20, 30, 40, 50, 60]);
  expect(lines("error").map(({ msg }) => msg)).toEqual(["the error one", "the fatal one"]);
  expect(lines("silent")).toEqual([]);
});

/** A process that logs much more than a pipe holds, to one that reads from some moment on. */
function talker(writer: string, source: string): ChildProcess & { text: string } {
  const script = `
    const { createLog, lineWriter } = await import(${JSON.stringify(LOG)});
    // Node makes a pipe non-blocking when it takes it for a stream.
    void process.stderr.fd;
    const log = createLog("info", "test", ${writer});
    const talk = (n) => log.info({ event: "a.b", n }, "x".repeat(100));
    ${source}
  `;
  const argv = ["--input-type=module", "-e", script];
  return Object.assign(spawn(process.execPath, argv, { stdio: ["pipe", "pipe", "pipe"] }), { text: "" });
}

const ALL = `for (let n = 0; n < ${LINES}; n++) talk(n);`;

function read(child: ReturnType<typeof talker>): void {
  child.stderr!.setEncoding("utf8").on("data", (part: string) => {
    child.text += part;
  });
}

/** What was read, every line of it an object. */
function objects(text: string): Array<{ n: number; event: string; lines: number; msg: string }> {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}

it("waits for a slow reader, and loses nothing", async () => {
  const child = talker("lineWriter(2, 60_000)", ALL);
  await delay(200);
  read(child);
  await once(child, "close");
  expect(objects(child.text).map(({ n }) => n)).toEqual(Array.from({ length: LINES }, (_, n) => n));
});

it("goes on where nobody reads any more", async () => {
  const child = talker("undefined", ALL);
  child.stderr!.destroy();
  const [status] = (await once(child, "exit")) as [number];
  expect(status).toBe(0);
});

it("waits once for a reader that is stuck, and says what is lost when it reads again", {
  timeout: 60_000,
}, async () => {
  const child = talker(
    "lineWriter(2, 300, 600_000)",
    `
    const began = performance.now();
    ${ALL}
    console.log(performance.now() - began);
    process.stdin.once("data", () => { talk("again"); talk("last"); process.stdin.destroy(); });
    `,
  );
  const [took] = (await once(child.stdout!, "data")) as [Buffer];
  // Were each line waited for, it would be thousands of times as long as one is.
  expect(Number(took.toString())).toBeGreaterThan(290);
  expect(Number(took.toString())).toBeLessThan(30_000);
  read(child);
  await vi.waitFor(() => expect(child.text.length).toBeGreaterThan(50_000), 30_000);
  child.stdin!.write("go on\n");
  await once(child, "close");
  const said = objects(child.text);
  const written = said.filter(({ event }) => event === "a.b").map(({ n }) => n);
  const first = written.length - 2;
  expect(written).toEqual([...Array.from({ length: first }, (_, n) => n), "again", "last"]);
  expect(first).toBeLessThan(LINES);
  expect(said[first]).toMatchObject({ level: 50, part: "test", event: "log.lost", lines: LINES - first });
  expect(said[first]!.msg).toContain(`${LINES - first} line(s)`);
  expect(said).toHaveLength(first + 3);
});

it("begins anew after a line of which only a part was taken", { timeout: 60_000 }, async () => {
  const child = talker(
    "lineWriter(2, 100, 600_000)",
    `
    log.warn({ event: "a.b" }, "y".repeat(1 << 20));
    console.log("cut");
    process.stdin.once("data", () => { talk(1); process.stdin.destroy(); });
    `,
  );
  await once(child.stdout!, "data");
  read(child);
  await vi.waitFor(() => expect(child.text.length).toBeGreaterThan(50_000), 30_000);
  child.stdin!.write("go on\n");
  await once(child, "close");
  const [cut, ...rest] = child.text.trimEnd().split("\n");
  expect(cut!.endsWith("y")).toBe(true);
  expect(objects(rest.join("\n"))).toMatchObject([{ event: "log.lost", lines: 1 }, { n: 1 }]);
});

it("writes the same lines where pino is gone", () => {
  const folder = mkdtempSync(join(tmpdir(), "wlvs-log-"));
  try {
    copyFileSync(LOG, join(folder, "log.js"));
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    const source = `
      const { createLog } = await import(${JSON.stringify(join(folder, "log.js"))});
      const log = createLog("info", "director");
      log.debug({ event: "a.b" }, "too low");
      log.info({ event: "a.b", port: 'ext0"', none: undefined, all: ["x"] }, "x\\ny");
      log.fatal({ event: "a.c" }, "the end");
    `;
    const argv = ["--input-type=module", "-e", source];
    const { stderr, status, pid } = spawnSync(process.execPath, argv, { encoding: "utf8" });
    expect(status, stderr).toBe(0);
    const said = objects(stderr);
    expect(said.map((line) => Object.keys(line))).toEqual([
      ["level", "time", "part", "pid", "event", "port", "all", "msg"],
      ["level", "time", "part", "pid", "event", "msg"],
    ]);
    expect(said).toMatchObject([
      { level: 30, part: "director", pid, event: "a.b", port: 'ext0"', all: ["x"], msg: "x\ny" },
      { level: 60, part: "director", pid, event: "a.c", msg: "the end" },
    ]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
