/** The files of --state: opened and named by the keeper, read and written by the director, who may not name files. */
import { closeSync, constants, copyFileSync, fstatSync, linkSync, openSync, renameSync, rmSync } from "node:fs";
import { errnoText, LvsError } from "../errors.js";
import * as native from "../port/native.js";

/** A director that is being ended may still have the file. */
const LOCK_MS = 3000;
const LOCK_STEP_MS = 5;

export class StateFile {
  readonly path: string;
  /** What is read after a crash. */
  current: number;
  /** Where the next snapshot goes. */
  spare: number;

  private constructor(path: string, current: number, spare: number) {
    this.path = path;
    this.current = current;
    this.spare = spare;
  }

  /** Both files are this process's alone, and of those that it hands them to. */
  static async open(path: string): Promise<StateFile> {
    const current = await openLocked(path);
    try {
      rmSync(`${path}.old`, { force: true });
      return new StateFile(path, current, await openLocked(spareOf(path)));
    } catch (error) {
      closeSync(current);
      throw error instanceof LvsError ? error : failed(path, error);
    }
  }

  /** The spare becomes the file, at once and whole; the one that was the file becomes the spare. */
  commit(): void {
    const { path } = this;
    // At every moment PATH names a whole snapshot.
    rmSync(`${path}.old`, { force: true });
    linkSync(path, `${path}.old`);
    renameSync(spareOf(path), path);
    renameSync(`${path}.old`, spareOf(path));
    [this.current, this.spare] = [this.spare, this.current];
  }

  /** A file that cannot be used stays for whoever wants to look at it, once. */
  keepRefused(): void {
    copyFileSync(this.path, `${this.path}.refused`);
  }

  /** What was written stays. */
  close(): void {
    closeSync(this.current);
    closeSync(this.spare);
    rmSync(spareOf(this.path), { force: true });
  }
}

function spareOf(path: string): string {
  return `${path}.new`;
}

function failed(path: string, error: unknown): LvsError {
  const reason = errnoText(-((error as NodeJS.ErrnoException).errno ?? 0));
  return new LvsError("ERR_LVS_FILE", `cannot open the state file ${path}: ${reason} (give --state FILE)`, error);
}

async function openLocked(path: string): Promise<number> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let fd: number;
  try {
    fd = openSync(path, flags, 0o600);
  } catch (error) {
    throw failed(path, error);
  }
  try {
    if (!fstatSync(fd).isFile()) {
      throw new LvsError("ERR_LVS_FILE", `${path} is no plain file: give another one as --state`);
    }
    const until = performance.now() + LOCK_MS;
    while (native.flock(fd, native.LOCK_EX | native.LOCK_NB) < 0) {
      if (performance.now() >= until) {
        throw new LvsError("ERR_LVS_FILE", `the state file ${path} is in use by another director: give another one`);
      }
      await new Promise((resolve) => setTimeout(resolve, LOCK_STEP_MS));
    }
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
