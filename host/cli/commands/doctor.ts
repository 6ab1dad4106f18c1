/** `wlvs doctor`: what this machine offers a director, and what to do about what it does not. */
import type { Command } from "commander";
import type { CliContext } from "../context.js";
import { examples } from "../help.js";

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("doctor")
    .summary("what this machine offers, and what is missing")
    .description(
      "Looks at what a director needs of this machine and names the remedy of what is missing.\n" +
        "Status 1 when a director cannot run here.",
    )
    .option("--json", "as JSON")
    .action(async (options: { json?: boolean }) => {
      const { examine } = await import("../../doctor/examine.js");
      const findings = await examine();
      const able = findings.every((finding) => finding.level !== "missing");
      context.exitStatus = able ? 0 : 1;
      if (options.json) {
        context.stdout.write(`${JSON.stringify({ able, findings }, null, 2)}\n`);
        return;
      }
      const marks = { ok: "ok     ", note: "note   ", limited: "limited", missing: "MISSING" };
      const width = Math.max(...findings.map(({ subject }) => subject.length));
      for (const { level, subject, found, remedy } of findings) {
        context.stdout.write(`${marks[level]}  ${subject.padEnd(width)}  ${found}\n`);
        if (remedy !== undefined) context.stdout.write(`${" ".repeat(11 + width)}${remedy}\n`);
      }
      context.stdout.write(able ? "\nA director can run here.\n" : "\nA director cannot run here yet.\n");
    });
  examples(command, "wlvs doctor\nwlvs doctor --json | jq '.findings[] | select(.level != \"ok\")'");
}
