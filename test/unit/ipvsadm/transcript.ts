/** Transcripts: command lines and what ipvsadm answered. Every file says at its top how to read it. */
import { readFileSync } from "node:fs";

export interface Exchange {
  readonly line: number;
  readonly command: string;
  stdin: string;
  stdout: string;
  stderr: string;
  status: number;
}

const ESCAPES: Readonly<Record<string, string>> = { r: "\r", t: "\t", v: "\v", f: "\f", "0": "\0" };

export function readTranscript(path: string | URL): Exchange[] {
  const exchanges: Exchange[] = [];
  for (const [at, line] of readFileSync(path, "utf8").split("\n").entries()) {
    const [, kind = "#", text = ""] = /^(\S+) ?(.*)$/s.exec(line) ?? [];
    if (kind === "$") {
      exchanges.push({ line: at + 1, command: text, stdin: "", stdout: "", stderr: "", status: 0 });
      continue;
    }
    const last = exchanges.at(-1);
    const plain = text.replace(/\\([rtvf0])/g, (_, letter: string) => ESCAPES[letter]!);
    if (last === undefined) continue;
    if (kind === "<") last.stdin += `${plain}\n`;
    if (kind === "<<") last.stdin += plain;
    if (kind === "|") last.stdout += `${text}\n`;
    if (kind === "!") last.stderr += `${text}\n`;
    if (kind === "=") last.status = Number(text);
  }
  return exchanges;
}

/** Words as a shell splits them, where quotes are simple. */
export function splitWords(command: string): string[] {
  const words: string[] = [];
  for (const [word] of command.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)) words.push(word.replaceAll(/['"]/g, ""));
  return words;
}
