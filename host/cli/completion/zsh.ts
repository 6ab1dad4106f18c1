/** zsh: _arguments for every command. */
import type { ArgumentModel, CommandModel, OptionModel } from "../model.js";
import { takesWord, type Values, valuesOf, valuesOfArgument } from "./values.js";

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Inside of brackets, and between colons, these have a meaning. */
function plain(text: string): string {
  return text.replace(/[\\:[\]]/g, "\\$&");
}

function action(name: string, values: Values): string {
  switch (values.kind) {
    case "words":
      return `(${values.words.join(" ")})`;
    case "list":
      return `{_${name}_list ${values.list}}`;
    case "file":
      return "_files";
    case "directory":
      return "_files -/";
    case "user":
      return "_users";
    case "group":
      return "_groups";
    case "any":
      return " ";
  }
}

function label(text: string): string {
  return plain(text.replace(/[<>[\]]/g, "")) || "value";
}

function optionSpec(name: string, option: OptionModel): string[] {
  const values = valuesOf(option);
  const described = `[${plain(option.description)}]`;
  const tail =
    values === undefined ? "" : `${takesWord(option) ? ":" : "::"}${label(option.value ?? "")}:${action(name, values)}`;
  // An option with a value may be given again; the value may follow "=" too.
  const repeat = values === undefined ? "" : "*";
  return [option.long, ...(option.short === undefined ? [] : [option.short])].map((one) => {
    const equals = values !== undefined && one.startsWith("--") ? (takesWord(option) ? "=" : "=-") : "";
    return quoted(`${repeat}${one}${equals}${described}${tail}`);
  });
}

function argumentSpec(name: string, command: string, argument: ArgumentModel, at: number): string {
  const values = valuesOfArgument(command, argument);
  return quoted(`${at}${argument.required ? ":" : "::"}${label(argument.name)}:${action(name, values)}`);
}

function described(name: string, text: string): string {
  return quoted(`${name.replaceAll(":", "\\:")}:${text}`);
}

function commandFunction(name: string, command: CommandModel, path: readonly string[]): string {
  const key = [...path, command.name];
  const own = `_${name}_command_${key.join("_")}`;
  const specs = command.options.flatMap((option) => optionSpec(name, option));
  if (command.commands.length > 0) {
    const list = command.commands.map((one) => described(one.name, one.summary || one.description));
    return [
      `${own}() {`,
      "  local state line",
      `  _arguments -C ${[...specs, "'1:command:->command'", "'*::argument:->argument'"].join(" \\\n    ")}`,
      "  case $state in",
      `    command) local -a commands=(${list.join(" ")}); _describe command commands ;;`,
      "    argument)",
      "      case $words[1] in",
      ...command.commands.map((one) => `        ${one.name}) _${name}_command_${[...key, one.name].join("_")} ;;`),
      "      esac ;;",
      "  esac",
      "}",
      ...command.commands.map((one) => commandFunction(name, one, key)),
    ].join("\n");
  }
  const positional = command.arguments.map((argument, at) => argumentSpec(name, key.join(" "), argument, at + 1));
  return `${own}() {\n  _arguments ${[...specs, ...positional].join(" \\\n    ")}\n}`;
}

const LIST = (name: string) => `# Of the running director; nothing where there is none.
_${name}_list() {
  local -a found=(\${(f)"$(wlvs completion --list $1 2>/dev/null)"})
  (( $#found )) && compadd -a found
}
`;

export function zshOfCommands(name: string, program: CommandModel): string {
  const list = [
    ...program.commands.map((command) => described(command.name, command.summary || command.description)),
    described("help", "show help for a command"),
  ];
  const specs = program.options.flatMap((option) => optionSpec(name, option));
  return `#compdef ${name}
# Completion for zsh: a file _${name} in a directory of $fpath.
${LIST(name)}
${program.commands.map((command) => commandFunction(name, command, [])).join("\n")}
_${name}() {
  local state line
  _arguments -C ${[...specs, "'1:command:->command'", "'*::argument:->argument'"].join(" \\\n    ")}
  case $state in
    command) local -a commands=(${list.join("\n      ")}); _describe command commands ;;
    argument)
      case $words[1] in
        help) compadd ${program.commands.map((command) => command.name).join(" ")} ;;
${program.commands.map((command) => `        ${command.name}) _${name}_command_${command.name} ;;`).join("\n")}
      esac ;;
  esac
}
if [[ $funcstack[1] == _${name} ]]; then _${name} "$@"; else compdef _${name} ${name}; fi
`;
}

export function zshOfOptions(name: string, options: readonly OptionModel[]): string {
  const specs = [...new Set(options.flatMap((option) => optionSpec(name, option)))];
  return `#compdef ${name}
# Completion for zsh: a file _${name} in a directory of $fpath.
${LIST(name)}
_${name}() {
  _arguments -s ${specs.join(" \\\n    ")}
}
if [[ $funcstack[1] == _${name} ]]; then _${name} "$@"; else compdef _${name} ${name}; fi
`;
}
