import { describe, expect, test } from "vitest";
import * as Service from "../../assembly/layout/service.js";
import { type SchedulerName, Schedulers } from "../support/schedulers.js";
import { type ReferenceServer, ReferenceService, sipHash } from "./scheduler-reference.js";

/** mulberry32 */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const text = (address: number) => [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");

const CASES: [SchedulerName, number][] = [
  ["rr", 0],
  ["wrr", 0],
  ["lc", 0],
  ["wlc", 0],
  ["sed", 0],
  ["nq", 0],
  ["fo", 0],
  ["ovf", 0],
  ["dh", 0],
  ...[0, 1, 2, 3].flatMap((flags): [SchedulerName, number][] => [
    ["sh", flags],
    ["mh", flags],
  ]),
];

describe("schedulers against naive ones, servers changing on the way", () => {
  test.each(CASES)("%s, flags %i", async (name, bits) => {
    const core = await Schedulers.create();
    for (let seed = 1; seed <= (name === "mh" ? 3 : 12); seed++) {
      const random = randomOf(seed * 7919 + bits);
      const flags = (bits & 1 ? Service.FLAG_SCHEDULER_1 : 0) | (bits & 2 ? Service.FLAG_SCHEDULER_2 : 0);
      const service = core.addService(name, flags);
      const reference = new ReferenceService(name, (bits & 1) !== 0, (bits & 2) !== 0);
      const weights = seed % 3 === 0 ? [0, 1, 1, 2] : seed % 3 === 1 ? [0, 2, 4, 6, 10] : [1, 3, 50, 100, 200];
      let made = 0;
      for (let step = 0; step < (name === "mh" ? 200 : 400); step++) {
        const action = random(100);
        const some = reference.servers[random(Math.max(1, reference.servers.length))];
        if (step < 4 || (action < 3 && reference.servers.length < 12)) {
          const address = 0x0a000001 + seed * 65536 + made++;
          const weight = weights[random(weights.length)] ?? 1;
          const id = core.addServer(service, text(address), 80, weight);
          const counts = { active: 0, inactive: 0, overloaded: false };
          reference.add({ id, address, port: 80, weight, lastWeight: weight, ...counts });
        } else if (action < 6 && some !== undefined && reference.servers.length > 1) {
          core.removeServer(service, some.id);
          reference.remove(some);
        } else if (action < 10 && some !== undefined) {
          const weight = weights[random(weights.length)] ?? 1;
          core.editServer(service, some.id, weight);
          reference.edit(some, weight);
        } else if (action < 30 && some !== undefined) {
          some.active = random(40);
          some.inactive = random(300);
          core.setConnections(some.id, some.active, some.inactive);
        } else if (action < 34 && some !== undefined) {
          some.overloaded = !some.overloaded;
          core.setOverloaded(some.id, some.overloaded);
        } else if (name !== "wrr" || reference.servers.some((server) => server.weight > 0 && !server.overloaded)) {
          const packet = { client: random(2 ** 32), clientPort: random(65536), virtual: random(2 ** 32) };
          const picked: ReferenceServer | undefined = reference.pick(packet);
          const flow = { client: text(packet.client), clientPort: packet.clientPort, virtual: text(packet.virtual) };
          expect(core.pick(service, flow), `seed ${seed}, step ${step}`).toBe(picked?.id ?? 0);
          if (picked !== undefined) core.setConnections(picked.id, ++picked.active, picked.inactive);
        }
      }
      core.core.stop(service);
    }
    expect(core.core.used()).toBe(0);
  });
});

test("the core's SipHash is SipHash", async () => {
  const { core } = await Schedulers.create();
  const random = randomOf(3);
  for (let i = 0; i < 1000; i++) {
    const word = random(2 ** 32);
    const key = random(2 ** 32);
    expect(core.sip(word, key) >>> 0).toBe(sipHash(word, key));
  }
});
