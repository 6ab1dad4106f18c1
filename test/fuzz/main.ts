/** npm run fuzz -- [--minutes N] [--seed S] [--scenarios N] [--one-by-one] */
import { parseArgs } from "node:util";
import { fuzz } from "./run.js";

const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    seed: { type: "string" },
    scenarios: { type: "string" },
    "one-by-one": { type: "boolean", default: false },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 0xffffffff));
const seconds = Number(values.minutes ?? 1) * 60;
if (!Number.isFinite(seed) || !Number.isFinite(seconds)) {
  process.stderr.write("usage: npm run fuzz -- [--minutes N] [--seed S] [--scenarios N] [--one-by-one]\n");
  process.exit(2);
}
process.stdout.write(`fuzz: from seed ${seed}\n`);
const report = fuzz({
  seed,
  seconds,
  oneByOne: values["one-by-one"],
  ...(values.scenarios === undefined ? {} : { scenarios: Number(values.scenarios) }),
  progress: (text) => process.stderr.write(`fuzz: ${text}\n`),
});
const { failure, ...total } = report;
process.stdout.write(`fuzz: ${JSON.stringify(total)}\n`);
if (failure !== undefined) {
  process.stdout.write(`fuzz: FAILED at ${failure}\n`);
  process.exitCode = 1;
}
