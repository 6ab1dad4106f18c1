/**
 * A file that is to be read again when it was changed: in place, by a rename over it (editors, `wlvs save`), or by a link
 * that leads elsewhere (configuration volumes of containers). The folders are watched, because the file itself may be
 * another one every time.
 */
import { type FSWatcher, readFileSync, realpathSync, watch } from "node:fs";
import { dirname } from "node:path";
import { oneLine } from "../errors.js";
import type { Logger } from "../log.js";

/** So long nothing may happen in the folder before the file is taken for written. */
const QUIET_MS = 250;
/** Or so long after the first change, should it never be quiet. */
const LONGEST_MS = 2000;

export class FileWatch {
  private readonly path: string;
  private readonly changed: (text: string | undefined) => void;
  private readonly log: Logger;
  private watchers: FSWatcher[] = [];
  private folders = "";
  private timer: NodeJS.Timeout | undefined;
  private since = 0;
  private text: string | undefined;

  /** `changed` is called with what the file holds now, undefined: it is not there. */
  constructor(path: string, log: Logger, changed: (text: string | undefined) => void) {
    this.path = path;
    this.log = log;
    this.changed = changed;
    this.text = read(path);
    this.follow();
  }

  /** Somebody else has read the file: what it holds now is no change. */
  refresh(): void {
    this.text = read(this.path);
  }

  close(): void {
    clearTimeout(this.timer);
    for (const watcher of this.watchers.splice(0)) watcher.close();
  }

  /** Watches the folder that the name is in, and the one that the file really is in. */
  private follow(): void {
    const folders = new Set([dirname(this.path)]);
    try {
      folders.add(dirname(realpathSync(this.path)));
    } catch {
      // Not there for the moment.
    }
    const wanted = [...folders].join("\n");
    if (wanted === this.folders) return;
    for (const watcher of this.watchers.splice(0)) watcher.close();
    this.folders = wanted;
    for (const folder of folders) {
      try {
        const watcher = watch(folder, { persistent: false }, () => this.later());
        watcher.on("error", (error) => this.refuse(folder, error));
        this.watchers.push(watcher);
      } catch (error) {
        this.refuse(folder, error);
      }
    }
  }

  private refuse(folder: string, error: unknown): void {
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
    const text = read(this.path);
    if (text === this.text) return;
    this.text = text;
    this.changed(text);
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
