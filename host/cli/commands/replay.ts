/** `wlvs replay`: captured frames through a director, offline. */
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import type { Command } from "commander";
import type { Token } from "../../config/options.js";
import { readMarks, readRules } from "../../config/rules.js";
import { fileReason, LvsError, usage } from "../../errors.js";
import type { CliContext } from "../context.js";
import { count } from "../format.js";
import { examples } from "../help.js";
import { put } from "../put.js";

const EXAMPLES = `
wlvs replay --tap ext0,ip=192.168.4.133/24 --tap int0,ip=192.168.2.130/24 --rules rules \\
            --in ext0=trace.pcapng --in int0=trace.pcapng --out out.pcapng
wlvs replay --tap ext0,ip=192.168.4.133/24 --vip 192.168.4.133:80 --rip 192.168.2.128 \\
            --in ext0=clients.pcap --out - --explain`;

/** Those of wlvs run that make a difference here. */
const OPTIONS: ReadonlyArray<readonly [string, string]> = [
  ["--tap <spec>", "a port with Ethernet: NAME[,ip=CIDR]...[,mac=MAC][,gw=IP][,mtu=N]"],
  ["--tun <spec>", "a port without: NAME[,ip=CIDR]...[,mtu=N]"],
  ["--vip <service>", "a service, ADDR:PORT[/tcp|/udp|/sctp]; the next five belong to it"],
  ["--scheduler <name>", "how it picks a real server (wlc)"],
  ["--mode <mode>", "how it forwards: nat, dr, tun, fullnat (nat)"],
  ["--persistent [seconds]", "a client stays with its real server (360)"],
  ["--rip <server>", "a real server, ADDR[:PORT][,weight=N][,mode=MODE]"],
  ["--limit <limits>", "connections=N,rate=N/s,source-connections=N,source-rate=N/s"],
  ["--rules <file>", "services as ipvsadm-save -n wrote them; - reads standard input"],
  ["--marks <file>", "firewall marks: nftables rules that end in 'meta mark set N'"],
  ["--set <name=value>", "a net.ipv4.vs.* setting"],
  ["--route <route>", "CIDR,via=IP; CIDR,local[,mark=N]"],
  ["--neigh <neighbour>", "a permanent neighbour, IP,MAC,dev=NAME"],
  ["--no-forward", "drop what belongs to no service instead of routing it"],
  ["--syn-proxy <when>", "answer SYNs for the real servers: auto, on, off"],
  ["--profile <name>", "kernel or wlvs (wlvs)"],
  ["--config <file>", "settings as YAML"],
];

interface Options {
  readonly out?: string;
  readonly explain?: boolean;
  readonly json?: boolean;
  readonly seed?: number;
}

function seed(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= 0xffffffff)) throw usage(`--seed ${text}: a number up to 4294967295 is wanted`);
  return value;
}

export function register(program: Command, context: CliContext): void {
  const tokens: Token[] = [];
  const inputs: Array<readonly [port: string, file: string]> = [];
  const command = program
    .command("replay")
    .summary("send captured frames through a director")
    .description(
      "Sends captured frames (pcapng or pcap) through the director that the flags describe, at the times of the " +
        "capture, and writes what it sends. Nothing of this machine is touched.",
    )
    .allowExcessArguments(false);
  for (const [flags, description] of OPTIONS) {
    const name = /^--([a-z-]+)/.exec(flags)![1]!;
    command.option(flags, description);
    command.on(`option:${name}`, (value: string | null | undefined) => tokens.push([name, value ?? null]));
  }
  command
    .option("--in <port=file>", "frames that come in by a port; may be given again")
    .option("--out <file>", "where what comes out is written, as pcapng; - for standard output")
    .option("--seed <n>", "of the hashes (as the capture of wlvs trace has it, or 1)", seed)
    .option("--explain", "tell of each frame: stages, header fields, checksums")
    .option("--json", "with --explain a JSON document a frame, and the summary as JSON");
  command.on("option:in", (text: string) => {
    const at = text.indexOf("=");
    if (at <= 0 || at === text.length - 1) throw usage(`--in ${text}: write PORT=FILE`);
    inputs.push([text.slice(0, at), text.slice(at + 1)]);
  });
  examples(command, EXAMPLES.trim());
  command.action((options: Options) => run(options, tokens, inputs, context));
}

async function run(
  options: Options,
  tokens: readonly Token[],
  files: ReadonlyArray<readonly [string, string]>,
  context: CliContext,
): Promise<void> {
  if (files.length === 0) throw usage("no frames: give at least one --in PORT=FILE");
  if (options.out === undefined && !options.explain) throw usage("give --out FILE, --explain, or both");
  if (options.out === "-" && options.explain) throw usage("--out - and --explain both write to standard output");
  const { loadRunConfig } = await import("../../config/load.js");
  const config = await loadRunConfig(tokens, {
    env: context.env,
    rules: (file) => readRules(file, context.stdin),
    marks: (file) => readMarks(file, context.stdin),
  });
  const { readCapture } = await import("../../port/pcap.js");
  const inputs = files.map(([port, file]) => ({ port, file, capture: readCapture(contentOf(file), file) }));
  const { replay } = await import("../../replay/replay.js");
  const { explain, explanationText } = await import("../../replay/explain.js");
  const { out } = options;
  const fd = out === undefined ? undefined : out === "-" ? 1 : open(out);
  let number = 0;
  try {
    const summary = await replay({
      config,
      inputs,
      seed: options.seed,
      version: context.version,
      write: (bytes) => {
        if (fd === undefined) return;
        for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      },
      explain: options.explain
        ? (one) => {
            const found = explain(one);
            number++;
            return put(
              context.stdout,
              options.json ? `${JSON.stringify(found)}\n` : `${explanationText(found, number)}\n`,
            );
          }
        : undefined,
    });
    const sink = out === "-" ? context.stderr : context.stdout;
    if (options.json) sink.write(`${JSON.stringify(summary)}\n`);
    else sink.write(summaryText(summary));
    if (summary.cut > 0) {
      context.stderr.write(
        `wlvs: ${count(summary.cut)} frames were cut when they were captured: what is missing stays so\n`,
      );
    }
  } catch (error) {
    if (fd !== undefined && fd !== 1) rmSync(out!, { force: true });
    throw error;
  } finally {
    if (fd !== undefined && fd !== 1) closeSync(fd);
  }
}

function contentOf(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `${file} cannot be read: ${fileReason(error)}`, error);
  }
}

function open(file: string): number {
  try {
    return openSync(file, "w");
  } catch (error) {
    throw new LvsError("ERR_LVS_FILE", `${file} cannot be written: ${fileReason(error, "directory")}`, error);
  }
}

function summaryText(summary: import("../../replay/replay.js").ReplaySummary): string {
  const listed = (record: Readonly<Record<string, number>>) =>
    Object.entries(record)
      .filter(([, value]) => value > 0)
      .map(([name, value]) => `${name} ${count(value)}`)
      .join(", ");
  const { framesIn, framesOut, made, duration, verdicts, reasons } = summary;
  const why = listed(reasons);
  return (
    `frames in ${count(framesIn)}, out ${count(framesOut)}, made here ${count(made)}, over ${(duration / 1000).toFixed(3)} s\n` +
    `ended as ${listed(verdicts) || "nothing"}\n` +
    (why === "" ? "" : `dropped for ${why}\n`)
  );
}
