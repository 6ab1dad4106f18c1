import koffi from "koffi";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import * as Slot from "../../assembly/layout/slot.js";
import * as Uring from "../../assembly/layout/uring.js";
import { FLAGS_SYN, FrameWriter } from "../../host/bench/frames.js";
import type { Queue } from "../../host/engine/transport.js";
import { UringTransport } from "../../host/engine/transport-uring.js";
import { NoUring } from "../../host/port/io-uring.js";
import * as native from "../../host/port/native.js";
import { needsUring } from "../support/needs.js";
import { type RingDirector, ringDirector } from "../support/ring-director.js";

// Two ends of a socket that keeps the borders of what is written, as a TAP does; and says when its peer is gone.
const SOCK_SEQPACKET = 5;
const libc = koffi.load("libc.so.6");
const socketpair = libc.func("int socketpair(int, int, int, _Out_ int *)") as (...args: unknown[]) => number;
const SLOTS = 700;
const FRAME = 64;

function pair(): [number, number] {
  const ends = [0, 0];
  expect(socketpair(native.AF_UNIX, SOCK_SEQPACKET | native.SOCK_NONBLOCK | native.SOCK_CLOEXEC, 0, ends)).toBe(0);
  return [ends[0]!, ends[1]!];
}

describe("frames by io_uring", () => {
  const scratch = new SharedArrayBuffer(65536);
  const scratchAt = native.addressOf(new Uint8Array(scratch));
  const writer = new FrameWriter(scratch);
  let director: RingDirector;
  let words: Uint32Array;
  let ends: Array<[number, number]>;
  let eventfd: number;
  let failed: string[];
  let recovered: string[];
  let tick: number;
  let io: UringTransport | undefined;

  const header = (at: number) => words[(Memory.LAYOUT_BASE + at) >>> 2]!;
  const waitMs = (ms: number) => {
    words[(header(Memory.RINGS_BASE) + Uring.STATE + Uring.WAIT_MS) >>> 2] = ms;
  };
  const breathe = () => director.core.runUring(0, tick);
  /** Breaths until the kernel has nothing more to give: what failed is told a few at a time. */
  const settle = () => {
    const flags = words[(header(Memory.RINGS_BASE) + Uring.STATE + Uring.SUBMIT_FLAGS) >>> 2]! >>> 2;
    for (let quiet = 0; quiet < 3; ) {
      const result = breathe();
      io!.turn(result | Uring.BUSY);
      quiet = (result & Uring.BUSY) === 0 && (words[flags]! & Uring.TASKRUN) === 0 ? quiet + 1 : 0;
    }
  };
  const put = (port: 0 | 1, flow: number, size = FRAME) => {
    writer.put(0, flow, port, size, FLAGS_SYN);
    return native.write(ends[port]![1], scratchAt, size + Slot.VNET_SIZE);
  };
  const take = (port: 0 | 1) => {
    const length = native.read(ends[port]![1], scratchAt, scratch.byteLength);
    return length < 0 ? undefined : Buffer.from(Buffer.from(scratch, 0, length));
  };
  const takeAll = (port: 0 | 1) => {
    const frames: Buffer[] = [];
    for (let frame = take(port); frame !== undefined; frame = take(port)) frames.push(frame);
    return frames;
  };

  function open(spin = 0): UringTransport {
    const queues: Queue[] = ends.map(([fd], number) => ({
      number,
      name: `port${number}`,
      fd,
      record: director.records[number]!,
      frameAt: Slot.FRAME_AT,
    }));
    io = new UringTransport({
      memory: director.memory,
      index: 0,
      queues,
      outputs: queues,
      eventfd,
      spin,
      events: {
        queueFailed: (queue) => failed.push(queue.name),
        queueRecovered: (queue) => recovered.push(queue.name),
      },
    });
    return io;
  }

  beforeEach((context) => {
    needsUring(context);
    ends = [pair(), pair()];
    eventfd = native.eventfd(0, native.EFD_NONBLOCK | native.EFD_CLOEXEC);
    tick = 1000;
    director = ringDirector(SLOTS);
    words = new Uint32Array(director.memory.buffer);
    failed = [];
    recovered = [];
  });

  afterEach(() => {
    io?.drain(() => director.core.endUring(0));
    io?.close();
    io = undefined;
    for (const fd of [...(ends ?? []).flat(), eventfd]) native.close(fd);
    // Nothing is in flight, and every slot is back.
    expect(header(Memory.FREE_SLOT_COUNT)).toBe(SLOTS);
  });

  it("forwards from one to the other, in order", () => {
    open();
    settle();
    takeAll(1);
    for (let flow = 0; flow < 100; flow++) expect(put(0, flow)).toBe(FRAME + Slot.VNET_SIZE);
    settle();
    const frames = takeAll(1);
    expect(frames).toHaveLength(100);
    // The client's address, 10.0.0.0 and the flow's number.
    expect(frames.map((frame) => frame.readUInt32BE(12 + 14 + 12) & 0xffffff)).toEqual(
      Array.from({ length: 100 }, (_, flow) => flow),
    );
  });

  it("moves more frames than there are slots and buffers", () => {
    open();
    let out = 0;
    let taken = 0;
    for (let n = 0; taken < 20_000; n++) {
      while (taken < 20_000 && put(0, n % 4000) > 0) taken++;
      io!.turn(breathe() | Uring.BUSY);
      out += takeAll(1).length;
    }
    settle();
    out += takeAll(1).length;
    expect(out + words[(director.records[1]! + Port.DROPS_OUT) >>> 2]!).toBeGreaterThanOrEqual(20_000);
  });

  it("drops and counts what a full device does not take", () => {
    open();
    settle();
    takeAll(1);
    let taken = 0;
    for (let n = 0; n < 4000; n++) {
      while (put(0, n, 1500) > 0) taken++;
      io!.turn(breathe() | Uring.BUSY);
      if (taken > 1000) break;
    }
    settle();
    const drops = words[(director.records[1]! + Port.DROPS_OUT) >>> 2]!;
    expect(drops).toBeGreaterThan(0);
    expect(takeAll(1).length + drops).toBe(taken);
  });

  it("sleeps until a frame comes, the eventfd is written or the time is over", () => {
    for (const spin of [0, 500]) {
      open(spin);
      settle();
      waitMs(40);
      let from = performance.now();
      io!.turn(0);
      expect(performance.now() - from).toBeGreaterThan(38);
      waitMs(10_000);
      from = performance.now();
      put(0, 7);
      io!.turn(0);
      expect(breathe() & Uring.BUSY).toBe(Uring.BUSY);
      settle();
      waitMs(10_000);
      const one = new BigUint64Array(new ArrayBuffer(8)).fill(1n);
      native.write(eventfd, native.addressOf(new Uint8Array(one.buffer)), 8);
      io!.turn(0);
      expect(performance.now() - from).toBeLessThan(8_000);
      settle();
      // Once is once: nobody reads the eventfd.
      waitMs(30);
      from = performance.now();
      io!.turn(0);
      expect(performance.now() - from).toBeGreaterThan(28);
      io!.drain(() => director.core.endUring(0));
      io!.close();
      io = undefined;
      expect(header(Memory.FREE_SLOT_COUNT)).toBe(SLOTS);
    }
  });

  it("leaves a device alone that is gone, and goes on with the other", () => {
    open();
    settle();
    native.close(ends[1]![1]);
    // Not closed once more.
    ends[1]![1] = -1;
    settle();
    expect(failed).toEqual(["port1"]);
    for (let n = 0; n < 10; n++) put(0, n);
    settle();
    expect(words[(director.records[1]! + Port.DROPS_OUT) >>> 2]).toBeGreaterThanOrEqual(10);
    tick += 63;
    settle();
    expect(failed).toEqual(["port1"]);
    expect(recovered).toEqual([]);
  });

  it("says what is missing where it cannot be", () => {
    const without = ringDirector(SLOTS, { rings: 0 });
    const options = { index: 0, queues: [], outputs: [], eventfd, spin: 0 };
    const events = { queueFailed: () => {}, queueRecovered: () => {} };
    expect(() => new UringTransport({ ...options, memory: without.memory, events })).toThrow(NoUring);
  });
});
