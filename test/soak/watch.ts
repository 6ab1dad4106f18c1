/** What is measured of the director while it works. */
import { readdirSync, readFileSync } from "node:fs";
import { childrenByRole } from "../support/processes.js";
import { parseScrape, sampleOf } from "../support/scrape.js";

/** One moment. Bytes, seconds, and counts since the director's start. */
export interface Sample {
  /** Milliseconds since the soak began. */
  readonly at: number;
  readonly rss: number;
  readonly heap: number;
  readonly cpu: number;
  readonly connections: number;
  readonly slots: number;
  readonly framesIn: number;
  /** What the kernel lost before the core, and after it; absent in records of before it was counted. */
  readonly lost?: number;
  readonly traps: number;
  readonly restarts: number;
  readonly evictions: number;
  readonly drops: Readonly<Record<string, number>>;
  /** Open descriptors by process: director, keeper, checker. */
  readonly descriptors: Readonly<Record<string, number>>;
  readonly keeperRss: number;
  /** What all clients have done so far, by kind of traffic. */
  readonly done: Readonly<Record<string, number>>;
  readonly bytes: Readonly<Record<string, number>>;
}

/** The processes of a running `wlvs run`, by what they are: the keeper's children carry their names in their titles. */
export function processesOf(keeper: number): Map<string, number> {
  const found = new Map([["keeper", keeper]]);
  for (const [role, pids] of childrenByRole(keeper)) {
    if (role === "director" || role === "checker") found.set(role, pids.at(-1)!);
  }
  return found;
}

function rssOf(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  return Number(line?.[1] ?? 0) * 1024;
}

export async function measure(
  listen: string,
  keeper: number,
  began: number,
  done: Readonly<Record<string, number>>,
  bytes: Readonly<Record<string, number>>,
): Promise<Sample> {
  const response = await fetch(`http://${listen}/metrics`, { signal: AbortSignal.timeout(10_000) });
  if (response.status !== 200) throw new Error(`/metrics: status ${response.status} ${await response.text()}`);
  const scrape = parseScrape(await response.text());
  const drops = scrape.samples.filter(({ name, value }) => name === "wlvs_drops_total" && value > 0);
  const descriptors = [...processesOf(keeper)].map(
    ([role, pid]) => [role, readdirSync(`/proc/${pid}/fd`).length] as const,
  );
  return {
    at: Date.now() - began,
    rss: sampleOf(scrape, "process_resident_memory_bytes"),
    heap: sampleOf(scrape, "nodejs_heap_size_used_bytes"),
    cpu: sampleOf(scrape, "process_cpu_seconds_total"),
    connections: sampleOf(scrape, "wlvs_table_entries", { table: "connections" }),
    slots: sampleOf(scrape, "wlvs_table_entries", { table: "slots" }),
    framesIn: sampleOf(scrape, "wlvs_frames_in_total"),
    lost: scrape.samples.reduce((sum, { name, value }) => (name === "wlvs_device_lost_total" ? sum + value : sum), 0),
    traps: sampleOf(scrape, "wlvs_traps_total"),
    restarts: sampleOf(scrape, "wlvs_director_restarts_total"),
    evictions: sampleOf(scrape, "wlvs_evictions_total"),
    drops: Object.fromEntries(drops.map(({ labels, value }) => [labels.reason!, value])),
    descriptors: Object.fromEntries(descriptors),
    keeperRss: rssOf(keeper),
    done: { ...done },
    bytes: { ...bytes },
  };
}
