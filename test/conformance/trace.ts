/** Traces: what a kernel did with given frames and commands, as JSON files. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";

export interface TraceFrame {
  readonly dev: string;
  readonly hex: string;
}

export interface TraceInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly addrs?: readonly string[];
}

/** A setup command or a step, with what the kernel answered. */
export interface TraceStep {
  readonly t_ms?: number;
  readonly note?: string;
  readonly delay_ms?: number;
  readonly in?: string;
  readonly frame?: string;
  readonly repeat?: number;
  readonly cmd?: string;
  readonly stdin?: string;
  readonly sysctl?: string;
  readonly value?: string | number;
  readonly sleep_ms?: number;
  readonly out?: readonly TraceFrame[];
  readonly out_during_delay?: readonly TraceFrame[];
  readonly out_counts?: Readonly<Record<string, number>>;
  readonly status?: number;
  readonly stdout?: string;
  readonly stderr?: string;
}

export interface Trace {
  readonly name: string;
  readonly description?: string;
  readonly director: {
    readonly interfaces: readonly TraceInterface[];
    readonly routes?: readonly string[];
    readonly neighbours?: ReadonlyArray<{ readonly ip: string; readonly mac: string; readonly dev: string }>;
    readonly sysctls?: Readonly<Record<string, string>>;
    readonly warmup_ms?: number;
  };
  readonly setup: readonly TraceStep[];
  readonly steps: readonly TraceStep[];
}

/** The trace files that arguments (files and folders) name, in order, each once. */
export function traceFiles(args: readonly string[]): string[] {
  const files = args.flatMap((arg) =>
    statSync(arg).isDirectory()
      ? readdirSync(arg)
          .filter((name) => name.endsWith(".json"))
          .sort()
          .map((name) => join(arg, name))
      : [arg],
  );
  return [...new Set(files)];
}

export function loadTrace(file: string): Trace {
  const trace = JSON.parse(readFileSync(file, "utf8")) as Trace;
  if (trace.director === undefined || trace.steps === undefined) throw new Error(`${basename(file)} is no trace`);
  return trace;
}

/** Words of a command line, quotes and backslashes as a shell takes them; nothing is expanded. */
export function shellWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < line.length; at++) {
    const char = line[at]!;
    if (char === "'" || char === '"') {
      word ??= "";
      for (at++; at < line.length && line[at] !== char; at++) {
        if (char === '"' && line[at] === "\\" && /["\\$`]/.test(line[at + 1] ?? "")) at++;
        word += line[at];
      }
    } else if (char === "\\") {
      word = (word ?? "") + (line[++at] ?? "");
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? "") + char;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}
