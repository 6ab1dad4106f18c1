/** Says which tests were skipped and why; in CI a skipped test is a failure. */
import type { Reporter, TestModule } from "vitest/node";

const CI = process.env.CI !== undefined && process.env.CI !== "" && process.env.CI !== "false";

export class SkipReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const lines: string[] = [];
    for (const module of modules) {
      for (const test of module.children.allTests("skipped")) {
        if (test.options.mode === "todo") continue;
        const result = test.result();
        const reason = result.state === "skipped" ? result.note : undefined;
        lines.push(`  ${module.relativeModuleId} > ${test.fullName}: ${reason ?? "no reason given"}`);
      }
    }
    // A run that a filter narrowed down skips what it does not ask for.
    if (lines.length === 0 || process.argv.some((word) => word === "-t" || word.startsWith("--testNamePattern")))
      return;
    process.stdout.write(`\nskipped:\n${lines.join("\n")}\n`);
    if (CI) {
      process.stdout.write("skipping is failing in CI\n");
      process.exitCode = 1;
    }
  }
}
