import koffi from "koffi";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as Slot from "../../assembly/layout/slot.js";
import * as Worker from "../../assembly/layout/worker.js";
import type { Queue } from "../../host/engine/transport.js";
import { RwTransport } from "../../host/engine/transport-rw.js";
import * as native from "../../host/port/native.js";

// Two ends of a datagram socket keep the borders of what is written, as a TAP does.
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const libc = koffi.load("libc.so.6");
const socketpair = libc.func("int socketpair(int, int, int, _Out_ int *)") as (...args: unknown[]) => number;
const SLOTS = 64;
const WORKER = 0;
const FIRST_SLOT = Worker.SIZE;
const RECORDS = [0x1000_0000, 0x1000_0100];

function pair(): [number, number] {
  const ends = [0, 0];
  expect(socketpair(AF_UNIX, SOCK_DGRAM | native.SOCK_NONBLOCK | native.SOCK_CLOEXEC, 0, ends)).toBe(0);
  return [ends[0]!, ends[1]!];
}

function put(fd: number, bytes: Uint8Array): number {
  const copy = new Uint8Array(new ArrayBuffer(bytes.length));
  copy.set(bytes);
  return native.write(fd, native.addressOf(copy), copy.length);
}

function take(fd: number): Uint8Array | undefined {
  const buffer = new Uint8Array(new ArrayBuffer(70000));
  const length = native.read(fd, native.addressOf(buffer), buffer.length);
  return length < 0 ? undefined : buffer.subarray(0, length);
}

describe("frames by read and write", () => {
  let memory: WebAssembly.Memory;
  let words: Uint32Array;
  let bytes: Uint8Array;
  let ends: Array<[number, number]>;
  let eventfd: number;
  let failedSends: number[];
  let failedQueues: string[];
  let recovered: string[];
  let clock: number;

  const word = (at: number) => words[at >>> 2]!;
  const received = () =>
    Array.from({ length: word(WORKER + Worker.RECEIVED_COUNT) }, (_, n) => word(WORKER + Worker.RECEIVED + 4 * n));
  const frameOf = (slot: number) => {
    const frame = word(slot + Slot.FRAME);
    return Buffer.from(bytes.slice(frame, frame + word(slot + Slot.LENGTH)));
  };

  function transport(spin = 0): RwTransport {
    const queues: Queue[] = ends.map(([fd], number) => ({
      number,
      name: `port${number}`,
      fd,
      record: RECORDS[number]!,
      frameAt: Slot.FRAME_AT + (number === 1 ? 14 : 0),
    }));
    return new RwTransport({
      memory,
      worker: WORKER,
      queues,
      outputs: queues,
      eventfd,
      spin,
      now: () => clock,
      events: {
        sendFailed: (record) => failedSends.push(record),
        queueFailed: (queue) => failedQueues.push(queue.name),
        queueRecovered: (queue) => recovered.push(queue.name),
      },
    });
  }

  function supply(count: number): void {
    for (let n = 0; n < count; n++) words[(WORKER + Worker.SUPPLY + 4 * n) >>> 2] = FIRST_SLOT + n * Slot.SIZE;
    words[(WORKER + Worker.SUPPLY_COUNT) >>> 2] = count;
    words[(WORKER + Worker.RECEIVED_COUNT) >>> 2] = 0;
  }

  beforeEach(() => {
    const pages = Math.ceil((FIRST_SLOT + SLOTS * Slot.SIZE) / 65536);
    memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    words = new Uint32Array(memory.buffer);
    bytes = new Uint8Array(memory.buffer);
    ends = [pair(), pair()];
    eventfd = native.eventfd(0, native.EFD_NONBLOCK | native.EFD_CLOEXEC);
    failedSends = [];
    failedQueues = [];
    recovered = [];
    clock = 1000;
  });

  afterEach(() => {
    for (const fd of [...ends.flat(), eventfd]) native.close(fd);
  });

  it("fills slots from the end of the supply and says where they came from", () => {
    supply(4);
    put(ends[0]![1], Buffer.from("first"));
    put(ends[1]![1], Buffer.from("second"));
    expect(transport().receive()).toBe(2);
    expect(word(WORKER + Worker.SUPPLY_COUNT)).toBe(2);
    const slots = received();
    expect(new Set(slots).size).toBe(2);
    const byPort = new Map(slots.map((slot) => [word(slot + Slot.PORT_IN), slot]));
    const [first, second] = RECORDS.map((record) => byPort.get(record)!);
    expect(frameOf(first!).toString()).toBe("first");
    expect(frameOf(second!).toString()).toBe("second");
    expect(word(first! + Slot.FRAME) - first!).toBe(Slot.FRAME_AT);
    // Without an Ethernet header the frame begins where its packet is aligned.
    expect(word(second! + Slot.FRAME) - second!).toBe(Slot.FRAME_AT + 14);
  });

  it("takes nothing without empty slots, and the rest in the next breath", () => {
    const io = transport();
    for (let n = 0; n < 5; n++) put(ends[0]![1], Buffer.from([n]));
    supply(0);
    expect(io.receive()).toBe(0);
    supply(3);
    expect(io.receive()).toBe(3);
    expect(received().map((slot) => frameOf(slot)[0])).toEqual([0, 1, 2]);
    supply(3);
    expect(io.receive()).toBe(2);
  });

  it("appends behind what the core left unprocessed", () => {
    supply(2);
    words[(WORKER + Worker.RECEIVED_COUNT) >>> 2] = 1;
    words[(WORKER + Worker.RECEIVED) >>> 2] = 77;
    put(ends[0]![1], Buffer.from("x"));
    expect(transport().receive()).toBe(1);
    expect(received()).toEqual([77, FIRST_SLOT + Slot.SIZE]);
  });

  it("lets no port starve the other when slots are few", () => {
    const io = transport();
    const counts = [0, 0];
    for (let breath = 0; breath < 6; breath++) {
      for (let n = 0; n < 8; n++) for (const end of ends) put(end[1], Buffer.from("x"));
      supply(6);
      io.receive();
      for (const slot of received()) counts[RECORDS.indexOf(word(slot + Slot.PORT_IN))]!++;
    }
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(12);
  });

  it("sends in order, with the body behind the frame", () => {
    const io = transport();
    const send = (n: number, slot: number, text: string, port: number, body = "") => {
      bytes.set(Buffer.from(text), slot + 400);
      bytes.set(Buffer.from(body), slot + 4000);
      words[(slot + Slot.FRAME) >>> 2] = slot + 400;
      words[(slot + Slot.LENGTH) >>> 2] = text.length;
      words[(slot + Slot.BODY) >>> 2] = slot + 4000;
      words[(slot + Slot.BODY_LENGTH) >>> 2] = body.length;
      words[(slot + Slot.PORT_OUT) >>> 2] = RECORDS[port]!;
      words[(WORKER + Worker.SEND + 4 * n) >>> 2] = slot;
    };
    send(0, FIRST_SLOT, "one", 1);
    send(1, FIRST_SLOT + Slot.SIZE, "head", 0, "+body");
    send(2, FIRST_SLOT + 2 * Slot.SIZE, "two", 1);
    io.send(3);
    expect(Buffer.from(take(ends[1]![1])!).toString()).toBe("one");
    expect(Buffer.from(take(ends[1]![1])!).toString()).toBe("two");
    expect(Buffer.from(take(ends[0]![1])!).toString()).toBe("head+body");
    expect(failedSends).toEqual([]);
  });

  it("counts what a full device and an unknown port do not take", () => {
    const io = transport();
    words[(FIRST_SLOT + Slot.FRAME) >>> 2] = FIRST_SLOT + 400;
    words[(FIRST_SLOT + Slot.LENGTH) >>> 2] = 1000;
    words[(WORKER + Worker.SEND) >>> 2] = FIRST_SLOT;
    words[(FIRST_SLOT + Slot.PORT_OUT) >>> 2] = 0x4242;
    io.send(1);
    expect(failedSends).toEqual([0x4242]);
    words[(FIRST_SLOT + Slot.PORT_OUT) >>> 2] = RECORDS[0]!;
    for (let n = 0; n < 1000 && failedSends.length < 2; n++) io.send(1);
    expect(failedSends[1]).toBe(RECORDS[0]);
  });

  it("sleeps until a frame, a wake-up or the time is over", () => {
    supply(4);
    const io = transport();
    const took = (body: () => void) => {
      const began = performance.now();
      body();
      return performance.now() - began;
    };
    expect(took(() => io.wait(40))).toBeGreaterThan(30);
    const one = new BigUint64Array(new ArrayBuffer(8)).fill(1n);
    native.write(eventfd, native.addressOf(new Uint8Array(one.buffer)), 8);
    expect(took(() => io.wait(5000))).toBeLessThan(2000);
    // The wake-up was taken: the next sleep is a sleep.
    expect(took(() => io.wait(40))).toBeGreaterThan(30);
    put(ends[1]![1], Buffer.from("x"));
    expect(took(() => io.wait(5000))).toBeLessThan(2000);
  });

  it("looks at no device while there is no slot to read into", () => {
    supply(0);
    const io = transport();
    put(ends[0]![1], Buffer.from("x"));
    const began = performance.now();
    io.wait(5000);
    expect(performance.now() - began).toBeGreaterThan(2);
    expect(performance.now() - began).toBeLessThan(1000);
  });

  it("leaves a queue alone that does not work, and comes back to it", () => {
    supply(8);
    const [fd, peer] = ends[0]!;
    const io = transport();
    native.close(fd);
    expect(io.receive()).toBe(0);
    expect(io.receive()).toBe(0);
    expect(failedQueues).toEqual(["port0"]);
    const began = performance.now();
    io.wait(40);
    expect(performance.now() - began).toBeGreaterThan(30);
    put(ends[1]![1], Buffer.from("x"));
    expect(io.receive()).toBe(1);
    expect(recovered).toEqual([]);
    native.close(peer);
    ends = [ends[1]!];
  });
});
