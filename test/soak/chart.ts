/** The course of a soak as an SVG: panels over one axis of time, the times in which a server was dead behind them. */
import { cpuRates } from "./judge.js";
import type { SoakRecord } from "./record.js";
import type { Sample } from "./watch.js";

const WIDTH = 900;
const PANEL = 130;
const GAP = 36;
const LEFT = 64;
const RIGHT = 150;
const TOP = 28;
const COLOURS = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700"];
const MIB = 2 ** 20;

interface Line {
  readonly name: string;
  readonly values: readonly number[];
}

interface Panel {
  readonly title: string;
  readonly lines: readonly Line[];
}

/** What was done in a second, between samples. */
function rates(samples: readonly Sample[], of: (sample: Sample) => number): number[] {
  return samples.map((sample, n) => {
    const before = samples[n - 1];
    return before === undefined ? 0 : (of(sample) - of(before)) / ((sample.at - before.at) / 1000);
  });
}

const sumOf = (values: Readonly<Record<string, number>>, part: string) =>
  Object.entries(values).reduce((sum, [name, value]) => (name.startsWith(part) ? sum + value : sum), 0);

/** The next round number from here on. */
function ceiling(value: number): number {
  const step = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)));
  return [1, 2, 5, 10].map((factor) => factor * step).find((one) => one >= value)!;
}

const short = (value: number) => `${Number(value.toPrecision(3))}`;

export function chart(record: SoakRecord): string {
  const samples = [record.first, ...record.samples];
  const span = Math.max(...samples.map(({ at }) => at), 1);
  const x = (at: number) => LEFT + (at / span) * (WIDTH - LEFT - RIGHT);
  const panels: Panel[] = [
    {
      title: "Memory, MiB",
      lines: [
        { name: "director, resident", values: samples.map(({ rss }) => rss / MIB) },
        { name: "director, heap", values: samples.map(({ heap }) => heap / MIB) },
        { name: "keeper, resident", values: samples.map(({ keeperRss }) => keeperRss / MIB) },
      ],
    },
    {
      title: "Answers a second (without wrk's)",
      lines: [
        { name: "pages and files", values: rates(samples, ({ done }) => sumOf(done, "pages") + sumOf(done, "files")) },
        { name: "datagrams", values: rates(samples, ({ done }) => sumOf(done, "datagrams")) },
      ],
    },
    {
      title: "Frames a second, thousands",
      lines: [{ name: "into the core", values: rates(samples, ({ framesIn }) => framesIn / 1000) }],
    },
    {
      title: "Connections in the table, thousands",
      lines: [{ name: "connections", values: samples.map(({ connections }) => connections / 1000) }],
    },
    {
      title: "Processors used by the director",
      lines: [{ name: "processors", values: [0, ...cpuRates(samples)] }],
    },
    {
      title: "Open descriptors",
      lines: ["director", "keeper", "checker"].map((role) => ({
        name: role,
        values: samples.map(({ descriptors }) => descriptors[role] ?? 0),
      })),
    },
  ];
  const height = TOP + panels.length * (PANEL + GAP);
  const parts: string[] = [];
  for (const [n, { title, lines }] of panels.entries()) {
    const top = TOP + n * (PANEL + GAP);
    const most = ceiling(Math.max(...lines.flatMap(({ values }) => values)));
    const y = (value: number) => top + PANEL - (Math.max(0, value) / most) * PANEL;
    for (const { began, returned } of record.outages) {
      const from = x(began - record.began);
      const to = returned === 0 ? x(span) : x(returned - record.began);
      parts.push(
        `<rect x="${from.toFixed(1)}" y="${top}" width="${Math.max(1, to - from).toFixed(1)}" height="${PANEL}" fill="#f1e4e4"/>`,
      );
    }
    parts.push(`<text x="${LEFT}" y="${top - 8}" font-weight="600">${title}</text>`);
    for (const part of [0, 0.5, 1]) {
      const at = y(most * part);
      parts.push(
        `<path d="M${LEFT} ${at}H${WIDTH - RIGHT}" stroke="#d0d7de" fill="none"/>`,
        `<text x="${LEFT - 6}" y="${at + 4}" text-anchor="end">${short(most * part)}</text>`,
      );
    }
    for (const [index, { name, values }] of lines.entries()) {
      const points = values.map((value, at) => `${x(samples[at]!.at).toFixed(1)} ${y(value).toFixed(1)}`);
      const colour = COLOURS[index]!;
      parts.push(
        `<path d="M${points.join("L")}" stroke="${colour}" stroke-width="1.5" fill="none"/>`,
        `<text x="${WIDTH - RIGHT + 8}" y="${top + 12 + index * 16}" fill="${colour}">${name}</text>`,
      );
    }
    for (let part = 0; part <= 6; part++) {
      const at = (span * part) / 6;
      const minutes = short(Math.round(at / 6000) / 10);
      parts.push(`<text x="${x(at).toFixed(1)}" y="${top + PANEL + 14}" text-anchor="middle">${minutes} min</text>`);
    }
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">
<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>
${parts.join("\n")}
</svg>
`;
}
