/** A service or a server in full, and what can be done about it. */
import type { ForwardingName, ServerConfig, ServerId, ServiceConfig, ServiceId } from "../ipvs/model.js";
import {
  addService,
  type Change,
  confirmChange,
  serverPath,
  serverWords,
  servicePath,
  serviceWords,
} from "./change.js";
import { byId, h, setText } from "./dom.js";
import { bits, bytes, count, whole } from "./format.js";
import {
  ACTIVE,
  CONNECTIONS,
  type Entry,
  IN_BYTES,
  IN_PACKETS,
  INACTIVE,
  OUT_BYTES,
  OUT_PACKETS,
  PERSISTENT,
  Store,
  WEIGHT,
} from "./store.js";

const READ_ONLY =
  "Read-only here: the director was started without --listen-admin. Use wlvsadm on its machine, or the control socket.";
const METHODS: ReadonlyArray<readonly [ForwardingName, string]> = [
  ["nat", "NAT"],
  ["dr", "direct routing"],
  ["tunnel", "IPIP tunnel"],
  ["fullnat", "full NAT"],
];
const SCHEDULERS = "rr wrr lc wlc sh dh mh maglev sed nq lblc lblcr fo ovf twos".split(" ");

export const METHOD_NAMES: Readonly<Record<ForwardingName, string>> = {
  nat: "NAT",
  dr: "DR",
  tunnel: "TUN",
  fullnat: "full NAT",
  local: "local",
  bypass: "bypass",
};

/** "wrr, persistent 60 s, one packet" */
export function howOf(service: ServiceConfig): string {
  const parts = [service.scheduler];
  if (service.persistence !== undefined) parts.push(`persistent ${service.persistence} s`);
  if (service.onePacket) parts.push("one packet");
  if (service.schedulerFlags !== 0) {
    parts.push(...[1, 2, 4].filter((bit) => service.schedulerFlags & bit).map((bit) => `flag-${Math.log2(bit) + 1}`));
  }
  return parts.join(", ");
}

/** What may be a server or a service in a form: ADDRESS:PORT, IPv6 addresses in brackets. */
function endpoint(text: string): ServerId | undefined {
  const [, wide, narrow, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text.trim()) ?? [];
  const address = wide ?? narrow;
  if (address === undefined || Number(port) > 0xffff) return undefined;
  return { family: wide === undefined ? 4 : 6, address, port: Number(port) };
}

function facts(list: HTMLDListElement, pairs: ReadonlyArray<readonly [string, string]>): void {
  if (list.children.length !== pairs.length * 2) {
    list.replaceChildren(...pairs.flatMap(([name]) => [h("dt", {}, name), h("dd")]));
  }
  for (const [at, [name, value]] of pairs.entries()) {
    setText(list.children[at * 2]!, name);
    setText(list.children[at * 2 + 1]!, value);
  }
}

export class Detail {
  private readonly store: Store;
  private readonly dialog = byId<HTMLDialogElement>("detail");
  private refreshNow: (() => void) | undefined;

  constructor(store: Store) {
    this.store = store;
    this.dialog.addEventListener("close", () => (this.refreshNow = undefined));
    this.dialog.addEventListener("click", ({ target }) => {
      if (target === this.dialog) this.dialog.close();
    });
  }

  refresh(): void {
    this.refreshNow?.();
  }

  private get admin(): boolean {
    return this.store.hello?.admin ?? false;
  }

  private show(title: string, kind: string, list: HTMLElement, ...rest: Node[]): void {
    const close = h("button", { type: "button", class: "plain", "aria-label": "Close" }, "✕");
    close.addEventListener("click", () => this.dialog.close());
    this.dialog.replaceChildren(
      h(
        "header",
        {},
        h("div", {}, h("p", { class: "dim small" }, kind), h("h2", { id: "detail-title" }, title)),
        close,
      ),
      list,
      ...rest,
    );
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** The part with changes: disabled, with the reason, where they are not taken. */
  private changes(...content: Node[]): HTMLElement {
    const set = h("fieldset", { disabled: !this.admin }, h("legend", {}, "Change"), ...content);
    return h("section", { class: "change" }, this.admin ? "" : h("p", { class: "note" }, READ_ONLY), set);
  }

  private async run(change: Change, closes: boolean): Promise<void> {
    if ((await confirmChange(change)) && closes) this.dialog.close();
  }

  openServer(serviceKey: string, serverKey: string): void {
    const find = () => {
      const service = this.store.find(serviceKey);
      return [service, service?.servers.find(({ key }) => key === serverKey)] as const;
    };
    const [service, first] = find();
    if (service === undefined) return;
    if (first === undefined) {
      this.openOut(service, serverKey);
      return;
    }
    const list = h("dl", { class: "facts wide" });
    const state = h("p", { class: "note", "aria-live": "polite" });
    this.show(serverKey, `Real server of ${serviceKey}`, list, state, this.serverChanges(service, first));
    this.refreshNow = () => {
      const [, entry] = find();
      if (entry === undefined) {
        setText(state, "This server is no longer in the table.");
        return;
      }
      const { row } = entry;
      facts(list, this.serverFacts(service, entry));
      const left = (row[ACTIVE] ?? 0) + (row[INACTIVE] ?? 0);
      const drains = left === 0 ? "Drained: no connection is left." : `Draining: ${whole(left)} connections are left.`;
      setText(state, row[WEIGHT] === 0 ? drains : "");
    };
    this.refreshNow();
  }

  private serverFacts(service: Entry, { server, row, rates }: Entry): Array<readonly [string, string]> {
    const { forwarding, upperThreshold, lowerThreshold, tunnel, key } = server!;
    const health = this.store.healthFor(service.key, key);
    return [
      ["Forwarding", METHOD_NAMES[forwarding] + (tunnel === undefined ? "" : `, ${tunnel.type}`)],
      ["Weight", `${row[WEIGHT] ?? 0}`],
      [
        "Health",
        health === undefined ? "not checked" : `${health.state}${health.problem ? `: ${health.problem}` : ""}`,
      ],
      ["Active, inactive, persistent", [ACTIVE, INACTIVE, PERSISTENT].map((at) => whole(row[at] ?? 0)).join(", ")],
      ["Limits", upperThreshold === 0 ? "none" : `full at ${upperThreshold}, again below ${lowerThreshold}`],
      ...counterFacts(row, rates),
    ];
  }

  private serverChanges(service: Entry, entry: Entry): HTMLElement {
    const server = entry.server!;
    const config = (weight: number): ServerConfig => {
      const { id, forwarding, upperThreshold, lowerThreshold, tunnel } = server;
      return { id, forwarding, weight, upperThreshold, lowerThreshold, tunnel };
    };
    const edit = (weight: number, title: string, text: string, hurts: boolean): Change => ({
      title,
      text,
      command: `wlvsadm -e ${serviceWords(service.service.id)} ${serverWords(server.key, config(weight))}`,
      method: "PUT",
      path: serverPath(service.key, server.key),
      body: config(weight),
      hurts,
    });
    const weight = h("input", { type: "number", min: 0, max: 65535, step: 1, required: true, id: "change-weight" });
    weight.value = `${entry.row[WEIGHT] ?? 1}`;
    const form = h(
      "form",
      { class: "inline" },
      h("label", { class: "field" }, h("span", {}, "Weight"), weight),
      h("button", { type: "submit", class: "primary" }, "Set weight"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const to = weight.valueAsNumber;
      const share = to === 0 ? "gets no new clients; its connections go on" : `gets new clients by weight ${to}`;
      void this.run(edit(to, "Set weight", `${server.key} ${share}.`, to === 0), false);
    });
    const drain = h("button", { type: "button" }, "Drain");
    drain.addEventListener("click", () => {
      const text = `${server.key} gets no new clients (weight 0). Its connections go on until they end by themselves; this window shows how many are left.`;
      void this.run(edit(0, "Drain server", text, true), false);
    });
    const remove = this.removeServer(service, server.key);
    return this.changes(form, h("div", { class: "actions" }, drain, remove));
  }

  private removeServer(service: Entry, key: string): HTMLElement {
    const remove = h("button", { type: "button", class: "danger" }, "Remove server");
    remove.addEventListener("click", () => {
      const change: Change = {
        title: "Remove server",
        text: `${key} leaves ${service.key}. Its connections are broken or expire, as the director is set up; drain it first to spare them.`,
        command: `wlvsadm -d ${serviceWords(service.service.id)} -r ${key}`,
        method: "DELETE",
        path: serverPath(service.key, key),
        hurts: true,
      };
      void this.run(change, true);
    });
    return remove;
  }

  /** A server that its checks have taken out of the table. */
  private openOut(service: Entry, key: string): void {
    const list = h("dl", { class: "facts wide" });
    const note = h(
      "p",
      { class: "note" },
      "Its checks have taken it out of the table; it comes back, as it was, when they pass.",
    );
    this.show(key, `Real server of ${service.key}`, list, note, this.changes(this.removeServer(service, key)));
    this.refreshNow = () => {
      const health = this.store.healthFor(service.key, key);
      facts(list, [
        [
          "Health",
          health === undefined ? "not checked" : `${health.state}${health.problem ? `: ${health.problem}` : ""}`,
        ],
      ]);
    };
    this.refreshNow();
  }

  openService(key: string): void {
    const find = () => this.store.find(key);
    const first = find();
    if (first === undefined) return;
    const list = h("dl", { class: "facts wide" });
    const state = h("p", { class: "note", "aria-live": "polite" });
    this.show(key, "Virtual service", list, state, this.serviceChanges(first));
    this.refreshNow = () => {
      const entry = find();
      setText(state, entry === undefined ? "This service is no longer there." : "");
      if (entry === undefined) return;
      facts(list, [
        ["Scheduler", howOf(entry.service)],
        ["Real servers", whole(entry.servers.length)],
        ["Active, inactive", [ACTIVE, INACTIVE].map((at) => whole(Store.sum(entry, at))).join(", ")],
        ...counterFacts(entry.row, entry.rates),
      ]);
    };
    this.refreshNow();
  }

  private serviceChanges(entry: Entry): HTMLElement {
    const { id } = entry.service;
    const address = h("input", {
      required: true,
      placeholder: "192.0.2.8:80",
      autocomplete: "off",
      spellcheck: "false",
    });
    const method = h("select", {}, ...METHODS.map(([value, text]) => h("option", { value }, text)));
    method.value = entry.servers[0]?.server?.forwarding ?? "nat";
    const weight = h("input", { type: "number", min: 0, max: 65535, step: 1, value: 1, required: true });
    const problem = h("p", { class: "problem", role: "alert" });
    const form = h(
      "form",
      { class: "inline" },
      h("label", { class: "field grow" }, h("span", {}, "Real server"), address),
      h("label", { class: "field" }, h("span", {}, "Method"), method),
      h("label", { class: "field" }, h("span", {}, "Weight"), weight),
      h("button", { type: "submit", class: "primary" }, "Add server"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const server = endpoint(address.value);
      setText(problem, server === undefined ? "Write ADDRESS:PORT, an IPv6 address in brackets." : "");
      if (server === undefined) return;
      const forwarding = method.value as ForwardingName;
      const config: ServerConfig = {
        id: server,
        forwarding,
        weight: weight.valueAsNumber,
        upperThreshold: 0,
        lowerThreshold: 0,
        ...(forwarding === "tunnel" && { tunnel: { type: "ipip", port: 0, checksum: "nocsum" } as const }),
      };
      const key = address.value.trim();
      void this.run(
        {
          title: "Add server",
          text: `${key} becomes a real server of ${entry.key} and gets new clients at once.`,
          command: `wlvsadm -a ${serviceWords(id)} ${serverWords(key, config)}`,
          method: "POST",
          path: `${servicePath(entry.key)}/servers`,
          body: config,
        },
        false,
      );
    });
    const remove = h("button", { type: "button", class: "danger" }, "Remove service");
    remove.addEventListener("click", () => {
      const change: Change = {
        title: "Remove service",
        text: `${entry.key} and its ${entry.servers.length} real servers leave the tables: its clients are refused from then on.`,
        command: `wlvsadm -D ${serviceWords(id)}`,
        method: "DELETE",
        path: servicePath(entry.key),
        hurts: true,
      };
      void this.run(change, true);
    });
    return this.changes(form, problem, h("div", { class: "actions" }, remove));
  }

  openNewService(): void {
    const protocol = h(
      "select",
      {},
      ...["tcp", "udp", "sctp"].map((value) => h("option", { value }, value.toUpperCase())),
    );
    const address = h("input", {
      required: true,
      placeholder: "192.0.2.1:80",
      autocomplete: "off",
      spellcheck: "false",
    });
    const scheduler = h("select", {}, ...SCHEDULERS.map((value) => h("option", {}, value)));
    scheduler.value = "wlc";
    const persistence = h("input", { type: "number", min: 1, step: 1, placeholder: "none" });
    const problem = h("p", { class: "problem", role: "alert" });
    const form = h(
      "form",
      { class: "inline" },
      h("label", { class: "field" }, h("span", {}, "Protocol"), protocol),
      h("label", { class: "field grow" }, h("span", {}, "Virtual address"), address),
      h("label", { class: "field" }, h("span", {}, "Scheduler"), scheduler),
      h("label", { class: "field" }, h("span", {}, "Persistent, s"), persistence),
      h("button", { type: "submit", class: "primary" }, "Add service"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const found = endpoint(address.value);
      setText(problem, found === undefined ? "Write ADDRESS:PORT, an IPv6 address in brackets." : "");
      if (found === undefined) return;
      const id: ServiceId = { ...found, protocol: protocol.value as "tcp" | "udp" | "sctp" };
      const config: ServiceConfig = {
        id,
        scheduler: scheduler.value,
        ...(persistence.value !== "" && { persistence: persistence.valueAsNumber }),
        persistencePrefix: found.family === 6 ? 128 : 32,
        onePacket: false,
        schedulerFlags: 0,
      };
      void this.run(addService(config, `${protocol.value}:${address.value.trim()}`), true);
    });
    this.refreshNow = undefined;
    this.show("New virtual service", "Add", h("dl", { hidden: true }), this.changes(form, problem));
    if (this.admin) address.focus();
  }
}

function counterFacts(row: readonly number[], rates: readonly number[]): Array<readonly [string, string]> {
  const total = (at: number) => row[at] ?? 0;
  const rate = (at: number) => rates[at] ?? 0;
  return [
    ["Connections", `${whole(total(CONNECTIONS))}, ${count(rate(CONNECTIONS))}/s`],
    [
      "In",
      `${whole(total(IN_PACKETS))} packets, ${bytes(total(IN_BYTES))}; ${count(rate(IN_PACKETS))}/s, ${bits(rate(IN_BYTES))}`,
    ],
    [
      "Out",
      `${whole(total(OUT_PACKETS))} packets, ${bytes(total(OUT_BYTES))}; ${count(rate(OUT_PACKETS))}/s, ${bits(rate(OUT_BYTES))}`,
    ],
  ];
}
