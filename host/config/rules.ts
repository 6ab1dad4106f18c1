/** Files that flags name: rules as ipvsadm-save -n writes them, firewall marks. */
import { readFile } from "node:fs/promises";
import { fileReason, LvsError, usage } from "../errors.js";
import type { MarksSpec, SourcedStep } from "./config.js";

/**
 * What reads these files: not loaded for a start without any. A process that may read some later loads it early, before
 * the files of another version lie in its place.
 */
export function loadParsers() {
  return Promise.all([
    import("../ipvs/restore.js"),
    import("../marks/parse.js"),
    import("../marks/ruleset.js"),
    import("../marks/tokens.js"),
  ]);
}

/** The changes that a file (`-`: standard input) asks for; a bad line spoils the whole. */
export async function readRules(file: string, stdin: AsyncIterable<string | Uint8Array>): Promise<SourcedStep[]> {
  const name = file === "-" ? "standard input" : file;
  const text = file === "-" ? await readAll(stdin) : await readText("--rules", file);
  const [{ parseRules, RulesError }] = await loadParsers();
  try {
    return parseRules(text).map(({ number, step }) => ({ from: `--rules ${name}, line ${number}`, step }));
  } catch (error) {
    if (!(error instanceof RulesError)) throw error;
    throw usage(`--rules ${name}, line ${error.line}: ${error.message}`);
  }
}

/** A file of firewall marks (`-`: standard input), in nftables' language. */
export async function readMarks(file: string, stdin: AsyncIterable<string | Uint8Array>): Promise<MarksSpec> {
  const text = file === "-" ? await readAll(stdin) : await readText("--marks", file);
  await checkMarks(file === "-" ? "standard input" : file, text);
  return { file, text };
}

/** Throws a usage error that names the line of what is wrong. */
export async function checkMarks(name: string, text: string): Promise<void> {
  const [, { parseMarks }, { emptyRuleset }, { MarksError }] = await loadParsers();
  try {
    parseMarks(text, emptyRuleset());
  } catch (error) {
    if (!(error instanceof MarksError)) throw error;
    throw usage(`--marks ${name}, line ${error.line}: ${error.message}`);
  }
}

async function readText(flag: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `${flag} ${file}: ${fileReason(error)}`, error);
  }
}

async function readAll(stream: AsyncIterable<string | Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
  return Buffer.concat(chunks).toString("utf8");
}
