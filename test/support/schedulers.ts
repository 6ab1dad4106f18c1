/** The schedulers compiled alone, over records that the test makes as the core would. */
import asc from "assemblyscript/asc";
import * as Memory from "../../assembly/layout/memory.js";
import * as Scheduler from "../../assembly/layout/scheduler.js";
import * as Server from "../../assembly/layout/server.js";
import * as Service from "../../assembly/layout/service.js";
import * as Slot from "../../assembly/layout/slot.js";

export type SchedulerName = Lowercase<keyof typeof Scheduler>;

interface Exports {
  allocate(bytes: number): number;
  release(at: number): void;
  used(): number;
  sip(value: number, key: number): number;
  start(service: number): number;
  stop(service: number): void;
  serverAdded(service: number, server: number): void;
  serverRemoved(service: number, server: number): void;
  serverEdited(service: number, server: number): void;
  pick(service: number, slot: number): number;
  tick(service: number): void;
}

/** A packet as schedulers see it; addresses as text, IPv4 dotted or IPv6 in full (eight groups). */
export interface Flow {
  readonly client: string;
  readonly virtual: string;
  readonly clientPort?: number;
  readonly virtualPort?: number;
  readonly protocol?: number;
  /** The packet runs from server to client (quoted in an ICMP error). */
  readonly reversed?: boolean;
}

const NUMBERS = new Map(Object.entries(Scheduler).map(([name, number]) => [name.toLowerCase(), number]));
const ARENA_BASE = 1 << 20;
const SERVICES_BASE = 1 << 17;
const SLOT_BASE = Memory.LAYOUT_BASE + Memory.HEADER_SIZE;

let compiled: Promise<WebAssembly.Module> | undefined;

async function compile(): Promise<WebAssembly.Module> {
  let binary: Uint8Array | undefined;
  const { error, stderr } = await asc.main(
    [
      ...["test/support/scheduler-entry.ts", "--config", "none", "--runtime", "stub", "--bindings", "", "-O3"],
      ...["--importMemory", "--sharedMemory", "--initialMemory", "2", "--maximumMemory", "65536", "--noExportMemory"],
      ...["--enable", "threads,simd,bulk-memory", "--noAssert", "--outFile", "scheduler-entry.wasm"],
    ],
    {
      writeFile: (name, contents) => {
        if (name.endsWith(".wasm")) binary = contents as Uint8Array;
      },
    },
  );
  if (error !== null || binary === undefined) throw new Error(`${error?.message}\n${stderr.toString()}`);
  return WebAssembly.compile(binary as Uint8Array<ArrayBuffer>);
}

export function addressBytes(address: string): number[] {
  if (!address.includes(":")) return address.split(".").map(Number);
  return address.split(":").flatMap((group) => {
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 255];
  });
}

/** Services and servers in a memory of their own; records are named by their addresses. */
export class Schedulers {
  readonly core: Exports;
  readonly view: DataView;
  private services = 0;
  private servers = 0;
  private readonly serversBase: number;

  private constructor(core: Exports, memory: WebAssembly.Memory, serversBase: number) {
    this.core = core;
    this.view = new DataView(memory.buffer);
    this.serversBase = serversBase;
  }

  static async create(arena = 4 << 20): Promise<Schedulers> {
    compiled ??= compile();
    const serversBase = (ARENA_BASE + arena + 65535) & ~65535;
    const pages = (serversBase >> 16) + 96;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    // The declared maximum is the module's own: it must not be less than ours.
    const instance = await WebAssembly.instantiate(await compiled, { env: { memory, abort: () => {} } });
    const made = new Schedulers(instance.exports as unknown as Exports, memory, serversBase);
    made.setHeader(Memory.ARENA_BASE, ARENA_BASE);
    made.setHeader(Memory.ARENA_CAPACITY, arena);
    made.setHeader(Memory.SEED, 12345);
    return made;
  }

  setHeader(word: number, value: number): void {
    this.view.setUint32(Memory.LAYOUT_BASE + word, value, true);
  }

  /** Sets the time, in ticks. */
  setNow(now: number): void {
    this.setHeader(Memory.NOW, now);
  }

  addService(scheduler: SchedulerName, flags = 0, family: 4 | 6 = 4): number {
    const service = SERVICES_BASE + this.services++ * Service.SIZE;
    this.view.setUint8(service + Service.FAMILY, family);
    this.view.setUint8(service + Service.SCHEDULER, NUMBERS.get(scheduler) ?? 0);
    this.view.setUint32(service + Service.FLAGS, flags, true);
    const result = this.core.start(service);
    if (result !== 0) throw new Error(`start: ${result}`);
    return service;
  }

  addServer(service: number, address: string, port: number, weight: number, again?: number): number {
    const server = again ?? this.serversBase + this.servers++ * Server.SIZE;
    const { view } = this;
    view.setUint8(server + Server.STATE, Server.STATE_LIVE);
    view.setUint8(server + Server.FAMILY, address.includes(":") ? 6 : 4);
    view.setUint32(server + Server.FLAGS, Server.FLAG_AVAILABLE, true);
    view.setInt32(server + Server.WEIGHT, weight, true);
    view.setUint16(server + Server.PORT, port, false);
    addressBytes(address).forEach((byte, i) => {
      view.setUint8(server + Server.ADDRESS + i, byte);
    });
    const tail = view.getUint32(service + Service.SERVERS_TAIL, true);
    view.setUint32(server + Server.PREVIOUS, tail, true);
    view.setUint32(server + Server.NEXT, 0, true);
    view.setUint32(server + Server.SERVICE, service, true);
    if (tail !== 0) view.setUint32(tail + Server.NEXT, server, true);
    else view.setUint32(service + Service.SERVERS_HEAD, server, true);
    view.setUint32(service + Service.SERVERS_TAIL, server, true);
    this.core.serverAdded(service, server);
    return server;
  }

  editServer(service: number, server: number, weight: number): void {
    this.view.setInt32(server + Server.WEIGHT, weight, true);
    this.core.serverEdited(service, server);
  }

  removeServer(service: number, server: number): void {
    const { view } = this;
    const next = view.getUint32(server + Server.NEXT, true);
    const previous = view.getUint32(server + Server.PREVIOUS, true);
    if (previous !== 0) view.setUint32(previous + Server.NEXT, next, true);
    else view.setUint32(service + Service.SERVERS_HEAD, next, true);
    if (next !== 0) view.setUint32(next + Server.PREVIOUS, previous, true);
    else view.setUint32(service + Service.SERVERS_TAIL, previous, true);
    view.setUint8(server + Server.STATE, Server.STATE_REMOVED);
    // Its links serve the list of removed ones now.
    view.setUint32(server + Server.NEXT, 4, true);
    view.setUint32(server + Server.PREVIOUS, 4, true);
    this.core.serverRemoved(service, server);
  }

  setConnections(server: number, active: number, inactive: number): void {
    this.view.setUint32(server + Server.ACTIVE, active, true);
    this.view.setUint32(server + Server.INACTIVE, inactive, true);
  }

  active(server: number): number {
    return this.view.getUint32(server + Server.ACTIVE, true);
  }

  inactive(server: number): number {
    return this.view.getUint32(server + Server.INACTIVE, true);
  }

  setOverloaded(server: number, overloaded: boolean): void {
    const flags = Server.FLAG_AVAILABLE | (overloaded ? Server.FLAG_OVERLOAD : 0);
    this.view.setUint32(server + Server.FLAGS, flags, true);
  }

  /** Writes a packet into the slot and picks. */
  pick(service: number, flow: Flow): number {
    const { view } = this;
    const slot = SLOT_BASE;
    const ip = slot + 512;
    const v6 = flow.client.includes(":");
    const transport = ip + (v6 ? 40 : 20);
    const reversed = flow.reversed ?? false;
    view.setUint8(ip, v6 ? 0x60 : 0x45);
    const [source, destination] = reversed ? [flow.virtual, flow.client] : [flow.client, flow.virtual];
    const [sourceAt, destinationAt] = v6 ? [ip + 8, ip + 24] : [ip + 12, ip + 16];
    addressBytes(source).forEach((byte, i) => {
      view.setUint8(sourceAt + i, byte);
    });
    addressBytes(destination).forEach((byte, i) => {
      view.setUint8(destinationAt + i, byte);
    });
    view.setUint16(transport + (reversed ? 2 : 0), flow.clientPort ?? 0, false);
    view.setUint16(transport + (reversed ? 0 : 2), flow.virtualPort ?? 80, false);
    view.setUint32(slot + Slot.IP, ip, true);
    view.setUint32(slot + Slot.TRANSPORT, transport, true);
    view.setUint8(slot + Slot.FAMILY, v6 ? 6 : 4);
    view.setUint8(slot + Slot.PROTOCOL, flow.protocol ?? 6);
    view.setUint16(slot + Slot.FLAGS, reversed ? Slot.REVERSED : 0, true);
    return this.core.pick(service, slot);
  }
}
