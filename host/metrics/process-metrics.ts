/** What the director's process knows of itself, beside what the core counts. */
import { Counter, Gauge, Registry } from "prom-client";
import type { DirectorStatus } from "../control/director-info.js";

/** What the process counts before anybody asks. */
export interface ProcessCounts {
  /** How many directors of this keeper died before this one. */
  readonly restarts: number;
  readonly reloads: { readonly applied: number; readonly refused: number };
}

export class ProcessMetrics {
  private readonly counts: ProcessCounts;
  private readonly registry = new Registry();
  private readonly build: Gauge;
  private readonly uptime: Gauge;
  private readonly reloads: Counter;
  private readonly cpu: Counter;

  constructor(counts: ProcessCounts) {
    this.counts = counts;
    const registers = [this.registry];
    this.build = new Gauge({
      name: "wlvs_build_info",
      help: "Always 1; what runs, and how.",
      labelNames: ["version", "node", "profile", "io"],
      registers,
    });
    this.uptime = new Gauge({ name: "wlvs_uptime_seconds", help: "Since the director started.", registers });
    new Counter({
      name: "wlvs_director_restarts_total",
      help: "Directors that died and were started again by the keeper.",
      registers,
    }).inc(counts.restarts);
    this.reloads = new Counter({
      name: "wlvs_reloads_total",
      help: "Configurations that were read again, by result: applied or refused.",
      labelNames: ["result"],
      registers,
    });
    this.cpu = new Counter({
      name: "process_cpu_seconds_total",
      help: "Total user and system CPU time spent in seconds, workers included.",
      registers,
    });
    new Gauge({
      name: "process_resident_memory_bytes",
      help: "Resident memory size in bytes.",
      registers,
      collect() {
        this.set(process.memoryUsage.rss());
      },
    });
    new Gauge({
      name: "nodejs_heap_size_used_bytes",
      help: "Heap of the main thread in use, in bytes: what waits to be collected included.",
      registers,
      collect() {
        this.set(process.memoryUsage().heapUsed);
      },
    });
    new Gauge({
      name: "process_start_time_seconds",
      help: "Start time of the process since unix epoch in seconds.",
      registers,
    }).set(Math.round(Date.now() / 1000 - process.uptime()));
  }

  async text({ version, profile, io, uptime }: DirectorStatus): Promise<string> {
    this.build.reset();
    this.build.set({ version, node: process.version, profile, io }, 1);
    this.uptime.set(uptime);
    this.reloads.reset();
    for (const [result, count] of Object.entries(this.counts.reloads)) this.reloads.inc({ result }, count);
    const { user, system } = process.cpuUsage();
    this.cpu.reset();
    this.cpu.inc((user + system) / 1e6);
    // The registry puts an empty line between families; everything else is written without.
    return (await this.registry.metrics()).replaceAll("\n\n", "\n");
  }
}
