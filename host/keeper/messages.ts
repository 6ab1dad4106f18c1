/** What keeper and director say to each other over their channel. */
import type { RunConfig } from "../config/config.js";
import type { UpgradeResult } from "../control/director-info.js";
import type { EnginePort } from "../engine/engine.js";
import type { Target } from "../health/checker.js";
import type { Health, Tally } from "../health/monitor.js";
import type { SavedTables } from "./tables-report.js";
import type { WantedRoutes } from "./tun-routes.js";

export type UpgradeStep = "prepared" | "copied" | "taken" | "caught-up" | "followed" | "handed" | "moving";

export type ToDirector =
  | Start
  | { readonly type: "marks"; readonly text: string }
  | { readonly type: "routed"; readonly number: number }
  // A director takes another's place (upgrade.ts). To the one that goes: write what there is and go on; write what
  // has changed since, and go on; stop, and write the rest; go on after all; it is done, leave.
  | { readonly type: "copy" }
  | { readonly type: "catch-up" }
  | { readonly type: "hand-over" }
  | { readonly type: "resume"; readonly number: number; readonly problem: string }
  | { readonly type: "leave"; readonly number: number; readonly result: UpgradeResult }
  // To the one that comes: read what has been written, and once more; all of it has been, begin; the other one has left.
  | { readonly type: "take" }
  | { readonly type: "follow" }
  | { readonly type: "begin" }
  | { readonly type: "alone"; readonly swapped: boolean }
  /** To one that stands by: the director before it died, begin. */
  | StepIn
  /** Why it could not be done, if it could not. */
  | { readonly type: "committed"; readonly number: number; readonly problem: string | undefined }
  | { readonly type: "health"; readonly health: readonly Health[]; readonly tallies: readonly Tally[] }
  /** Another configuration; the number of the "reload" that asked for it. */
  | { readonly type: "config"; readonly config: RunConfig; readonly number: number | undefined }
  /** The file cannot be used; the number of the "reload" that asked for it, if one did. */
  | { readonly type: "refused"; readonly message: string; readonly number: number | undefined }
  /**
   * A port is not as it was. `swapped`: its descriptors are others. They have been sent before this, those of its queues
   * and then that of rtnetlink, if there is one.
   */
  | {
      readonly type: "port";
      readonly number: number;
      readonly port: EnginePort;
      readonly swapped: boolean;
      readonly descriptorCount: number;
    }
  /** Answered by "alive" when every worker breathes, and otherwise not at all. */
  | { readonly type: "alive" };

export interface Start {
  readonly type: "start";
  readonly config: RunConfig;
  readonly version: string;
  /** So many descriptors have been sent before this; below each is named by its place among them. */
  readonly descriptorCount: number;
  readonly ports: readonly EnginePort[];
  readonly socketFd: number;
  /** How many died before this one. */
  readonly restarts: number;
  /** What a director that died left. */
  readonly tables: SavedTables | undefined;
  /** Where it writes what it hands over to a director that takes its place. */
  readonly outgoing: number;
  /** What the director before writes, whose place it takes while that one still runs; undefined: there is none. */
  readonly incoming: number | undefined;
  /** It makes everything ready, and waits for "step-in". */
  readonly standby: boolean;
  /** --state: the file, and the one that the next snapshot goes to. */
  readonly state: { readonly current: number; readonly spare: number } | undefined;
}

/** What has become of what a director was told when it began to stand by. */
export interface StepIn extends Pick<Start, "config" | "restarts" | "tables"> {
  readonly type: "step-in";
  /** The two state files have changed their places. */
  readonly swapped: boolean;
}

export type ToKeeper =
  | { readonly type: "ready" }
  /** It stands by. */
  | { readonly type: "waiting" }
  /** Somebody wants this director to be replaced; answered by "leave" or "resume" with the same number. */
  | { readonly type: "upgrade"; readonly number: number }
  /** What "copy", "hand-over", "take" and "begin" asked for is done; "prepared": it waits for "take". */
  | { readonly type: UpgradeStep; readonly connections?: number | undefined }
  /** It cannot be done; of the one that goes. */
  | { readonly type: "unable"; readonly problem: string }
  /** routes=auto: what the kernel is to lead to us; answered by "routed" with the same number. */
  | { readonly type: "routes"; readonly wanted: WantedRoutes; readonly number: number }
  /** Somebody wants the configuration to be read again; answered by "config" or "refused" with the same number. */
  | { readonly type: "reload"; readonly number: number }
  /** The configuration of the last "config" is the running one. */
  | { readonly type: "applied"; readonly config: RunConfig }
  /** The spare state file is whole: it takes the current one's place; answered by "committed" with the same number. */
  | { readonly type: "commit"; readonly number: number }
  /** What was in the state file is of no use. */
  | { readonly type: "state-refused" }
  /** That of the last "config" was refused by the tables: the one before is. */
  | { readonly type: "kept"; readonly why: string }
  | { readonly type: "alive" }
  /** A device cannot be read: it may be gone. */
  | { readonly type: "look" }
  | { readonly type: "tables"; readonly tables: SavedTables }
  /** What is to be checked from now on. */
  | { readonly type: "checks"; readonly targets: readonly Target[] }
  | { readonly type: "failed"; readonly message: string; readonly status: number };
