/** What a director keeps in its state file beside the tables, and how it begins with one. */
import type { RunConfig } from "../config/config.js";
import type { Restored, Snapshots } from "../core/snapshot.js";
import type { Logger } from "../log.js";
import { StateReader } from "../state/reader.js";
import type { SavedTables } from "./tables-report.js";

/** The text of a state file. */
interface StateText {
  readonly tables: SavedTables;
  /** What the configuration said of the tables. */
  readonly configured: string;
}

export interface Recovery {
  /** Instead of what the configuration says; undefined: the configuration says something else than it did. */
  readonly tables: SavedTables | undefined;
  /** Once the services are there: brings connections and counters back. */
  restore(): void;
}

/** What decides whether tables that were saved are those of this configuration. */
function configuredBy({ steps, settings, timeouts, marks }: RunConfig): string {
  return JSON.stringify([steps.map(({ step }) => step), settings, timeouts, marks?.text]);
}

/** The tables that a text is about; undefined: it is none. */
export function tablesIn(text: string): SavedTables | undefined {
  try {
    return (JSON.parse(text) as StateText).tables;
  } catch {
    return undefined;
  }
}

export function stateText(tables: SavedTables, config: RunConfig): string {
  return JSON.stringify({ tables, configured: configuredBy(config) } satisfies StateText);
}

/** What is in the file, or undefined: an empty start. `refused` is told when there was something of no use. */
export function recover(
  fd: number,
  snapshots: Snapshots,
  config: RunConfig,
  log: Logger,
  refused: () => void,
): Recovery | undefined {
  const began = performance.now();
  const reader = new StateReader(fd, snapshots);
  const found = reader.look();
  const file = config.state;
  if ("refused" in found) {
    if (found.empty) return undefined;
    log.error({ event: "state.refused", file }, `nothing is restored from ${file}: ${found.refused}`);
    refused();
    return undefined;
  }
  let text: StateText;
  try {
    text = JSON.parse(found.text) as StateText;
  } catch {
    log.error({ event: "state.refused", file }, `nothing is restored from ${file}: it does not say which services`);
    refused();
    return undefined;
  }
  const same = text.configured === configuredBy(config);
  if (!same) {
    log.warn(
      { event: "state.configuration", file },
      "the configuration has changed since the state was written: services are as it says",
    );
  }
  return {
    tables: same ? text.tables : undefined,
    restore: () => {
      if (found.unfit !== undefined) {
        log.error({ event: "state.refused", file }, `connections are not restored from ${file}: ${found.unfit}`);
        refused();
        return;
      }
      const { connections, refused: lost }: Restored = reader.restore();
      const age = Math.max(0, Date.now() - Math.round(found.wall));
      const ms = Math.round(performance.now() - began);
      const rest = lost === 0 ? "" : `, ${lost} had to be left`;
      log.info(
        { event: "state.restored", file, connections, left: lost, age, ms },
        `${connections} connections restored${rest}`,
      );
    },
  };
}
