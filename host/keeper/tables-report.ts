/** What was changed while a director ran, for the one that comes after it. */
import type { Table } from "../config/diff.js";
import type { ServerConfig, ServiceInfo, Timeouts } from "../ipvs/model.js";

export interface SavedTables {
  readonly services: readonly Table[];
  readonly timeouts: Timeouts;
  readonly settings: ReadonlyArray<readonly [string, string]>;
  readonly marks: string;
}

const LEAST_MS = 50;
/** Telling may take a twentieth of the time, and no more. */
const SHARE = 20;

/** Calls `tell` soon after each `changed`, at once if it can be, and not more often than is good. */
export class Throttle {
  private readonly tell: () => Promise<void>;
  private timer: NodeJS.Timeout | undefined;
  private readyAt = 0;

  constructor(tell: () => Promise<void>) {
    this.tell = tell;
  }

  changed(): void {
    this.timer ??= setTimeout(() => void this.run(), Math.max(0, this.readyAt - performance.now()));
  }

  close(): void {
    clearTimeout(this.timer);
  }

  private async run(): Promise<void> {
    this.timer = undefined;
    const began = performance.now();
    await this.tell();
    const now = performance.now();
    this.readyAt = now + Math.max(LEAST_MS, (now - began) * SHARE);
  }
}

/** Without counters and what else a table does not start with. */
export function tableOf(service: ServiceInfo): Table {
  const { stats: _stats, rates: _rates, defence: _defence, servers, ...config } = service;
  return {
    ...config,
    servers: servers.map(
      ({ id, forwarding, weight, upperThreshold, lowerThreshold, tunnel }): ServerConfig => ({
        id,
        forwarding,
        weight,
        upperThreshold,
        lowerThreshold,
        tunnel,
      }),
    ),
  };
}
