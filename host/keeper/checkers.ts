/** The processes that check real servers, one for each network namespace that checks leave from. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { oneLine } from "../errors.js";
import type { Target } from "../health/checker.js";
import type { FromChecker, ToChecker } from "../health/messages.js";
import type { Health, Tally } from "../health/monitor.js";
import type { Logger } from "../log.js";
import { openIcmp } from "../port/icmp.js";
import { inNamespace } from "../port/ioctl.js";
import * as native from "../port/native.js";
import type { User } from "./user.js";

const PROCESS = fileURLToPath(new URL("../health/process.js", import.meta.url));
/** 0 to 2, the channel on 3, then the sockets for pings. */
const FIRST_FD = 4;
const RESTART_MS = 1000;

type Report = (health: readonly Health[], tallies: readonly Tally[]) => void;

interface Place {
  targets: readonly Target[];
  child: ChildProcess | undefined;
  icmp: ToChecker["icmp"];
  restart: NodeJS.Timeout | undefined;
  /** Why it could not be started, as it was said. */
  trouble: string | undefined;
}

export class CheckerProcesses {
  private readonly user: User | undefined;
  private readonly log: Logger;
  private readonly report: Report;
  private readonly places = new Map<string, Place>();

  constructor(user: User | undefined, log: Logger, report: Report) {
    this.user = user;
    this.log = log;
    this.report = report;
  }

  /** Checks exactly these from now on; what is known of those that go on being checked is reported at once. */
  watch(targets: readonly Target[]): void {
    const wanted = new Map<string, Target[]>();
    for (const target of targets) {
      const netns = target.spec.netns ?? "";
      const own = wanted.get(netns);
      if (own === undefined) wanted.set(netns, [target]);
      else own.push(target);
    }
    for (const [netns, place] of this.places) {
      if (wanted.has(netns)) continue;
      this.places.delete(netns);
      end(place);
    }
    for (const [netns, own] of wanted) {
      const place = this.places.get(netns) ?? {
        targets: own,
        child: undefined,
        icmp: [],
        restart: undefined,
        trouble: undefined,
      };
      this.places.set(netns, place);
      place.targets = own;
      if (place.child === undefined) this.start(netns, place);
      this.send(place);
    }
  }

  close(): void {
    for (const place of this.places.values()) end(place);
    this.places.clear();
  }

  private send({ child, targets, icmp }: Place): void {
    child?.send({ targets, icmp } satisfies ToChecker, () => {});
  }

  private start(netns: string, place: Place): void {
    clearTimeout(place.restart);
    try {
      place.child = inNamespace(netns === "" ? undefined : netns, () => this.spawn(place));
    } catch (error) {
      const reason = oneLine(error);
      // Tried every second, said once.
      if (place.trouble !== reason) {
        this.log.error({ event: "checks.failed", netns }, `servers are not checked: ${reason}; trying again`);
      }
      place.trouble = reason;
      this.later(netns, place);
      return;
    }
    place.trouble = undefined;
    const { child } = place;
    const ended = (reason: string) => {
      if (place.child !== child) return;
      place.child = undefined;
      this.log.error({ event: "checks.died", netns }, `the checking process ${reason}; starting it again`);
      this.later(netns, place);
    };
    child.on("error", (error) => {
      // What never began does not exit.
      if (child.pid === undefined) ended(`cannot be started: ${oneLine(error)}`);
      else this.log.error({ event: "checks.failed", netns }, `the checking process: ${oneLine(error)}`);
    });
    child.once("exit", (status, signal) => ended(`died: ${signal ?? `status ${status}`}`));
    child.on("message", ({ health, tallies }: FromChecker) => this.report(health, tallies));
  }

  private later(netns: string, place: Place): void {
    place.restart = setTimeout(() => {
      this.start(netns, place);
      this.send(place);
    }, RESTART_MS);
  }

  private spawn(place: Place): ChildProcess {
    const sockets = ([4, 6] as const).flatMap((family) => openIcmp(family) ?? []);
    try {
      place.icmp = sockets.map(({ family, raw }, at) => ({ family, raw, fd: FIRST_FD + at }));
      return spawn(process.execPath, ["--title=wlvs-checker", PROCESS], {
        cwd: "/",
        env: { PATH: process.env.PATH, TZ: process.env.TZ },
        stdio: ["ignore", "ignore", "inherit", "ipc", ...sockets.map(({ fd }) => fd)],
        ...(this.user !== undefined && { uid: this.user.uid, gid: this.user.gid }),
      });
    } finally {
      for (const { fd } of sockets) native.close(fd);
    }
  }
}

function end(place: Place): void {
  clearTimeout(place.restart);
  const { child } = place;
  place.child = undefined;
  child?.kill("SIGTERM");
  if (child?.connected) child.disconnect();
}
