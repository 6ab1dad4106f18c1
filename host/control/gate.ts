/** Peers are let in as long as descriptors are left for what the director itself has to open: its state, files, reports. */
import { readFileSync } from "node:fs";
import type { Server, Socket } from "node:net";
import type { Logger } from "../log.js";

/** How often it is said that peers are turned away. */
const QUIET_MS = 60_000;

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
  readonly log: Logger | undefined;
}

/** Beyond it connections are accepted and closed at once: what waits in the backlog would wake the process again and again. */
export function guard(server: Server, { listener, most, reserve, log }: GateOptions): void {
  let refused = 0;
  let quietUntil = 0;
  const refuse = () => {
    refused++;
    if (performance.now() < quietUntil) return;
    quietUntil = performance.now() + QUIET_MS;
    log?.warn(
      { event: "control.full", listener, refused },
      `${listener}: there are too many connections, or too few descriptors: those beyond are closed`,
    );
    refused = 0;
  };
  server.maxConnections = most;
  server.on("drop", refuse);
  // Where there is no other way; whoever listens for it is not ended by it.
  server.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EMFILE" || error.code === "ENFILE") refuse();
  });
  server.prependListener("connection", (socket: Socket) => {
    // The kernel gives the lowest number that is free.
    const { fd } = (socket as unknown as { _handle?: { fd?: number } })._handle ?? {};
    if (fd === undefined || fd < (descriptorLimit() ?? 0) - reserve) return;
    socket.destroy();
    refuse();
  });
}
