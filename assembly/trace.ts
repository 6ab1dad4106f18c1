/**
 * What the core decided, told to whoever asked (layout/trace). While nobody does, a breath loads one word and a frame
 * another one, and that is all.
 *
 * The record of a frame begins when its turn does; stages note in it what they decide, and when the frame's turn ends,
 * its verdict and all that its turn put into the send queue are added. Whether anybody wants it is decided last: filters
 * may ask for what was decided.
 */
import * as Connection from "./layout/connection";
import * as Errno from "./layout/errno";
import * as Memory from "./layout/memory";
import * as Port from "./layout/port";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Slot from "./layout/slot";
import * as Trace from "./layout/trace";
import * as Verdict from "./layout/verdict";
import * as Worker from "./layout/worker";
import { cold, extend, extension } from "./table/connection";
import { now, setWord, word } from "./table/memory";
import { isLink } from "./table/port";
import { clearKey, isSound, readKey, takes } from "./trace-filter";
import { copy16 } from "./wire/bytes";
import * as Vnet from "./wire/virtionet";

const GONE: u32 = 0xff;
/** A trace may tell of a tenth of a second's records at once, and of so many in any case. */
const BURST_LEAST: u32 = 16;

function region(): usize {
  return <usize>word(Memory.TRACE_BASE);
}

function traceAt(number: u32): usize {
  return region() + Trace.TRACES + <usize>(number * Trace.TRACE_SIZE);
}

function programAt(number: u32): usize {
  return region() + Trace.PROGRAMS + <usize>(number * Trace.PROGRAM_SIZE);
}

function isOn(number: u32): bool {
  return (word(Memory.TRACE_ON) & (1 << number)) !== 0;
}

function count32(at: usize): void {
  store<u32>(at, load<u32>(at) + 1);
}

/** Fills a trace's bucket up; whether it may tell of one more. */
function mayTell(trace: usize): bool {
  const rate = load<u32>(trace, Trace.RATE);
  if (rate === 0) return true;
  const burst = rate / 10 < BURST_LEAST ? BURST_LEAST : rate / 10;
  const elapsed = now() - load<u32>(trace, Trace.TOKENS_TICK);
  const earned = (<u64>elapsed * <u64>rate) / Memory.TICKS_PER_SECOND;
  if (earned !== 0) {
    const tokens = <u64>load<u32>(trace, Trace.TOKENS) + earned;
    store<u32>(trace, tokens > <u64>burst ? burst : <u32>tokens, Trace.TOKENS);
    store<u32>(trace, now(), Trace.TOKENS_TICK);
  }
  return load<u32>(trace, Trace.TOKENS) !== 0;
}

/** How much of a frame the traces want that may still tell of it. */
function wantedBytes(): u32 {
  let most: u32 = 0;
  for (let i: u32 = 0; i < <u32>Trace.TRACE_COUNT; i++) {
    if (!isOn(i)) continue;
    const trace = traceAt(i);
    const snap = load<u32>(trace, Trace.SNAP);
    if (snap > most && mayTell(trace)) most = snap;
  }
  return most;
}

function padded(length: u32): u32 {
  return (length + 7) & ~7;
}

/** Room for a record of `size` bytes (a multiple of 8) in the ring, 0 when there is none. */
function reserve(size: u32): usize {
  const base = region();
  const ring = base + Trace.RING;
  const capacity = (word(Memory.TRACE_CAPACITY) - Trace.RING) & ~7;
  const head = load<u32>(base, Trace.HEAD);
  const tail = atomic.load<u32>(base, Trace.TAIL) & ~7;
  if (tail > head) return head + size < tail ? ring + <usize>head : 0;
  if (head + size < capacity || (head + size === capacity && tail !== 0)) return ring + <usize>head;
  // Not up to the end, then from the beginning.
  if (size >= tail) return 0;
  store<u32>(ring + <usize>head, capacity - head);
  store<u8>(ring + <usize>head, Trace.KIND_WRAP, Trace.KIND);
  return ring;
}

/** The record that lies at `at` is whole: the host may read it. */
function publish(at: usize, size: u32): void {
  const base = region();
  const capacity = (word(Memory.TRACE_CAPACITY) - Trace.RING) & ~7;
  const end = <u32>(at - base - Trace.RING) + size;
  store<u32>(at, size, Trace.SIZE);
  atomic.store<u32>(base + Trace.HEAD, end === capacity ? 0 : end);
}

/** Tells of a record, if anybody wants it. `sent`: the slot that leaves, or 0. `before`: the bytes that came. */
function tell(record: usize, before: usize, sent: usize): void {
  const base = region();
  const keyAfter = base + Trace.KEY_AFTER;
  if (sent !== 0) noteSent(record, sent);
  else clearKey(keyAfter);
  // What is made here did not come: nothing that is asked of a frame is true of none, nor is its contrary.
  const came = load<u32>(base + Trace.KEY_BEFORE, Trace.KEY_LENGTH) !== 0;
  let mask: u32 = 0;
  let snap: u32 = 0;
  for (let i: u32 = 0; i < <u32>Trace.TRACE_COUNT; i++) {
    if (!isOn(i)) continue;
    const trace = traceAt(i);
    const length = load<u32>(trace, Trace.LENGTH);
    const program = programAt(i);
    const wanted =
      (came && takes(program, length, base + Trace.KEY_BEFORE, record)) ||
      (sent !== 0 && takes(program, length, keyAfter, record));
    if (!wanted) continue;
    if (!mayTell(trace)) {
      count32(trace + Trace.LIMITED);
      continue;
    }
    mask |= 1 << i;
    if (load<u32>(trace, Trace.SNAP) > snap) snap = load<u32>(trace, Trace.SNAP);
  }
  if (mask === 0) return;
  const kept = load<u32>(record, Trace.BEFORE_KEPT);
  const keptBefore = kept < snap ? kept : snap;
  const wire = load<u32>(record, Trace.AFTER_LENGTH);
  const keptAfter = sent === 0 ? 0 : wire < snap ? wire : snap;
  const size = Trace.RECORD_SIZE + padded(keptBefore) + padded(keptAfter);
  const at = reserve(size);
  for (let i: u32 = 0; i < <u32>Trace.TRACE_COUNT; i++) {
    if ((mask & (1 << i)) === 0) continue;
    const trace = traceAt(i);
    if (at === 0) count32(trace + Trace.LOST);
    else if (load<u32>(trace, Trace.RATE) !== 0) store<u32>(trace, load<u32>(trace, Trace.TOKENS) - 1, Trace.TOKENS);
  }
  if (at === 0) return;
  store<u32>(record, keptBefore, Trace.BEFORE_KEPT);
  store<u32>(record, keptAfter, Trace.AFTER_KEPT);
  store<u8>(record, <u8>mask, Trace.MASK);
  store<u8>(record, Trace.KIND_FRAME, Trace.KIND);
  memory.copy(at, record, Trace.RECORD_SIZE);
  memory.copy(at + Trace.RECORD_SIZE, before, <usize>keptBefore);
  if (sent !== 0) copyFrame(at + Trace.RECORD_SIZE + <usize>padded(keptBefore), sent, keptAfter);
  publish(at, size);
}

/** The first bytes of a frame that is to be sent, its body behind its header. */
function copyFrame(to: usize, slot: usize, length: u32): void {
  const head = load<u32>(slot, Slot.LENGTH) - Vnet.SIZE;
  const first = length < head ? length : head;
  memory.copy(to, <usize>load<u32>(slot, Slot.FRAME) + Vnet.SIZE, <usize>first);
  if (length > first) memory.copy(to + <usize>first, <usize>load<u32>(slot, Slot.BODY), <usize>(length - first));
}

function copyVnet(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u32>(to, load<u32>(from, 8), 8);
}

function noteSent(record: usize, slot: usize): void {
  const frame = <usize>load<u32>(slot, Slot.FRAME);
  const length = load<u32>(slot, Slot.LENGTH);
  const port = <usize>load<u32>(slot, Slot.PORT_OUT);
  store<u32>(record, length - Vnet.SIZE + load<u32>(slot, Slot.BODY_LENGTH), Trace.AFTER_LENGTH);
  store<u8>(record, <u8>(load<u32>(port, Port.NUMBER) + 1), Trace.PORT_OUT);
  copyVnet(record + Trace.AFTER_VNET, frame);
  copy16(record + Trace.NEXT_HOP, slot + Slot.NEXT_HOP);
  store<u32>(record, load<u32>(slot, Slot.MTU), Trace.MTU);
  readKey(region() + Trace.KEY_AFTER, frame + Vnet.SIZE, frame + <usize>length, isLink(port));
}

function begin(record: usize, queue: usize): void {
  memory.fill(record, 0, Trace.RECORD_SIZE);
  store<u32>(record, now(), Trace.TICK);
  // Before the first breath nobody has a queue.
  if (queue === 0) return;
  const first = <usize>word(Memory.WORKERS_BASE);
  store<u8>(record, <u8>((queue - first) / Worker.SIZE), Trace.WORKER);
  store<u64>(record, load<u64>(queue, Worker.CLOCK), Trace.TIME);
}

function setPortIn(record: usize, port: usize): void {
  if (port !== 0) store<u8>(record, <u8>(load<u32>(port, Port.NUMBER) + 1), Trace.PORT_IN);
}

/** A frame's turn begins. */
export function beginFrame(queue: usize, slot: usize): void {
  const base = region();
  const record = base + Trace.PENDING;
  begin(record, queue);
  const port = <usize>load<u32>(slot, Slot.PORT_IN);
  setPortIn(record, port);
  const frame = <usize>load<u32>(slot, Slot.FRAME);
  const whole = load<u32>(slot, Slot.LENGTH);
  const length: u32 = whole < <u32>Vnet.SIZE ? 0 : whole > <u32>Slot.FRAME_MAX ? Slot.FRAME_MAX : whole - Vnet.SIZE;
  if (length !== 0) copyVnet(record + Trace.BEFORE_VNET, frame);
  const wanted = wantedBytes();
  const kept = length < wanted ? length : wanted;
  memory.copy(base + Trace.BEFORE, frame + Vnet.SIZE, <usize>kept);
  store<u32>(record, length, Trace.BEFORE_LENGTH);
  store<u32>(record, kept, Trace.BEFORE_KEPT);
  readKey(base + Trace.KEY_BEFORE, frame + Vnet.SIZE, frame + Vnet.SIZE + <usize>length, isLink(port));
  store<u32>(record, load<u32>(queue, Worker.SEND_COUNT), Trace.SENT_BEFORE);
  store<u32>(record, <u32>slot, Trace.FRAME_SLOT);
  setWord(Memory.TRACE_FRAME, <u32>record);
}

function sentAt(queue: usize, place: u32): usize {
  return <usize>load<u32>(queue + ((<usize>place) << 2), Worker.SEND);
}

function isGenerated(slot: usize): bool {
  return (load<u16>(slot, Slot.FLAGS) & Slot.GENERATED) !== 0;
}

/** Of what the turn sent, the frame itself, or its first piece: its place in the queue, or `to` when it was not sent. */
function ownPlace(queue: usize, from: u32, to: u32, verdict: i32): u32 {
  if (verdict !== Verdict.FORWARD && verdict !== Verdict.LOCAL) return to;
  for (let i = from; i < to; i++) {
    if (!isGenerated(sentAt(queue, i))) return i;
  }
  return verdict === Verdict.FORWARD ? from : to;
}

/** A frame's turn ends. */
export function endFrame(queue: usize, slot: usize, verdict: i32): void {
  const base = region();
  const record = base + Trace.PENDING;
  const from = load<u32>(record, Trace.SENT_BEFORE);
  const to = load<u32>(queue, Worker.SEND_COUNT);
  const own = ownPlace(queue, from, to, verdict);
  setWord(Memory.TRACE_FRAME, 0);
  let flags = load<u32>(record, Trace.FLAGS);
  const connection = <usize>load<u32>(record, Trace.CONNECTION);
  if (connection !== 0) {
    const used = (load<u32>(connection, Connection.FLAGS) & Connection.FLAG_USED) !== 0;
    store<u8>(record, used ? load<u8>(connection, Connection.STATE) : <u8>GONE, Trace.STATE_AFTER);
  }
  if (verdict === Verdict.WAIT) {
    flags |= Trace.FLAG_WAITED;
    copy16(record + Trace.NEXT_HOP, slot + Slot.NEXT_HOP);
  }
  if (verdict !== Verdict.DROP) store<u8>(record, 0, Trace.REASON);
  store<u8>(record, <u8>verdict, Trace.VERDICT);
  let sent: usize = 0;
  if (own < to) {
    sent = sentAt(queue, own);
    store<u32>(record, load<u32>(sent, Slot.MARK), Trace.PACKET_MARK);
    if (load<u16>(sent, Slot.FRAGMENT_LARGEST) !== 0) flags |= Trace.FLAG_WHOLE;
    if (isGenerated(sent)) flags |= Trace.FLAG_PIECE;
  }
  store<u32>(record, flags, Trace.FLAGS);
  tell(record, base + Trace.BEFORE, sent);
  clearKey(base + Trace.KEY_BEFORE);
  for (let i = from; i < to; i++) {
    if (i === own) continue;
    const other = sentAt(queue, i);
    const piece = verdict === Verdict.FORWARD && own < to;
    tellSent(
      queue,
      other,
      piece ? Trace.FLAG_PIECE | Trace.FLAG_MADE : isGenerated(other) ? Trace.FLAG_MADE : Trace.FLAG_WAITED,
    );
  }
}

/** A frame that leaves without having come just now: made here, or one that had waited. */
function tellSent(queue: usize, slot: usize, flags: u32): void {
  const record = region() + Trace.OTHER;
  begin(record, queue);
  store<u32>(record, flags, Trace.FLAGS);
  store<u8>(record, Verdict.FORWARD, Trace.VERDICT);
  if ((flags & Trace.FLAG_WAITED) !== 0) setPortIn(record, <usize>load<u32>(slot, Slot.PORT_IN));
  tell(record, 0, slot);
}

/** How many frames are in the send queue of the worker whose breath it is. */
export function queued(): u32 {
  return load<u32>(<usize>word(Memory.CURRENT_QUEUE), Worker.SEND_COUNT);
}

/** What the timers sent, from place `from` of the send queue on. */
export function traceTimers(from: u32): void {
  const queue = <usize>word(Memory.CURRENT_QUEUE);
  clearKey(region() + Trace.KEY_BEFORE);
  const to = load<u32>(queue, Worker.SEND_COUNT);
  for (let i = from; i < to; i++) {
    const slot = sentAt(queue, i);
    tellSent(queue, slot, Trace.FLAG_TIMER | (isGenerated(slot) ? Trace.FLAG_MADE : Trace.FLAG_WAITED));
  }
}

/** A frame is dropped: the one under way, or another one that waited for its neighbour. */
export function noteDrop(slot: usize, reason: i32): void {
  if (word(Memory.TRACE_ON) === 0 || isGenerated(slot)) return;
  if (load<u32>(slot, Slot.SINCE) === 0) {
    if (word(Memory.TRACE_FRAME) !== 0) store<u8>(region() + Trace.PENDING, <u8>reason, Trace.REASON);
    return;
  }
  // The frame under way has its key still to be looked at: this one is told of by what was decided alone.
  const base = region();
  const record = base + Trace.OTHER;
  begin(record, <usize>word(Memory.CURRENT_QUEUE));
  setPortIn(record, <usize>load<u32>(slot, Slot.PORT_IN));
  store<u32>(record, Trace.FLAG_WAITED, Trace.FLAGS);
  store<u8>(record, Verdict.DROP, Trace.VERDICT);
  store<u8>(record, <u8>reason, Trace.REASON);
  copy16(record + Trace.NEXT_HOP, slot + Slot.NEXT_HOP);
  memory.copy(base + Trace.KEY_HELD, base + Trace.KEY_BEFORE, Trace.KEY_SIZE);
  const link = isLink(<usize>load<u32>(slot, Slot.PORT_IN));
  const start = <usize>load<u32>(slot, Slot.IP) - (link ? <usize>load<u32>(slot, Slot.LINK_LENGTH) : 0);
  readKey(base + Trace.KEY_BEFORE, start, <usize>load<u32>(slot, Slot.END), link);
  tell(record, 0, 0);
  memory.copy(base + Trace.KEY_BEFORE, base + Trace.KEY_HELD, Trace.KEY_SIZE);
}

/** The frame under way belongs to this service. */
export function noteService(service: usize): void {
  const record = <usize>word(Memory.TRACE_FRAME);
  if (record === 0 || service === 0) return;
  setFlags(record, Trace.FLAG_SERVICE);
  store<u8>(record, load<u8>(service, Service.FAMILY), Trace.SERVICE_FAMILY);
  store<u8>(record, load<u8>(service, Service.PROTOCOL), Trace.SERVICE_PROTOCOL);
  store<u8>(record, load<u8>(service, Service.SCHEDULER), Trace.SERVICE_SCHEDULER);
  store<u16>(record, load<u16>(service, Service.PORT), Trace.SERVICE_PORT);
  store<u32>(record, load<u32>(service, Service.MARK), Trace.SERVICE_MARK);
  copy16(record + Trace.SERVICE_ADDRESS, service + Service.ADDRESS);
}

function setFlags(record: usize, flags: u32): void {
  store<u32>(record, load<u32>(record, Trace.FLAGS) | flags, Trace.FLAGS);
}

/** A connection's ends, as they are now. */
function copyEnds(record: usize, connection: usize): void {
  const flags = load<u32>(connection, Connection.FLAGS);
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  const more = extension(connection);
  if ((flags & Connection.FLAG_IPV6) !== 0 && more !== 0) {
    copy16(record + Trace.CLIENT, more + Connection.EXTENSION_CLIENT);
    copy16(record + Trace.VIRTUAL, more + Connection.EXTENSION_VIRTUAL);
    copy16(record + Trace.SERVER, more + Connection.EXTENSION_SERVER);
  } else {
    store<u32>(record, load<u32>(connection, Connection.CLIENT_ADDRESS), Trace.CLIENT);
    store<u32>(record, load<u32>(connection, Connection.VIRTUAL_ADDRESS), Trace.VIRTUAL);
    store<u32>(record, load<u32>(connection, Connection.SERVER_ADDRESS), Trace.SERVER);
  }
  store<u8>(record, <u8>family, Trace.CONNECTION_FAMILY);
  store<u8>(record, <u8>family, Trace.SERVER_FAMILY);
  const server = <usize>load<u32>(connection, Connection.SERVER);
  if (server !== 0 && <u32>load<u8>(server, Server.FAMILY) !== family) {
    store<u8>(record, load<u8>(server, Server.FAMILY), Trace.SERVER_FAMILY);
    copy16(record + Trace.SERVER, server + Server.ADDRESS);
  }
  store<u8>(record, load<u8>(connection, Connection.PROTOCOL), Trace.PROTOCOL);
  store<u16>(record, load<u16>(connection, Connection.CLIENT_PORT), Trace.CLIENT_PORT);
  store<u16>(record, load<u16>(connection, Connection.VIRTUAL_PORT), Trace.VIRTUAL_PORT);
  store<u16>(record, load<u16>(connection, Connection.SERVER_PORT), Trace.SERVER_PORT);
  store<u32>(record, load<u32>(cold(connection), Connection.COLD_LOCAL), Trace.LOCAL);
  store<u32>(record, flags, Trace.CONNECTION_FLAGS);
  store<u32>(record, <u32>connection, Trace.CONNECTION);
}

/** What a packet of a connection costs while nobody looks: one load, of a word that stays in the cache. */
export function observe(slot: usize, connection: usize, how: u32): void {
  const sampled = load<u32>(connection, Connection.FLAGS) & Connection.FLAG_SAMPLED;
  if ((word(Memory.TRACE_FRAME) | sampled) !== 0) notePacket(slot, connection, how);
}

function notePacket(slot: usize, connection: usize, how: u32): void {
  const record = <usize>word(Memory.TRACE_FRAME);
  if (record !== 0) {
    copyEnds(record, connection);
    store<u8>(record, load<u8>(connection, Connection.STATE), Trace.STATE_BEFORE);
    const controlled = load<u32>(connection, Connection.CONTROL) !== 0;
    const ours = (<u32>load<u16>(slot, Slot.FLAGS) & Slot.TO_DIRECTOR) !== 0;
    setFlags(record, how | (controlled ? Trace.FLAG_CONTROLLED : 0) | (ours ? Trace.FLAG_TO_DIRECTOR : 0));
    const server = <usize>load<u32>(connection, Connection.SERVER);
    if (server !== 0) noteService(<usize>load<u32>(server, Server.SERVICE));
  }
  if ((load<u32>(connection, Connection.FLAGS) & Connection.FLAG_SAMPLED) === 0) return;
  const more = extension(connection);
  if (more === 0) return;
  const bytes = <u64>(load<u32>(slot, Slot.END) - load<u32>(slot, Slot.IP));
  const inward = (how & Trace.FLAG_FROM_CLIENT) !== 0;
  const bytesAt = more + <usize>(inward ? Connection.EXTENSION_IN_BYTES : Connection.EXTENSION_OUT_BYTES);
  store<u64>(bytesAt, load<u64>(bytesAt) + bytes);
  count32(more + <usize>(inward ? Connection.EXTENSION_IN_PACKETS : Connection.EXTENSION_OUT_PACKETS));
}

/** A connection or a template was made. */
export function noteCreated(connection: usize): void {
  if ((word(Memory.TRACE_FRAME) | word(Memory.TRACE_SAMPLE)) !== 0) tellCreated(connection);
}

function tellCreated(connection: usize): void {
  const template = (load<u32>(connection, Connection.FLAGS) & Connection.FLAG_TEMPLATE) !== 0;
  const record = <usize>word(Memory.TRACE_FRAME);
  if (record !== 0) setFlags(record, template ? Trace.FLAG_TEMPLATE_CREATED : Trace.FLAG_CREATED);
  const sample = word(Memory.TRACE_SAMPLE);
  if (sample === 0 || template) return;
  const base = region();
  const number = load<u32>(base, Trace.OPENED);
  store<u32>(base, number + 1, Trace.OPENED);
  if (number % sample !== 0) return;
  store<u32>(connection, load<u32>(connection, Connection.FLAGS) | Connection.FLAG_SAMPLED, Connection.FLAGS);
  const more = extend(connection);
  if (more !== 0) {
    memory.fill(more + Connection.EXTENSION_IN_BYTES, 0, Connection.EXTENSION_NUMBER - Connection.EXTENSION_IN_BYTES);
    store<u32>(more, number, Connection.EXTENSION_NUMBER);
  }
  tellConnection(connection, Trace.KIND_OPEN, number);
}

/** A connection or a template ends. */
export function noteEnded(connection: usize): void {
  const sampled = load<u32>(connection, Connection.FLAGS) & Connection.FLAG_SAMPLED;
  if ((word(Memory.TRACE_FRAME) | sampled) === 0) return;
  const record = <usize>word(Memory.TRACE_FRAME);
  if (record !== 0) setFlags(record, Trace.FLAG_ENDED);
  if (sampled === 0 || word(Memory.TRACE_SAMPLE) === 0) return;
  const more = extension(connection);
  tellConnection(connection, Trace.KIND_CLOSE, more === 0 ? 0 : load<u32>(more, Connection.EXTENSION_NUMBER));
}

function tellConnection(connection: usize, kind: i32, number: u32): void {
  const at = reserve(Trace.RECORD_SIZE);
  if (at === 0) {
    count32(region() + Trace.EVENTS_LOST);
    return;
  }
  begin(at, <usize>word(Memory.CURRENT_QUEUE));
  copyEnds(at, connection);
  store<u8>(at, <u8>kind, Trace.KIND);
  store<u8>(at, load<u8>(connection, Connection.STATE), Trace.STATE_AFTER);
  store<u32>(at, number, Trace.NUMBER);
  store<u32>(at, now() - load<u32>(cold(connection), Connection.COLD_SINCE), Trace.LIVED);
  const more = extension(connection);
  if (more === 0) {
    memory.fill(at + Trace.IN_PACKETS, 0xff, Trace.LIVED - Trace.IN_PACKETS);
  } else {
    store<u64>(at, <u64>load<u32>(more, Connection.EXTENSION_IN_PACKETS), Trace.IN_PACKETS);
    store<u64>(at, <u64>load<u32>(more, Connection.EXTENSION_OUT_PACKETS), Trace.OUT_PACKETS);
    store<u64>(at, load<u64>(more, Connection.EXTENSION_IN_BYTES), Trace.IN_BYTES);
    store<u64>(at, load<u64>(more, Connection.EXTENSION_OUT_BYTES), Trace.OUT_BYTES);
  }
  publish(at, Trace.RECORD_SIZE);
}

function fail(errno: i32): u32 {
  return <u32>-errno;
}

/** Starts trace `number` with the program in the request record, `length` bytes. Under the lock. */
export function traceStart(number: u32, length: u32, snap: u32, rate: u32): u32 {
  if (number >= <u32>Trace.TRACE_COUNT || snap > <u32>Slot.FRAME_MAX) return fail(Errno.EINVAL);
  if (word(Memory.TRACE_CAPACITY) < <u32>(Trace.RING + 4 * Trace.RECORD_SIZE)) return fail(Errno.ENOSPC);
  const program = <usize>word(Memory.REQUEST_BASE);
  if (!isSound(program, length)) return fail(Errno.EINVAL);
  memory.copy(programAt(number), program, <usize>length);
  const trace = traceAt(number);
  memory.fill(trace, 0, Trace.TRACE_SIZE);
  store<u32>(trace, length, Trace.LENGTH);
  store<u32>(trace, snap, Trace.SNAP);
  store<u32>(trace, rate, Trace.RATE);
  store<u32>(trace, rate / 10 < BURST_LEAST ? BURST_LEAST : rate / 10, Trace.TOKENS);
  store<u32>(trace, now(), Trace.TOKENS_TICK);
  setWord(Memory.TRACE_ON, word(Memory.TRACE_ON) | (1 << number));
  return 0;
}

export function traceStop(number: u32): u32 {
  if (number >= <u32>Trace.TRACE_COUNT) return fail(Errno.EINVAL);
  setWord(Memory.TRACE_ON, word(Memory.TRACE_ON) & ~(1 << number));
  return 0;
}

/** Every how manieth new connection is told of; 0 for none. */
export function traceSample(every: u32): u32 {
  setWord(Memory.TRACE_SAMPLE, every);
  return 0;
}
