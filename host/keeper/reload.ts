/** Another configuration for a running director: just what is different changes, connections stay. */
import type { RunConfig } from "../config/config.js";
import { diffTables, type Table, tablesOf } from "../config/diff.js";
import { sameTimeouts, settingChanges, settingText, type Tuning, tuningOf } from "../config/tuning.js";
import type { ReloadResult } from "../control/director-info.js";
import { serviceKey } from "../control/keys.js";
import type { Control } from "../core/control.js";
import type { Failover } from "../health/failover.js";
import { type Ipvs, IpvsError, type IpvsStep } from "../ipvs/model.js";
import type { Marks } from "../marks/marks.js";
import { changeTables } from "./changes.js";

/** Fixed when the devices and the memory are made, or when the keeper starts. */
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
  "watch",
] as const satisfies ReadonlyArray<keyof RunConfig>;

export interface Applied extends ReloadResult {
  /** What runs from now on: of what waits for a restart it has what there was. */
  readonly config: RunConfig;
  /** What changed in the tables; `changes` has the rest. */
  readonly steps: readonly IpvsStep[];
}

export interface ReloadPlace {
  readonly control: Pick<Control, "setting" | "routeAdd" | "routeRemove" | "neighbourAdd" | "neighbourRemove">;
  readonly ipvs: Ipvs;
  readonly failover: Failover;
  readonly marks: Pick<Marks, "replace" | "text">;
  /** As it runs now: what was changed by hand is undone, too. */
  tuning(): Promise<Tuning>;
}

/** All of it or nothing; throws when the core refuses some of it, and then nothing has changed. */
export async function applyConfig(place: ReloadPlace, before: RunConfig, after: RunConfig): Promise<Applied> {
  const restart = FIXED.filter((key) => !same(before[key], after[key]));
  const changes: string[] = [];
  /** What takes back what was done so far. */
  const undo: Array<() => unknown> = [];
  const change = (what: string, work: () => void, back: () => void) => {
    try {
      work();
    } catch (error) {
      throw refused(what, error, restart.includes("ports"));
    }
    undo.push(back);
  };
  let steps: readonly IpvsStep[];
  const running = await place.tuning();
  const wanted = tuningOf(after);
  try {
    for (const [name, value] of settingChanges(running, wanted)) {
      const text = settingText(name, value);
      change(
        text,
        () => place.control.setting(name, value),
        () => place.control.setting(name, running.settings[name]!),
      );
      changes.push(text);
    }
    changes.push(...changeWays(place, before, after, change));
    const rules = after.marks?.text ?? "";
    if (rules !== (before.marks?.text ?? "")) {
      const { marks } = place;
      const old = marks.text();
      change(
        "firewall marks",
        () => marks.replace(rules),
        () => marks.replace(old),
      );
      changes.push("firewall marks");
    }
    steps = await changeServices(place, after);
  } catch (error) {
    for (const back of undo.reverse()) back();
    throw error;
  }
  if (!sameTimeouts(running.timeouts, wanted.timeouts)) {
    await place.ipvs.setTimeouts(wanted.timeouts);
    changes.push("timeouts");
  }
  if (!same(before.health, after.health)) changes.push("health checks");
  await place.failover.configure(after.health ?? []);
  const config = { ...after, ...Object.fromEntries(FIXED.map((key) => [key, before[key]])) };
  return { config, steps, changes, restart };
}

type Change = (what: string, work: () => void, back: () => void) => void;

function refused(what: string, error: unknown, portsWait: boolean): unknown {
  if (!(error instanceof IpvsError)) return error;
  const hint = portsWait ? " (the ports that the file has now wait for a restart)" : "";
  return new IpvsError(error.code, error.errno, `${what}: ${error.message}${hint}`);
}

/** Routes and permanent neighbours. */
function changeWays({ control }: ReloadPlace, before: RunConfig, after: RunConfig, change: Change): string[] {
  const routes = difference(before.routes, after.routes);
  for (const route of routes.gone) {
    change(
      `route ${route.to}`,
      () => control.routeRemove(route),
      () => control.routeAdd(route),
    );
  }
  for (const route of routes.fresh) {
    change(
      `route ${route.to}`,
      () => control.routeAdd(route),
      () => control.routeRemove(route),
    );
  }
  const neighbours = difference(before.neighbours, after.neighbours);
  const numberOf = (name: string) => before.ports.findIndex((port) => port.name === name);
  for (const { address, mac, port } of neighbours.gone) {
    change(
      `neighbour ${address}`,
      () => control.neighbourRemove(address, numberOf(port)),
      () => control.neighbourAdd(address, mac, numberOf(port)),
    );
  }
  for (const { address, mac, port } of neighbours.fresh) {
    change(
      `neighbour ${address}`,
      () => control.neighbourAdd(address, mac, numberOf(port)),
      () => control.neighbourRemove(address, numberOf(port)),
    );
  }
  return [
    ...routes.gone.map(({ to }) => `route ${to} removed`),
    ...routes.fresh.map(({ to }) => `route ${to} added`),
    ...(neighbours.gone.length + neighbours.fresh.length > 0 ? ["neighbours"] : []),
  ];
}

async function changeServices(place: ReloadPlace, after: RunConfig): Promise<readonly IpvsStep[]> {
  const running = place.failover.whole(await place.ipvs.services());
  const steps = diffTables(running, tablesOf(after.steps.map(({ step }) => step)));
  await changeByService(place, running, steps);
  return steps;
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
