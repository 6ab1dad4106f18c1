// Makes the tables of docs/performance.md and of README.md from what `wlvs bench peers --json FILE` wrote:
//   node scripts/performance-table.mjs FILE [--check]
// They stand between <!-- peers: NAME --> and <!-- peers: end -->; --check only says whether they are as FILE has them.
import { readFileSync, writeFileSync } from "node:fs";

const [file, check] = process.argv.slice(2);
if (file === undefined) {
  process.stderr.write("usage: performance-table.mjs FILE [--check]\n");
  process.exit(2);
}
const report = JSON.parse(readFileSync(file, "utf8"));

/** Scale and digits of values, and what CPU seconds are shown as. */
const SHOWN = {
  bulk: { unit: "Gb/s", scale: 1e9, digits: 1, cpu: "CPU s/Gb" },
  bulk8: { unit: "Gb/s", scale: 1e9, digits: 1, cpu: "CPU s/Gb" },
  udp: { unit: "kpps", scale: 1e3, digits: 0, cpu: "CPU s/Mpkt" },
  rr: { unit: "p50 µs", scale: 1, digits: 1, cpu: "CPU µs each" },
  connections: { unit: "1/s", scale: 1, digits: 0, cpu: "CPU µs each" },
};

function shown(figure, digits, scale = 1) {
  if (figure === undefined) return "-";
  const text = (value) => (value / scale).toFixed(digits);
  return `${text(figure.median)} (${text(figure.least)}-${text(figure.most)})`;
}

/** The smallest number of digits that still tells the figures of a column apart. */
function cpuDigits(test) {
  return test.rows.some((row) => row.cpu.median < 1) ? 3 : 1;
}

function markdown(rows) {
  const [head, ...rest] = rows.map((row) => `| ${row.join(" | ")} |`);
  return [head, `|${rows[0].map((_, at) => (at === 0 ? "---" : "---:")).join("|")}|`, ...rest].join("\n");
}

function full(test) {
  const { unit, scale, digits, cpu } = SHOWN[test.test];
  const late = test.rows.some((row) => row.p99 !== undefined);
  const head = ["", unit, ...(late ? ["p99 µs"] : []), cpu, "wlvs, uring / it", "it / better C"];
  const rows = test.rows.map((row) => [
    row.contender,
    shown(row.value, digits, scale),
    ...(late ? [shown(row.p99, digits, scale)] : []),
    shown(row.cpu, cpuDigits(test)),
    shown(row.wlvs, 2),
    shown(row.bare, 2),
  ]);
  return `### ${test.title}\n\n${test.better === "higher" ? "Higher" : "Lower"} is better.\n\n${markdown([head, ...rows])}`;
}

function processes() {
  const rows = report.contenders
    .filter((one) => one.idle !== undefined)
    .map((one) => [
      one.name,
      `${(one.idle * 100).toFixed(2)} %`,
      one.ready === undefined ? "-" : `${one.ready.toFixed(0)} ms`,
    ]);
  return markdown([["", "CPU while idle", "forwards after"], ...rows]);
}

function conditions() {
  const { machine, rounds, seconds, contenders, missing } = report;
  const versions = contenders.flatMap((one) => (one.version === undefined ? [] : [`${one.name}: ${one.version}`]));
  return [
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}; ${rounds} rounds of ${seconds} s.`,
    ...versions,
    ...missing.map((text) => `Left out: ${text}`),
  ]
    .map((line) => `- ${line}`)
    .join("\n");
}

/** One column a test: medians alone. */
function short() {
  const names = [...new Set(report.tests.flatMap((test) => test.rows.map((row) => row.contender)))];
  const head = ["", ...report.tests.map((test) => `${test.title}, ${SHOWN[test.test].unit.replace("p50 ", "")}`)];
  const rows = names.map((name) => [
    name,
    ...report.tests.map((test) => {
      const row = test.rows.find((one) => one.contender === name);
      const { scale, digits } = SHOWN[test.test];
      return row === undefined ? "-" : (row.value.median / scale).toFixed(digits);
    }),
  ]);
  return markdown([head, ...rows]);
}

const PARTS = {
  conditions,
  tests: () => report.tests.map(full).join("\n\n"),
  processes,
  short,
};

let stale = false;
for (const path of ["docs/performance.md", "README.md"]) {
  const before = readFileSync(path, "utf8");
  const after = before.replace(
    /(<!-- peers: (?!end)(\w+) -->\n)[\s\S]*?(<!-- peers: end -->)/g,
    (_, begin, name, end) => {
      if (PARTS[name] === undefined) throw new Error(`${path}: there is no part ${name}`);
      return `${begin}\n${PARTS[name]()}\n\n${end}`;
    },
  );
  if (after === before) continue;
  stale = true;
  process.stdout.write(`${path} ${check === "--check" ? "is not as the figures are" : "written"}\n`);
  if (check !== "--check") writeFileSync(path, after);
}
if (stale && check === "--check") process.exitCode = 1;
