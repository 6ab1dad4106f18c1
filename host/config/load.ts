/** A whole configuration: the flags of `wlvs run`, and the file that one of them may name. */
import { resolve } from "node:path";
import { usage } from "../errors.js";
import type { RunConfig } from "./config.js";
import { type OptionSources, parseRunOptions, type Token } from "./options.js";

/** Flags win over the file where only one value can be; lists are put together. */
export async function loadRunConfig(tokens: readonly Token[], sources: OptionSources): Promise<RunConfig> {
  const named = tokens.filter(([name]) => name === "config");
  if (named.length > 1) throw usage("--config is given twice");
  const path = named[0]?.[1];
  if (path === undefined || path === null) return parseRunOptions(tokens, sources);
  // What reads YAML and checks it is a third of the time that a start takes: loaded where there is a file.
  const { readConfigFile } = await import("./file.js");
  const file = await readConfigFile(resolve(path));
  const flags = tokens.filter(([name]) => name !== "config");
  try {
    const config = await parseRunOptions([...file.tokens, ...flags], sources);
    const steps = [...file.steps, ...config.steps];
    return { ...config, steps, health: file.health, timeouts: file.timeouts, file: resolve(path), watch: file.watch };
  } catch (error) {
    throw file.locate(error);
  }
}
