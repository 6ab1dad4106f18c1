/** What a soak has to show, and whether it did. */
import type { Failure, LogLine, SoakRecord } from "./record.js";
import type { Sample } from "./watch.js";

export interface Finding {
  readonly text: string;
  readonly holds: boolean;
}

/** A request that was under way when its server died, and one that was sent before its client heard of it. */
const GRACE_MS = 1000;
const MORTAL_TRAFFIC = "mortal";
const MIB = 2 ** 20;
/** Growth from the second quarter of the run to the last that is no leak, and the absolute bound of a short run. */
const GROWTH = 0.1;
const GROWTH_BYTES = 12 * MIB;
/** A run that is too short for quarters to mean something. */
const LONG_SECONDS = 600;
/** Processor seconds a second: one worker, and the main thread, which serves scrapes and listings. */
const BUSY_CPU = 1.7;
const IDLE_CPU = 0.2;
const EXPECTED = new Set(["health.down", "health.quorum-down", "health.quorum-up", "config.refused"]);

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** Failures that a dead server explains: of traffic to mortal servers, in the time until its checks had found it. */
export function isExplained(failure: Failure, { outages }: SoakRecord): boolean {
  if (!failure.name.includes(MORTAL_TRAFFIC)) return false;
  return outages.some(({ began, found }) => {
    const until = (found === 0 ? Number.POSITIVE_INFINITY : found) + GRACE_MS;
    return failure.began <= until && failure.ended >= began;
  });
}

/** Warnings that what was done asks for. */
export function isExpected({ event, server }: LogLine): boolean {
  if (event === undefined || !EXPECTED.has(event)) return false;
  return event !== "health.down" || server?.startsWith("10.98.0.14:") === true;
}

/** A drain whose time was up: its clients kept their connections for longer, as they may; the weights are set back. */
export function isPatience(problem: string): boolean {
  return /^wlvs drain: status 1 wlvs: after \d+ s \d+ connections? (is|are) left$/.test(problem);
}

/** Of a measure: the median of the second quarter of the run and of the last. */
export function quarters({ samples }: SoakRecord, of: (sample: Sample) => number): [number, number] {
  const at = (part: number) => Math.floor((samples.length * part) / 4);
  return [median(samples.slice(at(1), at(2)).map(of)), median(samples.slice(at(3)).map(of))];
}

/** Processor seconds a second, between samples. */
export function cpuRates(samples: readonly Sample[]): number[] {
  return samples.slice(1).map((sample, n) => {
    const before = samples[n]!;
    return (sample.cpu - before.cpu) / ((sample.at - before.at) / 1000);
  });
}

export function judge(record: SoakRecord): Finding[] {
  const { samples, first, last, end, bursts, outages, log } = record;
  const findings: Finding[] = [];
  const must = (holds: boolean, text: string) => findings.push({ holds, text });
  const answers = Object.entries(last.done);
  const total = answers.reduce((sum, [, count]) => sum + count, 0);
  const requests = bursts.reduce((sum, burst) => sum + burst.requests, 0);
  must(
    answers.length === 7 && answers.every(([, count]) => count > 0),
    `every kind of traffic had answers, ${total} in all`,
  );
  const unexplained = record.failures.filter((failure) => !isExplained(failure, record));
  const explained = record.failures.length - unexplained.length;
  const some = unexplained.slice(0, 3).map(({ name, failure }) => `${name}: ${failure}`);
  must(
    unexplained.length === 0 && record.failuresMore === 0,
    `no request failed but those to a server that had just died (${explained} of those, ${unexplained.length} others${some.length > 0 ? `: ${some.join("; ")}` : ""})`,
  );
  const bad = bursts.filter(({ errors }) => errors !== "");
  must(
    bursts.length > 0 && bad.length === 0,
    `${requests} requests of wrk, of which none failed${bad[0] ? `: ${bad[0].errors}` : ""}`,
  );
  must(
    outages.length >= 1 && outages.every(({ returned }) => returned > 0),
    `servers died ${outages.length} times, were taken out, and came back`,
  );
  const problems = record.problems.filter((problem) => !isPatience(problem));
  const patience = record.problems.length - problems.length;
  must(
    problems.length === 0,
    `every change and listing was right${patience > 0 ? ` (${patience} drains ended before the clients of the server did)` : ""}${problems[0] ? `: ${problems[0]}` : ""}`,
  );
  const surprises = log.filter((line) => !isExpected(line));
  must(surprises.length === 0, `no warning but those of what was done${surprises[0] ? `: ${surprises[0].msg}` : ""}`);
  must(last.traps === 0 && last.restarts === 0, `${last.traps} traps, ${last.restarts} restarts`);
  must(last.evictions === 0, `${last.evictions} connections had to make room`);
  memory(record, must);
  must(last.slots === first.slots, `slots in use at the start ${first.slots}, at the end ${last.slots}`);
  const { established, connections, left } = end;
  const long = record.seconds >= 180;
  must(
    established === 0 && (!long || connections === 0),
    `connections at the end: ${established} established, ${connections} in the table${long ? "" : " (which empties within two minutes)"}${left[0] ? `: ${left[0]}` : ""}`,
  );
  const descriptors = Object.keys(first.descriptors).map(
    (role) => [role, first.descriptors[role]!, last.descriptors[role]] as const,
  );
  must(
    descriptors.length === 3 && descriptors.every(([, from, to]) => from === to),
    `descriptors at the start and at the end: ${descriptors.map(([role, from, to]) => `${role} ${from}, ${to}`).join("; ")}`,
  );
  const rates = cpuRates([first, ...samples]);
  must(
    median(rates) < BUSY_CPU,
    `processors used: ${median(rates).toFixed(2)} (median), at most ${Math.max(...rates).toFixed(2)}`,
  );
  must(end.idleCpu < IDLE_CPU, `processors used without traffic: ${end.idleCpu.toFixed(2)}`);
  must(
    end.status === 0 && end.devicesLeft === 0 && !end.socketLeft,
    `ended with status ${end.status ?? end.signal}; ${end.devicesLeft} devices and ${end.socketLeft ? "the" : "no"} socket left`,
  );
  return findings;
}

function memory(record: SoakRecord, must: (holds: boolean, text: string) => void): void {
  const measures = [
    ["resident memory of the director", (sample: Sample) => sample.rss],
    ["heap of the director", (sample: Sample) => sample.heap],
    ["resident memory of the keeper", (sample: Sample) => sample.keeperRss],
  ] as const;
  for (const [name, of] of measures) {
    const [from, to] = quarters(record, of);
    const grown = `${name}: ${(from / MIB).toFixed(1)} MiB in the second quarter, ${(to / MIB).toFixed(1)} MiB in the last`;
    const most = record.seconds >= LONG_SECONDS ? Math.max(from * GROWTH, GROWTH_BYTES) : 64 * MIB;
    must(to - from <= most, grown);
  }
}
