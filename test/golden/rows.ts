/** Rows of behaviour: a director, frames in, and byte for byte the frames that come out. */
import { expect, it, describe as suite } from "vitest";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import { describe as decode, mask } from "../conformance/frames.js";

type Frames = ReadonlyArray<readonly [dev: string, frame: Uint8Array]>;

export interface Step {
  /** Milliseconds since the row's begin. */
  readonly at?: number;
  readonly change?: (director: MemoryEngine) => unknown;
  readonly in?: readonly [dev: string, frame: Uint8Array];
  readonly out: Frames;
}

export interface Row {
  readonly description: string;
  readonly setup: () => Promise<MemoryEngine> | MemoryEngine;
  readonly steps: readonly Step[];
  /** The reason that its drops are counted under, once each. */
  readonly dropped?: string;
}

/** Bytes as they are compared: what the kernel chooses freely (ids of its own packets) is zero on both sides. */
const bytesOf = (frames: Frames) => frames.map(([dev, frame]) => `${dev} ${Buffer.from(mask(frame)).toString("hex")}`);
const text = (frames: Frames) => frames.map(([dev, frame]) => `\n  ${dev} ${decode(frame)}`).join("") || " nothing";

export function rows(name: string, list: readonly Row[]): void {
  suite(name, () => {
    it.each(list.map((row) => [row.description, row] as const))("%s", async (_, row) => {
      const director = await row.setup();
      director.breathe();
      director.collect();
      const begin = director.clock.nowMs;
      const before = director.ipvs.tables.counters();
      for (const [n, step] of row.steps.entries()) {
        if (step.at !== undefined) director.advanceTo(begin + step.at);
        await step.change?.(director);
        if (step.in !== undefined) director.inject(...step.in);
        const out = director.collect().map(({ dev, frame }) => [dev, frame] as const);
        const what = `step ${n + 1}: expected${text(step.out)}\n came${text(out)}\n`;
        expect(bytesOf(out), what).toEqual(bytesOf(step.out));
      }
      const after = director.ipvs.tables.counters();
      if (row.dropped !== undefined) {
        expect(after.reasons[row.dropped]! - before.reasons[row.dropped]!, row.dropped).toBe(1);
      }
      const verdicts = Object.values(after.verdicts).reduce((sum, count) => sum + count, 0);
      expect(verdicts).toBe(after.framesIn);
    });
  });
}
