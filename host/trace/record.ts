/** Records of the core's ring (layout/trace) as plain data and as text. */
import * as Address from "../../assembly/layout/address.js";
import * as Connection from "../../assembly/layout/connection.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Trace from "../../assembly/layout/trace.js";
import * as Verdict from "../../assembly/layout/verdict.js";
import { formatAddress, formatMac } from "../address.js";
import { endpoint, serviceKey } from "../control/keys.js";
import { FORWARDING_IDS, PROTOCOL_IDS, SCHEDULER_IDS } from "../core/control.js";
import { REASON_NAMES, stateName } from "../core/tables.js";
import type { Family, ForwardingName, ServiceProtocol } from "../ipvs/model.js";
import type { ConnectionEvent, TracedConnection, TraceRecord, TraceStage } from "./model.js";
import { dissect } from "./packet.js";

/** A frame and what the device says of it. */
export interface Image {
  readonly frame: Uint8Array;
  /** Bytes that it had. */
  readonly length: number;
  readonly vnet: Uint8Array;
}

/** A record as the ring has it, its bytes copied out. */
export interface RawRecord {
  readonly kind: "frame" | "open" | "close";
  readonly mask: number;
  readonly bytes: Uint8Array;
}

const REASONS = new Map(REASON_NAMES.map(([name, id]) => [id, name] as const));
const SCHEDULERS = new Map(Object.entries(SCHEDULER_IDS).map(([name, id]) => [id, name] as const));
const METHODS = new Map(Object.entries(FORWARDING_IDS).map(([name, id]) => [id, name as ForwardingName] as const));
const PROTOCOL_NAMES = new Map(
  Object.entries(PROTOCOL_IDS).map(([name, id]) => [id, name as ServiceProtocol] as const),
);
const VERDICT_NAMES = new Map<number, TraceRecord["verdict"]>([
  [Verdict.FORWARD, "forward"],
  [Verdict.LOCAL, "local"],
  [Verdict.CONSUMED, "consumed"],
  [Verdict.DROP, "drop"],
  // It is kept until its neighbour answers; then it is told of once more.
  [Verdict.WAIT, "consumed"],
]);
const GONE = 0xff;
const NOT_COUNTED = 0xffffffffffffffffn;

export interface PortNames {
  readonly name: string;
  readonly link: boolean;
  readonly mac?: string | undefined;
}

const padded = (length: number) => (length + 7) & ~7;

/** What a record says of a frame beside its bytes. */
function cutOf(name: "before" | "after", image: Image | undefined, snap: number): Partial<TraceRecord> {
  if (image === undefined) return {};
  const isCut = image.length > Math.min(image.frame.length, snap);
  const says = image.vnet.some((byte) => byte !== 0);
  return {
    ...(isCut && { [`${name}Length`]: image.length }),
    ...(says && { [`${name}Vnet`]: Buffer.from(image.vnet).toString("hex") }),
  };
}

export class RecordReader {
  private readonly ports: readonly PortNames[];
  private readonly memory: DataView;
  private readonly shared: Uint8Array;
  private view: DataView = new DataView(new ArrayBuffer(0));
  private bytes: Uint8Array = new Uint8Array();

  /** `memory` is looked at for what records only point to. */
  constructor(ports: readonly PortNames[], memory: WebAssembly.Memory) {
    this.ports = ports;
    this.memory = new DataView(memory.buffer);
    this.shared = new Uint8Array(memory.buffer);
  }

  private open(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  private u8(at: number): number {
    return this.bytes[at]!;
  }

  private u32(at: number): number {
    return this.view.getUint32(at, true);
  }

  private port(at: number): number {
    return this.view.getUint16(at);
  }

  private address(at: number, family: Family): string {
    return formatAddress(family, this.bytes.subarray(at, at + 16));
  }

  private familyAt(at: number): Family {
    return this.u8(at) === 6 ? 6 : 4;
  }

  private time(): number {
    const time = this.view.getFloat64(Trace.TIME, true);
    return time === 0 ? Date.now() : Math.round(time * 1000) / 1000;
  }

  /** The frame as it came and as it left; undefined where there is none. */
  images(bytes: Uint8Array): { in: number; out: number; before: Image | undefined; after: Image | undefined } {
    this.open(bytes);
    const kept = this.u32(Trace.BEFORE_KEPT);
    const from = Trace.RECORD_SIZE;
    const image = (at: number, length: number, whole: number, vnet: number): Image | undefined =>
      whole === 0
        ? undefined
        : { frame: bytes.subarray(at, at + length), length: whole, vnet: bytes.subarray(vnet, vnet + 12) };
    return {
      in: this.u8(Trace.PORT_IN) - 1,
      out: this.u8(Trace.PORT_OUT) - 1,
      before: image(from, kept, this.u32(Trace.BEFORE_LENGTH), Trace.BEFORE_VNET),
      after: image(from + padded(kept), this.u32(Trace.AFTER_KEPT), this.u32(Trace.AFTER_LENGTH), Trace.AFTER_VNET),
    };
  }

  frame(bytes: Uint8Array, snap: number, lost: number, limited: number): TraceRecord {
    const { in: inNumber, out: outNumber, before, after } = this.images(bytes);
    const flags = this.u32(Trace.FLAGS);
    const verdict = VERDICT_NAMES.get(this.u8(Trace.VERDICT)) ?? "drop";
    const reason = verdict === "drop" ? REASONS.get(this.u8(Trace.REASON)) : undefined;
    const connected = this.u32(Trace.CONNECTION) !== 0;
    const portIn = this.ports[inNumber];
    const portOut = this.ports[outNumber];
    const beforeText = before === undefined ? undefined : dissect(before.frame, portIn?.link ?? true).text;
    const afterText = after === undefined ? undefined : dissect(after.frame, portOut?.link ?? true).text;
    const stages = this.stages(flags, reason, portIn, portOut, before, after);
    const made = (flags & Trace.FLAG_MADE) !== 0;
    const service = (flags & Trace.FLAG_SERVICE) !== 0 ? this.service() : undefined;
    const decided = stages.filter(({ stage }) => stage !== "receive" && stage !== "verdict").map(({ text }) => text);
    const where = `${portIn?.name ?? (made ? "director" : "-")} > ${portOut?.name ?? "-"}`;
    const ended = reason === undefined ? verdict : `${verdict} ${reason}`;
    return {
      time: this.time(),
      worker: this.u8(Trace.WORKER),
      in: portIn?.name ?? null,
      out: portOut?.name ?? null,
      verdict,
      ...(reason !== undefined && { reason }),
      made,
      stages,
      ...(service !== undefined && { service }),
      ...(connected && {
        server: this.server(),
        forwarding: this.forwarding(),
        connection: this.connection(flags),
      }),
      before: before === undefined ? "" : Buffer.from(before.frame.subarray(0, snap)).toString("hex"),
      after: after === undefined ? null : Buffer.from(after.frame.subarray(0, snap)).toString("hex"),
      ...cutOf("before", before, snap),
      ...cutOf("after", after, snap),
      text: [`${where} ${ended}`, beforeText ?? afterText ?? "", ...decided].filter((part) => part !== "").join(", "),
      ...(lost > 0 && { lost }),
      ...(limited > 0 && { limited }),
    };
  }

  event(bytes: Uint8Array, event: "open" | "close", lost: number): ConnectionEvent {
    this.open(bytes);
    const protocol = this.u8(Trace.PROTOCOL);
    const family = this.familyAt(Trace.CONNECTION_FAMILY);
    const counted = this.view.getBigUint64(Trace.IN_PACKETS, true) !== NOT_COUNTED;
    const number = (at: number) => Number(this.view.getBigUint64(at, true));
    return {
      time: this.time(),
      event,
      worker: this.u8(Trace.WORKER),
      protocol: PROTOCOL_NAMES.get(protocol) ?? `${protocol}`,
      client: this.address(Trace.CLIENT, family),
      clientPort: this.port(Trace.CLIENT_PORT),
      virtual: this.address(Trace.VIRTUAL, family),
      virtualPort: this.port(Trace.VIRTUAL_PORT),
      server: this.address(Trace.SERVER, this.familyAt(Trace.SERVER_FAMILY)),
      serverPort: this.port(Trace.SERVER_PORT),
      forwarding: this.forwarding(),
      state: stateName(protocol, this.u8(Trace.STATE_AFTER), false),
      ...(event === "close" && {
        ...(counted && {
          packets: { in: number(Trace.IN_PACKETS), out: number(Trace.OUT_PACKETS) },
          bytes: { in: number(Trace.IN_BYTES), out: number(Trace.OUT_BYTES) },
        }),
        duration: this.u32(Trace.LIVED) * Memory.TICK_MS,
      }),
      ...(lost > 0 && { lost }),
    };
  }

  /** Number of the connection among those that were made since somebody asks. */
  eventNumber(bytes: Uint8Array): number {
    this.open(bytes);
    return this.u32(Trace.NUMBER);
  }

  private service(): string {
    const family = this.familyAt(Trace.SERVICE_FAMILY);
    const protocol = PROTOCOL_NAMES.get(this.u8(Trace.SERVICE_PROTOCOL));
    if (protocol === undefined) return serviceKey({ family, mark: this.u32(Trace.SERVICE_MARK) });
    const address = this.address(Trace.SERVICE_ADDRESS, family);
    return serviceKey({ family, protocol, address, port: this.port(Trace.SERVICE_PORT) });
  }

  private server(): string {
    const family = this.familyAt(Trace.SERVER_FAMILY);
    return endpoint(family, this.address(Trace.SERVER, family), this.port(Trace.SERVER_PORT));
  }

  private forwarding(): string {
    const flags = this.u32(Trace.CONNECTION_FLAGS);
    if ((flags & Connection.FLAG_FULL_NAT) !== 0) return "fullnat";
    return METHODS.get(flags & Connection.METHOD_MASK) ?? "nat";
  }

  private connection(flags: number): TracedConnection {
    const family = this.familyAt(Trace.CONNECTION_FAMILY);
    const after = this.u8(Trace.STATE_AFTER);
    return {
      client: this.address(Trace.CLIENT, family),
      clientPort: this.port(Trace.CLIENT_PORT),
      virtual: this.address(Trace.VIRTUAL, family),
      virtualPort: this.port(Trace.VIRTUAL_PORT),
      server: this.address(Trace.SERVER, this.familyAt(Trace.SERVER_FAMILY)),
      serverPort: this.port(Trace.SERVER_PORT),
      state: after === GONE ? "" : stateName(this.u8(Trace.PROTOCOL), after, false),
      new: (flags & Trace.FLAG_CREATED) !== 0,
    };
  }

  /** What was decided, stage by stage, in the order of the frame's way. */
  private stages(
    flags: number,
    reason: string | undefined,
    portIn: PortNames | undefined,
    portOut: PortNames | undefined,
    before: Image | undefined,
    after: Image | undefined,
  ): TraceStage[] {
    const found: TraceStage[] = [];
    const say = (stage: string, text: string) => void found.push({ stage, text });
    const has = (flag: number) => (flags & flag) !== 0;
    const verdict = this.u8(Trace.VERDICT);
    const waits = verdict === Verdict.WAIT;
    const piece = has(Trace.FLAG_PIECE);
    if (before !== undefined) say("receive", `${portIn?.name}, ${before.length} bytes`);
    else if (has(Trace.FLAG_MADE)) {
      const why = piece ? "a piece of the frame before" : has(Trace.FLAG_TIMER) ? "by a timer" : "";
      say("make", `${dissect(after!.frame, portOut?.link ?? true).text}${why === "" ? "" : `, ${why}`}`);
    } else if (has(Trace.FLAG_WAITED)) say("neighbour", "had waited for its neighbour's address");
    const mark = this.u32(Trace.PACKET_MARK);
    if (mark !== 0) say("mark", `marked ${mark}`);
    if (has(Trace.FLAG_WHOLE)) say("fragments", "put together from fragments");
    if (verdict === Verdict.CONSUMED && before !== undefined && isFragment(before.frame, portIn?.link ?? true)) {
      say("fragments", "a fragment, kept until the others have come");
    }
    const connected = this.u32(Trace.CONNECTION) !== 0;
    if (has(Trace.FLAG_SERVICE)) {
      const scheduler = SCHEDULERS.get(this.u8(Trace.SERVICE_SCHEDULER)) ?? "none";
      say("service", `service ${this.service()} ${scheduler}`);
    }
    if (connected) this.connectionStages(flags, say);
    else if (reason === "no-server") say("schedule", "no server to take it");
    else if (before !== undefined && after !== undefined && verdict === Verdict.FORWARD) say("route", "routed on");
    if (waits) {
      const hop = this.address(Trace.NEXT_HOP, this.familyOf(before, portIn));
      say("neighbour", `waits for the address of ${hop}`);
    }
    if (after !== undefined && (connected || !has(Trace.FLAG_MADE))) this.wayOut(say, portOut, after);
    const end = VERDICT_NAMES.get(verdict) ?? "drop";
    say("verdict", reason === undefined ? end : `${end}: ${reason}`);
    return found;
  }

  private connectionStages(flags: number, say: (stage: string, text: string) => void): void {
    const has = (flag: number) => (flags & flag) !== 0;
    const protocol = this.u8(Trace.PROTOCOL);
    const after = this.u8(Trace.STATE_AFTER);
    const was = stateName(protocol, this.u8(Trace.STATE_BEFORE), false);
    const is = after === GONE ? "gone" : stateName(protocol, after, false);
    const method = this.forwarding();
    if (has(Trace.FLAG_CREATED)) {
      const scheduler = SCHEDULERS.get(this.u8(Trace.SERVICE_SCHEDULER)) ?? "scheduler";
      const held = has(Trace.FLAG_CONTROLLED) && !has(Trace.FLAG_TEMPLATE_CREATED);
      if (has(Trace.FLAG_TEMPLATE_CREATED)) say("persistence", "new persistence template");
      if (held) say("persistence", `template sends it to ${this.server()}`);
      else say("schedule", `${scheduler} picks ${this.server()}`);
    }
    const what = has(Trace.FLAG_ERROR)
      ? `icmp error about a connection, ${is}`
      : `${has(Trace.FLAG_CREATED) ? "new connection" : "connection"}, ${was === is ? is : `${was} > ${is}`}`;
    say("connection", has(Trace.FLAG_ENDED) && after !== GONE ? `${what}, another one ended` : what);
    const local = this.local();
    if (has(Trace.FLAG_FROM_SERVER)) {
      const family = this.familyAt(Trace.CONNECTION_FAMILY);
      const virtual = endpoint(family, this.address(Trace.VIRTUAL, family), this.port(Trace.VIRTUAL_PORT));
      say(
        "forward",
        method === "nat" || method === "fullnat" ? `${method} back, from ${virtual}` : `${method}, as it is`,
      );
    } else {
      say("forward", `${method} to ${this.server()}${local === undefined ? "" : ` from ${local}`}`);
    }
  }

  /** Full NAT: what stands for the client. */
  private local(): string | undefined {
    const word = this.u32(Trace.LOCAL);
    const flags = this.u32(Trace.CONNECTION_FLAGS);
    if (word === 0 || (flags & Connection.FLAG_FULL_NAT) === 0) return undefined;
    const base = this.memory.getUint32(Memory.LAYOUT_BASE + Memory.ADDRESSES_BASE, true);
    const record = base + (word & 0xffff) * Address.SIZE + Address.ADDRESS;
    const family = this.familyAt(Trace.CONNECTION_FAMILY);
    const port = word >>> 16;
    const address = formatAddress(family, this.shared.slice(record, record + 16));
    return endpoint(family, address, ((port & 0xff) << 8) | (port >>> 8));
  }

  private familyOf(image: Image | undefined, port: PortNames | undefined): Family {
    if (image === undefined) return 4;
    const at = port?.link === false ? 0 : 14;
    return (image.frame[at] ?? 0) >> 4 === 6 ? 6 : 4;
  }

  private wayOut(say: (stage: string, text: string) => void, port: PortNames | undefined, after: Image): void {
    const mtu = this.u32(Trace.MTU);
    if (mtu === 0 || port === undefined) return;
    const hop = this.address(Trace.NEXT_HOP, this.familyOf(after, port));
    const mac = port.link && after.frame.length >= 6 ? ` at ${formatMac(after.frame)}` : "";
    say("route", `next hop ${hop}${mac} on ${port.name}`);
  }
}

function isFragment(frame: Uint8Array, link: boolean): boolean {
  return dissect(frame, link).text.includes("fragment");
}
