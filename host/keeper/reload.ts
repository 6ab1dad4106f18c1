/** Another configuration for a running director: just what is different changes, connections stay. */
import type { RunConfig } from "../config/config.js";
import { diffTables, stepText, tablesOf } from "../config/diff.js";
import type { ReloadResult } from "../control/director-info.js";
import type { Control } from "../core/control.js";
import { SETTING_DEFAULTS, settingIds, settingName } from "../core/settings.js";
import type { Failover } from "../health/failover.js";
import type { Ipvs } from "../ipvs/model.js";
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
] as const satisfies ReadonlyArray<keyof RunConfig>;

export interface ReloadPlace {
  readonly control: Control;
  readonly ipvs: Ipvs;
  readonly failover: Failover;
  reloadMarks(text: string): void;
}

/** All of the tables or nothing of it; throws when the tables refuse, and then nothing has changed. */
export async function applyConfig(place: ReloadPlace, before: RunConfig, after: RunConfig): Promise<ReloadResult> {
  const { control, ipvs, failover } = place;
  const changes: string[] = [];
  const running = failover.whole(await ipvs.services());
  const steps = diffTables(running, tablesOf(after.steps.map(({ step }) => step)));
  if (steps.length > 0) await changeTables(ipvs, failover, steps);
  changes.push(...steps.map(stepText));
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
  return { changes, restart: FIXED.filter((key) => !same(before[key], after[key])) };
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
