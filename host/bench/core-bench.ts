/** Nanoseconds a packet of the compiled core, beside the same work in C. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import * as Connection from "../../assembly/layout/connection.js";
import * as Hint from "../../assembly/layout/hint.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import * as Setting from "../../assembly/layout/setting.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as State from "../../assembly/layout/state.js";
import * as Worker from "../../assembly/layout/worker.js";
import { Control } from "../core/control.js";
import { type Core, instantiate } from "../core/instance.js";
import { capacitiesOf, createMemory, planMemory } from "../core/memory.js";
import { LvsError } from "../errors.js";
import type { ServiceId } from "../ipvs/model.js";
import { compileC } from "./compile.js";
import { type Figure, figure, type Machine, machine, type Progress } from "./figures.js";
import {
  DIRECTOR_MACS,
  FLAGS_ACK,
  FLAGS_SYN,
  FLAGS_SYN_ACK,
  FrameWriter,
  REAL_PORT,
  ROUTER,
  SERVERS_TO_ADD,
  VIRTUAL,
  VIRTUAL_PORT,
} from "./frames.js";

export type Order = "warm" | "cold";

export interface CoreRow {
  readonly connections: number;
  /** Bytes of the frame, from Ethernet on. */
  readonly size: number;
  readonly order: Order;
  /** Nanoseconds a packet. */
  readonly wlvs: Figure;
  readonly c?: Figure | undefined;
  /** wlvs / C: the median of the rounds' ratios. */
  readonly ratio?: number | undefined;
}

export interface CoreReport {
  readonly bench: "core";
  readonly machine: Machine;
  readonly rows: readonly CoreRow[];
  /** Why there is no C beside it. */
  readonly missing?: string | undefined;
}

export interface CoreOptions {
  /** Spent on each figure, of each contender. */
  readonly seconds: number;
  readonly connections?: readonly number[];
  readonly rounds?: number;
  readonly progress?: Progress;
}

interface Contender {
  measure(size: number, order: Order, seconds: number): Promise<number>;
  close(): void;
}

const BATCH = 64;
/** How many connections the warm figures go round: their lines stay in a cache of the second level. */
const WARM_FLOWS = 1024;
/** Walked before each cold batch of a table that would fit into the cache. */
const EVICT_BYTES = 8 << 20;

export async function benchCore(options: CoreOptions): Promise<CoreReport> {
  const { seconds, connections = [1000, 1_000_000], rounds = 5, progress = () => {} } = options;
  const compiled = compileC("core");
  const rows: CoreRow[] = [];
  for (const count of connections) {
    progress(`${count} connections: filling the table`);
    const wlvs = new WlvsCore(count);
    const c = "path" in compiled ? await CCore.start(compiled.path, count) : undefined;
    try {
      for (const size of [64, 1514]) {
        for (const order of ["warm", "cold"] as const) {
          const mine: number[] = [];
          const theirs: number[] = [];
          const ratios: number[] = [];
          // Interleaved, so that a machine that is slow for a while is slow for both. The first round is thrown away.
          for (let round = 0; round <= rounds; round++) {
            progress(`${count} connections, ${size} bytes, ${order}: round ${Math.max(round, 1)} of ${rounds}`);
            const one = await wlvs.measure(size, order, seconds / rounds);
            const other = await c?.measure(size, order, seconds / rounds);
            if (round === 0) continue;
            mine.push(one);
            if (other === undefined) continue;
            theirs.push(other);
            ratios.push(one / other);
          }
          const figures = { wlvs: figure(mine), c: c === undefined ? undefined : figure(theirs) };
          const ratio = figures.c === undefined ? undefined : figure(ratios).median;
          rows.push({ connections: count, size, order, ...figures, ratio });
        }
      }
    } finally {
      wlvs.close();
      c?.close();
    }
  }
  const missing = "missing" in compiled ? compiled.missing : undefined;
  return { bench: "core", machine: machine(), rows, missing };
}

/** The core in this process over a memory of its own; frames go in and out as a transport would hand them. */
class WlvsCore implements Contender {
  private readonly core: Core;
  private readonly connections: number;
  private readonly words: Uint32Array;
  private readonly writer: FrameWriter;
  private readonly ports: readonly [number, number];
  private readonly queue: number;
  private readonly evict = new Uint8Array(EVICT_BYTES);
  private readonly warm: Uint32Array;
  private readonly clock = clockCost();
  private order = 12345;
  private turn = 0;

  constructor(connections: number) {
    this.connections = connections;
    const memory = createMemory(planMemory(capacitiesOf({ connections })), { seed: 0x2545f491 });
    this.core = instantiate(memory);
    this.words = new Uint32Array(memory.buffer);
    this.writer = new FrameWriter(memory.buffer);
    const control = new Control(this.core, memory);
    control.init();
    this.ports = setUp(control);
    this.queue = this.words[(Memory.LAYOUT_BASE + Memory.WORKERS_BASE) >> 2]!;
    // The supply of empty slots.
    this.core.run(0, ticks());
    this.establish();
    this.warm = Uint32Array.from({ length: WARM_FLOWS }, (_, at) =>
      connections <= WARM_FLOWS ? at % connections : this.nextFlow(),
    );
  }

  async measure(size: number, order: Order, seconds: number): Promise<number> {
    const cold = order === "cold";
    const evicts = cold && this.connections <= WARM_FLOWS;
    const samples: number[] = [];
    const end = performance.now() + seconds * 1000;
    while (performance.now() < end) {
      if (evicts) for (let at = 0; at < EVICT_BYTES; at += 64) this.evict[at] = this.evict[at]! + 1;
      for (let at = 0; at < BATCH; at++, this.turn++) {
        const flow = cold ? this.nextFlow() : this.warm[this.turn % WARM_FLOWS]!;
        this.receive(at, flow, (this.turn & 1) as 0 | 1, size, FLAGS_ACK);
      }
      this.words[(this.queue + Worker.RECEIVED_COUNT) >> 2] = BATCH;
      const now = ticks();
      const from = performance.now();
      const sent = this.core.run(0, now);
      samples.push(performance.now() - from);
      this.expect(sent, BATCH);
      if (samples.length === 1) this.expectFast();
    }
    samples.sort((a, b) => a - b);
    return ((samples[samples.length >> 1]! - this.clock) * 1e6) / BATCH;
  }

  close(): void {}

  /** Brings every connection up: SYN, SYN and ACK from its server, ACK. */
  private establish(): void {
    for (let from = 0; from < this.connections; from += BATCH) {
      const count = Math.min(BATCH, this.connections - from);
      for (const [out, flags] of [
        [0, FLAGS_SYN],
        [1, FLAGS_SYN_ACK],
        [0, FLAGS_ACK],
      ] as const) {
        for (let at = 0; at < count; at++) this.receive(at, from + at, out, 64, flags);
        this.words[(this.queue + Worker.RECEIVED_COUNT) >> 2] = count;
        this.expect(this.core.run(0, ticks()), count);
      }
    }
    const base = this.words[(Memory.LAYOUT_BASE + Memory.CONNECTIONS_BASE) >> 2]!;
    const bytes = new Uint8Array(this.words.buffer);
    for (let at = 0; at < this.connections; at++) {
      const state = bytes[base + at * Connection.SIZE + Connection.STATE];
      if (state !== State.TCP_ESTABLISHED) throw new LvsError("ERR_LVS_CORE", `connection ${at} is in state ${state}`);
    }
  }

  /** Who is not of a connection is forwarded as well, by another way: what is measured are those of connections. */
  private expectFast(): void {
    const { words, queue } = this;
    const bytes = new Uint8Array(words.buffer);
    for (let at = 0; at < BATCH; at++) {
      const slot = words[((queue + Worker.SEND) >> 2) + at]!;
      if ((bytes[slot + Slot.HINT]! & Hint.HINT_PLAIN) === 0)
        throw new LvsError("ERR_LVS_CORE", `frame ${at} of a batch did not take the fast path`);
    }
  }

  /** Takes a slot of the supply for a frame, and puts it in the queue of what arrived. */
  private receive(place: number, flow: number, out: 0 | 1, size: number, flags: number): void {
    const { words, queue } = this;
    const left = words[(queue + Worker.SUPPLY_COUNT) >> 2]! - 1;
    words[(queue + Worker.SUPPLY_COUNT) >> 2] = left;
    const slot = words[((queue + Worker.SUPPLY) >> 2) + left]!;
    this.writer.put(slot + Slot.FRAME_AT, flow, out, size, flags);
    words[(slot + Slot.FRAME) >> 2] = slot + Slot.FRAME_AT;
    words[(slot + Slot.LENGTH) >> 2] = size + Slot.VNET_SIZE;
    words[(slot + Slot.PORT_IN) >> 2] = this.ports[out];
    words[((queue + Worker.RECEIVED) >> 2) + place] = slot;
  }

  private expect(sent: number, count: number): void {
    if (sent !== count) throw new LvsError("ERR_LVS_CORE", `${sent} of ${count} frames were forwarded`);
  }

  /** The same walk as bench/core.c takes. */
  private nextFlow(): number {
    this.order = (Math.imul(this.order, 1664525) + 1013904223) >>> 0;
    return (this.order >>> 8) % this.connections;
  }
}

/** bench/core.c, told what to measure line by line. */
class CCore implements Contender {
  private readonly child: ChildProcessByStdio<Writable, Readable, null>;
  private readonly lines: AsyncIterator<string>;

  private constructor(child: ChildProcessByStdio<Writable, Readable, null>) {
    this.child = child;
    this.lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  static async start(path: string, connections: number): Promise<CCore> {
    const child = spawn(path, [String(connections)], { stdio: ["pipe", "pipe", "inherit"] });
    const core = new CCore(child);
    await core.line();
    return core;
  }

  async measure(size: number, order: Order, seconds: number): Promise<number> {
    this.child.stdin.write(`measure ${size} ${order} ${seconds}\n`);
    return Number((await this.line()).split(" ")[1]);
  }

  close(): void {
    this.child.stdin.end();
  }

  private async line(): Promise<string> {
    const next = await this.lines.next();
    if (next.done === true) throw new LvsError("ERR_LVS_CORE", "bench/core.c ended early");
    return next.value;
  }
}

function setUp(control: Control): [number, number] {
  // What is sent is counted: only frames that came in.
  control.settingSet(Setting.ANNOUNCE, 0);
  const capabilities = Port.CAPABILITY_LINK | Port.CAPABILITY_CHECKSUM | Port.CAPABILITY_TSO4 | Port.CAPABILITY_TSO6;
  const ports = DIRECTOR_MACS.map((mac, number) => {
    const port = control.portAdd({ number, kind: "memory", capabilities, mtu: 1500, mac });
    control.portUp(port, true);
    return port;
  });
  control.addressAdd(`${VIRTUAL}/24`, 0);
  control.addressAdd("192.168.2.130/24", 1);
  control.routeAdd({ to: "0.0.0.0/0", gateway: ROUTER.address, port: 0 });
  control.neighbourAdd(ROUTER.address, ROUTER.mac, 0);
  const id: ServiceId = { family: 4, protocol: "tcp", address: VIRTUAL, port: VIRTUAL_PORT };
  control.serviceAdd({ id, scheduler: "rr", persistencePrefix: 32, onePacket: false, schedulerFlags: 0 });
  for (const { address, mac } of SERVERS_TO_ADD) {
    control.neighbourAdd(address, mac, 1);
    control.serverAdd(id, {
      id: { family: 4, address, port: REAL_PORT },
      forwarding: "nat",
      weight: 1,
      upperThreshold: 0,
      lowerThreshold: 0,
    });
  }
  return [ports[0]!, ports[1]!];
}

function ticks(): number {
  return Math.floor(performance.now() / Memory.TICK_MS) >>> 0;
}

/** What reading the clock twice costs by itself, in milliseconds. */
function clockCost(): number {
  const costs = Array.from({ length: 1001 }, () => {
    const from = performance.now();
    return performance.now() - from;
  });
  return costs.sort((a, b) => a - b)[500]!;
}
