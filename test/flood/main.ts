/** npm run flood -- [--seconds N] [--only KIND,KIND...] [--out DIR] [--from FILE] */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program } from "../support/program.js";
import { type Floods, floods, KINDS, type Kind } from "./flood.js";
import { broken, report } from "./report.js";

const USAGE = `usage: npm run flood -- [--seconds N] [--only KIND,KIND...] [--out DIR] [--from FILE]

Measures how many SYN a director answers, then floods it at half of that and with all that the machine can send, while
clients ask for pages; in namespaces of its own, as root, with gcc, nginx and curl. Writes flood.json and flood.md into
DIR (dist/flood). --from makes the report, and the verdict, from the flood.json of an earlier run.
KIND: ${KINDS.join(" ")}
`;

const { options, wrong } = program(USAGE, ["seconds", "only", "out", "from"]);
const { seconds: asked = "8", only, out = "dist/flood", from } = options;
const seconds = Number(asked);
const kinds = only === undefined ? KINDS : only.split(",");
if (
  !Number.isInteger(seconds) ||
  seconds < 1 ||
  !kinds.every((kind): kind is Kind => KINDS.some((one) => one === kind))
)
  wrong();

async function fresh(): Promise<Floods> {
  const progress = (text: string) => void process.stderr.write(`flood: ${text}\n`);
  const record = await floods({ seconds, kinds: kinds as readonly Kind[], progress });
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, "flood.json"), `${JSON.stringify(record)}\n`);
  return record;
}

const record = from === undefined ? await fresh() : (JSON.parse(readFileSync(from, "utf8")) as Floods);
mkdirSync(out, { recursive: true });
writeFileSync(join(out, "flood.md"), report(record));
process.stdout.write(report(record));
process.exit(broken(record).length === 0 ? 0 : 1);
