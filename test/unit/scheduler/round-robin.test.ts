import { expect, test } from "vitest";
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
