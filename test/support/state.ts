/** State files of tests: what a director over memory ports leaves to the next one. */
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { diffTables } from "../../host/config/diff.js";
import { type Restored, Snapshots } from "../../host/core/snapshot.js";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import { tableOf } from "../../host/keeper/tables-report.js";
import { createLog } from "../../host/log.js";
import { StateReader } from "../../host/state/reader.js";
import { StateWriter } from "../../host/state/writer.js";

export const SILENT = createLog("silent", "test");

export function snapshotsOf({ core, memory }: MemoryEngine): Snapshots {
  return new Snapshots(core, memory);
}

/** Two files that take turns, in a directory of their own. */
export class StatePlace {
  readonly directory = mkdtempSync(join(tmpdir(), "wlvs-state-"));
  readonly files = [join(this.directory, "a"), join(this.directory, "b")];
  current = openSync(this.files[0]!, "w+");
  spare = openSync(this.files[1]!, "w+");
  commits = 0;

  /** Which of the files the last commit made the current one. */
  get path(): string {
    return this.files[this.commits % 2]!;
  }

  writer(engine: MemoryEngine, log = SILENT): StateWriter {
    const place = this;
    return new StateWriter({
      snapshots: snapshotsOf(engine),
      files: {
        current: this.current,
        spare: this.spare,
        async commit() {
          place.commits++;
        },
      },
      log,
      text: () => "{}",
    });
  }

  /** Opens the current file anew, as another process would. */
  read<T>(into: MemoryEngine, use: (reader: StateReader) => T, path = this.path): T {
    const fd = openSync(path, "r");
    try {
      return use(new StateReader(fd, snapshotsOf(into)));
    } finally {
      closeSync(fd);
    }
  }

  close(): void {
    closeSync(this.current);
    closeSync(this.spare);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Gives `to` the services of `from`, as the configuration would. */
export async function copyServices(from: MemoryEngine, to: MemoryEngine): Promise<void> {
  const tables = (await from.ipvs.services()).map(tableOf);
  await to.ipvs.transaction(diffTables([], tables));
  to.breathe();
  to.collect();
}

/** What is in a file, into tables that have their services. */
export function restore(place: StatePlace, into: MemoryEngine, path?: string): Restored {
  return place.read(
    into,
    (reader) => {
      const found = reader.look();
      if ("refused" in found) throw new Error(found.refused);
      return reader.restore();
    },
    path,
  );
}
