/** A director takes another's place: who does what when, as the keeper sees it. */
import type { UpgradeResult } from "../control/director-info.js";
import type { ToDirector, UpgradeStep } from "./messages.js";

/** A director, as far as an upgrade is concerned. */
export interface Peer {
  readonly pid: number;
  send(message: ToDirector): void;
  /** Rejects when it ends, says that it cannot, or takes too long. */
  until(step: UpgradeStep, limitMs: number): Promise<{ readonly connections: number }>;
}

/** It compiles for some tenths of a second of the processor, which others may want, too. */
const PREPARE_MS = 60_000;
const COPY_MS = 60_000;
/** Frames wait meanwhile: beyond that the one that goes is let go on. */
const STOP_MS = 2000;
const BEGIN_MS = 5000;

/**
 * The new one comes up; the old one writes its tables while it forwards, and the new one reads and links them; then the
 * same with what has changed meanwhile, so that little is left: the old one stops, writes that, and the new one goes on
 * from there. Throws where the old one has to go on.
 */
export async function replace(old: Peer, fresh: Peer): Promise<Omit<UpgradeResult, "version">> {
  await fresh.until("prepared", PREPARE_MS);
  old.send({ type: "copy" });
  await old.until("copied", COPY_MS);
  fresh.send({ type: "take" });
  await fresh.until("taken", COPY_MS);
  old.send({ type: "catch-up" });
  await old.until("caught-up", COPY_MS);
  fresh.send({ type: "follow" });
  await fresh.until("followed", COPY_MS);
  const began = performance.now();
  old.send({ type: "hand-over" });
  await old.until("handed", STOP_MS);
  fresh.send({ type: "begin" });
  const { connections } = await fresh.until("moving", BEGIN_MS);
  return { pid: fresh.pid, connections, pause: Math.round((performance.now() - began) * 10) / 10 };
}
