/** Where a configuration file that is only looked at has its rules and marks from; it need not have ports. */
import type { OptionSources } from "../config/options.js";
import { readMarks, readRules } from "../config/rules.js";
import type { CliContext } from "./context.js";

export function fileSources(context: CliContext): OptionSources {
  return {
    env: context.env,
    rules: (name) => readRules(name, context.stdin),
    marks: (name) => readMarks(name, context.stdin),
    portless: true,
  };
}
