/**
 * When is which server checked, and what do the answers mean: `rise` good ones in a row make it up, `fall` bad ones
 * down. Knows nothing of services, tables or processes.
 */

import type { Abandon, Problem, Target } from "./checker.js";
import type { Checkers } from "./checkers.js";

export interface Health {
  readonly id: string;
  readonly up: boolean;
  /** What the last check said, when it failed. */
  readonly problem?: Problem;
  /** Milliseconds that the last check took. */
  readonly took: number;
}

/** How many checks of a target ended how, so far, and the milliseconds that the last one took. */
export interface Tally {
  readonly id: string;
  readonly passed: number;
  readonly failed: number;
  readonly took: number;
}

export interface MonitorOptions {
  /** Called when a server is found to be up or down, and it was not known, or was known to be otherwise. */
  changed(health: Health): void;
  readonly checkers: Checkers;
  /** From 0 to 1. */
  readonly random?: () => number;
}

interface Watch {
  readonly target: Target;
  /** The target in writing, to tell a changed one. */
  readonly text: string;
  /** undefined: nothing is known yet. */
  health: Health | undefined;
  /** So many answers in a row said the same. */
  streak: { readonly well: boolean; readonly length: number };
  tally: Tally;
  /** Whether `tally` has been asked for as it is. */
  told: boolean;
  timer: NodeJS.Timeout | undefined;
  abandon: Abandon | undefined;
}

export class Monitor {
  private readonly options: MonitorOptions;
  private readonly watches = new Map<string, Watch>();
  private readonly random: () => number;
  /** Attempts so far. */
  attempts = 0;

  constructor(options: MonitorOptions) {
    this.options = options;
    this.random = options.random ?? Math.random;
  }

  /** Watches exactly these from now on. What is watched already goes on undisturbed, and keeps what is known of it. */
  watch(targets: readonly Target[]): void {
    const gone = new Set(this.watches.keys());
    for (const target of targets) {
      const text = JSON.stringify(target);
      const found = this.watches.get(target.id);
      gone.delete(target.id);
      if (found?.text === text) continue;
      if (found !== undefined) halt(found);
      // A check that changed says nothing of the server: what is known of it stays.
      const streak = { well: true, length: 0 };
      const tally = found?.tally ?? { id: target.id, passed: 0, failed: 0, took: 0 };
      const rest = { tally, told: false, timer: undefined, abandon: undefined };
      const watch: Watch = { target, text, health: found?.health, streak, ...rest };
      this.watches.set(target.id, watch);
      const { delay, interval } = target.spec;
      this.later(watch, delay + this.random() * interval);
    }
    for (const id of gone) {
      halt(this.watches.get(id)!);
      this.watches.delete(id);
    }
  }

  /** What is known so far. */
  health(): Health[] {
    return Array.from(this.watches.values()).flatMap(({ health }) => health ?? []);
  }

  /** Of those targets that were checked since the last call. */
  tallies(): Tally[] {
    const fresh = Array.from(this.watches.values()).filter(({ told }) => !told);
    for (const watch of fresh) watch.told = true;
    return fresh.map(({ tally }) => tally);
  }

  close(): void {
    for (const watch of this.watches.values()) halt(watch);
    this.watches.clear();
  }

  private later(watch: Watch, ms: number): void {
    watch.timer = setTimeout(() => this.attempt(watch), ms);
  }

  private attempt(watch: Watch): void {
    const { spec } = watch.target;
    const began = performance.now();
    this.attempts++;
    let over = false;
    const finish = (problem: Problem) => {
      if (over) return;
      over = true;
      clearTimeout(watch.timer);
      watch.abandon = undefined;
      const took = performance.now() - began;
      const { id, passed, failed } = watch.tally;
      const well = problem === undefined ? 1 : 0;
      watch.tally = { id, passed: passed + well, failed: failed + 1 - well, took };
      watch.told = false;
      const wait = this.judge(watch, problem, took);
      // Counted from the beginning of this check: slow answers do not make checks rarer.
      this.later(watch, Math.max(1, wait - took));
    };
    watch.timer = setTimeout(() => {
      watch.abandon?.();
      finish(`no answer within ${spec.timeout / 1000} s`);
    }, spec.timeout);
    try {
      const checker = this.options.checkers[spec.type];
      const abandon = checker.begin(watch.target, finish);
      if (!over) watch.abandon = abandon;
    } catch (error) {
      finish((error as Error).message);
    }
  }

  /** Takes an answer in; returns the milliseconds until the next check. */
  private judge(watch: Watch, problem: Problem, took: number): number {
    const { id, spec } = watch.target;
    const well = problem === undefined;
    const length = well === watch.streak.well ? watch.streak.length + 1 : 1;
    watch.streak = { well, length };
    const before = watch.health?.up;
    const turns = before !== well && length >= (well ? spec.rise : spec.fall);
    if (turns || watch.health !== undefined) watch.health = { id, up: turns ? well : before === true, problem, took };
    if (turns) this.options.changed(watch.health!);
    // In doubt whether it is dead: look again sooner.
    return !well && watch.health?.up !== false ? spec.retry : spec.interval;
  }
}

function halt(watch: Watch): void {
  clearTimeout(watch.timer);
  watch.abandon?.();
  watch.abandon = undefined;
}
