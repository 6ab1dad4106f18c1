/**
 * A director behind its control socket. Nothing but node:http, so that a command starts quickly.
 */
import { statSync } from "node:fs";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { dirname, join } from "node:path";
import { LvsError } from "../errors.js";
import {
  type ConnectionFilter,
  type ConnectionInfo,
  type DaemonInfo,
  type Ipvs,
  IpvsError,
  type IpvsStep,
  type Rates,
  type ServerConfig,
  type ServerId,
  type ServiceConfig,
  type ServiceId,
  type ServiceInfo,
  type Stats,
  type Timeouts,
} from "../ipvs/model.js";
import type { ConnectionEvent, TraceNotice, TraceOrigin, TraceRecord } from "../trace/model.js";
import { formatConnectionQuery } from "./connection-query.js";
import type {
  ConfigurationInfo,
  CounterInfo,
  DirectorStatus,
  MarksInfo,
  NeighbourInfo,
  Occupancy,
  PortInfo,
  ReloadResult,
  RouteInfo,
  ServerHealth,
  Settings,
  UpgradeResult,
  WorkerInfo,
} from "./director-info.js";
import { serverKey, serviceKey } from "./keys.js";

export const DEFAULT_SOCKET = "/run/wlvs.sock";

/** Where the director's socket is: --socket, $WLVS_SOCKET, /run/wlvs.sock. */
export function socketPath(env: Readonly<Record<string, string | undefined>>, option?: string): string {
  return option || env.WLVS_SOCKET || DEFAULT_SOCKET;
}

function isSocket(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}

/** The systemd unit's director has a directory of its own beside the usual place. */
function servicesSocket(path: string): string | undefined {
  const other = join(dirname(path), "wlvs", "wlvs.sock");
  return isSocket(other) ? other : undefined;
}

function unreachable(path: string, cause: NodeJS.ErrnoException): LvsError {
  switch (cause.code) {
    case "ENOENT":
    case "ENOTDIR": {
      const other = servicesSocket(path);
      const remedy =
        other === undefined ? "start one with 'wlvs run', or set WLVS_SOCKET" : `there is ${other}: set WLVS_SOCKET`;
      return new LvsError("ERR_LVS_DIRECTOR", `no director is running here: ${path} does not exist (${remedy})`, cause);
    }
    case "ECONNREFUSED":
      if (!isSocket(path)) return new LvsError("ERR_LVS_DIRECTOR", `${path} is not a director's socket`, cause);
      return new LvsError(
        "ERR_LVS_DIRECTOR",
        `no director answers on ${path}: it ended and left its socket behind (start it again with 'wlvs run')`,
        cause,
      );
    case "EACCES":
    case "EPERM":
      return new LvsError(
        "ERR_LVS_PERMISSION",
        `permission denied for ${path}: run this as root, or give your group access with 'wlvs run --socket-group'`,
        cause,
      );
    case "ENOTSOCK":
    case "EPROTOTYPE":
      return new LvsError("ERR_LVS_DIRECTOR", `${path} is not a director's socket`, cause);
    case "ECONNRESET":
    case "EPIPE":
      return new LvsError("ERR_LVS_DIRECTOR", `the director on ${path} ended while it was asked`, {
        cause,
      });
    default:
      return new LvsError("ERR_LVS_DIRECTOR", `cannot reach the director on ${path}: ${cause.message}`, {
        cause,
      });
  }
}

function errorOf(path: string, status: number, text: string): Error {
  try {
    const { error } = JSON.parse(text) as { error: { code: string; errno: number; message: string } };
    if (error.errno !== 0) return new IpvsError(error.code, error.errno, error.message);
    return new LvsError("ERR_LVS_DIRECTOR", error.message);
  } catch {
    return new LvsError("ERR_LVS_DIRECTOR", `what answers on ${path} is no director (HTTP ${status})`);
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  response.setEncoding("utf8");
  let text = "";
  for await (const chunk of response) text += chunk as string;
  return text;
}

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export class RemoteIpvs implements Ipvs {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** What `wlvs status` shows; the other calls of the API that are not of ipvsadm follow. */
  status(): Promise<DirectorStatus & { ports: PortInfo[]; services: ServiceInfo[] }> {
    return this.call("GET", "/v1/status");
  }

  counters(): Promise<CounterInfo> {
    return this.call("GET", "/v1/counters");
  }

  ports(): Promise<PortInfo[]> {
    return this.call("GET", "/v1/ports");
  }

  neighbours(): Promise<NeighbourInfo[]> {
    return this.call("GET", "/v1/neighbours");
  }

  routes(): Promise<RouteInfo[]> {
    return this.call("GET", "/v1/routes");
  }

  settings(): Promise<Settings> {
    return this.call("GET", "/v1/settings");
  }

  setSettings(settings: Settings): Promise<void> {
    return this.call("PATCH", "/v1/settings", settings);
  }

  marks(): Promise<MarksInfo> {
    return this.call("GET", "/v1/marks");
  }

  /** `replace` forgets what was there, `apply` changes it as `nft -f` would. */
  setMarks(rules: string, how: "replace" | "apply"): Promise<void> {
    return this.call(how === "replace" ? "PUT" : "PATCH", "/v1/marks", { rules });
  }

  workers(): Promise<WorkerInfo[]> {
    return this.call("GET", "/v1/workers");
  }

  occupancy(): Promise<Occupancy[]> {
    return this.call("GET", "/v1/occupancy");
  }

  health(): Promise<ServerHealth[]> {
    return this.call("GET", "/v1/health");
  }

  /** The services as they would be if every real server were up. */
  tables(): Promise<ServiceInfo[]> {
    return this.call("GET", "/v1/tables");
  }

  configuration(): Promise<ConfigurationInfo> {
    return this.call("GET", "/v1/configuration");
  }

  upgrade(): Promise<UpgradeResult> {
    return this.call("POST", "/v1/upgrade");
  }

  reload(): Promise<ReloadResult> {
    return this.call("POST", "/v1/reload");
  }

  addService(service: ServiceConfig): Promise<void> {
    return this.call("POST", "/v1/services", service);
  }

  editService(service: ServiceConfig): Promise<void> {
    return this.call("PUT", servicePath(service.id), service);
  }

  removeService(id: ServiceId): Promise<void> {
    return this.call("DELETE", servicePath(id));
  }

  addServer(service: ServiceId, server: ServerConfig): Promise<void> {
    return this.call("POST", `${servicePath(service)}/servers`, server);
  }

  editServer(service: ServiceId, server: ServerConfig): Promise<void> {
    return this.call("PUT", serverPath(service, server.id), server);
  }

  removeServer(service: ServiceId, server: ServerId): Promise<void> {
    return this.call("DELETE", serverPath(service, server));
  }

  flush(): Promise<void> {
    return this.call("DELETE", "/v1/services");
  }

  zero(id?: ServiceId): Promise<void> {
    return this.call("POST", id === undefined ? "/v1/zero" : `${servicePath(id)}/zero`);
  }

  setTimeouts(timeouts: Timeouts): Promise<void> {
    return this.call("PUT", "/v1/timeouts", timeouts);
  }

  timeouts(): Promise<Timeouts> {
    return this.call("GET", "/v1/timeouts");
  }

  services(): Promise<ServiceInfo[]> {
    return this.call("GET", "/v1/services");
  }

  service(id: ServiceId): Promise<ServiceInfo> {
    return this.call("GET", servicePath(id));
  }

  connections(filter: ConnectionFilter = {}): AsyncGenerator<ConnectionInfo> {
    return this.lines<ConnectionInfo>(`/v1/connections${formatConnectionQuery(filter)}`);
  }

  /** What becomes of frames (docs/trace.md), until the signal is given. */
  trace(
    query: Readonly<Record<string, string | number>>,
    signal: AbortSignal,
  ): AsyncGenerator<TraceRecord | TraceNotice> {
    return this.lines<TraceRecord | TraceNotice>(`/v1/trace?${queryText(query)}`, signal);
  }

  traceOrigin(): Promise<TraceOrigin> {
    return this.call("GET", "/v1/trace/origin");
  }

  /** Connections that begin and end. */
  events(query: Readonly<Record<string, string | number>>, signal: AbortSignal): AsyncGenerator<ConnectionEvent> {
    return this.lines<ConnectionEvent>(`/v1/events/connections?${queryText(query)}`, signal);
  }

  private async *lines<T>(path: string, signal?: AbortSignal): AsyncGenerator<T> {
    try {
      const response = await this.send("GET", path, undefined, signal);
      response.setEncoding("utf8");
      let rest = "";
      for await (const chunk of response) {
        const lines = (rest + (chunk as string)).split("\n");
        rest = lines.pop()!;
        for (const line of lines) yield JSON.parse(line) as T;
      }
    } catch (cause) {
      if (signal?.aborted) return;
      if (cause instanceof LvsError || cause instanceof IpvsError) throw cause;
      throw unreachable(this.path, cause as NodeJS.ErrnoException);
    }
  }

  async totals(): Promise<{ stats: Stats; rates: Rates }> {
    const { stats, rates } = await this.call<{ stats: Stats; rates: Rates }>("GET", "/v1/stats");
    return { stats, rates };
  }

  async tableSize(): Promise<number> {
    return (await this.call<{ tableSize: number }>("GET", "/v1/stats")).tableSize;
  }

  daemons(): Promise<DaemonInfo[]> {
    return this.call("GET", "/v1/daemons");
  }

  startDaemon(daemon: DaemonInfo): Promise<void> {
    return this.call("POST", "/v1/daemons", daemon);
  }

  stopDaemon(role: "master" | "backup"): Promise<void> {
    return this.call("DELETE", `/v1/daemons/${role}`);
  }

  transaction(steps: readonly IpvsStep[]): Promise<void> {
    return this.call("POST", "/v1/transaction", { steps });
  }

  /** One request of the API; resolves with the document that it answers, undefined when it answers none. */
  async call<T>(method: Method, path: string, body?: unknown): Promise<T> {
    const response = await this.send(method, path, body);
    let text: string;
    try {
      text = await textOf(response);
    } catch (cause) {
      throw unreachable(this.path, cause as NodeJS.ErrnoException);
    }
    if (response.statusCode === 204) return undefined as T;
    try {
      return JSON.parse(text) as T;
    } catch {
      throw errorOf(this.path, response.statusCode ?? 0, text);
    }
  }

  private async send(method: Method, path: string, body: unknown, signal?: AbortSignal): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers =
        text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
      const options = {
        socketPath: this.path,
        method,
        path,
        headers,
        agent: false as const,
        ...(signal && { signal }),
      };
      const sent: ClientRequest = request(options, resolve);
      sent.once("error", (cause) => reject(unreachable(this.path, cause)));
      sent.end(text);
    });
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw errorOf(this.path, status, await textOf(response));
  }
}

function queryText(query: Readonly<Record<string, string | number>>): string {
  const texts = Object.fromEntries(Object.entries(query).map(([name, value]) => [name, `${value}`] as const));
  return new URLSearchParams(texts).toString();
}

function servicePath(id: ServiceId): string {
  return `/v1/services/${encodeURIComponent(serviceKey(id))}`;
}

function serverPath(service: ServiceId, server: ServerId): string {
  return `${servicePath(service)}/servers/${encodeURIComponent(serverKey(server))}`;
}
