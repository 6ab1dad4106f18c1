/** The director's process: no privileges, descriptors from the keeper; ends when the keeper does. */
import type { RunConfig, SourcedStep } from "../config/config.js";
import { createControlServer } from "../control/server.js";
import { Engine, type EnginePort } from "../engine/engine.js";
import { exitStatusOf, LvsError, oneLine } from "../errors.js";
import { Failover } from "../health/failover.js";
import type { Health } from "../health/monitor.js";
import { targetsOf } from "../health/service-health.js";
import { type Ipvs, IpvsError, type IpvsStep } from "../ipvs/model.js";
import { createLog } from "../log.js";
import { Marks } from "../marks/marks.js";
import * as native from "../port/native.js";
import { EngineInfo } from "./info.js";
import type { Start, ToDirector, ToKeeper } from "./messages.js";
import { wantedRoutes, withRoutes } from "./wanted-routes.js";

const SIGTERM = 15;
/** A stop that hangs is ended by force. */
const STOP_MS = 2000;

/** Metric of a route that any other one is better than. */
const LAST_RESORT = 0xffff;
/** How long a change waits for the keeper's routes. */
const ROUTES_MS = 2000;

/** Why the tables refuse what a flag or a line asks for. */
const REFUSALS: Readonly<Record<string, string>> = {
  EEXIST: "it is there already",
  ENOENT: "the core does not know it (a scheduler that is not built?)",
  ESRCH: "its service does not exist",
  EINVAL: "the tables do not take it",
  ERANGE: "a number is out of range",
  ENOMEM: "the tables are full",
  ENOSPC: "the tables are full",
  EOPNOTSUPP: "the core cannot do that yet",
  EPROTONOSUPPORT: "the core cannot do that protocol yet",
  EAFNOSUPPORT: "the address family does not fit",
};

function tell(message: ToKeeper, done: () => void = () => {}): void {
  if (process.connected && process.send !== undefined) process.send(message, () => done());
  else done();
}

let stop: () => Promise<void> = async () => {};
/** Changes that wait for the keeper's routes, by number. */
const unrouted = new Map<number, () => void>();
let reloadMarks: (text: string) => void = () => {};
let learn: (news: readonly Health[]) => void = () => {};
let ending = false;

function end(status: number): void {
  if (ending) return;
  ending = true;
  setTimeout(() => process.kill(process.pid, "SIGKILL"), STOP_MS).unref();
  stop().then(
    () => process.exit(status),
    () => process.exit(1),
  );
}

function fail(error: unknown): void {
  const status = exitStatusOf(error);
  tell({ type: "failed", message: oneLine(error), status }, () => end(status));
}

async function start(message: Start): Promise<void> {
  const { config, ports, version } = message;
  const log = createLog(config.logLevel, "director");
  const engine = new Engine({
    ports,
    workers: config.workers,
    maxConnections: config.maxConnections,
    forward: config.forward,
    spin: config.spin,
    io: config.io,
    log,
    fatal: (error) => {
      if (ending) return;
      log.fatal(error.stack ?? error.message);
      fail(new LvsError("ERR_LVS_CORE", error.message, error));
    },
  });
  stop = () => engine.stop();
  configure(engine, config, ports);
  for (const step of config.steps) await apply(engine.ipvs, step);
  const marks = new Marks(
    engine.control,
    config.ports.map(({ name }) => name),
  );
  if (config.marks !== undefined) marks.replace(config.marks.text);
  reloadMarks = (text) => {
    try {
      marks.replace(text);
      log.info({ rules: marks.count() }, "firewall marks loaded");
    } catch (error) {
      log.error(`firewall marks stay as they were: ${oneLine(error)}`);
    }
  };
  if (config.timeouts !== undefined) await engine.ipvs.setTimeouts(config.timeouts);
  const failover = new Failover(engine.ipvs, log);
  const health = config.health ?? [];
  await failover.configure(health);
  learn = (news) => void failover.learn(news);
  await engine.start();
  const led = config.ports.some(({ routes }) => routes === "auto");
  const leadHere = () => askForRoutes(engine.ipvs, config);
  if (led) await leadHere();
  const server = await createControlServer({
    ipvs: led ? withRoutes(engine.ipvs, leadHere) : engine.ipvs,
    info: new EngineInfo(engine, config, ports, version, marks),
    socketPath: config.socket,
    fd: message.socketFd,
    listen: config.listen,
  });
  stop = async () => {
    failover.close();
    await Promise.all([server.close(), engine.stop()]);
  };
  if (ending) return;
  engine.wake();
  log.info({ workers: config.workers, ports: ports.map(({ name }) => name) }, "forwarding");
  if (health.length > 0) tell({ type: "checks", targets: targetsOf(health) });
  tell({ type: "ready" });
}

function configure(engine: Engine, config: RunConfig, ports: readonly EnginePort[]): void {
  const { control } = engine;
  for (const [name, value] of config.settings) control.setting(name, value);
  for (const [number, spec] of config.ports.entries()) {
    for (const address of spec.addresses) said(`ip=${address}`, () => control.addressAdd(address, number));
  }
  for (const [number, spec] of config.ports.entries()) {
    for (const gateway of spec.gateways) {
      const to = gateway.includes(":") ? "::/0" : "0.0.0.0/0";
      said(`gw=${gateway}`, () => control.routeAdd({ to, gateway, port: number }));
    }
  }
  for (const [number, spec] of config.ports.entries()) {
    // The kernel behind the device knows the way.
    if (spec.routes !== "auto") continue;
    for (const to of ["0.0.0.0/0", "::/0"]) control.routeAdd({ to, port: number, metric: LAST_RESORT });
  }
  for (const route of config.routes) {
    const way = "gateway" in route ? `via=${route.gateway}` : "local";
    said(`--route ${route.to},${way}`, () => control.routeAdd(route));
  }
  for (const { address, mac, port } of config.neighbours) {
    const number = ports.findIndex(({ name }) => name === port);
    said(`--neigh ${address}`, () => control.neighbourAdd(address, mac, number));
  }
}

let asked = 0;

/** Has the keeper lead the addresses of all services here; resolves when it has. */
async function askForRoutes(ipvs: Ipvs, config: RunConfig): Promise<void> {
  const wanted = await wantedRoutes(ipvs, config);
  const number = ++asked;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ROUTES_MS);
    unrouted.set(number, () => {
      clearTimeout(timer);
      resolve();
    });
    tell({ type: "routes", wanted, number });
  });
  unrouted.delete(number);
}

async function apply(ipvs: Ipvs, { from, step }: SourcedStep): Promise<void> {
  try {
    await applyStep(ipvs, step);
  } catch (error) {
    throw refused(from, error);
  }
}

function applyStep(ipvs: Ipvs, step: IpvsStep): Promise<void> {
  switch (step.do) {
    case "addService":
      return ipvs.addService(step.service);
    case "editService":
      return ipvs.editService(step.service);
    case "removeService":
      return ipvs.removeService(step.id);
    case "addServer":
      return ipvs.addServer(step.service, step.server);
    case "editServer":
      return ipvs.editServer(step.service, step.server);
    case "removeServer":
      return ipvs.removeServer(step.service, step.server);
    case "flush":
      return ipvs.flush();
  }
}

function said(from: string, call: () => unknown): void {
  try {
    call();
  } catch (error) {
    throw refused(from, error);
  }
}

function refused(from: string, error: unknown): unknown {
  if (!(error instanceof IpvsError)) return error;
  return new LvsError("ERR_LVS_TABLES", `${from}: ${REFUSALS[error.code] ?? error.code}`, error);
}

// The keeper may be killed where it can say nothing: the channel closes, and the kernel sends a signal.
process.on("SIGTERM", () => end(0));
process.on("SIGINT", () => {});
process.on("SIGHUP", () => {});
process.on("disconnect", () => end(0));
native.prctl(native.PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
if (!process.connected) end(0);
process.on("message", (message: ToDirector) => {
  if (message.type === "start") start(message).catch(fail);
  else if (message.type === "health") learn(message.health);
  else if (message.type === "routed") unrouted.get(message.number)?.();
  else reloadMarks(message.text);
});
