/** What a service wants done about its servers' health: plain data, part of the configuration. */
import { serverKey, serviceKey } from "../control/keys.js";
import type { ServerConfig, ServerFailure, ServerId, ServiceId } from "../ipvs/model.js";
import type { CheckSpec, PassiveCheck, Target } from "./checker.js";

export type Argv = readonly [string, ...string[]];

export interface ServiceHealth {
  readonly service: ServiceId;
  readonly servers: readonly CheckedServer[];
  /** remove: it leaves the table; inhibit: it stays with weight 0, so that its connections and templates do too. */
  readonly onFailure: "remove" | "inhibit";
  /** What becomes of its connections; undefined: what the settings say. */
  readonly connections?: ServerFailure | undefined;
  /** Milliseconds in which a server that came back gets its weight again; 0: at once. */
  readonly slowStart: number;
  /** Serves instead of all others while there is no quorum. */
  readonly sorry?: ServerConfig | undefined;
  /** Weight of healthy servers that makes a quorum: gained at quorum + hysteresis, lost below quorum - hysteresis. */
  readonly quorum: number;
  readonly hysteresis: number;
  readonly quorumUp?: Argv | undefined;
  readonly quorumDown?: Argv | undefined;
  /** When fewer than so many percent of the servers are healthy, all of them are used; 0: never. */
  readonly panic: number;
}

/** A server is up when all of its checks say so. */
export interface CheckedServer {
  readonly server: ServerId;
  readonly checks: ReadonlyArray<CheckSpec | PassiveCheck>;
}

export function targetId(service: ServiceId, server: ServerId, check = 0): string {
  return `${serviceKey(service)} ${serverKey(server)}${check === 0 ? "" : ` ${check}`}`;
}

/** A passive check is told apart from any that takes its place. */
export function checkId(service: ServiceId, { server, checks }: CheckedServer, at: number): string {
  return checks[at]?.type === "passive" ? `${targetId(service, server)} passive` : targetId(service, server, at);
}

/** The server that a target is about: `SERVICE SERVER`. */
export function ownerOf(id: string): readonly [service: string, server: string] {
  const [service, server] = id.split(" ");
  return [service!, server!];
}

function targetOf(service: ServiceId, server: ServerId, check: CheckSpec, at: number): Target {
  return {
    id: targetId(service, server, at),
    spec: check,
    family: check.address?.includes(":") ? 6 : check.address === undefined ? server.family : 4,
    address: check.address ?? server.address,
    port: check.port ?? server.port,
    virtual: "mark" in service ? "" : service.address,
    virtualPort: "mark" in service ? 0 : service.port,
  };
}

/** What is to be asked of servers: passive checks ask nothing. */
export function targetsOf(services: readonly ServiceHealth[]): Target[] {
  return services.flatMap(({ service, servers }) =>
    servers.flatMap(({ server, checks }) =>
      checks.flatMap((check, at) => (check.type === "passive" ? [] : targetOf(service, server, check, at))),
    ),
  );
}
