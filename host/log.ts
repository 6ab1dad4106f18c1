/**
 * The log: JSON lines on stderr, written at once, so that a dying process has said why. pino makes the lines; it is
 * loaded with the first warning, or a moment after the first line: to load it takes longer than anything else would
 * before frames flow.
 */
import { writeSync } from "node:fs";
import { createRequire } from "node:module";
import type * as Pino from "pino";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
type Line = Exclude<LogLevel, "silent">;

/** What docs/logs.md says of the event. */
interface Fields {
  readonly event: string;
  readonly [name: string]: string | number | readonly string[] | undefined;
}

export type Logger = { readonly [level in Line]: (fields: Fields, text: string) => void };

/** How long lines wait for pino, and how many. */
const DELAY_MS = 300;
const WAITING_MOST = 100;
/** How long a line waits for a reader that takes nothing; what is left of it then is lost. */
const PATIENCE_MS = 1000;
const PAUSE_MS = 5;

let pino: typeof Pino.pino | undefined;
let timer: NodeJS.Timeout | undefined;
const waiting: Array<() => void> = [];

/** Lines of that level and above; `write` is given whole ones. */
export function createLog(level: LogLevel, part: string, write: (line: string) => void = toStderr): Logger {
  let time = 0;
  let log: Pino.Logger | undefined;
  const say = (name: Line) => {
    if (LOG_LEVELS.indexOf(name) < LOG_LEVELS.indexOf(level)) return () => {};
    const isUrgent = LOG_LEVELS.indexOf(name) >= LOG_LEVELS.indexOf("warn");
    return (fields: Fields, text: string) => {
      const now = Date.now();
      const line = () => {
        const timestamp = () => `,"time":${time}`;
        log ??= load()({ level, base: { part, pid: process.pid }, timestamp }, { write });
        time = now;
        log[name](fields, text);
      };
      if (pino !== undefined) line();
      else wait(line, isUrgent);
    };
  };
  return {
    trace: say("trace"),
    debug: say("debug"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
    fatal: say("fatal"),
  };
}

function wait(line: () => void, isUrgent: boolean): void {
  waiting.push(line);
  if (isUrgent || waiting.length >= WAITING_MOST) load();
  else if (timer === undefined) {
    timer = setTimeout(load, DELAY_MS).unref();
    process.once("exit", load);
  }
}

/** Writes what has waited. */
function load(): typeof Pino.pino {
  if (pino !== undefined) return pino;
  clearTimeout(timer);
  process.off("exit", load);
  pino = (createRequire(import.meta.url)("pino") as typeof Pino).pino;
  for (const line of waiting.splice(0)) line();
  return pino;
}

/** To the end, though stderr may be a pipe that is full for a moment. Where nobody reads, there is nobody to tell. */
function toStderr(line: string): void {
  let rest: Uint8Array = Buffer.from(line);
  const until = performance.now() + PATIENCE_MS;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(2, rest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN" || performance.now() > until) return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
}
