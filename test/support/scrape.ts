/** What was scraped, as data; and what promtool says of it. */
import { spawnSync } from "node:child_process";

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Scrape {
  /** Family to its type. */
  readonly types: ReadonlyMap<string, string>;
  readonly help: ReadonlyMap<string, string>;
  readonly samples: readonly Sample[];
}

/** Strict: a line that is none of the format's throws, and so do two samples of one series. */
export function parseScrape(text: string): Scrape {
  const types = new Map<string, string>();
  const help = new Map<string, string>();
  const samples: Sample[] = [];
  const seen = new Set<string>();
  if (!text.endsWith("\n")) throw new Error("the last line is not whole");
  for (const line of text.slice(0, -1).split("\n")) {
    const meta = /^# (HELP|TYPE) ([a-zA-Z0-9_:]+) (.+)$/.exec(line);
    if (meta !== null) {
      const map = meta[1] === "HELP" ? help : types;
      if (map.has(meta[2]!)) throw new Error(`a second ${meta[1]} of ${meta[2]}`);
      map.set(meta[2]!, meta[3]!);
      continue;
    }
    const sample = /^([a-zA-Z0-9_:]+)(\{(.*)\})? (\S+)$/.exec(line);
    if (sample === null || Number.isNaN(Number(sample[4]))) throw new Error(`no sample: ${line}`);
    const series = line.slice(0, line.lastIndexOf(" "));
    if (seen.has(series)) throw new Error(`twice: ${series}`);
    seen.add(series);
    const labels = Object.fromEntries(
      [...(sample[3] ?? "").matchAll(/([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name!, value!]),
    );
    samples.push({ name: sample[1]!, labels, value: Number(sample[4]) });
  }
  return { types, help, samples };
}

/** The one sample of this name with these labels (others may be there too). */
export function sampleOf({ samples }: Scrape, name: string, labels: Readonly<Record<string, string>> = {}): number {
  const found = samples.filter(
    (one) => one.name === name && Object.entries(labels).every(([label, value]) => one.labels[label] === value),
  );
  if (found.length !== 1) throw new Error(`${found.length} samples of ${name} ${JSON.stringify(labels)}`);
  return found[0]!.value;
}

/** Throws unless promtool finds nothing at all to say. */
export function lint(text: string): void {
  const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
  if (status !== 0 || stdout !== "" || stderr !== "") throw new Error(`promtool, status ${status}: ${stdout}${stderr}`);
}
