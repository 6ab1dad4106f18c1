import type { Command } from "commander";

const given = new WeakMap<Command, string>();

/** What examples() was given; empty when it was not called. */
export function examplesOf(command: Command): string {
  return given.get(command) ?? "";
}

/** Adds examples below a command's help. */
export function examples(command: Command, text: string): Command {
  given.set(command, text);
  return command.addHelpText("after", `\nExamples:\n${text.replace(/^/gm, "  ").trimEnd()}`);
}
