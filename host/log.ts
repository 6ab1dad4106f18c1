/** The log: JSON lines on stderr, written at once, so that a dying process has said why. */
import { destination, type Logger, pino } from "pino";

export type { Logger } from "pino";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export function createLog(level: LogLevel, part: string): Logger {
  return pino({ level, base: { part, pid: process.pid } }, destination({ dest: 2, sync: true }));
}
