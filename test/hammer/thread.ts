/**
 * A worker over memory alone that checks what becomes of each frame: it writes frames of its own clients into its slots,
 * runs the core, and reads what the core wants sent. What goes to a server is answered by the worker next to it, so the
 * two directions of a connection meet different workers.
 */
import { parentPort, workerData } from "node:worker_threads";
import * as Memory from "../../assembly/layout/memory.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as Worker from "../../assembly/layout/worker.js";
import { instantiate } from "../../host/core/instance.js";
import { ethernet, FLAG, ip4, PROTOCOL, tcp } from "../support/packets.js";
import { BATCH, CLIENT_PORT, type HammerData, MAILBOX, type Report, SERVER_PORT } from "./shared.js";

interface Pending {
  readonly service: number;
  readonly flow: number;
  readonly kind: "syn" | "data" | "reply";
  /** The worker whose client it is. */
  readonly owner: number;
  seen: boolean;
}

const data = workerData as HammerData;
const { memory, index, workers, net } = data;
const core = instantiate(memory, data.module);
const view = new DataView(memory.buffer);
const bytes = new Uint8Array(memory.buffer);
const word = (at: number) => view.getUint32(at, true);
const queue = word(Memory.LAYOUT_BASE + Memory.WORKERS_BASE) + index * Worker.SIZE;

const ETHERNET = Slot.VNET_SIZE;
const IP = ETHERNET + 14;
const TCP = IP + 20;
const DATA = TCP + 20;
const LENGTH = DATA + 8;
const ARP = 0x0806;

/** Of each service's flows: 0 not taken by anybody yet, else 1 + the number of the server. */
const pinned = [new Uint8Array(data.flows), new Uint8Array(data.flows)];
/** How many flows of each service were begun. */
const begun = [0, 0];
let pending: Pending[] = [];
const report: Report = {
  frames: 0,
  outputs: 0,
  forwarded: [0, 0],
  begun: [0, 0],
  replies: 0,
  resets: 0,
  unreachable: 0,
  announcements: 0,
  drops: 0,
};

const octets = (text: string) => text.split(".").map(Number);
const vip = octets(net.vip);
const servers = data.servers.map((list) => list.map(octets));

function shape(from: string, to: string, fromMac: string, toMac: string, sourcePort: number, destinationPort: number) {
  const ends = { source: from, destination: to, sourcePort, destinationPort };
  const segment = tcp(ends, { flags: FLAG.ack | FLAG.psh, data: new Uint8Array(8) });
  const frame = ethernet(toMac, fromMac, ip4(from, to, PROTOCOL.tcp, segment));
  const whole = new Uint8Array(ETHERNET + frame.length);
  whole.set(frame, ETHERNET);
  return whole;
}
const CLIENT_SIDE = shape("10.0.0.1", net.vip, net.gatewayMac, net.extMac, CLIENT_PORT, 80);
const SERVER_SIDE = shape(net.serverIp, "10.0.0.1", net.serverMac, net.intMac, SERVER_PORT, CLIENT_PORT);

function sum(from: number, end: number): number {
  let total = 0;
  for (let at = from; at < end; at += 2) total += view.getUint16(at);
  return total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** Of the segment with its pseudo-header: 0xffff where the checksum in it is right. */
function segmentSum(frame: number): number {
  const end = frame + LENGTH;
  return fold(sum(frame + IP + 12, end) + PROTOCOL.tcp + (end - frame - TCP));
}

function seal(frame: number): void {
  view.setUint16(frame + IP + 10, 0);
  view.setUint16(frame + IP + 10, ~fold(sum(frame + IP, frame + TCP)) & 0xffff);
  view.setUint16(frame + TCP + 16, 0);
  view.setUint16(frame + TCP + 16, ~segmentSum(frame) & 0xffff);
}

let random = 0x9e3779b9 ^ Math.imul(index + 1, 0x85ebca6b);
function chance(below: number): number {
  random ^= random << 13;
  random ^= random >>> 17;
  random ^= random << 5;
  return (random >>> 0) % below;
}

function fail(text: string, frame?: number): never {
  const hex = frame === undefined ? "" : Buffer.from(bytes.slice(frame + ETHERNET, frame + LENGTH)).toString("hex");
  throw new Error(`worker ${index}: ${text} ${hex}`);
}

/** Fills the next empty slot; false when there is none. */
function put(frameShape: Uint8Array, port: number, change: (frame: number) => void, what: Pending): boolean {
  const supply = word(queue + Worker.SUPPLY_COUNT);
  if (supply === 0) return false;
  const slot = word(queue + Worker.SUPPLY + 4 * (supply - 1));
  view.setUint32(queue + Worker.SUPPLY_COUNT, supply - 1, true);
  const frame = slot + Slot.FRAME_AT;
  bytes.set(frameShape, frame);
  change(frame);
  // Which frame of which breath it is: how it is known again on its way out.
  view.setUint32(frame + DATA, report.frames);
  view.setUint32(frame + DATA + 4, index * 0x1000000 + pending.length);
  seal(frame);
  view.setUint32(slot + Slot.FRAME, frame, true);
  view.setUint32(slot + Slot.LENGTH, LENGTH, true);
  view.setUint32(slot + Slot.PORT_IN, port, true);
  const received = word(queue + Worker.RECEIVED_COUNT);
  view.setUint32(queue + Worker.RECEIVED + 4 * received, slot, true);
  view.setUint32(queue + Worker.RECEIVED_COUNT, received + 1, true);
  pending.push(what);
  report.frames++;
  return true;
}

function putClient(service: number, flow: number, kind: "syn" | "data"): boolean {
  const change = (frame: number) => {
    bytes[frame + IP + 13] = index;
    bytes[frame + IP + 14] = flow >> 14;
    view.setUint16(frame + TCP, CLIENT_PORT + (flow & 0x3fff));
    view.setUint16(frame + TCP + 2, data.services[service]!);
    bytes[frame + TCP + 13] = kind === "syn" ? FLAG.syn : FLAG.ack | FLAG.psh;
  };
  return put(CLIENT_SIDE, data.ports.ext, change, { service, flow, kind, owner: index, seen: false });
}

/** Rings of one writer and one reader each: [written, read, entries...]; an entry is service, server and flow. */
const PLACES = MAILBOX - 2;
const before = (index + workers - 1) % workers;
const outbox = new Uint32Array(data.mailboxes, index * MAILBOX * 4, MAILBOX);
const inbox = new Uint32Array(data.mailboxes, before * MAILBOX * 4, MAILBOX);

function post(service: number, server: number, flow: number): void {
  const written = Atomics.load(outbox, 0);
  if (written - Atomics.load(outbox, 1) >= PLACES) return;
  outbox[2 + (written % PLACES)] = (service << 31) | (server << 28) | flow;
  Atomics.store(outbox, 0, written + 1);
}

function putReplies(most: number): void {
  for (let n = 0; n < most; n++) {
    const read = Atomics.load(inbox, 1);
    if (read === Atomics.load(inbox, 0)) return;
    const entry = inbox[2 + (read % PLACES)]!;
    const [service, server, flow] = [entry >>> 31, (entry >>> 28) & 7, entry & 0xfffffff] as const;
    const change = (frame: number) => {
      bytes.set(servers[service]![server]!, frame + IP + 12);
      bytes[frame + IP + 17] = before;
      bytes[frame + IP + 18] = flow >> 14;
      view.setUint16(frame + TCP + 2, CLIENT_PORT + (flow & 0x3fff));
      view.setUint16(frame + TCP, SERVER_PORT + service);
    };
    if (!put(SERVER_SIDE, data.ports.int, change, { service, flow, kind: "reply", owner: before, seen: false })) return;
    Atomics.store(inbox, 1, read + 1);
  }
}

const same = (at: number, address: readonly number[]) => address.every((octet, n) => bytes[at + n] === octet);

function checkForwarded(frame: number, what: Pending, port: number): void {
  const { service, flow, kind, owner } = what;
  const isReply = kind === "reply";
  if (port !== (isReply ? data.ports.ext : data.ports.int)) fail(`${kind} left by the wrong port`, frame);
  if (fold(sum(frame + IP, frame + TCP)) !== 0xffff) fail("IP checksum", frame);
  if (segmentSum(frame) !== 0xffff) fail("TCP checksum", frame);
  if (!same(frame + IP + (isReply ? 16 : 12), [10, owner, flow >> 14, 1])) fail(`${kind} of another client`, frame);
  if (view.getUint16(frame + TCP + (isReply ? 2 : 0)) !== CLIENT_PORT + (flow & 0x3fff)) {
    fail(`${kind} of another client's port`, frame);
  }
  if (isReply) {
    if (!same(frame + IP + 12, vip) || view.getUint16(frame + TCP) !== data.services[service]) {
      fail("an answer that does not come from its service", frame);
    }
    report.replies++;
    return;
  }
  const server = servers[service]!.findIndex((address) => same(frame + IP + 16, address));
  if (server < 0 || view.getUint16(frame + TCP + 2) !== SERVER_PORT + service) fail("to nobody's server", frame);
  if (kind === "syn") {
    pinned[service]![flow] = 1 + server;
    report.begun[service]!++;
  } else if (pinned[service]![flow] !== 1 + server)
    fail(`a flow of ${pinned[service]![flow]! - 1}, to ${server}`, frame);
  report.forwarded[service]!++;
  post(service, server, flow);
}

function checkOutputs(count: number): void {
  for (let n = 0; n < count; n++) {
    const slot = word(queue + Worker.SEND + 4 * n);
    const frame = word(slot + Slot.FRAME);
    const port = word(slot + Slot.PORT_OUT);
    report.outputs++;
    if (view.getUint16(frame + ETHERNET + 12) === ARP) {
      report.announcements++;
      continue;
    }
    if (word(slot + Slot.LENGTH) !== LENGTH) {
      // Nobody listens: what a host says, to the client that asked.
      if (port !== data.ports.ext || !same(frame + IP + 16, [10, index])) fail("an answer to somebody else", frame);
      const protocol = bytes[frame + IP + 9]!;
      if (protocol === PROTOCOL.icmp) report.unreachable++;
      else if (protocol === PROTOCOL.tcp && (bytes[frame + TCP + 13]! & FLAG.rst) !== 0) report.resets++;
      else fail("an answer of no known kind", frame);
      continue;
    }
    const mark = view.getUint32(frame + DATA + 4);
    const what = pending[mark & 0xffffff];
    if (mark >>> 24 !== index || what === undefined) fail("a frame that was not put in", frame);
    if (what.seen) fail("a frame that came out twice", frame);
    what.seen = true;
    checkForwarded(frame, what, port);
  }
}

/** Only what the test takes away may cost a frame. */
function checkMissing(): void {
  for (const { service, flow, kind, seen } of pending) {
    if (seen) continue;
    report.drops++;
    const server = pinned[service]![flow]! - 1;
    if (service === 0 && kind === "syn") fail(`the SYN of flow ${flow} is lost`);
    if (service === 0 && kind === "data" && server < data.stable) fail(`flow ${flow} to server ${server} lost a frame`);
    if (kind === "reply") fail(`an answer of service ${service}, flow ${flow} is lost`);
  }
}

function breathe(): number {
  return core.run(index, data.now + Math.floor((performance.timeOrigin + performance.now() - data.origin) / 4)) >>> 0;
}

function breath(): void {
  pending = [];
  const size = 1 + chance(BATCH);
  putReplies(size);
  for (let tries = 0; pending.length < size && tries < 2 * BATCH; tries++) {
    const service = chance(4) === 0 ? 1 : 0;
    const known = begun[service]!;
    if (known < data.flows && (known === 0 || chance(3) === 0)) {
      if (!putClient(service, known, "syn")) break;
      begun[service] = known + 1;
    } else {
      const flow = chance(known);
      // Not one of this very breath, nor one whose SYN nobody took.
      if (pinned[service]![flow] !== 0 && !putClient(service, flow, "data")) break;
    }
  }
  const count = breathe();
  if (word(queue + Worker.RECEIVED_COUNT) !== 0) fail("frames were left behind");
  checkOutputs(count);
  checkMissing();
}

try {
  breath();
  parentPort!.postMessage("ready");
  while (Atomics.load(data.control, 0) === 0) breath();
  // The slots of the last breath come back; a change of the last moment may still be announced.
  for (let n = 0; n < 2; n++) {
    pending = [];
    checkOutputs(breathe());
  }
  parentPort!.postMessage(report);
} catch (error) {
  parentPort!.postMessage({ failure: (error as Error).stack ?? String(error) });
}
