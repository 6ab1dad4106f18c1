/** Services and their servers: one table, filtered, sorted, folded, a page of it at a time. */
import type { LiveHealth } from "../dashboard/live-events.js";
import type { Detail } from "./detail.js";
import { howOf, METHOD_NAMES } from "./detail.js";
import { byId, h, Pager, setClass, setHidden, setText, sized } from "./dom.js";
import { bits, count } from "./format.js";
import {
  ACTIVE,
  CONNECTIONS,
  type Entry,
  IN_BYTES,
  IN_PACKETS,
  INACTIVE,
  OUT_BYTES,
  OUT_PACKETS,
  Store,
  WEIGHT,
} from "./store.js";

const PAGE = 100;

/** A line of the table: a service, a server of it, or one that its checks have taken out. */
interface Line {
  readonly service: Entry;
  readonly server?: Entry;
  readonly out?: LiveHealth;
}

interface Column {
  readonly title: string;
  /** As a person would say it, where the title is short. */
  readonly long?: string;
  readonly kind: string;
  value(line: Line, store: Store): number | string;
  text(line: Line, store: Store): string;
}

const sumOr = (line: Line, place: number): number => {
  if (line.out) return 0;
  return line.server === undefined ? Store.sum(line.service, place) : (line.server.row[place] ?? 0);
};
const rateOf = (line: Line, place: number): number =>
  line.out ? 0 : ((line.server ?? line.service).rates[place] ?? 0);

function counted(title: string, kind: string, value: (line: Line) => number, show = count, long?: string): Column {
  return {
    title,
    kind: `n ${kind}`,
    value,
    text: (line) => (line.out ? "" : show(value(line))),
    ...(long && { long }),
  };
}

function healthOf(line: Line, store: Store): { word: string; kind: string; title: string } {
  if (line.server !== undefined || line.out !== undefined) {
    const found = line.out ?? store.healthFor(line.service.key, line.server!.key);
    if (found === undefined) return { word: "", kind: "", title: "not checked" };
    return { word: found.state, kind: found.state, title: found.problem ?? "" };
  }
  const all = store.healthByService(line.service.key);
  if (all.length === 0) return { word: "", kind: "", title: "not checked" };
  const up = all.filter(({ state }) => state === "up").length;
  const kind = up === all.length ? "up" : up === 0 ? "down" : "some";
  return { word: `${up}/${all.length} up`, kind, title: "" };
}

const COLUMNS: readonly Column[] = [
  {
    title: "Service, server",
    kind: "name",
    value: ({ service, server, out }) => server?.key ?? out?.server ?? service.key,
    text: ({ service, server, out }) => server?.key ?? out?.server ?? service.key,
  },
  {
    title: "How",
    long: "Scheduler, forwarding method",
    kind: "how",
    value: ({ service, server }) => server?.server?.forwarding ?? howOf(service.service),
    text: ({ service, server, out }) => {
      if (out) return "taken out";
      return server === undefined ? howOf(service.service) : METHOD_NAMES[server.server!.forwarding];
    },
  },
  {
    title: "Health",
    kind: "health",
    value: (line, store) => healthOf(line, store).word,
    text: (line, store) => healthOf(line, store).word,
  },
  {
    title: "Weight",
    kind: "n weight",
    value: (line) => sumOr(line, WEIGHT),
    text: (line) => (line.out ? "" : `${sumOr(line, WEIGHT)}`),
  },
  counted("Active", "", (line) => sumOr(line, ACTIVE), count, "Active connections"),
  counted("Inactive", "wide", (line) => sumOr(line, INACTIVE), count, "Inactive connections"),
  counted("Conn/s", "", (line) => rateOf(line, CONNECTIONS), count, "New connections per second"),
  counted("Pkt/s in", "wide", (line) => rateOf(line, IN_PACKETS), count, "Packets per second in"),
  counted("Pkt/s out", "wide", (line) => rateOf(line, OUT_PACKETS), count, "Packets per second out"),
  counted("In", "mid", (line) => rateOf(line, IN_BYTES), bits, "Bits per second in"),
  counted("Out", "mid", (line) => rateOf(line, OUT_BYTES), bits, "Bits per second out"),
  {
    title: "Conns",
    long: "Connections since the counters were zeroed",
    kind: "n wide",
    value: (line) => (line.server ?? line.service).row[CONNECTIONS] ?? 0,
    text: (line) => (line.out ? "" : count((line.server ?? line.service).row[CONNECTIONS] ?? 0)),
  },
];

export class ServicesView {
  private readonly store: Store;
  private readonly detail: Detail;
  private readonly filter = byId<HTMLInputElement>("services-filter");
  private readonly show = byId<HTMLSelectElement>("services-show");
  private readonly fold = byId<HTMLButtonElement>("services-fold");
  private readonly table = byId<HTMLTableElement>("services-table");
  private readonly body = this.table.tBodies[0]!;
  private readonly heads: HTMLTableCellElement[] = [];
  private readonly pager: Pager;
  private readonly folded = new Set<string>();
  private sortBy = -1;
  private down = true;
  /** The order that was shown last: it stays while somebody is at the table. */
  private order = new Map<string, number>();
  private lines: Line[] = [];
  private shown: Line[] = [];

  constructor(store: Store, detail: Detail) {
    this.store = store;
    this.detail = detail;
    this.pager = new Pager(byId("services-pager"), PAGE, () => this.draw());
    const row = h("tr");
    for (const [at, { title, long, kind }] of COLUMNS.entries()) {
      const button = h("button", { type: "button", title: long }, title);
      button.addEventListener("click", () => this.sort(at));
      const head = h("th", { scope: "col", class: kind }, button);
      this.heads.push(head);
      row.append(head);
    }
    this.table.tHead!.append(row);
    this.filter.addEventListener("input", () => this.restart());
    this.show.addEventListener("change", () => this.restart());
    this.fold.addEventListener("click", () => this.foldAll());
    byId("service-add").addEventListener("click", () => detail.openNewService());
    this.body.addEventListener("click", (event) => this.clicked(event.target as Element));
  }

  private restart(): void {
    this.pager.page = 0;
    this.draw();
  }

  private sort(at: number): void {
    const first = COLUMNS[at]!.kind.startsWith("n ");
    if (this.sortBy !== at) [this.sortBy, this.down] = [at, first];
    else if (this.down === first) this.down = !first;
    else this.sortBy = -1;
    for (const [place, head] of this.heads.entries()) {
      if (place === this.sortBy) head.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    this.order.clear();
    this.draw();
  }

  private foldAll(): void {
    const fold = this.folded.size < this.store.services.length;
    this.folded.clear();
    if (fold) for (const { key } of this.store.services) this.folded.add(key);
    this.restart();
  }

  private clicked(target: Element): void {
    const button = target.closest("button");
    const row = target.closest("tr");
    if (button === null || row === null) return;
    const line = this.shown[[...this.body.children].indexOf(row)];
    if (line === undefined) return;
    if (button.classList.contains("fold")) {
      const { key } = line.service;
      if (!this.folded.delete(key)) this.folded.add(key);
      this.draw();
    } else if (line.server === undefined && line.out === undefined) this.detail.openService(line.service.key);
    else this.detail.openServer(line.service.key, line.server?.key ?? line.out!.server);
  }

  /** Every word of the filter is found in what stands in the line, or in its service's. */
  private serversOf(service: Entry, words: readonly string[]): Line[] | undefined {
    const own = `${service.key} ${howOf(service.service)}`.toLowerCase();
    const left = words.filter((word) => !own.includes(word));
    const lines: Line[] = [
      ...service.servers.map((server) => ({ service, server })),
      ...this.store.outOf(service).map((out) => ({ service, out })),
    ];
    const found = lines.filter((line) => {
      const { server, out } = line;
      const health = healthOf(line, this.store);
      const text = `${server?.key ?? out!.server} ${server === undefined ? "" : METHOD_NAMES[server.server!.forwarding]} ${health.word} ${health.title}`;
      return left.every((word) => text.toLowerCase().includes(word)) && this.isShown(line);
    });
    if (found.length > 0) return found;
    return left.length === 0 && this.show.value === "all" ? [] : undefined;
  }

  private isShown(line: Line): boolean {
    switch (this.show.value) {
      case "down":
        return healthOf(line, this.store).word === "down";
      case "drained":
        return line.server !== undefined && line.server.row[WEIGHT] === 0;
      case "busy":
        return sumOr(line, ACTIVE) + sumOr(line, INACTIVE) > 0;
      default:
        return true;
    }
  }

  private sorted(lines: Line[]): Line[] {
    const held = this.order.size > 0 && this.body.matches(":hover, :focus-within");
    const column = COLUMNS[this.sortBy];
    if (column === undefined) return lines;
    const { store, down } = this;
    const keyed = lines.map((line) => {
      const key = `${line.service.key} ${line.server?.key ?? line.out?.server ?? ""}`;
      return { line, value: held ? (this.order.get(key) ?? Number.MAX_SAFE_INTEGER) : column.value(line, store) };
    });
    keyed.sort((a, b) => {
      const order =
        typeof a.value === "number" && typeof b.value === "number"
          ? a.value - b.value
          : `${a.value}`.localeCompare(`${b.value}`, "en", { numeric: true });
      return down && !held ? -order : order;
    });
    return keyed.map(({ line }) => line);
  }

  private collect(): Line[] {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const servers = new Map<Entry, Line[]>();
    for (const service of this.store.services) {
      const found = this.serversOf(service, words);
      if (found !== undefined) servers.set(service, found);
    }
    const services = this.sorted([...servers.keys()].map((service) => ({ service })));
    const lines: Line[] = [];
    for (const line of services) {
      lines.push(line);
      if (!this.folded.has(line.service.key)) lines.push(...this.sorted(servers.get(line.service)!));
    }
    this.order = new Map(
      lines.map((line, at) => [`${line.service.key} ${line.server?.key ?? line.out?.server ?? ""}`, at]),
    );
    return lines;
  }

  draw(): void {
    this.lines = this.collect();
    const [from, to] = this.pager.range(this.lines.length);
    this.shown = this.lines.slice(from, to);
    // The first line of a page says whose servers follow.
    const first = this.shown[0];
    if (first !== undefined && (first.server ?? first.out) !== undefined) {
      this.shown.unshift({ service: first.service });
    }
    const rows = sized(this.body, this.shown.length, makeRow);
    for (const [at, line] of this.shown.entries()) this.drawRow(rows[at]!, line);
    this.drawAround();
  }

  private drawRow(row: HTMLTableRowElement, line: Line): void {
    const isService = line.server === undefined && line.out === undefined;
    const drained = line.server?.row[WEIGHT] === 0;
    setClass(row, isService ? "service" : line.out ? "server out" : drained ? "server drained" : "server");
    for (const [at, column] of COLUMNS.entries()) {
      const cell = row.cells[at]!;
      const text = column.text(line, this.store);
      if (at === 0) {
        const [fold, name] = cell.children as unknown as [HTMLButtonElement, HTMLButtonElement];
        setHidden(fold, !isService);
        const open = !this.folded.has(line.service.key);
        if (fold.ariaExpanded !== `${open}`) fold.ariaExpanded = `${open}`;
        const label = `Servers of ${line.service.key}`;
        if (fold.ariaLabel !== label) fold.ariaLabel = label;
        setText(name, text);
      } else if (column.kind === "health") {
        const { word, kind, title } = healthOf(line, this.store);
        const mark = cell.firstElementChild as HTMLElement;
        setClass(mark, kind === "" ? "" : `lamp ${kind}`);
        setText(mark, word);
        if (mark.title !== title) mark.title = title;
      } else setText(cell, text);
    }
  }

  private drawAround(): void {
    const { services } = this.store;
    const servers = services.reduce((sum, { servers }) => sum + servers.length, 0);
    const down = this.store.health.filter(({ state }) => state === "down").length;
    const plural = (n: number, word: string) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
    setText(
      byId("services-count"),
      `${plural(services.length, "service")}, ${plural(servers, "server")} in the tables${down > 0 ? `, ${down} down` : ""}`,
    );
    setText(this.fold, this.folded.size < services.length || services.length === 0 ? "Fold all" : "Unfold all");
    const empty = byId("services-empty");
    setHidden(empty, this.shown.length > 0);
    setHidden(this.table, this.shown.length === 0);
    this.table.classList.toggle("unchecked", this.store.health.length === 0);
    const admin = this.store.hello?.admin ?? false;
    const none = admin
      ? "There is no virtual service yet: add one."
      : "There is no virtual service yet: wlvsadm -A, a configuration file or --vip makes one.";
    setText(empty, services.length === 0 ? none : "Nothing here fits the filter.");
    const add = byId<HTMLButtonElement>("service-add");
    setHidden(add, !admin);
  }
}

function makeRow(): HTMLTableRowElement {
  const row = h("tr");
  for (const [at, { kind }] of COLUMNS.entries()) {
    if (at === 0) {
      const fold = h("button", { type: "button", class: "fold" });
      row.append(h("th", { scope: "row", class: kind }, fold, h("button", { type: "button", class: "open" })));
    } else row.append(h("td", { class: kind }, ...(kind === "health" ? [h("span")] : [])));
  }
  return row;
}
