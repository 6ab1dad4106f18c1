/** What happens to a traced frame, one step after the other, in words for somebody who learns LVS. */
import type { TraceRecord } from "../trace/model.js";
import { type Arithmetic, arithmetic, compare, type Frame, parseFrame, type Row } from "./frame.js";

/** Where a frame may be: the ports are those of the client's and of the server's side. */
export type Place = "client" | "in" | "core" | "out" | "server";

export interface Step {
  readonly title: string;
  readonly text: string;
  readonly way: readonly Place[];
  /** "before", "after": which frame it is there; the rows of the other are dimmed. */
  readonly shows: "before" | "after" | "both";
  /** Layers whose changes are marked. */
  readonly marks: readonly string[];
  readonly sums: readonly Arithmetic[];
}

export interface Shown {
  readonly record: TraceRecord;
  readonly before: Frame;
  readonly after: Frame | undefined;
  readonly isAnswer: boolean;
  readonly label: string;
  readonly rows: readonly Row[];
  readonly steps: readonly Step[];
}

function stagesOf(record: TraceRecord, names: readonly string[]): string {
  const texts = record.stages.filter(({ stage }) => names.includes(stage)).map(({ text }) => text);
  return texts.length === 0 ? "" : ` The director: ${texts.join("; ")}.`;
}

const WHAT_CHANGES: Readonly<Record<string, readonly [request: string, answer: string]>> = {
  nat: [
    "NAT: the destination, the virtual address, becomes the real server's. Both checksums follow from the old ones and the changed words alone; nothing else of the packet is read.",
    "NAT: the source, the real server, becomes the virtual address again, so that the client sees an answer of the address that it asked.",
  ],
  fullnat: [
    "Full NAT: the destination becomes the real server's and the source an address of the director's own, so that the answer comes back here without any route on the server.",
    "Full NAT: the source becomes the virtual address again, and the destination the client.",
  ],
  dr: [
    "Direct routing: addresses and ports stay as they are, the virtual address too; what is new is the frame around the packet. The server has the virtual address on an interface that does not answer ARP, and takes it.",
    "",
  ],
  tunnel: [
    "Tunnel: a new IP header goes in front, from the director to the real server. The client's packet inside keeps its addresses and ports; the server unpacks it and takes the virtual address as its own.",
    "",
  ],
};

/** Reads a record; `hasEthernet` of the ports that it came in by and left by. */
export function explain(record: TraceRecord, hasEthernet: { in: boolean; out: boolean }): Shown {
  const before = parseFrame(record.before, hasEthernet.in);
  const after = record.after === null ? undefined : parseFrame(record.after, hasEthernet.out);
  const { connection } = record;
  const isAnswer = connection !== undefined && before.source !== connection.client;
  const label = before.flags || before.protocol || "frame";
  const rows = compare(before, after);
  const changed = new Set(rows.filter(({ changes }) => changes).map(({ layer }) => layer));
  const packetLayers = [...changed].filter((layer) => layer !== "Ethernet");
  const sums =
    after === undefined ? [] : ["IP", "TCP", "UDP"].flatMap((layer) => arithmetic(before, after, layer) ?? []);
  const way: readonly Place[] = isAnswer
    ? ["server", "out", "core", "in", "client"]
    : ["client", "in", "core", "out", "server"];
  const [from, first, core, second, to] = way as [Place, Place, Place, Place, Place];
  const who = isAnswer ? "The real server" : "The client";
  const end = (address: string, port: number | undefined) => (port === undefined ? address : `${address} port ${port}`);
  const there = end(before.destination, before.destinationPort);
  const mac = before.fields.find(({ layer, name }) => layer === "Ethernet" && name === "destination")?.value;
  const toMac =
    mac === undefined
      ? ""
      : ` In Ethernet it goes to ${mac}, the director's port ${record.in}: ${isAnswer ? "its gateway on the way to the client" : "that is whose ARP answer for this address came"}.`;
  const steps: Step[] = [
    {
      title: `${who} sends ${label}`,
      text: `From ${end(before.source, before.sourcePort)} to ${there}.${toMac}`,
      way: [from, first],
      shows: "before",
      marks: [],
      sums: [],
    },
  ];
  const known = isAnswer
    ? "The answer of a known connection: found by the server's side of it."
    : connection?.new
      ? "No connection is known yet: the service is looked up, its scheduler picks a real server, and the connection is entered."
      : "A known connection: its real server stays, no scheduler is asked.";
  steps.push({
    title: connection?.new ? "A server is picked" : "The connection is found",
    text: known + stagesOf(record, ["service", "persistence", "schedule", "connection"]),
    way: [first, core],
    shows: "before",
    marks: [],
    sums: [],
  });
  if (after === undefined) {
    const why = record.reason === undefined ? record.verdict : `${record.verdict}: ${record.reason}`;
    steps.push({
      title: "It ends here",
      text: `The frame goes no further (${why}).${stagesOf(record, ["verdict"])}`,
      way: [core, core],
      shows: "before",
      marks: [],
      sums: [],
    });
    return { record, before, after, isAnswer, label, rows, steps };
  }
  const method = WHAT_CHANGES[record.forwarding ?? ""]?.[isAnswer ? 1 : 0] ?? "";
  const ttl = rows.some(({ name, changes }) => changes && (name === "TTL" || name === "hop limit"));
  steps.push({
    title: packetLayers.length === 0 ? "The packet stays as it is" : "The packet is rewritten",
    text: `${method}${ttl ? " The TTL is one less: the director is a router on the way." : ""}${stagesOf(record, ["forward"])}`.trim(),
    way: [core, core],
    shows: "both",
    marks: packetLayers,
    sums,
  });
  steps.push({
    title: "The next hop",
    text: `The way out is ${record.out}; the frame gets that port's MAC as its source and the next hop's as its destination.${stagesOf(record, ["route", "neighbour"])}`,
    way: [core, second],
    shows: "both",
    marks: ["Ethernet"],
    sums: [],
  });
  steps.push({
    title: isAnswer ? "The client gets its answer" : "The real server gets it",
    text: `As it is now: from ${end(after.source, after.sourcePort)} to ${end(after.destination, after.destinationPort)}.`,
    way: [second, to],
    shows: "after",
    marks: [],
    sums: [],
  });
  if (!isAnswer && (record.forwarding === "dr" || record.forwarding === "tunnel")) {
    const { virtual = before.destination, client = before.source } = connection ?? {};
    steps.push({
      title: "The server answers directly",
      text: `From the virtual address ${virtual} to ${client}, in a frame of its own; it does not pass the director, which therefore cannot show it. That is why the server must have the virtual address, and must not answer ARP for it.`,
      way: ["server", "client"],
      shows: "after",
      marks: [],
      sums: [],
    });
  }
  return { record, before, after, isAnswer, label, rows, steps };
}
