/** The log: JSON lines on stderr, written at once, so that a dying process has said why. */
import { writeSync } from "node:fs";

const LEVELS = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;

type Line = keyof typeof LEVELS;
export type LogLevel = Line | "silent";
export const LOG_LEVELS = [...(Object.keys(LEVELS) as Line[]), "silent"] as const satisfies readonly LogLevel[];

/** What docs/logs.md says of the event. */
interface Fields {
  readonly event: string;
  readonly [name: string]: string | number | readonly string[] | undefined;
}

export type Logger = { readonly [level in Line]: (fields: Fields, text: string) => void };

/** How long a line waits for a reader that takes nothing; what is left of it then is lost. */
const PATIENCE_MS = 1000;
const PAUSE_MS = 5;

/** Lines of that level and above; `write` is given whole ones. */
export function createLog(level: LogLevel, part: string, write: (line: string) => void = toStderr): Logger {
  const least = level === "silent" ? Number.POSITIVE_INFINITY : LEVELS[level];
  const { pid } = process;
  const say = (name: Line) => {
    const number = LEVELS[name];
    if (number < least) return () => {};
    return (fields: Fields, text: string) =>
      write(`${JSON.stringify({ level: number, time: Date.now(), part, pid, ...fields, msg: text })}\n`);
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
