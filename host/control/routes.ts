/**
 * The API as a table: each row is registered with the server and described in the OpenAPI document.
 */
import { z } from "zod";
import type { DaemonInfo, Ipvs, ServerConfig, ServerId, ServiceConfig, ServiceId, Timeouts } from "../ipvs/model.js";
import { IpvsError, type IpvsStep } from "../ipvs/model.js";
import { SNAP_DEFAULT, SNAP_READ_ONLY } from "../trace/tracer.js";
import { CONNECTION_QUERY, parseConnectionQuery } from "./connection-query.js";
import type { DirectorInfo, Settings } from "./director-info.js";
import { parseServerKey, parseServiceKey, serverKey, serviceKey } from "./keys.js";
import * as schema from "./schema.js";

/** What a handler works on: the director, and one request whose body was checked already. */
export interface Call {
  readonly ipvs: Ipvs;
  readonly info: DirectorInfo;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: unknown;
  /** It came over TCP. */
  readonly remote: boolean;
  /** It came to where nothing may be changed. */
  readonly readOnly: boolean;
  /** The reader has left. */
  readonly signal: AbortSignal;
}

export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** As fastify writes it, `:name` for a parameter. */
  readonly path: string;
  readonly summary: string;
  /** Names that may stand in the query, and what they mean. */
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: z.ZodType;
  /** Absent: 204, nothing to say. */
  readonly response?: z.ZodType;
  /** The response is one JSON document a line. */
  readonly lines?: true;
  /** The response is text of this type, in pieces. */
  readonly text?: string;
  /** Each part of the response is sent when it comes, for as long as the reader stays; the type of what is sent. */
  readonly live?: (query: Readonly<Record<string, unknown>>) => string;
  /** The whole query, checked before. */
  readonly asks?: z.ZodObject;
  readonly bodyLimit?: number;
  handle(call: Call): unknown;
}

const LARGEST_TRANSACTION = 64 * 1024 * 1024;
const LARGEST_MARKS = 4 * 1024 * 1024;

const errno = { EACCES: 13, EINVAL: 22 } as const;

function invalid(message: string): IpvsError {
  return new IpvsError("EINVAL", errno.EINVAL, message);
}

function serviceOf(call: Call): ServiceId {
  const id = parseServiceKey(call.params.service ?? "");
  if (id === undefined) throw invalid(`no service is named like that: ${call.params.service}`);
  return id;
}

function serverOf(call: Call): ServerId {
  const id = parseServerKey(call.params.server ?? "");
  if (id === undefined) throw invalid(`no real server is named like that: ${call.params.server}`);
  return id;
}

/** The path names what the body describes: saying two different things is a mistake, not a rename. */
function same(path: string, body: string): void {
  if (path !== body) throw invalid(`the path says ${path}, the body ${body}`);
}

export const ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/status",
    summary: "The director, its ports, its services",
    response: schema.status,
    handle: async ({ ipvs, info }) => ({ ...info.status(), ports: info.ports(), services: await ipvs.services() }),
  },
  {
    method: "GET",
    path: "/v1/services",
    summary: "All virtual services with their real servers",
    response: z.array(schema.serviceInfo),
    handle: ({ ipvs }) => ipvs.services(),
  },
  {
    method: "POST",
    path: "/v1/services",
    summary: "Adds a virtual service",
    body: schema.serviceConfig,
    handle: ({ ipvs, body }) => ipvs.addService(body as ServiceConfig),
  },
  {
    method: "DELETE",
    path: "/v1/services",
    summary: "Removes every virtual service",
    handle: ({ ipvs }) => ipvs.flush(),
  },
  {
    method: "GET",
    path: "/v1/services/:service",
    summary: "One virtual service: tcp:192.0.2.1:80, udp:[2001:db8::1]:53, mark:7:ipv4",
    response: schema.serviceInfo,
    handle: (call) => call.ipvs.service(serviceOf(call)),
  },
  {
    method: "PUT",
    path: "/v1/services/:service",
    summary: "Changes a virtual service",
    body: schema.serviceConfig,
    handle: (call) => {
      const config = call.body as ServiceConfig;
      same(serviceKey(serviceOf(call)), serviceKey(config.id));
      return call.ipvs.editService(config);
    },
  },
  {
    method: "DELETE",
    path: "/v1/services/:service",
    summary: "Removes a virtual service",
    handle: (call) => call.ipvs.removeService(serviceOf(call)),
  },
  {
    method: "POST",
    path: "/v1/services/:service/zero",
    summary: "Zeroes the counters of one service",
    handle: (call) => call.ipvs.zero(serviceOf(call)),
  },
  {
    method: "POST",
    path: "/v1/services/:service/servers",
    summary: "Adds a real server",
    body: schema.serverConfig,
    handle: (call) => call.ipvs.addServer(serviceOf(call), call.body as ServerConfig),
  },
  {
    method: "PUT",
    path: "/v1/services/:service/servers/:server",
    summary: "Changes a real server: 192.0.2.8:80, [2001:db8::8]:80",
    body: schema.serverConfig,
    handle: (call) => {
      const config = call.body as ServerConfig;
      same(serverKey(serverOf(call)), serverKey(config.id));
      return call.ipvs.editServer(serviceOf(call), config);
    },
  },
  {
    method: "DELETE",
    path: "/v1/services/:service/servers/:server",
    summary: "Removes a real server",
    handle: (call) => call.ipvs.removeServer(serviceOf(call), serverOf(call)),
  },
  {
    method: "POST",
    path: "/v1/transaction",
    summary: "Several changes, all of them or none",
    body: schema.transaction,
    bodyLimit: LARGEST_TRANSACTION,
    handle: ({ ipvs, body }) => ipvs.transaction((body as { steps: IpvsStep[] }).steps),
  },
  {
    method: "GET",
    path: "/v1/connections",
    summary: "The connection table, or what the query asks for of it, one JSON document a line",
    query: CONNECTION_QUERY,
    response: schema.connectionInfo,
    lines: true,
    handle: ({ ipvs, query }) => ipvs.connections(parseConnectionQuery(query)),
  },
  {
    method: "GET",
    path: "/v1/stats",
    summary: "Counters and rates of the whole",
    response: schema.totals,
    handle: async ({ ipvs }) => ({ ...(await ipvs.totals()), tableSize: await ipvs.tableSize() }),
  },
  {
    method: "POST",
    path: "/v1/zero",
    summary: "Zeroes all counters",
    handle: ({ ipvs }) => ipvs.zero(),
  },
  {
    method: "GET",
    path: "/v1/timeouts",
    summary: "Connection timeouts in seconds",
    response: schema.timeouts,
    handle: ({ ipvs }) => ipvs.timeouts(),
  },
  {
    method: "PUT",
    path: "/v1/timeouts",
    summary: "Sets connection timeouts in seconds; 0 leaves one as it is",
    body: schema.timeouts,
    handle: ({ ipvs, body }) => ipvs.setTimeouts(body as Timeouts),
  },
  {
    method: "GET",
    path: "/v1/settings",
    summary: "net.ipv4.vs.* by name",
    response: schema.settings,
    handle: ({ info }) => info.settings(),
  },
  {
    method: "PATCH",
    path: "/v1/settings",
    summary: "Changes the settings that it names, all of them or none",
    body: schema.settings,
    handle: ({ info, body }) => {
      const before = { ...info.settings() };
      const done: string[] = [];
      try {
        for (const [name, value] of Object.entries(body as Settings)) {
          info.setSetting(name, value);
          done.push(name);
        }
      } catch (error) {
        for (const name of done) info.setSetting(name, before[name]!);
        throw error;
      }
    },
  },
  {
    method: "GET",
    path: "/v1/marks",
    summary: "Firewall marks: the rules in nftables' language, and how many they are",
    response: schema.marksInfo,
    handle: ({ info }) => info.marks(),
  },
  {
    method: "PUT",
    path: "/v1/marks",
    summary: "Puts these mark rules in the place of those that are there",
    body: schema.marksChange,
    bodyLimit: LARGEST_MARKS,
    handle: ({ info, body }) => info.setMarks((body as { rules: string }).rules, "replace"),
  },
  {
    method: "PATCH",
    path: "/v1/marks",
    summary: "Changes the mark rules as nft -f would: table, add rule, delete table, flush ruleset",
    body: schema.marksChange,
    bodyLimit: LARGEST_MARKS,
    handle: ({ info, body }) => info.setMarks((body as { rules: string }).rules, "apply"),
  },
  {
    method: "GET",
    path: "/v1/health",
    summary: "What checks found out about the real servers",
    response: z.array(schema.serverHealth),
    handle: ({ info }) => info.health(),
  },
  {
    method: "GET",
    path: "/v1/tables",
    summary: "The services as they would be if every real server were up",
    response: z.array(schema.serviceInfo),
    handle: ({ info }) => info.tables(),
  },
  {
    method: "GET",
    path: "/v1/configuration",
    summary: "The configuration file: when it was read, how what runs differs from it, whether a change was refused",
    response: schema.configurationInfo,
    handle: ({ info }) => info.configuration(),
  },
  {
    method: "POST",
    path: "/v1/reload",
    summary: "Reads the configuration again and applies what is different",
    response: schema.reloadResult,
    handle: ({ info }) => info.reload(),
  },
  {
    method: "POST",
    path: "/v1/upgrade",
    summary: "Puts a new director in the place of the running one; connections go on",
    response: schema.upgradeResult,
    handle: ({ info }) => info.upgrade(),
  },
  {
    method: "GET",
    path: "/v1/counters",
    summary: "How frames ended: verdicts, and the reasons of drops",
    response: schema.counterInfo,
    handle: ({ info }) => info.counters(),
  },
  {
    method: "GET",
    path: "/v1/workers",
    summary: "The threads that move frames: what each took in, how long its breaths took",
    response: z.array(schema.workerInfo),
    handle: ({ info }) => info.workers(),
  },
  {
    method: "GET",
    path: "/v1/occupancy",
    summary: "How full the tables are",
    response: z.array(schema.occupancy),
    handle: ({ info }) => info.occupancy(),
  },
  {
    method: "GET",
    path: "/metrics",
    summary: "Everything that is counted, for Prometheus",
    response: z.string(),
    text: "text/plain; version=0.0.4; charset=utf-8",
    handle: ({ info }) => info.metrics(),
  },
  {
    method: "GET",
    path: "/v1/trace",
    summary: "What becomes of frames, as it happens, one JSON document a line",
    asks: schema.traceQuery,
    response: schema.traceRecord,
    live: () => "application/x-ndjson",
    handle: ({ info, query, remote, readOnly, signal }) => {
      const { filter, count, snap: asked = SNAP_DEFAULT, rate, notices } = query as schema.TraceQuery;
      // Headers, not what clients and servers say to each other.
      const snap = readOnly ? Math.min(asked, SNAP_READ_ONLY) : asked;
      return info.tracer().trace({ filter, count, snap, rate, remote, notices: notices === 1 }, signal);
    },
  },
  {
    method: "GET",
    path: "/v1/trace/origin",
    summary: "What a replay of a trace has to begin with; on the control socket only",
    response: schema.traceOrigin,
    handle: ({ info, remote }) => {
      if (remote) throw new IpvsError("EACCES", errno.EACCES, "only on the control socket: the seed is a secret");
      return info.tracer().origin();
    },
  },
  {
    method: "GET",
    path: "/v1/events/connections",
    summary: "Connections that begin and end, one of `sample`, one JSON document a line",
    asks: schema.eventsQuery,
    response: schema.connectionEvent,
    live: () => "application/x-ndjson",
    handle: ({ info, query, remote, signal }) => {
      const { sample, count } = query as schema.EventsQuery;
      return info.tracer().events({ sample: sample ?? 1, count, remote }, signal);
    },
  },
  {
    method: "GET",
    path: "/v1/ports",
    summary: "The director's ports",
    response: z.array(schema.portInfo),
    handle: ({ info }) => info.ports(),
  },
  {
    method: "GET",
    path: "/v1/neighbours",
    summary: "What the director learnt by ARP and neighbour discovery",
    response: z.array(schema.neighbourInfo),
    handle: ({ info }) => info.neighbours(),
  },
  {
    method: "GET",
    path: "/v1/routes",
    summary: "The director's routes",
    response: z.array(schema.routeInfo),
    handle: ({ info }) => info.routes(),
  },
  {
    method: "GET",
    path: "/v1/daemons",
    summary: "Connection synchronisation daemons",
    response: z.array(schema.daemonInfo),
    handle: ({ ipvs }) => ipvs.daemons(),
  },
  {
    method: "POST",
    path: "/v1/daemons",
    summary: "Starts a synchronisation daemon",
    body: schema.daemonInfo,
    handle: ({ ipvs, body }) => ipvs.startDaemon(body as DaemonInfo),
  },
  {
    method: "DELETE",
    path: "/v1/daemons/:role",
    summary: "Stops a synchronisation daemon: master or backup",
    handle: ({ ipvs, params }) => {
      const role = schema.daemonRole.safeParse(params.role);
      if (!role.success) throw invalid(`a daemon is master or backup, not ${params.role}`);
      return ipvs.stopDaemon(role.data);
    },
  },
];

function jsonSchema(type: z.ZodType): unknown {
  const { $schema, ...rest } = z.toJSONSchema(type, { io: "input" });
  return rest;
}

/** The OpenAPI 3.1 document of the table above. */
export function openApi(version: string): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  const failure = {
    description: "Refused",
    content: { "application/json": { schema: { $ref: "#/components/schemas/error" } } },
  };
  for (const route of ROUTES) {
    const names = [...route.path.matchAll(/:(\w+)/g)].map((match) => match[1]!);
    const type = route.text ?? (route.lines || route.live ? "application/x-ndjson" : "application/json");
    const path = (paths[route.path.replace(/:(\w+)/g, "{$1}")] ??= {});
    path[route.method.toLowerCase()] = {
      summary: route.summary,
      ...((names.length > 0 || route.query || route.asks) && {
        parameters: [
          ...names.map((name) => ({ name, in: "path", required: true, schema: { type: "string" } })),
          ...Object.entries(route.query ?? {}).map(([name, description]) => {
            return { name, in: "query", description, schema: { type: "string" } };
          }),
          ...Object.entries(route.asks?.shape ?? {}).map(([name, type]) => ({
            name,
            in: "query",
            required: false,
            schema: jsonSchema(type as z.ZodType),
          })),
        ],
      }),
      ...(route.body && {
        requestBody: { required: true, content: { "application/json": { schema: jsonSchema(route.body) } } },
      }),
      responses: {
        ...(route.response
          ? { 200: { description: "Done", content: { [type]: { schema: jsonSchema(route.response) } } } }
          : { 204: { description: "Done" } }),
        default: failure,
      },
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "wlvs",
      version,
      description: "Control interface of a wlvs director",
      license: { name: "Apache-2.0" },
    },
    paths,
    components: { schemas: { error: jsonSchema(schema.error) } },
  };
}
