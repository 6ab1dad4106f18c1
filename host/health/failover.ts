/**
 * What health means for the tables: servers that fail leave or get weight 0, and come back as they were; a sorry server
 * serves when too few are left. Whatever somebody changed by hand meanwhile is respected: a server comes back as it was
 * found when it left.
 */
import type { ServerHealth } from "../control/director-info.js";
import { serverKey, serviceKey } from "../control/keys.js";
import type { PassiveLimits } from "../core/control.js";
import { oneLine } from "../errors.js";
import {
  type FailureStep,
  IpvsError,
  type ServerConfig,
  type ServerId,
  type ServiceId,
  type ServiceInfo,
} from "../ipvs/model.js";
import type { Logger } from "../log.js";
import { killCommand, startCommand } from "./command.js";
import type { Health, Tally } from "./monitor.js";
import { type Argv, type CheckedServer, checkId, ownerOf, type ServiceHealth, targetId } from "./service-health.js";

const RAMP_MS = 1000;
const COMMAND_MS = 60_000;

/** A server that is not what its configuration says, and what it will be again. */
interface Held {
  readonly server: ServerConfig;
  /** Still in the table, with weight 0, or with a weight that grows; undefined: taken out. */
  readonly weight: number | undefined;
  /** When it came back, for a slow start. */
  readonly since?: number;
}

interface ServiceState {
  spec: ServiceHealth;
  quorum: boolean;
  panic: boolean;
  sorry: boolean;
  /** By server key. */
  readonly held: Map<string, Held>;
  /** Those whose clients' luck the core counts, by server key. */
  readonly watched: Map<string, ServerId>;
}

/** What is done to the tables. */
export interface FailoverTables {
  service(id: ServiceId): Promise<ServiceInfo>;
  transaction(steps: readonly FailureStep[]): Promise<void>;
  /** Passive checks: what makes a server suspect from now on. */
  watchServer(service: ServiceId, server: ServerId, limits: PassiveLimits | undefined): void;
}

export class Failover {
  private readonly ipvs: FailoverTables;
  private readonly log: Logger;
  private readonly states = new Map<string, ServiceState>();
  private readonly known = new Map<string, Health>();
  private readonly tallies = new Map<string, Tally>();
  private working: Promise<unknown> = Promise.resolve();
  private ramp: NodeJS.Timeout | undefined;

  constructor(ipvs: FailoverTables, log: Logger) {
    this.ipvs = ipvs;
    this.log = log;
  }

  /** Takes these services on. What is known of those that it has already stays known. */
  configure(services: readonly ServiceHealth[]): Promise<void> {
    return this.inTurn(async () => {
      const gone = new Map(this.states);
      const ids = new Set<string>();
      for (const spec of services) {
        const key = serviceKey(spec.service);
        gone.delete(key);
        for (const one of spec.servers) for (const at of one.checks.keys()) ids.add(checkId(spec.service, one, at));
        const found = this.states.get(key);
        if (found !== undefined) found.spec = spec;
        else
          this.states.set(key, { spec, quorum: true, panic: false, sorry: false, held: new Map(), watched: new Map() });
      }
      for (const map of [this.known, this.tallies]) for (const id of map.keys()) if (!ids.has(id)) map.delete(id);
      for (const [key, state] of gone) {
        // Nobody is checked any more: all come back.
        await this.settle({ ...state, spec: { ...state.spec, servers: [], quorum: 0, sorry: undefined } });
        this.states.delete(key);
      }
      for (const state of this.states.values()) await this.settle(state);
    });
  }

  /** News of some servers. */
  learn(news: readonly Health[]): Promise<void> {
    return this.inTurn(async () => {
      for (const health of news) this.note(health);
      const changed = new Set(news.map(({ id }) => ownerOf(id)[0]));
      for (const key of changed) {
        const state = this.states.get(key);
        if (state !== undefined) await this.settle(state);
      }
    });
  }

  /** What is known of every checked server. */
  health(): ServerHealth[] {
    return Array.from(this.states.values()).flatMap(({ spec }) =>
      spec.servers.map((one) => {
        const { state, problem, took } = this.stateOf(spec, one);
        const place = { service: serviceKey(spec.service), server: serverKey(one.server) };
        return { ...place, state, problem, took, ...this.tallyOf(spec, one) };
      }),
    );
  }

  /** How checks ended, since the checking process began. */
  count(tallies: readonly Tally[]): void {
    for (const tally of tallies) this.tallies.set(tally.id, tally);
  }

  /** All checks of a server together; of durations the longest. */
  private tallyOf(
    { service }: ServiceHealth,
    { server, checks }: CheckedServer,
  ): Pick<ServerHealth, "passed" | "failed"> & { took?: number } {
    const found = checks.flatMap((_check, at) => this.tallies.get(targetId(service, server, at)) ?? []);
    if (found.length === 0) return { passed: 0, failed: 0 };
    const sum = (of: "passed" | "failed") => found.reduce((total, tally) => total + tally[of], 0);
    return { passed: sum("passed"), failed: sum("failed"), took: Math.max(...found.map(({ took }) => took)) };
  }

  /** What all checks of a server say together. */
  private stateOf({ service }: ServiceHealth, one: CheckedServer): Pick<ServerHealth, "state" | "problem" | "took"> {
    const found = one.checks.map((_check, at) => this.known.get(checkId(service, one, at)));
    const down = found.find((health) => health?.up === false);
    if (down !== undefined) return { state: "down", problem: down.problem, took: down.took };
    if (found.includes(undefined)) return { state: "unknown" };
    return { state: "up", took: Math.max(...found.map((health) => health!.took)) };
  }

  /** The tables as they would be if all were well: what is configured, and what was changed by hand. */
  whole(services: readonly ServiceInfo[]): ServiceInfo[] {
    return services.map((service) => {
      const state = this.states.get(serviceKey(service.id));
      if (state === undefined) return service;
      const sorry = state.sorry && state.spec.sorry !== undefined ? serverKey(state.spec.sorry.id) : "";
      const servers = service.servers
        .filter(({ id }) => serverKey(id) !== sorry)
        .map((server) => {
          const held = state.held.get(serverKey(server.id));
          return held !== undefined && held.weight === server.weight
            ? { ...server, weight: held.server.weight }
            : server;
        });
      const present = new Set(servers.map(({ id }) => serverKey(id)));
      const out = Array.from(state.held).filter(([key, { weight }]) => weight === undefined && !present.has(key));
      return { ...service, servers: [...servers, ...out.map(([, { server }]) => idle(server))] };
    });
  }

  /** A server that is out was changed, or is no more: it comes back like that, or not at all. */
  change(service: ServiceInfo["id"], server: ServerConfig["id"], now: ServerConfig | undefined): boolean {
    const held = this.states.get(serviceKey(service))?.held;
    const key = serverKey(server);
    const found = held?.get(key);
    if (held === undefined || found === undefined || found.weight !== undefined) return false;
    if (now === undefined) held.delete(key);
    else held.set(key, { ...found, server: now });
    return true;
  }

  /** Whether a server is out of the table because it is down. */
  isOut(service: ServiceInfo["id"], server: ServerConfig["id"]): boolean {
    const held = this.states.get(serviceKey(service))?.held.get(serverKey(server));
    return held !== undefined && held.weight === undefined;
  }

  /** Somebody changed the tables: who is down goes out again. */
  settleAll(): Promise<void> {
    return this.inTurn(async () => {
      for (const state of this.states.values()) await this.settle(state);
    });
  }

  close(): void {
    clearInterval(this.ramp);
    this.states.clear();
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.working.then(work);
    this.working = result.catch(() => {});
    return result;
  }

  private note(health: Health): void {
    const [service, server] = ownerOf(health.id);
    const state = this.states.get(service);
    const checked = state?.spec.servers.find((one) => serverKey(one.server) === server);
    if (state === undefined || checked === undefined) return;
    const before = this.stateOf(state.spec, checked).state;
    this.known.set(health.id, health);
    const after = this.stateOf(state.spec, checked).state;
    if (before === after) return;
    const took = Math.round(health.took);
    if (after === "down") {
      const { problem } = health;
      this.log.warn({ event: "health.down", service, server, problem, took }, `${server} is down: ${problem}`);
    } else if (before === "down" && after === "up") {
      this.log.info({ event: "health.up", service, server, took }, `${server} is up`);
    }
  }

  /** Makes the table what health says. */
  private async settle(state: ServiceState): Promise<void> {
    const { spec, held } = state;
    let service: ServiceInfo;
    try {
      service = await this.ipvs.service(spec.service);
    } catch (error) {
      if (!(error instanceof IpvsError)) throw error;
      // Somebody removed it: nothing of it may come back.
      held.clear();
      state.sorry = false;
      return;
    }
    const now = this.decide(state, service);
    const steps: FailureStep[] = [];
    const changes: Array<() => void> = [];
    const id = spec.service;
    const present = new Map(service.servers.map((server) => [serverKey(server.id), server]));
    for (const [key, entry] of [...held]) {
      const there = present.get(key);
      if (!now.use(key)) continue;
      if (entry.since !== undefined) continue;
      const back = startWeight(entry.server.weight, spec.slowStart);
      const next: Held | undefined =
        back === entry.server.weight ? undefined : { server: entry.server, weight: back, since: performance.now() };
      changes.push(() => (next === undefined ? held.delete(key) : held.set(key, next)));
      const server = { ...entry.server, weight: back };
      if (there === undefined) {
        // With weight 0 it was in the table: somebody took it out, and that holds.
        if (entry.weight === undefined) steps.push({ do: "addServer", service: id, server });
        else changes.push(() => held.delete(key));
      } else if (entry.weight === there.weight) {
        steps.push({ do: "editServer", service: id, server: { ...configOf(there), weight: back } });
      } else changes.push(() => held.delete(key));
    }
    const { sorry } = spec;
    const sorryKey = sorry === undefined ? "" : serverKey(sorry.id);
    if (sorry !== undefined && now.sorry && !present.has(sorryKey)) {
      steps.push({ do: "addServer", service: id, server: sorry });
    }
    for (const [key, there] of present) {
      if (now.use(key) || (state.sorry && key === sorryKey)) continue;
      const entry = held.get(key);
      const isOut = entry !== undefined && entry.since === undefined && there.weight === entry.weight;
      if (isOut && spec.onFailure === "inhibit") continue;
      const weight = entry !== undefined && entry.weight === there.weight ? entry.server.weight : there.weight;
      const server = { ...configOf(there), weight };
      if (spec.onFailure === "inhibit") {
        steps.push({ do: "editServer", service: id, server: { ...server, weight: 0 }, failure: spec.connections });
        changes.push(() => held.set(key, { server, weight: 0 }));
      } else {
        steps.push({ do: "removeServer", service: id, server: there.id, failure: spec.connections });
        changes.push(() => held.set(key, { server, weight: undefined }));
      }
    }
    if (sorry !== undefined && !now.sorry && state.sorry && present.has(sorryKey)) {
      steps.push({ do: "removeServer", service: id, server: sorry.id });
    }
    try {
      if (steps.length > 0) await this.ipvs.transaction(steps);
    } catch (error) {
      this.log.error({ event: "health.refused", service: serviceKey(id) }, `the tables refuse: ${oneLine(error)}`);
      return;
    }
    for (const change of changes) change();
    this.watch(state, now.panic);
    this.announce(state, now);
    if (Array.from(held.values()).some(({ since }) => since !== undefined)) this.startRamp();
  }

  /** Tells the core what passive checks are to find. In a panic nobody is too bad. */
  private watch(state: ServiceState, panic: boolean): void {
    const { service, servers } = state.spec;
    const gone = new Map(state.watched);
    for (const { server, checks } of servers) {
      const check = checks.find((one) => one.type === "passive");
      if (check === undefined) continue;
      gone.delete(serverKey(server));
      state.watched.set(serverKey(server), server);
      this.ipvs.watchServer(service, server, panic ? undefined : check);
    }
    for (const [key, server] of gone) {
      state.watched.delete(key);
      this.ipvs.watchServer(service, server, undefined);
    }
  }

  private decide(state: ServiceState, service: ServiceInfo) {
    const { spec, held } = state;
    const sorryKey = spec.sorry === undefined ? "" : serverKey(spec.sorry.id);
    const down = new Set(
      spec.servers.filter((one) => this.stateOf(spec, one).state === "down").map(({ server }) => serverKey(server)),
    );
    const weights = new Map<string, number>();
    for (const server of service.servers) weights.set(serverKey(server.id), server.weight);
    for (const [key, { server, weight }] of held) {
      if (weight === undefined || weights.get(key) === weight) weights.set(key, server.weight);
    }
    if (state.sorry) weights.delete(sorryKey);
    let alive = 0;
    let healthy = 0;
    for (const [key, weight] of weights) {
      if (down.has(key)) continue;
      alive += weight;
      healthy++;
    }
    const { quorum: due, hysteresis } = spec;
    const quorum = state.quorum ? alive >= Math.max(1, due - hysteresis) : alive >= due + hysteresis;
    const panic = spec.panic > 0 && weights.size > 0 && healthy * 100 < spec.panic * weights.size;
    // Servers without weight at all are somebody's wish, not a failure.
    const sorry = !panic && !quorum && spec.sorry !== undefined && weights.size > 0;
    const use = (key: string) => (key === sorryKey ? sorry : panic || (!sorry && !down.has(key)));
    return { quorum: quorum || due === 0, panic, sorry, use };
  }

  private announce(state: ServiceState, now: { quorum: boolean; panic: boolean; sorry: boolean }): void {
    const { spec } = state;
    const service = serviceKey(spec.service);
    if (now.quorum !== state.quorum) {
      if (now.quorum) this.log.info({ event: "health.quorum-up", service }, `${service} has its quorum again`);
      else this.log.warn({ event: "health.quorum-down", service }, `${service} has lost its quorum`);
      const argv = now.quorum ? spec.quorumUp : spec.quorumDown;
      if (argv !== undefined) this.run(argv, state);
    }
    if (now.panic !== state.panic) {
      if (now.panic) this.log.warn({ event: "health.panic", service }, `${service}: too few are well, all are used`);
      else this.log.info({ event: "health.panic-over", service }, `${service}: enough are well again`);
    }
    if (now.sorry !== state.sorry) {
      const server = serverKey(spec.sorry!.id);
      if (now.sorry) this.log.info({ event: "health.sorry", service, server }, `${service}: sorry server`);
      else this.log.info({ event: "health.sorry-over", service, server }, `${service}: no sorry server any more`);
    }
    state.quorum = now.quorum;
    state.panic = now.panic;
    state.sorry = now.sorry;
  }

  private run(argv: Argv, { spec: { service } }: ServiceState): void {
    const variables =
      "mark" in service ? { MARK: `${service.mark}` } : { VIP: service.address, PORT: `${service.port}` };
    const failed = (reason: string) =>
      this.log.error({ event: "health.command", service: serviceKey(service) }, `${argv[0]}: ${reason}`);
    const child = startCommand(argv, variables);
    const timer = setTimeout(() => killCommand(child), COMMAND_MS);
    child.once("error", (error) => failed(oneLine(error)));
    child.once("exit", (status, signal) => {
      clearTimeout(timer);
      if (status !== 0) failed(signal ?? `status ${status}`);
    });
  }

  private startRamp(): void {
    this.ramp ??= setInterval(() => {
      void this.inTurn(() => this.climb());
    }, RAMP_MS);
  }

  /** Gives servers that came back more of their weight. */
  private async climb(): Promise<void> {
    let more = false;
    for (const { spec, held } of this.states.values()) {
      const climbing = Array.from(held).filter(([, { since }]) => since !== undefined);
      if (climbing.length === 0) continue;
      const service = await this.ipvs.service(spec.service).catch(() => undefined);
      for (const [key, { server, weight, since }] of climbing) {
        const there = service?.servers.find(({ id }) => serverKey(id) === key);
        // Another weight than the last one given is somebody's wish.
        if (there === undefined || there.weight !== weight) {
          held.delete(key);
          continue;
        }
        const share = spec.slowStart === 0 ? 1 : (performance.now() - since!) / spec.slowStart;
        const next = share >= 1 ? server.weight : Math.max(1, Math.floor(server.weight * share));
        const step = { do: "editServer", service: spec.service, server: { ...configOf(there), weight: next } } as const;
        if (next !== weight) await this.ipvs.transaction([step]).catch(() => {});
        if (next === server.weight) held.delete(key);
        else held.set(key, { server, weight: next, since: since! });
        more ||= next !== server.weight;
      }
    }
    if (more) return;
    clearInterval(this.ramp);
    this.ramp = undefined;
  }
}

function startWeight(weight: number, slowStart: number): number {
  return slowStart > 0 && weight > 1 ? 1 : weight;
}

function configOf({ id, forwarding, weight, upperThreshold, lowerThreshold, tunnel }: ServerConfig): ServerConfig {
  return { id, forwarding, weight, upperThreshold, lowerThreshold, tunnel };
}

function idle(server: ServerConfig): ServiceInfo["servers"][number] {
  const stats = { connections: 0, inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 };
  const rates = { cps: 0, inPps: 0, outPps: 0, inBps: 0, outBps: 0 };
  return { ...server, active: 0, inactive: 0, persistent: 0, stats, rates };
}
