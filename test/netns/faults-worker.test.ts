/** Workers that trap, die or hang under real traffic: another thread goes on with the tables as they were. */
import { readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as Fault from "../../assembly/layout/fault.js";
import * as Memory from "../../assembly/layout/memory.js";
import type { Engine } from "../../host/engine/engine.js";
import { closeDevice } from "../../host/port/device.js";
import * as native from "../../host/port/native.js";
import { openTap, type TapDevice } from "../../host/port/tap.js";
import { server as serverAt, service } from "../support/director.js";
import { needsUring } from "../support/needs.js";
import { edge, hold, INNER, inner, pings, SERVER, useSite, VIP } from "./faults.js";
import { waitFor } from "./network.js";
import { until } from "./pair.js";

// Threads load what was built.
const BUILT = join(import.meta.dirname, "../../dist/host/engine/engine.js");
const LOOK_MS = 100;

describe("a worker", () => {
  useSite("ss", "ping");

  let taps: TapDevice[];
  let engine: Engine;
  let lines: Array<Record<string, unknown>>;
  let fatal: Error | undefined;

  beforeEach((context) => {
    needsUring(context);
    taps = [];
    lines = [];
    fatal = undefined;
  });

  afterEach(async () => {
    await engine?.stop();
    for (const tap of taps) closeDevice(tap);
  });

  async function start(io: "uring" | "rw", workers: number): Promise<void> {
    taps = [
      openTap({ name: "ext0", queues: workers, netns: edge, bridge: "brx" }),
      openTap({ name: "int0", queues: workers, netns: inner, bridge: "bri" }),
    ];
    const built = (await import(BUILT)) as typeof import("../../host/engine/engine.js");
    engine = new built.Engine({
      ports: taps,
      workers,
      maxConnections: 4096,
      forward: true,
      spin: 50,
      io,
      lookMs: LOOK_MS,
      log: pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) }),
      fatal: (error) => (fatal = error),
    });
    for (const [number, address] of [`${VIP}/24`, `${INNER}/24`].entries()) engine.control.addressAdd(address, number);
    const balanced = service(9000, "wlc", "tcp", { id: { family: 4, protocol: "tcp", address: VIP, port: 9000 } });
    await engine.ipvs.addService(balanced);
    await engine.ipvs.addServer(balanced.id, serverAt(SERVER, 9000));
    await engine.start();
    await until(pings, "it answers");
  }

  /** What the worker is to do in its next breath. */
  function provoke(fault: number, worker = 0): void {
    const words = new Uint32Array(engine.memory.buffer);
    words[(Memory.LAYOUT_BASE + Memory.FAULT_WORKER) >>> 2] = worker;
    Atomics.store(words, (Memory.LAYOUT_BASE + Memory.FAULT) >>> 2, fault);
    engine.wake();
  }

  const of = (event: string) => lines.filter((line) => line.event === event);

  /** Slots that neither the free list nor a ring has; SUPPLY, which is as long always, counts as the ring of rw. */
  async function slotsInUse(): Promise<number> {
    const { tables } = engine.ipvs;
    const look = () => {
      const used = tables.occupancy().find(({ table }) => table === "slots")!.used;
      return used - tables.workers().reduce((sum, { held }) => sum + held, 0);
    };
    await until(async () => look() <= (engine.io === "rw" ? 256 * tables.workers().length : 0), "all is out").catch(
      () => {},
    );
    return look();
  }

  it.each([
    ["uring", 2],
    ["rw", 1],
  ] as const)("that hangs with the lock, or without, is replaced (%s, %s workers)", async (io, workers) => {
    await start(io, workers);
    const connections = await hold(5);
    expect(await connections.check()).toEqual({ well: 5, resets: 0 });
    const slots = await slotsInUse();
    for (const [times, fault] of [Fault.HANG, Fault.HANG_APART].entries()) {
      provoke(fault, workers - 1);
      await waitFor(() => of("worker.restarted").length > times, "another thread goes on");
      expect(await connections.check()).toEqual({ well: 5, resets: 0 });
      expect(engine.ipvs.tables.word(Memory.CONNECTION_COUNT)).toBe(5);
    }
    expect(engine.restartsOf(workers - 1)).toBe(2);
    expect(of("worker.hung")).toHaveLength(2);
    expect(await engine.breathing(3000)).toBe(true);
    expect(await slotsInUse()).toBe(slots);
    expect(fatal).toBeUndefined();
  });

  it("that hangs with the lock is ended by the control call that waits for it", async () => {
    await start("uring", 1);
    const connections = await hold(2);
    provoke(Fault.HANG);
    const lock = (Memory.LAYOUT_BASE + Memory.LOCK) >>> 2;
    const words = new Int32Array(engine.memory.buffer);
    // Nothing of this process's own turns: the call is made before anybody has looked.
    const fault = (Memory.LAYOUT_BASE + Memory.FAULT) >>> 2;
    const limit = performance.now() + 5000;
    while ((Atomics.load(words, lock) !== 1 || Atomics.load(words, fault) !== 0) && performance.now() < limit);
    const began = performance.now();
    engine.control.setting("drop_entry", "0");
    expect(performance.now() - began).toBeGreaterThan(4 * LOOK_MS - 1);
    await waitFor(() => of("worker.restarted").length === 1, "another thread goes on");
    expect(await connections.check()).toEqual({ well: 2, resets: 0 });
    expect(fatal).toBeUndefined();
  });

  it("that traps goes on, and one that dies is replaced", async () => {
    await start("uring", 1);
    const connections = await hold(5);
    const slots = await slotsInUse();
    provoke(Fault.TRAP);
    await waitFor(() => of("engine.trap").length === 1, "the trap");
    expect(await connections.check()).toEqual({ well: 5, resets: 0 });
    expect(of("worker.restarted")).toEqual([]);
    // As nothing else can make it fail: what is under the ring's number is no ring any more.
    const ring = readdirSync("/proc/self/fd").find((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:[io_uring]";
      } catch {
        return false;
      }
    });
    native.close(Number(ring));
    engine.wake();
    await waitFor(() => of("worker.restarted").length === 1, "another thread goes on");
    expect(`${of("worker.restarted")[0]!.msg}`).toContain("io_uring_enter");
    expect(await connections.check()).toEqual({ well: 5, resets: 0 });
    expect(await slotsInUse()).toBe(slots);
    expect(fatal).toBeUndefined();
  });

  it("that dies again and again ends the director", async () => {
    await start("uring", 1);
    for (let times = 1; times <= 5; times++) {
      provoke(Fault.HANG_APART);
      await waitFor(() => of("worker.restarted").length === times, "another thread goes on");
    }
    provoke(Fault.HANG_APART);
    await waitFor(() => fatal !== undefined, "the end");
    expect(fatal!.message).toBe("worker 0 hung");
  });
});
