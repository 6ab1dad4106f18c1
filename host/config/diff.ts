/** From one set of tables to another by the fewest changes. */
import { serverKey, serviceKey } from "../control/keys.js";
import type { IpvsStep, ServerConfig, ServiceConfig, ServiceInfo } from "../ipvs/model.js";
import { formatRules } from "../ipvs/save.js";

export type Table = ServiceConfig & { readonly servers: readonly ServerConfig[] };

/** The tables that steps lead to, from nothing. */
export function tablesOf(steps: readonly IpvsStep[]): Table[] {
  const tables = new Map<string, { service: ServiceConfig; servers: Map<string, ServerConfig> }>();
  for (const step of steps) {
    switch (step.do) {
      case "addService":
      case "editService": {
        const key = serviceKey(step.service.id);
        tables.set(key, { service: step.service, servers: tables.get(key)?.servers ?? new Map() });
        break;
      }
      case "removeService":
        tables.delete(serviceKey(step.id));
        break;
      case "addServer":
      case "editServer":
        tables.get(serviceKey(step.service))?.servers.set(serverKey(step.server.id), step.server);
        break;
      case "removeServer":
        tables.get(serviceKey(step.service))?.servers.delete(serverKey(step.server));
        break;
      case "flush":
        tables.clear();
    }
  }
  return Array.from(tables.values(), ({ service, servers }) => ({ ...service, servers: [...servers.values()] }));
}

/** What makes `to` of `from`: nothing that stays the same is touched. */
export function diffTables(from: readonly Table[], to: readonly Table[]): IpvsStep[] {
  const steps: IpvsStep[] = [];
  const before = new Map(from.map((table) => [serviceKey(table.id), table]));
  const after = new Set(to.map(({ id }) => serviceKey(id)));
  for (const { id } of from) if (!after.has(serviceKey(id))) steps.push({ do: "removeService", id });
  for (const table of to) {
    const { servers, ...service } = table;
    const found = before.get(serviceKey(table.id));
    if (found === undefined) steps.push({ do: "addService", service });
    else if (serviceText(found) !== serviceText(table)) {
      // What is not said any more is no more.
      steps.push({ do: "editService", service: { synProxy: "default", limits: {}, ...defined(service) } });
    }
    steps.push(...diffServers(table, found?.servers ?? [], servers));
  }
  return steps;
}

function defined<T extends object>(object: T): T {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;
}

function diffServers({ id: service }: Table, from: readonly ServerConfig[], to: readonly ServerConfig[]): IpvsStep[] {
  const steps: IpvsStep[] = [];
  const before = new Map(from.map((server) => [serverKey(server.id), server]));
  const after = new Set(to.map(({ id }) => serverKey(id)));
  // New servers first: a service is never left without any on the way.
  for (const server of to) {
    const found = before.get(serverKey(server.id));
    if (found === undefined) steps.push({ do: "addServer", service, server });
    else if (serverText(found) !== serverText(server)) steps.push({ do: "editServer", service, server });
  }
  for (const { id } of from) if (!after.has(serverKey(id))) steps.push({ do: "removeServer", service, server: id });
  return steps;
}

function serviceText(service: ServiceConfig): string {
  const { id, scheduler, persistence, persistencePrefix, persistenceEngine, onePacket, schedulerFlags } = service;
  const mask = id.family === 4 ? (service.persistenceNetmask ?? netmask(persistencePrefix)) : persistencePrefix;
  const { connections = 0, rate = 0, perSource } = service.limits ?? {};
  const limits = [connections, rate, perSource?.connections ?? 0, perSource?.rate ?? 0];
  const guard = [service.synProxy ?? "default", ...limits];
  return JSON.stringify([scheduler, persistence, mask, persistenceEngine, onePacket, schedulerFlags, guard]);
}

function serverText({ forwarding, weight, upperThreshold, lowerThreshold, tunnel }: ServerConfig): string {
  const how = forwarding === "tunnel" ? [tunnel?.type ?? "ipip", tunnel?.port ?? 0, tunnel?.checksum ?? "nocsum"] : [];
  return JSON.stringify([forwarding, weight, upperThreshold, lowerThreshold, how]);
}

export function netmask(prefix: number): string {
  const word = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (word >>> shift) & 255).join(".");
}

/** A change as the command line of ipvsadm that makes it. */
export function stepText(step: IpvsStep): string {
  switch (step.do) {
    case "addService":
    case "editService":
      return rules(step.service, [])[0]!.replace(/^-A/, step.do === "addService" ? "-A" : "-E");
    case "removeService":
      return `-D ${nameOf(rules(blank(step.id), [])[0]!)}`;
    case "addServer":
    case "editServer":
      return rules(blank(step.service), [step.server])[1]!.replace(/^-a/, step.do === "addServer" ? "-a" : "-e");
    case "removeServer": {
      const server = { id: step.server, forwarding: "nat", weight: 0, upperThreshold: 0, lowerThreshold: 0 } as const;
      return rules(blank(step.service), [server])[1]!
        .replace(/^-a/, "-d")
        .replace(/ -m -w 0$/, "");
    }
    case "flush":
      return "-C";
  }
}

function nameOf(line: string): string {
  return line.replace(/^-A /, "").replace(/ -s .*$/, "");
}

function blank(id: ServiceConfig["id"]): ServiceConfig {
  const persistencePrefix = id.family === 4 ? 32 : 128;
  return { id, scheduler: "wlc", persistencePrefix, onePacket: false, schedulerFlags: 0 };
}

const STATS = { connections: 0, inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 };
const RATES = { cps: 0, inPps: 0, outPps: 0, inBps: 0, outBps: 0 };

/** Tables with the counters of a director that has seen nothing. */
export function withoutCounters(tables: readonly Table[]): ServiceInfo[] {
  const idle = { active: 0, inactive: 0, persistent: 0, stats: STATS, rates: RATES };
  return tables.map((table) => ({
    ...table,
    persistenceNetmask:
      table.persistenceNetmask ?? (table.id.family === 4 ? netmask(table.persistencePrefix) : undefined),
    stats: STATS,
    rates: RATES,
    servers: table.servers.map((server) => ({ ...server, ...idle })),
  }));
}

function rules(service: ServiceConfig, servers: readonly ServerConfig[]): string[] {
  const [text = ""] = formatRules(withoutCounters([{ ...service, servers }]), undefined, { complete: true });
  return text.split("\n");
}
