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
        "A running director is examined, too: what it loses, and why. Status 1 when a director cannot run here, or\n" +
        "when one that runs is losing frames by something that can be mended.",
    )
    .option("--socket <path>", "control socket (default: $WLVS_SOCKET, or /run/wlvs.sock)")
    .option("--json", "as JSON")
    .action(async (options: { socket?: string; json?: boolean }) => {
      const { examine } = await import("../../doctor/examine.js");
      const findings = await examine(await context.director(options.socket));
      const able = findings.every((finding) => finding.level !== "missing");
      context.exitStatus = able && findings.every((finding) => finding.level !== "wrong") ? 0 : 1;
      if (options.json) {
        context.stdout.write(`${JSON.stringify({ able, findings }, null, 2)}\n`);
        return;
      }
      const marks = { ok: "ok     ", note: "note   ", limited: "limited", wrong: "WRONG  ", missing: "MISSING" };
      const width = Math.max(...findings.map(({ subject }) => subject.length));
      const indent = " ".repeat(11 + width);
      for (const { level, subject, found, why, remedy } of findings) {
        context.stdout.write(`${marks[level]}  ${subject.padEnd(width)}  ${found}\n`);
        if (why !== undefined) context.stdout.write(`${indent}why: ${why}\n`);
        if (remedy !== undefined) context.stdout.write(`${indent}do: ${remedy}\n`);
      }
      if (findings.some(({ level }) => level === "wrong"))
        context.stdout.write("\nThe director that runs loses frames.\n");
      context.stdout.write(able ? "\nA director can run here.\n" : "\nA director cannot run here yet.\n");
    });
  examples(command, "wlvs doctor\nwlvs doctor --json | jq '.findings[] | select(.level != \"ok\")'");
}
