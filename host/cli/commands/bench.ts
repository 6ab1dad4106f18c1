/** wlvs bench core | path | peers */
import { writeFileSync } from "node:fs";
import type { Command } from "commander";
import { benchCore, type CoreReport, type CoreRow } from "../../bench/core-bench.js";
import type { Figure, Machine } from "../../bench/figures.js";
import { benchPath, type PathReport } from "../../bench/path-bench.js";
import { LvsError, usage } from "../../errors.js";
import type { CliContext, TextSink } from "../context.js";
import { table } from "../format.js";
import { examples } from "../help.js";

interface Options {
  readonly json?: string;
  readonly seconds?: number;
}

export function register(program: Command, context: CliContext): void {
  const bench = program
    .command("bench")
    .summary("measure it")
    .description("Measure the core, the path through its devices, or other balancers beside it.")
    .helpCommand(false);
  examples(bench, "wlvs bench core\nwlvs bench path --seconds 20 --json path.json");

  sub(
    bench,
    "core",
    "nanoseconds a packet of the core over 1000 and 1 million connections, beside the same in C",
    2,
  ).action(async (options: Options) => {
    const report = await benchCore({ seconds: options.seconds ?? 2, progress: progressTo(context.stderr) });
    finish(context, options, report, coreText(report));
  });
  sub(bench, "path", "TCP through TAPs and NAT in namespaces, beside a bare C forwarder", 15).action(
    async (options: Options) => {
      const report = await benchPath({ seconds: options.seconds ?? 15, progress: progressTo(context.stderr) });
      finish(context, options, report, pathText(report));
    },
  );
  sub(bench, "peers", "other balancers beside this one (not built yet)", 15).action(() => {
    throw new LvsError("ERR_LVS_NOT_BUILT", "'bench peers' is not built yet");
  });
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

/** One line that changes on a terminal, one line a step elsewhere. */
function progressTo(stderr: TextSink): (text: string) => void {
  return (text) => stderr.write(stderr.isTTY === true ? `\r\x1b[K${text}` : `wlvs: bench: ${text}\n`);
}

function finish(context: CliContext, options: Options, report: CoreReport | PathReport, text: string): void {
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
    throw new LvsError("ERR_LVS_FILE", `${options.json} cannot be written`, error);
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
