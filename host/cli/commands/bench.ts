/** wlvs bench core | path | peers */
import { writeFileSync } from "node:fs";
import type { Command } from "commander";
import type { TestName } from "../../bench/contenders.js";
import { benchCore, type CoreReport, type CoreRow } from "../../bench/core-bench.js";
import type { Figure, Machine, Progress } from "../../bench/figures.js";
import { benchPath, type PathReport } from "../../bench/path-bench.js";
import { benchPeers, type PeersReport, type PeersTest, TEST_NAMES } from "../../bench/peers-bench.js";
import { fileReason, LvsError, usage } from "../../errors.js";
import type { CliContext, TextSink } from "../context.js";
import { table } from "../format.js";
import { examples } from "../help.js";

interface Options {
  readonly json?: string;
  readonly seconds?: number;
  readonly rounds?: number;
  readonly only?: readonly TestName[];
  readonly connections?: readonly number[];
}

export function register(program: Command, context: CliContext): void {
  const bench = program
    .command("bench")
    .summary("measure it")
    .description("Measure the core, the path through its devices, or other balancers beside it.")
    .helpCommand(false);
  examples(bench, "wlvs bench core\nwlvs bench path --seconds 20 --json path.json");

  sub(bench, "core", "nanoseconds a packet of the core over 1000 and 1 million connections, beside the same in C", 2)
    .option("--connections <n>", "so many in the table; may be given again (default: 1000 and 1000000)", connections)
    .action(async (options: Options) => {
      const report = await benchCore({
        seconds: options.seconds ?? 2,
        ...(options.connections !== undefined && { connections: options.connections }),
        progress: progressTo(context.stderr),
      });
      finish(context, options, report, coreText(report));
    });
  sub(bench, "path", "TCP through TAPs and NAT in namespaces, beside a bare C forwarder", 15).action(
    async (options: Options) => {
      const report = await benchPath({ seconds: options.seconds ?? 15, progress: progressTo(context.stderr) });
      finish(context, options, report, pathText(report));
    },
  );
  sub(bench, "peers", "TCP, UDP and new connections through this and other balancers, round by round", 1)
    .option("--rounds <n>", "so many rounds (default: 5)", (text) => {
      const value = Number(text);
      if (!(Number.isInteger(value) && value >= 1 && value <= 100)) throw usage(`--rounds ${text}: 1 to 100 is wanted`);
      return value;
    })
    .option("--only <test>", `only this test, of ${TEST_NAMES.join(", ")}; may be given again`, onlyTests)
    .action(async (options: Options) => {
      const { rounds, only } = options;
      const report = await benchPeers({
        seconds: options.seconds ?? 1,
        ...(rounds !== undefined && { rounds }),
        ...(only !== undefined && { only }),
        progress: progressTo(context.stderr),
      });
      finish(context, options, report, peersText(report));
    });
}

function connections(text: string, before: readonly number[] = []): readonly number[] {
  const value = Number(text);
  // The clients of the frames are 10.0.0.0/8.
  if (!(Number.isInteger(value) && value >= 1 && value < 1 << 24))
    throw usage(`--connections ${text}: 1 to ${(1 << 24) - 1} is wanted`);
  return [...before, value];
}

function onlyTests(text: string, before: readonly TestName[] = []): readonly TestName[] {
  const test = TEST_NAMES.find((name) => name === text);
  if (test === undefined) throw usage(`--only ${text}: there are ${TEST_NAMES.join(", ")}`);
  return [...before, test];
}

function sub(bench: Command, name: string, description: string, seconds: number): Command {
  return bench
    .command(name)
    .description(description)
    .option("--json <file>", "write the figures there as well ('-': to stdout, instead of the table)")
    .option("--seconds <n>", `spend so many seconds on each figure (default: ${seconds})`, (text) => {
      const value = Number(text);
      if (!(value > 0 && value <= 3600)) throw usage(`--seconds ${text}: a number of seconds up to 3600 is wanted`);
      return value;
    });
}

/** Characters of a whole bar. */
const BAR = 24;

/** One line that changes on a terminal, with a bar where it is known how much is done; one line a step elsewhere. */
export function progressTo(stderr: TextSink): Progress {
  if (stderr.isTTY !== true) return (text) => stderr.write(`wlvs: bench: ${text}\n`);
  return (text, done) => {
    const full = Math.round((done ?? 0) * BAR);
    const percent = `${Math.round((done ?? 0) * 100)}`.padStart(3);
    const bar = done === undefined ? "" : `[${"#".repeat(full)}${".".repeat(BAR - full)}] ${percent} % `;
    stderr.write(`\r\x1b[K${`${bar}${text}`.slice(0, (stderr.columns ?? 80) - 1)}`);
  };
}

function finish(
  context: CliContext,
  options: Options,
  report: CoreReport | PathReport | PeersReport,
  text: string,
): void {
  if (context.stderr.isTTY === true) context.stderr.write("\r\x1b[K");
  const json = `${JSON.stringify(report, null, 2)}\n`;
  if (options.json === "-") {
    context.stdout.write(json);
    return;
  }
  context.stdout.write(text);
  if (options.json === undefined) return;
  try {
    writeFileSync(options.json, json);
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `${options.json} cannot be written: ${fileReason(error, "directory")}`, error);
  }
}

function machineText(machine: Machine): string {
  return `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}\n`;
}

function shown(one: Figure | undefined, digits: number, scale = 1): readonly [string, string] {
  if (one === undefined) return ["-", ""];
  const text = (value: number) => (value / scale).toFixed(digits);
  return [text(one.median), `(${text(one.least)}-${text(one.most)})`];
}

function coreText(report: CoreReport): string {
  const row = (one: CoreRow) => [
    String(one.connections),
    String(one.size),
    one.order,
    ...shown(one.wlvs, 1),
    ...shown(one.c, 1),
    one.ratio?.toFixed(2) ?? "-",
  ];
  const head = ["connections", "bytes", "caches", "wlvs ns", "(range)", "C ns", "(range)", "wlvs/C"];
  const align = ["right", "right", "left", "right", "left", "right", "left", "right"] as const;
  return [
    machineText(report.machine),
    "Nanoseconds a packet, median of rounds: established TCP over NAT, both directions, batches of 64.\n",
    "Frames are put into their slots outside of what is timed. warm: 1024 connections in turn;\n",
    "cold: any of them at random, and with few connections the cache emptied before each batch.\n\n",
    table([head, ...report.rows.map(row)], align),
    report.missing === undefined ? "" : `\nno C beside it: ${report.missing}\n`,
  ].join("");
}

function pathText(report: PathReport): string {
  const head = ["forwarder", "Gb/s", "(range)", "CPUs", "(range)"];
  const rows = report.rows.map((one) => [one.contender, ...shown(one.rate, 1, 1e9), ...shown(one.cpu, 2)]);
  return [
    machineText(report.machine),
    `TCP bulk (${report.sender}, one connection, reno, TSO on) through two TAPs and NAT; interleaved rounds, medians.\n\n`,
    table([head, ...rows], ["left", "right", "left", "right", "left"]),
    report.ratio === undefined ? "" : `\nwlvs / C: ${report.ratio.toFixed(2)}\n`,
    ...report.missing.map((text) => `\n${text}\n`),
  ].join("");
}

/** How a test's figures are shown: scale and digits of the value, and of the CPU seconds. */
const SHOWN: Readonly<Record<TestName, readonly [unit: string, scale: number, digits: number, cpu: string]>> = {
  bulk: ["Gb/s", 1e9, 2, "CPU s/Gb"],
  bulk8: ["Gb/s", 1e9, 2, "CPU s/Gb"],
  udp: ["kpps", 1e3, 0, "CPU s/Mpkt"],
  rr: ["p50 us", 1, 1, "CPU us each"],
  connections: ["1/s", 1, 0, "CPU us each"],
};

function peersText(report: PeersReport): string {
  const ready = report.contenders.flatMap(({ name, ready, idle }) => {
    if (idle === undefined) return [];
    const started = ready === undefined ? "" : `, forwards ${shown(ready, 0).join(" ")} ms after its start`;
    return [`${name}: idle ${(idle * 100).toFixed(1)} % of a core${started}\n`];
  });
  return [
    machineText(report.machine),
    `${report.rounds} rounds of ${report.seconds} s in turn, medians (ranges); one core forwards, the other is the load; reno.\n`,
    "load: how much of the load's core was at work; the last line forwards nothing, and is what the load can do at all.\n",
    "wlvs/it: the first line's value over this one's, round by round; it/C: this one's over the better C forwarder's.\n",
    ...report.tests.map(peersTable),
    "\n",
    ...ready,
    ...report.missing.map((text) => `left out: ${text}\n`),
  ].join("");
}

function peersTable(test: PeersTest): string {
  const [unit, scale, digits, cpu] = SHOWN[test.test];
  const most = Math.max(...test.rows.map((row) => row.value.median));
  const late = test.rows.some((row) => row.p99 !== undefined);
  const head = [
    "",
    unit,
    "(range)",
    ...(late ? ["p99", "(range)"] : []),
    cpu,
    "load",
    "wlvs/it",
    "(range)",
    "it/C",
    "(range)",
    "",
  ];
  const rows = test.rows.map((row) => [
    row.contender,
    ...shown(row.value, digits, scale),
    ...(late ? shown(row.p99, digits, scale) : []),
    row.cpu.median.toFixed(3),
    `${(row.load.median * 100).toFixed(0)} %`,
    ...shown(row.wlvs, 2),
    ...shown(row.bare, 2),
    "#".repeat(Math.round((BAR * row.value.median) / most)),
  ]);
  const align = head.map((name, at) => (at === 0 || name === "(range)" || at === head.length - 1 ? "left" : "right"));
  return `\n${test.title} (${test.better} is better)\n${table([head, ...rows], align as readonly ("left" | "right")[])}`;
}
