/** Peers are let in as long as descriptors are left for what the director itself has to open: its state, files, reports. */
import { closeSync, readFileSync } from "node:fs";
import { Server as NetServer, type Server, type Socket } from "node:net";
import type { Logger } from "../log.js";
import { duplicate } from "../port/descriptors.js";

/** How often it is said that peers are turned away. */
const QUIET_MS = 60_000;
/** How often it is looked whether a connection could be accepted, and how often when none could. */
const LOOK_MS = 1000;
const PAUSE_MS = 200;

/** The soft limit of descriptors, which somebody may change at any time; undefined: no descriptor is left to look. */
function descriptorLimit(): number | undefined {
  try {
    const limit = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
    return limit === undefined || limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit);
  } catch {
    return undefined;
  }
}

export interface GateOptions {
  /** What the log calls it. */
  readonly listener: string;
  /** Connections at the same time. */
  readonly most: number;
  /** Descriptors that are not given to them. */
  readonly reserve: number;
  /** The socket outlives the server's handle of it: true of all but those whose path Node has made and would take away. */
  readonly lasts: boolean;
  readonly log: Logger | undefined;
}

/** Before the server is closed: it accepts nothing by itself any more. */
export interface Gate {
  close(): void;
}

/** The kernel gives the lowest number that is free. */
function descriptorOf(owner: Server | Socket): number | undefined {
  return (owner as unknown as { _handle?: { fd?: number } | null })._handle?.fd;
}

/**
 * Beyond it connections are accepted and closed at once: what waits in the backlog would wake the process again and
 * again. Where not even that can be done, nobody listens for them until there are descriptors.
 */
export function guard(server: Server, { listener, most, reserve, lasts, log }: GateOptions): Gate {
  let refused = 0;
  let quietUntil = 0;
  const say = (what: string) => {
    refused++;
    if (performance.now() < quietUntil) return;
    quietUntil = performance.now() + QUIET_MS;
    log?.warn({ event: "control.full", listener, refused }, `${listener}: ${what}`);
    refused = 0;
  };
  const refuse = () => say("there are too many connections, or too few descriptors: those beyond are closed");
  const pause = lasts ? new Pause(server, () => say("no descriptor is left: connections wait")) : undefined;
  server.maxConnections = most;
  server.on("drop", refuse);
  // Whoever listens for it is not ended by it.
  server.on("error", ({ syscall }: NodeJS.ErrnoException) => {
    if (syscall === "accept") pause?.look();
  });
  server.prependListener("connection", (socket: Socket) => {
    const fd = descriptorOf(socket);
    if (fd === undefined || fd < (descriptorLimit() ?? 0) - reserve) return;
    socket.destroy();
    refuse();
  });
  return { close: () => pause?.close() };
}

/**
 * A server that does not listen while there is no descriptor to accept with: libuv would try it again and again, and tells
 * nobody. A second descriptor keeps its socket meanwhile.
 */
class Pause {
  private readonly server: Server;
  private readonly begun: () => void;
  private kept = -1;
  private timer: NodeJS.Timeout | undefined;

  constructor(server: Server, begun: () => void) {
    this.server = server;
    this.begun = begun;
    server.on("listening", () => {
      if (this.kept < 0) this.kept = duplicate(descriptorOf(server)!);
      this.again(() => this.look(), LOOK_MS);
    });
  }

  look(): void {
    if (this.kept < 0 || !this.server.listening) return;
    const fd = duplicate(this.kept);
    if (fd >= 0) {
      closeSync(fd);
      return;
    }
    // Of the listener alone: http's own ends connections that wait for a request, too.
    NetServer.prototype.close.call(this.server);
    this.again(() => this.resume(), PAUSE_MS);
    this.begun();
  }

  close(): void {
    clearInterval(this.timer);
    if (this.kept >= 0) closeSync(this.kept);
    this.kept = -1;
  }

  private resume(): void {
    const fd = duplicate(this.kept);
    if (fd < 0) return;
    // One to listen on, and one for whoever waits.
    const next = duplicate(this.kept);
    closeSync(next < 0 ? fd : next);
    if (next >= 0) this.server.listen({ fd });
  }

  private again(what: () => void, ms: number): void {
    clearInterval(this.timer);
    this.timer = setInterval(what, ms).unref();
  }
}
