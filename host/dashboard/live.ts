/**
 * The live view as server-sent events: one snapshot a second, made once for all who watch, and none when nobody does.
 * Somebody who reads too slowly misses ticks and is then told everything anew; nothing is kept for them.
 */
import type { ServerResponse } from "node:http";
import type { DirectorInfo, ServerHealth } from "../control/director-info.js";
import { serverKey, serviceKey } from "../control/keys.js";
import type { Ipvs, ServiceInfo, Stats } from "../ipvs/model.js";
import type { LiveHealth, LiveHello, LiveRow, LiveService, LiveTick } from "./live-events.js";

const INTERVAL_MS = 1000;
/** After a change the next snapshot comes early, but not more often than so. */
const LEAST_MS = 250;
const MOST_VIEWERS = 16;
/** A viewer that takes nothing for so long is let go. */
const PATIENCE_MS = 30_000;

interface Viewer {
  readonly response: ServerResponse;
  /** Has the tables, and every tick since. */
  current: boolean;
  /** Since when it takes nothing; undefined while it does. */
  blockedSince: number | undefined;
}

function event(name: string, data: unknown): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}

function numbers({ connections, inPackets, outPackets, inBytes, outBytes }: Stats): LiveTick["totals"] {
  return [connections, inPackets, outPackets, inBytes, outBytes];
}

function outlineOf(service: ServiceInfo): LiveService {
  const { stats: _stats, rates: _rates, servers, ...config } = service;
  return {
    key: serviceKey(config.id),
    ...config,
    servers: servers.map(({ id, forwarding, upperThreshold, lowerThreshold, tunnel }) => {
      return { key: serverKey(id), id, forwarding, upperThreshold, lowerThreshold, tunnel };
    }),
  };
}

function rowsOf(services: readonly ServiceInfo[]): LiveRow[] {
  const rows: LiveRow[] = [];
  for (const { stats, servers } of services) {
    rows.push([rows.length, ...numbers(stats)]);
    for (const { stats: own, active, inactive, persistent, weight } of servers) {
      rows.push([rows.length, ...numbers(own), active, inactive, persistent, weight]);
    }
  }
  return rows;
}

function healthOf({ service, server, state, problem }: ServerHealth): LiveHealth {
  return { service, server, state, ...(problem !== undefined && { problem }) };
}

function isSame(row: LiveRow, before: LiveRow | undefined): boolean {
  return before !== undefined && row.length === before.length && row.every((value, at) => value === before[at]);
}

export class Live {
  private readonly ipvs: Pick<Ipvs, "services" | "totals">;
  private readonly info: Pick<DirectorInfo, "status" | "counters" | "ports" | "health" | "workers">;
  private readonly viewers = new Set<Viewer>();
  private timer: NodeJS.Timeout | undefined;
  private lastAt = 0;
  private busy = false;
  private again = false;
  /** What those who are current were told last. */
  private outline = "";
  private rows: readonly LiveRow[] = [];
  private health = "";

  constructor(ipvs: Live["ipvs"], info: Live["info"]) {
    this.ipvs = ipvs;
    this.info = info;
  }

  /** Whether there is room for one more; what to say when there is not. */
  get refusal(): string | undefined {
    return this.viewers.size < MOST_VIEWERS ? undefined : `${MOST_VIEWERS} pages watch already: close one of them`;
  }

  /** Streams to this response until it is closed. */
  watch(response: ServerResponse, hello: Omit<LiveHello, "intervalMs">): void {
    const viewer: Viewer = { response, current: false, blockedSince: undefined };
    response.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    });
    response.write(event("hello", { ...hello, intervalMs: INTERVAL_MS } satisfies LiveHello));
    response.on("drain", () => (viewer.blockedSince = undefined));
    response.on("error", () => {});
    response.once("close", () => {
      this.viewers.delete(viewer);
      if (this.viewers.size === 0) this.rest();
    });
    this.viewers.add(viewer);
    this.schedule(0);
  }

  /** Something was changed: those who watch see it before their second is over. */
  changed(): void {
    if (this.viewers.size === 0) return;
    this.schedule(Math.max(0, this.lastAt + LEAST_MS - performance.now()));
  }

  close(): void {
    this.rest();
    for (const { response } of this.viewers) response.destroy();
    this.viewers.clear();
  }

  private rest(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.rows = [];
    this.outline = "";
    this.health = "";
  }

  private schedule(ms: number): void {
    if (this.busy) {
      this.again = true;
      return;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.tick(), ms);
  }

  private async tick(): Promise<void> {
    this.busy = true;
    this.lastAt = performance.now();
    try {
      this.send(await this.ipvs.services(), (await this.ipvs.totals()).stats);
    } catch {
      // Whoever watches comes back, and is told by the API what is wrong.
      for (const { response } of this.viewers) response.destroy();
    } finally {
      this.busy = false;
      if (this.viewers.size > 0) {
        const soon = this.again ? LEAST_MS : INTERVAL_MS;
        this.schedule(Math.max(0, this.lastAt + soon - performance.now()));
      } else this.rest();
      this.again = false;
    }
  }

  private send(services: readonly ServiceInfo[], totals: Stats): void {
    const outline = event("tables", { services: services.map(outlineOf) });
    const rows = rowsOf(services);
    const counters = this.info.counters();
    const reasons = Object.fromEntries(Object.entries(counters.reasons).filter(([, frames]) => frames > 0));
    const found = this.info.health().map(healthOf);
    const health = JSON.stringify(found);
    const head = {
      at: Math.round(this.lastAt),
      time: Date.now(),
      status: this.info.status(),
      totals: numbers(totals),
      counters: { ...counters, reasons },
      ports: this.info.ports(),
      workers: this.info.workers().map(({ breaths, busy, framesIn }) => ({ breaths, busy, framesIn })),
    };
    const isNew = outline !== this.outline;
    const all = () => outline + event("tick", { ...head, rows, health: found } satisfies LiveTick);
    const news = () => {
      const changed = rows.filter((row, at) => !isSame(row, this.rows[at]));
      const told = health === this.health ? {} : { health: found };
      return event("tick", { ...head, rows: changed, ...told } satisfies LiveTick);
    };
    let whole: string | undefined;
    let part: string | undefined;
    for (const viewer of this.viewers) {
      if (viewer.blockedSince !== undefined) {
        viewer.current = false;
        if (this.lastAt - viewer.blockedSince > PATIENCE_MS) viewer.response.destroy();
        continue;
      }
      const text = viewer.current && !isNew ? (part ??= news()) : (whole ??= all());
      viewer.current = true;
      if (!viewer.response.write(text)) viewer.blockedSince = this.lastAt;
    }
    this.outline = outline;
    this.rows = rows;
    this.health = health;
  }
}
