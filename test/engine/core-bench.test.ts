/** `wlvs bench core` measures what it says: packets of connections, in both directions, on the fast path. */
import { describe, expect, it } from "vitest";
import { benchCore } from "../../host/bench/core-bench.js";
import { needsCommands } from "../support/needs.js";

describe("wlvs bench core", () => {
  it("finds every packet's connection, and has a figure of either for each size and order", async (context) => {
    needsCommands(context, "cc");
    // One table that the first 1024 flows fit into, and one that they do not.
    const report = await benchCore({ seconds: 0.02, rounds: 1, connections: [100, 3000] });
    expect(report.missing).toBeUndefined();
    expect(report.rows.map(({ connections, size, order }) => `${connections} ${size} ${order}`)).toEqual(
      [100, 3000].flatMap((count) =>
        [64, 1514].flatMap((size) => ["warm", "cold"].map((order) => `${count} ${size} ${order}`)),
      ),
    );
    for (const { wlvs, c, ratio } of report.rows) {
      expect(wlvs.least).toBeGreaterThan(0);
      expect(c!.least).toBeGreaterThan(0);
      expect(ratio).toBeGreaterThan(0);
    }
  });
});
