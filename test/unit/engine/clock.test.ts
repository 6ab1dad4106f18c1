/** The machine's clocks, of which one may be set at any time. */
import { afterEach, expect, it, vi } from "vitest";
import { SystemClock } from "../../../host/engine/clock.js";

const DAY_MS = 86_400_000;

afterEach(() => vi.restoreAllMocks());

it("wall time follows a clock that is set, ticks do not", () => {
  const clock = new SystemClock();
  const first = clock.ticks();
  expect(Math.abs(clock.epochMs() - Date.now())).toBeLessThan(1000);
  // No rounding to the clock's milliseconds while nobody sets it.
  const zero = clock.tickZero();
  expect(clock.tickZero()).toBe(zero);
  const { now } = Date;
  for (const set of [DAY_MS, -2 * DAY_MS, 5000]) {
    vi.spyOn(Date, "now").mockImplementation(() => now() + set);
    expect(clock.ticks() - first).toBeLessThan(1000);
    expect(Math.abs(clock.epochMs() - now() - set)).toBeLessThan(1000);
    expect(Math.abs(clock.tickZero() - zero - set)).toBeLessThan(1000);
  }
});
