import { expect, test } from "vitest";
import { Random } from "../../fuzz/random.js";
import { Schedulers } from "../../support/schedulers.js";

const FLOW = { client: "198.51.100.1", virtual: "192.0.2.1" };

async function sequence(name: "rr" | "wrr" | "twos", weights: number[]) {
  const core = await Schedulers.create(1 << 16);
  const service = core.addService(name);
  const ids = weights.map((weight, i) => core.addServer(service, `10.0.0.${i}`, 80, weight));
  const take = (count: number) => Array.from({ length: count }, () => ids.indexOf(core.pick(service, FLOW)));
  return { core, service, ids, take };
}

test("rr goes through the servers newest first", async () => {
  const { take } = await sequence("rr", [1, 1, 1]);
  expect(take(7)).toEqual([2, 1, 0, 2, 1, 0, 2]);
});

test("rr goes on at the place of a removed server", async () => {
  const { core, service, ids, take } = await sequence("rr", [1, 1, 1, 1]);
  expect(take(2)).toEqual([3, 2]);
  core.removeServer(service, ids[2] ?? 0);
  expect(take(3)).toEqual([1, 0, 3]);
  core.removeServer(service, ids[3] ?? 0);
  expect(take(3)).toEqual([1, 0, 1]);
});

test("rr picks nobody when all are overloaded or quiesced, and the one that is left", async () => {
  const { core, service, ids, take } = await sequence("rr", [1, 1, 1]);
  take(1);
  core.setOverloaded(ids[0] ?? 0, true);
  core.setOverloaded(ids[1] ?? 0, true);
  expect(take(3)).toEqual([2, 2, 2]);
  core.editServer(service, ids[2] ?? 0, 0);
  expect(take(2)).toEqual([-1, -1]);
});

test("wrr interleaves by weight, from where adding the servers one by one left it", async () => {
  const { take } = await sequence("wrr", [4, 3, 2]);
  expect(take(3)).toEqual([2, 1, 0]);
  expect(take(9)).toEqual([0, 1, 0, 2, 1, 0, 2, 1, 0]);
});

test("wrr ends when everybody of weight is overloaded, and goes on when one is not", async () => {
  const { core, ids, take } = await sequence("wrr", [4, 0, 2]);
  take(3);
  for (const id of ids) core.setOverloaded(id, true);
  expect(take(3)).toEqual([-1, -1, -1]);
  core.setOverloaded(ids[2] ?? 0, false);
  expect(take(3)).toEqual([2, 2, 2]);
});

test("wrr takes no longer when a server of two billions is overloaded", async () => {
  const { core, ids, take } = await sequence("wrr", [2147483647, 3, 2]);
  core.setOverloaded(ids[0] ?? 0, true);
  const picked = take(500);
  expect([1, 2].map((place) => picked.filter((one) => one === place).length)).toEqual([300, 200]);
});

/** Passes over the list with a falling bar, one step after the other. `at`: the last one picked, -1 the head. */
function bars(weights: readonly number[], free: readonly boolean[], state: { bar: number; at: number }): number {
  const divisor = weights.reduce((a, b) => {
    for (let left = a, right = b; ; [left, right] = [right, left % right]) if (right === 0) return left;
  });
  const top = Math.max(...weights) - divisor + 1;
  for (let passes = 0; passes < 10_000; passes++) {
    for (let at = state.at + 1; at < weights.length; at++) {
      if (!free[at] || weights[at]! < state.bar) continue;
      state.at = at;
      return at;
    }
    state.at = -1;
    state.bar -= divisor;
    if (state.bar <= 0) state.bar = top;
  }
  return -1;
}

test("wrr picks as one does who lets the bar fall step by step", async () => {
  const numbers = new Random(7);
  const random = (below: number) => numbers.below(below);
  for (let n = 0; n < 60; n++) {
    const weights = Array.from({ length: 2 + random(5) }, () => (1 + random(40)) * (n % 3 === 0 ? 6 : 1));
    const { core, ids, take } = await sequence("wrr", weights);
    // The list has the newest first; the first pick of all free servers shows where the bar stands.
    const order = weights.toReversed();
    const free = order.map(() => true);
    const settled = take(1)[0]!;
    const place = weights.length - 1 - settled;
    const found = Array.from({ length: Math.max(...weights) }, (_, bar) => bar + 1).filter((bar) => {
      const tried = { bar, at: -1 };
      return bars(order, free, tried) === place && tried.bar === bar;
    });
    const followers = found.map((bar) => ({ bar, at: place }));
    const blocked = random(order.length);
    for (let turn = 0; turn < 200; turn++) {
      if (turn === 20) {
        free[blocked] = false;
        core.setOverloaded(ids[weights.length - 1 - blocked] ?? 0, true);
      }
      const got = weights.length - 1 - take(1)[0]!;
      for (const one of [...followers]) if (bars(order, free, one) !== got) followers.splice(followers.indexOf(one), 1);
    }
    expect(followers.length, `${weights} with ${blocked} overloaded`).toBeGreaterThan(0);
  }
});

test("twos prefers heavier and less loaded servers, and gives everybody something", async () => {
  const { core, ids, take } = await sequence("twos", [1, 1, 2, 0]);
  const picked = take(4000);
  const counts = ids.map((_, i) => picked.filter((place) => place === i).length);
  expect(counts[3]).toBe(0);
  expect(picked.includes(-1)).toBe(false);
  for (const [i, share] of [0.25, 0.25, 0.5].entries()) {
    expect(Math.abs((counts[i] ?? 0) / 4000 - share)).toBeLessThan(0.2);
    expect(counts[i]).toBeGreaterThan(100);
  }
  core.setConnections(ids[0] ?? 0, 1000, 0);
  const loaded = take(4000).filter((place) => place === 0).length;
  expect(loaded).toBeLessThan((counts[0] ?? 0) / 2);
});
