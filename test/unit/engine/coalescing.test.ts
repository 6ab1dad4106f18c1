import { describe, expect, it } from "vitest";
import { Coalescing } from "../../../host/engine/coalescing.js";

/** A clock that a look at it moves on by a microsecond. */
function stage() {
  let ms = 1000;
  const coalescing = new Coalescing(() => (ms += 0.001));
  return {
    coalescing,
    pass: (more: number) => (ms += more),
    /** Milliseconds that one visit waits. */
    visit: (frames: number, small = true) => {
      const before = ms;
      coalescing.wait(frames, () => small);
      return ms - before;
    },
  };
}

describe("coalescing", () => {
  it("keeps visits 50 us apart when small frames come faster than 80 a millisecond", () => {
    const { visit, pass } = stage();
    // 200 a millisecond: as many are there as time has passed.
    let waited = 0;
    for (let at = 0; at < 200; at++) {
      pass(0.005);
      waited = visit(Math.max(1, Math.round((waited + 0.005) * 200)));
    }
    expect(waited).toBeGreaterThan(0.04);
    expect(waited).toBeLessThan(0.06);
  });

  it("lets a slow stream of requests and responses pass at once", () => {
    const { visit, pass } = stage();
    let longest = 0;
    // Two frames in 60 us: 33 a millisecond.
    for (let at = 0; at < 200; at++) {
      pass(0.03);
      longest = Math.max(longest, visit(1));
    }
    expect(longest).toBeLessThan(0.005);
  });

  it("does not hold large frames up, nor a visit that is full", () => {
    const { visit, pass } = stage();
    let longest = 0;
    for (let at = 0; at < 200; at++) {
      pass(0.005);
      longest = Math.max(longest, visit(2, false));
    }
    for (let at = 0; at < 200; at++) {
      pass(0.1);
      longest = Math.max(longest, visit(64));
    }
    expect(longest).toBeLessThan(0.005);
  });

  it("stops as soon as the rate falls", () => {
    const { visit, pass } = stage();
    let waited = 0;
    for (let at = 0; at < 200; at++) {
      pass(0.005);
      waited = visit(Math.max(1, Math.round((waited + 0.005) * 200)));
    }
    pass(10);
    visit(1);
    expect(visit(1)).toBeLessThan(0.005);
  });
});
