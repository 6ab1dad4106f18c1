/** Another configuration for a running director: just what is different changes, connections stay. */
import type { RunConfig } from "../config/config.js";
import { diffTables, type Table, tablesOf } from "../config/diff.js";
import type { ReloadResult } from "../control/director-info.js";
import { serviceKey } from "../control/keys.js";
import type { Control } from "../core/control.js";
import { SETTING_DEFAULTS, settingIds, settingName } from "../core/settings.js";
import type { Failover } from "../health/failover.js";
import type { Ipvs, IpvsStep } from "../ipvs/model.js";
import { changeTables } from "./changes.js";

/** Fixed when the devices and the memory are made. */
const FIXED = [
  "ports",
  "workers",
  "maxConnections",
  "socket",
  "socketGroup",
  "listen",
  "io",
  "spin",
  "logLevel",
  "user",
  "forward",
  "state",
  "procfs",
] as const satisfies ReadonlyArray<keyof RunConfig>;

export interface Applied extends ReloadResult {
  /** What changed in the tables; `changes` has the rest. */
  readonly steps: readonly IpvsStep[];
}

export interface ReloadPlace {
  readonly control: Control;
  readonly ipvs: Ipvs;
  readonly failover: Failover;
  reloadMarks(text: string): void;
}

/** All of the tables or nothing of it; throws when the tables refuse, and then nothing has changed. */
export async function applyConfig(place: ReloadPlace, before: RunConfig, after: RunConfig): Promise<Applied> {
  const { control, ipvs, failover } = place;
  const changes: string[] = [];
  const running = failover.whole(await ipvs.services());
  const steps = diffTables(running, tablesOf(after.steps.map(({ step }) => step)));
  await changeByService(place, running, steps);
  const settings = new Map(before.settings);
  const wanted = new Map(after.settings);
  for (const [name, value] of wanted) {
    if (settings.get(name) === value) continue;
    control.setting(name, value);
    changes.push(`net.ipv4.vs.${settingName(name)}=${value}`);
  }
  for (const name of settings.keys()) {
    if (wanted.has(name)) continue;
    control.setting(name, defaultOf(name));
    changes.push(`net.ipv4.vs.${settingName(name)}=${defaultOf(name)}`);
  }
  if (after.timeouts !== undefined && !same(before.timeouts, after.timeouts)) {
    await ipvs.setTimeouts(after.timeouts);
    changes.push("timeouts");
  }
  const routes = difference(before.routes, after.routes);
  for (const route of routes.gone) control.routeRemove(route);
  for (const route of routes.fresh) control.routeAdd(route);
  changes.push(
    ...routes.gone.map(({ to }) => `route ${to} removed`),
    ...routes.fresh.map(({ to }) => `route ${to} added`),
  );
  const neighbours = difference(before.neighbours, after.neighbours);
  const numberOf = (name: string) => before.ports.findIndex((port) => port.name === name);
  for (const { address, port } of neighbours.gone) control.neighbourRemove(address, numberOf(port));
  for (const { address, mac, port } of neighbours.fresh) control.neighbourAdd(address, mac, numberOf(port));
  if (neighbours.gone.length + neighbours.fresh.length > 0) changes.push("neighbours");
  if (after.marks !== undefined && after.marks.text !== before.marks?.text) {
    place.reloadMarks(after.marks.text);
    changes.push("firewall marks");
  }
  if (!same(before.health, after.health)) changes.push("health checks");
  await failover.configure(after.health ?? []);
  return { steps, changes, restart: FIXED.filter((key) => !same(before[key], after[key])) };
}

/** A transaction for each service, so that the data path never waits for all of them; one that fails undoes all. */
async function changeByService(
  place: ReloadPlace,
  running: readonly Table[],
  steps: readonly IpvsStep[],
): Promise<void> {
  const { ipvs, failover } = place;
  const groups = new Map<string, IpvsStep[]>();
  for (const step of steps) {
    const key = serviceOf(step);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [step]);
    else group.push(step);
  }
  try {
    for (const group of groups.values()) await changeTables(ipvs, failover, group);
  } catch (error) {
    const back = diffTables(failover.whole(await ipvs.services()), running);
    await changeTables(ipvs, failover, back);
    throw error;
  }
}

function serviceOf(step: IpvsStep): string {
  switch (step.do) {
    case "addService":
    case "editService":
      return serviceKey(step.service.id);
    case "removeService":
      return serviceKey(step.id);
    case "flush":
      return "";
    default:
      return serviceKey(step.service);
  }
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function difference<T>(before: readonly T[], after: readonly T[]): { gone: T[]; fresh: T[] } {
  const old = new Set(before.map((one) => JSON.stringify(one)));
  const now = new Set(after.map((one) => JSON.stringify(one)));
  return {
    gone: before.filter((one) => !now.has(JSON.stringify(one))),
    fresh: after.filter((one) => !old.has(JSON.stringify(one))),
  };
}

function defaultOf(name: string): string {
  const defaults = new Map(SETTING_DEFAULTS);
  return settingIds(name)
    .map((id) => `${defaults.get(id) ?? 0}`)
    .join(" ");
}
