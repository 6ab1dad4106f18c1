/** Workers in threads of their own over one set of tables, while the control instance changes services under them. */
import { join } from "node:path";
import { Worker as Thread } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";
import * as Port from "../../assembly/layout/port.js";
import * as Worker from "../../assembly/layout/worker.js";
import { compileCore } from "../../host/core/instance.js";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import type { IpvsError } from "../../host/ipvs/model.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { type HammerData, MAILBOX, type Report, SERVER_PORT } from "./shared.js";

const SECONDS = Number(process.env.WLVS_HAMMER_SECONDS ?? 2);
const FLOWS = 6000;
const STABLE = 2;
const THREAD = join(import.meta.dirname, "../../dist/test/hammer/thread.js");
const SERVERS = NET.servers.map(({ ip }) => ip);
const STAYING = service(80, "wrr");
const PASSING = service(81, "rr");

/** Changes services until it is over; how often. */
async function change(engine: MemoryEngine, isOver: () => boolean): Promise<number> {
  const { ipvs } = engine;
  let random = 12345;
  const chance = (below: number) => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return Math.floor(random / 65536) % below;
  };
  const third = server(SERVERS[2]!, SERVER_PORT);
  const passing = () => server(SERVERS[chance(2)]!, SERVER_PORT + 1);
  const steps: Array<() => Promise<unknown>> = [
    () => ipvs.editServer(STAYING.id, server(SERVERS[1]!, SERVER_PORT, "nat", { weight: chance(5) })),
    () => ipvs.addServer(STAYING.id, third),
    () => ipvs.removeServer(STAYING.id, third.id),
    () => ipvs.editService(service(80, ["rr", "wrr", "lc", "wlc", "sed", "nq"][chance(6)]!)),
    () => ipvs.addService(PASSING),
    () => ipvs.addServer(PASSING.id, passing()),
    () => ipvs.removeServer(PASSING.id, passing().id),
    () => ipvs.removeService(PASSING.id),
    () => ipvs.services(),
    () =>
      ipvs.transaction([
        { do: "addService", service: service(90) },
        { do: "addServer", service: service(90).id, server: third },
        { do: "removeService", id: service(90).id },
      ]),
  ];
  let done = 0;
  while (!isOver()) {
    for (let n = 0; n < 8; n++, done++) {
      // Refusals (it is there already, it is not there) belong to it.
      await steps[chance(steps.length)]!().catch((error: IpvsError) => {
        if (!["EEXIST", "ENOENT", "ESRCH"].includes(error.code)) throw error;
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return done;
}

async function hammer(workers: number) {
  const engine = createDirector({ capacities: { workers, slots: 512 * workers + 256, connections: 1 << 17 } });
  const { ipvs } = engine;
  await ipvs.addService(STAYING);
  for (const ip of SERVERS.slice(0, STABLE)) await ipvs.addServer(STAYING.id, server(ip, SERVER_PORT));
  engine.breathe();
  engine.collect();
  const before = ipvs.tables.counters();
  const portsBase = new DataView(engine.memory.buffer).getUint32(Memory.LAYOUT_BASE + Memory.PORTS_BASE, true);
  const shared = {
    memory: engine.memory,
    module: compileCore(),
    workers,
    now: engine.clock.ticks(),
    origin: performance.timeOrigin + performance.now(),
    ports: { ext: portsBase, int: portsBase + Port.SIZE },
    services: [80, 81],
    servers: [SERVERS, SERVERS.slice(0, 2)],
    stable: STABLE,
    flows: FLOWS,
    mailboxes: new SharedArrayBuffer(4 * MAILBOX * workers),
    control: new Int32Array(new SharedArrayBuffer(4)),
    net: {
      vip: NET.vip,
      gatewayMac: NET.gateway.mac,
      extMac: NET.ext.mac,
      intMac: NET.int.mac,
      serverMac: NET.servers[0].mac,
      serverIp: NET.servers[0].ip,
    },
  };
  let failure: unknown;
  const ready: Promise<void>[] = [];
  const reports: Promise<Report>[] = [];
  for (let index = 0; index < workers; index++) {
    const thread = new Thread(THREAD, { workerData: { ...shared, index } satisfies HammerData });
    ready.push(
      new Promise((resolve) => {
        thread.once("message", () => resolve());
        thread.once("error", () => resolve());
      }),
    );
    reports.push(
      new Promise((resolve, reject) => {
        thread.on("message", (message: "ready" | Report | { failure: string }) => {
          if (message === "ready") return;
          if ("failure" in message) reject(new Error(message.failure));
          else resolve(message);
        });
        thread.once("error", reject);
      }),
    );
  }
  for (const report of reports) report.catch((error) => (failure ??= error));
  await Promise.all(ready);
  const until = performance.now() + SECONDS * 1000;
  const changes = await change(engine, () => failure !== undefined || performance.now() > until);
  Atomics.store(shared.control, 0, 1);
  const results = await Promise.all(reports);
  return { engine, before, changes, results };
}

describe("one set of tables", () => {
  it.each([1, 2, 4])("serves %s worker(s) while services change", async (workers) => {
    const { engine, before, changes, results } = await hammer(workers);
    const total = (of: (report: Report) => number) => results.reduce((sum, report) => sum + of(report), 0);
    const begun = total((r) => r.begun[0]! + r.begun[1]!);
    console.log(
      `hammer: ${workers} worker(s), ${total((r) => r.frames)} frames in, ${total((r) => r.outputs)} out, ` +
        `${begun} connections, ${total((r) => r.drops)} not forwarded, ${changes} changes`,
    );
    for (const report of results) expect(report.frames).toBeGreaterThan(1000);
    expect(changes).toBeGreaterThan(100);
    // Every frame was counted, and ended in one verdict.
    const { tables } = engine.ipvs;
    const after = tables.counters();
    const verdict = (name: string) => after.verdicts[name]! - before.verdicts[name]!;
    expect(after.framesIn - before.framesIn).toBe(total((r) => r.frames));
    expect(after.framesOut - before.framesOut).toBe(total((r) => r.outputs));
    expect(verdict("forward")).toBe(total((r) => r.forwarded[0]! + r.forwarded[1]! + r.replies));
    expect(verdict("drop") + verdict("local")).toBe(total((r) => r.drops));
    expect(Object.keys(after.verdicts).reduce((sum, name) => sum + verdict(name), 0)).toBe(total((r) => r.frames));
    // So were connections, by the service that stayed and by its servers.
    const [staying] = await engine.ipvs.services();
    expect(staying!.stats.connections).toBe(total((r) => r.begun[0]!));
    expect(staying!.stats.inPackets).toBe(total((r) => r.forwarded[0]!));
    const connections = [...tables.connections()];
    expect(connections.length).toBe(begun);
    const names = connections.map(({ client, clientPort, virtualPort }) => `${client} ${clientPort} ${virtualPort}`);
    expect(new Set(names).size).toBe(begun);
    for (const { id, active, inactive } of staying!.servers) {
      const own = connections.filter((c) => c.virtualPort === 80 && c.server === id.address).length;
      expect(active + inactive).toBe(own);
    }
    // No slot was lost.
    const view = new DataView(engine.memory.buffer);
    const word = (at: number) => view.getUint32(at, true);
    let held = word(Memory.LAYOUT_BASE + Memory.FREE_SLOT_COUNT);
    for (let n = 0; n < workers; n++) {
      const queue = word(Memory.LAYOUT_BASE + Memory.WORKERS_BASE) + n * Worker.SIZE;
      held += word(queue + Worker.SUPPLY_COUNT) + word(queue + Worker.SEND_COUNT);
    }
    expect(held).toBe(word(Memory.LAYOUT_BASE + Memory.SLOTS_CAPACITY));
  });
});
