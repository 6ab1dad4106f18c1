/** What the director tells about itself, read from the tables. */
import * as Counters from "../../assembly/layout/counters.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import * as Route from "../../assembly/layout/route.js";
import { formatAddress } from "../address.js";
import type { RunConfig } from "../config/config.js";
import type {
  CounterInfo,
  DirectorInfo,
  DirectorStatus,
  MarksInfo,
  NeighbourInfo,
  Occupancy,
  PortInfo,
  RouteInfo,
  Settings,
  WorkerInfo,
} from "../control/director-info.js";
import { SETTING_NAMES, settingIds } from "../core/settings.js";
import type { Engine } from "../engine/engine.js";
import { IpvsError, type Stats } from "../ipvs/model.js";
import type { Marks } from "../marks/marks.js";
import type { MetricsSource } from "../metrics/metrics.js";
import type { ProcessCounts, ProcessMetrics } from "../metrics/process-metrics.js";
import type { TraceSource } from "../trace/model.js";
import { DeviceCounters } from "./device-counters.js";

const OFFLOADS: ReadonlyArray<readonly [string, number]> = [
  ["csum", Port.CAPABILITY_CHECKSUM],
  ["tso4", Port.CAPABILITY_TSO4],
  ["tso6", Port.CAPABILITY_TSO6],
  ["uso", Port.CAPABILITY_USO],
];
const ROUTE_KINDS = [undefined, "local", "unreachable"] as const;
const EINVAL = 22;
const ENOENT = 2;

/** What is known of the director beside its tables. */
export interface Surroundings
  extends Pick<DirectorInfo, "health" | "tables" | "configuration" | "reload" | "upgrade" | "tracer"> {
  /** Of the configuration that is running. */
  profile(): RunConfig["profile"];
  /** What the process counts itself. */
  readonly counted: ProcessCounts;
}

export class EngineInfo implements DirectorInfo, MetricsSource {
  private readonly engine: Engine;
  private readonly config: RunConfig;
  private readonly devices: DeviceCounters;
  private readonly version: string;
  private readonly markRules: Marks;
  private readonly view: DataView;
  private readonly surroundings: Surroundings;
  private own: ProcessMetrics | undefined;
  readonly health: DirectorInfo["health"];
  readonly tables: DirectorInfo["tables"];
  readonly configuration: DirectorInfo["configuration"];
  readonly reload: DirectorInfo["reload"];
  readonly tracer: () => TraceSource;
  readonly upgrade: DirectorInfo["upgrade"];

  constructor(engine: Engine, config: RunConfig, version: string, markRules: Marks, surroundings: Surroundings) {
    this.surroundings = surroundings;
    this.health = surroundings.health;
    this.tables = surroundings.tables;
    this.configuration = surroundings.configuration;
    this.reload = surroundings.reload;
    this.upgrade = surroundings.upgrade;
    this.tracer = surroundings.tracer;
    this.engine = engine;
    this.markRules = markRules;
    this.config = config;
    this.devices = new DeviceCounters(() => engine.ports);
    this.version = version;
    this.view = new DataView(engine.memory.buffer);
  }

  status(): DirectorStatus {
    const { tables } = this.engine.ipvs;
    return {
      version: this.version,
      pid: process.pid,
      uptime: Math.floor(process.uptime()),
      profile: this.surroundings.profile(),
      workers: this.config.workers,
      io: this.engine.io,
      connections: {
        used: tables.word(Memory.CONNECTION_COUNT),
        capacity: tables.word(Memory.CONNECTIONS_CAPACITY),
      },
    };
  }

  ports(): PortInfo[] {
    return Array.from(this.engine.ipvs.tables.ports(), (counters) => {
      const spec = this.config.ports[counters.number]!;
      const { mac, capabilities, queues, problem, remade = 0 } = this.engine.ports[counters.number]!;
      const { number: _number, ...rest } = counters;
      return {
        ...rest,
        device: queues.length === 0 ? undefined : this.devices.of(counters.number),
        problem,
        remade,
        name: spec.name,
        kind: spec.kind,
        mac: mac === "" ? undefined : mac,
        addresses: spec.addresses,
        offloads: OFFLOADS.filter(([, bit]) => (capabilities & bit) !== 0).map(([name]) => name),
        netns: spec.netns,
        bridge: spec.bridge,
      };
    });
  }

  neighbours(): NeighbourInfo[] {
    return Array.from(this.engine.ipvs.tables.neighbours(), ({ address, mac, port, state }) => ({
      port: this.config.ports[port]?.name ?? "",
      address,
      mac: mac === "00:00:00:00:00:00" ? undefined : mac,
      state,
    }));
  }

  routes(): RouteInfo[] {
    const { tables } = this.engine.ipvs;
    const base = tables.word(Memory.ROUTES_BASE);
    const found: RouteInfo[] = [];
    for (let n = 0; n < tables.word(Memory.ROUTE_COUNT); n++) {
      const at = base + n * Route.SIZE;
      const family = this.view.getUint8(at + Route.FAMILY) === 6 ? 6 : 4;
      const bytes = (offset: number) => new Uint8Array(this.engine.memory.buffer, at + offset, 16).slice();
      const gateway = bytes(Route.GATEWAY);
      const port = this.view.getUint32(at + Route.PORT, true);
      const isLocal = this.view.getUint8(at + Route.KIND) === Route.KIND_LOCAL;
      const mark = isLocal ? this.view.getUint32(at + Route.MARK, true) : 0;
      found.push({
        destination: `${formatAddress(family, bytes(Route.DESTINATION))}/${this.view.getUint8(at + Route.PREFIX)}`,
        via: gateway.every((byte) => byte === 0) ? undefined : formatAddress(family, gateway),
        port: port === 0 ? undefined : this.config.ports[this.view.getUint32(port + Port.NUMBER, true)]?.name,
        metric: this.view.getUint32(at + Route.METRIC, true),
        kind: ROUTE_KINDS[this.view.getUint8(at + Route.KIND)],
        mark: mark === 0 ? undefined : mark,
      });
    }
    return found;
  }

  counters(): CounterInfo {
    const { tables } = this.engine.ipvs;
    const traps = Number(this.view.getBigUint64(tables.word(Memory.COUNTERS_BASE) + Counters.TRAPS, true));
    return { ...tables.counters(), traps };
  }

  workers(): WorkerInfo[] {
    const workers = this.engine.ipvs.tables.workers();
    return workers.map((counters, index) => ({ ...counters, restarts: this.engine.restartsOf(index) }));
  }

  occupancy(): Occupancy[] {
    return this.engine.ipvs.tables.occupancy();
  }

  waiting(): number {
    return this.engine.ipvs.tables.waiting();
  }

  totals(): Stats {
    return this.engine.ipvs.tables.totals().stats;
  }

  frozenServices(): ReturnType<MetricsSource["frozenServices"]> {
    return this.engine.ipvs.tables.frozenServices();
  }

  /** Loaded by the first who asks: a director that nobody scrapes starts sooner. */
  async *metrics(): AsyncIterable<string> {
    const { metricsText, ProcessMetrics } = await import("../metrics/metrics.js");
    this.own ??= new ProcessMetrics(this.surroundings.counted);
    yield* metricsText(this, this.own);
  }

  settings(): Settings {
    const { tables } = this.engine.ipvs;
    return Object.fromEntries(
      SETTING_NAMES.map((name) => {
        const [first, ...more] = settingIds(name).map((id) => tables.setting(id));
        return [name, more.length === 0 ? first! : [first, ...more].join(" ")];
      }),
    );
  }

  marks(): MarksInfo {
    return { rules: this.markRules.text(), count: this.markRules.count() };
  }

  setMarks(text: string, how: "replace" | "apply"): void {
    if (how === "replace") this.markRules.replace(text);
    else this.markRules.apply(text);
  }

  setSetting(name: string, value: number | string): void {
    if (settingIds(name).length === 0) throw new IpvsError("ENOENT", ENOENT, `no setting ${name}`);
    try {
      this.engine.control.setting(name, `${value}`);
    } catch (error) {
      if (error instanceof RangeError) throw new IpvsError("EINVAL", EINVAL, error.message);
      throw error;
    }
  }
}
