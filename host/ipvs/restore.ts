/** Lines of saved rules. */

import { CommandLineError, parseCommand, UnknownHost } from "./grammar.js";
import type { IpvsStep } from "./model.js";
import { FileNames, type Names } from "./names.js";

/** The words of each line that has any; there are no quotes and no comments. */
export function wordsOfLines(text: string): { readonly number: number; readonly words: readonly string[] }[] {
  return text
    .split("\n")
    .map((line, at) => ({ number: at + 1, words: line.split(/[ \t\r]+/).filter((word) => word !== "") }))
    .filter(({ words }) => words.length > 0);
}

/** A line may name the program first, as a shell would have it. */
export function withoutProgram(words: readonly string[], program: string): readonly string[] {
  return words[0] === program || words[0] === "ipvsadm" ? words.slice(1) : words;
}

export interface RulesLine {
  /** Counted from 1. */
  readonly number: number;
  readonly step: IpvsStep;
}

/** A rules file that cannot be used, with the number of its line. */
export class RulesError extends Error {
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.name = "RulesError";
    this.line = line;
  }
}

const STEPS: ReadonlySet<string> = new Set<IpvsStep["do"]>([
  "addService",
  "editService",
  "removeService",
  "addServer",
  "editServer",
  "removeServer",
  "flush",
]);

/**
 * The changes that a rules file asks for. Unlike a restore it takes comments, and the first bad line is an error that
 * spoils the whole.
 */
export function parseRules(text: string, names: Names = new FileNames()): RulesLine[] {
  const lines: RulesLine[] = [];
  for (const { number, words } of wordsOfLines(text)) {
    if (words[0]!.startsWith("#")) continue;
    lines.push({ number, step: stepOf(number, withoutProgram(words, "wlvsadm"), names) });
  }
  return lines;
}

function stepOf(number: number, words: readonly string[], names: Names): IpvsStep {
  try {
    const command = parseCommand(words, names, "ipvsadm");
    if (STEPS.has(command.do)) return command as IpvsStep;
  } catch (error) {
    if (error instanceof UnknownHost) throw new RulesError(number, `unknown host ${error.host}`);
    if (!(error instanceof CommandLineError)) throw error;
    throw new RulesError(number, error.isUnreadable ? `not a rule: ${words.join(" ")}` : error.message.trim());
  }
  throw new RulesError(number, `not a rule: ${words.join(" ")}`);
}
