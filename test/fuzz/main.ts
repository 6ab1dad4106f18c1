/** npm run fuzz -- [--minutes N] [--seed S] [--scenarios N | --frames N | --texts N] [--one-by-one] [--steps N,N...] */
import { parseArgs } from "node:util";
import { fuzz } from "./run.js";
import { fuzzTexts } from "./texts.js";

const USAGE =
  "usage: npm run fuzz -- [--minutes N] [--seed S] [--scenarios N | --frames N | --texts N] [--one-by-one] [--steps N,N...]\n";
const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    seed: { type: "string" },
    scenarios: { type: "string" },
    frames: { type: "string" },
    texts: { type: "string" },
    steps: { type: "string" },
    "one-by-one": { type: "boolean", default: false },
  },
});
const number = (text: string | undefined) => (text === undefined ? undefined : Number(text));
const seed = number(values.seed) ?? Math.floor(Math.random() * 0xffffffff);
const [scenarios, frames, texts] = [values.scenarios, values.frames, values.texts].map(number);
const steps = values.steps?.split(",").map(Number);
// As many as were asked for take as long as they take.
const counted = scenarios !== undefined || frames !== undefined || texts !== undefined;
const seconds = (number(values.minutes) ?? (counted ? 24 * 60 : 1)) * 60;
if (
  [seed, seconds, scenarios ?? 0, frames ?? 0, texts ?? 0, ...(steps ?? [])].some((value) => !Number.isFinite(value))
) {
  process.stderr.write(USAGE);
  process.exit(2);
}
const progress = (text: string) => process.stderr.write(`fuzz: ${text}\n`);
process.stdout.write(`fuzz: from seed ${seed}\n`);
const { failure, ...total } =
  texts !== undefined
    ? await fuzzTexts({ seed, seconds, inputs: texts, progress })
    : fuzz({
        seed,
        seconds,
        oneByOne: values["one-by-one"],
        progress,
        ...(scenarios !== undefined && { scenarios }),
        ...(frames !== undefined && { frames }),
        ...(steps !== undefined && { steps }),
      });
process.stdout.write(`fuzz: ${JSON.stringify(total)}\n`);
if (failure !== undefined) {
  process.stdout.write(`fuzz: FAILED at ${failure}\n`);
  process.exitCode = 1;
}
