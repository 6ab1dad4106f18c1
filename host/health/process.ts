/**
 * The process that checks: started by the keeper in the network namespace that checks leave from, without privileges.
 * It outlives a director that died, so the next one learns at once who is down.
 */
import * as native from "../port/native.js";
import { createCheckers } from "./checkers.js";
import type { FromChecker, ToChecker } from "./messages.js";
import { type Health, Monitor } from "./monitor.js";

const SIGTERM = 15;
let monitor: Monitor | undefined;

function tell(health: readonly Health[]): void {
  if (health.length > 0 && process.connected) process.send?.({ health } satisfies FromChecker);
}

native.prctl(native.PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
// Ctrl-C reaches the whole group; the keeper says when it is over.
process.on("SIGINT", () => {});
process.on("SIGHUP", () => {});
process.on("disconnect", () => process.exit(0));
if (!process.connected) process.exit(0);
process.on("message", ({ targets, icmp }: ToChecker) => {
  monitor ??= new Monitor({ checkers: createCheckers(icmp), changed: (health) => tell([health]) });
  monitor.watch(targets);
  tell(monitor.health());
});
