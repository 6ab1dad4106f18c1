/** A soak in words and tables. */
import { type Finding, isExpected, isExplained, isPatience } from "./judge.js";
import type { SoakRecord } from "./record.js";

/** Lines that a program said again and again are one in a cell. */
const cell = (value: string | number) => [...new Set(`${value}`.split("\n"))].join("; ").replaceAll("|", "\\|");
const row = (...cells: ReadonlyArray<string | number>) => `| ${cells.map(cell).join(" | ")} |`;

/** How the machine was while it ran. */
function machine({ again, stalls, last }: SoakRecord): string {
  if (again === undefined || stalls === undefined) return "";
  const longest = Math.max(0, ...stalls.map(({ began, ended }) => ended - began));
  const stood = stalls.length === 0 ? "never" : `${stalls.length} times, for at most ${(longest / 1000).toFixed(1)} s`;
  return `Datagrams sent once more (after 5 s): ${again}; frames that the kernel's queues lost before or after the core: ${last.lost ?? 0}.
The soak itself stood still for more than a second, for want of a processor: ${stood}.

`;
}

export function report(record: SoakRecord, verdict: readonly Finding[]): string {
  const { last, outages, bursts, failures } = record;
  const minutes = Math.round(record.seconds / 6) / 10;
  const traffic = Object.entries(last.done).map(([name, count]) => {
    const own = failures.filter((failure) => failure.name === name);
    const explained = own.filter((failure) => isExplained(failure, record)).length;
    const mib = Math.round((last.bytes[name] ?? 0) / 2 ** 20);
    return row(name, count, mib, explained, own.length - explained);
  });
  const bursted = [true, false].map((keepAlive) => {
    const own = bursts.filter((burst) => burst.keepAlive === keepAlive);
    const requests = own.reduce((sum, burst) => sum + burst.requests, 0);
    const name = `wrk, ${keepAlive ? "keep-alive" : "connection: close"}, ${own.length} bursts`;
    return row(name, requests, "", 0, own.filter(({ errors }) => errors !== "").length);
  });
  const events = new Map<string, number>();
  for (const line of record.log) {
    const name = isExpected(line) ? line.event! : `unexpected: ${line.msg}`;
    events.set(name, (events.get(name) ?? 0) + 1);
  }
  const found = outages.filter((one) => one.found > 0).map((one) => one.found - one.began);
  const verdictText = verdict.every(({ holds }) => holds) ? "Everything held." : "**Not everything held.**";
  return `# Soak

\`npm run soak -- --minutes ${minutes}\` on ${record.date.slice(0, 10)}: wlvs ${record.version}, Node ${record.node}, Linux ${record.kernel}, ${record.processors} processors.
${verdictText}

| | |
|---|---|
${verdict.map(({ holds, text }) => row(holds ? "held" : "**failed**", text)).join("\n")}

![memory, rates, connections, processors, descriptors over time; a server was dead in the shaded times](soak.svg)

A client, four servers with nginx and an echo, and a real \`wlvs run\` with a configuration file between them, in network
namespaces; NAT, one worker. Nothing ever happens to two of the servers; of the other two, which serve port 81 alone, one
is killed or cut off again and again, and found by its checks, and the other one is drained. A failure counts as explained
only if it is of traffic to port 81 and overlaps the time from a server's death until it had left the table, and a second
more. Streams last for the whole run, and every byte comes back or is missed.

| traffic | answers | MiB | failed while a server was dead and not found yet | failed otherwise |
|---|---:|---:|---:|---:|
${[...traffic, ...bursted].join("\n")}

${machine(record)}For streams the answers are pieces as they came. Servers died ${outages.length} times, and had left the table after ${found.length === 0 ? "-" : `${(Math.min(...found) / 1000).toFixed(1)} to ${(Math.max(...found) / 1000).toFixed(1)}`} s (checks
every 2 s, two of which have to fail).

| meanwhile | |
|---|---:|
${Object.entries(record.changes)
  .map(([name, count]) => row(name, count))
  .join("\n")}
${[...events].map(([name, count]) => row(`log: ${name}`, count)).join("\n")}
${Object.entries(last.drops)
  .map(([name, count]) => row(`frames dropped: ${name}`, count))
  .join("\n")}
${record.problems.map((problem) => row(isPatience(problem) ? "a drain that ended first" : "**problem**", problem)).join("\n")}
`;
}
