/** fish: a line for every option of every command. */
import type { CommandModel, OptionModel } from "../model.js";
import { takesWord, type Values, valuesOf, valuesOfArgument } from "./values.js";

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

/** What fish is to offer, as arguments of complete. */
function offer(values: Values): string {
  switch (values.kind) {
    case "words":
      return ` -f -a ${quoted(values.words.join(" "))}`;
    case "list":
      return ` -f -a '(wlvs completion --list ${values.list} 2>/dev/null)'`;
    case "file":
      return " -F";
    case "directory":
      return " -f -a '(__fish_complete_directories)'";
    case "user":
      return " -f -a '(__fish_complete_users)'";
    case "group":
      return " -f -a '(__fish_complete_groups)'";
    case "any":
      return " -f";
  }
}

function optionLine(name: string, condition: string, option: OptionModel): string {
  const values = valuesOf(option);
  const short = option.short === undefined ? "" : ` -s ${option.short.slice(1)}`;
  const value = values === undefined ? "" : `${takesWord(option) ? " -r" : ""}${offer(values)}`;
  return `complete -c ${name}${condition} -l ${option.long.slice(2)}${short}${value} -d ${quoted(option.description)}`;
}

function commandLines(name: string, command: CommandModel, path: readonly string[]): string[] {
  const key = [...path, command.name];
  const nested = command.commands.map((one) => one.name).join(" ");
  const seen = key.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
  const here = ` -n ${quoted(nested === "" ? seen : `${seen}; and not __fish_seen_subcommand_from ${nested}`)}`;
  const [first] = command.arguments;
  return [
    ...command.options.map((option) => optionLine(name, here, option)),
    ...(first === undefined ? [] : [`complete -c ${name}${here}${offer(valuesOfArgument(key.join(" "), first))}`]),
    ...command.commands.map(
      (one) => `complete -c ${name}${here} -f -a ${one.name} -d ${quoted(one.summary || one.description)}`,
    ),
    ...command.commands.flatMap((one) => commandLines(name, one, key)),
  ];
}

export function fishOfCommands(name: string, program: CommandModel): string {
  const commands = [...program.commands.map((command) => command.name), "help"];
  const none = ` -n 'not __fish_seen_subcommand_from ${commands.join(" ")}'`;
  return `${[
    `# Completion for fish: ~/.config/fish/completions/${name}.fish`,
    `complete -c ${name} -f`,
    ...program.options.map((option) => optionLine(name, none, option)),
    ...program.commands.map(
      (command) => `complete -c ${name}${none} -a ${command.name} -d ${quoted(command.summary || command.description)}`,
    ),
    `complete -c ${name}${none} -a help -d 'show help for a command'`,
    `complete -c ${name} -n '__fish_seen_subcommand_from help' -a ${quoted(commands.join(" "))}`,
    ...program.commands.flatMap((command) => commandLines(name, command, [])),
  ].join("\n")}\n`;
}

export function fishOfOptions(name: string, options: readonly OptionModel[]): string {
  return `${[
    `# Completion for fish: ~/.config/fish/completions/${name}.fish`,
    `complete -c ${name} -f`,
    ...options.map((option) => optionLine(name, "", option)),
  ].join("\n")}\n`;
}
