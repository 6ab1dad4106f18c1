import { describe, expect, it } from "vitest";
import { progressTo } from "../../../host/cli/commands/bench.js";

function written(isTTY: boolean, columns?: number) {
  const lines: string[] = [];
  const progress = progressTo({ write: (text) => lines.push(text), isTTY, columns });
  return { lines, progress };
}

describe("progress of a benchmark", () => {
  it("is a bar in one line of a terminal, never longer than it", () => {
    const { lines, progress } = written(true, 60);
    progress("HAProxy: starting");
    progress("UDP: round 1 of 5, wlvs", 0.5);
    progress("UDP: round 5 of 5, a contender with quite a long name of its own", 1);
    expect(lines[0]).toBe("\r\x1b[KHAProxy: starting");
    expect(lines[1]).toBe(`\r\x1b[K[${"#".repeat(12)}${".".repeat(12)}]  50 % UDP: round 1 of 5, wlvs`);
    expect(lines[2]!.length).toBe("\r\x1b[K".length + 59);
  });

  it("is a line a step elsewhere", () => {
    const { lines, progress } = written(false);
    progress("UDP: round 1 of 5, wlvs", 0.5);
    expect(lines).toEqual(["wlvs: bench: UDP: round 1 of 5, wlvs\n"]);
  });
});
