/**
 * What a director's tables hold, as the control plane speaks of them. Addresses are canonical text (RFC 5952 for IPv6),
 * ports and marks are numbers, times are seconds.
 */
export type Family = 4 | 6;
export type ServiceProtocol = "tcp" | "udp" | "sctp";
export type ForwardingName = "nat" | "dr" | "tunnel" | "local" | "bypass" | "fullnat";
export type TunnelName = "ipip" | "gue" | "gre";
export type TunnelChecksum = "nocsum" | "csum" | "remcsum";

/** A virtual service is named by protocol, address and port, or by a firewall mark and its family. */
export type ServiceId =
  | { readonly family: Family; readonly protocol: ServiceProtocol; readonly address: string; readonly port: number }
  | { readonly family: Family; readonly mark: number };

/** Who answers a client's SYN: the director always, when it is needed, or never; or what the setting syn_proxy says. */
export type SynProxy = "default" | "auto" | "on" | "off";

/** Connections, and new ones a second; 0 or absent: no limit. */
export interface Limit {
  readonly connections?: number | undefined;
  readonly rate?: number | undefined;
}

export interface Limits extends Limit {
  /** For each client: an IPv4 address, or an IPv6 network of 64 bits. */
  readonly perSource?: Limit | undefined;
}

/** How a service stands up to floods. */
export interface DefenceInfo {
  /** Whether the SYN proxy is at work, and how often it was switched on or off by itself. */
  readonly synProxy: boolean;
  readonly switches: number;
  readonly halfOpen: number;
  /** New connections that a limit refused. */
  readonly refused: { readonly connections: number; readonly rate: number; readonly source: number };
}

/** Scheduler flags are three bits whose names depend on the scheduler: sh-fallback is flag-1, sh-port is flag-2. */
export interface ServiceConfig {
  readonly id: ServiceId;
  readonly scheduler: string;
  /** Seconds; undefined: not persistent. */
  readonly persistence?: number | undefined;
  /** Persistence granularity as a prefix length; 32 (IPv4) and 128 (IPv6) when a client stands for itself. */
  readonly persistencePrefix: number;
  /** IPv4 only: the granularity as given, which need not be contiguous. */
  readonly persistenceNetmask?: string | undefined;
  readonly persistenceEngine?: string | undefined;
  readonly onePacket: boolean;
  /** Bit 0: flag-1, bit 1: flag-2, bit 2: flag-3. */
  readonly schedulerFlags: number;
  /** These two stay as they are when a service is edited by one that lacks them. */
  readonly synProxy?: SynProxy | undefined;
  readonly limits?: Limits | undefined;
}

export interface ServerId {
  readonly family: Family;
  readonly address: string;
  readonly port: number;
}

export interface ServerConfig {
  readonly id: ServerId;
  readonly forwarding: ForwardingName;
  readonly weight: number;
  readonly upperThreshold: number;
  readonly lowerThreshold: number;
  readonly tunnel?: { readonly type: TunnelName; readonly port: number; readonly checksum: TunnelChecksum } | undefined;
}

export interface Stats {
  readonly connections: number;
  readonly inPackets: number;
  readonly outPackets: number;
  readonly inBytes: number;
  readonly outBytes: number;
}

/** Per second. */
export interface Rates {
  readonly cps: number;
  readonly inPps: number;
  readonly outPps: number;
  readonly inBps: number;
  readonly outBps: number;
}

export interface ServerInfo extends ServerConfig {
  readonly active: number;
  readonly inactive: number;
  readonly persistent: number;
  /** Since the server was added, where answers pass by: connections that it refused, and that it left unanswered. */
  readonly refused?: number | undefined;
  readonly unanswered?: number | undefined;
  readonly stats: Stats;
  readonly rates: Rates;
}

/** What becomes of the connections of a server that failed; undefined: what the settings say. */
export type ServerFailure = "keep" | "reset" | "reschedule";

export interface ServiceInfo extends ServiceConfig {
  /** Of services with a SYN proxy or limits. */
  readonly defence?: DefenceInfo | undefined;
  readonly stats: Stats;
  readonly rates: Rates;
  /** In the order they were added. */
  readonly servers: readonly ServerInfo[];
}

export interface ConnectionInfo {
  readonly family: Family;
  /** IP protocol number; 0 for a template of a marked service. */
  readonly protocol: number;
  /** As ipvsadm prints it: ESTABLISHED, SYN_RECV, UDP, NONE ... */
  readonly state: string;
  /** Whole seconds left. */
  readonly expires: number;
  readonly client: string;
  readonly clientPort: number;
  readonly virtual: string;
  readonly virtualPort: number;
  readonly server: string;
  readonly serverPort: number;
  readonly serverFamily: Family;
  /** Full NAT: what stands for the client at the server. */
  readonly local?: string | undefined;
  readonly localPort?: number | undefined;
  readonly template: boolean;
  readonly persistenceEngine?: string | undefined;
  readonly persistenceData?: string | undefined;
}

/** What an end of a connection must be: of this network, of this port, or both. */
export interface EndpointFilter {
  readonly network?: { readonly family: Family; readonly address: string; readonly prefix: number } | undefined;
  readonly port?: number | undefined;
}

/** Which connections a listing shows; what is not given is not looked at. */
export interface ConnectionFilter {
  readonly client?: EndpointFilter | undefined;
  readonly virtual?: EndpointFilter | undefined;
  readonly server?: EndpointFilter | undefined;
  /** As listings print it. */
  readonly state?: string | undefined;
  /** IP protocol number. */
  readonly protocol?: number | undefined;
  /** No more than so many. */
  readonly limit?: number | undefined;
}

export interface Timeouts {
  readonly tcp: number;
  readonly tcpFin: number;
  readonly udp: number;
}

/** State of one synchronisation daemon, as ipvsadm -L --daemon prints it. */
export interface DaemonInfo {
  readonly role: "master" | "backup";
  readonly interface: string;
  readonly syncId: number;
  readonly maxLength?: number | undefined;
  readonly group?: string | undefined;
  readonly port?: number | undefined;
  readonly ttl?: number | undefined;
}

/**
 * A director as ipvsadm sees it: in this process (host/core) or behind the control socket (host/control).
 * Every call rejects with an IpvsError whose errno is the one that the kernel would give.
 */
export interface Ipvs {
  addService(service: ServiceConfig): Promise<void>;
  editService(service: ServiceConfig): Promise<void>;
  removeService(id: ServiceId): Promise<void>;
  addServer(service: ServiceId, server: ServerConfig): Promise<void>;
  editServer(service: ServiceId, server: ServerConfig): Promise<void>;
  removeServer(service: ServiceId, server: ServerId): Promise<void>;
  flush(): Promise<void>;
  /** Zeroes the counters of one service, or of all and the whole. */
  zero(id?: ServiceId): Promise<void>;
  /** 0 leaves a timeout as it is. */
  setTimeouts(timeouts: Timeouts): Promise<void>;
  timeouts(): Promise<Timeouts>;
  services(): Promise<ServiceInfo[]>;
  service(id: ServiceId): Promise<ServiceInfo>;
  connections(filter?: ConnectionFilter): AsyncIterable<ConnectionInfo>;
  totals(): Promise<{ stats: Stats; rates: Rates }>;
  /** Capacity of the connection table that listings show as size=. */
  tableSize(): Promise<number>;
  daemons(): Promise<DaemonInfo[]>;
  startDaemon(daemon: DaemonInfo): Promise<void>;
  stopDaemon(role: "master" | "backup"): Promise<void>;
  /** Whole-or-nothing: if one step fails none is kept. */
  transaction(steps: readonly IpvsStep[]): Promise<void>;
}

/** A change as data: what a rules file or the API sends. */
export type IpvsStep =
  | { readonly do: "addService" | "editService"; readonly service: ServiceConfig }
  | { readonly do: "removeService"; readonly id: ServiceId }
  | { readonly do: "addServer" | "editServer"; readonly service: ServiceId; readonly server: ServerConfig }
  | { readonly do: "removeServer"; readonly service: ServiceId; readonly server: ServerId }
  | { readonly do: "flush" };

/** A change of a server that failed: it is edited or removed, and this is to become of its connections. */
export type FailureStep = IpvsStep & { readonly failure?: ServerFailure | undefined };

/** A refusal of the tables, with the kernel's errno: ENOENT, EEXIST, ESRCH ... */
export class IpvsError extends Error {
  readonly errno: number;
  readonly code: string;
  constructor(code: string, errno: number, message: string) {
    super(message);
    this.name = "IpvsError";
    this.code = code;
    this.errno = errno;
  }
}
