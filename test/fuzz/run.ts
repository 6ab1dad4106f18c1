/** Scenario after scenario until the time is over. */
import { goldenFrames } from "./frames.js";
import { Scenario } from "./scenario.js";

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
  /** At most so many scenarios. */
  readonly scenarios?: number;
  /** A breath for each frame: slower, and a failure names the frame. */
  readonly oneByOne?: boolean;
  readonly progress?: (text: string) => void;
}

export interface FuzzReport {
  readonly scenarios: number;
  readonly frames: number;
  readonly sent: number;
  readonly changes: number;
  /** Of the first failure: what it was, and how to see it again. */
  readonly failure?: string;
}

const STEPS = 1500;

export function fuzz(options: FuzzOptions): FuzzReport {
  const golden = goldenFrames("test/golden");
  const end = performance.now() + options.seconds * 1000;
  const total = { scenarios: 0, frames: 0, sent: 0, changes: 0 };
  for (let n = 0; n < (options.scenarios ?? Number.POSITIVE_INFINITY); n++) {
    if (performance.now() >= end && (n > 0 || options.scenarios === undefined)) break;
    const seed = (options.seed + n) >>> 0;
    let scenario: Scenario | undefined;
    try {
      scenario = new Scenario(seed, golden, { oneByOne: options.oneByOne });
      const outcome = scenario.run(STEPS);
      total.scenarios++;
      total.frames += outcome.frames;
      total.sent += outcome.sent;
      total.changes += outcome.changes;
    } catch (error) {
      const text = error instanceof Error ? (error.name === "Violation" ? error.message : error.stack) : String(error);
      const where = `seed ${seed}, step ${scenario?.step ?? "of setting up"}`;
      const frame = options.oneByOne ? `\nlast frame: ${Buffer.from(scenario?.last ?? []).toString("hex")}` : "";
      const again = `npm run fuzz -- --seed ${seed} --scenarios 1 --one-by-one`;
      return { ...total, failure: `${where}: ${text}${frame}\nagain: ${again}` };
    }
    if (n % 20 === 19) options.progress?.(`${total.scenarios} scenarios, ${total.frames} frames`);
  }
  return total;
}
