/**
 * What a running director tells about itself beside its tables: the control server asks for it, whoever runs the
 * director answers. Everything is plain data, ready for JSON.
 */

import type { CoreCounters, Occupancy, WorkerCounters } from "../core/counters.js";
import type { ServiceInfo } from "../ipvs/model.js";
import type { TraceSource } from "../trace/model.js";

/** The kernel's end of a port's device, as the kernel counts: its "in" is what the director sent. */
export interface DeviceInfo {
  /** Whether it is up and has somebody at the other end: a director. */
  readonly carrier: boolean;
  /** Frames that its queue towards the director holds at most. */
  readonly queueLength: number;
  /** Frames for the director that did not fit into the queue: lost before the core. */
  readonly lostIn: number;
  /** Frames of the director that the kernel did not take. */
  readonly lostOut: number;
}

/** A port as `wlvs status` shows it. Counters are those of the core, since the start. */
export interface PortInfo {
  readonly name: string;
  readonly kind: "tap" | "tun" | "pcap" | "memory";
  readonly up: boolean;
  /** Of the director's end; undefined for a port without a link layer. */
  readonly mac?: string | undefined;
  readonly mtu: number;
  /** With prefix lengths, as `ip=` takes them. */
  readonly addresses: readonly string[];
  /** What the device takes over from the core: csum, tso4, tso6, uso. */
  readonly offloads: readonly string[];
  /** Where its kernel end is, when it is not where the director is. */
  readonly netns?: string | undefined;
  readonly bridge?: string | undefined;
  readonly framesIn: number;
  readonly framesOut: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly dropsOut: number;
  /** undefined where the kernel cannot be asked. */
  readonly device?: DeviceInfo | undefined;
  /** Why there is no device, or why frames do not get further. */
  readonly problem?: string | undefined;
  /** How often its device was made again, because somebody had deleted it. */
  readonly remade?: number | undefined;
}

/** A thread that moves frames, since the start. */
export interface WorkerInfo extends WorkerCounters {
  /** How often a new thread went on in its place: it had died, or hung. */
  readonly restarts?: number | undefined;
}

export type { Occupancy };

export interface NeighbourInfo {
  readonly port: string;
  readonly address: string;
  /** undefined while it is not known. */
  readonly mac?: string | undefined;
  /** incomplete, reachable, stale, delay, probe, failed, permanent */
  readonly state: string;
}

export interface RouteInfo {
  readonly destination: string;
  readonly via?: string | undefined;
  readonly port?: string | undefined;
  readonly metric: number;
  /** local: for the director itself; undefined: sent on. */
  readonly kind?: "local" | "unreachable" | undefined;
  /** Of a local route: the firewall mark that packets must have. */
  readonly mark?: number | undefined;
}

/** How frames ended. The verdicts add up to framesIn; reasons say why the dropped ones were. */
export interface CounterInfo extends CoreCounters {
  /** How often the core trapped. */
  readonly traps: number;
}

export interface DirectorStatus {
  readonly version: string;
  readonly pid: number;
  /** Seconds. */
  readonly uptime: number;
  readonly profile: string;
  readonly workers: number;
  /** How frames move: uring, rw or memory. */
  readonly io: string;
  readonly connections: { readonly used: number; readonly capacity: number };
}

/** net.ipv4.vs.* by name, without the prefix. A setting of two numbers is text, "3 50". */
export type Settings = Readonly<Record<string, number | string>>;

/** Firewall marks: rules in nftables' language. */
export interface MarksInfo {
  readonly rules: string;
  readonly count: number;
}

/** What checks found out about a real server. */
export interface ServerHealth {
  /** As paths of the API name them. */
  readonly service: string;
  readonly server: string;
  /** unknown until the first checks have ended. */
  readonly state: "up" | "down" | "unknown";
  /** What the last check said, when it failed. */
  readonly problem?: string | undefined;
  /** Milliseconds that the last check took. */
  readonly took?: number | undefined;
  /** Checks that ended well, and that did not, so far. */
  readonly passed: number;
  readonly failed: number;
}

/** The configuration file of a running director. */
export interface ConfigurationInfo {
  /** undefined: it was started with flags alone. */
  readonly file?: string | undefined;
  /** When what is running was read (ISO 8601). */
  readonly read: string;
  /** How what runs differs from it: what a reload would do, as command lines of ipvsadm and settings. */
  readonly drift: readonly string[];
  /** The file was changed since then, and cannot be used; a line each. */
  readonly refused?: { readonly at: string; readonly message: string } | undefined;
}

/** A director took another's place. */
export interface UpgradeResult {
  /** The one that runs now. */
  readonly pid: number;
  readonly version: string;
  /** Connections that it took over. */
  readonly connections: number;
  /** For how long no frame was forwarded, in milliseconds: they waited in the devices' queues. */
  readonly pause: number;
}

export interface ReloadResult {
  /** What changed, a line each; changes of the tables as ipvsadm's command lines. */
  readonly changes: readonly string[];
  /** What differs and waits for a restart. */
  readonly restart: readonly string[];
}

export interface DirectorInfo {
  status(): DirectorStatus;
  ports(): PortInfo[];
  neighbours(): NeighbourInfo[];
  routes(): RouteInfo[];
  counters(): CounterInfo;
  settings(): Settings;
  marks(): MarksInfo;
  /** `replace` forgets what was there, `apply` changes it as `nft -f` would. Throws an IpvsError: EINVAL with the line. */
  setMarks(text: string, how: "replace" | "apply"): void;
  /** Throws an IpvsError: ENOENT for a name that is not there, EINVAL for a value that it does not take. */
  setSetting(name: string, value: number | string): void;
  health(): ServerHealth[];
  workers(): WorkerInfo[];
  occupancy(): Occupancy[];
  /** Prometheus' text format, in pieces. */
  metrics(): AsyncIterable<string>;
  /** What becomes of frames, and of connections. */
  tracer(): TraceSource;
  /** The tables as they would be if every server were up. */
  tables(): Promise<ServiceInfo[]>;
  configuration(): Promise<ConfigurationInfo>;
  /** Reads the configuration again. Throws an IpvsError, EINVAL, with all that is wrong in it, a line each. */
  reload(): Promise<ReloadResult>;
  /** Puts a new director, of the code that is on the disk now, in the place of the running one. */
  upgrade(): Promise<UpgradeResult>;
}
