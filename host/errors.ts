/** Errors that a person is told about: one line each, saying what is wrong and what to write instead. */
import { getSystemErrorMap } from "node:util";

/** What went wrong, and the exit status that a command ends with for it. */
const EXIT_STATUS = {
  ERR_LVS_USAGE: 2,
  ERR_LVS_NOT_BUILT: 2,
  ERR_LVS_CORE: 1,
  ERR_LVS_DIRECTOR: 1,
  ERR_LVS_FILE: 1,
  ERR_LVS_NETNS: 1,
  ERR_LVS_PERMISSION: 1,
  ERR_LVS_PORT_OPEN: 1,
  ERR_LVS_SOCKET: 1,
  ERR_LVS_TABLES: 1,
} as const;

export type LvsErrorCode = keyof typeof EXIT_STATUS;

export class LvsError extends Error {
  readonly code: LvsErrorCode;
  constructor(code: LvsErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "LvsError";
    this.code = code;
  }

  get exitStatus(): number {
    return EXIT_STATUS[this.code];
  }
}

/** A flag or a value that cannot be: exit status 2. */
export function usage(message: string): LvsError {
  return new LvsError("ERR_LVS_USAGE", message);
}

/** "EBUSY" and "resource busy or locked" for 16. */
export function errnoName(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[0] ?? `errno ${errno}`;
}
export function errnoText(errno: number): string {
  // EBADFD, which Node does not know: what a TAP says once it was deleted.
  if (errno === 77) return "the device is gone";
  return getSystemErrorMap().get(-errno)?.[1] ?? `error ${errno}`;
}

/** Why a file cannot be read or written; `missing`: what there is none of. */
export function fileReason(error: unknown, missing = "file"): string {
  const { code, errno } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return `no such ${missing}`;
  if (code === "EISDIR") return "it is a directory";
  return errno === undefined ? oneLine(error) : errnoText(-errno);
}

/** One line about any error. */
export function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n", 1)[0] ?? text;
}

export function exitStatusOf(error: unknown): number {
  return error instanceof LvsError ? error.exitStatus : 1;
}
