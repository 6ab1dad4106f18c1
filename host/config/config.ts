/** What a director is started with, validated: plain data that the keeper hands to the director. */
import type { ServiceHealth } from "../health/service-health.js";
import type { IpvsStep, Timeouts } from "../ipvs/model.js";
import type { LogLevel } from "../log.js";

export interface PortSpec {
  readonly kind: "tap" | "tun";
  readonly name: string;
  /** ADDRESS/PREFIX, canonical. */
  readonly addresses: readonly string[];
  readonly gateways: readonly string[];
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
  readonly bridge?: string | undefined;
  readonly netns?: string | undefined;
  readonly persist: boolean;
  /** The keeper leads the virtual addresses into the device. */
  readonly routes?: "auto" | undefined;
}

/** Through a gateway, or for the director itself: whole networks that mark services take. */
export type RouteSpec =
  | { readonly to: string; readonly gateway: string }
  | { readonly to: string; readonly kind: "local"; readonly mark?: number | undefined };

/** A file of firewall marks, and what was in it. */
export interface MarksSpec {
  readonly file: string;
  readonly text: string;
}

export interface NeighbourSpec {
  readonly address: string;
  readonly mac: string;
  readonly port: string;
}

export interface ListenSpec {
  readonly host: string;
  readonly port: number;
  readonly admin: boolean;
}

/** A change of the tables, and where it was asked for. */
export interface SourcedStep {
  readonly from: string;
  readonly step: IpvsStep;
}

export interface RunConfig {
  readonly ports: readonly PortSpec[];
  readonly steps: readonly SourcedStep[];
  /** NAME and VALUE of --set, in order, after those of the profile. */
  readonly settings: ReadonlyArray<readonly [string, string]>;
  readonly routes: readonly RouteSpec[];
  readonly neighbours: readonly NeighbourSpec[];
  readonly marks?: MarksSpec | undefined;
  readonly forward: boolean;
  readonly profile: "kernel" | "wlvs";
  readonly socket: string;
  readonly socketGroup?: string | undefined;
  readonly listen?: ListenSpec | undefined;
  readonly workers: number;
  readonly maxConnections: number;
  readonly io: "auto" | "uring" | "rw";
  /** Microseconds. */
  readonly spin: number;
  readonly logLevel: LogLevel;
  /** undefined: nobody, when started as root. */
  readonly user?: string | undefined;
  /** A directory for files as /proc/net/ip_vs is one; absolute. */
  readonly procfs?: string | undefined;
  /** Services whose servers are checked. */
  readonly health?: readonly ServiceHealth[] | undefined;
  readonly timeouts?: Timeouts | undefined;
  /** The file that services and connections outlive a director in. */
  readonly state?: string | undefined;
  /** The configuration file; undefined: flags alone. */
  readonly file?: string | undefined;
  /** Whether a change of that file is applied at once. */
  readonly watch?: boolean | undefined;
  /** Things to be said once the log is there. */
  readonly warnings: readonly string[];
}

/** What the profile wlvs turns on over the kernel's defaults. */
export const WLVS_SETTINGS: ReadonlyArray<readonly [string, string]> = [
  ["reschedule", "1"],
  ["expire_nodest_conn", "1"],
  ["mss_clamp", "1"],
  ["drain_seconds", "300"],
  ["kernel_quirks", "0"],
];
