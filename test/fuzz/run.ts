/** Scenario after scenario until the time is over. */
import { goldenFrames } from "./frames.js";
import { type Outcome, Scenario } from "./scenario.js";

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
  /** At most so many scenarios. */
  readonly scenarios?: number;
  /** A breath for each frame: slower, and a failure names the frame. */
  readonly oneByOne?: boolean;
  /** Ends after so many frames. */
  readonly frames?: number;
  /** Only these steps of each scenario: what a failure was shrunk to. */
  readonly steps?: readonly number[];
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
/** Spent on making a failure small. */
const SHRINK_MS = 60_000;

export function fuzz(options: FuzzOptions): FuzzReport {
  const golden = goldenFrames("test/golden");
  const end = performance.now() + options.seconds * 1000;
  const total = { scenarios: 0, frames: 0, sent: 0, changes: 0 };
  for (let n = 0; n < (options.scenarios ?? Number.POSITIVE_INFINITY); n++) {
    if (performance.now() >= end && (n > 0 || options.scenarios === undefined)) break;
    if (options.frames !== undefined && total.frames >= options.frames) break;
    const seed = (options.seed + n) >>> 0;
    const { outcome, failure } = live(seed, golden, options.oneByOne === true, options.steps);
    if (failure !== undefined) {
      const named = options.steps === undefined ? smallest(seed, golden, options.oneByOne === true, failure) : failure;
      return { ...total, failure: textOf(seed, named) };
    }
    total.scenarios++;
    total.frames += outcome!.frames;
    total.sent += outcome!.sent;
    total.changes += outcome!.changes;
    if (n % 20 === 19) options.progress?.(`${total.scenarios} scenarios, ${total.frames} frames`);
  }
  return total;
}

interface Failure {
  readonly step: number;
  readonly text: string;
  readonly last: string | undefined;
  readonly steps: readonly number[] | undefined;
  readonly oneByOne: boolean;
}

function live(
  seed: number,
  golden: readonly Uint8Array[],
  oneByOne: boolean,
  steps: readonly number[] | undefined,
): { readonly outcome?: Outcome; readonly failure?: Failure } {
  let scenario: Scenario | undefined;
  try {
    scenario = new Scenario(seed, golden, { oneByOne });
    return { outcome: scenario.run(STEPS, steps === undefined ? undefined : new Set(steps)) };
  } catch (error) {
    const text = error instanceof Error ? (error.name === "Violation" ? error.message : error.stack!) : String(error);
    const last = oneByOne ? Buffer.from(scenario?.last ?? []).toString("hex") : undefined;
    return { failure: { step: scenario?.step ?? -1, text, last, steps, oneByOne } };
  }
}

/** What a failure is, without what differs from run to run. */
function kindOf({ text }: Failure): string {
  return text.replaceAll(/[0-9a-f]{8,}|\d+/g, "N").slice(0, 60);
}

/** The fewest steps that still fail in the same way, as far as leaving steps out leads within SHRINK_MS. */
function smallest(seed: number, golden: readonly Uint8Array[], oneByOne: boolean, found: Failure): Failure {
  if (found.step < 0) return found;
  const end = performance.now() + SHRINK_MS;
  const kind = kindOf(found);
  let best = found;
  let steps = Array.from({ length: Math.min(found.step + 1, STEPS) }, (_, at) => at);
  const attempt = (candidate: readonly number[], one: boolean): boolean => {
    const { failure } = live(seed, golden, one, candidate);
    if (failure === undefined || kindOf(failure) !== kind) return false;
    best = failure;
    return true;
  };
  // Alone, a frame shows itself; if it only fails in company it stays there.
  const one = oneByOne || attempt(steps, true);
  for (let size = Math.ceil(steps.length / 2); size >= 1 && performance.now() < end; ) {
    let fewer = false;
    for (let at = 0; at < steps.length && performance.now() < end; ) {
      const candidate = [...steps.slice(0, at), ...steps.slice(at + size)];
      if (attempt(candidate, one)) {
        steps = candidate;
        fewer = true;
      } else at += size;
    }
    if (!fewer && size === 1) break;
    if (!fewer) size = Math.ceil(size / 2);
  }
  return best;
}

function textOf(seed: number, { step, text, last, steps, oneByOne }: Failure): string {
  const where = `seed ${seed}, step ${step < 0 ? "of setting up" : step}`;
  const frame = last === undefined ? "" : `\nlast frame: ${last}`;
  const some = steps === undefined ? "" : ` --steps ${steps.join(",")}`;
  const again = `npm run fuzz -- --seed ${seed} --scenarios 1${oneByOne ? " --one-by-one" : ""}${some}`;
  return `${where}: ${text}${frame}\nagain: ${again}`;
}
