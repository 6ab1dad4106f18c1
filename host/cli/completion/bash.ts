/** bash: one function a program, without the bash-completion package. */
import type { CommandModel, OptionModel } from "../model.js";
import { takesWord, type Values, valuesOf, valuesOfArgument } from "./values.js";

const HELPERS = (
  name: string,
) => `# ${name}: completion for bash. Put it where bash looks: /etc/bash_completion.d/${name}, or source it.
_${name}_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2"); }
_${name}_files() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$1"); }
_${name}_directories() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$1"); }
_${name}_users() { mapfile -t COMPREPLY < <(compgen -u -- "$1"); }
_${name}_groups() { mapfile -t COMPREPLY < <(compgen -g -- "$1"); }
# Of the running director; nothing where there is none.
_${name}_list() { mapfile -t COMPREPLY < <(compgen -W "$(wlvs completion --list "$1" 2>/dev/null)" -- "$2"); }
# bash takes an address and its port, or an option and its value, for several words: here they are as they were typed.
_${name}_word() {
  local line=\${COMP_LINE:0:COMP_POINT}
  word=\${line##*[[:space:]]}
  line=\${line%"$word"}
  line=\${line%"\${line##*[![:space:]]}"}
  previous=\${line##*[[:space:]]}
  if [[ $word == --*=* ]]; then previous=\${word%%=*} word=\${word#*=}; fi
}
# bash adds to its own last word: answers without what is before that.
_${name}_trim() {
  local cut=\${word%"\${word##*[:=]}"}
  [[ $COMP_WORDBREAKS == *:* && -n $cut ]] || return 0
  local at
  for at in "\${!COMPREPLY[@]}"; do COMPREPLY[at]=\${COMPREPLY[at]#"$cut"}; done
}
`;

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function call(name: string, values: Values, word = '"$word"'): string {
  switch (values.kind) {
    case "words":
      return `_${name}_words ${quoted(values.words.join(" "))} ${word}`;
    case "list":
      return `_${name}_list ${values.list} ${word}`;
    case "file":
      return `_${name}_files ${word}`;
    case "directory":
      return `_${name}_directories ${word}`;
    case "user":
      return `_${name}_users ${word}`;
    case "group":
      return `_${name}_groups ${word}`;
    case "any":
      return ":";
  }
}

function names({ long, short }: OptionModel): string[] {
  return short === undefined ? [long] : [long, short];
}

/** A case of `previous` for every option with a value. */
function optionCases(name: string, options: readonly OptionModel[], indent: string): string[] {
  return options.flatMap((option) => {
    const values = valuesOf(option);
    if (values === undefined) return [];
    const matches = names(option).join(" | ");
    // A value that may be left out: what follows may as well be the next option.
    const guard = takesWord(option) ? "" : "[[ $word == -* ]] || ";
    return [`${indent}${matches}) ${guard}{ ${call(name, values)}; _${name}_trim; return; } ;;`];
  });
}

function commandCase(name: string, command: CommandModel, path: readonly string[]): string {
  const key = [...path, command.name].join(" ");
  const options = command.options.flatMap(names).join(" ");
  const subcommands = command.commands.map((one) => one.name).join(" ");
  const [first] = command.arguments;
  const argument = first === undefined ? undefined : valuesOfArgument([...path, command.name].join(" "), first);
  const lines = [
    `    ${quoted(key)})`,
    "      case $previous in",
    ...optionCases(name, command.options, "        "),
    "      esac",
  ];
  lines.push(`      if [[ $word == -* ]]; then _${name}_words ${quoted(options)} "$word"`);
  if (subcommands !== "") lines.push(`      else _${name}_words ${quoted(subcommands)} "$word"`);
  else if (argument !== undefined) lines.push(`      else ${call(name, argument)}`);
  lines.push("      fi ;;");
  return [...lines, ...command.commands.map((one) => commandCase(name, one, [...path, command.name]))].join("\n");
}

/** Of a program with commands: the model of the whole of it. */
export function bashOfCommands(name: string, program: CommandModel): string {
  const commands = program.commands.map((command) => command.name);
  const nested = program.commands.flatMap((command) => command.commands.map((one) => `${command.name} ${one.name}`));
  const options = program.options.flatMap(names).join(" ");
  return `${HELPERS(name)}
_${name}() {
  local word previous path= at one
  COMPREPLY=()
  _${name}_word
  for ((at = 1; at < COMP_CWORD; at++)); do
    one=\${COMP_WORDS[at]}
    case $path in
      '') [[ $one == -* ]] || path=$one ;;
      *) case "$path $one" in ${nested.length === 0 ? "''" : nested.map(quoted).join(" | ")}) path="$path $one" ;; esac ;;
    esac
  done
  case $path in
    '')
      if [[ $word == -* ]]; then _${name}_words ${quoted(options)} "$word"
      else _${name}_words ${quoted([...commands, "help"].join(" "))} "$word"
      fi ;;
    help) _${name}_words ${quoted(commands.join(" "))} "$word" ;;
${program.commands.map((command) => commandCase(name, command, [])).join("\n")}
  esac
  _${name}_trim
}
complete -F _${name} ${name}
`;
}

/** Of a program that has options alone. */
export function bashOfOptions(name: string, options: readonly OptionModel[]): string {
  return `${HELPERS(name)}
_${name}() {
  local word previous
  COMPREPLY=()
  _${name}_word
  case $previous in
${optionCases(name, options, "    ").join("\n")}
  esac
  _${name}_words ${quoted([...new Set(options.flatMap(names))].join(" "))} "$word"
}
complete -F _${name} ${name}
`;
}
