/** Passive checks: servers that the core found suspect are down, until their hold time is over. */
import type { Suspect } from "../core/local-ipvs.js";
import type { ServerId, ServiceId } from "../ipvs/model.js";
import type { PassiveCheck } from "./checker.js";
import type { Health } from "./monitor.js";
import { checkId, type ServiceHealth, targetId } from "./service-health.js";

/** The core gives a suspect no new connections from the frame on that made it one; the tables follow within this. */
const POLL_MS = 25;

/** Where suspects are found. */
export interface PassivePlace {
  suspectsSoFar(): number;
  suspects(): Iterable<Suspect>;
}

interface Watched {
  readonly check: PassiveCheck;
  /** It is down, until this fires. */
  hold: NodeJS.Timeout | undefined;
}

export class Passive {
  private readonly place: PassivePlace;
  private readonly report: (news: readonly Health[]) => void;
  private readonly watched = new Map<string, Watched>();
  /** Ids of the checks of a server. */
  private readonly owners = new Map<string, string>();
  private seen = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(place: PassivePlace, report: (news: readonly Health[]) => void) {
    this.place = place;
    this.report = report;
  }

  /** Looks after the passive checks of these services; who is held goes on being held. */
  configure(services: readonly ServiceHealth[]): void {
    const gone = new Map(this.watched);
    const fresh: Health[] = [];
    this.owners.clear();
    for (const { service, servers } of services) {
      for (const one of servers) {
        const { server, checks } = one;
        const at = checks.findIndex(({ type }) => type === "passive");
        if (at < 0) continue;
        const id = checkId(service, one, at);
        const check = checks[at] as PassiveCheck;
        this.owners.set(targetId(service, server), id);
        const { hold } = gone.get(id) ?? {};
        gone.delete(id);
        this.watched.set(id, { check, hold });
        // Well as long as nobody complains.
        if (hold === undefined) fresh.push({ id, up: true, took: 0 });
        else this.arm(id);
      }
    }
    for (const [id, { hold }] of gone) {
      clearTimeout(hold);
      this.watched.delete(id);
    }
    if (this.watched.size === 0) this.close();
    else if (this.timer === undefined) {
      this.seen = 0;
      this.timer = setInterval(() => this.poll(), POLL_MS).unref();
    }
    if (fresh.length > 0) this.report(fresh);
  }

  close(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    for (const { hold } of this.watched.values()) clearTimeout(hold);
    this.watched.clear();
  }

  private poll(): void {
    const count = this.place.suspectsSoFar();
    if (count === this.seen) return;
    this.seen = count;
    const news: Health[] = [];
    for (const { service, server, refused, unanswered } of this.place.suspects()) {
      const id = this.idOf(service, server);
      const watched = id === undefined ? undefined : this.watched.get(id);
      if (id === undefined || watched === undefined || watched.hold !== undefined) continue;
      this.arm(id);
      news.push({ id, up: false, problem: problemOf(watched.check, refused, unanswered), took: 0 });
    }
    if (news.length > 0) this.report(news);
  }

  private arm(id: string): void {
    const watched = this.watched.get(id)!;
    clearTimeout(watched.hold);
    watched.hold = setTimeout(() => {
      watched.hold = undefined;
      this.report([{ id, up: true, took: 0 }]);
    }, watched.check.hold).unref();
  }

  private idOf(service: ServiceId, server: ServerId): string | undefined {
    return this.owners.get(targetId(service, server));
  }
}

function problemOf({ refused: limit, window }: PassiveCheck, refused: number, unanswered: number): string {
  const isRefused = limit > 0 && refused >= limit;
  const times = isRefused ? refused : unanswered;
  const connections = `${times} ${times === 1 ? "connection" : "connections"}`;
  return `${connections} ${isRefused ? "refused" : "unanswered"} within ${window / 1000} s`;
}
