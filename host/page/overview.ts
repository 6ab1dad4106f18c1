/** What stands on every view: totals with their last minute; and beside the services: drops, ports, the director. */
import { byId, h, s, setClass, setHidden, setText, sized } from "./dom.js";
import { bits, bytes, count, duration, whole } from "./format.js";
import { ACTIVE_NOW, BPS_IN, BPS_OUT, CHARTED_REASONS, CPS, PPS_IN, PPS_OUT, type Store } from "./store.js";

const SPARK = 60;

interface Tile {
  readonly title: string;
  value(store: Store): string;
  sub(store: Store): string;
  line(store: Store): number[];
}

const TILES: readonly Tile[] = [
  {
    title: "Active connections",
    value: (store) => count(store.total.last(ACTIVE_NOW, 1)[0] ?? 0),
    sub: ({ tick }) =>
      tick === undefined
        ? ""
        : `${count(tick.status.connections.used)} in the table of ${count(tick.status.connections.capacity)}`,
    line: (store) => store.total.last(ACTIVE_NOW, SPARK),
  },
  {
    title: "New connections",
    value: (store) => `${count(store.totalRates[0]!)}/s`,
    sub: ({ tick }) => `${count(tick?.totals[0] ?? 0)} in all`,
    line: (store) => store.total.last(CPS, SPARK),
  },
  {
    title: "Packets in",
    value: (store) => `${count(store.totalRates[1]!)}/s`,
    sub: (store) => bits(store.totalRates[3]!),
    line: (store) => store.total.last(PPS_IN, SPARK),
  },
  {
    title: "Packets out",
    value: (store) => `${count(store.totalRates[2]!)}/s`,
    sub: (store) => bits(store.totalRates[4]!),
    line: (store) => store.total.last(PPS_OUT, SPARK),
  },
  {
    title: "Bits in and out",
    value: (store) => bits(store.totalRates[3]! + store.totalRates[4]!),
    sub: ({ tick }) => `${bytes((tick?.totals[3] ?? 0) + (tick?.totals[4] ?? 0))} in all`,
    line: (store) => {
      const out = store.total.last(BPS_OUT, SPARK);
      return store.total.last(BPS_IN, SPARK).map((value, at) => value + out[at]!);
    },
  },
  {
    title: "Drops",
    value: (store) => `${count([...store.dropRates.values()].reduce((sum, rate) => sum + rate, 0))}/s`,
    sub: ({ tick }) => `${count(tick?.counters.verdicts.drop ?? 0)} in all`,
    line: (store) => {
      const sums = new Array<number>(store.drops.last(0, SPARK).length).fill(0);
      for (let at = 0; at <= CHARTED_REASONS; at++) {
        for (const [place, value] of store.drops.last(at, SPARK).entries()) sums[place] = sums[place]! + value;
      }
      return sums;
    },
  },
];

function sparkline(values: readonly number[]): string {
  const most = Math.max(...values, 1e-9);
  const from = SPARK - values.length;
  return values
    .map((value, at) => `${((from + at) / (SPARK - 1)) * 100},${(23 - (value / most) * 21).toFixed(1)}`)
    .join(" ");
}

export class Overview {
  private readonly store: Store;
  private readonly tiles: Array<{ tile: Tile; value: HTMLElement; sub: HTMLElement; line: SVGPolylineElement }>;

  constructor(store: Store) {
    this.store = store;
    const place = byId("tiles");
    this.tiles = TILES.map((tile) => {
      const value = h("strong", {}, "–");
      const sub = h("span", { class: "dim small" }, " ");
      const line = s("polyline", { points: "" });
      const svg = s(
        "svg",
        { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
        line,
      );
      place.append(h("div", { class: "tile" }, h("span", { class: "title" }, tile.title), value, sub, svg));
      return { tile, value, sub, line };
    });
  }

  drawTotals(): void {
    for (const { tile, value, sub, line } of this.tiles) {
      setText(value, tile.value(this.store));
      setText(sub, tile.sub(this.store) || " ");
      line.setAttribute("points", sparkline(tile.line(this.store)));
    }
  }

  drawCards(): void {
    const { tick, hello } = this.store;
    if (tick === undefined) return;
    const reasons = Object.entries(tick.counters.reasons)
      .filter(([, total]) => total > 0)
      .sort((a, b) => b[1] - a[1]);
    const drops = byId<HTMLTableElement>("drops-table");
    setHidden(drops, reasons.length === 0);
    setHidden(byId("drops-empty"), reasons.length > 0);
    const dropRows = sized(drops.tBodies[0]!, reasons.length, () =>
      h("tr", {}, h("th", { scope: "row" }), h("td", { class: "n" }), h("td", { class: "n" })),
    );
    for (const [at, [name, total]] of reasons.entries()) {
      const texts = [name, count(this.store.dropRates.get(name) ?? 0), whole(total)];
      for (const [place, text] of texts.entries()) setText(dropRows[at]!.cells[place]!, text);
    }
    const ports = byId<HTMLTableElement>("ports-table");
    const portRows = sized(ports.tBodies[0]!, tick.ports.length, () => {
      const head = h("th", { scope: "row" }, h("span"), h("span", { class: "dim small block" }));
      const rate = () => h("td", { class: "n" }, h("span"), h("span", { class: "dim small block" }));
      return h("tr", {}, head, h("td", { class: "mono lines" }), rate(), rate(), h("td", { class: "n" }));
    });
    for (const [at, port] of tick.ports.entries()) {
      const cells = portRows[at]!.cells;
      const rate = this.store.portRates.get(port.name);
      setText(cells[0]!.children[0]!, `${port.name} ${port.up ? "" : "(down)"}`);
      setClass(cells[0]!.children[0]!, port.up ? "" : "bad");
      setText(cells[0]!.children[1]!, port.mac ?? `${port.kind}, mtu ${port.mtu}`);
      setText(cells[1]!, port.addresses.join("\n"));
      setText(cells[2]!.children[0]!, `${count(rate?.in ?? 0)}/s`);
      setText(cells[2]!.children[1]!, bits(rate?.bitsIn ?? 0));
      setText(cells[3]!.children[0]!, `${count(rate?.out ?? 0)}/s`);
      setText(cells[3]!.children[1]!, bits(rate?.bitsOut ?? 0));
      setText(cells[4]!, whole(port.dropsOut));
    }
    const workers = byId<HTMLTableElement>("workers-table");
    const workerRows = sized(workers.tBodies[0]!, tick.workers.length, () =>
      h("tr", {}, h("th", { scope: "row" }), ...["load", "n", "n"].map((kind) => h("td", { class: kind }))),
    );
    for (const [at, worker] of tick.workers.entries()) {
      const { busy, frames } = this.store.workerRates[at] ?? { busy: 0, frames: 0 };
      const { cells } = workerRows[at]!;
      setText(cells[0]!, `${at}`);
      const load = cells[1]!.firstElementChild ?? cells[1]!.appendChild(h("meter", { min: "0", max: "1" }));
      (load as HTMLMeterElement).value = busy;
      load.setAttribute("aria-label", `load of worker ${at}`);
      setText(cells[2]!, `${(busy * 100).toFixed(1)} %`);
      setText(cells[3]!, `${count(frames)}/s`);
      workerRows[at]!.title = `${whole(worker.breaths)} breaths, ${whole(worker.framesIn)} frames`;
    }
    const { status, counters } = tick;
    const { used, capacity } = status.connections;
    const pairs: Array<readonly [string, string]> = [
      ["Version", `${hello?.version ?? status.version}, profile ${status.profile}`],
      ["Process", `${status.pid}, up ${duration(status.uptime)}`],
      ["Workers", `${status.workers}, io ${status.io}`],
      ["Connection table", `${whole(used)} of ${whole(capacity)} (${((used / capacity) * 100).toFixed(1)} %)`],
      ["Frames in, out", `${whole(counters.framesIn)}, ${whole(counters.framesOut)}`],
      ["Made here", whole(counters.generated)],
      [
        "Ended as",
        Object.entries(counters.verdicts)
          .filter(([, n]) => n > 0)
          .map(([name, n]) => `${name} ${count(n)}`)
          .join(", ") || "nothing yet",
      ],
      ["Evictions, traps", `${whole(counters.evictions)}, ${whole(counters.traps)}`],
    ];
    const list = byId("core-facts");
    if (list.children.length === 0) list.append(...pairs.flatMap(([name]) => [h("dt", {}, name), h("dd")]));
    for (const [at, [, value]] of pairs.entries()) setText(list.children[at * 2 + 1]!, value);
  }
}
