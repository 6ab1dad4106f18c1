/** The tables as others see them: whoever changes them, what hangs on it follows. */
import type { Failover } from "../health/failover.js";
import { type Ipvs, IpvsError, type IpvsStep } from "../ipvs/model.js";

export const TABLE_CHANGES = [
  "addService",
  "editService",
  "removeService",
  "addServer",
  "editServer",
  "removeServer",
  "flush",
  "transaction",
  "setTimeouts",
] as const satisfies ReadonlyArray<keyof Ipvs>;

/**
 * The same object; each of these calls is followed by `changed`, and a caller that waits for one waits for both. It
 * comes after `may`, which throws where there must be no change.
 */
export function observed<T extends object>(
  object: T,
  names: readonly (keyof T)[],
  changed: () => Promise<void>,
  may: () => void,
): T {
  const watched = new Set<PropertyKey>(names);
  return new Proxy(object, {
    get(target, name) {
      const value = Reflect.get(target, name, target) as unknown;
      if (typeof value !== "function") return value;
      const call = value.bind(target) as (...args: unknown[]) => unknown;
      if (!watched.has(name)) return call;
      return (...args: unknown[]) => {
        may();
        const result = call(...args);
        if (result instanceof Promise) return result.then((value) => changed().then(() => value));
        void changed();
        return result;
      };
    },
  });
}

/** Servers that are out because they are down can be changed and removed like those that are in. */
export function withHeld(ipvs: Ipvs, failover: Failover): Ipvs {
  const overrides: Pick<Ipvs, "editServer" | "removeServer" | "transaction"> = {
    editServer: (service, server) =>
      unlessHeld(ipvs.editServer(service, server), () => failover.change(service, server.id, server)),
    removeServer: (service, server) =>
      unlessHeld(ipvs.removeServer(service, server), () => failover.change(service, server, undefined)),
    transaction: (steps) => changeTables(ipvs, failover, steps),
  };
  return new Proxy(ipvs, {
    get(target, name) {
      if (Object.hasOwn(overrides, name)) return overrides[name as keyof typeof overrides];
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function unlessHeld(call: Promise<void>, change: () => boolean): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!(error instanceof IpvsError && error.code === "ENOENT" && change())) throw error;
  }
}

/** A transaction, some of whose servers may be out. */
export async function changeTables(
  ipvs: Pick<Ipvs, "transaction">,
  failover: Failover,
  steps: readonly IpvsStep[],
): Promise<void> {
  const isOut = (step: IpvsStep): boolean => {
    if (step.do === "editServer") return failover.isOut(step.service, step.server.id);
    return step.do === "removeServer" && failover.isOut(step.service, step.server);
  };
  await ipvs.transaction(steps.filter((step) => !isOut(step)));
  for (const step of steps) {
    if (step.do === "editServer") failover.change(step.service, step.server.id, step.server);
    else if (step.do === "removeServer") failover.change(step.service, step.server, undefined);
  }
}
