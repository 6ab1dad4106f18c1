/** Lines as they are written, and what becomes of them when nobody reads. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
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
function talker(): ReturnType<typeof spawn> {
  const source = `
    const { createLog } = await import(${JSON.stringify(LOG)});
    // Node makes a pipe non-blocking when it takes it for a stream.
    void process.stderr.fd;
    const log = createLog("info", "test");
    for (let n = 0; n < ${LINES}; n++) log.info({ event: "a.b", n }, "x".repeat(100));
  `;
  return spawn(process.execPath, ["--input-type=module", "-e", source], { stdio: ["ignore", "ignore", "pipe"] });
}

it("waits for a slow reader, and loses nothing", async () => {
  const child = talker();
  await delay(200);
  let text = "";
  child.stderr!.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  await once(child, "close");
  const numbers = text
    .trimEnd()
    .split("\n")
    .map((line) => (JSON.parse(line) as { n: number }).n);
  expect(numbers).toEqual(Array.from({ length: LINES }, (_, n) => n));
});

it("goes on where nobody reads any more", async () => {
  const child = talker();
  child.stderr!.destroy();
  const [status] = (await once(child, "exit")) as [number];
  expect(status).toBe(0);
});
