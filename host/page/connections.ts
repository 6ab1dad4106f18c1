/** A search in the connection table: the director filters, and sends no more than was asked for. */
import type { ConnectionInfo } from "../ipvs/model.js";
import { byId, h, Pager, setHidden, setText, sized } from "./dom.js";
import { duration } from "./format.js";

const PAGE = 100;
const PROTOCOLS: Readonly<Record<number, string>> = { 6: "TCP", 17: "UDP", 132: "SCTP", 0: "mark" };

function end(family: number, address: string, port: number): string {
  return family === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}

export class ConnectionsView {
  private readonly form = byId<HTMLFormElement>("connections-form");
  private readonly table = byId<HTMLTableElement>("connections-table");
  private readonly count = byId("connections-count");
  private readonly stopper = byId<HTMLButtonElement>("connections-stop");
  private readonly pager: Pager;
  private found: ConnectionInfo[] = [];
  private running: AbortController | undefined;

  constructor() {
    this.pager = new Pager(byId("connections-pager"), PAGE, () => this.draw());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.search();
    });
    this.stopper.addEventListener("click", () => this.running?.abort());
  }

  private query(): { text: string; limit: number } {
    const query = new URLSearchParams();
    for (const [name, value] of new FormData(this.form)) {
      if (typeof value === "string" && value.trim() !== "") query.set(name, value.trim());
    }
    const limit = Number(query.get("limit"));
    // One more than is shown tells whether there are more.
    query.set("limit", `${limit + 1}`);
    return { text: `${query}`, limit };
  }

  private async search(): Promise<void> {
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    const { text, limit } = this.query();
    this.found = [];
    this.pager.page = 0;
    this.stopper.disabled = false;
    this.count.classList.remove("problem");
    const began = performance.now();
    let end = "";
    try {
      await this.read(`/v1/connections?${text}`, running.signal);
      if (this.found.length > limit) {
        this.found.length = limit;
        end = ", and there are more";
      }
    } catch (error) {
      if (this.running !== running) return;
      if (running.signal.aborted) end = ", stopped";
      else {
        this.count.classList.add("problem");
        setText(this.count, (error as Error).message);
        this.stopper.disabled = true;
        return this.draw();
      }
    }
    if (this.running !== running) return;
    this.stopper.disabled = true;
    const many = this.found.length === 1 ? "1 connection" : `${this.found.length.toLocaleString("en")} connections`;
    setText(this.count, `${many}${end} (${((performance.now() - began) / 1000).toFixed(2)} s)`);
    this.draw();
  }

  private async read(path: string, signal: AbortSignal): Promise<void> {
    setText(this.count, "Searching");
    const response = await fetch(path, { signal, cache: "no-store" });
    if (!response.ok || response.body === null) {
      const body = (await response.json().catch(() => ({}))) as { error?: { message?: string } };
      throw new Error(body.error?.message ?? `status ${response.status}`);
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.found.push(JSON.parse(line) as ConnectionInfo);
      this.draw();
    }
  }

  private draw(): void {
    const [from, to] = this.pager.range(this.found.length);
    setHidden(this.table, this.found.length === 0);
    const rows = sized(this.table.tBodies[0]!, to - from, () =>
      h(
        "tr",
        {},
        h("td"),
        h("th", { scope: "row", class: "mono" }),
        h("td", { class: "mono" }),
        h("td", { class: "mono" }),
        h("td"),
        h("td", { class: "n" }),
      ),
    );
    for (const [at, one] of this.found.slice(from, to).entries()) {
      const texts = [
        PROTOCOLS[one.protocol] ?? `${one.protocol}`,
        one.template ? `${one.client} (template)` : end(one.family, one.client, one.clientPort),
        end(one.family, one.virtual, one.virtualPort),
        end(one.serverFamily, one.server, one.serverPort),
        one.state,
        duration(one.expires),
      ];
      for (const [place, text] of texts.entries()) setText(rows[at]!.cells[place]!, text);
    }
  }
}
