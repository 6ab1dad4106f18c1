// Makes the tables of docs/performance.md and of README.md from what `wlvs bench peers --json FILE` and
// `wlvs bench core --json FILE` wrote:
//   node scripts/performance-table.mjs FILE... [--check]
// They stand between <!-- peers: NAME --> and <!-- peers: end -->. What needs a file that is not given stays as it is;
// --check only says whether the others are as the files have them.
import { readFileSync, writeFileSync } from "node:fs";

const isCheck = process.argv.includes("--check");
const reports = process.argv
  .slice(2)
  .filter((word) => word !== "--check")
  .map((file) => JSON.parse(readFileSync(file, "utf8")));
if (reports.length === 0) {
  process.stderr.write("usage: performance-table.mjs FILE... [--check]\n");
  process.exit(2);
}
const report = reports.find(({ bench }) => bench === "peers");
const core = reports.find(({ bench }) => bench === "core");

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
  const head = ["", unit, ...(late ? ["p99 µs"] : []), cpu, "load", "wlvs, uring / it", "it / better C"];
  const rows = test.rows.map((row) => [
    row.contender,
    shown(row.value, digits, scale),
    ...(late ? [shown(row.p99, digits, scale)] : []),
    shown(row.cpu, cpuDigits(test)),
    `${(row.load.median * 100).toFixed(0)} %`,
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
      one.ready === undefined ? "-" : `${shown(one.ready, 0)} ms`,
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

function coreRows(wanted, head, cells) {
  return markdown([head, ...core.rows.filter(wanted).map(cells)]);
}

function coreTable() {
  const { machine } = core;
  const head = ["connections", "bytes", "caches", "wlvs, ns", "C, -O2, ns", "wlvs/C"];
  const table = coreRows(
    () => true,
    head,
    (row) => [row.connections, row.size, row.order, shown(row.wlvs, 1), shown(row.c, 1), row.ratio?.toFixed(2) ?? "-"],
  );
  return `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}.\n\n${table}`;
}

function coreShort() {
  return coreRows(
    ({ size }) => size === 64,
    ["connections", "caches", "wlvs, ns a packet", "the same in C -O2"],
    (row) => [row.connections, row.order, shown(row.wlvs, 0), shown(row.c, 0)],
  );
}

/** What was aimed at: the aim in words, whether a figure meets it, and the figure. */
function aims() {
  const row = (test, name) => report.tests.find((one) => one.test === test)?.rows.find((one) => one.contender === name);
  const [uring, rw] = ["wlvs, uring", "wlvs, rw"];
  const [polling, spinning] = ["C, read/write", "C, read/write, spinning"];
  const ours = report.contenders.find(({ id }) => id === "wlvs-uring");
  const least = (aim) => (figure) => figure.median >= aim;
  const most = (aim) => (figure) => figure.median <= aim;
  const list = [
    ["TCP bulk, 1 connection, of the better C forwarder", "0.9, better 1.0", least(0.9), row("bulk", uring)?.bare],
    ["the same, of HAProxy", "2", least(2), row("bulk", "HAProxy, mode tcp")?.wlvs],
    ["the same, of nginx stream", "2", least(2), row("bulk", "nginx, stream")?.wlvs],
    ["UDP of 64 bytes, of the better C forwarder", "1.0, better 1.15", least(1), row("udp", uring)?.bare],
    ["the same with `--io rw`", "0.75", least(0.75), row("udp", rw)?.bare],
    ["request and response, p50, of C with poll, read and write", "0.6 at most", most(0.6), row("rr", polling)?.wlvs],
    ["the same, of C that polls as long before it sleeps", "", () => true, row("rr", spinning)?.wlvs],
    ["new connections a second, of the better C forwarder", "0.95", least(0.95), row("connections", uring)?.bare],
    ["the same, of HAProxy", "1.4, better 2", least(1.4), row("connections", "HAProxy, mode tcp")?.wlvs],
  ].map(([what, aim, isMet, figure]) => [what, aim, figure && isMet(figure), shown(figure, 2)]);
  if (ours?.ready !== undefined) {
    list.push([
      "forwards after the start of the process",
      "400 ms",
      ours.ready.median <= 400,
      `${shown(ours.ready, 0)} ms`,
    ]);
  }
  if (ours?.idle !== undefined) {
    list.push(["CPU while idle", "0", ours.idle < 0.002, `${(ours.idle * 100).toFixed(1)} % of a core`]);
  }
  const rows = list
    .filter(([, , isMet]) => isMet !== undefined)
    .map(([what, aim, isMet, text]) => [what, aim, isMet ? text : `**${text}**`]);
  return markdown([["", "aim", "measured"], ...rows]);
}

function coreAim() {
  const ratios = core.rows.flatMap(({ ratio }) => (ratio === undefined ? [] : [ratio]));
  if (ratios.length === 0) return "There was no C beside it.";
  const [least, most] = [Math.min(...ratios), Math.max(...ratios)].map((ratio) => ratio.toFixed(2));
  const text = `${least} to ${most} times the time of the same algorithm in C`;
  return `Aimed at: 1.4 at most. Measured: ${Math.max(...ratios) <= 1.4 ? text : `**${text}**`}.`;
}

const PARTS = {
  conditions: report && conditions,
  tests: report && (() => report.tests.map(full).join("\n\n")),
  processes: report && processes,
  short: report && short,
  aims: report && aims,
  core: core && coreTable,
  coreaim: core && coreAim,
  coreshort: core && coreShort,
};

let stale = false;
for (const path of ["docs/performance.md", "README.md"]) {
  const before = readFileSync(path, "utf8");
  const after = before.replace(/(<!-- peers: (?!end)(\w+) -->\n)[\s\S]*?<!-- peers: end -->/g, (all, begin, name) => {
    if (!Object.hasOwn(PARTS, name)) throw new Error(`${path}: there is no part ${name}`);
    return PARTS[name] === undefined ? all : `${begin}\n${PARTS[name]()}\n\n<!-- peers: end -->`;
  });
  if (after === before) continue;
  stale = true;
  process.stdout.write(`${path} ${isCheck ? "is not as the figures are" : "written"}\n`);
  if (!isCheck) writeFileSync(path, after);
}
if (stale && isCheck) process.exitCode = 1;
