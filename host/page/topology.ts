/** The way of a frame as a picture: client, director with its ports, servers; and the frame that moves along it. */
import { s } from "./dom.js";
import type { Place } from "./steps.js";

const PLACES: readonly Place[] = ["client", "in", "core", "out", "server"];

export interface Labels {
  /** Lines under or beside each place: name, addresses, MAC. */
  readonly lines: Readonly<Record<Place, readonly string[]>>;
  /** Other servers of the service. */
  readonly others: readonly string[];
  /** Answers go from the server to the client without the director. */
  readonly direct: boolean;
}

const MOVE_MS = 900;

interface Geometry {
  readonly width: number;
  readonly height: number;
  readonly at: Readonly<Record<Place, readonly [number, number]>>;
  readonly box: readonly [x: number, y: number, w: number, h: number];
  /** The way from the server to the client past the director. */
  readonly past: string;
  readonly pastLabel: readonly [number, number];
}

const WIDE: Geometry = {
  width: 980,
  height: 235,
  at: { client: [95, 85], in: [325, 85], core: [490, 85], out: [655, 85], server: [885, 85] },
  box: [325, 25, 330, 125],
  past: "M824 109 C 780 262, 200 262, 156 109",
  pastLabel: [490, 207],
};
const NARROW: Geometry = {
  width: 366,
  height: 520,
  at: { client: [150, 62], in: [150, 165], core: [150, 250], out: [150, 335], server: [150, 430] },
  box: [14, 165, 300, 170],
  past: "M213 430 C 405 400, 405 90, 213 62",
  pastLabel: [300, 460],
};

export class Topology {
  readonly svg = s("svg", { class: "topology", role: "img" });
  private geometry = WIDE;
  private labels: Labels | undefined;
  private packet: SVGGElement | undefined;
  private moving = 0;
  private readonly still = matchMedia("(prefers-reduced-motion: reduce)");

  /** Draws anew; `narrow` stands upright. */
  draw(labels: Labels, narrow: boolean, active: readonly Place[]): void {
    this.geometry = narrow ? NARROW : WIDE;
    this.labels = labels;
    const { width, height, at, box, past, pastLabel } = this.geometry;
    const { svg } = this;
    svg.setAttribute("viewBox", `0 0 ${width} ${labels.direct || narrow ? height : height - 35}`);
    const [x, y, w, h] = box;
    const parts: Node[] = [
      s("rect", { class: "director", x, y, width: w, height: h, rx: 10 }),
      s(
        "text",
        {
          class: "caption",
          x: narrow ? x + 10 : x + w / 2,
          y: narrow ? y + h - 10 : y + 18,
          ...(narrow ? {} : { "text-anchor": "middle" }),
        },
        "director",
      ),
    ];
    const wire = (a: Place, b: Place) =>
      s("line", { class: "wire", x1: at[a][0], y1: at[a][1], x2: at[b][0], y2: at[b][1] });
    parts.push(wire("client", "in"), wire("in", "core"), wire("core", "out"), wire("out", "server"));
    if (labels.direct) {
      parts.push(s("path", { class: "wire past", d: past }));
      const label = s("text", { class: "small", x: pastLabel[0], y: pastLabel[1], "text-anchor": "middle" });
      label.append(...(narrow ? ["directly"] : ["the answer goes directly, past the director"]));
      parts.push(label);
    }
    for (const place of PLACES) parts.push(this.node(place, narrow, active.includes(place)));
    for (const [n, name] of labels.others.slice(0, 3).entries()) {
      const [x, y] = at.server;
      parts.push(
        s("text", { class: "small", x, y: y + 58 + n * 15, "text-anchor": "middle" }, n === 0 ? `also ${name}` : name),
      );
    }
    svg.replaceChildren(...parts);
    svg.setAttribute("aria-label", PLACES.map((place) => `${place}: ${labels.lines[place].join(", ")}`).join("; "));
    this.packet = undefined;
  }

  private node(place: Place, narrow: boolean, active: boolean): SVGGElement {
    const [x, y] = this.geometry.at[place];
    const lines = this.labels!.lines[place];
    const group = s("g", { class: active ? "place active" : "place" });
    if (place === "in" || place === "out")
      group.append(s("rect", { x: x - 8, y: y - 8, width: 16, height: 16, rx: 3 }));
    else if (place === "core") group.append(s("circle", { cx: x, cy: y, r: 11 }));
    else group.append(s("rect", { x: x - 62, y: y - 24, width: 124, height: 48, rx: 8 }));
    for (const [n, line] of lines.entries()) {
      const [tx, ty, anchor] = this.textPlace(place, n, lines.length, narrow);
      group.append(s("text", { class: n === 0 ? "name" : "small mono", x: tx, y: ty, "text-anchor": anchor }, line));
    }
    return group;
  }

  /** Names stand in the boxes of client and server; those of the ports inside the director's. */
  private textPlace(place: Place, n: number, of: number, narrow: boolean): readonly [number, number, string] {
    const [x, y] = this.geometry.at[place];
    if (place === "client" || place === "server") {
      if (n < 2) return [x, y - 4 + n * 17, "middle"];
      return [x, narrow && place === "client" ? y - 31 : y + 40, "middle"];
    }
    if (narrow) return [x + (place === "core" ? 34 : 16), y + 5 + (n - (of - 1) / 2) * 14, "start"];
    if (place === "in") return [x + 12, y + 24 + n * 15, "start"];
    if (place === "out") return [x - 12, y + 24 + n * 15, "end"];
    return [x, y + 28, "middle"];
  }

  /** Moves the frame along these places; past the director when it goes from the server to the client. */
  move(way: readonly Place[], label: string, kind: string): void {
    cancelAnimationFrame(this.moving);
    this.packet?.remove();
    const { at, past } = this.geometry;
    const isPast = way.length === 2 && way[0] === "server" && way[1] === "client";
    const d = isPast ? past : `M${way.map((place) => at[place].join(" ")).join(" L")}`;
    const path = s("path", { d, fill: "none", stroke: "none" });
    const w = Math.max(46, label.length * 7 + 14);
    const packet = s(
      "g",
      { class: `packet ${kind}` },
      s("rect", { x: -w / 2, y: -11, width: w, height: 22, rx: 5 }),
      s("text", { "text-anchor": "middle", y: 4 }, label),
    );
    this.svg.append(path, packet);
    this.packet = packet;
    const length = path.getTotalLength();
    const put = (part: number) => {
      const { x, y } = path.getPointAtLength(part * length);
      packet.setAttribute("transform", `translate(${x} ${y})`);
    };
    if (this.still.matches || length === 0) {
      put(1);
      path.remove();
      return;
    }
    const began = performance.now();
    const frame = (now: number) => {
      const part = Math.min(1, (now - began) / MOVE_MS);
      put(part < 0.5 ? 2 * part * part : 1 - (2 - 2 * part) ** 2 / 2);
      if (part < 1 && packet.isConnected) this.moving = requestAnimationFrame(frame);
      else path.remove();
    };
    put(0);
    this.moving = requestAnimationFrame(frame);
  }
}
