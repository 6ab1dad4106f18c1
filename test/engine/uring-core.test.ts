import { afterEach, describe, expect, it } from "vitest";
import * as Counters from "../../assembly/layout/counters.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as Uring from "../../assembly/layout/uring.js";
import * as Worker from "../../assembly/layout/worker.js";
import { FLAGS_ACK, FLAGS_SYN, FrameWriter } from "../../host/bench/frames.js";
import type { Core } from "../../host/core/instance.js";
import { describeRing } from "../../host/engine/transport-uring.js";
import { Random } from "../fuzz/random.js";
import { ringDirector } from "../support/ring-director.js";

/** Where the memory seems to lie: the core must add it to every address. */
const BASE = 0x7f12_3456_0000;
/** Places in the ring's table of descriptors. */
const EVENT_FD = 0;
const FDS = [1, 2];
const EIO = 5;
const EBADFD = 77;
const ENOBUFS = 105;
const ECANCELED = 125;
const OFFSETS = {
  submitHead: 0,
  submitTail: 4,
  submitFlags: 8,
  completeHead: 12,
  completeTail: 16,
  completeMask: 20,
  completions: 64,
  completionCount: Uring.COMPLETIONS,
};

interface Written {
  readonly fd: number;
  readonly bytes: Buffer;
}

/** The kernel's side of a ring, with every fault that it may show. */
class FakeKernel {
  readonly written: Written[] = [];
  readonly armed = [false, false];
  watching = false;
  armings = 0;
  /** Fails the next write with that errno; negative: only so many bytes of it were taken. */
  writeFault = () => 0;
  private readonly words: Uint32Array;
  private readonly halves: Uint16Array;
  private readonly block: number;
  private readonly view: DataView;
  private readonly taken = [0, 0];

  constructor(memory: WebAssembly.Memory, block: number) {
    this.words = new Uint32Array(memory.buffer);
    this.halves = new Uint16Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.block = block;
    this.ring(OFFSETS.completeMask, Uring.COMPLETIONS - 1);
  }

  ring(at: number, value?: number): number {
    const index = (this.block + Uring.RINGS + at) >>> 2;
    if (value !== undefined) Atomics.store(this.words, index, value);
    return this.words[index]!;
  }

  complete(kind: number, number: number, result: number, flags = 0): void {
    const tail = this.ring(OFFSETS.completeTail);
    expect((tail - this.ring(OFFSETS.completeHead)) >>> 0).toBeLessThan(Uring.COMPLETIONS);
    const place = tail & (Uring.COMPLETIONS - 1);
    const at = this.block + Uring.RINGS + OFFSETS.completions + place * Uring.COMPLETION_SIZE;
    this.view.setUint32(at, (kind << 16) | number, true);
    this.view.setInt32(at + Uring.COMPLETION_RESULT, result, true);
    this.view.setUint32(at + Uring.COMPLETION_FLAGS, flags, true);
    this.ring(OFFSETS.completeTail, (tail + 1) >>> 0);
  }

  /** Consumes at most `count` submissions. */
  submit(count: number, keep: boolean): void {
    const { view } = this;
    for (let n = 0; n < count; n++) {
      const head = this.ring(OFFSETS.submitHead);
      if (head === this.ring(OFFSETS.submitTail)) return;
      const at = this.block + Uring.ENTRIES + (head & (Uring.SUBMISSIONS - 1)) * Uring.ENTRY_SIZE;
      const opcode = view.getUint8(at);
      const fd = view.getInt32(at + Uring.ENTRY_DESCRIPTOR, true);
      const data = view.getUint32(at + Uring.ENTRY_USER_DATA, true);
      const address = Number(view.getBigUint64(at + Uring.ENTRY_ADDRESS, true) - BigInt(BASE));
      const length = view.getUint32(at + Uring.ENTRY_LENGTH, true);
      if (opcode === Uring.WRITE || opcode === Uring.WRITEV) {
        if (view.getUint8(at + Uring.ENTRY_FLAGS) !== (Uring.SKIP_SUCCESS | Uring.FIXED_FILE))
          throw new Error("completions of writes");
        if (view.getUint32(at + Uring.ENTRY_OPERATION_FLAGS, true) !== Uring.RWF_NOWAIT)
          throw new Error("a late write");
        const parts = opcode === Uring.WRITE ? [[address, length] as const] : this.vector(address, length);
        if (keep) this.written.push({ fd, bytes: Buffer.concat(parts.map(([from, size]) => this.bytes(from, size))) });
        const fault = this.writeFault();
        if (fault !== 0) this.complete(data >>> 16, data & 0xffff, -fault);
      } else if (opcode === Uring.READ_MULTISHOT) {
        const group = view.getUint16(at + Uring.ENTRY_GROUP, true);
        if (this.armed[group] || fd !== FDS[group]) throw new Error(`armed twice, or another's: ${group} ${fd}`);
        this.armed[group] = true;
        this.armings++;
      } else if (opcode === Uring.POLL_ADD) {
        if (this.watching || fd !== EVENT_FD) throw new Error("watched twice");
        this.watching = true;
      } else if (opcode === Uring.ASYNC_CANCEL) {
        for (const group of [0, 1]) if (this.armed[group]) this.end(group, -ECANCELED);
        if (this.watching) this.complete(Uring.KIND_EVENT, 0, -ECANCELED);
        this.watching = false;
        this.complete(Uring.KIND_CANCEL, 0, 3);
      } else throw new Error(`operation ${opcode}`);
      this.ring(OFFSETS.submitHead, (head + 1) >>> 0);
    }
  }

  /** A frame comes: into the next buffer, or the reads end without one. */
  deliver(group: number, write: (at: number) => number, more = true): boolean {
    if (!this.armed[group]) return false;
    const ring = this.block + Uring.BUFFER_RINGS + group * Uring.BUFFERS * Uring.BUFFER_SIZE;
    const head = this.taken[group]!;
    if ((head & 0xffff) === this.halves[(ring + Uring.BUFFER_RING_TAIL) >>> 1]) {
      this.end(group, -ENOBUFS);
      return false;
    }
    this.taken[group] = head + 1;
    const buffer = ring + (head & (Uring.BUFFERS - 1)) * Uring.BUFFER_SIZE;
    const address = Number(this.view.getBigUint64(buffer, true) - BigInt(BASE));
    const id = this.view.getUint16(buffer + Uring.BUFFER_ID, true);
    const length = write(address);
    this.complete(Uring.KIND_READ, group, length, (id << 16) | Uring.HAS_BUFFER | (more ? Uring.MORE : 0));
    if (!more) this.armed[group] = false;
    return true;
  }

  end(group: number, result: number): void {
    this.armed[group] = false;
    this.complete(Uring.KIND_READ, group, result);
  }

  private vector(at: number, count: number): Array<readonly [number, number]> {
    return Array.from({ length: count }, (_, n) => [
      Number(this.view.getBigUint64(at + 16 * n, true) - BigInt(BASE)),
      Number(this.view.getBigUint64(at + 16 * n + 8, true)),
    ]);
  }

  private bytes(at: number, length: number): Buffer {
    return Buffer.from(Buffer.from(this.view.buffer, at, length));
  }
}

class Bench {
  readonly memory: WebAssembly.Memory;
  readonly core: Core;
  readonly kernel: FakeKernel;
  readonly writer: FrameWriter;
  readonly records: readonly number[];
  readonly state: number;
  tick = 1000;
  private readonly words: Uint32Array;
  private readonly block: number;

  constructor(slots: number, known: number, capabilities?: number) {
    const { memory, core, records } = ringDirector(slots, {
      known,
      now: this.tick,
      ...(capabilities === undefined ? {} : { capabilities }),
    });
    this.memory = memory;
    this.core = core;
    this.records = records;
    this.words = new Uint32Array(memory.buffer);
    this.writer = new FrameWriter(memory.buffer as SharedArrayBuffer);
    this.block = this.header(Memory.RINGS_BASE);
    this.state = this.block + Uring.STATE;
    this.kernel = new FakeKernel(this.memory, this.block);
    describeRing(this.memory, BASE, OFFSETS, {
      index: 0,
      queues: this.records.map((record, number) => ({
        number,
        name: `p${number}`,
        fd: 40 + number,
        record,
        frameAt: Slot.FRAME_AT,
      })),
      outputs: this.records.map((record, number) => ({ record, fd: 40 + number })),
      eventfd: 99,
    });
  }

  header(at: number): number {
    return this.words[(Memory.LAYOUT_BASE + at) >>> 2]!;
  }

  setHeader(at: number, value: number): void {
    this.words[(Memory.LAYOUT_BASE + at) >>> 2] = value;
  }

  word(at: number): number {
    return this.words[at >>> 2]!;
  }

  counter(at: number): number {
    return this.word(this.header(Memory.COUNTERS_BASE) + at);
  }

  queue(number: number, at: number): number {
    return this.word(this.state + Uring.QUEUE + number * Uring.QUEUE_SIZE + at);
  }

  /** Slots that are somewhere: all of them, if none was lost. Super-frames are not cut here. */
  slots(): number {
    const worker = this.header(Memory.WORKERS_BASE);
    let posted = 0;
    for (let n = 0; n < Uring.SUBMISSIONS; n++) if (this.word(this.block + Uring.POSTED + 4 * n) !== 0) posted++;
    let provided = 0;
    for (let n = 0; n < Uring.QUEUES * Uring.BUFFERS; n++) {
      if (this.word(this.block + Uring.PROVIDED + 4 * n) !== 0) provided++;
    }
    expect(provided).toBe(this.word(this.state + Uring.HELD));
    return (
      this.header(Memory.FREE_SLOT_COUNT) +
      provided +
      posted +
      this.word(worker + Worker.RECEIVED_COUNT) +
      this.word(worker + Worker.SEND_COUNT) +
      this.header(Memory.WAITING)
    );
  }

  /** A breath and the system call after it. */
  turn(keep = false): number {
    const result = this.core.runUring(0, this.tick);
    this.kernel.submit(result & Uring.SUBMIT_MASK, keep);
    return result;
  }

  deliver(group: 0 | 1, flow: number, size = 64, flags = FLAGS_SYN): boolean {
    return this.kernel.deliver(group, (at) => {
      this.writer.put(at, flow, group, size, flags);
      return size + Slot.VNET_SIZE;
    });
  }

  close(): void {
    for (let n = 0; n < 100; n++) {
      const result = this.core.endUring(0);
      if ((result & Uring.BUSY) === 0) return;
      this.kernel.submit(result & Uring.SUBMIT_MASK, false);
    }
    throw new Error("the ring does not end");
  }
}

describe("the core's end of the ring", () => {
  let bench: Bench;
  const open = (slots = 600, known = 4, capabilities?: number) => {
    bench = new Bench(slots, known, capabilities);
    return bench;
  };

  afterEach(() => {
    bench.close();
    // What waits for a neighbour is not the ring's.
    expect(bench.header(Memory.FREE_SLOT_COUNT) + bench.header(Memory.WAITING)).toBe(
      bench.header(Memory.SLOTS_CAPACITY),
    );
  });

  it("reads both queues into slots, watches the eventfd, and sends what it forwards", () => {
    const { kernel } = open();
    bench.turn();
    expect(kernel.armed).toEqual([true, true]);
    expect(kernel.watching).toBe(true);
    expect(bench.queue(0, Uring.QUEUE_HELD)).toBe(128);
    expect(bench.deliver(0, 4, 100)).toBe(true);
    expect(bench.turn(true) & Uring.BUSY).toBe(Uring.BUSY);
    const sent = kernel.written.filter(({ bytes }) => bytes.length === 112);
    expect(sent).toHaveLength(1);
    expect(sent[0]!.fd).toBe(FDS[1]);
    // From its client to a server.
    expect(sent[0]!.bytes.subarray(12 + 14 + 12, 12 + 14 + 20).toString("hex")).toMatch(/^0a000004c0a8020[b-e]$/);
    expect(bench.turn() & Uring.BUSY).toBe(0);
    expect(bench.slots()).toBe(600);
  });

  it("takes a full ring of buffers, and reads on when they are there again", () => {
    const { kernel } = open();
    bench.turn();
    let taken = 0;
    while (bench.deliver(0, 4 * taken)) taken++;
    expect(taken).toBe(128);
    expect(kernel.armed[0]).toBe(false);
    bench.turn();
    expect(kernel.armed[0]).toBe(true);
    expect(bench.deliver(0, 5000)).toBe(true);
  });

  it("keeps few buffers ready for large frames", () => {
    open();
    bench.turn();
    for (let n = 0; n < 200; n++) {
      bench.deliver(0, 4 * n, 65000);
      bench.turn();
    }
    expect(bench.queue(0, Uring.QUEUE_HELD)).toBe(4);
    expect(bench.queue(1, Uring.QUEUE_HELD)).toBe(128);
    for (let n = 0; n < 200; n++) {
      bench.deliver(0, 4 * n, 64);
      bench.turn();
    }
    expect(bench.queue(0, Uring.QUEUE_HELD)).toBe(128);
  });

  it("leaves a device alone for a while whose reads fail, and says so once", () => {
    const { kernel } = open();
    bench.turn();
    kernel.end(1, -EBADFD);
    expect(bench.turn() & Uring.CHANGED).toBe(Uring.CHANGED);
    expect(bench.queue(1, Uring.QUEUE_FAILED)).toBe(EBADFD);
    expect(kernel.armed).toEqual([true, false]);
    expect(bench.word(bench.state + Uring.WAIT_MS)).toBeLessThanOrEqual(248);
    const before = kernel.armings;
    bench.tick += 61;
    bench.turn();
    expect(kernel.armings).toBe(before);
    bench.tick += 1;
    bench.turn();
    expect(kernel.armed[1]).toBe(true);
    kernel.end(1, -EIO);
    expect(bench.turn() & Uring.CHANGED).toBe(0);
    bench.tick += 62;
    bench.turn();
    expect(kernel.armed[1]).toBe(true);
    // Reading for as long without an error: it works again.
    bench.tick += 62;
    expect(bench.turn() & Uring.CHANGED).toBe(Uring.CHANGED);
    expect(bench.queue(1, Uring.QUEUE_FAILED)).toBe(0);
  });

  it("counts what a device does not take", () => {
    const { kernel } = open();
    bench.turn();
    kernel.writeFault = () => EIO;
    for (let n = 0; n < 8; n++) bench.deliver(0, 4 * n);
    bench.turn();
    bench.turn();
    expect(bench.word(bench.records[1]! + Port.DROPS_OUT)).toBe(8);
  });

  it("waits for slots when there are none, and goes on when there are some", () => {
    const { kernel } = open(40);
    bench.turn();
    expect(bench.header(Memory.FREE_SLOT_COUNT)).toBe(0);
    for (const number of [0, 1]) expect(bench.queue(number, Uring.QUEUE_HELD)).toBeGreaterThan(15);
    for (let n = 0; n < 500; n++) {
      for (let burst = 0; burst < 30; burst++) {
        bench.deliver(0, 4 * n);
        bench.deliver(1, 4 * n);
      }
      bench.turn();
      expect(bench.slots()).toBe(40);
    }
    expect(kernel.armings).toBeGreaterThan(2);
    expect(bench.counter(Counters.FRAMES_IN)).toBeGreaterThan(400);
  });

  it("believes no completion", () => {
    const { kernel } = open();
    bench.turn();
    const frames = bench.counter(Counters.FRAMES_IN);
    kernel.complete(Uring.KIND_READ, 0, 64, (300 << 16) | Uring.HAS_BUFFER | Uring.MORE);
    kernel.complete(Uring.KIND_READ, 0, 64, (200 << 16) | Uring.HAS_BUFFER | Uring.MORE);
    kernel.complete(Uring.KIND_READ, 7, 64, (1 << 16) | Uring.HAS_BUFFER | Uring.MORE);
    kernel.complete(Uring.KIND_WRITE, 500, -EIO);
    kernel.complete(77, 1, 1);
    kernel.complete(0, 0, 0);
    kernel.deliver(0, () => 70_000);
    kernel.deliver(0, () => -EIO);
    bench.turn();
    expect(bench.word(bench.state + Uring.ODD)).toBe(8);
    expect(bench.counter(Counters.FRAMES_IN)).toBe(frames);
    expect(bench.slots()).toBe(600);
  });

  it("loses no slot over a million frames with faults", { timeout: 180_000 }, () => {
    const random = new Random(20261123);
    const { kernel } = open(400, 3);
    kernel.writeFault = () => (random.chance(0.02) ? random.pick([EIO, 11, EBADFD, ENOBUFS, -20]) : 0);
    let frames = 0;
    for (let breath = 0; frames < 1_000_000; breath++) {
      const result = bench.core.runUring(0, bench.tick);
      const submit = result & Uring.SUBMIT_MASK;
      // Sometimes the kernel takes but some of them.
      kernel.submit(random.chance(0.1) ? random.below(submit + 1) : submit, false);
      const burst = random.chance(0.05) ? 200 : random.below(80);
      for (let n = 0; n < burst; n++) {
        const group = random.below(2) as 0 | 1;
        const flow = random.below(4000);
        const size = random.chance(0.01) ? 60 + random.below(60000) : 64;
        const odd = random.chance(0.01);
        const more = !random.chance(0.005);
        const taken = kernel.deliver(
          group,
          (at) => {
            bench.writer.put(at, flow, group, size, random.chance(0.5) ? FLAGS_SYN : FLAGS_ACK);
            return odd ? random.below(70_000) - 2000 : size + Slot.VNET_SIZE;
          },
          more,
        );
        if (taken) frames++;
      }
      if (random.chance(0.002)) {
        const group = random.below(2);
        if (kernel.armed[group]) kernel.end(group, -random.pick([EIO, EBADFD, 4, 11, 12, ECANCELED]));
      }
      if (random.chance(0.01)) kernel.complete(random.pick([0, 2, 5, 900]), random.below(99), -EIO, 0xffff0003);
      if (random.chance(0.01)) kernel.complete(Uring.KIND_READ, 2 + random.below(99), 64, random.below(4));
      bench.tick += random.chance(0.1) ? random.below(100) : random.below(2);
      if (breath % 997 === 0) expect(bench.slots()).toBe(400);
    }
    expect(bench.slots()).toBe(400);
    expect(bench.word(bench.records[1]! + Port.DROPS_OUT)).toBeGreaterThan(1000);
  });

  it("loses no slot over super-frames that it cuts itself, with faults", { timeout: 120_000 }, () => {
    const random = new Random(20261125);
    const { kernel } = open(400, 4, Port.CAPABILITY_LINK);
    const bytes = new Uint8Array(bench.memory.buffer);
    const view = new DataView(bench.memory.buffer);
    kernel.writeFault = () => (random.chance(0.02) ? random.pick([EIO, 11, EBADFD, ENOBUFS]) : 0);
    let cut = 0;
    while (cut < 20_000) {
      const submit = bench.core.runUring(0, bench.tick) & Uring.SUBMIT_MASK;
      kernel.submit(random.chance(0.3) ? random.below(submit + 1) : submit, false);
      for (let n = random.below(12); n > 0; n--) {
        const flow = random.below(200);
        const size = 54 + 1 + random.below(random.chance(0.5) ? 20_000 : 64_000);
        const isOpening = random.chance(0.1);
        const taken = kernel.deliver(0, (at) => {
          bench.writer.put(at, flow, 0, isOpening ? 64 : size, isOpening ? FLAGS_SYN : FLAGS_ACK);
          if (isOpening) return 64 + Slot.VNET_SIZE;
          bytes.set([1, 1], at);
          view.setUint16(at + 4, 1000 + random.below(461), true);
          view.setUint16(at + 6, 34, true);
          view.setUint16(at + 8, 16, true);
          return size + Slot.VNET_SIZE;
        });
        if (taken && !isOpening) cut++;
      }
      if (random.chance(0.002) && kernel.armed[0]) kernel.end(0, -random.pick([EIO, EBADFD, 4, 11, 12]));
      if (random.chance(0.01)) bench.core.portUp(bench.records[1]!, random.below(2));
      bench.tick += random.chance(0.1) ? random.below(100) : random.below(2);
    }
    // What was posted is consumed, and nothing comes any more: all but what lies in the buffer rings is free.
    kernel.writeFault = () => 0;
    for (let n = 0; n < 200; n++) {
      kernel.submit(bench.core.runUring(0, bench.tick++) & Uring.SUBMIT_MASK, false);
    }
    expect(bench.slots()).toBe(400);
    expect(bench.counter(Counters.FRAMES_OUT)).toBeGreaterThan(100_000);
  });
});
