/** Rules files: what ipvsadm-save -n writes. */
import { readFile } from "node:fs/promises";
import { LvsError, usage } from "../errors.js";
import { parseRules, RulesError } from "../ipvs/restore.js";
import type { SourcedStep } from "./config.js";

/** The changes that a file (`-`: standard input) asks for; a bad line spoils the whole. */
export async function readRules(file: string, stdin: AsyncIterable<string | Uint8Array>): Promise<SourcedStep[]> {
  const name = file === "-" ? "standard input" : file;
  const text = file === "-" ? await readAll(stdin) : await readText(file);
  try {
    return parseRules(text).map(({ number, step }) => ({ from: `--rules ${name}, line ${number}`, step }));
  } catch (error) {
    if (!(error instanceof RulesError)) throw error;
    throw usage(`--rules ${name}, line ${error.line}: ${error.message}`);
  }
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === "ENOENT" ? "no such file" : code === "EACCES" ? "permission denied" : message;
    throw new LvsError("ERR_LVS_FILE", `--rules ${file}: ${reason}`, error);
  }
}

async function readAll(stream: AsyncIterable<string | Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
  return Buffer.concat(chunks).toString("utf8");
}
