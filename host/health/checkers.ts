/** The kinds of checks there are. */
import type { IcmpSocket } from "../port/icmp.js";
import type { Checker, CheckKind } from "./checker.js";
import { command } from "./command.js";
import { dns } from "./dns.js";
import { http } from "./http.js";
import { createPing } from "./ping.js";
import { tcp } from "./tcp.js";
import { udp } from "./udp.js";

export type Checkers = Readonly<Record<CheckKind["type"], Checker>>;

/** Pings need sockets that were opened by whoever may. */
export function createCheckers(icmp: readonly IcmpSocket[]): Checkers {
  return { tcp, http, https: http, dns, udp, ping: createPing(icmp), command };
}
