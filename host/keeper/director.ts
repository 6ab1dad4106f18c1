/** The director's process: no privileges, descriptors from the keeper; ends when the keeper does. */
import { join } from "node:path";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import type { Worker as Thread } from "node:worker_threads";
import type { RunConfig, SourcedStep } from "../config/config.js";
import type { ConfigurationInfo, ReloadResult, UpgradeResult } from "../control/director-info.js";
import { Snapshots } from "../core/snapshot.js";
import { Engine, type EnginePort } from "../engine/engine.js";
import { exitStatusOf, LvsError, oneLine } from "../errors.js";
import type { Health, Tally } from "../health/monitor.js";
import { type Ipvs, IpvsError, type IpvsStep } from "../ipvs/model.js";
import { createLog } from "../log.js";
import type { ProcfsSource } from "../metrics/procfs.js";
import { receiveDescriptors } from "../port/descriptors.js";
import * as native from "../port/native.js";
import type { StateReader } from "../state/reader.js";
import type { StateWriter } from "../state/writer.js";
import type { EngineInfo } from "./info.js";
import type { Start, StepIn, ToDirector, ToKeeper } from "./messages.js";
import { DESCRIPTORS_FD } from "./spawn.js";
import type { SavedTables } from "./tables-report.js";

const SIGTERM = 15;
const EINVAL = 22;
const EAGAIN = 11;
const EBUSY = 16;
/** How long a director that was replaced goes on answering what it had been asked. */
const LEAVE_MS = 1000;
/** A stop that hangs is ended by force. */
const STOP_MS = 2000;

/** A worker that begins no breath for so long hangs: an idle one is woken within less than one. */
const BREATH_MS = 1000;

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
/** Writes what the next one needs, and nothing else is done any more. */
let leaveState: () => Promise<void> = async () => {};
let changePort: (number: number, port: EnginePort, swapped: boolean) => Promise<void> = async () => {};
/** One after the other, as they were told. */
let portChanges: Promise<void> = Promise.resolve();
/** Changes that wait for the keeper's routes, by number. */
const unrouted = new Map<number, () => void>();
/** Snapshots that wait for their place, by number. */
const commits = new Map<number, (problem: string | undefined) => void>();
/** Upgrades that were asked for here, by number. */
const upgrades = new Map<number, { done(result: UpgradeResult): void; failed(error: unknown): void }>();
/** What the keeper is waited for to say. */
const waiting = new Map<ToDirector["type"], (message: ToDirector) => void>();
/** How this director gives its place to another one, or keeps it after all. */
let successions: Succession | undefined;
/** What the keeper wants to be different is done from now on. */
let begin: () => void = () => {};
let reloadMarks: (text: string) => void = () => {};
/** Reloads that were asked for here, by number. */
const reloads = new Map<number, { done(result: ReloadResult): void; failed(error: unknown): void }>();
let reconfigure: (config: RunConfig) => Promise<ReloadResult> = async () => ({ changes: [], restart: [] });
let learn: (news: readonly Health[], tallies: readonly Tally[]) => void = () => {};
let reloaded: (result: "applied" | "refused") => void = () => {};
let breathing: () => Promise<boolean> = async () => false;
/** When the configuration that is running was read, and what was wrong with one that came after it. */
let configured: Pick<ConfigurationInfo, "read" | "refused"> = { read: new Date().toISOString() };
let ending = false;
/** Who started this process. */
const keeper = process.ppid;
/** It stands by: there is nothing that it would have to end. */
let idle = false;
/** The director before has died. */
let stepIn: (message: StepIn) => void = () => {};

function end(status: number): void {
  if (ending) return;
  ending = true;
  // Faster than an exit, and whoever comes next waits for what it has open.
  if (idle) process.kill(process.pid, "SIGKILL");
  setTimeout(() => process.kill(process.pid, "SIGKILL"), STOP_MS).unref();
  if (process.ppid !== keeper || !process.connected) {
    // The next one may wait for the devices already.
    leaveState()
      .catch(() => {})
      .finally(() => process.kill(process.pid, "SIGKILL"));
    return;
  }
  stop().then(
    () => process.exit(status),
    () => process.exit(1),
  );
}

function fail(error: unknown): void {
  const status = exitStatusOf(error);
  tell({ type: "failed", message: oneLine(error), status }, () => end(status));
}

/** The whole core is compiled for speed at once, not function by function when it is called: there is time now. */
function compileAhead(): void {
  for (const flag of ["--no-liftoff", "--no-wasm-lazy-compilation"]) setFlagsFromString(flag);
}

/** Everything that a director needs but tables; resolves when it is to begin, with what it has to begin with. */
async function standBy(engine: Engine, snapshots: Snapshots, begun: Start): Promise<Start> {
  idle = true;
  await engine.prepare();
  // What is loaded when it is needed otherwise; and of the same build as all the rest.
  await Promise.all([import("../control/server.js"), import("./later.js"), import("../marks/marks.js")]);
  await Promise.all([import("../health/failover.js"), import("./state.js"), import("../config/diff.js")]);
  const told = new Promise<StepIn>((resolve) => (stepIn = resolve));
  tell({ type: "waiting" });
  const { swapped, config, restarts, tables } = await told;
  idle = false;
  snapshots.advance(engine.clock.ticks());
  return { ...begun, config, restarts, tables, state: stateFiles(begun.state, swapped) };
}

/** `swapped`: a snapshot has been committed since they were given. */
function stateFiles(state: Start["state"], swapped: boolean): Start["state"] {
  return swapped && state !== undefined ? { current: state.spare, spare: state.current } : state;
}

async function start(places: Start, thread: Thread): Promise<void> {
  const begun = received(places);
  const { ports, version } = begun;
  let { config } = begun;
  if (begun.standby || begun.incoming !== undefined) compileAhead();
  const log = createLog(config.logLevel, "director");
  const engine = new Engine({
    ports,
    workers: config.workers,
    maxConnections: config.maxConnections,
    forward: config.forward,
    spin: config.spin,
    io: config.io,
    log,
    thread,
    fatal: (error) => {
      if (ending) return;
      log.fatal({ event: "engine.failed" }, error.stack ?? error.message);
      fail(new LvsError("ERR_LVS_CORE", error.message, error));
    },
    portFailed: () => tell({ type: "look" }),
  });
  stop = () => engine.stop();
  changePort = (number, port, swapped) => takePort(engine, number, port, swapped);
  const snapshots = new Snapshots(engine.control.core, engine.memory);
  const message = begun.standby ? await standBy(engine, snapshots, begun) : begun;
  config = message.config;
  const refusedState = () => tell({ type: "state-refused" });
  const recovery =
    message.incoming === undefined &&
    message.state &&
    (await import("./state.js")).recover(message.state.current, snapshots, config, log, refusedState);
  let tables = message.tables ?? (recovery ? recovery.tables : undefined);
  let incoming: StateReader | undefined;
  /** What the director before has said of its services. */
  let saidBefore = "";
  if (message.incoming !== undefined) {
    // Nobody is to wait for files once it has taken the other one's place.
    await Promise.all([engine.prepare(), import("./later.js")]);
    tell({ type: "prepared" });
    await told("take");
    const { StateReader } = await import("../state/reader.js");
    snapshots.advance(engine.clock.ticks());
    incoming = new StateReader(message.incoming, snapshots, "ours");
    [saidBefore, tables] = await tablesFrom(incoming);
  }
  configure(engine, config, ports);
  for (const step of tables === undefined ? config.steps : await stepsOf(tables)) await apply(engine.ipvs, step);
  const makeMarks = async () => {
    const { Marks } = await import("../marks/marks.js");
    return new Marks(
      engine.control,
      config.ports.map(({ name }) => name),
    );
  };
  const markRules = tables?.marks ?? config.marks?.text;
  const marksFirst = markRules === undefined ? undefined : await makeMarks();
  if (markRules !== undefined) marksFirst?.replace(markRules);
  for (const [name, value] of tables?.settings ?? []) engine.control.setting(name, value);
  const timeouts = tables?.timeouts ?? config.timeouts;
  if (timeouts !== undefined) await engine.ipvs.setTimeouts(timeouts);
  const { diffTables } = await import("../config/diff.js");
  /** What has changed over there since it was last read. */
  const follow = async (reader: StateReader): Promise<void> => {
    snapshots.advance(engine.clock.ticks());
    const [said, late] = await tablesFrom(reader, saidBefore);
    if (said === saidBefore || late === undefined) return;
    saidBefore = said;
    for (const step of diffTables(tables?.services ?? [], late.services)) {
      await apply(engine.ipvs, { from: "the tables of the director before", step });
    }
    for (const [name, value] of late.settings) engine.control.setting(name, value);
    await engine.ipvs.setTimeouts(late.timeouts);
    if (late.marks !== tables?.marks) marksFirst?.replace(late.marks);
    tables = late;
  };
  let toBegin: Promise<unknown> = Promise.resolve();
  if (recovery) recovery.restore();
  else if (incoming !== undefined) {
    incoming.link();
    toBegin = told("begin");
    const following = told("follow").then(() => true);
    tell({ type: "taken" });
    // A keeper of a version before knows of no second time.
    if (await Promise.race([following, toBegin.then(() => false)])) {
      await follow(incoming);
      incoming.link();
      tell({ type: "followed" });
    }
  }
  const makeFailover = async () => {
    const { Failover } = await import("../health/failover.js");
    const made = new Failover(engine.ipvs, log);
    await made.configure(config.health ?? []);
    return made;
  };
  // Where servers are checked, that decides who is sent frames, before there are any.
  const failoverFirst = (config.health ?? []).length === 0 ? undefined : await makeFailover();
  // All that is left to do here is done while nobody forwards.
  let taken = 0;
  let swapped = false;
  if (incoming !== undefined) {
    await toBegin;
    await follow(incoming);
    taken = incoming.restore().connections;
  }
  await engine.start();
  breathing = () => engine.breathing(BREATH_MS);
  if (incoming !== undefined) {
    tell({ type: "moving", connections: taken });
    await failoverFirst?.settleAll();
    swapped = (await told("alone")).swapped;
  }
  let flows = false;
  const flow = () => {
    if (ending || flows) return;
    flows = true;
    engine.wake();
    const names = ports.map(({ name }) => name);
    log.info({ event: "director.ready", workers: config.workers, ports: names }, "forwarding");
    tell({ type: "ready" });
  };
  const led = config.ports.some(({ routes }) => routes === "auto");
  // All else is loaded beside the frames, unless they need it to come here at all, or somebody waits for a port of TCP.
  if (config.listen === undefined && !led) flow();
  const later = await import("./later.js");
  const { observed, stateText, stepText, tableOf, targetsOf } = later;
  const marks = marksFirst ?? (await makeMarks());
  const failover = failoverFirst ?? (await makeFailover());
  /** The tables have been handed over: changes would be lost. */
  let frozen = false;
  const mayChange = () => {
    if (frozen) throw new IpvsError("EBUSY", EBUSY, "the director is being replaced: ask again");
  };
  learn = (news, tallies) => {
    failover.count(tallies);
    // The next one is told of it, too.
    if (news.length > 0 && !frozen) void failover.learn(news);
  };
  const passive = new later.Passive(engine.ipvs, (news) => void failover.learn(news));
  passive.configure(config.health ?? []);
  const floods = new later.FloodWatch(engine.ipvs.tables, log);
  const whole = async () => failover.whole(await engine.ipvs.services());
  const leadHere = () => askForRoutes({ services: whole }, config);
  if (led) await leadHere();
  const saved = async (): Promise<SavedTables> => {
    const services = (await whole()).map(tableOf);
    const settings = Object.entries(info.settings()).map(([name, value]) => [name, `${value}`] as const);
    return { services, settings, timeouts: await engine.ipvs.timeouts(), marks: marks.text() };
  };
  let latest: SavedTables | undefined;
  let writer: StateWriter | undefined;
  const report = new later.Throttle(async () => {
    latest = await saved();
    writer?.changed();
    tell({ type: "tables", tables: latest });
  });
  reloadMarks = (text) => {
    try {
      marks.replace(text);
      log.info({ event: "marks.loaded", rules: marks.count() }, "firewall marks loaded");
      report.changed();
    } catch (error) {
      log.error({ event: "marks.refused" }, `firewall marks stay as they were: ${oneLine(error)}`);
    }
  };
  const changed = async () => {
    await failover.settleAll();
    report.changed();
    if (led) await leadHere();
  };
  const tuning = async () => later.runningTuning(await engine.ipvs.timeouts(), info.settings());
  reconfigure = async (next) => {
    const place = { control: engine.control, ipvs: engine.ipvs, failover, marks, tuning };
    const began = performance.now();
    const { steps, changes, restart, ...applied } = await later.applyConfig(place, config, next);
    const ms = Math.round((performance.now() - began) * 10) / 10;
    config = applied.config;
    passive.configure(config.health ?? []);
    tell({ type: "applied", config });
    tell({ type: "checks", targets: targetsOf(config.health ?? []) });
    await changed();
    engine.wake();
    log.info({ event: "config.reloaded", changes: steps.length + changes.length, ms }, "reloaded");
    if (restart.length > 0) log.warn({ event: "config.restart" }, `for a restart: ${restart.join(", ")}`);
    return { changes: [...steps.map(stepText), ...changes], restart };
  };
  const counted = { restarts: message.restarts, reloads: { applied: 0, refused: 0 } };
  reloaded = (result) => counted.reloads[result]++;
  const portNames = ports.map(({ name, kind, mac }) => ({
    name,
    link: kind === "tap",
    ...(kind === "tap" && { mac }),
  }));
  const tracer = new later.Tracer(engine.control, engine.memory, portNames, () => engine.clock.tickZero());
  const info: EngineInfo = new later.EngineInfo(engine, config, version, marks, {
    health: () => failover.health(),
    tables: whole,
    configuration: async () => {
      if (config.file === undefined) return { file: undefined, drift: [], ...configured };
      const said = later.tablesOf(config.steps.map(({ step }) => step));
      const drift = [
        ...later.diffTables(await whole(), said).map(stepText),
        ...later.tuningTexts(await tuning(), later.tuningOf(config)),
      ];
      return { file: config.file, drift, ...configured };
    },
    reload: askForReload,
    upgrade: askForUpgrade,
    profile: () => config.profile,
    counted,
    tracer: () => tracer,
  });
  const procfs =
    config.procfs === undefined
      ? undefined
      : new later.ProcfsWriter(join(config.procfs, "net"), procfsSource(engine), (error) =>
          log.error({ event: "procfs.failed" }, `--procfs ${config.procfs}: ${oneLine(error)}`),
        );
  const serve = async () => {
    const { createControlServer } = await import("../control/server.js");
    return createControlServer({
      ipvs: observed(later.withHeld(engine.ipvs, failover), later.TABLE_CHANGES, changed, mayChange),
      info: observed(info, ["setSetting", "setMarks"], changed, mayChange),
      socketPath: config.socket,
      fd: message.socketFd,
      listen: config.listen,
      log,
    });
  };
  const ready = () => {
    if (ending) return;
    engine.wake();
    tell({ type: "checks", targets: targetsOf(config.health ?? []) });
    flow();
    begin();
  };
  // The server takes as long to load as all the rest. The control socket is open already, whoever connects to it waits
  // for its turn; only a port of TCP may still be refused.
  const early = config.listen === undefined;
  if (early) ready();
  const serving = serve();
  const text = () => stateText(latest!, config);
  const given = stateFiles(message.state, swapped);
  const files = given && { ...given, commit: askToCommit };
  const keep = async () => {
    if (files === undefined) return;
    latest = await saved();
    writer = new later.StateWriter({ snapshots, files, log, text });
    void writer.start();
  };
  await keep();
  let outgoing: StateWriter | undefined;
  successions = {
    copy: async () => {
      await writer?.pause();
      writer = undefined;
      latest = await saved();
      const memory = { current: -1, spare: message.outgoing, inMemory: true, commit: async () => {} };
      outgoing = new later.StateWriter({ snapshots, files: memory, log, text });
      await outgoing.start();
      if (outgoing.status.failed !== undefined) throw new Error(outgoing.status.failed);
    },
    catchUp: async () => {
      await outgoing?.catchUp();
    },
    handOver: async () => {
      frozen = true;
      const { generation } = snapshots;
      latest = await saved();
      await engine.halt();
      // What had been asked for before that moment may have been done after it.
      if (snapshots.generation !== generation) latest = await saved();
      outgoing?.changed();
      await outgoing?.handOver();
      if (outgoing?.status.failed !== undefined) throw new Error(outgoing.status.failed);
    },
    resume: async () => {
      await outgoing?.pause();
      outgoing = undefined;
      if (frozen) {
        await engine.stop();
        await engine.start();
      }
      frozen = false;
      if (writer === undefined) await keep();
    },
    leave: async () => {
      const server = await serving;
      await server.drain();
    },
  };
  stop = async () => {
    floods.close();
    passive.close();
    failover.close();
    report.close();
    await procfs?.close();
    tracer.close();
    await Promise.all([serving.then((server) => server.close()).catch(() => {}), engine.stop()]);
    if (writer === undefined) return;
    latest = await saved();
    await writer.close();
  };
  leaveState = async () => {
    failover.close();
    await engine.halt();
    const files = procfs?.close();
    if (writer !== undefined) {
      latest = await saved();
      await writer.close(false);
    }
    await files;
  };
  await serving;
  if (!early) ready();
}

/** The same, with the numbers that descriptors have here in place of their places. */
function received(start: Start): Start {
  const here = receiveDescriptors(DESCRIPTORS_FD, start.descriptorCount);
  const at = (place: number) => here[place]!;
  const maybe = (place: number | undefined) => (place === undefined ? undefined : at(place));
  return {
    ...start,
    ports: start.ports.map((port) => ({ ...port, queues: port.queues.map(at), netlink: maybe(port.netlink) })),
    socketFd: at(start.socketFd),
    outgoing: at(start.outgoing),
    incoming: maybe(start.incoming),
    state: start.state && { current: at(start.state.current), spare: at(start.state.spare) },
  };
}

function procfsSource({ ipvs }: Engine): ProcfsSource {
  return {
    tableSize: () => ipvs.tableSize(),
    totals: () => ipvs.totals(),
    frozenServices: () => ipvs.tables.frozenServices(),
  };
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

/** What the keeper says of a port. The descriptors are those of this process. */
async function takePort(engine: Engine, number: number, port: EnginePort, swapped: boolean): Promise<void> {
  const before = engine.ports[number]!;
  if (!swapped) {
    engine.describePort(number, port);
    return;
  }
  await engine.replacePort(number, port);
  const kept = new Set(engine.ports.flatMap(({ queues, netlink }) => [...queues, netlink]));
  for (const fd of [...before.queues, before.netlink]) if (fd !== undefined && !kept.has(fd)) native.close(fd);
}

/** Takes the descriptors of a port that was made again at once: they come in the order of the messages. */
function hearPort(message: Extract<ToDirector, { type: "port" }>): void {
  const { number, port, swapped, descriptorCount } = message;
  const given = receiveDescriptors(DESCRIPTORS_FD, descriptorCount);
  const queues = given.slice(0, port.queues.length);
  const netlink = given[port.queues.length];
  portChanges = portChanges.then(() => changePort(number, { ...port, queues, netlink }, swapped)).catch(fail);
}

let asked = 0;

async function stepsOf({ services }: SavedTables): Promise<SourcedStep[]> {
  const { diffTables } = await import("../config/diff.js");
  const from = "the tables of the director before";
  return diffTables([], services).map((step) => ({ from, step }));
}

/** Has the keeper read the configuration again. */
function askForReload(): Promise<ReloadResult> {
  const number = ++asked;
  return new Promise((done, failed) => {
    reloads.set(number, { done, failed });
    tell({ type: "reload", number });
  });
}

/** One after the other: a file may change while what it said before is being applied, or the director begins. */
let reconfiguring = new Promise<void>((resolve) => (begin = resolve));

function takeConfig(config: RunConfig, number: number | undefined): void {
  const asker = number === undefined ? undefined : reloads.get(number);
  if (number !== undefined) reloads.delete(number);
  reconfiguring = reconfiguring
    .then(() => reconfigure(config))
    .then(
      (result) => {
        reloaded("applied");
        configured = { read: new Date().toISOString() };
        asker?.done(result);
      },
      (error) => {
        reloaded("refused");
        const message = oneLine(error);
        configured = { ...configured, refused: { at: new Date().toISOString(), message } };
        tell({ type: "kept", why: message });
        asker?.failed(error);
      },
    );
}

function refuseReload(message: string, number: number | undefined): void {
  reloaded("refused");
  configured = { ...configured, refused: { at: new Date().toISOString(), message } };
  if (number === undefined) return;
  reloads.get(number)?.failed(new IpvsError("EINVAL", EINVAL, message));
  reloads.delete(number);
}

interface Succession {
  /** Writes all tables, and goes on writing what changes. */
  copy(): Promise<void>;
  /** Writes what has changed since, and goes on. */
  catchUp(): Promise<void>;
  /** Stops, and writes the rest. */
  handOver(): Promise<void>;
  /** Goes on as if nothing had been. */
  resume(): Promise<void>;
  /** Takes no requests any more; resolves when all have been answered. */
  leave(): Promise<void>;
}

/** Resolves when the keeper says so. */
function told<T extends ToDirector["type"]>(type: T): Promise<Extract<ToDirector, { readonly type: T }>> {
  return new Promise((resolve) => waiting.set(type, resolve as (message: ToDirector) => void));
}

/** What the director before has written of its services. */
async function tablesFrom(reader: StateReader, before = ""): Promise<[text: string, tables: SavedTables | undefined]> {
  const { tablesIn } = await import("./state.js");
  const found = reader.look();
  const problem = "refused" in found ? found.refused : found.unfit;
  const text = "refused" in found ? "" : found.text;
  // Nothing is read again that has not changed.
  if (problem === undefined && text === before) return [text, undefined];
  const tables = tablesIn(text);
  if (problem === undefined && tables !== undefined) return [text, tables];
  throw new LvsError("ERR_LVS_TABLES", `the tables of the running director do not fit: ${problem ?? "no services"}`);
}

/** Has the keeper put another director in the place of this one. */
function askForUpgrade(): Promise<UpgradeResult> {
  const number = ++asked;
  return new Promise((done, failed) => {
    upgrades.set(number, { done, failed });
    tell({ type: "upgrade", number });
  });
}

/** A step of another director's way into this one's place. */
function succeed(step: "copied" | "caught-up" | "handed", work: Promise<void> | undefined): void {
  if (work === undefined) tell({ type: "unable", problem: "this director has not come up itself yet" });
  else
    work.then(
      () => tell({ type: step }),
      (error) => tell({ type: "unable", problem: oneLine(error) }),
    );
}

function goOn(number: number, problem: string): void {
  const answer = () => {
    upgrades.get(number)?.failed(new IpvsError("EAGAIN", EAGAIN, problem));
    upgrades.delete(number);
  };
  if (successions === undefined) answer();
  else successions.resume().then(answer, fail);
}

/** Another one is in this one's place: whoever asked for it hears so, and this one ends. */
async function leave(number: number, result: UpgradeResult): Promise<void> {
  // Whoever asks something after that answer asks the other one.
  const drained = successions?.leave();
  await turn();
  upgrades.get(number)?.done(result);
  await Promise.race([drained, delay(LEAVE_MS)]);
  end(0);
}

/** Has the keeper put the spare state file in the place of the current one. */
async function askToCommit(): Promise<void> {
  const number = ++asked;
  const problem = await new Promise<string | undefined>((resolve) => {
    commits.set(number, resolve);
    tell({ type: "commit", number });
  });
  if (problem !== undefined) throw new LvsError("ERR_LVS_FILE", problem);
}

/** Has the keeper lead the addresses of all services here; resolves when it has. */
async function askForRoutes(ipvs: Pick<Ipvs, "services">, config: RunConfig): Promise<void> {
  const { wantedRoutes } = await import("./wanted-routes.js");
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

async function showLife(): Promise<void> {
  if (await breathing()) tell({ type: "alive" });
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

/** Waits for the keeper's first message, and does what that says. `thread`: that of the first worker. */
export function direct(thread: Thread): void {
  // The keeper may be killed where it can say nothing: the channel closes, and the kernel sends a signal.
  process.on("SIGTERM", () => end(0));
  process.on("SIGINT", () => {});
  process.on("SIGHUP", () => {});
  process.on("disconnect", () => end(0));
  native.prctl(native.PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
  if (!process.connected) end(0);
  process.on("message", (message: ToDirector) => {
    if (message.type === "start") start(message, thread).catch(fail);
    else if (message.type === "health") learn(message.health, message.tallies);
    else if (message.type === "config") takeConfig(message.config, message.number);
    else if (message.type === "refused") refuseReload(message.message, message.number);
    else if (message.type === "alive") void showLife();
    else if (message.type === "port") hearPort(message);
    else if (message.type === "copy") succeed("copied", successions?.copy());
    else if (message.type === "catch-up") succeed("caught-up", successions?.catchUp());
    else if (message.type === "step-in") stepIn(message);
    else if (message.type === "hand-over") succeed("handed", successions?.handOver());
    else if (message.type === "resume") goOn(message.number, message.problem);
    else if (message.type === "leave") void leave(message.number, message.result);
    else if (
      message.type === "take" ||
      message.type === "follow" ||
      message.type === "begin" ||
      message.type === "alone"
    ) {
      waiting.get(message.type)?.(message);
      waiting.delete(message.type);
    } else if (message.type === "committed") {
      commits.get(message.number)?.(message.problem);
      commits.delete(message.number);
    } else if (message.type === "routed") unrouted.get(message.number)?.();
    else reconfiguring = reconfiguring.then(() => reloadMarks(message.text));
  });
}
