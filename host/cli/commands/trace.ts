/** `wlvs trace`: what the director decides, frame by frame, as it happens. */
import { closeSync, openSync, writeSync } from "node:fs";
import type { Command } from "commander";
import { fileReason, LvsError, usage } from "../../errors.js";
import { IpvsError } from "../../ipvs/model.js";
import { pcapng } from "../../port/pcap.js";
import { originComment } from "../../replay/origin.js";
import { FilterError, parseFilter } from "../../trace/filter.js";
import type { ConnectionEvent, TraceOrigin, TraceRecord } from "../../trace/model.js";
import { SAMPLE_MOST, SNAP_MOST } from "../../trace/tracer.js";
import type { CliContext } from "../context.js";
import { count } from "../format.js";
import { examples } from "../help.js";
import { put } from "../put.js";

interface Options {
  readonly count?: number;
  readonly json?: boolean;
  readonly snap?: number;
  readonly pcap?: string;
  readonly rate?: number;
  readonly connections?: boolean;
  readonly sample?: number;
}

const EXAMPLES = `
wlvs trace                                        every frame, at most 1000 a second
wlvs trace tcp port 80 and host 192.168.4.132     tcpdump's words: host, net, port, src, dst, tcp, arp, and, or, not
wlvs trace verdict drop                           and the director's: verdict, reason, service, server, dev, in, out,
wlvs trace service 192.168.4.133:80 and new       made, new, mark
wlvs trace --connections --sample 100             one of a hundred connections: when it begins and how it ended`;

function integer(flag: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most)) throw usage(`${flag} ${text}: a number from ${least} to ${most} is wanted`);
    return value;
  };
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command("trace")
    .summary("show what happens to frames")
    .description(
      "Shows what the running director decides about frames, and why, as it happens. A filter is looked at for a frame " +
        "as it came and as it left; either will do. Ends with Ctrl-C, or after --count.",
    )
    .argument("[filter...]", "which frames, in a subset of tcpdump's language (docs/trace.md)")
    .option("-c, --count <n>", "end after so many", integer("--count", 1, Number.MAX_SAFE_INTEGER))
    .option("--json", "one JSON document a line")
    .option("--pcap <file>", "frames before and after rewriting, as pcapng, instead of lines; - for standard output")
    .option(
      "--snap <bytes>",
      "so much of a frame, in JSON (256) and with --pcap (all)",
      integer("--snap", 0, SNAP_MOST),
    )
    .option(
      "--rate <n>",
      "so many a second at most, 0 for all (1000; with --pcap all)",
      integer("--rate", 0, 0xffffffff),
    )
    .option("--connections", "connections that begin and end, instead of frames, as JSON lines")
    .option("--sample <n>", "with --connections: one of so many (1)", integer("--sample", 1, SAMPLE_MOST));
  examples(command, EXAMPLES.trim());
  command.action((words: string[], options: Options) => trace(words.join(" "), options, context));
}

async function trace(filter: string, options: Options, context: CliContext): Promise<void> {
  if (options.sample !== undefined && !options.connections) throw usage("--sample is for --connections");
  if (options.json && options.pcap !== undefined) throw usage("--json or --pcap, not both");
  if (options.connections && options.pcap !== undefined) throw usage("--pcap is for frames, not for --connections");
  if (options.connections && filter !== "") throw usage("--connections takes no filter");
  try {
    parseFilter(filter);
  } catch (error) {
    if (error instanceof FilterError) throw usage(error.message);
    throw error;
  }
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  try {
    await (options.connections
      ? connections(options, context, stop.signal)
      : frames(filter, options, context, stop.signal));
  } catch (error) {
    // A port that the filter names is only known there.
    if (error instanceof IpvsError && error.code === "EINVAL") throw usage(error.message);
    if (error instanceof IpvsError) throw new LvsError("ERR_LVS_DIRECTOR", error.message, error);
    throw error;
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

async function frames(filter: string, options: Options, context: CliContext, signal: AbortSignal): Promise<void> {
  const director = await context.director();
  const { count: most, snap, rate } = options;
  const { pcap } = options;
  const file = pcap === undefined ? undefined : openPcap(pcap, await director.traceOrigin(), context.version);
  const query = {
    filter,
    notices: 1,
    ...(file !== undefined && { snap: SNAP_MOST, rate: 0 }),
    ...(most !== undefined && { count: most }),
    ...(snap !== undefined && { snap }),
    ...(rate !== undefined && { rate }),
  };
  let lost = 0;
  let limited = 0;
  for await (const record of director.trace(query, signal)) {
    lost += record.lost ?? 0;
    limited += record.limited ?? 0;
    if ("notice" in record) continue;
    if (file !== undefined) {
      file.write(record);
      continue;
    }
    const line = options.json ? JSON.stringify(record) : `${clock(record.time)} ${record.text}`;
    await put(context.stdout, `${line}\n`);
  }
  file?.close();
  if (file !== undefined) context.stderr.write(`wlvs: ${pcap}: ${file.counted()}\n`);
  if (limited > 0)
    context.stderr.write(`wlvs: ${count(limited)} more were over the rate: give --rate N, or a narrower filter\n`);
  if (lost > 0) context.stderr.write(`wlvs: ${count(lost)} more were lost: they came faster than they could be told\n`);
}

async function connections(options: Options, context: CliContext, signal: AbortSignal): Promise<void> {
  const director = await context.director();
  const query = { sample: options.sample ?? 1, ...(options.count !== undefined && { count: options.count }) };
  let lost = 0;
  for await (const event of director.events(query, signal)) {
    lost += event.lost ?? 0;
    await put(context.stdout, `${JSON.stringify(event satisfies ConnectionEvent)}\n`);
  }
  if (lost > 0)
    context.stderr.write(`wlvs: ${count(lost)} events were lost: they came faster than they could be told\n`);
}

/** A capture that records are written to: each frame as it came, and as it left. */
function openPcap(path: string, origin: TraceOrigin, version: string) {
  let fd: number;
  try {
    fd = path === "-" ? 1 : openSync(path, "w", 0o600);
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `${path} cannot be written: ${fileReason(error, "directory")}`, error);
  }
  const put = (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  };
  put(pcapng.section(`wlvs ${version}`, [originComment(origin)]));
  for (const { name, link, mac } of origin.ports) {
    put(pcapng.interface({ name, link: link ? "ethernet" : "raw", mac, snap: 0 }));
  }
  let came = 0;
  let left = 0;
  const image = (record: TraceRecord, port: string | null, hex: string, vnet: string | undefined, length?: number) => {
    const number = origin.ports.findIndex(({ name }) => name === port);
    if (number < 0) return undefined;
    const frame = Buffer.from(hex, "hex");
    const comments = [record.text, ...(vnet === undefined ? [] : [`vnet=${vnet}`])];
    const time = BigInt(Math.round(record.time * 1000)) * 1000n;
    return { interface: number, time, frame, length: length ?? frame.length, comments };
  };
  return {
    write(record: TraceRecord): void {
      const { before, beforeVnet, beforeLength, after, afterVnet, afterLength } = record;
      const incoming =
        before === "" && beforeLength === undefined
          ? undefined
          : image(record, record.in, before, beforeVnet, beforeLength);
      const outgoing = after === null ? undefined : image(record, record.out, after, afterVnet, afterLength);
      if (incoming !== undefined) put(pcapng.packet({ ...incoming, direction: "in" }));
      if (outgoing !== undefined) put(pcapng.packet({ ...outgoing, direction: "out" }));
      if (incoming !== undefined) came++;
      if (outgoing !== undefined) left++;
    },
    counted: () => `${count(came)} frames as they came, ${count(left)} as they left`,
    close(): void {
      if (fd !== 1) closeSync(fd);
    },
  };
}

/** 15:04:05.123456, as tcpdump has it. */
function clock(time: number): string {
  const date = new Date(time);
  const two = (value: number) => `${value}`.padStart(2, "0");
  const micros = Math.floor((time % 1000) * 1000 + 0.5);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${`${Math.min(micros, 999_999)}`.padStart(6, "0")}`;
}
