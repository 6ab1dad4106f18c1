/**
 * What systemd, or whoever started us with $NOTIFY_SOCKET, is told: that frames flow, that a configuration is being
 * read, that we end; and, as often as it wants to hear it, that the director and its workers are alive.
 */
import { oneLine } from "../errors.js";
import type { Logger } from "../log.js";
import { NotifySocket } from "../port/notify.js";

export interface ServiceManagerEnvironment {
  readonly NOTIFY_SOCKET?: string | undefined;
  readonly WATCHDOG_USEC?: string | undefined;
  readonly WATCHDOG_PID?: string | undefined;
}

/** So many signs of life within the time after which we would be taken for dead. */
const SIGNS = 3;

export class ServiceManager {
  /** How often a sign of life is due; undefined: nobody waits for one. */
  readonly watchdogMs: number | undefined;
  private readonly log: Logger;
  private socket: NotifySocket | undefined;

  constructor(environment: ServiceManagerEnvironment, log: Logger) {
    this.log = log;
    const { NOTIFY_SOCKET: path, WATCHDOG_USEC: limit, WATCHDOG_PID: pid } = environment;
    if (!path) return;
    try {
      this.socket = new NotifySocket(path);
    } catch (error) {
      log.warn({ event: "manager.refused" }, `NOTIFY_SOCKET: ${oneLine(error)}`);
      return;
    }
    const microseconds = Number(limit);
    const isOurs = pid === undefined || pid === "" || Number(pid) === process.pid;
    if (microseconds > 0 && isOurs) this.watchdogMs = microseconds / 1000 / SIGNS;
  }

  ready(status: string): void {
    this.send({ READY: 1, STATUS: status });
  }

  status(status: string): void {
    this.send({ STATUS: status });
  }

  /** ready() says that it is over. */
  reloading(): void {
    this.send({ RELOADING: 1, MONOTONIC_USEC: process.hrtime.bigint() / 1000n, STATUS: "reading the configuration" });
  }

  alive(): void {
    this.send({ WATCHDOG: 1 });
  }

  stopping(): void {
    this.send({ STOPPING: 1, STATUS: "ending" });
  }

  close(): void {
    this.socket?.close();
    this.socket = undefined;
  }

  /** A service manager that is gone is told nothing more, and is no reason to stop forwarding. */
  private send(values: Readonly<Record<string, string | number | bigint>>): void {
    try {
      this.socket?.send(values);
    } catch (error) {
      this.log.warn({ event: "manager.silent" }, `the service manager does not listen: ${oneLine(error)}`);
    }
  }
}
