/** What the stream said last, and what follows from it: rates from counters, health by server, histories. */
import type {
  LiveHealth,
  LiveHello,
  LiveRow,
  LiveServer,
  LiveService,
  LiveTables,
  LiveTick,
} from "../dashboard/live-events.js";
import { History } from "./history.js";

/** Places in a row, as live-events.ts has them. */
export const CONNECTIONS = 1;
export const IN_PACKETS = 2;
export const OUT_PACKETS = 3;
export const IN_BYTES = 4;
export const OUT_BYTES = 5;
export const ACTIVE = 6;
export const INACTIVE = 7;
export const PERSISTENT = 8;
export const WEIGHT = 9;

/** Figures of a history. */
export const PPS_IN = 0;
export const PPS_OUT = 1;
export const BPS_IN = 2;
export const BPS_OUT = 3;
export const CPS = 4;
export const ACTIVE_NOW = 5;
export const INACTIVE_NOW = 6;
const WIDTH = 7;

/** Reasons that drops are charted by; further ones are added up. */
export const CHARTED_REASONS = 5;
/** More services than these have histories only once somebody looks at them. */
const KEPT_HISTORIES = 100;
/** A tick that comes early because something changed is none to take rates from. */
const SAMPLE_MS = 900;

export interface Entry {
  readonly service: LiveService;
  /** undefined: the service itself. */
  readonly server: LiveServer | undefined;
  row: LiveRow;
  /** The row that rates are taken from. */
  base: LiveRow;
  /** Per second: connections, packets and bytes in and out, at the places of the row. */
  rates: number[];
  readonly servers: Entry[];
  readonly key: string;
}

export class Store {
  hello: LiveHello | undefined;
  tick: LiveTick | undefined;
  services: Entry[] = [];
  private entries: Entry[] = [];
  private healthOf = new Map<string, LiveHealth>();
  private byService = new Map<string, LiveHealth[]>();
  health: readonly LiveHealth[] = [];
  /** Per second, of the whole. */
  totalRates = [0, 0, 0, 0, 0];
  dropRates = new Map<string, number>();
  /** Of each worker: the part of its time that breaths took, and its frames a second. */
  workerRates: Array<{ busy: number; frames: number }> = [];
  portRates = new Map<string, { in: number; out: number; bitsIn: number; bitsOut: number }>();
  readonly total = new History(WIDTH);
  readonly drops = new History(CHARTED_REASONS + 1);
  /** Names of the figures of `drops`; a free one is "". */
  readonly dropNames: string[] = new Array<string>(CHARTED_REASONS).fill("");
  private readonly histories = new Map<string, History>();
  private watched = "";
  private sampled: LiveTick | undefined;

  take(name: string, data: unknown): void {
    if (name === "hello") this.hello = data as LiveHello;
    else if (name === "tables") this.takeTables(data as LiveTables);
    else if (name === "tick") this.takeTick(data as LiveTick);
  }

  /** Sums over the servers of a service. */
  static sum(service: Entry, place: number): number {
    let sum = 0;
    for (const { row } of service.servers) sum += row[place] ?? 0;
    return sum;
  }

  find(key: string): Entry | undefined {
    return this.services.find((entry) => entry.key === key);
  }

  healthFor(service: string, server: string): LiveHealth | undefined {
    return this.healthOf.get(`${service} ${server}`);
  }

  healthByService(service: string): readonly LiveHealth[] {
    return this.byService.get(service) ?? [];
  }

  /** Servers that checks have taken out of a service's table. */
  outOf(service: Entry): readonly LiveHealth[] {
    const down = this.healthByService(service.key).filter(({ state }) => state === "down");
    if (down.length === 0) return down;
    const inTable = new Set(service.servers.map(({ key }) => key));
    return down.filter(({ server }) => !inTable.has(server));
  }

  /** Of a service, from now on if it has none yet. */
  historyOf(key: string): History {
    this.watched = key;
    return this.historyFor(key);
  }

  private historyFor(key: string): History {
    let found = this.histories.get(key);
    if (found === undefined) this.histories.set(key, (found = new History(WIDTH)));
    return found;
  }

  private takeTables({ services }: LiveTables): void {
    const before = new Map(this.entries.map((entry) => [entry.key + (entry.server?.key ?? ""), entry]));
    const entries: Entry[] = [];
    const entryOf = (service: LiveService, server: LiveServer | undefined): Entry => {
      const old = before.get(service.key + (server?.key ?? ""));
      const key = server?.key ?? service.key;
      const { row = [], base = [], rates = [] } = old ?? {};
      const entry = { service, server, row, base, rates, servers: [], key };
      entries.push(entry);
      return entry;
    };
    this.services = services.map((service) => {
      const entry = entryOf(service, undefined);
      for (const server of service.servers) entry.servers.push(entryOf(service, server));
      return entry;
    });
    this.entries = entries;
    const keys = new Set(services.map(({ key }) => key));
    for (const key of this.histories.keys()) if (!keys.has(key)) this.histories.delete(key);
  }

  private takeTick(tick: LiveTick): void {
    const last = this.sampled;
    const isOther = last !== undefined && last.status.pid !== tick.status.pid;
    for (const row of tick.rows) {
      const entry = this.entries[row[0]!];
      if (entry !== undefined) entry.row = row;
    }
    if (tick.health !== undefined) {
      this.health = tick.health;
      this.healthOf = new Map(tick.health.map((one) => [`${one.service} ${one.server}`, one]));
      this.byService = new Map();
      for (const one of tick.health) {
        const known = this.byService.get(one.service);
        if (known === undefined) this.byService.set(one.service, [one]);
        else known.push(one);
      }
    }
    this.tick = tick;
    if (last === undefined || isOther) {
      for (const entry of this.entries) entry.base = entry.row;
      this.sampled = tick;
      return;
    }
    const seconds = (tick.at - last.at) / 1000;
    if (seconds * 1000 < SAMPLE_MS) return;
    this.sample(tick, last, seconds);
    this.sampled = tick;
  }

  /** Counters that were zeroed in between say nothing about the rate. */
  private sample(tick: LiveTick, last: LiveTick, seconds: number): void {
    const rate = (now: number | undefined, before: number | undefined) =>
      now === undefined || before === undefined ? 0 : Math.max(0, now - before) / seconds;
    for (const entry of this.entries) {
      const { row, base } = entry;
      if (row === base && entry.rates.every((value) => value === 0) && entry.rates.length > 0) continue;
      entry.rates = [];
      for (let place = CONNECTIONS; place <= OUT_BYTES; place++) entry.rates[place] = rate(row[place], base[place]);
      entry.rates[0] = 0;
      entry.base = row;
    }
    this.totalRates = tick.totals.map((value, at) => rate(value, last.totals[at]));
    this.dropRates = new Map(
      Object.entries(tick.counters.reasons).map(([name, value]) => [
        name,
        rate(value, last.counters.reasons[name] ?? 0),
      ]),
    );
    const ports = new Map(last.ports.map((port) => [port.name, port]));
    this.portRates = new Map(
      tick.ports.map((port) => {
        const before = ports.get(port.name);
        return [
          port.name,
          {
            in: rate(port.framesIn, before?.framesIn),
            out: rate(port.framesOut, before?.framesOut),
            bitsIn: rate(port.bytesIn, before?.bytesIn),
            bitsOut: rate(port.bytesOut, before?.bytesOut),
          },
        ];
      }),
    );
    this.workerRates = tick.workers.map(({ busy, framesIn }, at) => ({
      busy: Math.min(1, rate(busy, last.workers[at]?.busy)),
      frames: rate(framesIn, last.workers[at]?.framesIn),
    }));
    this.record(tick.time / 1000);
  }

  private record(time: number): void {
    const [cps = 0, inPps = 0, outPps = 0, inBps = 0, outBps = 0] = this.totalRates;
    let active = 0;
    let inactive = 0;
    for (const service of this.services) {
      const own = Store.sum(service, ACTIVE);
      const idle = Store.sum(service, INACTIVE);
      active += own;
      inactive += idle;
      if (this.services.length > KEPT_HISTORIES && service.key !== this.watched) continue;
      const { rates } = service;
      this.historyFor(service.key).add(time, [
        rates[IN_PACKETS] ?? 0,
        rates[OUT_PACKETS] ?? 0,
        (rates[IN_BYTES] ?? 0) * 8,
        (rates[OUT_BYTES] ?? 0) * 8,
        rates[CONNECTIONS] ?? 0,
        own,
        idle,
      ]);
    }
    if (this.services.length > KEPT_HISTORIES) {
      for (const key of this.histories.keys()) if (key !== this.watched) this.histories.delete(key);
    }
    this.total.add(time, [inPps, outPps, inBps * 8, outBps * 8, cps, active, inactive]);
    this.recordDrops(time);
  }

  /** A reason keeps its place (and so its colour) once it has one. */
  private recordDrops(time: number): void {
    const figures = new Array<number>(CHARTED_REASONS + 1).fill(0);
    for (const [name, value] of this.dropRates) {
      let at = this.dropNames.indexOf(name);
      if (at < 0 && value > 0) {
        at = this.dropNames.indexOf("");
        if (at >= 0) this.dropNames[at] = name;
      }
      const place = at < 0 ? CHARTED_REASONS : at;
      figures[place] = figures[place]! + value;
    }
    this.drops.add(time, figures);
  }
}
