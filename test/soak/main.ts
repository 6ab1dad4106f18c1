/** npm run soak -- [--minutes N | --seconds N] [--out DIR] [--from FILE] */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program } from "../support/program.js";
import { chart } from "./chart.js";
import { judge } from "./judge.js";
import type { SoakRecord } from "./record.js";
import { report } from "./report.js";
import { soak } from "./soak.js";

const USAGE = `usage: npm run soak -- [--minutes N | --seconds N] [--out DIR] [--from FILE]

Traffic, changes and accidents around a real director, in namespaces of its own; as root. Writes soak.json, soak.svg and
soak.md into DIR (dist/soak). --from makes chart and report, and the verdict, from the soak.json of an earlier run.
`;

const { options, wrong } = program(USAGE, ["minutes", "seconds", "out", "from"]);
const { minutes, seconds: asked, out = "dist/soak", from } = options;
const seconds = asked === undefined ? Number(minutes ?? 60) * 60 : Number(asked);
if (!(seconds >= 10)) wrong();
mkdirSync(out, { recursive: true });
const say = (text: string) => process.stderr.write(`soak: ${text}\n`);

async function fresh(): Promise<SoakRecord> {
  const record = await soak({ seconds, progress: say });
  writeFileSync(join(out, "soak.json"), `${JSON.stringify(record)}\n`);
  return record;
}

const record = from === undefined ? await fresh() : (JSON.parse(readFileSync(from, "utf8")) as SoakRecord);
const verdict = judge(record);
writeFileSync(join(out, "soak.svg"), chart(record));
writeFileSync(join(out, "soak.md"), report(record, verdict));
for (const { text, holds } of verdict) process.stdout.write(`${holds ? "ok    " : "FAILED"} ${text}\n`);
process.exit(verdict.every(({ holds }) => holds) ? 0 : 1);
