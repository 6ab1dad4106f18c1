/** A director without a core: enough tables for what goes over the socket. */
import type { DirectorInfo } from "../../host/control/director-info.js";
import { serverKey, serviceKey } from "../../host/control/keys.js";
import {
  type ConnectionInfo,
  type DaemonInfo,
  type Ipvs,
  IpvsError,
  type IpvsStep,
  type ServerConfig,
  type ServerId,
  type ServiceConfig,
  type ServiceId,
  type ServiceInfo,
  type Timeouts,
} from "../../host/ipvs/model.js";

export const STATS = { connections: 3, inPackets: 30, outPackets: 20, inBytes: 3000, outBytes: 20000 };
export const RATES = { cps: 1, inPps: 10, outPps: 8, inBps: 1000, outBps: 7000 };

const CHECKS = { passed: 11, failed: 1 };

export class FakeIpvs implements Ipvs {
  readonly table = new Map<string, { config: ServiceConfig; servers: Map<string, ServerConfig> }>();
  zeroed: (string | undefined)[] = [];
  connectionList: ConnectionInfo[] = [];
  private times: Timeouts = { tcp: 900, tcpFin: 120, udp: 300 };
  private running: DaemonInfo[] = [];

  private find(id: ServiceId) {
    const found = this.table.get(serviceKey(id));
    if (found === undefined) throw new IpvsError("ESRCH", 3, "no such service");
    return found;
  }

  async addService(service: ServiceConfig): Promise<void> {
    if (this.table.has(serviceKey(service.id))) throw new IpvsError("EEXIST", 17, "service exists");
    this.table.set(serviceKey(service.id), { config: service, servers: new Map() });
  }
  async editService(service: ServiceConfig): Promise<void> {
    this.find(service.id).config = service;
  }
  async removeService(id: ServiceId): Promise<void> {
    this.find(id);
    this.table.delete(serviceKey(id));
  }
  async addServer(service: ServiceId, server: ServerConfig): Promise<void> {
    const { servers } = this.find(service);
    if (servers.has(serverKey(server.id))) throw new IpvsError("EEXIST", 17, "server exists");
    if (server.weight < 0) throw new IpvsError("ERANGE", 34, "weight out of range");
    servers.set(serverKey(server.id), server);
  }
  async editServer(service: ServiceId, server: ServerConfig): Promise<void> {
    if (!this.find(service).servers.has(serverKey(server.id))) throw new IpvsError("ENOENT", 2, "no such server");
    this.find(service).servers.set(serverKey(server.id), server);
  }
  async removeServer(service: ServiceId, server: ServerId): Promise<void> {
    if (!this.find(service).servers.delete(serverKey(server))) throw new IpvsError("ENOENT", 2, "no such server");
  }
  async flush(): Promise<void> {
    this.table.clear();
  }
  async zero(id?: ServiceId): Promise<void> {
    this.zeroed.push(id && serviceKey(id));
  }
  async setTimeouts(timeouts: Timeouts): Promise<void> {
    this.times = timeouts;
  }
  async timeouts(): Promise<Timeouts> {
    return this.times;
  }
  async services(): Promise<ServiceInfo[]> {
    return [...this.table.values()].map(({ config, servers }) => ({
      ...config,
      stats: STATS,
      rates: RATES,
      servers: [...servers.values()].map((server) => {
        return { ...server, active: 1, inactive: 2, persistent: 0, stats: STATS, rates: RATES };
      }),
    }));
  }
  async service(id: ServiceId): Promise<ServiceInfo> {
    this.find(id);
    return (await this.services()).find((service) => serviceKey(service.id) === serviceKey(id))!;
  }
  async *connections(): AsyncIterable<ConnectionInfo> {
    yield* this.connectionList;
  }
  async totals() {
    return { stats: STATS, rates: RATES };
  }
  async tableSize(): Promise<number> {
    return 4096;
  }
  async daemons(): Promise<DaemonInfo[]> {
    return this.running;
  }
  async startDaemon(daemon: DaemonInfo): Promise<void> {
    this.running.push(daemon);
  }
  async stopDaemon(role: "master" | "backup"): Promise<void> {
    this.running = this.running.filter((daemon) => daemon.role !== role);
  }
  async transaction(steps: readonly IpvsStep[]): Promise<void> {
    for (const step of steps) {
      if (step.do === "addService") await this.addService(step.service);
      else if (step.do === "addServer") await this.addServer(step.service, step.server);
      else if (step.do === "flush") await this.flush();
    }
  }
}

export class FakeInfo implements DirectorInfo {
  readonly values: Record<string, number | string> = { sloppy_tcp: 0, sync_threshold: "3 50" };

  status() {
    return {
      version: "0.1.0",
      pid: 42,
      uptime: 3723,
      profile: "wlvs",
      workers: 1,
      io: "rw",
      connections: { used: 12, capacity: 1_000_000 },
    };
  }
  ports() {
    const counters = { framesIn: 1234, framesOut: 1200, bytesIn: 5_000_000, bytesOut: 700, dropsOut: 0 };
    return [
      {
        name: "ext0",
        kind: "tap" as const,
        up: true,
        mac: "02:00:00:00:00:01",
        mtu: 1500,
        addresses: ["192.168.4.133/24"],
        offloads: ["csum", "tso4"],
        ...counters,
      },
    ];
  }
  neighbours() {
    return [{ port: "ext0", address: "192.168.4.132", mac: "02:00:00:00:00:02", state: "reachable" }];
  }
  routes() {
    return [{ destination: "192.168.4.0/24", port: "ext0", metric: 0 }];
  }
  counters() {
    return {
      framesIn: 1234,
      framesOut: 1200,
      generated: 4,
      evictions: 0,
      synProxy: { answered: 9, accepted: 3, invalid: 1, spliced: 2, refused: 1, silent: 0 },
      neighboursChanged: 0,
      neighboursEvicted: 0,
      fragmentsEvicted: 0,
      errorsWithheld: 0,
      traps: 0,
      verdicts: { forward: 1200, local: 30, consumed: 0, drop: 4 },
      reasons: { "no-route": 4 },
    };
  }
  settings() {
    return this.values;
  }
  marksText = "";
  marks() {
    return { rules: this.marksText, count: this.marksText === "" ? 0 : 1 };
  }
  setMarks(text: string, how: "replace" | "apply"): void {
    if (text.includes("?")) throw new IpvsError("EINVAL", 22, 'mark rules, line 1: what is "?"?');
    this.marksText = how === "replace" ? text : this.marksText + text;
  }
  health() {
    return [
      { service: "tcp:192.168.4.133:80", server: "192.168.2.128:80", state: "up" as const, took: 0.4, ...CHECKS },
    ];
  }
  workers() {
    const frames = [2, 5, 1];
    return [
      { breaths: 8, framesIn: 7, bytesIn: 900, framesOut: 6, busy: 0.25, held: 128, frames, durations: [0, 3, 5] },
    ];
  }
  occupancy() {
    return [{ table: "connections", used: 12, capacity: 1_000_000 }];
  }
  async *metrics() {
    yield "# HELP wlvs_frames_in_total Frames.\n# TYPE wlvs_frames_in_total counter\n";
    yield "wlvs_frames_in_total 1234\n";
  }
  tracer(): never {
    throw new IpvsError("EOPNOTSUPP", 95, "nothing to trace here");
  }
  tables() {
    return Promise.resolve([]);
  }
  configuration() {
    return Promise.resolve({ file: "/etc/wlvs.yaml", read: new Date().toISOString(), drift: ["-D -f 7"] });
  }
  async upgrade() {
    return { pid: 2, version: "0.0.0", connections: 3, pause: 4.5 };
  }

  reload() {
    return Promise.resolve({ changes: [], restart: [] });
  }
  setSetting(name: string, value: number | string): void {
    if (!(name in this.values)) throw new IpvsError("ENOENT", 2, `no setting ${name}`);
    this.values[name] = value;
  }
}
