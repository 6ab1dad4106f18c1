/**
 * Files that are to be read again when one was changed: in place, by a rename over it (editors, `wlvs save`), or by a link
 * that leads elsewhere (configuration volumes of containers). The folders are watched, because the file itself may be
 * another one every time; a folder that went away is looked for until it is back.
 */
import { type FSWatcher, readFileSync, realpathSync, statSync, watch } from "node:fs";
import { dirname } from "node:path";
import { oneLine } from "../errors.js";
import type { Logger } from "../log.js";

/** So long nothing may happen in the folder before the file is taken for written. */
const QUIET_MS = 250;
/** Or so long after the first change, should it never be quiet. */
const LONGEST_MS = 2000;
/** How often a folder that is not there is looked for. */
const AGAIN_MS = 2000;

export class FileWatch {
  private readonly paths: readonly string[];
  private readonly changed: (texts: ReadonlyArray<string | undefined>) => void;
  private readonly log: Logger;
  private watchers: FSWatcher[] = [];
  /** What is watched, by name and inode. */
  private folders = "";
  private refused = "";
  private timer: NodeJS.Timeout | undefined;
  private again: NodeJS.Timeout | undefined;
  private since = 0;
  private texts: ReadonlyArray<string | undefined>;

  /** `changed` is called with what the files hold now, undefined: it is not there. */
  constructor(paths: readonly string[], log: Logger, changed: (texts: ReadonlyArray<string | undefined>) => void) {
    this.paths = paths;
    this.log = log;
    this.changed = changed;
    this.texts = paths.map(read);
    this.follow();
  }

  /** Somebody else has read the files: what they hold now is no change. */
  refresh(): void {
    this.texts = this.paths.map(read);
  }

  close(): void {
    clearTimeout(this.timer);
    clearTimeout(this.again);
    for (const watcher of this.watchers.splice(0)) watcher.close();
  }

  /** Watches the folders that the names are in, and those that the files really are in. */
  private follow(): void {
    const folders = new Set<string>();
    for (const path of this.paths) {
      folders.add(dirname(path));
      try {
        folders.add(dirname(realpathSync(path)));
      } catch {
        // Not there for the moment.
      }
    }
    // A folder of the same name may be another one.
    const found = [...folders].map((folder) => `${folder} ${inode(folder)}`).join("\n");
    if (found === this.folders) return;
    for (const watcher of this.watchers.splice(0)) watcher.close();
    this.folders = found;
    for (const folder of folders) {
      try {
        const watcher = watch(folder, { persistent: false }, () => this.later());
        watcher.on("error", (error) => this.refuse(folder, error));
        this.watchers.push(watcher);
      } catch (error) {
        this.refuse(folder, error);
      }
    }
    if (this.watchers.length === folders.size) this.refused = "";
  }

  private refuse(folder: string, error: unknown): void {
    this.folders = "";
    this.again ??= setTimeout(() => {
      this.again = undefined;
      this.later();
    }, AGAIN_MS).unref();
    if (this.refused === folder) return;
    this.refused = folder;
    const hint = "changes of the configuration are read at SIGHUP and 'wlvs reload'";
    this.log.warn({ event: "config.unwatched" }, `cannot watch ${folder}: ${oneLine(error)}; ${hint}`);
  }

  private later(): void {
    const now = performance.now();
    if (this.timer === undefined) this.since = now;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), Math.max(0, Math.min(QUIET_MS, this.since + LONGEST_MS - now)));
  }

  private look(): void {
    this.timer = undefined;
    this.follow();
    const texts = this.paths.map(read);
    if (texts.every((text, at) => text === this.texts[at])) return;
    this.texts = texts;
    this.changed(texts);
  }
}

function inode(folder: string): number {
  return statSync(folder, { throwIfNoEntry: false })?.ino ?? 0;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
