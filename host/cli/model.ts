/** The commands as data: what completions and manual pages are made of. */
import type { Argument, Command } from "commander";
import { examplesOf } from "./help.js";

export interface OptionModel {
  /** With its dashes. */
  readonly long: string;
  readonly short?: string | undefined;
  /** What its value is called, with its brackets: "<file>", or "[seconds]" for one that may be left out. */
  readonly value?: string | undefined;
  readonly description: string;
}

export interface ArgumentModel {
  readonly name: string;
  readonly required: boolean;
  readonly description: string;
}

export interface CommandModel {
  readonly name: string;
  readonly summary: string;
  readonly description: string;
  readonly options: readonly OptionModel[];
  readonly arguments: readonly ArgumentModel[];
  readonly commands: readonly CommandModel[];
  readonly examples: string;
}

export function modelOf(command: Command): CommandModel {
  return {
    name: command.name(),
    summary: command.summary(),
    description: command.description(),
    options: [
      ...command.options.map(({ long, short, flags, description, defaultValue }) => ({
        long: long ?? short ?? "",
        short: long === undefined || long === null ? undefined : (short ?? undefined),
        value: /[<[].*$/.exec(flags)?.[0],
        description:
          defaultValue === undefined || /\(default: /.test(description)
            ? description
            : `${description} (default: ${defaultValue})`,
      })),
      { long: "--help", short: "-h", description: "show help" },
    ],
    arguments: command.registeredArguments.map((argument: Argument) => ({
      name: argument.name(),
      required: argument.required,
      description: argument.description,
    })),
    commands: command.commands.map(modelOf),
    examples: examplesOf(command),
  };
}
