/** What `wlvs top` shows: two looks at a director, and what happened between them. Rates are differences of counters. */
import type { CounterInfo, DirectorStatus, PortInfo, ServerHealth, WorkerInfo } from "../../control/director-info.js";
import { serverKey, serviceKey } from "../../control/keys.js";
import type { ServiceInfo, Stats } from "../../ipvs/model.js";

export interface Sample {
  /** Milliseconds, monotonic. */
  readonly at: number;
  readonly status: DirectorStatus & { readonly ports: readonly PortInfo[]; readonly services: readonly ServiceInfo[] };
  readonly counters: CounterInfo;
  readonly health: readonly ServerHealth[];
  readonly workers: readonly WorkerInfo[];
}

/** Per second. */
export interface Flow {
  readonly connections: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export interface ServerRow extends Flow {
  readonly name: string;
  readonly forwarding: string;
  readonly weight: number;
  readonly active: number;
  readonly inactive: number;
  /** up, down, unknown; "-" without checks. */
  readonly health: string;
}

export interface ServiceRow extends Flow {
  readonly name: string;
  readonly scheduler: string;
  /** Whether its SYN proxy is at work. */
  readonly proxied: boolean;
  readonly active: number;
  readonly inactive: number;
  /** Servers that are up of those that are checked; "-" without checks. */
  readonly health: string;
  readonly servers: readonly ServerRow[];
}

export interface View {
  readonly seconds: number;
  readonly status: DirectorStatus;
  readonly frames: { readonly in: number; readonly out: number };
  /** Reasons with a rate above 0, the largest first. */
  readonly drops: ReadonlyArray<{ readonly reason: string; readonly rate: number }>;
  /** Of the SYN proxy and of limits. */
  readonly defence: {
    readonly cookies: number;
    readonly valid: number;
    readonly invalid: number;
    readonly limited: number;
  };
  readonly ports: ReadonlyArray<{
    readonly name: string;
    readonly framesIn: number;
    readonly framesOut: number;
    readonly bytesIn: number;
    readonly bytesOut: number;
    readonly lost: number;
  }>;
  /** Load from 0 to 1: the share of the time that breaths took. */
  readonly workers: ReadonlyArray<{ readonly load: number; readonly frames: number; readonly breaths: number }>;
  readonly services: readonly ServiceRow[];
}

/** Reasons of drops that are limits. */
const LIMIT_REASONS = ["source-limit", "service-limit", "rate-limit"] as const;
const NOTHING: Stats = { connections: 0, inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 };

/** A director that started again, or counters that were zeroed, begin at 0: then what there is came since. */
function rateOf(before: number, now: number, seconds: number): number {
  return (now >= before ? now - before : now) / seconds;
}

function flowOf(before: Stats, now: Stats, seconds: number): Flow {
  const rate = (name: keyof Stats) => rateOf(before[name], now[name], seconds);
  return {
    connections: rate("connections"),
    packetsIn: rate("inPackets"),
    packetsOut: rate("outPackets"),
    bytesIn: rate("inBytes"),
    bytesOut: rate("outBytes"),
  };
}

function defenceOf(before: Sample, now: Sample, seconds: number): View["defence"] {
  const [old, fresh] = [before.counters.synProxy, now.counters.synProxy];
  const limited = LIMIT_REASONS.reduce(
    (sum, reason) => sum + rateOf(before.counters.reasons[reason] ?? 0, now.counters.reasons[reason] ?? 0, seconds),
    0,
  );
  return {
    cookies: rateOf(old.answered, fresh.answered, seconds),
    valid: rateOf(old.accepted, fresh.accepted, seconds),
    invalid: rateOf(old.invalid, fresh.invalid, seconds),
    limited,
  };
}

export function viewOf(before: Sample, now: Sample): View {
  const seconds = Math.max(0.001, (now.at - before.at) / 1000);
  const old = new Map<string, Stats>();
  for (const service of before.status.services) {
    const key = serviceKey(service.id);
    old.set(key, service.stats);
    for (const server of service.servers) old.set(`${key} ${serverKey(server.id)}`, server.stats);
  }
  // What is new was not there to count before.
  const flow = (key: string, stats: Stats) => flowOf(old.get(key) ?? NOTHING, stats, seconds);
  const health = new Map(now.health.map(({ service, server, state }) => [`${service} ${server}`, state as string]));
  const checked = new Map<string, { up: number; all: number; out: string[] }>();
  for (const { service, server, state } of now.health) {
    const found = checked.get(service) ?? { up: 0, all: 0, out: [] };
    checked.set(service, found);
    found.all++;
    if (state === "up") found.up++;
    if (state === "down") found.out.push(server);
  }
  const { ports, services, ...status } = now.status;
  return {
    seconds,
    status,
    frames: {
      in: rateOf(before.counters.framesIn, now.counters.framesIn, seconds),
      out: rateOf(before.counters.framesOut, now.counters.framesOut, seconds),
    },
    drops: Object.entries(now.counters.reasons)
      .map(([reason, count]) => ({ reason, rate: rateOf(before.counters.reasons[reason] ?? 0, count, seconds) }))
      .filter(({ rate }) => rate > 0)
      .toSorted((a, b) => b.rate - a.rate),
    defence: defenceOf(before, now, seconds),
    ports: ports.map((port) => {
      const last = before.status.ports.find(({ name }) => name === port.name);
      const rate = (name: "framesIn" | "framesOut" | "bytesIn" | "bytesOut") =>
        rateOf(last?.[name] ?? 0, port[name], seconds);
      return {
        name: port.name,
        framesIn: rate("framesIn"),
        framesOut: rate("framesOut"),
        bytesIn: rate("bytesIn"),
        bytesOut: rate("bytesOut"),
        lost: rateOf(last?.device?.lostIn ?? port.device?.lostIn ?? 0, port.device?.lostIn ?? 0, seconds),
      };
    }),
    workers: now.workers.map((worker, at) => {
      const last = before.workers[at];
      const rate = (name: "busy" | "framesIn" | "breaths") => rateOf(last?.[name] ?? 0, worker[name], seconds);
      return { load: Math.min(1, rate("busy")), frames: rate("framesIn"), breaths: rate("breaths") };
    }),
    services: services.map((service) => {
      const key = serviceKey(service.id);
      const sum = (of: "active" | "inactive") => service.servers.reduce((total, server) => total + server[of], 0);
      const found = checked.get(key);
      const present = service.servers.map((server): ServerRow => {
        const name = serverKey(server.id);
        const { forwarding, weight, active, inactive, stats } = server;
        const state = health.get(`${key} ${name}`) ?? "-";
        return { name, forwarding, weight, active, inactive, health: state, ...flow(`${key} ${name}`, stats) };
      });
      const names = new Set(present.map(({ name }) => name));
      // Those that are down are out of the table, and still what somebody looks for.
      const gone = (found?.out ?? []).filter((name) => !names.has(name));
      const out = gone.map((name): ServerRow => {
        const nothing = flowOf(NOTHING, NOTHING, seconds);
        return { name, forwarding: "-", weight: 0, active: 0, inactive: 0, health: "down", ...nothing };
      });
      return {
        name: key,
        scheduler: service.scheduler,
        proxied: service.defence?.synProxy === true,
        active: sum("active"),
        inactive: sum("inactive"),
        health: found === undefined ? "-" : `${found.up}/${found.all}`,
        servers: [...present, ...out],
        ...flow(key, service.stats),
      };
    }),
  };
}
