/** Manual pages in roff's man macros, made of the same commands that --help is made of. */
import type { CommandModel, OptionModel } from "./model.js";

export interface Manual {
  readonly name: string;
  readonly version: string;
  /** YYYY-MM-DD */
  readonly date: string;
}

/** Text that means itself to roff. */
export function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti")
    .replaceAll("`", "\\(ga")
    .replace(/^\./gm, "\\&.")
    .replace(/[ \t]+$/gm, "");
}

function head({ name, version, date }: Manual, summary: string): string {
  return `.TH ${name.toUpperCase()} 8 "${date}" "wlvs ${version}" "System Administration"\n.SH NAME\n${roff(name)} \\- ${roff(summary)}\n`;
}

function flags({ long, short, value }: OptionModel): string {
  const bold = [short, long].flatMap((one) => (one === undefined ? [] : [`\\fB${roff(one)}\\fR`])).join(", ");
  return value === undefined ? bold : `${bold} \\fI${roff(value)}\\fR`;
}

function optionList(options: readonly OptionModel[]): string {
  return options.map((option) => `.TP\n${flags(option)}\n${roff(option.description)}\n`).join("");
}

function verbatim(text: string): string {
  return `.nf\n${roff(text)}\n.fi\n`;
}

function invocation(command: CommandModel, path: readonly string[]): string {
  const words = [...path, command.name].map((word) => `\\fB${roff(word)}\\fR`);
  const given = command.arguments.map(({ name, required }) => `\\fI${roff(required ? `<${name}>` : `[${name}]`)}\\fR`);
  return [...words, ...(command.options.length > 1 ? ["[\\fIoptions\\fR]"] : []), ...given].join(" ");
}

function commandText(command: CommandModel, path: readonly string[]): string {
  const title = [...path.slice(1), command.name].join(" ");
  const { arguments: given, options, commands, examples } = command;
  return [
    `.SS ${roff(title)}\n${invocation(command, path)}\n.PP\n${roff(command.description)}\n`,
    given
      .filter(({ description }) => description !== "")
      .map(({ name, description }) => `.TP\n\\fI${roff(name)}\\fR\n${roff(description)}\n`)
      .join(""),
    optionList(options.filter(({ long }) => long !== "--help")),
    examples === "" ? "" : `.PP\nExamples:\n.PP\n.RS 4\n${verbatim(examples)}.RE\n`,
    ...commands.map((one) => commandText(one, [...path, command.name])),
  ].join("");
}

/** wlvs(8). */
export function manualOfCommands(
  manual: Manual,
  program: CommandModel,
  environment: ReadonlyArray<readonly [string, string]>,
): string {
  return [
    head(manual, program.description.replace(/\.$/, "")),
    `.SH SYNOPSIS\n\\fB${roff(manual.name)}\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n`,
    `.SH DESCRIPTION\n${roff(program.description)}\n`,
    ...program.commands.map(
      (command) => `.TP\n\\fB${roff(command.name)}\\fR\n${roff(command.summary || command.description)}\n`,
    ),
    `.SH OPTIONS\n${optionList(program.options)}`,
    ".SH COMMANDS\n",
    ...program.commands.map((command) => commandText(command, [manual.name])),
    `.SH ENVIRONMENT\n${environment.map(([name, text]) => `.TP\n.B ${name}\n${roff(text)}\n`).join("")}`,
    ".SH EXIT STATUS\n0 on success, 1 when something failed, 2 when the command line is wrong.\n",
    ".SH SEE ALSO\n.BR wlvsadm (8)\n",
  ].join("");
}

/** wlvsadm(8): its help, paragraph by paragraph, and every option. */
export function manualOfOptions(
  manual: Manual,
  summary: string,
  options: readonly OptionModel[],
  help: string,
): string {
  const one = new Map<string, OptionModel>();
  // --list has two short names.
  for (const option of options) {
    const before = one.get(option.long);
    const short = [before?.short, option.short].filter((name) => name !== undefined).join(", ");
    one.set(option.long, { ...option, short: short === "" ? undefined : short });
  }
  return [
    head(manual, summary),
    `.SH SYNOPSIS\n\\fB${roff(manual.name)}\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n`,
    `.SH DESCRIPTION\n${verbatim(help.trim())}`,
    `.SH OPTIONS\n${optionList([...one.values()])}`,
    ".SH ENVIRONMENT\n.TP\n.B WLVS_SOCKET\nwhere the director listens, when it is not /run/wlvs.sock\n",
    ".SH EXIT STATUS\nThose of ipvsadm: 0 on success; others say what failed.\n",
    ".SH SEE ALSO\n.BR wlvs (8)\n",
  ].join("");
}
