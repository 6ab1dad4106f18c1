/** Targets and one attempt at a time. */
import type { CheckSpec, Problem, Target } from "../../host/health/checker.js";
import { type Checkers, createCheckers } from "../../host/health/checkers.js";

export const FAST = { interval: 100, timeout: 700, rise: 2, fall: 2, retry: 100, delay: 0 } as const;

export function target(check: object, port: number, address = "127.0.0.1"): Target {
  return {
    id: `tcp:192.0.2.1:80 ${address}:${port}`,
    spec: { ...FAST, ...check } as CheckSpec,
    family: address.includes(":") ? 6 : 4,
    address,
    port,
    virtual: "192.0.2.1",
    virtualPort: 80,
  };
}

/** One attempt: what it says, or "silence" when it says nothing within the timeout. */
export function attempt(given: Target, checkers: Checkers = createCheckers([])): Promise<Problem> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      abandon();
      resolve("silence");
    }, given.spec.timeout);
    const abandon = checkers[given.spec.type].begin(given, (problem) => {
      clearTimeout(timer);
      resolve(problem);
    });
  });
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export async function until(condition: () => boolean, what: string, limitMs = 20_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await sleep(10);
  }
}
