/** A director in this process, as ipvsadm sees it: refusals come in the kernel's order, with the kernel's errnos. */
import { setImmediate as turn } from "node:timers/promises";
import * as Errno from "../../assembly/layout/errno.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Server from "../../assembly/layout/server.js";
import { addressBytes } from "../address.js";
import type {
  ConnectionFilter,
  ConnectionInfo,
  DaemonInfo,
  FailureStep,
  ForwardingName,
  Ipvs,
  IpvsStep,
  Rates,
  ServerConfig,
  ServerFailure,
  ServerId,
  ServerInfo,
  ServiceConfig,
  ServiceId,
  ServiceInfo,
  Stats,
  Timeouts,
} from "../ipvs/model.js";
import { IpvsError } from "../ipvs/model.js";
import { type Control, ipvsError, type PassiveLimits, PERSISTENCE_ENGINE_IDS, SCHEDULER_IDS } from "./control.js";
import { Tables } from "./tables.js";

/** The kernel's unit of timeouts in netlink requests is seconds of an int, times its tick rate. */
const LONGEST_SECONDS = Math.floor(0x7fffffff / Memory.TICKS_PER_SECOND);

/** How long a transaction keeps the data path waiting before it looks for a place to let it go on. */
const HOLD_MS = 0.2;

/** The service that a step is about. */
function subject(step: IpvsStep): string {
  if (step.do === "flush") return "";
  const id = step.do === "removeService" ? step.id : "id" in step.service ? step.service.id : step.service;
  return "mark" in id ? `${id.family} ${id.mark}` : `${id.protocol} ${id.address} ${id.port}`;
}

export interface LocalIpvsOptions {
  /** Reads the clock in ticks; by default the time of the data path's last breath. */
  readonly now?: () => number;
  /** What listings show as size=. */
  readonly tableSize?: number;
  /** Names of the ports, which a synchronisation daemon may be told to use. */
  readonly interfaces?: readonly string[];
}

/** A server that passive checks found, and what they counted. */
export interface Suspect {
  readonly service: ServiceId;
  readonly server: ServerId;
  readonly refused: number;
  readonly unanswered: number;
}

/** Connection records that are looked at before the event loop has its turn: a few milliseconds, all of them shown. */
const LISTED_AT_ONCE = 1024;

type Undo = () => void;

export class LocalIpvs implements Ipvs {
  readonly tables: Tables;
  private readonly control: Control;
  private readonly options: LocalIpvsOptions;
  private readonly view: DataView;
  private readonly running: DaemonInfo[] = [];

  constructor(control: Control, options: LocalIpvsOptions = {}) {
    this.control = control;
    this.tables = new Tables(control.memory);
    this.view = new DataView(control.memory.buffer);
    this.options = options;
  }

  async addService(service: ServiceConfig): Promise<void> {
    this.applyAddService(service);
  }

  async editService(service: ServiceConfig): Promise<void> {
    this.applyEditService(service);
  }

  async removeService(id: ServiceId): Promise<void> {
    this.applyRemoveService(id);
  }

  async addServer(service: ServiceId, server: ServerConfig): Promise<void> {
    this.applyAddServer(service, server);
  }

  async editServer(service: ServiceId, server: ServerConfig): Promise<void> {
    this.applyEditServer(service, server);
  }

  async removeServer(service: ServiceId, server: ServerId): Promise<void> {
    this.applyRemoveServer(service, server);
  }

  async flush(): Promise<void> {
    this.control.flush();
  }

  async zero(id?: ServiceId): Promise<void> {
    this.control.zero(id === undefined ? 0 : this.existing(id, Errno.ESRCH, "zero"));
  }

  async setTimeouts(timeouts: Timeouts): Promise<void> {
    for (const value of [timeouts.tcp, timeouts.tcpFin, timeouts.udp]) {
      if (value < 0 || value > LONGEST_SECONDS) throw ipvsError(Errno.EINVAL, "set timeouts");
    }
    this.control.timeoutsSet(timeouts);
  }

  async timeouts(): Promise<Timeouts> {
    return this.tables.timeouts();
  }

  async services(): Promise<ServiceInfo[]> {
    return this.tables.services();
  }

  async service(id: ServiceId): Promise<ServiceInfo> {
    return this.tables.service(this.existing(id, Errno.ESRCH, "get service"));
  }

  /** A part of the table at a time: in between, the process does what else there is to do. */
  async *connections(filter: ConnectionFilter = {}): AsyncIterable<ConnectionInfo> {
    const matches = this.tables.connectionMatcher(filter);
    let left = filter.limit ?? Number.POSITIVE_INFINITY;
    for (let from = 0; from < this.tables.connectionRecords(); from += LISTED_AT_ONCE) {
      for (const one of this.tables.connections(this.options.now?.(), from, from + LISTED_AT_ONCE, matches)) {
        if (left-- <= 0) return;
        yield one;
      }
      await turn();
    }
  }

  async totals(): Promise<{ stats: Stats; rates: Rates }> {
    return this.tables.totals();
  }

  async tableSize(): Promise<number> {
    return this.options.tableSize ?? this.tables.word(Memory.CONNECTIONS_CAPACITY);
  }

  async daemons(): Promise<DaemonInfo[]> {
    return [...this.running];
  }

  async startDaemon(daemon: DaemonInfo): Promise<void> {
    const { interfaces } = this.options;
    if (interfaces !== undefined && !interfaces.includes(daemon.interface)) {
      throw new IpvsError("ENODEV", Errno.ENODEV, `no port is named ${daemon.interface}`);
    }
    throw new IpvsError(
      "EOPNOTSUPP",
      Errno.EOPNOTSUPP,
      "connection synchronisation is not built: directors share no connections",
    );
  }

  async stopDaemon(role: "master" | "backup"): Promise<void> {
    const at = this.running.findIndex((daemon) => daemon.role === role);
    if (at < 0) throw ipvsError(Errno.ESRCH, `stop ${role} daemon`);
    this.running.splice(at, 1);
  }

  /** Passive checks of a server; undefined: none. One that is not in the table is left alone. */
  watchServer(service: ServiceId, server: ServerId, limits: PassiveLimits | undefined): void {
    if (this.findServer(service, server) !== undefined) this.control.serverWatch(service, server, limits);
  }

  /** How many servers have become suspect so far. */
  suspectsSoFar(): number {
    return this.tables.word(Memory.SUSPECTS);
  }

  /** Servers that are suspect, and what was seen of them in their window. */
  *suspects(): Generator<Suspect> {
    for (const at of this.tables.serviceRecords()) {
      for (const server of this.tables.serverRecords(at)) {
        if ((this.view.getUint32(server + Server.FLAGS, true) & Server.FLAG_SUSPECT) === 0) continue;
        yield {
          service: this.tables.service(at).id,
          server: this.tables.server(server).id,
          refused: this.view.getUint16(server + Server.REFUSED_SEEN, true),
          unanswered: this.view.getUint16(server + Server.UNANSWERED_SEEN, true),
        };
      }
    }
  }

  /** Applies the steps in order; when one is refused, what came before it is undone and the refusal thrown. */
  /**
   * All steps or none. To the data path each service changes at once; between services it gets its turn, so that a
   * table of thousands holds no packet up for longer than one service takes.
   */
  async transaction(steps: readonly FailureStep[]): Promise<void> {
    const undo: Undo[] = [];
    let next = 0;
    try {
      while (next < steps.length) next = this.control.hold(() => this.slice(steps, next, undo));
    } catch (error) {
      this.control.hold(() => {
        for (const back of undo.reverse()) back();
      });
      throw error;
    }
  }

  /** Steps from `from` on, until the lock has been held for long enough and another service is next. */
  private slice(steps: readonly FailureStep[], from: number, undo: Undo[]): number {
    const began = performance.now();
    let at = from;
    while (at < steps.length) {
      const last = steps[at]!;
      undo.push(this.step(last));
      at++;
      const coming = steps[at];
      if (coming !== undefined && performance.now() - began >= HOLD_MS && subject(coming) !== subject(last)) break;
    }
    return at;
  }

  /** Makes one change; what is returned takes it back. */
  private step(step: FailureStep): Undo {
    switch (step.do) {
      case "addService":
        this.applyAddService(step.service);
        return () => this.control.serviceRemove(step.service.id);
      case "editService": {
        const before = this.snapshot(step.service.id);
        this.applyEditService(step.service);
        return () => before !== undefined && this.control.serviceEdit({ synProxy: "default", limits: {}, ...before });
      }
      case "removeService": {
        const before = this.snapshot(step.id);
        this.applyRemoveService(step.id);
        return () => before !== undefined && this.restore(before);
      }
      case "addServer":
        this.applyAddServer(step.service, step.server);
        return () => this.control.serverRemove(step.service, step.server.id);
      case "editServer": {
        const before = this.findServer(step.service, step.server.id);
        this.applyEditServer(step.service, step.server, step.failure);
        return () => before !== undefined && this.control.serverEdit(step.service, before);
      }
      case "removeServer": {
        const before = this.findServer(step.service, step.server);
        this.applyRemoveServer(step.service, step.server, step.failure);
        return () => before !== undefined && this.control.serverAdd(step.service, before);
      }
      case "flush": {
        const before = this.tables.services();
        this.control.flush();
        return () => {
          for (const service of before) this.restore(service);
        };
      }
    }
  }

  private snapshot(id: ServiceId): ServiceInfo | undefined {
    const at = this.control.serviceFind(id);
    return at === 0 ? undefined : this.tables.service(at);
  }

  private restore(service: ServiceInfo): void {
    this.control.serviceAdd(service);
    for (const server of service.servers) this.control.serverAdd(service.id, server);
  }

  /** Compares records, not texts: the data path may be waiting while a transaction looks for servers among thousands. */
  private findServer(service: ServiceId, id: ServerId): ServerInfo | undefined {
    const at = this.control.serviceFind(service);
    if (at === 0) return undefined;
    const { view } = this;
    const { bytes } = addressBytes(id.address);
    const wanted = new DataView(bytes.buffer, bytes.byteOffset);
    const words = id.family === 4 ? 1 : 4;
    for (const server of this.tables.serverRecords(at)) {
      if (view.getUint16(server + Server.PORT, false) !== id.port) continue;
      if (view.getUint8(server + Server.FAMILY) !== id.family) continue;
      let same = 0;
      while (same < words && view.getUint32(server + Server.ADDRESS + 4 * same) === wanted.getUint32(4 * same)) same++;
      if (same === words) return this.tables.server(server);
    }
    return undefined;
  }

  /** The record of a service that must be there. */
  private existing(id: ServiceId, errno: number, what: string): number {
    const at = this.control.serviceFind(id);
    if (at === 0) throw ipvsError(errno, what);
    return at;
  }

  private applyAddService(service: ServiceConfig): void {
    if (this.control.serviceFind(service.id) !== 0) throw ipvsError(Errno.EEXIST, "add service");
    checkService(service, "add service");
    this.control.serviceAdd(service);
  }

  private applyEditService(service: ServiceConfig): void {
    const record = this.existing(service.id, Errno.ESRCH, "edit service");
    if (service.synProxy === "on" && this.tables.unproxied(record)) throw unproxied("edit service");
    checkService(service, "edit service");
    this.control.serviceEdit(service);
  }

  private applyRemoveService(id: ServiceId): void {
    this.existing(id, Errno.ESRCH, "remove service");
    this.control.serviceRemove(id);
  }

  /** The director cannot answer for servers whose own answers it does not see. */
  private checkProxy(service: ServiceId, forwarding: ForwardingName, what: string): void {
    if (forwarding === "nat" || forwarding === "fullnat") return;
    if (this.tables.isProxied(this.existing(service, Errno.ESRCH, what))) throw unproxied(what);
  }

  private applyAddServer(service: ServiceId, server: ServerConfig): void {
    this.existing(service, Errno.ESRCH, "add server");
    this.checkProxy(service, server.forwarding, "add server");
    checkServer(service, server, "add server");
    if (this.findServer(service, server.id) !== undefined) throw ipvsError(Errno.EEXIST, "add server");
    this.control.serverAdd(service, server);
  }

  private applyEditServer(service: ServiceId, server: ServerConfig, failure?: ServerFailure): void {
    this.existing(service, Errno.ESRCH, "edit server");
    this.checkProxy(service, server.forwarding, "edit server");
    checkServer(service, server, "edit server");
    if (this.findServer(service, server.id) === undefined) throw ipvsError(Errno.ENOENT, "edit server");
    this.control.serverEdit(service, server, failure);
  }

  private applyRemoveServer(service: ServiceId, server: ServerId, failure?: ServerFailure): void {
    this.existing(service, Errno.ESRCH, "remove server");
    if (this.findServer(service, server) === undefined) throw ipvsError(Errno.ENOENT, "remove server");
    this.control.serverRemove(service, server, failure);
  }
}

function unproxied(what: string): IpvsError {
  const why = "the SYN proxy needs mode nat or fullnat: answers of dr and tun servers do not come by here";
  return new IpvsError("EINVAL", Errno.EINVAL, `${what}: ${why}`);
}

/** Scheduler first, then the persistence engine, then an IPv6 prefix: the order of the kernel's refusals. */
function checkService(service: ServiceConfig, what: string): void {
  const { scheduler, persistenceEngine, persistencePrefix } = service;
  if (scheduler !== "none" && SCHEDULER_IDS[scheduler] === undefined) throw ipvsError(Errno.ENOENT, what);
  if (persistenceEngine !== undefined && PERSISTENCE_ENGINE_IDS[persistenceEngine] === undefined) {
    throw ipvsError(Errno.ENOENT, what);
  }
  if (service.id.family === 6 && (persistencePrefix < 1 || persistencePrefix > 128)) {
    throw ipvsError(Errno.EINVAL, what);
  }
}

function checkServer(service: ServiceId, server: ServerConfig, what: string): void {
  // A server of the other family can only be reached through a tunnel.
  if (server.id.family !== service.family && server.forwarding !== "tunnel") throw ipvsError(Errno.EINVAL, what);
  if (server.weight < 0 || server.weight > 0x7fffffff) throw ipvsError(Errno.ERANGE, what);
  if (server.lowerThreshold > server.upperThreshold) throw ipvsError(Errno.ERANGE, what);
  if (server.tunnel?.type === "gue" && server.tunnel.port === 0) throw ipvsError(Errno.EINVAL, what);
}
