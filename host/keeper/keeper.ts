/**
 * The keeper: the small privileged half of `wlvs run`. It opens the devices and the control socket, starts the director
 * without privileges, hands it the descriptors, starts it again when it dies, and takes everything away at the end.
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { MarksSpec, RunConfig } from "../config/config.js";
import { loadParsers, readMarks } from "../config/rules.js";
import { LvsError, oneLine, usage } from "../errors.js";
import { createLog, type Logger } from "../log.js";
import { sendDescriptors } from "../port/descriptors.js";
import * as native from "../port/native.js";
import type { Netlink } from "../port/netlink.js";
import type { Ahead } from "./ahead.js";
import { CheckerProcesses } from "./checkers.js";
import { Devices, type PortNews } from "./devices.js";
import { chooseUser } from "./director-user.js";
import type { Start, ToDirector, ToKeeper, UpgradeStep } from "./messages.js";
import { boundChildren, restrictKeeper } from "./privileges.js";
import { openProcfsDirectory, type ProcfsDirectory } from "./procfs-directory.js";
import { ServiceManager, type ServiceManagerEnvironment } from "./service-manager.js";
import type { StopSignal } from "./signals.js";
import { type ControlSocket, openControlSocket } from "./socket.js";
import { type DirectorProcess, spawnDirector } from "./spawn.js";
import { StateFile } from "./state-file.js";
import type { SavedTables } from "./tables-report.js";
import { TunRoutes } from "./tun-routes.js";
import { type Peer, replace } from "./upgrade.js";
import { findGroup, type User } from "./user.js";
import { FileWatch } from "./watch.js";

const BACKOFF_LEAST_MS = 100;
const BACKOFF_MOST_MS = 5000;
/** A director that lived this long was well: the next death counts as the first. */
const HEALTHY_MS = 60_000;
/** So many deaths in a row, and the keeper gives up. */
const DEATHS_MOST = 8;
/** A director that forwards for so long gets another one beside it that stands by, */
const STAND_BY_AFTER_MS = 1000;
/** which has so long to make itself ready, */
const STAND_BY_WITHIN_MS = 60_000;
/** is tried again after this when it ends, */
const STAND_BY_AGAIN_MS = 30_000;
/** and is replaced after a day: clocks of a memory compare times that are some weeks apart at the most. */
const STAND_BY_MS = 24 * 60 * 60 * 1000;
/** One that steps in reads the state file: millions of connections in some seconds. */
const STEP_IN_MS = 30_000;
/** How often the director is asked for a sign of life, and how many times in vain before it is taken for dead. */
const BEAT_MS = 3000;
const SILENT_MOST = 5;
/** How long a director may take to end before it is killed. */
const STOP_MS = 3000;

export interface KeeperOptions {
  readonly config: RunConfig;
  readonly version: string;
  readonly stop: StopSignal;
  /** A director's process that runs already. */
  readonly ahead?: Ahead | undefined;
  /** Where a service manager listens, and what it wants to hear. */
  readonly environment?: ServiceManagerEnvironment | undefined;
  /** Reads the configuration again; absent when there is no file that could have changed. */
  readonly load?: (() => Promise<RunConfig>) | undefined;
  /** Called once, when frames flow. */
  ready(line: string): void;
}

/** Runs until a signal, or until nothing more can be done; returns on the first, throws on the second. */
export async function runKeeper(options: KeeperOptions): Promise<void> {
  const { config, stop } = options;
  const log = createLog(config.logLevel, "keeper");
  const user = directorUser(config, log);
  const gid = config.socketGroup === undefined ? undefined : findGroup(config.socketGroup);
  for (const warning of config.warnings) log.warn({ event: "config.warning" }, warning);
  const manager = new ServiceManager(options.environment ?? {}, log);
  void stop.requested.then(() => manager.stopping());
  const devices = new Devices(config.ports, config.workers, log);
  let socket: ControlSocket | undefined;
  let routes: TunRoutes | undefined;
  let state: StateFile | undefined;
  let procfs: ProcfsDirectory | undefined;
  let supervisor: Supervisor | undefined;
  const reload = () => {
    if (options.load !== undefined) {
      void supervisor?.readAgain();
      return;
    }
    const file = config.marks?.file;
    if (file === undefined || file === "-") {
      log.info({ event: "config.unchanged" }, "nothing to reload: services come from the command line");
      return;
    }
    manager.reloading();
    readMarks(file, process.stdin)
      .then(
        (marks) => supervisor?.reload(marks),
        (error) => log.error({ event: "marks.refused" }, `firewall marks stay as they were: ${oneLine(error)}`),
      )
      .finally(() => supervisor?.forwarding());
  };
  process.on("SIGHUP", reload);
  try {
    if (config.state !== undefined) state = await StateFile.open(config.state);
    await devices.openAll();
    socket = openControlSocket(config.socket, gid);
    if (config.procfs !== undefined) procfs = openProcfsDirectory(config.procfs, user);
    if (!boundChildren())
      log.warn({ event: "keeper.capabilities" }, "without CAP_SETPCAP the bounding set of the director stays as it is");
    // A file that is read again may name another namespace for checks.
    const namespaces = config.file !== undefined || config.ports.some(({ netns }) => netns !== undefined);
    const held = restrictKeeper(namespaces);
    if (held !== undefined) log.warn({ event: "keeper.capabilities" }, `the keeper keeps its capabilities: ${held}`);
    routes = openRoutes(config, log);
    supervisor = new Supervisor(options, devices, socket, user, routes, state, manager, log);
    supervisor.watch = watchFile(config, log, supervisor);
    devices.watch((news) => supervisor?.portChanged(news));
    await supervisor.run();
  } finally {
    await supervisor?.close();
    routes?.close();
    procfs?.close();
    devices.close();
    socket?.close();
    state?.close();
    process.off("SIGHUP", reload);
    manager.close();
    stop.close();
  }
}

/** A file that was written anew is applied, unless there is nothing in it: nobody means that by an empty file. */
function watchFile({ file, marks, watch }: RunConfig, log: Logger, supervisor: Supervisor): FileWatch | undefined {
  if (file === undefined || watch === false) return undefined;
  const paths = [file, ...(marks !== undefined && marks.file !== "-" ? [resolve(marks.file)] : [])];
  return new FileWatch(paths, log, (texts) => {
    const missing = texts.indexOf(undefined);
    const empty = texts.findIndex((text) => text?.trim() === "");
    if (missing >= 0) supervisor.refuse(`${paths[missing]} is not there any more, or cannot be read`);
    else if (empty >= 0) supervisor.refuse(`${paths[empty]} is empty`);
    else void supervisor.readAgain();
  });
}

/** routes=auto: the kernel's part of it. */
function openRoutes(config: RunConfig, log: Logger): TunRoutes | undefined {
  const port = config.ports.find(({ routes }) => routes === "auto");
  if (port === undefined) return undefined;
  const given = config.routes.filter((route) => "kind" in route).map(({ to }) => to);
  return new TunRoutes(port, given, log);
}

/** Who the director runs as; undefined: whoever runs the keeper. */
function directorUser(config: RunConfig, log: Logger): User | undefined {
  const { user, because } = chooseUser(config.user);
  if (because?.reason === "user-namespace") {
    const text = `${because.text}: the director runs as its root, without capabilities`;
    log.info({ event: "keeper.user-namespace" }, text);
  } else if (because !== undefined) {
    log.warn({ event: "keeper.root" }, `${because.text}: the director runs as root, without capabilities`);
  }
  return user;
}

type End =
  | { readonly how: "stopped" }
  | { readonly how: "failed"; readonly error: LvsError }
  | { readonly how: "died"; readonly reason: string; readonly wasReady: boolean };

function reasonOf(end: Exclude<End, { readonly how: "stopped" }>): string {
  return end.how === "failed" ? end.error.message : end.reason;
}

class Supervisor {
  private readonly options: KeeperOptions;
  private readonly devices: Devices;
  private readonly socket: ControlSocket;
  private readonly user: User | undefined;
  private readonly routes: TunRoutes | undefined;
  private readonly state: StateFile | undefined;
  private readonly manager: ServiceManager;
  private readonly watchdog: NodeJS.Timeout | undefined;
  private readonly pulse = setInterval(() => this.beat(), BEAT_MS);
  /** The service manager waits for a sign of life. */
  private isAsked = false;
  private readonly log: Logger;
  private readonly checkers: CheckerProcesses;
  /** The configuration that was read last, until a director has answered. */
  private unanswered: Extract<ToDirector, { type: "config" }> | undefined;
  /** The director before was told the same, and died. */
  private isRetry = false;
  private announced = false;
  /** There is a director, and it forwards. */
  private flows = false;
  private marks: MarksSpec | undefined;
  private config: RunConfig;
  /** What a director that died leaves to the next. */
  private tables: SavedTables | undefined;
  private director: Running | undefined;
  /** Stands by: it has everything but tables, which it finds in the state file when the director dies. */
  private standby: Standby | undefined;
  private standbyTimer: NodeJS.Timeout | undefined;
  private restarts = 0;
  /** Sees to it that a changed file is read again. */
  watch: FileWatch | undefined;
  private upgrading = false;
  /** It is to take the director's place. */
  private fresh: Running | undefined;

  constructor(
    options: KeeperOptions,
    devices: Devices,
    socket: ControlSocket,
    user: User | undefined,
    routes: TunRoutes | undefined,
    state: StateFile | undefined,
    manager: ServiceManager,
    log: Logger,
  ) {
    this.manager = manager;
    // A sign of life is the director's and its workers': this process has nothing to do with frames.
    if (manager.watchdogMs !== undefined) {
      this.watchdog = setInterval(() => {
        this.isAsked = true;
        this.tell({ type: "alive" });
      }, manager.watchdogMs);
    }
    this.options = options;
    this.config = options.config;
    this.marks = options.config.marks;
    this.devices = devices;
    this.socket = socket;
    this.user = user;
    this.routes = routes;
    this.state = state;
    this.log = log;
    this.checkers = new CheckerProcesses(user, log, (health, tallies) =>
      this.tell({ type: "health", health, tallies }),
    );
  }

  /** Tells the service manager that frames flow, and what there is to add. */
  forwarding(remark = ""): void {
    if (!this.flows) return;
    this.manager.ready(`forwarding on ${this.options.config.ports.map(({ name }) => name).join(" ")}${remark}`);
  }

  /** Whoever stands by has the devices and the state file open: it is waited for. */
  async close(): Promise<void> {
    clearInterval(this.watchdog);
    clearInterval(this.pulse);
    clearTimeout(this.standbyTimer);
    this.watch?.close();
    this.checkers.close();
    const { standby } = this;
    // Its end is no reason to start another one.
    this.standby = undefined;
    standby?.running.kill();
    await standby?.running.ended;
  }

  /** Reads the configuration again: for a director that asked, or for a signal. A bad one changes nothing. */
  async readAgain(number?: number): Promise<void> {
    try {
      if (this.options.load === undefined) throw usage("nothing to reload: the director was started without --config");
      this.manager.reloading();
      this.watch?.refresh();
      const config = await this.options.load();
      for (const warning of config.warnings) this.log.warn({ event: "config.warning" }, warning);
      this.unanswered = { type: "config", config, number };
      this.tell(this.unanswered);
    } catch (error) {
      this.refuse(error instanceof Error ? error.message : String(error), number);
    }
  }

  /** What is running stays. */
  refuse(message: string, number?: number): void {
    for (const line of message.split("\n")) {
      this.log.error({ event: "config.refused" }, `nothing is reloaded: ${line}`);
    }
    this.tell({ type: "refused", message, number });
    this.forwarding(`; nothing is reloaded: ${oneLine(message)}`);
  }

  /** The director has done with a configuration; undefined: it goes on with the one that it had. */
  private answered(config: RunConfig | undefined): void {
    if (config !== undefined) {
      this.config = config;
      this.marks = config.marks;
    }
    this.unanswered = undefined;
    this.isRetry = false;
  }

  /** Tells a new director what none has answered. Its numbers are not those of the one before. */
  private tellAgain(running: Running): void {
    const { unanswered } = this;
    if (unanswered === undefined) return;
    if (this.isRetry) {
      // It may be the reason.
      this.log.error({ event: "config.refused" }, "nothing is reloaded: two directors died while they applied it");
      this.answered(undefined);
      return;
    }
    this.isRetry = true;
    running.send({ ...unanswered, number: undefined });
  }

  /** A director that is gone is followed by one that starts with what there is then. */
  private tell(message: ToDirector): void {
    this.director?.send(message);
  }

  async run(): Promise<void> {
    const { stop } = this.options;
    let deaths = 0;
    while (!stop.isSet) {
      const began = performance.now();
      const end = await this.oneDirector();
      if (end.how === "stopped") return;
      if (end.how === "failed" && !this.announced) throw end.error;
      const reason = reasonOf(end);
      if (!this.announced) throw new LvsError("ERR_LVS_DIRECTOR", `the director died while starting: ${reason}`);
      this.restarts++;
      deaths = performance.now() - began > HEALTHY_MS ? 1 : deaths + 1;
      if (deaths > DEATHS_MOST) {
        throw new LvsError("ERR_LVS_DIRECTOR", `the director died ${deaths} times in a row, last: ${reason}`);
      }
      // The first time at once: connections wait.
      const wait = deaths === 1 ? 0 : Math.min(BACKOFF_LEAST_MS * 2 ** (deaths - 2), BACKOFF_MOST_MS);
      this.log.error({ event: "director.died", deaths, wait }, `the director died: ${reason}; starting it again`);
      this.manager.status(`the director died: ${reason}; starting it again`);
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([new Promise((resolve) => (timer = setTimeout(resolve, wait))), stop.requested]);
      clearTimeout(timer);
      // Whoever cannot start with what the one before left may with what the configuration says.
      if (end.how === "failed") this.tables = undefined;
      this.devices.look();
    }
  }

  /** A director that starts later begins with what is then. */
  portChanged({ number, port, swapped }: PortNews): void {
    const { director, log } = this;
    // One that stands by has the descriptors from before.
    if (swapped) {
      this.renewStandby();
      this.fresh?.kill();
    }
    const remade = swapped && port.queues.length > 0;
    if (remade && this.config.ports[number]?.routes === "auto") this.renewRoutes();
    if (director === undefined) return;
    const netlink = remade ? this.devices.openNetlink(this.config.ports[number]?.netns ?? "") : undefined;
    const descriptors = remade ? [...port.queues, ...(netlink === undefined ? [] : [netlink.fd])] : [];
    try {
      sendDescriptors(director.socket, descriptors);
      director.send({ type: "port", number, port, swapped, descriptorCount: descriptors.length });
    } catch (error) {
      const { name } = port;
      log.error({ event: "device.untold", port: name }, `the director cannot be given ${name}: ${oneLine(error)}`);
      // The next one is started with it.
      director.kill();
    } finally {
      netlink?.close();
    }
  }

  private renewRoutes(): void {
    try {
      this.routes?.renew();
    } catch (error) {
      this.log.warn({ event: "routes.failed" }, `routes=auto: ${oneLine(error)}`);
    }
  }

  /** Has a director stand by soon, in the place of the one that does. Without a state file it would begin with nothing. */
  private standBySoon(afterMs: number): void {
    if (this.state === undefined || this.options.stop.isSet) return;
    clearTimeout(this.standbyTimer);
    this.standbyTimer = setTimeout(() => this.standBy(), afterMs);
  }

  /** When it has ended another one takes its place. */
  private renewStandby(): void {
    if (this.standby === undefined) return;
    this.standby.renewed = true;
    this.standby.running.kill();
  }

  private standBy(): void {
    const { state, upgrading, director } = this;
    if (state === undefined || upgrading || director === undefined || this.options.stop.isSet) return;
    if (this.standby !== undefined) {
      this.renewStandby();
      return;
    }
    const standby: Standby = { running: this.launch(undefined, true), current: state.current };
    this.standby = standby;
    standby.running.until("waiting", STAND_BY_WITHIN_MS).then(
      () => {
        standby.isReady = true;
        this.log.info({ event: "standby.ready", child: standby.running.pid }, "another director stands by");
        this.standBySoon(STAND_BY_MS);
      },
      () => standby.running.kill(),
    );
    void standby.running.ended.then((end) => {
      if (this.standby !== standby) return;
      this.standby = undefined;
      if (standby.renewed !== true && end.how !== "stopped") {
        this.log.warn({ event: "standby.ended" }, `the director that stands by ended: ${reasonOf(end)}`);
      }
      this.standBySoon(standby.renewed === true ? STAND_BY_AFTER_MS : STAND_BY_AGAIN_MS);
    });
  }

  /** The director that stands by, if there is one, begins with what the one before left. */
  private stepIn(): Running | undefined {
    const { standby, state, marks, restarts, tables } = this;
    if (standby === undefined || state === undefined) return undefined;
    this.standby = undefined;
    if (standby.isReady !== true || standby.renewed === true) {
      standby.running.kill();
      return undefined;
    }
    const { running } = standby;
    this.director = running;
    const config = { ...this.config, marks };
    running.send({ type: "step-in", config, restarts, tables, swapped: state.current !== standby.current });
    this.tellAgain(running);
    const hung = setTimeout(() => {
      this.log.error({ event: "director.hung", child: running.pid }, "the director that stepped in does not begin");
      running.kill();
    }, STEP_IN_MS);
    void running.ended.then(() => clearTimeout(hung));
    running.onReady = () => clearTimeout(hung);
    return running;
  }

  /** Hands other firewall marks to the director, and to those that come after it. */
  reload(marks: MarksSpec): void {
    this.marks = marks;
    if (this.tables !== undefined) this.tables = { ...this.tables, marks: marks.text };
    this.tell({ type: "marks", text: marks.text });
  }

  /** Why the spare state file could not take its place. */
  private commit(): string | undefined {
    try {
      this.state?.commit();
      return undefined;
    } catch (error) {
      return oneLine(error);
    }
  }

  private keepRefused(): void {
    try {
      this.state?.keepRefused();
    } catch (error) {
      this.log.warn({ event: "state.kept" }, `the state file could not be put aside: ${oneLine(error)}`);
    }
  }

  /** Starts a director and stays with it, and with those that take its place, until one has ended. */
  private async oneDirector(): Promise<End> {
    for (let running = this.stepIn() ?? this.launch(undefined); ; ) {
      const end = await running.ended;
      if (this.director === running) this.director = undefined;
      if (running.successor === undefined) {
        this.flows = false;
        return end;
      }
      running = running.successor;
    }
  }

  /** Starts a director; `before`: beside the one whose place it is to take; `standby`: in case that one dies. */
  private launch(before: Running | undefined, standby = false): Running {
    const running = new Running(this.options.stop, native.memfdCreate("wlvs-handover", native.MFD_CLOEXEC));
    if (before === undefined && !standby) this.director = running;
    const { version } = this.options;
    const config = { ...this.config, marks: this.marks };
    const { tables, restarts } = this;
    // Where each of them stands among those that are sent.
    const descriptors: number[] = [];
    const hand = (fd: number) => descriptors.push(fd) - 1;
    const socketFd = hand(this.socket.fd);
    // Sockets of its own for each director: nothing that one before it was answered may be waiting in them.
    const netlinks = this.devices.openNetlinks();
    const inDirector = new Map<Netlink, number>();
    for (const netlink of new Set(netlinks)) if (netlink !== undefined) inDirector.set(netlink, hand(netlink.fd));
    const ports = this.devices.ports.map((port, number) => ({
      ...port,
      queues: port.queues.map(hand),
      netlink: netlinks[number] && inDirector.get(netlinks[number]),
    }));
    const state = this.state && { current: hand(this.state.current), spare: hand(this.state.spare) };
    const outgoing = hand(running.outgoing);
    const incoming = before && hand(before.outgoing);
    let started: DirectorProcess | undefined;
    try {
      started = this.options.ahead?.claim(this.user) ?? spawnDirector(this.user);
      running.follow(started.child, (message) => this.hear(running, message));
      sendDescriptors(started.socket, descriptors);
    } catch (error) {
      running.died(oneLine(error));
      running.kill();
      return running;
    } finally {
      for (const netlink of inDirector.keys()) netlink.close();
      if (started !== undefined) running.socket = started.socket;
    }
    const places = { ports, socketFd, state, outgoing, incoming };
    const descriptorCount = descriptors.length;
    const start = { type: "start", config, version, restarts, tables, ...places, descriptorCount, standby } as const;
    running.send(start satisfies Start);
    if (before === undefined && !standby) this.tellAgain(running);
    return running;
  }

  private hear(from: Running, message: ToKeeper): void {
    switch (message.type) {
      case "tables":
        // One that is to take another's place has nothing to say yet.
        if (from === this.director) this.tables = message.tables;
        return;
      case "reload":
        void this.readAgain(message.number);
        return;
      case "applied":
        this.answered(message.config);
        this.forwarding();
        return;
      case "kept":
        this.answered(undefined);
        this.log.error({ event: "config.refused" }, `nothing is reloaded: ${message.why}`);
        this.forwarding(`; nothing is reloaded: ${message.why}`);
        return;
      case "alive":
        from.silent = 0;
        if (this.isAsked) this.manager.alive();
        this.isAsked = false;
        return;
      case "look":
        this.devices.look();
        return;
      case "commit":
        from.send({ type: "committed", number: message.number, problem: this.commit() });
        return;
      case "state-refused":
        this.keepRefused();
        return;
      case "checks":
        this.checkers.watch(message.targets);
        return;
      case "routes":
        this.routes?.apply(message.wanted);
        from.send({ type: "routed", number: message.number });
        return;
      case "upgrade":
        void this.upgrade(from, message.number);
        return;
      case "ready":
        from.onReady?.();
        if (this.options.stop.isSet) return;
        this.flows = true;
        this.forwarding();
        if (this.standby === undefined) this.standBySoon(STAND_BY_AFTER_MS);
        if (this.announced) return;
        this.announced = true;
        if (this.options.load !== undefined) loadParsers().catch(() => {});
        this.options.ready(
          `wlvs: forwarding on ${this.config.ports.map(({ name }) => name).join(" ")}, control ${this.config.socket}\n`,
        );
    }
  }

  /**
   * Asks the director whether it lives. One whose main thread hangs, or whose workers cannot be replaced, is ended, and
   * another one is started; one that somebody has stopped (SIGSTOP, a debugger) is waited for.
   */
  private beat(): void {
    const { director, log } = this;
    if (director === undefined || !this.flows || this.upgrading) return;
    const { pid } = director;
    if (director.silent > 0 && isStopped(pid)) {
      if (!director.isHalted) log.warn({ event: "director.stopped", child: pid }, "somebody stopped the director");
      director.isHalted = true;
      director.silent = 0;
    } else if (director.silent >= SILENT_MOST) {
      log.error({ event: "director.hung", child: pid }, "the director gives no sign of life any more: it is ended");
      director.kill();
      return;
    } else if (director.silent === 0) director.isHalted = false;
    director.silent++;
    director.send({ type: "alive" });
  }

  /** Puts a new director in the place of a running one, or lets that one go on. */
  private async upgrade(old: Running, number: number): Promise<void> {
    const { log } = this;
    if (this.upgrading || old !== this.director) {
      old.send({ type: "resume", number, problem: "another upgrade is under way" });
      return;
    }
    this.upgrading = true;
    // One that only begins to stand by would take the processor from the new one, and be replaced after it.
    if (this.standby?.isReady !== true) this.renewStandby();
    const current = this.state?.current;
    const fresh = this.launch(old);
    this.fresh = fresh;
    try {
      const result = await replace(old, fresh);
      // Then another one has stepped in already.
      if (this.director !== old) throw new Error("the running director died");
      old.successor = fresh;
      this.director = fresh;
      // It is of the build before.
      this.renewStandby();
      this.tellAgain(fresh);
      log.info(
        { event: "upgrade.done", child: result.pid, connections: result.connections, pause: result.pause },
        `director ${result.pid} took over from ${old.pid}`,
      );
      old.send({ type: "leave", number, result: { ...result, version: this.options.version } });
      // The old one may have changed the files' places since the new one was given them.
      void old.ended.then(() => fresh.send({ type: "alone", swapped: this.state?.current !== current }));
      old.endWithin(STOP_MS);
    } catch (error) {
      const problem = fresh.problem ?? oneLine(error);
      fresh.kill();
      log.error({ event: "upgrade.failed" }, `the running director goes on: ${problem}`);
      old.send({ type: "resume", number, problem });
    } finally {
      this.upgrading = false;
      this.fresh = undefined;
      if (this.standby === undefined) this.standBySoon(STAND_BY_AFTER_MS);
    }
  }
}

/** A director that waits for another one's death. */
interface Standby {
  readonly running: Running;
  /** The state file when it was started. */
  readonly current: number;
  isReady?: boolean;
  /** Another one is to take its place. */
  renewed?: boolean;
}

/** Stopped by a signal, or by who traces it. */
function isStopped(pid: number): boolean {
  try {
    return /^State:\s+[Tt]/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return false;
  }
}

/** A director's process. */
class Running implements Peer {
  /** Where it writes what it hands over. */
  readonly outgoing: number;
  /** Where descriptors are sent that it is to have; -1 until it has been started. */
  socket = -1;
  readonly ended: Promise<End>;
  /** Signs of life that it was asked for since its last one; whether somebody has stopped it. */
  silent = 0;
  isHalted = false;
  /** The one that took its place. */
  successor: Running | undefined;
  /** Called when its frames flow. */
  onReady: (() => void) | undefined;
  private readonly stop: StopSignal;
  private end: (end: End) => void = () => {};
  private child: ChildProcess | undefined;
  private failure: LvsError | undefined;
  private wasReady = false;
  private isOver = false;
  private killer: NodeJS.Timeout | undefined;
  private readonly waiting = new Map<string, (connections: number) => void>();
  private readonly giveUp = new Set<(error: Error) => void>();

  constructor(stop: StopSignal, outgoing: number) {
    this.stop = stop;
    this.outgoing = outgoing;
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  get pid(): number {
    return this.child?.pid ?? 0;
  }

  /** What it died of, if it has. */
  get problem(): string | undefined {
    return this.failure?.message;
  }

  follow(child: ChildProcess, hear: (message: ToKeeper) => void): void {
    this.child = child;
    child.once("error", (error) => this.died(oneLine(error)));
    child.once("exit", (status, signal) => {
      // The director ends well only when it was asked to, by us or by somebody's SIGTERM.
      if (status === 0) this.finish({ how: "stopped" });
      else this.died(signal === null ? `status ${status}` : signal);
    });
    child.on("message", (message: ToKeeper) => {
      if (message.type === "failed") {
        const code = message.status === 2 ? "ERR_LVS_USAGE" : "ERR_LVS_DIRECTOR";
        this.failure = new LvsError(code, message.message);
      } else if (message.type === "unable") this.fail(new Error(message.problem));
      else if ("connections" in message || this.waiting.has(message.type)) {
        this.waiting.get(message.type)?.("connections" in message ? (message.connections ?? 0) : 0);
      } else {
        if (message.type === "ready") this.wasReady = true;
        hear(message);
      }
    });
    void this.stop.requested.then(() => {
      if (this.isOver) return;
      child.kill("SIGTERM");
      this.endWithin(STOP_MS);
    });
  }

  send(message: ToDirector): void {
    // One that is gone is followed by one that starts with what there is then.
    this.child?.send(message, () => {});
  }

  until(step: UpgradeStep | "waiting", limitMs: number): Promise<{ readonly connections: number }> {
    return new Promise((resolve, reject) => {
      const done = () => {
        clearTimeout(timer);
        this.waiting.delete(step);
        this.giveUp.delete(failed);
      };
      const failed = (error: Error) => {
        done();
        reject(error);
      };
      const timer = setTimeout(() => failed(new Error(`director ${this.pid} took too long (${step})`)), limitMs);
      this.giveUp.add(failed);
      this.waiting.set(step, (connections) => {
        done();
        resolve({ connections });
      });
      if (this.isOver) failed(new Error(`director ${this.pid} died`));
    });
  }

  endWithin(limitMs: number): void {
    if (!this.isOver) this.killer = setTimeout(() => this.kill(), limitMs);
  }

  kill(): void {
    this.child?.kill("SIGKILL");
  }

  died(reason: string): void {
    const { failure: error, wasReady } = this;
    this.finish(error === undefined ? { how: "died", reason, wasReady } : { how: "failed", error });
  }

  private fail(error: Error): void {
    for (const give of [...this.giveUp]) give(error);
  }

  private finish(end: End): void {
    if (this.isOver) return;
    this.isOver = true;
    clearTimeout(this.killer);
    native.close(this.outgoing);
    if (this.socket >= 0) native.close(this.socket);
    this.fail(new Error(`director ${this.pid} died`));
    this.end(this.stop.isSet ? { how: "stopped" } : end);
  }
}
