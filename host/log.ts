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
/** For so long after that no line waits: whoever logs has other things to do. */
const HASTE_MS = 5000;
const PAUSE_MS = 5;

let loaded: typeof Pino.pino | "missing" | undefined;
let timer: NodeJS.Timeout | undefined;
const waiting: Array<() => void> = [];

const toStderr = lineWriter(2);

/** Lines of that level and above; `write` is given whole ones, and returns false for one that is lost. */
export function createLog(level: LogLevel, part: string, write: (line: string) => unknown = toStderr): Logger {
  let time = 0;
  let lost = 0;
  let log: Logger | undefined;
  const put = (line: string) => {
    if (write(line) === false) lost++;
  };
  const sayLost = (log: Logger) => {
    const lines = lost;
    log.error({ event: "log.lost", lines }, `${lines} line(s) of this log are lost: nobody read it`);
    // It may be lost itself, and is no line that anybody misses.
    lost = lost === lines ? 0 : lines;
  };
  const say = (name: Line) => {
    if (LOG_LEVELS.indexOf(name) < LOG_LEVELS.indexOf(level)) return () => {};
    const isUrgent = LOG_LEVELS.indexOf(name) >= LOG_LEVELS.indexOf("warn");
    return (fields: Fields, text: string) => {
      const now = Date.now();
      const line = () => {
        log ??= makeLines(level, part, put, () => time);
        time = now;
        if (lost > 0) sayLost(log);
        log[name](fields, text);
      };
      if (loaded !== undefined) line();
      else wait(line, isUrgent);
    };
  };
  return forLevels(say);
}

function forLevels(say: (name: Line) => Logger[Line]): Logger {
  return {
    trace: say("trace"),
    debug: say("debug"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
    fatal: say("fatal"),
  };
}

/** pino's lines; where it cannot be had, the same without it: an upgrade may have taken its files away. */
function makeLines(level: LogLevel, part: string, write: (line: string) => void, time: () => number): Logger {
  const base = { part, pid: process.pid };
  if (loaded !== undefined && loaded !== "missing") {
    return loaded({ level, base, timestamp: () => `,"time":${time()}` }, { write });
  }
  return forLevels((name) => {
    const at = LOG_LEVELS.indexOf(name);
    if (at < LOG_LEVELS.indexOf(level)) return () => {};
    return (fields, msg) =>
      write(`${JSON.stringify({ level: 10 * (at + 1), time: time(), ...base, ...fields, msg })}\n`);
  });
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
function load(): void {
  if (loaded !== undefined) return;
  clearTimeout(timer);
  process.off("exit", load);
  try {
    loaded = (createRequire(import.meta.url)("pino") as typeof Pino).pino;
  } catch {
    loaded = "missing";
  }
  for (const line of waiting.splice(0)) line();
}

/**
 * Writes lines to a descriptor, to their end, though it may be a pipe that is full for a moment. Where nobody reads,
 * there is nobody to tell: false is for a line that is lost, or a part of it.
 */
export function lineWriter(fd: number, patienceMs = PATIENCE_MS, hasteMs = HASTE_MS): (line: string) => boolean {
  let patientFrom = 0;
  let isCut = false;
  return (line) => {
    const whole = Buffer.from(isCut ? `\n${line}` : line);
    const began = performance.now();
    const until = began < patientFrom ? began : began + patienceMs;
    for (let done = 0; done < whole.length; ) {
      try {
        done += writeSync(fd, whole, done);
        // Nothing of a line is appended to a part of another one.
        isCut = done < whole.length;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return false;
        const now = performance.now();
        if (now >= until) {
          if (now >= patientFrom) patientFrom = now + hasteMs;
          return false;
        }
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
      }
    }
    return true;
  };
}
