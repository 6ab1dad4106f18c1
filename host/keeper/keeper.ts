/**
 * The keeper: the small privileged half of `wlvs run`. It opens the devices and the control socket, starts the director
 * without privileges, hands it the descriptors, starts it again when it dies, and takes everything away at the end.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { MarksSpec, RunConfig } from "../config/config.js";
import { readMarks } from "../config/rules.js";
import { corePath } from "../core/instance.js";
import { LvsError, oneLine, usage } from "../errors.js";
import { createLog, type Logger } from "../log.js";
import type { Netlink } from "../port/netlink.js";
import { CheckerProcesses } from "./checkers.js";
import { Devices } from "./devices.js";
import type { Start, ToDirector, ToKeeper } from "./messages.js";
import { boundChildren } from "./privileges.js";
import { openProcfsDirectory, type ProcfsDirectory } from "./procfs-directory.js";
import { ServiceManager, type ServiceManagerEnvironment } from "./service-manager.js";
import type { StopSignal } from "./signals.js";
import { type ControlSocket, openControlSocket } from "./socket.js";
import { StateFile } from "./state-file.js";
import type { SavedTables } from "./tables-report.js";
import { TunRoutes } from "./tun-routes.js";
import { barred, findGroup, findUser, isMapped, type User } from "./user.js";
import { FileWatch } from "./watch.js";

const DIRECTOR = fileURLToPath(new URL("./director.js", import.meta.url));
/** Descriptors of the director: 0 to 2, the channel on 3, then those handed over. */
const FIRST_FD = 4;
const BACKOFF_LEAST_MS = 100;
const BACKOFF_MOST_MS = 5000;
/** A director that lived this long was well: the next death counts as the first. */
const HEALTHY_MS = 60_000;
/** So many deaths in a row, and the keeper gives up. */
const DEATHS_MOST = 8;
/** How long a director may take to end before it is killed. */
const STOP_MS = 3000;

export interface KeeperOptions {
  readonly config: RunConfig;
  readonly version: string;
  readonly stop: StopSignal;
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
    devices.openAll();
    socket = openControlSocket(config.socket, gid);
    if (config.procfs !== undefined) procfs = openProcfsDirectory(config.procfs, user);
    if (!boundChildren())
      log.warn({ event: "keeper.capabilities" }, "without CAP_SETPCAP the bounding set of the director stays as it is");
    routes = openRoutes(config, log);
    supervisor = new Supervisor(options, devices, socket, user, routes, state, manager, log);
    supervisor.watch = watchFile(config, log, supervisor);
    await supervisor.run();
  } finally {
    supervisor?.close();
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
function watchFile({ file, watch }: RunConfig, log: Logger, supervisor: Supervisor): FileWatch | undefined {
  if (file === undefined || watch === false) return undefined;
  return new FileWatch(file, log, (text) => {
    if (text === undefined) supervisor.refuse(`${file} is not there any more, or cannot be read`);
    else if (text.trim() === "") supervisor.refuse(`${file} is empty`);
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
  if (process.getuid?.() !== 0) {
    if (config.user === undefined) return undefined;
    const user = findUser(config.user);
    if (user.uid === process.getuid?.()) return undefined;
    throw new LvsError("ERR_LVS_PERMISSION", `--user ${config.user}: only root can start a director as another user`);
  }
  const user = findUser(config.user ?? "nobody");
  if (!isMapped(user)) {
    const text = `${user.name} is not in this user namespace`;
    if (config.user !== undefined) throw new LvsError("ERR_LVS_PERMISSION", `--user ${config.user}: ${text}`);
    log.info({ event: "keeper.user-namespace" }, `${text}: the director runs as its root, without capabilities`);
    return undefined;
  }
  const koffi = fileURLToPath(import.meta.resolve("koffi"));
  for (const file of [process.execPath, DIRECTOR, corePath(), koffi]) {
    const bar = barred(user, file);
    if (bar === undefined) continue;
    const text = `${user.name} cannot read ${file} (${bar} is closed to others)`;
    if (config.user !== undefined) {
      throw new LvsError("ERR_LVS_PERMISSION", `${text}: install wlvs where it can be read, or give another --user`);
    }
    log.warn({ event: "keeper.root" }, `${text}: the director runs as root, without capabilities`);
    return undefined;
  }
  return user;
}

type End =
  | { readonly how: "stopped" }
  | { readonly how: "failed"; readonly error: LvsError }
  | { readonly how: "died"; readonly reason: string; readonly wasReady: boolean };

class Supervisor {
  private readonly options: KeeperOptions;
  private readonly devices: Devices;
  private readonly socket: ControlSocket;
  private readonly user: User | undefined;
  private readonly routes: TunRoutes | undefined;
  private readonly state: StateFile | undefined;
  private readonly manager: ServiceManager;
  private readonly watchdog: NodeJS.Timeout | undefined;
  private readonly log: Logger;
  private readonly checkers: CheckerProcesses;
  private announced = false;
  /** There is a director, and it forwards. */
  private flows = false;
  private marks: MarksSpec | undefined;
  private config: RunConfig;
  /** What a director that died leaves to the next. */
  private tables: SavedTables | undefined;
  private director: ChildProcess | undefined;
  private restarts = 0;
  /** Sees to it that a changed file is read again. */
  watch: FileWatch | undefined;

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
      this.watchdog = setInterval(() => this.tell({ type: "alive" }), manager.watchdogMs);
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

  close(): void {
    clearInterval(this.watchdog);
    this.watch?.close();
    this.checkers.close();
  }

  /** Reads the configuration again: for a director that asked, or for a signal. A bad one changes nothing. */
  async readAgain(number?: number): Promise<void> {
    try {
      if (this.options.load === undefined) throw usage("nothing to reload: the director was started without --config");
      this.manager.reloading();
      this.watch?.refresh();
      const config = await this.options.load();
      for (const warning of config.warnings) this.log.warn({ event: "config.warning" }, warning);
      this.tell({ type: "config", config, number });
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

  /** A director that is gone is followed by one that starts with what there is then. */
  private tell(message: ToDirector): void {
    this.director?.send(message, () => {});
  }

  async run(): Promise<void> {
    const { stop } = this.options;
    let deaths = 0;
    while (!stop.isSet) {
      const began = performance.now();
      const end = await this.oneDirector();
      if (end.how === "stopped") return;
      if (end.how === "failed" && !this.announced) throw end.error;
      const reason = end.how === "failed" ? end.error.message : end.reason;
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
      await Promise.race([new Promise((resolve) => setTimeout(resolve, wait)), stop.requested]);
      // Whoever cannot start with what the one before left may with what the configuration says.
      if (end.how === "failed") this.tables = undefined;
      this.devices.revive();
    }
  }

  /** Hands other firewall marks to the director, and to those that come after it. */
  reload(marks: MarksSpec): void {
    this.marks = marks;
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

  /** Starts a director and stays with it until it has ended. */
  private oneDirector(): Promise<End> {
    const { version, stop } = this.options;
    const config = { ...this.config, marks: this.marks };
    const { tables } = this;
    const descriptors: number[] = [this.socket.fd];
    // Sockets of its own for each director: nothing that one before it was answered may be waiting in them.
    const netlinks = this.devices.openNetlinks();
    const inDirector = new Map<Netlink, number>();
    for (const netlink of new Set(netlinks)) {
      if (netlink !== undefined) inDirector.set(netlink, FIRST_FD + descriptors.push(netlink.fd) - 1);
    }
    const ports = this.devices.ports.map((port, number) => ({
      ...port,
      queues: port.queues.map((fd) => FIRST_FD + descriptors.push(fd) - 1),
      netlink: netlinks[number] && inDirector.get(netlinks[number]),
    }));
    const hand = (fd: number) => FIRST_FD + descriptors.push(fd) - 1;
    const state = this.state && { current: hand(this.state.current), spare: hand(this.state.spare) };
    return new Promise((resolve) => {
      let child: ChildProcess;
      let failure: LvsError | undefined;
      let wasReady = false;
      let stopping = false;
      let killer: NodeJS.Timeout | undefined;
      const finish = (end: End) => {
        this.flows = false;
        this.director = undefined;
        clearTimeout(killer);
        resolve(stopping ? { how: "stopped" } : end);
      };
      const died = (reason: string) =>
        finish(failure === undefined ? { how: "died", reason, wasReady } : { how: "failed", error: failure });
      try {
        child = spawn(process.execPath, ["--title=wlvs-director", DIRECTOR], {
          cwd: "/",
          env: { PATH: process.env.PATH, TZ: process.env.TZ, WLVS_DEBUG: process.env.WLVS_DEBUG },
          stdio: ["ignore", "ignore", "inherit", "ipc", ...descriptors],
          ...(this.user !== undefined && { uid: this.user.uid, gid: this.user.gid }),
        });
      } catch (error) {
        finish({ how: "died", reason: oneLine(error), wasReady });
        return;
      } finally {
        for (const netlink of inDirector.keys()) netlink.close();
      }
      this.director = child;
      child.once("error", (error) => died(oneLine(error)));
      child.once("exit", (status, signal) => {
        // The director ends well only when it was asked to, by us or by somebody's SIGTERM.
        if (status === 0) finish({ how: "stopped" });
        else died(signal === null ? `status ${status}` : signal);
      });
      child.on("message", (message: ToKeeper) => {
        if (message.type === "failed") {
          failure = new LvsError(message.status === 2 ? "ERR_LVS_USAGE" : "ERR_LVS_DIRECTOR", message.message);
          return;
        }
        if (message.type === "tables") {
          this.tables = message.tables;
          return;
        }
        if (message.type === "reload") {
          void this.readAgain(message.number);
          return;
        }
        if (message.type === "applied") {
          this.config = message.config;
          this.marks = message.config.marks;
          this.forwarding();
          return;
        }
        if (message.type === "kept") {
          this.log.error({ event: "config.refused" }, `nothing is reloaded: ${message.why}`);
          this.forwarding(`; nothing is reloaded: ${message.why}`);
          return;
        }
        if (message.type === "alive") {
          this.manager.alive();
          return;
        }
        if (message.type === "commit") {
          this.tell({ type: "committed", number: message.number, problem: this.commit() });
          return;
        }
        if (message.type === "state-refused") {
          this.keepRefused();
          return;
        }
        if (message.type === "checks") {
          this.checkers.watch(message.targets);
          return;
        }
        if (message.type === "routes") {
          this.routes?.apply(message.wanted);
          this.tell({ type: "routed", number: message.number });
          return;
        }
        wasReady = true;
        if (stopping) return;
        this.flows = true;
        this.forwarding();
        if (this.announced) return;
        this.announced = true;
        const names = config.ports.map(({ name }) => name).join(" ");
        this.options.ready(`wlvs: forwarding on ${names}, control ${config.socket}\n`);
      });
      const { restarts } = this;
      const message: Start = { type: "start", config, version, ports, restarts, tables, state, socketFd: FIRST_FD };
      child.send(message, () => {
        // A director that dies this early says so by its exit.
      });
      void stop.requested.then(() => {
        stopping = true;
        child.kill("SIGTERM");
        killer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      });
    });
  }
}
