/** The rule tables as a small model that refuses what the kernel refuses, in its order; no packets, no time. */
import { addressBytes } from "../../../host/address.js";
import {
  type ConnectionInfo,
  type DaemonInfo,
  type Ipvs,
  IpvsError,
  type IpvsStep,
  type Rates,
  type ServerConfig,
  type ServerId,
  type ServerInfo,
  type ServiceConfig,
  type ServiceId,
  type ServiceInfo,
  type Stats,
  type Timeouts,
} from "../../../host/ipvs/model.js";

const ERRNO = { ENOENT: 2, ESRCH: 3, EEXIST: 17, ENODEV: 19, EINVAL: 22, ERANGE: 34, EADDRNOTAVAIL: 99 } as const;
const SCHEDULERS = "rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh none".split(" ");

function keyOf(id: ServiceId): string {
  return "mark" in id ? `${id.mark}/${id.family}` : `${id.protocol} ${id.address} ${id.port}`;
}

function refuse(code: keyof typeof ERRNO): never {
  throw new IpvsError(code, ERRNO[code], code);
}

export const NO_STATS: Stats = { connections: 0, inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 };
export const NO_RATES: Rates = { cps: 0, inPps: 0, outPps: 0, inBps: 0, outBps: 0 };

export class TablesModel implements Ipvs {
  readonly table = new Map<string, ServiceInfo>();
  times: Timeouts = { tcp: 900, tcpFin: 120, udp: 300 };
  connectionList: ConnectionInfo[] = [];
  /** Names and MTUs of interfaces, and addresses that are no unicast addresses here. */
  readonly interfaces = new Map([
    ["lo", 65536],
    ["ext", 1500],
    ["int", 1500],
  ]);
  readonly broadcasts = new Set(["192.168.4.255", "192.168.2.255"]);
  private readonly running: DaemonInfo[] = [];

  async addService(service: ServiceConfig): Promise<void> {
    const key = keyOf(service.id);
    if (this.table.has(key)) refuse("EEXIST");
    this.checkService(service);
    this.table.set(key, { ...service, stats: NO_STATS, rates: NO_RATES, servers: [] });
  }

  async editService(service: ServiceConfig): Promise<void> {
    const { stats, rates, servers } = this.existing(service.id);
    this.checkService(service);
    this.table.set(keyOf(service.id), { ...service, stats, rates, servers });
  }

  async removeService(id: ServiceId): Promise<void> {
    this.existing(id);
    this.table.delete(keyOf(id));
  }

  async addServer(id: ServiceId, server: ServerConfig): Promise<void> {
    const service = this.existing(id);
    this.checkServer(id, server);
    if (this.find(service, server.id) !== undefined) refuse("EEXIST");
    this.checkAddress(server.id);
    const added = { ...server, active: 0, inactive: 0, persistent: 0, stats: NO_STATS, rates: NO_RATES };
    this.put(service, [...service.servers, added]);
  }

  async editServer(id: ServiceId, server: ServerConfig): Promise<void> {
    const service = this.existing(id);
    this.checkServer(id, server);
    const old = this.find(service, server.id) ?? refuse("ENOENT");
    const edited = { ...old, tunnel: undefined, ...server };
    this.put(
      service,
      service.servers.map((each) => (each === old ? edited : each)),
    );
  }

  async removeServer(id: ServiceId, server: ServerId): Promise<void> {
    const service = this.existing(id);
    const old = this.find(service, server) ?? refuse("ENOENT");
    this.put(
      service,
      service.servers.filter((each) => each !== old),
    );
  }

  async flush(): Promise<void> {
    this.table.clear();
  }

  async zero(id?: ServiceId): Promise<void> {
    if (id !== undefined) this.existing(id);
  }

  async setTimeouts({ tcp, tcpFin, udp }: Timeouts): Promise<void> {
    const { times } = this;
    this.times = { tcp: tcp || times.tcp, tcpFin: tcpFin || times.tcpFin, udp: udp || times.udp };
  }

  async timeouts(): Promise<Timeouts> {
    return this.times;
  }

  async services(): Promise<ServiceInfo[]> {
    return [...this.table.values()];
  }

  async service(id: ServiceId): Promise<ServiceInfo> {
    return this.existing(id);
  }

  async *connections(): AsyncIterable<ConnectionInfo> {
    yield* this.connectionList;
  }

  async totals(): Promise<{ stats: Stats; rates: Rates }> {
    return { stats: NO_STATS, rates: NO_RATES };
  }

  async tableSize(): Promise<number> {
    return 4096;
  }

  async daemons(): Promise<DaemonInfo[]> {
    return ["master", "backup"].flatMap((role) => this.running.filter((daemon) => daemon.role === role));
  }

  async startDaemon(daemon: DaemonInfo): Promise<void> {
    if (this.running.some(({ role }) => role === daemon.role)) refuse("EEXIST");
    const mtu = this.interfaces.get(daemon.interface) ?? refuse("ENODEV");
    if (daemon.group?.includes(":")) refuse("EADDRNOTAVAIL");
    const longest = Math.min(mtu - 28, 65507);
    // The backup's buffer has a least size, the master's messages have a most.
    const length = daemon.maxLength === undefined ? longest : Math.min(daemon.maxLength, longest);
    const { group = "224.0.0.81", port = 8848, ttl = 1 } = daemon;
    const maxLength = daemon.role === "backup" ? Math.max(length, 1024) : length;
    this.running.push({ ...daemon, group: group || "224.0.0.81", port: port || 8848, ttl: ttl || 1, maxLength });
  }

  async stopDaemon(role: DaemonInfo["role"]): Promise<void> {
    const at = this.running.findIndex((daemon) => daemon.role === role);
    if (at < 0) refuse("ESRCH");
    this.running.splice(at, 1);
  }

  async transaction(steps: readonly IpvsStep[]): Promise<void> {
    const before = new Map(this.table);
    try {
      for (const step of steps) await this.step(step);
    } catch (error) {
      this.table.clear();
      for (const [key, service] of before) this.table.set(key, service);
      throw error;
    }
  }

  private step(step: IpvsStep): Promise<void> {
    switch (step.do) {
      case "addService":
      case "editService":
        return this[step.do](step.service);
      case "removeService":
        return this.removeService(step.id);
      case "addServer":
      case "editServer":
        return this[step.do](step.service, step.server);
      case "removeServer":
        return this.removeServer(step.service, step.server);
      case "flush":
        return this.flush();
    }
  }

  private existing(id: ServiceId): ServiceInfo {
    return this.table.get(keyOf(id)) ?? refuse("ESRCH");
  }

  private find(service: ServiceInfo, id: ServerId): ServerInfo | undefined {
    return service.servers.find(({ id: other }) => other.address === id.address && other.port === id.port);
  }

  private put(service: ServiceInfo, servers: readonly ServerInfo[]): void {
    this.table.set(keyOf(service.id), { ...service, servers });
  }

  private checkService(service: ServiceConfig): void {
    if (!SCHEDULERS.includes(service.scheduler)) refuse("ENOENT");
    if ((service.persistenceEngine ?? "sip") !== "sip") refuse("ENOENT");
  }

  private checkServer(service: ServiceId, server: ServerConfig): void {
    if (server.id.family !== service.family && server.forwarding !== "tunnel") refuse("EINVAL");
    if (server.lowerThreshold > server.upperThreshold) refuse("ERANGE");
  }

  /** Unicast, and in IPv6 no link-local one. */
  private checkAddress({ address, family }: ServerId): void {
    const { bytes } = addressBytes(address);
    const isZero = bytes.every((byte) => byte === 0);
    const linkLocal = bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80;
    const multicast = family === 4 ? bytes[0]! >> 4 === 14 : bytes[0] === 0xff || linkLocal;
    if (isZero || multicast || address === "255.255.255.255" || this.broadcasts.has(address)) refuse("EINVAL");
  }
}
