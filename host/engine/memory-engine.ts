/** A director in this process over memory ports, its time set by the caller: tests, replays, comparisons. */
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import * as Setting from "../../assembly/layout/setting.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as Worker from "../../assembly/layout/worker.js";
import { Control, type RouteConfig } from "../core/control.js";
import { type Core, instantiate } from "../core/instance.js";
import { LocalIpvs, type LocalIpvsOptions } from "../core/local-ipvs.js";
import { type Capacities, capacitiesOf, createMemory, planMemory } from "../core/memory.js";
import { MemoryPort, type MemoryPortOptions } from "../port/memory.js";
import type { FramePort } from "../port/port.js";
import { VirtualClock } from "./clock.js";

export interface MemoryInterface extends MemoryPortOptions {
  /** ADDRESS/PREFIX, as `ip addr add` takes them. */
  readonly addresses?: readonly string[];
}

export interface MemoryRoute extends Omit<RouteConfig, "port"> {
  /** Name of the interface; none for local routes. */
  readonly dev?: string | undefined;
}

export interface MemoryEngineConfig {
  readonly interfaces: readonly MemoryInterface[];
  /** Ports of another kind, one for each interface; frames are put into memory ports otherwise. */
  readonly ports?: readonly FramePort[];
  readonly routes?: readonly MemoryRoute[];
  /** Permanent ones. */
  readonly neighbours?: ReadonlyArray<{ readonly ip: string; readonly mac: string; readonly dev: string }>;
  /** As sysctl names them. */
  readonly settings?: Readonly<Record<string, string | number>>;
  readonly forward?: boolean;
  readonly capacities?: Partial<Capacities>;
  readonly seed?: number;
  /** Identification before that of the first packet that the director makes. */
  readonly nextId?: number;
  /** Tick that the clock starts at. */
  readonly start?: number;
  /** Milliseconds since 1970 at that tick. */
  readonly epoch?: number;
  readonly ipvs?: LocalIpvsOptions;
  /** Of the core, when it is not the built one. */
  readonly module?: WebAssembly.Module;
}

/** A frame that came out of a port. */
export interface Emitted {
  readonly dev: string;
  readonly vnet: Uint8Array;
  readonly frame: Uint8Array;
}

/** Small tables: made in a millisecond. */
const CAPACITIES: Partial<Capacities> = {
  addresses: 1024,
  routes: 256,
  neighbours: 1024,
  services: 512,
  servers: 4096,
  arena: 8 << 20,
  connections: 65536,
  extensions: 16384,
  slots: 1024,
};
/** The longest stretch that passes without a look at the timers. */
const LONGEST_STEP_MS = 100;

export class MemoryEngine {
  readonly memory: WebAssembly.Memory;
  readonly core: Core;
  readonly control: Control;
  readonly ipvs: LocalIpvs;
  readonly clock: VirtualClock;
  /** Those that are memory ports: all, unless others were given. */
  readonly ports: readonly MemoryPort[];
  private readonly frames: readonly FramePort[];
  private readonly records: number[] = [];
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly queue: number;
  private emitted: Emitted[] = [];

  constructor(config: MemoryEngineConfig) {
    this.clock = new VirtualClock(config.start, config.epoch);
    const plan = planMemory(capacitiesOf({ ...CAPACITIES, ...config.capacities }));
    this.memory = createMemory(plan, {
      forward: config.forward ?? true,
      seed: config.seed ?? 1,
      nextId: config.nextId ?? 0,
      now: this.clock.ticks(),
    });
    this.core = instantiate(this.memory, config.module);
    this.view = new DataView(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.control = new Control(this.core, this.memory);
    this.control.init();
    // A test's or a trace's frames are its own; `settings` may ask for announcements.
    this.control.settingSet(Setting.ANNOUNCE, 0);
    this.ipvs = new LocalIpvs(this.control, {
      now: () => this.clock.ticks(),
      interfaces: config.interfaces.map((port) => port.name),
      ...config.ipvs,
    });
    this.queue = this.view.getUint32(Memory.LAYOUT_BASE + Memory.WORKERS_BASE, true);
    this.ports = config.ports === undefined ? config.interfaces.map((options) => new MemoryPort(options)) : [];
    this.frames = config.ports ?? this.ports;
    this.breathe();
    this.configure(config);
    this.breathe();
  }

  /** Number of an interface. */
  portNumber(name: string): number {
    const number = this.frames.findIndex((port) => port.name === name);
    if (number < 0) throw new RangeError(`no interface ${name}`);
    return number;
  }

  /** Hands frames to a port and runs them through the core, at the time it is. */
  inject(dev: string, frame: Uint8Array, vnet?: Uint8Array): void {
    this.ports[this.portNumber(dev)]!.put(frame, vnet);
    this.breathe();
  }

  /** Lets the clock come to `nowMs`, with the timers run when they are due. */
  advanceTo(nowMs: number): void {
    while (this.clock.nowMs < nowMs) {
      const idle = this.view.getUint32(Memory.LAYOUT_BASE + Memory.IDLE_MS, true);
      const step = Math.min(Math.max(idle, Memory.TICK_MS), LONGEST_STEP_MS);
      this.clock.nowMs = Math.min(nowMs, this.clock.nowMs + step);
      this.breathe();
    }
  }

  /** One turn: what waits at the ports goes in, what the core sends comes out. */
  breathe(): void {
    const { view } = this;
    do {
      this.receive();
      view.setUint32(Memory.LAYOUT_BASE + Memory.DAY_MS, this.clock.dayMs(), true);
      view.setFloat64(this.queue + Worker.CLOCK, this.clock.epochMs(), true);
      const count = this.core.run(0, this.clock.ticks()) >>> 0;
      for (let n = 0; n < count; n++) this.send(view.getUint32(this.queue + Worker.SEND + 4 * n, true));
      // What a full send queue left behind is taken up by the next turn.
    } while (view.getUint32(this.queue + Worker.RECEIVED_COUNT, true) > 0);
  }

  /** What came out since the last call, in order. */
  collect(): Emitted[] {
    const emitted = this.emitted;
    this.emitted = [];
    return emitted;
  }

  private configure(config: MemoryEngineConfig): void {
    for (const [number, port] of this.frames.entries()) {
      const { kind, capabilities, mtu, mac } = port;
      this.records.push(this.control.portAdd({ number, kind, capabilities, mtu, mac }));
      this.control.portUp(this.records[number]!, true);
    }
    for (const [number, port] of config.interfaces.entries()) {
      for (const address of port.addresses ?? []) this.control.addressAdd(address, number);
    }
    for (const { dev, ...route } of config.routes ?? []) {
      this.control.routeAdd({ ...route, port: dev === undefined ? undefined : this.portNumber(dev) });
    }
    for (const { ip, mac, dev } of config.neighbours ?? []) this.control.neighbourAdd(ip, mac, this.portNumber(dev));
    for (const [name, value] of Object.entries(config.settings ?? {})) this.control.setting(name, `${value}`);
  }

  private receive(): void {
    const { view, queue } = this;
    for (const [number, port] of this.frames.entries()) {
      for (;;) {
        const supply = view.getUint32(queue + Worker.SUPPLY_COUNT, true);
        if (supply === 0) return;
        const slot = view.getUint32(queue + Worker.SUPPLY + 4 * (supply - 1), true);
        const at = slot + Slot.FRAME_AT;
        const length = port.receive(this.bytes.subarray(at, at + Slot.FRAME_MAX));
        if (length === 0) break;
        view.setUint32(queue + Worker.SUPPLY_COUNT, supply - 1, true);
        view.setUint32(slot + Slot.FRAME, at, true);
        view.setUint32(slot + Slot.LENGTH, length, true);
        view.setUint32(slot + Slot.PORT_IN, this.records[number]!, true);
        const received = view.getUint32(queue + Worker.RECEIVED_COUNT, true);
        view.setUint32(queue + Worker.RECEIVED + 4 * received, slot, true);
        view.setUint32(queue + Worker.RECEIVED_COUNT, received + 1, true);
      }
    }
  }

  private send(slot: number): void {
    const { view } = this;
    const record = view.getUint32(slot + Slot.PORT_OUT, true);
    const port = this.frames[view.getUint32(record + Port.NUMBER, true)];
    if (port === undefined) throw new RangeError(`a frame for port ${view.getUint32(record + Port.NUMBER, true)}`);
    const pieces = [this.piece(view.getUint32(slot + Slot.FRAME, true), view.getUint32(slot + Slot.LENGTH, true))];
    const body = view.getUint32(slot + Slot.BODY_LENGTH, true);
    if (body > 0) pieces.push(this.piece(view.getUint32(slot + Slot.BODY, true), body));
    if (!port.send(pieces)) this.core.sendFailed(record);
    if (!(port instanceof MemoryPort)) return;
    for (const { vnet, frame } of port.take()) this.emitted.push({ dev: port.name, vnet, frame });
  }

  private piece(at: number, length: number): Uint8Array {
    return this.bytes.subarray(at, at + length);
  }
}
