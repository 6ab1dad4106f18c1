/**
 * What the stream of /v1/live says: plain types, for the director that sends it and the page that reads it. Three
 * events: `hello` once, `tables` at first and whenever a service or server comes, goes or is configured anew, `tick`
 * every second, with the counters. Who reads computes rates from counters; both come with the director's clock.
 */
import type { CounterInfo, DirectorStatus, PortInfo, ServerHealth, WorkerInfo } from "../control/director-info.js";
import type { ServerConfig, ServiceConfig } from "../ipvs/model.js";

export interface LiveHello {
  readonly version: string;
  /** Whether changes are taken here. */
  readonly admin: boolean;
  /** Between two ticks, when nothing changes. */
  readonly intervalMs: number;
}

/** Without what moves with every check. */
export type LiveHealth = Pick<ServerHealth, "service" | "server" | "state" | "problem">;

/** Without its histograms. */
export type LiveWorker = Pick<WorkerInfo, "breaths" | "busy" | "framesIn">;

/** The weight moves too often to be here (slow start): it is in the row. */
export interface LiveServer extends Omit<ServerConfig, "weight"> {
  readonly key: string;
}

export interface LiveService extends ServiceConfig {
  readonly key: string;
  readonly servers: readonly LiveServer[];
}

export interface LiveTables {
  readonly services: readonly LiveService[];
}

/**
 * Counters of one service or server: its number (services and their servers as `tables` lists them, counted through),
 * then connections, inPackets, outPackets, inBytes, outBytes; of a server also active, inactive, persistent, weight.
 */
export type LiveRow = readonly number[];

export interface LiveTick {
  /** Milliseconds of the director's monotonic clock. */
  readonly at: number;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly status: DirectorStatus;
  readonly totals: readonly [
    connections: number,
    inPackets: number,
    outPackets: number,
    inBytes: number,
    outBytes: number,
  ];
  readonly counters: CounterInfo;
  readonly ports: readonly PortInfo[];
  readonly workers: readonly LiveWorker[];
  /** Those that are not as the tick before said; all of them in the first tick after `tables`. */
  readonly rows: readonly LiveRow[];
  /** When it is not as the tick before said. */
  readonly health?: readonly LiveHealth[];
}
