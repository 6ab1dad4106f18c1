/** The way of real frames through the director, step by step. Nothing is made up: frames come from its trace. */
import type { TraceRecord } from "../trace/model.js";
import { byId, h, setClass, setHidden, setText, sized } from "./dom.js";
import { clock } from "./format.js";
import { STATE_TEXT } from "./frame.js";
import { explain, type Place, type Shown } from "./steps.js";
import type { Entry, Store } from "./store.js";
import { type Labels, Topology } from "./topology.js";

const SNAP = 4096;
const MOST_FRAMES = 16;
const MOST_CONNECTIONS = 64;
/** From the first frame of the connection on. */
const FOLLOW_MS = 2500;
/** Without a new connection for so long, one that is there will do. */
const NEW_MS = 4000;
const STEP_MS = 3200;
const NARROW = 680;
const LAYERS = ["Ethernet", "Outer IP", "IP", "TCP", "UDP"];

function connectionKey({ connection: c }: TraceRecord): string {
  return c === undefined ? "" : `${c.client} ${c.clientPort} ${c.virtual} ${c.virtualPort}`;
}

export class PathView {
  private readonly store: Store;
  private readonly service = byId<HTMLSelectElement>("path-service");
  private readonly watchButton = byId<HTMLButtonElement>("path-watch");
  private readonly stopButton = byId<HTMLButtonElement>("path-stop");
  private readonly note = byId("path-note");
  private readonly frames = byId("path-frames");
  private readonly player = byId("path-player");
  private readonly playButton = byId<HTMLButtonElement>("path-play");
  private readonly fields = byId<HTMLTableElement>("path-fields");
  private readonly topology = new Topology();
  private running: AbortController | undefined;
  private shown: Shown[] = [];
  private frame = 0;
  private step = 0;
  private playing: number | undefined;
  private narrow = false;
  private listed = "";
  private visible = false;

  constructor(store: Store) {
    this.store = store;
    const picture = byId("path-picture");
    picture.append(this.topology.svg);
    this.watchButton.addEventListener("click", () => void this.watch());
    this.stopButton.addEventListener("click", () => this.running?.abort());
    this.service.addEventListener("change", () => this.still());
    byId("path-back").addEventListener("click", () => this.back());
    byId("path-next").addEventListener("click", () => this.next());
    this.playButton.addEventListener("click", () => this.play(this.playing === undefined));
    this.frames.addEventListener("click", ({ target }) => {
      const button = (target as Element).closest("button");
      if (button !== null) this.go(Number(button.value), 0);
    });
    document.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => {
      const narrow = picture.clientWidth < NARROW;
      if (narrow === this.narrow) return;
      this.narrow = narrow;
      this.redraw();
    }).observe(picture);
  }

  /** Called when the view comes and goes, and every second while it is there. */
  show(visible: boolean): void {
    if (!visible && this.visible) {
      this.play(false);
      this.running?.abort();
    }
    this.visible = visible;
    if (!visible) return;
    const keys = this.store.services.map(({ key }) => key);
    if (keys.join() !== this.listed) {
      this.listed = keys.join();
      const chosen = this.service.value;
      this.service.replaceChildren(...keys.map((key) => h("option", { value: key }, key)));
      if (keys.includes(chosen)) this.service.value = chosen;
      if (this.shown.length === 0) this.still();
    }
    this.watchButton.disabled = keys.length === 0 || this.running !== undefined;
    if (keys.length === 0) setText(this.note, "There is no virtual service whose frames could be watched.");
    else if (this.shown.length === 0 && this.running === undefined && this.note.textContent === "") {
      setText(this.note, "Watch a connection: its frames are shown as the director took them in and sent them on.");
    }
  }

  private key(event: KeyboardEvent): void {
    if (!this.visible || this.shown.length === 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    const target = event.target as Element;
    if (target.closest("input, select, dialog, .tabs") !== null) return;
    if (event.key === "ArrowRight") this.next();
    else if (event.key === "ArrowLeft") this.back();
    else if (event.key === "Home") this.go(0, 0);
    else if (event.key === "End") this.go(this.shown.length - 1, 0);
    else if (event.key === " " && target.closest("button, a") === null) this.play(this.playing === undefined);
    else return;
    event.preventDefault();
  }

  /** The service's machines, while no frame is there. */
  private still(): void {
    this.play(false);
    this.shown = [];
    this.frames.replaceChildren();
    setHidden(this.player, true);
    this.redraw();
  }

  private async watch(): Promise<void> {
    const service = this.service.value;
    const running = new AbortController();
    this.running = running;
    this.still();
    this.watchButton.disabled = true;
    this.stopButton.disabled = false;
    const since = Date.now();
    const waits = () =>
      setText(
        this.note,
        `No frame of ${service} has passed since ${clock(since)} (${Math.round((Date.now() - since) / 1000)} s). The page waits for one; open a connection to it.`,
      );
    setText(this.note, `Waiting for a frame of ${service}.`);
    const timer = setInterval(() => this.shown.length === 0 && waits(), 1000);
    let problem = "";
    try {
      await this.read(service, running);
    } catch (error) {
      if (!running.signal.aborted) problem = (error as Error).message;
    }
    clearInterval(timer);
    this.running = undefined;
    this.stopButton.disabled = true;
    this.watchButton.disabled = false;
    if (problem !== "") setText(this.note, problem);
    else if (this.shown.length === 0) setText(this.note, `Stopped: no frame of ${service} passed by.`);
    else this.begin();
  }

  private begin(): void {
    const { connection } = this.shown[0]!.record;
    const who = connection === undefined ? "" : ` of ${connection.client} port ${connection.clientPort}`;
    const direct = this.isDirect ? " Answers do not pass the director, so only the client's frames are here." : "";
    setText(this.note, `${this.shown.length} frames${who}, as the director saw them.${direct}`);
    setHidden(this.player, false);
    this.frames.replaceChildren(
      ...this.shown.map(({ label, isAnswer, record }, n) => {
        const arrow = isAnswer ? "←" : "→";
        const text = `${n + 1} ${arrow} ${label}${record.after === null ? ` (${record.verdict})` : ""}`;
        return h("li", {}, h("button", { type: "button", value: n, class: isAnswer ? "answer" : "request" }, text));
      }),
    );
    this.go(0, 0);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.play(true);
  }

  private get isDirect(): boolean {
    const { forwarding } = this.shown[0]?.record ?? {};
    return forwarding === "dr" || forwarding === "tunnel";
  }

  private hasEthernet(port: string | null): boolean {
    return this.store.tick?.ports.find(({ name }) => name === port)?.kind !== "tun";
  }

  /** Reads until one connection has been seen for long enough. */
  private async read(service: string, running: AbortController): Promise<void> {
    const query = new URLSearchParams({ filter: `service ${service}`, snap: `${SNAP}` });
    const response = await fetch(`/v1/trace?${query}`, { signal: running.signal, cache: "no-store" });
    if (response.status === 404) throw new Error("This director cannot trace frames.");
    if (!response.ok || response.body === null) {
      const body = (await response.json().catch(() => ({}))) as { error?: { message?: string } };
      throw new Error(`The director does not trace: ${body.error?.message ?? `status ${response.status}`}`);
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const byConnection = new Map<string, TraceRecord[]>();
    let chosen: string | undefined;
    let timer = 0;
    const choose = (key: string) => {
      chosen = key;
      clearTimeout(timer);
      timer = window.setTimeout(() => running.abort(), FOLLOW_MS);
    };
    let rest = "";
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop()!;
        for (const line of lines) {
          const record = JSON.parse(line) as TraceRecord;
          // A frame that waits for its neighbour is told of again when it leaves.
          if (record.before === undefined || record.made || record.verdict === "consumed") continue;
          const key = connectionKey(record);
          if (!byConnection.has(key) && byConnection.size >= MOST_CONNECTIONS) continue;
          const list = byConnection.get(key) ?? [];
          byConnection.set(key, list);
          if (list.length < MOST_FRAMES) list.push(record);
          if (chosen === undefined && record.connection?.new) choose(key);
          else if (chosen === undefined && timer === 0) {
            timer = window.setTimeout(() => choose(byConnection.keys().next().value!), NEW_MS);
          }
        }
        if (chosen === undefined) continue;
        const own = byConnection.get(chosen)!;
        if (own.length >= MOST_FRAMES) break;
      }
    } catch (error) {
      if (!running.signal.aborted) throw error;
    } finally {
      clearTimeout(timer);
      running.abort();
    }
    const own = byConnection.get(chosen ?? byConnection.keys().next().value ?? "") ?? [];
    this.shown = own.map((record) =>
      explain(record, { in: this.hasEthernet(record.in), out: this.hasEthernet(record.out) }),
    );
  }

  private labels(): Labels {
    const ports = this.store.tick?.ports ?? [];
    const portLines = (name: string | null | undefined, fallback: number): string[] => {
      const port = ports.find((one) => one.name === name) ?? ports.at(fallback);
      if (port === undefined) return ["port"];
      const address = port.addresses[0]?.replace(/\/\d+$/, "");
      return [port.name, ...(address === undefined ? [] : [address]), ...(port.mac === undefined ? [] : [port.mac])];
    };
    const service: Entry | undefined = this.store.find(this.service.value);
    const request = this.shown.find(({ isAnswer, after }) => !isAnswer && after !== undefined) ?? this.shown[0];
    const mac = (frame: Shown["before"] | undefined, name: string) =>
      frame?.fields.find((field) => field.layer === "Ethernet" && field.name === name)?.value;
    const connection = request?.record.connection;
    const forwarding = request?.record.forwarding ?? service?.servers[0]?.server?.forwarding;
    const server = connection?.server ?? service?.servers[0]?.server?.id.address ?? "none";
    const clientMac = request?.isAnswer ? mac(request.after, "destination") : mac(request?.before, "source");
    const serverMac = request?.isAnswer ? mac(request.before, "source") : mac(request?.after, "destination");
    const [inPort, outPort] = request?.isAnswer
      ? [request.record.out, request.record.in]
      : [request?.record.in, request?.record.out];
    return {
      lines: {
        client: ["client", connection?.client ?? "anywhere", ...(clientMac === undefined ? [] : [clientMac])],
        in: portLines(inPort, 0),
        core: ["core"],
        out: portLines(outPort, -1),
        server: ["real server", server, ...(serverMac === undefined ? [] : [serverMac])],
      },
      others: (service?.servers ?? [])
        .map((one) => one.server!.id.address)
        .filter((address) => address !== server)
        .map((address, n) => (n === 2 ? "and more" : address)),
      direct: forwarding === "dr" || forwarding === "tunnel",
    };
  }

  private redraw(): void {
    const step = this.shown[this.frame]?.steps[this.step];
    this.topology.draw(this.labels(), this.narrow, (step?.way ?? []) as Place[]);
    if (step !== undefined) this.drawStep(false);
  }

  private next(): void {
    const current = this.shown[this.frame];
    if (current === undefined) return;
    if (this.step + 1 < current.steps.length) this.go(this.frame, this.step + 1);
    else if (this.frame + 1 < this.shown.length) this.go(this.frame + 1, 0);
    else this.play(false);
  }

  private back(): void {
    if (this.step > 0) this.go(this.frame, this.step - 1);
    else if (this.frame > 0) this.go(this.frame - 1, this.shown[this.frame - 1]!.steps.length - 1);
  }

  private go(frame: number, step: number): void {
    if (this.shown[frame] === undefined) return;
    this.frame = frame;
    this.step = step;
    this.drawStep(true);
    if (this.playing !== undefined) this.play(true);
  }

  private play(on: boolean): void {
    clearTimeout(this.playing);
    this.playing = on && this.shown.length > 0 ? window.setTimeout(() => this.next(), STEP_MS) : undefined;
    setText(this.playButton, this.playing === undefined ? "Play" : "Pause");
  }

  private drawStep(moves: boolean): void {
    const shown = this.shown[this.frame]!;
    const step = shown.steps[this.step]!;
    if (moves) this.topology.draw(this.labels(), this.narrow, step.way);
    const isPast = step.way[0] === "server" && step.way[1] === "client";
    const isAnswer = shown.isAnswer || isPast;
    this.topology.move(step.way, isPast ? "answer" : shown.label, isAnswer ? "answer" : "request");
    for (const [n, item] of [...this.frames.children].entries()) {
      const button = item.firstElementChild!;
      if (n === this.frame) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    }
    setText(
      byId("path-place"),
      `Frame ${this.frame + 1} of ${this.shown.length}, step ${this.step + 1} of ${shown.steps.length}`,
    );
    setText(byId("path-step-title"), step.title);
    setText(byId("path-step-text"), step.text);
    this.drawFields(shown);
    this.drawSums(shown);
  }

  private drawFields(shown: Shown): void {
    const step = shown.steps[this.step]!;
    const place = (layer: string) => LAYERS.indexOf(layer);
    const rows = [...shown.rows].sort((a, b) => place(a.layer) - place(b.layer));
    const elements = sized(this.fields.tBodies[0]!, rows.length, () =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, h("span", { class: "dim" }), h("span")),
        h("td", { class: "mono" }),
        h("td", { class: "mono" }),
        h("td", { class: "mark" }),
      ),
    );
    for (const [at, row] of rows.entries()) {
      const element = elements[at]!;
      const marked = row.changes && step.marks.includes(row.layer);
      setClass(element, `${marked ? "changed" : ""} ${rows[at - 1]?.layer === row.layer ? "" : "first"}`.trim());
      const [head, before, after, mark] = element.cells as unknown as [Element, Element, Element, Element];
      setText(head.children[0]!, `${row.layer} `);
      setText(head.children[1]!, row.name);
      setText(before, row.before || "–");
      setText(after, row.after || "–");
      setClass(before, step.shows === "after" ? "mono dim" : "mono");
      setClass(after, step.shows === "before" ? "mono dim" : "mono");
      setText(mark, marked ? "changes" : "");
    }
  }

  private drawSums(shown: Shown): void {
    const step = shown.steps[this.step]!;
    const place = byId("path-sums");
    const states = (shown.after ?? shown.before).sums.map(({ layer, state }) => {
      const was = shown.before.sums.find((sum) => sum.layer === layer)?.state;
      const made = was === "partial" && state === "correct" ? "partial when it came in, completed here: correct" : "";
      const text =
        was === undefined || was === state ? STATE_TEXT[state] : made || `${was} before; ${STATE_TEXT[state]}`;
      return h("li", {}, h("strong", {}, `${layer} checksum `), text);
    });
    const sums = step.sums.map(({ layer, lines, agrees }) =>
      h(
        "section",
        {},
        h("h4", {}, `${layer} checksum, from the changed words (RFC 1624)`),
        h("pre", { class: "command" }, lines.join("\n")),
        h(
          "p",
          { class: agrees ? "ok small" : "bad small" },
          agrees ? "That is what the frame that left has." : "The frame that left has another one.",
        ),
      ),
    );
    place.replaceChildren(h("h3", {}, "Checksums"), h("ul", { class: "plain" }, ...states), ...sums);
  }
}
