/** Ids and offsets of the layout are each given once. */
import { describe, expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";
import * as Reason from "../../assembly/layout/reason.js";
import * as Scheduler from "../../assembly/layout/scheduler.js";
import * as Setting from "../../assembly/layout/setting.js";
import * as Verdict from "../../assembly/layout/verdict.js";

/** Names that share a number. */
function clashes(ids: Readonly<Record<string, number>>, without: readonly string[] = []): string[] {
  const seen = new Map<number, string>();
  const found: string[] = [];
  for (const [name, id] of Object.entries(ids)) {
    if (without.includes(name)) continue;
    const other = seen.get(id);
    if (other !== undefined) found.push(`${other} and ${name}: ${id}`);
    seen.set(id, name);
  }
  return found;
}

describe("ids", () => {
  it.each([
    ["settings", Setting],
    ["reasons", Reason],
    ["schedulers", Scheduler],
    ["verdicts", Verdict],
  ])("of %s are all different", (_, ids) => {
    expect(clashes(ids, ["COUNT"])).toEqual([]);
  });

  it("stay below their count", () => {
    for (const ids of [Setting, Reason, Verdict]) {
      for (const [name, id] of Object.entries(ids)) if (name !== "COUNT") expect(id, name).toBeLessThan(ids.COUNT);
    }
  });
});

describe("header words", () => {
  it("are all different", () => {
    const { LAYOUT_VERSION, LAYOUT_MAGIC, TICK_MS, TICKS_PER_SECOND, LAYOUT_BASE, HEADER_SIZE, ...words } = Memory;
    expect(clashes(words)).toEqual([]);
    expect(Memory.SETTINGS + 4 * Setting.COUNT).toBeLessThanOrEqual(HEADER_SIZE);
  });
});
