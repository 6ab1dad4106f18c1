/** Runs traces of a kernel against the director: `npm run conformance -- DIR-or-FILE... [--only TEXT] [--verbose]`. */
import { parseArgs } from "node:util";
import { type Result, runTrace } from "./runner.js";
import { loadTrace, traceFiles } from "./trace.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: "string" }, verbose: { type: "boolean", default: false } },
});
if (positionals.length === 0) {
  process.stderr.write("usage: conformance DIR-or-FILE... [--only SUBSTRING] [--verbose]\n");
  process.exit(2);
}

/** Traces wait for shells now and then: a few run side by side, each with a director and a clock of its own. */
const SIDE_BY_SIDE = 3;
const DIFFERENCES = values.verbose ? 20 : 1;

const files = traceFiles(positionals).filter((file) => file.includes(values.only ?? ""));
const results = new Map<string, Result>();
const waiting = [...files];

async function work(): Promise<void> {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
    const started = performance.now();
    let result: Result;
    try {
      result = await runTrace(loadTrace(file), DIFFERENCES);
    } catch (error) {
      result = { name: file, differences: [{ where: "file", text: `${error}` }] };
    }
    results.set(file, result);
    if (values.verbose) {
      const time = `${Math.round(performance.now() - started)} ms`;
      process.stdout.write(`${result.differences.length === 0 ? "ok    " : "FAILED"} ${result.name} (${time})\n`);
    }
  }
}

await Promise.all(Array.from({ length: SIDE_BY_SIDE }, work));

let failed = 0;
for (const file of files) {
  const result = results.get(file)!;
  if (result.differences.length === 0) continue;
  failed++;
  process.stdout.write(`\n${result.name}\n`);
  for (const { where, text } of result.differences) {
    process.stdout.write(`  ${where}: ${text.replaceAll("\n", "\n  ")}\n`);
  }
}
process.stdout.write(`${failed > 0 ? "\n" : ""}${files.length - failed} passed, ${failed} failed\n`);
process.exit(failed > 0 ? 1 : 0);
