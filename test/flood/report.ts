/** Floods in a table, and what has to hold of them. */
import type { FloodRecord, Floods } from "./flood.js";

/** The share of clients that have to be served at half of the capacity: all under SYN, 99 of 100 under the others. */
export function leastOf({ kind, proxy, asked }: FloodRecord): number {
  if (proxy === "off" || asked === 0) return 0;
  return kind === "syn" ? 1 : 0.99;
}

const shareOf = ({ clients: { served, failed } }: FloodRecord) =>
  served + failed === 0 ? 0 : served / (served + failed);
const GROWN_MOST = 100;

/** What does not hold, a line each. */
export function broken({ floods }: Floods): string[] {
  return floods.flatMap((flood) => {
    const { kind, proxy, asked, clients, counter, grown } = flood;
    const name = `${kind}, SYN proxy ${proxy}, ${asked === 0 ? "as many as there can be" : `${asked} a second`}`;
    return [
      ...(shareOf(flood) < leastOf(flood) ? [`${name}: ${clients.failed} clients were not served`] : []),
      ...(grown > GROWN_MOST ? [`${name}: ${grown} MiB more than before`] : []),
      ...(counter.value === 0 && proxy !== "off" ? [`${name}: ${counter.name} did not count`] : []),
    ];
  });
}

const row = (cells: ReadonlyArray<string | number>) => `| ${cells.join(" | ")} |`;

function rowOf(flood: FloodRecord): string {
  const { kind, sent, arrived, seconds, clients, counter, grown, connections, logged } = flood;
  const { served, failed, slowest } = clients;
  return row([
    kind,
    Math.round(sent / seconds),
    Math.round(arrived / seconds),
    `${served} of ${served + failed}`,
    slowest,
    `${counter.name} ${counter.value}`,
    connections,
    grown,
    logged,
  ]);
}

const HEAD = [
  row([
    "flood",
    "sent/s",
    "into the core/s",
    "clients served within 3 s",
    "slowest, ms",
    "its counter",
    "connections",
    "MiB more",
    "log lines",
  ]),
  row(["---", "---:", "---:", "---:", "---:", "---", "---:", "---:", "---:"]),
];

export function report(record: Floods): string {
  const { floods, tried, capacity, version, date, node, kernel, processors } = record;
  const table = (title: string, those: readonly FloodRecord[]) =>
    those.length === 0 ? "" : `${title}\n\n${[...HEAD, ...those.map(rowOf)].join("\n")}\n\n`;
  const of = (proxy: string, full: boolean) =>
    floods.filter((flood) => flood.proxy === proxy && (flood.asked === 0) === full);
  const wrong = broken(record);
  const rates = tried.map(({ asked, sent, answered }) =>
    row([asked === 0 ? "as many as there can be" : asked, sent, answered]),
  );
  return `wlvs ${version}, ${date.slice(0, 10)}, Node ${node}, Linux ${kernel}, ${processors} processors, which flood, clients, director and servers share.

SYN that are answered with cookies, nobody else being there; the most of them, ${capacity} a second, is the capacity:

${[row(["SYN a second asked for", "sent", "answered"]), row(["---:", "---:", "---:"]), ...rates].join("\n")}

${table("At half of it, and of the other kinds at half of what comes into the core at most, with `--syn-proxy auto`:", of("auto", false))}${table("As many as the machine can send, with `--syn-proxy auto`:", of("auto", true))}${table(
  "Without the SYN proxy, and without a permanent neighbour for the client:",
  floods.filter(({ proxy }) => proxy === "off"),
)}${
  wrong.length === 0
    ? "Everything held: at half of the capacity all clients were served under SYN and 99 of 100 under the others, memory grew by less than 100 MiB, each flood was counted."
    : `**Not everything held.** ${wrong.join("; ")}.`
}
`;
}
