/** The mark rules of a running director. */
import type { Control } from "../core/control.js";
import { IpvsError } from "../ipvs/model.js";
import { compileMarks } from "./compile.js";
import { formatMarks } from "./format.js";
import { parseMarks } from "./parse.js";
import { countRules, emptyRuleset, type Ruleset } from "./ruleset.js";
import { MarksError } from "./tokens.js";

const EINVAL = 22;
const ENOSPC = 28;

export class Marks {
  private readonly control: Control;
  private readonly ports: readonly string[];
  private ruleset: Ruleset = emptyRuleset();

  /** `ports` are the names of the ports by their numbers. */
  constructor(control: Control, ports: readonly string[]) {
    this.control = control;
    this.ports = ports;
  }

  /** Puts the rules of a text in the place of those that are there. Throws an IpvsError that names the line. */
  replace(text: string): void {
    this.load(text, emptyRuleset());
  }

  /** Changes the rules as the text says, as `nft -f` would. */
  apply(text: string): void {
    this.load(text, this.ruleset);
  }

  text(): string {
    return formatMarks(this.ruleset);
  }

  count(): number {
    return countRules(this.ruleset);
  }

  private load(text: string, before: Ruleset): void {
    try {
      const ruleset = parseMarks(text, before);
      this.control.marksLoad(compileMarks(ruleset, this.ports), countRules(ruleset));
      this.ruleset = ruleset;
    } catch (error) {
      if (error instanceof MarksError) {
        throw new IpvsError("EINVAL", EINVAL, `mark rules, line ${error.line}: ${error.message}`);
      }
      if (error instanceof RangeError) throw new IpvsError("ENOSPC", ENOSPC, error.message);
      throw error;
    }
  }
}
