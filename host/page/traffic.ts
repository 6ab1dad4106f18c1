/** Charts of the last minutes. */
import { byId, h, setText } from "./dom.js";
import { bits, count } from "./format.js";
import type { History } from "./history.js";
import {
  ACTIVE_NOW,
  BPS_IN,
  BPS_OUT,
  CHARTED_REASONS,
  CPS,
  INACTIVE_NOW,
  PPS_IN,
  PPS_OUT,
  type Store,
} from "./store.js";
import uPlot from "./uplot.js";

const HEIGHT = 190;

interface Chart {
  readonly title: string;
  readonly unit: string;
  readonly figures: readonly number[];
  readonly names: readonly string[];
  /** Of the whole only: drops are not counted by service. */
  readonly drops?: true;
  show(value: number): string;
}

const perSecond = (value: number) => count(value);
const CHARTS: readonly Chart[] = [
  { title: "Packets per second", unit: "1/s", figures: [PPS_IN, PPS_OUT], names: ["in", "out"], show: perSecond },
  { title: "Bits per second", unit: "b/s", figures: [BPS_IN, BPS_OUT], names: ["in", "out"], show: (v) => bits(v / 8) },
  { title: "New connections per second", unit: "1/s", figures: [CPS], names: ["new"], show: perSecond },
  {
    title: "Connections",
    unit: "",
    figures: [ACTIVE_NOW, INACTIVE_NOW],
    names: ["active", "inactive"],
    show: perSecond,
  },
  {
    title: "Dropped frames per second, by reason",
    unit: "1/s",
    figures: Array.from({ length: CHARTED_REASONS + 1 }, (_, at) => at),
    names: [],
    drops: true,
    show: perSecond,
  },
];

function colours(): { series: string[]; text: string; line: string; font: string } {
  // What a name stands for depends on the theme: only a colour in use is that of the one that is shown.
  const probe = document.body.appendChild(document.createElement("i"));
  const style = getComputedStyle(probe);
  const of = (name: string) => {
    probe.style.color = `var(${name})`;
    return style.color;
  };
  const found = {
    series: [1, 2, 3, 4, 5, 6].map((n) => of(`--series-${n}`)),
    text: of("--muted"),
    line: of("--grid"),
    font: "11px system-ui, sans-serif",
  };
  probe.remove();
  return found;
}

interface Drawn {
  readonly chart: Chart;
  readonly plot: uPlot;
  readonly figure: HTMLElement;
}

export class TrafficView {
  private readonly store: Store;
  private readonly place = byId("charts");
  private readonly of = byId<HTMLSelectElement>("traffic-of");
  private readonly span = byId<HTMLSelectElement>("traffic-span");
  private drawn: Drawn[] = [];
  private names = "";
  private listed = "";

  constructor(store: Store) {
    this.store = store;
    for (const select of [this.of, this.span]) select.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.resize()).observe(this.place);
  }

  /** Colours are asked for when a chart is made. */
  rebuild(): void {
    for (const { plot } of this.drawn) plot.destroy();
    this.drawn = [];
    this.place.replaceChildren();
    this.draw();
  }

  private width(): number {
    const columns = this.place.clientWidth >= 860 ? 2 : 1;
    return Math.max(240, Math.floor((this.place.clientWidth - (columns - 1) * 16) / columns) - 26);
  }

  private resize(): void {
    const width = this.width();
    for (const { plot } of this.drawn) if (plot.width !== width) plot.setSize({ width, height: HEIGHT });
  }

  private namesOf(chart: Chart): readonly string[] {
    return chart.drops ? [...this.store.dropNames, "other"] : chart.names;
  }

  private make(chart: Chart): Drawn {
    const { series, text, line, font } = colours();
    const axis = { stroke: text, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
    const width = this.width();
    const figure = h("figure", { class: "card chart" }, h("figcaption", {}, chart.title));
    this.place.append(figure);
    const plot = new uPlot(
      {
        width,
        height: HEIGHT,
        cursor: { points: { size: 6 }, y: false },
        legend: { live: true },
        scales: { y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.1 : 1] } },
        axes: [
          {
            ...axis,
            space: 70,
            values: (_plot, splits) => splits.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB")),
          },
          { ...axis, size: 58, values: (_plot, splits) => splits.map((value) => chart.show(value)) },
        ],
        series: [
          { label: "time", value: (_plot, at) => (at === null ? "" : new Date(at * 1000).toLocaleTimeString("en-GB")) },
          ...this.namesOf(chart).map((label, at) => ({
            label: label === "" ? "–" : label,
            stroke: series[at]!,
            width: 1.6,
            // Out is dashed: colour is not all that tells lines apart.
            ...(at === 1 && !chart.drops && { dash: [6, 3] }),
            points: { show: false },
            show: label !== "",
            value: (_plot: uPlot, value: number | null) => (value === null ? "" : chart.show(value)),
          })),
        ],
      },
      [[], ...chart.figures.map(() => [])],
      figure,
    );
    return { chart, plot, figure };
  }

  private list(): void {
    const keys = this.store.services.map(({ key }) => key);
    const listed = keys.join("\n");
    if (listed === this.listed && this.of.options.length > 0) return;
    this.listed = listed;
    const chosen = this.of.value;
    this.of.replaceChildren(
      h("option", { value: "" }, "All services"),
      ...keys.map((key) => h("option", { value: key }, key)),
    );
    this.of.value = keys.includes(chosen) ? chosen : "";
  }

  draw(): void {
    this.list();
    const names = this.store.dropNames.join();
    if (this.drawn.length === 0 || names !== this.names) {
      for (const { plot } of this.drawn) plot.destroy();
      this.place.replaceChildren();
      this.drawn = CHARTS.map((chart) => this.make(chart));
      this.names = names;
    }
    const seconds = Number(this.span.value);
    const history: History = this.of.value === "" ? this.store.total : this.store.historyOf(this.of.value);
    for (const { chart, plot, figure } of this.drawn) {
      const columns = (chart.drops ? this.store.drops : history).columns(seconds, chart.figures);
      plot.setData(columns as uPlot.AlignedData);
      // Where no pointer asks for a time, the legend says what is now.
      if ((plot.cursor.left ?? -1) < 0 && columns[0]!.length > 0) plot.setLegend({ idx: columns[0]!.length - 1 });
      const now = columns.slice(1).map((values, at) => {
        const last = values.at(-1);
        const name = this.namesOf(chart)[at];
        return name === "" || last === undefined || last === null ? "" : `${name} ${chart.show(last)}`;
      });
      const label = `${chart.title}: ${now.filter(Boolean).join(", ") || "nothing yet"}`;
      const canvas = figure.querySelector("canvas")!;
      if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
      canvas.setAttribute("role", "img");
    }
    const scope = this.of.value === "" ? "" : "; drops are those of the whole director";
    setText(byId("traffic-note"), `Recorded since this page was opened, ten minutes at most${scope}.`);
  }
}
