/** The picture of `wlvs top`: a view as lines of text, as wide and as high as there is room. */
import { bytes, count, duration, table } from "../format.js";
import type { Flow, ServerRow, ServiceRow, View } from "./sample.js";

export const SORTS = ["table", "connections", "packets", "bytes", "active"] as const;
export type Sort = (typeof SORTS)[number];

export interface ScreenState {
  readonly sort: Sort;
  /** What a service's name, or a server's, has to contain. */
  readonly filter: string;
  readonly servers: boolean;
  /** Lines of the table above the first one that is shown. */
  readonly scroll: number;
}

export const INITIAL: ScreenState = { sort: "table", filter: "", servers: true, scroll: 0 };

function weightOf(sort: Sort, row: Flow & { readonly active: number }): number {
  switch (sort) {
    case "connections":
      return row.connections;
    case "packets":
      return row.packetsIn + row.packetsOut;
    case "bytes":
      return row.bytesIn + row.bytesOut;
    case "active":
      return row.active;
    case "table":
      return 0;
  }
}

/** The largest first; equal ones stay in the table's order. */
function sorted<T extends Flow & { readonly active: number }>(rows: readonly T[], sort: Sort): readonly T[] {
  return sort === "table" ? rows : rows.toSorted((a, b) => weightOf(sort, b) - weightOf(sort, a));
}

export function chosen(services: readonly ServiceRow[], { sort, filter }: ScreenState): readonly ServiceRow[] {
  const matches = (name: string) => name.toLowerCase().includes(filter.toLowerCase());
  const rows = services.flatMap((service) => {
    if (matches(service.name)) return [service];
    const servers = service.servers.filter(({ name }) => matches(name));
    return servers.length === 0 ? [] : [{ ...service, servers }];
  });
  return sorted(rows, sort).map((service) => ({ ...service, servers: sorted(service.servers, sort) }));
}

const rate = (value: number) => (value > 0 && value < 9.95 ? value.toFixed(1) : count(value));

function flowCells(row: Flow): string[] {
  return [
    rate(row.connections),
    rate(row.packetsIn),
    rate(row.packetsOut),
    `${bytes(row.bytesIn)}/s`,
    `${bytes(row.bytesOut)}/s`,
  ];
}

function serverCells(row: ServerRow): string[] {
  const how = [row.forwarding, `${row.weight}`];
  return [`  -> ${row.name}`, ...how, row.health, `${row.active}`, `${row.inactive}`, ...flowCells(row)];
}

function tableLines(view: View, state: ScreenState): string[] {
  const rows = [
    ["SERVICE", "HOW", "WEIGHT", "HEALTH", "ACTIVE", "INACTIVE", "CONN/S", "PKTS IN/S", "OUT/S", "IN", "OUT"],
  ];
  for (const service of chosen(view.services, state)) {
    const counts = [`${service.active}`, `${service.inactive}`];
    const how = service.proxied ? `${service.scheduler} syn-proxy` : service.scheduler;
    rows.push([service.name, how, "", service.health, ...counts, ...flowCells(service)]);
    if (state.servers) for (const server of service.servers) rows.push(serverCells(server));
  }
  const right = "right" as const;
  const align = ["left", "left", right, "left", right, right, right, right, right, right, right] as const;
  return table(rows, align).trimEnd().split("\n");
}

function headLines(view: View): string[] {
  const { status, frames, drops, defence, ports, workers } = view;
  const { used, capacity } = status.connections;
  const lines = [
    `wlvs ${status.version}, pid ${status.pid}, up ${duration(status.uptime)}, ${used} of ${capacity} connections`,
    `frames in ${rate(frames.in)}/s, out ${rate(frames.out)}/s, dropped ${rate(drops.reduce((sum, one) => sum + one.rate, 0))}/s` +
      (drops.length === 0 ? "" : ` (${drops.map((one) => `${one.reason} ${rate(one.rate)}`).join(", ")})`),
  ];
  if (defence.cookies + defence.valid + defence.invalid + defence.limited > 0) {
    lines.push(
      `SYN proxy: cookies ${rate(defence.cookies)}/s, valid ${rate(defence.valid)}/s, invalid ${rate(defence.invalid)}/s, ` +
        `over a limit ${rate(defence.limited)}/s`,
    );
  }
  for (const port of ports) {
    const lost = port.lost > 0 ? `, lost before the core ${rate(port.lost)}/s` : "";
    lines.push(
      `port ${port.name}: in ${rate(port.framesIn)}/s ${bytes(port.bytesIn)}/s, ` +
        `out ${rate(port.framesOut)}/s ${bytes(port.bytesOut)}/s${lost}`,
    );
  }
  for (const [number, { load, frames: taken, breaths }] of workers.entries()) {
    const each = breaths > 0 ? `, ${rate(taken / breaths)} a breath` : "";
    lines.push(`worker ${number}: ${(100 * load).toFixed(0)} %, ${rate(taken)} frames/s${each}`);
  }
  return lines;
}

/** All of it, for a pipe. */
export function snapshotText(view: View): string {
  return `${[...headLines(view), "", ...tableLines(view, INITIAL)].join("\n")}\n`;
}

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export interface Picture {
  /** Exactly as many as there are rows, none wider than there are columns. */
  readonly lines: readonly string[];
  /** The farthest that it can be scrolled. */
  readonly scrollMost: number;
}

/** `below` is the last line: keys, or what is being typed. */
export function picture(view: View, state: ScreenState, size: Size, below: string): Picture {
  const fit = (line: string) => line.slice(0, size.columns);
  const room = Math.max(0, size.rows - 1);
  const [titles = "", ...body] = tableLines(view, state);
  // Where there is little room, the table keeps half of it.
  const head = headLines(view).slice(0, Math.max(1, Math.floor(room / 2) - 1));
  const space = Math.max(0, room - head.length - 2);
  const scrollMost = Math.max(0, body.length - space);
  const scroll = Math.min(state.scroll, scrollMost);
  const lines = [...head, "", titles, ...body.slice(scroll, scroll + space)].slice(0, room);
  while (lines.length < room) lines.push("");
  return { lines: [...lines, below].slice(-size.rows).map(fit), scrollMost };
}
