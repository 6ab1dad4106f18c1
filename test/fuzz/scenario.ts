/**
 * One seeded life of a director over memory ports: frames, changes of the tables and jumps of time, with what must
 * always hold checked after every breath.
 */
import * as Connection from "../../assembly/layout/connection.js";
import * as Counters from "../../assembly/layout/counters.js";
import * as Errno from "../../assembly/layout/errno.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Neighbour from "../../assembly/layout/neighbour.js";
import * as Port from "../../assembly/layout/port.js";
import * as Scheduler from "../../assembly/layout/scheduler.js";
import * as Server from "../../assembly/layout/server.js";
import * as Service from "../../assembly/layout/service.js";
import * as Setting from "../../assembly/layout/setting.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as Source from "../../assembly/layout/source.js";
import * as Trace from "../../assembly/layout/trace.js";
import * as Verdict from "../../assembly/layout/verdict.js";
import * as Worker from "../../assembly/layout/worker.js";
import { Control } from "../../host/core/control.js";
import { type Core, instantiate } from "../../host/core/instance.js";
import { capacitiesOf, createMemory, type MemoryPlan, planMemory } from "../../host/core/memory.js";
import {
  type ForwardingName,
  IpvsError,
  type Limit,
  type ServerConfig,
  type ServiceConfig,
  type ServiceId,
} from "../../host/ipvs/model.js";
import { compileFilter, parseFilter } from "../../host/trace/filter.js";
import { RecordReader } from "../../host/trace/record.js";
import {
  CLIENTS,
  FrameMaker,
  MACS,
  PORTS,
  SERVERS,
  SERVERS6,
  SERVICE_PORTS,
  VIRTUALS,
  VIRTUALS6,
  VNET,
} from "./frames.js";
import { Random } from "./random.js";
import { transportChecksum } from "./verify.js";

export class Violation extends Error {
  constructor(message: string) {
    super(message);
    this.name = "Violation";
  }
}

function must(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Violation(message());
}

export interface Outcome {
  readonly frames: number;
  readonly sent: number;
  readonly changes: number;
}

export interface ScenarioOptions {
  /** A breath for each frame, to see which one it is that breaks a rule. */
  readonly oneByOne?: boolean | undefined;
  /** No frame takes the fast path. */
  readonly generalPathOnly?: boolean | undefined;
  /** Told of each frame that is sent: its bytes, and the descriptor of its slot. */
  readonly onSent?: ((bytes: Uint8Array, descriptor: DataView) => void) | undefined;
  /** Now and then, after a breath. */
  readonly onTables?: ((memory: WebAssembly.Memory) => void) | undefined;
}

/** Bytes between two regions that nobody may touch. */
const GAP = 4096;
const CANARY = 0xa5;
const CANARIES = Buffer.alloc(1 << 17, CANARY);
/** Longer than any timeout that a scenario sets: everything has run out. */
const LONG = 4 * 3600 * Memory.TICKS_PER_SECOND;
/** How many small frames fit into a slot. */
const PIECES_MOST = Slot.SIZE / (Slot.FRAME_AT + 64);
const FORWARDINGS: readonly ForwardingName[] = ["nat", "nat", "nat", "dr", "tunnel", "local", "bypass", "fullnat"];
const SCHEDULERS = Object.keys(Scheduler).map((name) => name.toLowerCase());
const SYN_PROXIES = ["default", "off", "on", "on", "auto"] as const;
const DEVICES = ["ext", "int"];
const FILTERS = ["", "tcp", "new or made", "verdict drop", "in ext and port 80", "ip6 or reason no-server"].map(
  (text) => compileFilter(parseFilter(text), DEVICES),
);
/** The parts of a trace's program that come out of the hands of its compiler are checked by the core, too. */
const PROGRAM_MOST = 20;
const SETTINGS = Object.entries(Setting).filter(([name]) => name !== "COUNT" && !name.startsWith("TIMEOUT_"));

/** The plan with a gap before and after every region. */
function withGaps(plan: MemoryPlan): { plan: MemoryPlan; gaps: readonly (readonly [number, number])[] } {
  const gaps: [number, number][] = [];
  let at = Memory.LAYOUT_BASE + Memory.HEADER_SIZE;
  const regions = plan.regions.map((region) => {
    const base = Math.ceil((at + GAP) / 4096) * 4096;
    gaps.push([at, base]);
    at = base + region.bytes;
    return { ...region, base };
  });
  const total = Math.ceil((at + GAP) / 65536) * 65536;
  gaps.push([at, total]);
  return { plan: { ...plan, regions, total }, gaps };
}

export class Scenario {
  readonly seed: number;
  /** How far it has come: what a failure report names. */
  step = 0;
  /** The frame that came last. */
  last: Uint8Array = new Uint8Array();
  private readonly options: ScenarioOptions;
  private readonly memory: WebAssembly.Memory;
  private readonly random: Random;
  private readonly maker: FrameMaker;
  private readonly core: Core;
  private readonly control: Control;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly gaps: readonly (readonly [number, number])[];
  private readonly slots: { readonly base: number; readonly count: number };
  private readonly ports: number[] = [];
  private readonly records: RecordReader;
  private readonly queue: number;
  private now: number;
  private framesIn = 0;
  /** The counters of verdicts and reasons when they were last looked at. */
  private readonly counted = new Float64Array((Counters.STATS - Counters.VERDICTS) >>> 3);
  /** Every frame that comes in has right checksums: so has every one that goes out. */
  private readonly clean: boolean;
  /** Whether services have SYN proxies and limits, and whether anything is traced: both keep frames off the fast path. */
  private readonly guarded: boolean;
  private readonly traced: boolean;
  private sent = 0;
  private changes = 0;

  constructor(seed: number, golden: readonly Uint8Array[], options: ScenarioOptions = {}) {
    this.seed = seed;
    this.options = options;
    this.random = new Random(seed);
    const { random } = this;
    this.clean = random.chance(0.3);
    this.guarded = random.chance(0.5);
    this.traced = random.chance(0.4);
    this.maker = new FrameMaker(random, golden, this.clean);
    const connections = random.pick([16, 200, 4096]);
    const { plan, gaps } = withGaps(
      planMemory(
        capacitiesOf({
          connections,
          extensions: random.pick([4, 64, connections]),
          slots: random.pick([Worker.SUPPLY_TARGET + 40, 768]),
          neighbours: random.pick([16, 256]),
          services: 64,
          servers: 256,
          serviceHash: 64,
          fragments: random.pick([4, 256]),
          routes: 32,
          addresses: 64,
          arena: random.pick([64 << 10, 4 << 20]),
          sources: random.pick([16, 1024]),
          trace: random.pick([100_000, 1 << 20]),
        }),
      ),
    );
    this.gaps = gaps;
    // Ticks wrap: some begin shortly before.
    this.now = random.pick([0, 1, 250_000, 0x7ffffff0, 0xfffff000]) + random.below(1000);
    const memory = createMemory(plan, { seed: random.word(), now: this.now, forward: random.chance(0.9) });
    this.memory = memory;
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    if (options.generalPathOnly) this.view.setUint32(Memory.LAYOUT_BASE + Memory.GENERAL_PATH_ONLY, 1, true);
    for (const [from, to] of gaps) this.bytes.fill(CANARY, from, to);
    this.core = instantiate(memory);
    this.control = new Control(this.core, memory);
    this.control.init();
    this.slots = { base: this.header(Memory.SLOTS_BASE), count: this.header(Memory.SLOTS_CAPACITY) };
    this.queue = this.header(Memory.WORKERS_BASE);
    this.records = new RecordReader(
      DEVICES.map((name) => ({ name, link: true })),
      memory,
    );
    this.setUp();
  }

  /**
   * Runs `steps` steps and then lets everything run out. Each step has its own randomness, so that with `only` a few of
   * them do what they did among all.
   */
  run(steps: number, only?: ReadonlySet<number>): Outcome {
    for (; this.step < steps; this.step++) {
      if (only !== undefined && !only.has(this.step)) continue;
      this.random.reseed(this.seed ^ Math.imul(this.step + 1, 0x9e3779b1));
      const kind = this.random.below(100);
      if (kind < 84) this.breath(this.random.chance(0.9) ? 1 + this.random.below(8) : this.random.below(256));
      else if (kind < 90) this.silence();
      else if (kind < 97) this.change();
      else this.jump();
      if (this.step % 64 === 63) this.checkGaps();
      if (this.random.chance(0.2)) this.drain();
      if (this.step % 32 === 31) this.options.onTables?.(this.memory);
      if (this.step % 16 === 15) this.checkCounters();
    }
    this.checkCounters();
    this.end();
    return { frames: this.framesIn, sent: this.sent, changes: this.changes };
  }

  private header(word: number): number {
    return this.view.getUint32(Memory.LAYOUT_BASE + word, true);
  }

  private queueWord(at: number): number {
    return this.view.getUint32(this.queue + at, true);
  }

  private setUp(): void {
    const { control, random } = this;
    const offloads = Port.CAPABILITY_CHECKSUM | Port.CAPABILITY_TSO4 | Port.CAPABILITY_TSO6 | Port.CAPABILITY_USO;
    for (const [number, mac] of MACS.entries()) {
      // Without offloads the core cuts super-frames and completes checksums itself.
      const capabilities =
        Port.CAPABILITY_LINK | (random.chance(0.6) ? offloads : random.pick([0, Port.CAPABILITY_CHECKSUM]));
      const port = control.portAdd({
        number,
        kind: "memory",
        capabilities,
        mtu: random.pick([1500, 1500, 1280, 9000]),
        mac,
      });
      this.ports.push(port);
      control.portUp(port, true);
    }
    control.addressAdd("192.168.4.133/24", 0);
    control.addressAdd("192.168.2.130/24", 1);
    control.addressAdd("2001:db8:4::133/64", 0);
    control.addressAdd("2001:db8:2::130/64", 1);
    control.routeAdd({ to: "0.0.0.0/0", gateway: "192.168.4.1", port: 0 });
    this.try(() => control.routeAdd({ to: "::/0", gateway: "2001:db8:4::1", port: 0 }));
    if (random.chance(0.8)) {
      for (const [at, address] of CLIENTS.slice(0, 2).entries())
        control.neighbourAdd(address, `02:00:00:00:04:0${at}`, 0);
      for (const [at, address] of SERVERS.slice(0, 2).entries())
        control.neighbourAdd(address, `02:00:00:00:02:0${at}`, 1);
      control.neighbourAdd("192.168.4.1", "02:00:00:00:04:01", 0);
    }
    for (const address of VIRTUALS.slice(0, 2)) {
      for (const port of SERVICE_PORTS)
        this.common({ family: 4, protocol: random.pick(["tcp", "tcp", "udp", "sctp"] as const), address, port });
    }
    for (const address of VIRTUALS6) this.common({ family: 6, protocol: "tcp", address, port: 80 });
    for (let n = 0; n < 4; n++) this.change();
    this.breath(0);
  }

  /** A change that the tables may refuse; anything else that is thrown is a failure. */
  private try(change: () => unknown): void {
    try {
      change();
    } catch (error) {
      if (!(error instanceof IpvsError)) throw error;
      must(error.errno > 0 && error.errno < -(Errno.FIRST | 0), () => `errno ${error.errno}`);
    }
  }

  private serviceId(): ServiceId {
    const { random } = this;
    if (random.chance(0.05)) return { family: random.pick([4, 6]), mark: 1 + random.below(3) };
    const protocol = random.pick(["tcp", "tcp", "udp", "sctp"] as const);
    const port = random.pick(PORTS.slice(0, 5).concat(0));
    if (random.chance(0.25)) return { family: 6, protocol, address: random.pick(VIRTUALS6), port };
    return { family: 4, protocol, address: random.pick(VIRTUALS), port };
  }

  private service(id: ServiceId): ServiceConfig {
    const { random } = this;
    const persistent = random.chance(0.25) || ("port" in id && id.port === 0);
    return {
      id,
      scheduler: random.pick(SCHEDULERS),
      persistence: persistent ? random.pick([1, 60, 300, 3600]) : undefined,
      persistencePrefix: id.family === 4 ? random.pick([32, 24, 0]) : random.pick([128, 64]),
      persistenceEngine: random.chance(0.05) ? "sip" : undefined,
      onePacket: random.chance(0.1),
      schedulerFlags: random.below(8),
      ...this.guard(),
    };
  }

  /** SYN proxy and limits: few enough that they are met. */
  private guard(): Pick<ServiceConfig, "synProxy" | "limits"> {
    const { random } = this;
    if (!this.guarded) return {};
    const limit = (): Limit => ({
      ...(random.chance(0.5) && { connections: 1 + random.below(40) }),
      ...(random.chance(0.5) && { rate: random.pick([1, 20, 10_000_000]) }),
    });
    return {
      ...(random.chance(0.4) && { synProxy: random.pick(SYN_PROXIES) }),
      ...(random.chance(0.2) && { limits: { ...limit(), ...(random.chance(0.6) && { perSource: limit() }) } }),
    };
  }

  /** A service as most are: NAT, servers that take connections. */
  private common(id: ServiceId): void {
    const { random } = this;
    const service = { ...this.service(id), onePacket: false };
    this.try(() => this.control.serviceAdd(random.chance(0.7) ? { ...service, persistence: undefined } : service));
    for (let n = 0; n < 3; n++) {
      const server = this.server(id.family);
      const family = id.family;
      const address = family === 6 ? random.pick(SERVERS6) : SERVERS[n]!;
      const common = {
        forwarding: random.pick(["nat", "nat", "nat", "dr"] as const),
        weight: 1 + n,
        upperThreshold: 0,
      };
      const port = random.chance(0.5) && "port" in id ? id.port : 8080;
      this.try(() =>
        this.control.serverAdd(id, { ...server, ...common, lowerThreshold: 0, id: { family, address, port } }),
      );
    }
  }

  private server(family: 4 | 6): ServerConfig {
    const { random } = this;
    const other = random.chance(0.05);
    const six = (family === 6) !== other;
    const upperThreshold = random.chance(0.8) ? 0 : random.below(6);
    return {
      id: { family: six ? 6 : 4, address: random.pick(six ? SERVERS6 : SERVERS), port: random.pick(PORTS) },
      forwarding: random.pick(FORWARDINGS),
      weight: random.pick([0, 1, 1, 2, 5, 100, 65535, 2147483647]),
      upperThreshold,
      lowerThreshold: random.below(upperThreshold + 1),
      tunnel: random.chance(0.3)
        ? {
            type: random.pick(["ipip", "gue", "gre"]),
            port: 6080,
            checksum: random.pick(["nocsum", "csum", "remcsum"]),
          }
        : undefined,
    };
  }

  private change(): void {
    const { control, random, core } = this;
    this.changes++;
    const id = this.serviceId();
    const port = random.below(2);
    switch (random.below(22)) {
      case 0:
      case 1:
      case 2:
        this.try(() => control.serviceAdd(this.service(id)));
        for (let n = random.below(4); n > 0; n--) this.try(() => control.serverAdd(id, this.server(id.family)));
        break;
      case 3:
        this.try(() => control.serviceEdit(this.service(id)));
        break;
      case 4:
        this.try(() => control.serviceRemove(id));
        break;
      case 5:
      case 6:
      case 7:
        this.try(() => control.serverAdd(id, this.server(id.family)));
        break;
      case 8:
      case 9:
        this.try(() => control.serverEdit(id, this.server(id.family)));
        break;
      case 10:
      case 11:
        this.try(() => control.serverRemove(id, this.server(id.family).id));
        break;
      case 12: {
        const [, setting] = random.pick(SETTINGS);
        this.try(() => control.settingSet(setting, random.pick([0, 1, 2, 3, random.edge(16)])));
        break;
      }
      case 13:
        this.try(() =>
          control.timeoutsSet({ tcp: random.below(2000), tcpFin: random.below(200), udp: random.below(400) }),
        );
        break;
      case 14:
        if (random.chance(0.3)) this.try(() => control.flush());
        else this.try(() => control.zero(random.chance(0.5) ? 0 : control.serviceFind(id)));
        break;
      case 15:
        this.try(() => control.neighbourFlush(random.chance(0.5) ? port : undefined));
        break;
      case 16:
        this.try(() => control.portUp(this.ports[port]!, random.chance(0.7)));
        break;
      case 17:
        this.try(() => control.portMtu(this.ports[port]!, random.pick([68, 576, 1280, 1500, 9000, 65535])));
        break;
      case 18:
        if (this.traced) this.trace();
        break;
      case 19: {
        const server = this.server(id.family);
        const failure = random.pick([undefined, "keep", "reset", "reschedule"] as const);
        if (random.chance(0.5)) this.try(() => control.serverEdit(id, { ...server, weight: 0 }, failure));
        else this.try(() => control.serverRemove(id, server.id, failure));
        break;
      }
      case 20: {
        const cidr = random.pick(["192.168.4.140/24", "192.168.2.131/32", "10.0.0.1/8", "2001:db8:4::140/64"]);
        this.try(() => (random.chance(0.6) ? control.addressAdd(cidr, port) : control.addressRemove(cidr, port)));
        break;
      }
      default: {
        const route = { to: random.pick(["10.0.0.0/8", "203.0.113.0/24", "172.16.0.9/32", "2001:db8:9::/48"]), port };
        this.try(() => (random.chance(0.6) ? control.routeAdd(route) : control.routeRemove(route)));
        if (random.chance(0.3)) this.try(() => control.announce());
      }
    }
    must(core.layoutVersion() === Memory.LAYOUT_VERSION, () => "the version changed");
  }

  /** A trace begins or ends; some of its programs no compiler would write. */
  private trace(): void {
    const { control, random } = this;
    const number = random.below(Trace.TRACE_COUNT + 1);
    switch (random.below(4)) {
      case 0:
        this.try(() => control.traceStop(number));
        break;
      case 1:
        this.try(() => control.traceSample(random.below(4)));
        break;
      default: {
        const program = random.pick(FILTERS).slice();
        for (let n = random.chance(0.3) ? 1 + random.below(PROGRAM_MOST) : 0; n > 0; n--) {
          if (program.length > 0) program[random.below(program.length)] = random.below(256);
        }
        const snap = random.pick([0, 64, 256, Slot.FRAME_MAX]);
        this.try(() => control.traceStart(number, program, snap, random.pick([0, 0, 10, 1000])));
      }
    }
  }

  /** Reads what the core told of frames and connections, as a director's main thread does, or lets the ring fill. */
  private drain(): void {
    const base = this.header(Memory.TRACE_BASE);
    const size = (this.header(Memory.TRACE_CAPACITY) - Trace.RING) & ~7;
    const head = this.view.getUint32(base + Trace.HEAD, true);
    let tail = this.view.getUint32(base + Trace.TAIL, true);
    must(head < size && head % 8 === 0, () => `the ring's head is ${head} of ${size}`);
    while (tail !== head) {
      const at = base + Trace.RING + tail;
      const length = this.view.getUint32(at + Trace.SIZE, true);
      must(
        length >= 8 && length % 8 === 0 && tail + length <= size,
        () => `a record of ${length} at ${tail} of ${size}`,
      );
      const kind = this.bytes[at + Trace.KIND]!;
      if (kind !== Trace.KIND_WRAP) {
        must(length >= Trace.RECORD_SIZE && kind >= Trace.KIND_FRAME && kind <= Trace.KIND_CLOSE, () => `kind ${kind}`);
        const record = this.bytes.slice(at, at + length);
        if (kind !== Trace.KIND_FRAME) this.records.event(record, kind === Trace.KIND_OPEN ? "open" : "close", 0);
        else if (this.random.chance(0.1)) this.records.frame(record, Slot.FRAME_MAX, 0, 0);
      }
      tail = tail + length >= size ? 0 : tail + length;
    }
    this.view.setUint32(base + Trace.TAIL, tail, true);
  }

  private jump(): void {
    const { random } = this;
    const seconds = random.pick([1, 1, 2, 2, 5, 5, 61, 61, 130, 130, 901, random.chance(0.3) ? 4000 : 300]);
    this.now = (this.now + seconds * Memory.TICKS_PER_SECOND) >>> 0;
    this.breath(0);
  }

  /** One turn of a worker's loop, with `count` frames at most. */
  private breath(count: number): void {
    this.now = (this.now + this.random.below(4)) >>> 0;
    const supply = this.queueWord(Worker.SUPPLY_COUNT);
    // One by one, the supply is filled up in between: as many frames as otherwise, for the same run of the generator.
    const frames = Math.min(count, supply);
    for (let at = 0; at < frames; at++) {
      const frame = this.maker.next();
      this.last = frame.bytes;
      if (this.queueWord(Worker.SUPPLY_COUNT) === 0) this.turn(0);
      this.receive(this.options.oneByOne ? 0 : at, frame.bytes, frame.port);
      if (this.options.oneByOne) this.turn(1);
    }
    if (!this.options.oneByOne || frames === 0) this.turn(frames);
  }

  /** A frame that deserves no answer: nothing goes out that would not have gone out without it. */
  private silence(): void {
    for (let tries = 0; tries < 50; tries++) {
      const frame = this.maker.next();
      if (!frame.silent) continue;
      this.turn(0);
      if (this.queueWord(Worker.SUPPLY_COUNT) === 0) return;
      this.receive(0, frame.bytes, frame.port);
      const sent = this.turn(1);
      must(sent === 0, () => `${sent} frames were sent because of ${Buffer.from(frame.bytes).toString("hex")}`);
      return;
    }
  }

  private receive(place: number, bytes: Uint8Array, port: 0 | 1): void {
    const left = this.queueWord(Worker.SUPPLY_COUNT) - 1;
    this.view.setUint32(this.queue + Worker.SUPPLY_COUNT, left, true);
    const slot = this.view.getUint32(this.queue + Worker.SUPPLY + left * 4, true);
    this.bytes.set(bytes, slot + Slot.FRAME_AT);
    this.view.setUint32(slot + Slot.FRAME, slot + Slot.FRAME_AT, true);
    this.view.setUint32(slot + Slot.LENGTH, bytes.length, true);
    this.view.setUint32(slot + Slot.PORT_IN, this.ports[port]!, true);
    this.view.setUint32(this.queue + Worker.RECEIVED + place * 4, slot, true);
    this.framesIn++;
  }

  private turn(frames: number): number {
    this.view.setUint32(this.queue + Worker.RECEIVED_COUNT, frames, true);
    let sent = this.core.run(0, this.now);
    // A breath may leave frames for the next one where the send queue is nearly full.
    for (let again = 0; this.queueWord(Worker.RECEIVED_COUNT) > 0; again++) {
      must(again < 1024, () => "frames stay in the queue of what was received");
      this.checkSent(sent);
      sent = this.core.run(0, this.now);
    }
    this.checkSent(sent);
    this.checkQueues();
    this.checkVerdicts();
    return sent;
  }

  private slotOf(address: number, length: number): number {
    const at = Math.floor((address - this.slots.base) / Slot.SIZE);
    const from = address - this.slots.base - at * Slot.SIZE;
    must(
      at >= 0 && at < this.slots.count && from >= Slot.DESCRIPTOR_SIZE && from + length <= Slot.SIZE,
      () => `bytes ${address}+${length} lie in no slot`,
    );
    return at;
  }

  private checkSent(sent: number): void {
    must(sent === this.queueWord(Worker.SEND_COUNT), () => `run returned ${sent}`);
    must(sent <= Worker.SEND_LIMIT, () => `${sent} frames to send`);
    this.sent += sent;
    const seen = new Set<number>();
    for (let at = 0; at < sent; at++) {
      const slot = this.view.getUint32(this.queue + Worker.SEND + at * 4, true);
      // Small frames may share a slot: a piece of it is like a slot in all but its length.
      const home = Math.floor((slot - this.slots.base) / Slot.SIZE);
      must(slot % 4 === 0 && home >= 0 && home < this.slots.count, () => `${slot} is no slot`);
      must(!seen.has(slot), () => `slot ${slot} is sent twice`);
      seen.add(slot);
      const word = (offset: number) => this.view.getUint32(slot + offset, true);
      const frame = word(Slot.FRAME);
      const length = word(Slot.LENGTH);
      must(home === this.slotOf(frame, length), () => "a frame lies in another slot");
      must(frame >= slot + Slot.DESCRIPTOR_SIZE, () => "a frame lies over its descriptor");
      must(this.ports.includes(word(Slot.PORT_OUT)), () => `${word(Slot.PORT_OUT)} is no port`);
      must(length >= VNET + 14, () => `a frame of ${length} bytes`);
      const body = word(Slot.BODY_LENGTH);
      if (body > 0) this.slotOf(word(Slot.BODY), body);
      this.checkPacket(frame, length, body);
      this.options.onSent?.(this.bytes.subarray(frame, frame + length), new DataView(this.memory.buffer, slot));
      if (this.clean) this.checkTransport(frame, length, word(Slot.BODY), body);
      if (body === 0 && length < 2000) this.maker.remember(this.bytes.slice(frame, frame + length));
    }
  }

  /** What leaves is well formed as far as the core answers for it. */
  private checkPacket(frame: number, length: number, body: number): void {
    const { bytes } = this;
    const end = frame + length;
    let at = frame + VNET + 12;
    let type = (bytes[at]! << 8) | bytes[at + 1]!;
    while ((type === 0x8100 || type === 0x88a8) && at + 6 <= end) {
      at += 4;
      type = (bytes[at]! << 8) | bytes[at + 1]!;
    }
    const ip = at + 2;
    const hex = () => Buffer.from(bytes.slice(frame, Math.min(end, frame + 200))).toString("hex");
    if (type === 0x0800) {
      const header = (bytes[ip]! & 15) * 4;
      must(header >= 20 && ip + header <= end, () => `IPv4 header cut off: ${hex()}`);
      let sum = 0;
      for (let n = 0; n < header; n += 2) sum += (bytes[ip + n]! << 8) | bytes[ip + n + 1]!;
      sum = (sum & 0xffff) + (sum >>> 16);
      must((sum & 0xffff) + (sum >>> 16) === 0xffff, () => `IPv4 checksum: ${hex()}`);
      const total = (bytes[ip + 2]! << 8) | bytes[ip + 3]!;
      must(total >= header && ip + total <= end + body, () => `IPv4 length ${total}: ${hex()}`);
    } else if (type === 0x86dd) {
      const total = 40 + ((bytes[ip + 4]! << 8) | bytes[ip + 5]!);
      must(ip + 40 <= end && ip + total <= end + body, () => `IPv6 length ${total}: ${hex()}`);
    } else must(type === 0x0806, () => `EtherType ${type.toString(16)}: ${hex()}`);
    must((bytes[frame + VNET + 6]! & 1) === 0, () => `a group address as source: ${hex()}`);
  }

  private checkTransport(frame: number, length: number, body: number, bodyLength: number): void {
    const whole = new Uint8Array(length + bodyLength);
    whole.set(this.bytes.subarray(frame, frame + length));
    whole.set(this.bytes.subarray(body, body + bodyLength), length);
    must(
      transportChecksum(whole) !== "wrong",
      () => `the transport checksum is wrong, of right ones: ${Buffer.from(whole.subarray(0, 200)).toString("hex")}`,
    );
  }

  private checkQueues(): void {
    const supply = this.queueWord(Worker.SUPPLY_COUNT);
    must(supply <= Worker.SUPPLY_TARGET, () => `${supply} slots in the supply`);
    for (let at = 0; at < supply; at++) {
      const slot = this.view.getUint32(this.queue + Worker.SUPPLY + at * 4, true);
      must((slot - this.slots.base) % Slot.SIZE === 0, () => `${slot} in the supply is no slot`);
    }
    must(this.view.getUint32(Memory.LAYOUT_BASE + Memory.LOCK, true) === 0, () => "the lock is held");
  }

  private counter(offset: number): number {
    return Number(this.view.getBigUint64(this.header(Memory.COUNTERS_BASE) + offset, true));
  }

  private checkVerdicts(): void {
    let verdicts = 0;
    for (const verdict of [Verdict.FORWARD, Verdict.LOCAL, Verdict.CONSUMED, Verdict.DROP]) {
      verdicts += this.counter(Counters.VERDICTS + verdict * 8);
    }
    const waiting = this.waiting();
    must(
      verdicts + waiting === this.framesIn,
      () => `${this.framesIn} frames in, ${verdicts} verdicts and ${waiting} waiting`,
    );
    must(this.counter(Counters.FRAMES_IN) === this.framesIn, () => "frames in are counted otherwise");
  }

  /** Frames from outside in the neighbours' queues; those of the core itself wait there too. */
  private waiting(): number {
    const base = this.header(Memory.NEIGHBOURS_BASE);
    let outside = 0;
    let all = 0;
    for (let at = 0; at < this.header(Memory.NEIGHBOUR_HIGH); at++) {
      const entry = base + at * Neighbour.SIZE;
      if (this.bytes[entry + Neighbour.STATE] === Neighbour.STATE_FREE) continue;
      let slot = this.view.getUint32(entry + Neighbour.QUEUE_HEAD, true);
      for (; slot !== 0; slot = this.view.getUint32(slot + Slot.NEXT, true)) {
        // Small frames share slots: more of them may wait than there are slots.
        must(++all <= this.slots.count * PIECES_MOST, () => "a neighbour's queue goes round");
        if ((this.view.getUint16(slot + Slot.FLAGS, true) & Slot.GENERATED) === 0) outside++;
      }
    }
    const counted = this.header(Memory.WAITING);
    must(all === counted, () => `${all} frames wait, ${counted} are counted`);
    return outside;
  }

  /** What is counted of frames since the start only grows. */
  private checkCounters(): void {
    const base = this.header(Memory.COUNTERS_BASE);
    for (const [at, before] of this.counted.entries()) {
      const offset = Counters.VERDICTS + 8 * at;
      const value = Number(this.view.getBigUint64(base + offset, true));
      must(value >= before, () => `the counter at ${offset} went from ${before} to ${value}`);
      this.counted[at] = value;
    }
  }

  private checkGaps(): void {
    for (const [from, to] of this.gaps) {
      // Both ends of a gap of pages, all of a small one.
      const gap = Buffer.from(this.bytes.buffer, from, to - from);
      if (gap.equals(CANARIES.subarray(0, gap.length))) continue;
      const odd = gap.findIndex((byte) => byte !== CANARY);
      must(false, () => `byte ${from + odd}, outside of every region, was written`);
    }
  }

  /** Nothing arrives any more, and time passes: slots, connections and their counts all come back. */
  private end(): void {
    for (const port of this.ports) this.try(() => this.control.portUp(port, true));
    for (let n = 0; n < 400; n++) {
      this.now = (this.now + Memory.TICKS_PER_SECOND) >>> 0;
      this.turn(0);
    }
    for (let n = 0; n < 64 && !this.isEmpty(); n++) {
      this.now = (this.now + LONG / 64) >>> 0;
      this.turn(0);
      this.turn(0);
    }
    this.checkGaps();
    const free = this.header(Memory.FREE_SLOT_COUNT) + this.queueWord(Worker.SUPPLY_COUNT);
    must(free === this.slots.count, () => `${this.slots.count - free} slots are lost`);
    let list = 0;
    for (let slot = this.header(Memory.FREE_SLOT); slot !== 0; slot = this.view.getUint32(slot + Slot.NEXT, true)) {
      must(++list <= this.slots.count, () => "the list of free slots goes round");
    }
    must(list === this.header(Memory.FREE_SLOT_COUNT), () => `${list} slots in the list of free ones`);
    const waiting = this.header(Memory.WAITING);
    must(waiting === 0, () => `${waiting} frames still wait`);
    this.checkConnections();
  }

  /** No connection, no packet in pieces and no frame that waits are left: no more time need pass. */
  private isEmpty(): boolean {
    return [Memory.CONNECTION_COUNT, Memory.FRAGMENT_COUNT, Memory.WAITING].every((word) => this.header(word) === 0);
  }

  private checkConnections(): void {
    const base = this.header(Memory.CONNECTIONS_BASE);
    let used = 0;
    for (let at = 0; at < this.header(Memory.CONNECTION_HIGH); at++) {
      const flags = this.view.getUint32(base + at * Connection.SIZE + Connection.FLAGS, true);
      if ((flags & Connection.FLAG_USED) !== 0) used++;
    }
    const counted = this.header(Memory.CONNECTION_COUNT);
    must(used === counted, () => `${used} connections, ${counted} counted`);
    must(used === 0, () => `${used} connections never ended`);
    must(this.header(Memory.EXTENSION_COUNT) === 0, () => `${this.header(Memory.EXTENSION_COUNT)} extensions are lost`);
    const sources = this.header(Memory.SOURCES_BASE);
    for (let at = 0; at < this.header(Memory.SOURCES_CAPACITY); at++) {
      const left = this.view.getUint32(sources + at * Source.SIZE + Source.CONNECTIONS, true);
      must(left === 0, () => `a source without connections counts ${left}`);
    }
    const index = this.header(Memory.INDEX_BASE);
    for (let line = 0; line < this.header(Memory.INDEX_CAPACITY); line++) {
      for (let at = 0; at < 14; at++) {
        must(this.bytes[index + line * 64 + at] === 0, () => `line ${line} of the index still holds an entry`);
      }
    }
    for (let s = this.header(Memory.SERVICES_HEAD); s !== 0; s = this.view.getUint32(s + Service.NEXT, true)) {
      const halfOpen = this.view.getUint32(s + Service.EMBRYONIC, true);
      must(halfOpen === 0, () => `a service without connections counts ${halfOpen} half-open ones`);
      for (
        let r = this.view.getUint32(s + Service.SERVERS_HEAD, true);
        r !== 0;
        r = this.view.getUint32(r + Server.NEXT, true)
      ) {
        for (const [name, offset] of [
          ["active", Server.ACTIVE],
          ["inactive", Server.INACTIVE],
          ["persistent", Server.PERSISTENT],
        ] as const) {
          const value = this.view.getInt32(r + offset, true);
          must(value === 0, () => `a server without connections counts ${value} ${name}`);
        }
      }
    }
  }
}
