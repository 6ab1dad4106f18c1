/** What has to hold of floods, and that it is seen when it does not. */
import { expect, it } from "vitest";
import type { FloodRecord, Floods } from "../../flood/flood.js";
import { broken, report } from "../../flood/report.js";

const FLOOD: FloodRecord = {
  kind: "syn",
  proxy: "auto",
  asked: 100_000,
  seconds: 5,
  sent: 500_000,
  arrived: 490_000,
  clients: { served: 100, failed: 0, slowest: 900 },
  counter: { name: "cookies sent", value: 480_000 },
  grown: 3,
  connections: 1100,
  logged: 1,
};

const of = (...floods: readonly Partial<FloodRecord>[]): Floods => ({
  date: "2026-11-25T12:00:00.000Z",
  version: "0.1.0",
  kernel: "6.18.0",
  node: "v20.20.2",
  processors: 2,
  tried: [{ asked: 0, sent: 400_000, answered: 200_000 }],
  capacity: 200_000,
  floods: floods.map((more) => ({ ...FLOOD, ...more })),
});

it.each([
  ["a client under SYN at half of the capacity", { clients: { served: 199, failed: 1, slowest: 3000 } }],
  ["two of a hundred under another flood", { kind: "arp", clients: { served: 98, failed: 2, slowest: 3000 } }],
  ["nobody was there to be served", { clients: { served: 0, failed: 0, slowest: 0 } }],
  ["memory that grows", { grown: 101 }],
  ["a flood that nothing counted", { asked: 0, counter: { name: "cookies sent", value: 0 } }],
] as const)("does not hold: %s", (_, more) => {
  expect(broken(of({}, more))).toHaveLength(1);
  expect(report(of({}, more))).toContain("**Not everything held.**");
});

it.each([
  ["one of a hundred under another flood", { kind: "arp", clients: { served: 99, failed: 1, slowest: 3000 } }],
  ["whatever is beyond what the machine can do", { asked: 0, clients: { served: 1, failed: 9, slowest: 3000 } }],
  ["what happens without the SYN proxy", { proxy: "off", clients: { served: 0, failed: 9, slowest: 3000 } }],
] as const)("is told, and holds: %s", (_, more) => {
  expect(broken(of({}, more))).toEqual([]);
  expect(report(of({}, more))).toContain("Everything held");
});
