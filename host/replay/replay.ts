/**
 * A capture through a director: the same core, over ports that are files, its clock the capture's. What the director's
 * state began with (a seed, the next identification) may be told, and what came out is then what came out of a live one.
 */
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import type { PortSpec, RunConfig } from "../config/config.js";
import { MemoryEngine, type MemoryRoute } from "../engine/memory-engine.js";
import { LvsError, usage } from "../errors.js";
import { Marks } from "../marks/marks.js";
import { type Capture, type CapturedFrame, PcapPort, pcapng, vnetOf } from "../port/pcap.js";
import { ALL_OFFLOADS } from "../port/port.js";
import { stableMac } from "../port/tap.js";
import type { TraceRecord } from "../trace/model.js";
import type { Image } from "../trace/record.js";
import { Tracer } from "../trace/tracer.js";
import { guessVnet } from "./offload.js";
import { originOf } from "./origin.js";

export interface ReplayInput {
  /** Name of the port that its frames come in by. */
  readonly port: string;
  readonly file: string;
  readonly capture: Capture;
}

export interface ReplayOptions {
  readonly config: RunConfig;
  readonly inputs: readonly ReplayInput[];
  readonly seed?: number | undefined;
  readonly version: string;
  /** Takes the blocks of the file that is written. */
  write(bytes: Uint8Array): void;
  /** Is told of every frame, in order; what it promises is waited for before the next one. */
  readonly explain?: ((step: Explained) => void | Promise<void>) | undefined;
}

/** A frame of a replay: what became of it, and its bytes before and after. */
export interface Explained {
  readonly record: TraceRecord;
  readonly before: Image | undefined;
  readonly after: Image | undefined;
  /** Whether they begin with an Ethernet header. */
  readonly linkIn: boolean;
  readonly linkOut: boolean;
}

export interface ReplaySummary {
  readonly framesIn: number;
  readonly framesOut: number;
  readonly made: number;
  readonly verdicts: Readonly<Record<string, number>>;
  readonly reasons: Readonly<Record<string, number>>;
  /** Frames that were cut when they were captured, by port: what is behind the cut is missing from what comes out. */
  readonly cut: number;
  /** Milliseconds of the capture. */
  readonly duration: number;
}

const LINK = ALL_OFFLOADS | Port.CAPABILITY_LINK;
const NO_MAC = "00:00:00:00:00:00";
const START = 1000;
const MILLION = 1_000_000n;
const CONNECTIONS_MOST = 1_000_000;

interface Due {
  readonly port: number;
  readonly frame: CapturedFrame;
}

/** The frames of an input that came in by its port; those that the port sent are left out. */
function incoming({ port, file, capture }: ReplayInput, mac: string): CapturedFrame[] {
  const named = capture.interfaces.filter(({ name }) => name !== undefined);
  let wanted: number | undefined;
  if (capture.interfaces.length > 1) {
    wanted = capture.interfaces.findIndex(({ name }) => name === port);
    if (wanted < 0) {
      const names = named.map(({ name }) => name).join(", ");
      throw new LvsError(
        "ERR_LVS_FILE",
        `${file} has no interface ${port}: there are ${names || "only nameless ones"}`,
      );
    }
  }
  return capture.frames.filter((frame) => {
    if (wanted !== undefined && frame.interface !== wanted) return false;
    if (frame.direction !== undefined) return frame.direction === "in";
    // Without a direction: what has the port's own MAC as its source came out of it.
    const ethernet = capture.interfaces[frame.interface]!.link === "ethernet";
    return !ethernet || Buffer.from(frame.frame.subarray(6, 12)).toString("hex") !== mac.replaceAll(":", "");
  });
}

function macOf(spec: PortSpec, inputs: readonly ReplayInput[]): string {
  if (spec.kind === "tun") return NO_MAC;
  if (spec.mac !== undefined) return spec.mac;
  for (const { port, capture } of inputs) {
    const found = capture.interfaces.find((one) => one.name === spec.name || port === spec.name);
    if (found?.mac !== undefined) return found.mac;
  }
  return stableMac(spec.name, spec.netns);
}

function routesOf(config: RunConfig): MemoryRoute[] {
  const gateways = config.ports.flatMap(({ name, gateways }) =>
    gateways.map((gateway) => ({ to: gateway.includes(":") ? "::/0" : "0.0.0.0/0", gateway, dev: name })),
  );
  return [...gateways, ...config.routes];
}

export async function replay(options: ReplayOptions): Promise<ReplaySummary> {
  const { config, inputs } = options;
  for (const { port } of inputs) {
    if (config.ports.some(({ name }) => name === port)) continue;
    throw usage(`--in ${port}: no such port: give it with --tap ${port},ip=ADDR/PREFIX`);
  }
  const origin = originOf(inputs.flatMap(({ capture }) => capture.comments));
  const macs = config.ports.map((spec) => macOf(spec, inputs));
  const due: Due[] = [];
  for (const input of inputs) {
    const port = config.ports.findIndex(({ name }) => name === input.port);
    const ethernet = config.ports[port]!.kind === "tap";
    for (const frame of incoming(input, macs[port]!)) {
      const isEthernet = input.capture.interfaces[frame.interface]!.link === "ethernet";
      if (isEthernet !== ethernet) {
        const has = isEthernet ? "Ethernet headers" : "no Ethernet headers";
        throw usage(
          `--in ${input.port}: the frames of ${input.file} have ${has}: take ${isEthernet ? "--tap" : "--tun"}`,
        );
      }
      due.push({ port, frame });
    }
  }
  // Frames of one time stay in the order of their files.
  due.sort((a, b) => (a.frame.time < b.frame.time ? -1 : a.frame.time > b.frame.time ? 1 : 0));
  const begin = due[0]?.frame.time ?? 0n;
  // Also what the captures say that went out: timers may have sent it, after all that came.
  let end = due.at(-1)?.frame.time ?? begin;
  for (const { capture } of inputs) for (const { time } of capture.frames) if (time > end) end = time;
  const beginMs = Number(begin / 1000n) / 1000;
  const start = origin === undefined ? START : Math.floor((beginMs - origin.epoch) / Memory.TICK_MS);
  const epoch = origin === undefined ? beginMs : origin.epoch + start * Memory.TICK_MS;

  /** Of the frame that is let in; undefined while time passes between two. */
  let now: bigint | undefined;
  const time = (): bigint => now ?? BigInt(Math.round(engine.clock.epochMs() * 1000)) * 1000n;
  const ports = config.ports.map((spec, number) => {
    const mtu = spec.mtu ?? 1500;
    const link = spec.kind === "tap";
    return new PcapPort({
      name: spec.name,
      mac: macs[number]!,
      mtu,
      capabilities: link ? LINK : ALL_OFFLOADS,
      frames: due.filter(({ port }) => port === number).map(({ frame }) => frame),
      vnet: (frame) => vnetOf(frame.comments) ?? guessVnet(frame.frame, link, mtu),
      out: { interface: number, write: options.write, now: time },
    });
  });
  options.write(pcapng.section(`wlvs ${options.version}`));
  for (const [number, spec] of config.ports.entries()) {
    const link = spec.kind === "tap" ? "ethernet" : "raw";
    options.write(pcapng.interface({ name: spec.name, link, mac: macs[number]!, snap: 0 }));
  }
  const engine: MemoryEngine = new MemoryEngine({
    interfaces: config.ports.map((spec) => ({ name: spec.name, addresses: spec.addresses })),
    ports,
    routes: routesOf(config),
    neighbours: config.neighbours.map(({ address, mac, port }) => ({ ip: address, mac, dev: port })),
    settings: Object.fromEntries(config.settings),
    forward: config.forward,
    start: start >>> 0,
    epoch,
    seed: options.seed ?? origin?.seed ?? 1,
    nextId: origin?.nextId ?? 0,
    capacities: {
      connections: Math.min(config.maxConnections, CONNECTIONS_MOST),
      services: 4096,
      servers: 16384,
      arena: 32 << 20,
      trace: 2 << 20,
    },
  });
  await configure(engine, config);

  const tracer = new Tracer(
    engine.control,
    engine.memory,
    config.ports.map(({ name, kind }) => ({ name, link: kind === "tap" })),
  );
  const { explain } = options;
  const told = explain === undefined ? undefined : tracer.open({ snap: 65535, rate: 0 });
  const tell = async () => {
    if (told === undefined) return;
    tracer.drain();
    for (const { bytes } of await told.take(0)) {
      const { in: from, out: to, before, after } = tracer.reader.images(bytes);
      const record = tracer.reader.frame(bytes, told.snap, 0, 0);
      const isLink = (number: number) => config.ports[number]?.kind !== "tun";
      await explain!({ record, before, after, linkIn: isLink(from), linkOut: isLink(to) });
    }
  };
  const before = engine.ipvs.tables.counters();
  let cut = 0;
  for (const { port, frame } of due) {
    now = undefined;
    engine.advanceTo(Number(frame.time / 1000n) / 1000 - engine.clock.epoch);
    await tell();
    now = frame.time;
    if (frame.length > frame.frame.length) cut++;
    ports[port]!.admit();
    engine.breathe();
    await tell();
  }
  now = undefined;
  engine.advanceTo(Number(end / 1000n) / 1000 - engine.clock.epoch);
  await tell();
  tracer.close();
  const after = engine.ipvs.tables.counters();
  const less = (a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>) =>
    Object.fromEntries(Object.entries(a).map(([name, value]) => [name, value - (b[name] ?? 0)]));
  return {
    framesIn: after.framesIn - before.framesIn,
    framesOut: after.framesOut - before.framesOut,
    made: after.generated - before.generated,
    verdicts: less(after.verdicts, before.verdicts),
    reasons: less(after.reasons, before.reasons),
    cut,
    duration: Number((end - begin) / MILLION),
  };
}

async function configure(engine: MemoryEngine, config: RunConfig): Promise<void> {
  for (const { from, step } of config.steps) {
    try {
      await engine.ipvs.transaction([step]);
    } catch (error) {
      throw new LvsError("ERR_LVS_TABLES", `${from}: ${(error as Error).message}`, error);
    }
  }
  if (config.timeouts !== undefined) await engine.ipvs.setTimeouts(config.timeouts);
  if (config.marks !== undefined) {
    const marks = new Marks(
      engine.control,
      config.ports.map(({ name }) => name),
    );
    marks.replace(config.marks.text);
  }
  engine.breathe();
}
