/**
 * The process that checks: started by the keeper in the network namespace that checks leave from, without privileges.
 * It outlives a director that died, so the next one learns at once who is down.
 */
import * as native from "../port/native.js";
import { createCheckers } from "./checkers.js";
import type { FromChecker, ToChecker } from "./messages.js";
import { type Health, Monitor, type Tally } from "./monitor.js";

const SIGTERM = 15;
/** Counts of checks are for people and graphs. */
const TALLIES_MS = 5000;
let monitor: Monitor | undefined;

function tell(health: readonly Health[], tallies: readonly Tally[] = []): void {
  if (health.length + tallies.length === 0 || !process.connected) return;
  process.send?.({ health, tallies } satisfies FromChecker);
}

native.prctl(native.PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
// Ctrl-C reaches the whole group; the keeper says when it is over.
process.on("SIGINT", () => {});
process.on("SIGHUP", () => {});
process.on("disconnect", () => process.exit(0));
if (!process.connected) process.exit(0);
setInterval(() => tell([], monitor?.tallies()), TALLIES_MS).unref();
process.on("message", ({ targets, icmp }: ToChecker) => {
  monitor ??= new Monitor({ checkers: createCheckers(icmp), changed: (health) => tell([health]) });
  monitor.watch(targets);
  tell(monitor.health());
});
