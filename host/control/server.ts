/**
 * The control server: HTTP and JSON on a Unix socket, and, when asked, on TCP (read-only there unless told otherwise).
 */
import { chmodSync, chownSync, existsSync, lstatSync, readFileSync, unlinkSync } from "node:fs";
import type { IncomingHttpHeaders, Server, ServerResponse } from "node:http";
import { connect, isIP, type Socket } from "node:net";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { pipeline, Readable } from "node:stream";
import Fastify, { type FastifyInstance, type FastifyReply } from "fastify";
import { servePage } from "../dashboard/assets.js";
import { Live } from "../dashboard/live.js";
import { LvsError } from "../errors.js";
import type { Ipvs } from "../ipvs/model.js";
import { IpvsError } from "../ipvs/model.js";
import type { Logger } from "../log.js";
import type { DirectorInfo } from "./director-info.js";
import { type Gate, guard } from "./gate.js";
import { openApi, ROUTES, type Route } from "./routes.js";

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** Also changes, not only reads. */
  readonly admin: boolean;
}

export interface ControlServerOptions {
  readonly ipvs: Ipvs;
  readonly info: DirectorInfo;
  readonly socketPath: string;
  /** A listening socket that was made before (by the keeper); socketPath then only names it. */
  readonly fd?: number | undefined;
  /** 0600, or 0660 when there is a group. */
  readonly mode?: number | undefined;
  /** Name or number. */
  readonly group?: string | number | undefined;
  readonly listen?: ListenOptions | undefined;
  readonly log?: Logger | undefined;
  /** More routes for every listener (metrics, dashboard). */
  extend?(app: FastifyInstance): void;
}

export interface ControlServer {
  /** Where it listens on TCP, when it does; the port is the real one if 0 was asked for. */
  readonly tcp: { readonly host: string; readonly port: number } | undefined;
  close(): Promise<void>;
  /** Takes no more requests, but answers those that it has; close() then has nothing to cut off. */
  drain(): Promise<void>;
}

const BODY_LIMIT = 256 * 1024;
/** A peer that says nothing for so long is let go. */
const REQUEST_TIMEOUT_MS = 10_000;
/** How often that is looked at. */
const LOOK_MS = 5_000;
/** So is one that neither sends nor takes anything in the middle of an answer. */
const IDLE_MS = 60_000;
/** Descriptors and memory are the director's, and the control socket has to be reached when others ask too much. */
const CONNECTIONS_MOST = 1024;
const TCP_CONNECTIONS_MOST = 128;
/** Descriptors that the control socket leaves to the director; TCP leaves as many to the control socket. */
const RESERVE = 32;
/** Requests of one connection at the same time. An answer that waits for the one before it has its whole buffers. */
const PIPELINED_MOST = 4;
const LONGEST_PATH = 107;
const CHUNK = 32 * 1024;

/** HTTP status of an error of the tables. */
const STATUS: Readonly<Record<string, number>> = {
  ENOENT: 404,
  ESRCH: 404,
  EEXIST: 409,
  EBUSY: 409,
  EPERM: 403,
  EACCES: 403,
  ENOMEM: 507,
  ENOSPC: 507,
  EOPNOTSUPP: 501,
  EPROTONOSUPPORT: 501,
  EAFNOSUPPORT: 501,
};

interface Problem {
  readonly status: number;
  readonly code: string;
  readonly errno: number;
  readonly message: string;
}

function problem(status: number, code: string, message: string, errno = 0): Problem {
  return { status, code, errno, message };
}

function problemOf(cause: unknown): Problem {
  if (cause instanceof IpvsError) return problem(STATUS[cause.code] ?? 400, cause.code, cause.message, cause.errno);
  const error = cause as { statusCode?: number; code?: string; message?: string };
  if (error.statusCode !== undefined && error.statusCode < 500) {
    return problem(error.statusCode, "ERR_LVS_REQUEST", error.message ?? "bad request");
  }
  return problem(500, "ERR_LVS_INTERNAL", error.message ?? String(cause));
}

function bodyOf(found: Problem): { error: { code: string; errno: number; message: string } } {
  return { error: { code: found.code, errno: found.errno, message: found.message } };
}

/** One JSON document a line, in chunks worth sending. */
async function* lines(items: AsyncIterable<unknown>): AsyncGenerator<string> {
  let chunk = "";
  for await (const item of items) {
    chunk += `${JSON.stringify(item)}\n`;
    if (chunk.length >= CHUNK) {
      yield chunk;
      chunk = "";
    }
  }
  if (chunk !== "") yield chunk;
}

/** A document at once when it comes: what a reader watches. */
async function* watched(items: AsyncIterable<unknown>): AsyncGenerator<string | Uint8Array> {
  for await (const item of items) yield item instanceof Uint8Array ? item : `${JSON.stringify(item)}\n`;
}

/** `listen`: what is listened on over TCP. */
function register(
  app: FastifyInstance,
  route: Route,
  { ipvs, info }: ControlServerOptions,
  live: Live,
  listen: ListenOptions | undefined,
): void {
  const remote = listen !== undefined;
  const readOnly = remote && !listen.admin;
  app.route({
    method: route.method,
    url: route.path,
    // What never ends by itself would be held by somebody who does not read.
    ...(route.live !== undefined && { exposeHeadRoute: false }),
    ...(route.bodyLimit !== undefined && { bodyLimit: route.bodyLimit }),
    handler: async (request, reply) => {
      let body: unknown;
      if (route.body) {
        const parsed = route.body.safeParse(request.body);
        if (!parsed.success) {
          const issues = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "body"}: ${message}`);
          throw new IpvsError("EINVAL", 22, issues.join("; "));
        }
        body = parsed.data;
      }
      let query = request.query as Record<string, unknown>;
      if (route.asks) {
        const parsed = route.asks.safeParse(query);
        if (!parsed.success) {
          const issues = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "query"}: ${message}`);
          throw new IpvsError("EINVAL", 22, issues.join("; "));
        }
        query = parsed.data as Record<string, unknown>;
      }
      const gone = new AbortController();
      const params = request.params as Record<string, string>;
      const result = await route.handle({ ipvs, info, params, query, body, remote, readOnly, signal: gone.signal });
      if (route.method !== "GET") live.changed();
      if (route.live) {
        // A reader may wait for as long as nothing happens.
        request.raw.socket.setTimeout(0);
        // One that is gone without a word is told from one that waits.
        request.raw.socket.setKeepAlive(true, IDLE_MS);
        // Said at once: the first record may be long in coming.
        reply.hijack();
        reply.raw.writeHead(200, { "content-type": route.live(query), "cache-control": "no-store" });
        reply.raw.flushHeaders();
        pipeline(Readable.from(watched(result as AsyncIterable<unknown>), { objectMode: false }), reply.raw, () => {});
        reply.raw.once("close", () => gone.abort());
        if (reply.raw.destroyed) gone.abort();
        return reply;
      }
      if (route.lines) {
        reply.type("application/x-ndjson");
        return reply.send(Readable.from(lines(result as AsyncIterable<unknown>), { objectMode: false }));
      }
      if (route.text !== undefined) {
        reply.type(route.text);
        return reply.send(Readable.from(result as AsyncIterable<string>, { objectMode: false }));
      }
      if (!route.response) return reply.code(204).send();
      return reply.type("application/json").send(JSON.stringify(result));
    },
  });
}

/** A name that only this machine can have been given: an address, localhost, its own, or what --listen said. */
function isOwnHost(host: string | undefined, listen: ListenOptions): boolean {
  if (host === undefined) return false;
  const name = host.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  return isIP(name) !== 0 || ["localhost", hostname(), listen.host].includes(name);
}

/**
 * Whether a browser says that a page of somewhere else asks. Following a link here is no such thing, a frame in that page
 * is; what only reads has no Origin, so this is what keeps others' pages from holding streams open.
 */
function isForeign(headers: IncomingHttpHeaders, method: string): boolean {
  const { "sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": destination } = headers;
  if (site === undefined || site === "same-origin" || site === "none") return false;
  return mode !== "navigate" || destination !== "document" || method !== "GET";
}

function serveLive(app: FastifyInstance, live: Live, version: string, admin: boolean): void {
  app.get("/v1/live", { exposeHeadRoute: false }, (_request, reply) => {
    const { refusal } = live;
    if (refusal !== undefined) {
      return reply
        .code(503)
        .header("retry-after", "5")
        .send(bodyOf(problem(503, "ERR_LVS_BUSY", refusal)));
    }
    reply.hijack();
    live.watch(reply.raw, { version, admin });
  });
}

const pending = new WeakMap<Socket, number>();

/** Counts what a connection waits for. Nobody asks for more before an answer has come, but to see what that costs here. */
function isOneOfFew(socket: Socket, response: ServerResponse): boolean {
  if (socket.destroyed) return false;
  const count = (change: number) => {
    const now = (pending.get(socket) ?? 0) + change;
    pending.set(socket, now);
    return now;
  };
  response.once("close", () => count(-1));
  return count(1) <= PIPELINED_MOST;
}

/** What is no HTTP gets an answer like any other mistake. */
function refuseConnection(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const timeout = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
  const large = error.code === "HPE_HEADER_OVERFLOW";
  const [status, reason] = timeout
    ? [408, "Request Timeout"]
    : large
      ? [431, "Request Header Fields Too Large"]
      : [400, "Bad Request"];
  const body = JSON.stringify(
    bodyOf(
      problem(
        status as number,
        "ERR_LVS_REQUEST",
        timeout ? "the request took too long" : large ? "the headers are too long" : "this is not HTTP",
      ),
    ),
  );
  const head = `HTTP/1.1 ${status} ${reason}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}`;
  socket.end(`${head}\r\nconnection: close\r\n\r\n${body}`);
}

function createApp(options: ControlServerOptions, live: Live, listen: ListenOptions | undefined): FastifyInstance {
  const app = Fastify({
    bodyLimit: BODY_LIMIT,
    routerOptions: { maxParamLength: 128 },
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: IDLE_MS,
    http: { headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: LOOK_MS },
    forceCloseConnections: true,
    clientErrorHandler(error, socket) {
      refuseConnection(error, socket);
    },
    frameworkErrors(error, _request, reply: FastifyReply) {
      const found = problemOf(error);
      reply.code(found.status).send(bodyOf(found));
    },
  });
  app.setErrorHandler((error, _request, reply) => {
    const found = problemOf(error);
    // What failed may have said already that it is a text.
    reply.code(found.status).type("application/json").send(bodyOf(found));
  });
  app.setNotFoundHandler((request, reply) => {
    const found = problem(404, "ERR_LVS_NO_SUCH_PATH", `there is no ${request.method} ${request.url}`);
    reply.code(404).send(bodyOf(found));
  });
  app.addHook("onRequest", async (request, reply) => {
    if (isOneOfFew(request.raw.socket, reply.raw)) return;
    request.raw.socket.destroy();
    return reply.hijack();
  });
  if (listen) {
    // A page from elsewhere must not reach the director through the reader's browser: a rebound name has a Host that
    // is none of ours, a foreign page an Origin.
    app.addHook("onRequest", async (request, reply) => {
      const { host, origin } = request.headers;
      if (!isOwnHost(host, listen)) {
        const found = problem(403, "ERR_LVS_HOST", `not served under the name ${host ?? "(none)"}`);
        return reply.code(403).send(bodyOf(found));
      }
      if (origin !== undefined && origin !== `http://${host}`) {
        return reply.code(403).send(bodyOf(problem(403, "ERR_LVS_ORIGIN", `not served to pages of ${origin}`)));
      }
      if (isForeign(request.headers, request.method)) {
        return reply.code(403).send(bodyOf(problem(403, "ERR_LVS_ORIGIN", "not served to pages from elsewhere")));
      }
      if (!listen.admin && request.method !== "GET" && request.method !== "HEAD") {
        const found = problem(403, "ERR_LVS_READ_ONLY", "read-only here: use the control socket, or --listen-admin");
        return reply.code(403).send(bodyOf(found));
      }
    });
  }
  for (const route of ROUTES) register(app, route, options, live, listen);
  const version = options.info.status().version;
  app.get("/v1/openapi.json", async () => openApi(version));
  serveLive(app, live, version, listen === undefined || listen.admin);
  if (listen) servePage(app);
  options.extend?.(app);
  return app;
}

/** Whether somebody answers on a socket that is there already. */
function isLive(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" || error.code === "ENOENT") resolve(false);
      // A full backlog: somebody is there, only busy.
      else if (error.code === "EAGAIN") resolve(true);
      else reject(error);
    });
  });
}

/** Takes away what a director that ended badly left behind; refuses to touch anything else. */
async function clearPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > LONGEST_PATH) {
    throw new LvsError("ERR_LVS_SOCKET", `cannot open ${path}: a socket's path has at most ${LONGEST_PATH} bytes`);
  }
  // Binding would say "permission denied".
  if (!existsSync(dirname(path))) throw new LvsError("ERR_LVS_SOCKET", `cannot open ${path}: no such directory`);
  let found: ReturnType<typeof lstatSync>;
  try {
    found = lstatSync(path);
  } catch {
    return;
  }
  if (!found.isSocket()) throw new LvsError("ERR_LVS_SOCKET", `${path} exists and is not a socket`);
  if (await isLive(path)) {
    throw new LvsError("ERR_LVS_SOCKET", `socket in use: another director answers on ${path}`);
  }
  unlinkSync(path);
}

function groupId(group: string | number): number {
  if (typeof group === "number") return group;
  if (/^\d+$/.test(group)) return Number(group);
  for (const line of readFileSync("/etc/group", "utf8").split("\n")) {
    const [name, , id] = line.split(":");
    if (name === group && id !== undefined) return Number(id);
  }
  throw new LvsError("ERR_LVS_SOCKET", `no such group: ${group}`);
}

function listening(server: Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
    start();
  });
}

async function listenSocket(server: Server, options: ControlServerOptions): Promise<void> {
  const { socketPath: path, fd, group } = options;
  if (fd !== undefined) return listening(server, () => server.listen({ fd }));
  await clearPath(path);
  const gid = group === undefined ? undefined : groupId(group);
  try {
    // Node binds before listen() returns, so nobody else's right is ever open, not even for a moment.
    await listening(server, () => {
      const before = process.umask(0o177);
      try {
        server.listen(path);
      } finally {
        process.umask(before);
      }
    });
  } catch (cause) {
    throw new LvsError("ERR_LVS_SOCKET", `cannot open ${path}: ${reasonOf(cause)}`, cause);
  }
  try {
    if (gid !== undefined) chownSync(path, -1, gid);
    chmodSync(path, options.mode ?? (gid === undefined ? 0o600 : 0o660));
  } catch (cause) {
    server.close();
    throw new LvsError("ERR_LVS_SOCKET", `cannot hand ${path} to group ${group}: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

function reasonOf(cause: unknown): string {
  switch ((cause as NodeJS.ErrnoException).code) {
    case "EACCES":
    case "EPERM":
      return "permission denied";
    case "EADDRINUSE":
      return "address in use";
    case "EADDRNOTAVAIL":
      return "no such address here";
    default:
      return (cause as Error).message;
  }
}

/** A low port is for the privileged, which the director is not. */
function remedyOf(cause: unknown): string {
  if ((cause as NodeJS.ErrnoException).code !== "EACCES") return "";
  return " (take a port from 1024 on, or lower net.ipv4.ip_unprivileged_port_start)";
}

function closing(server: Server, gate: Gate | undefined): Promise<void> {
  gate?.close();
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

/** Opens the control socket (and the TCP one); resolves once both answer. */
export async function createControlServer(options: ControlServerOptions): Promise<ControlServer> {
  const live = new Live(options.ipvs, options.info);
  const { log } = options;
  const app = createApp(options, live, undefined);
  const listener = options.socketPath;
  const lasts = options.fd !== undefined;
  const gate = guard(app.server, { listener, most: CONNECTIONS_MOST, reserve: RESERVE, lasts, log });
  await app.ready();
  await listenSocket(app.server, options);
  let tcpApp: FastifyInstance | undefined;
  let tcpGate: Gate | undefined;
  let tcp: ControlServer["tcp"];
  if (options.listen) {
    const { host, port } = options.listen;
    tcpApp = createApp(options, live, options.listen);
    const server = tcpApp.server;
    const most = TCP_CONNECTIONS_MOST;
    tcpGate = guard(server, { listener: `${host}:${port}`, most, reserve: 2 * RESERVE, lasts: true, log });
    try {
      await tcpApp.ready();
      await listening(server, () => server.listen(port, host));
    } catch (cause) {
      await closing(app.server, gate);
      throw new LvsError(
        "ERR_LVS_SOCKET",
        `cannot listen on ${host}:${port}: ${reasonOf(cause)}${remedyOf(cause)}`,
        cause,
      );
    }
    const bound = server.address();
    tcp = { host, port: typeof bound === "object" && bound !== null ? bound.port : port };
  }
  return {
    tcp,
    drain: async () => {
      gate.close();
      tcpGate?.close();
      await Promise.all([app.close(), tcpApp?.close()]);
    },
    close: async () => {
      live.close();
      await Promise.all([closing(app.server, gate), tcpApp && closing(tcpApp.server, tcpGate)]);
      await Promise.all([app.close(), tcpApp?.close()]);
    },
  };
}
