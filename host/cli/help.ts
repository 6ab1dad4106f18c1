import type { Command } from "commander";

/** Adds examples below a command's help. */
export function examples(command: Command, text: string): Command {
  return command.addHelpText("after", `\nExamples:\n${text.replace(/^/gm, "  ").trimEnd()}`);
}
