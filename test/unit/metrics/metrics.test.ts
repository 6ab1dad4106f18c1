import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import * as Worker from "../../../assembly/layout/worker.js";
import type { PortInfo, ServerHealth } from "../../../host/control/director-info.js";
import { BreathMeter } from "../../../host/engine/breath-meter.js";
import type { MemoryEngine } from "../../../host/engine/memory-engine.js";
import { labels } from "../../../host/metrics/exposition.js";
import {
  type MetricsSource,
  metricsText,
  ProcessMetrics,
  SERVERS_MOST,
  SERVICES_MOST,
} from "../../../host/metrics/metrics.js";
import { createDirector, NET, server, service } from "../../support/director.js";
import { needsCommands } from "../../support/needs.js";
import { ethernet, FLAG, tcpPacket } from "../../support/packets.js";
import { lint, parseScrape, type Scrape, sampleOf } from "../../support/scrape.js";
import { threadTime } from "../../support/thread-time.js";

const EXT: PortInfo = {
  name: "ext",
  kind: "tap",
  up: true,
  mtu: 1500,
  addresses: [],
  offloads: [],
  framesIn: 3,
  framesOut: 4,
  bytesIn: 300,
  bytesOut: 400,
  dropsOut: 1,
  device: { carrier: true, queueLength: 1000, lostIn: 5, lostOut: 6 },
};

function sourceOf(engine: MemoryEngine, health: readonly ServerHealth[] = []): MetricsSource {
  const { tables } = engine.ipvs;
  return {
    status: () => ({
      version: "0.1.0",
      pid: 1,
      uptime: 12,
      profile: "wlvs",
      workers: 1,
      io: "memory",
      connections: { used: 0, capacity: 1 },
    }),
    ports: () => [EXT],
    counters: () => ({ ...tables.counters(), traps: 0 }),
    workers: () => tables.workers(),
    occupancy: () => tables.occupancy(),
    health: () => [...health],
    waiting: () => tables.waiting(),
    totals: () => tables.totals().stats,
    frozenServices: () => tables.frozenServices(),
  };
}

async function textOf(engine: MemoryEngine, health: readonly ServerHealth[] = []): Promise<string> {
  let text = "";
  for await (const piece of metricsText(
    sourceOf(engine, health),
    new ProcessMetrics({ restarts: 2, reloads: { applied: 4, refused: 1 } }),
  ))
    text += piece;
  return text;
}

const WEB = service(80, "rr", "tcp", { limits: { connections: 1000 } });
const syn = (clientPort: number) =>
  ethernet(
    NET.ext.mac,
    NET.client.mac,
    tcpPacket(
      { source: NET.client.ip, destination: NET.vip, sourcePort: clientPort, destinationPort: 80 },
      { flags: FLAG.syn },
    ),
  );

async function loaded(): Promise<MemoryEngine> {
  const engine = createDirector();
  await engine.ipvs.addService(WEB);
  await engine.ipvs.addServer(WEB.id, server(NET.servers[0].ip, 8080, "nat", { weight: 3 }));
  for (const clientPort of [1001, 1002, 1003]) engine.inject("ext", syn(clientPort));
  return engine;
}

describe("metrics", () => {
  it("say what the tables say", async () => {
    const engine = await loaded();
    const scrape = parseScrape(await textOf(engine));
    const backend = {
      local_address: NET.vip,
      local_mark: "",
      local_port: "80",
      proto: "TCP",
      remote_address: NET.servers[0].ip,
      remote_port: "8080",
    };
    expect(scrape.samples.find(({ name }) => name === "node_ipvs_backend_weight")!.labels).toEqual(backend);
    expect(sampleOf(scrape, "node_ipvs_backend_weight", backend)).toBe(3);
    expect(sampleOf(scrape, "node_ipvs_backend_connections_active", backend)).toBe(3);
    expect(sampleOf(scrape, "node_ipvs_backend_connections_inactive", backend)).toBe(0);
    expect(sampleOf(scrape, "node_ipvs_connections_total")).toBe(3);
    expect(sampleOf(scrape, "node_ipvs_incoming_packets_total")).toBe(3);
    const place = { service: `tcp:${NET.vip}:80`, server: `${NET.servers[0].ip}:8080` };
    expect(sampleOf(scrape, "wlvs_server_connections_total", place)).toBe(3);
    expect(sampleOf(scrape, "wlvs_service_packets_total", { service: place.service, direction: "in" })).toBe(3);
    expect(sampleOf(scrape, "wlvs_table_entries", { table: "connections" })).toBe(3);
    expect(sampleOf(scrape, "wlvs_verdicts_total", { verdict: "forward" })).toBe(3);
    expect(sampleOf(scrape, "wlvs_frames_in_total")).toBe(3);
    expect(sampleOf(scrape, "wlvs_device_lost_total", { port: "ext", direction: "in" })).toBe(5);
    expect(sampleOf(scrape, "wlvs_director_restarts_total")).toBe(2);
    expect(sampleOf(scrape, "wlvs_reloads_total", { result: "applied" })).toBe(4);
    expect(sampleOf(scrape, "wlvs_uptime_seconds")).toBe(12);
  });

  it("count what each worker takes in and gives out, and how many frames a breath has", async () => {
    const scrape = parseScrape(await textOf(await loaded()));
    expect(sampleOf(scrape, "wlvs_worker_frames_total", { worker: "0", direction: "in" })).toBe(3);
    expect(sampleOf(scrape, "wlvs_worker_frames_total", { worker: "0", direction: "out" })).toBe(
      sampleOf(scrape, "wlvs_frames_out_total"),
    );
    expect(sampleOf(scrape, "wlvs_worker_bytes_total", { worker: "0" })).toBe(3 * syn(1).length);
    const none = sampleOf(scrape, "wlvs_breath_frames_bucket", { le: "0" });
    expect(sampleOf(scrape, "wlvs_breath_frames_bucket", { le: "1" }) - none).toBe(3);
    expect(sampleOf(scrape, "wlvs_breath_frames_sum")).toBe(3);
    expect(sampleOf(scrape, "wlvs_breath_frames_count")).toBe(none + 3);
  });

  it("tell what the SYN proxy and limits do", async () => {
    const engine = createDirector();
    const guarded = service(80, "rr", "tcp", { synProxy: "on", limits: { connections: 1 } });
    await engine.ipvs.addService(guarded);
    await engine.ipvs.addServer(guarded.id, server(NET.servers[0].ip, 8080));
    const open = service(81, "rr", "tcp", { limits: { rate: 1 } });
    await engine.ipvs.addService(open);
    await engine.ipvs.addServer(open.id, server(NET.servers[0].ip, 8080));
    const send = (sourcePort: number, destinationPort: number, flags: number) =>
      engine.inject(
        "ext",
        ethernet(
          NET.ext.mac,
          NET.client.mac,
          tcpPacket({ source: NET.client.ip, destination: NET.vip, sourcePort, destinationPort }, { flags }),
        ),
      );
    for (const from of [1001, 1002]) send(from, 80, FLAG.syn);
    send(1003, 80, FLAG.ack);
    for (const from of [1004, 1005, 1006]) send(from, 81, FLAG.syn);
    const scrape = parseScrape(await textOf(engine));
    const of = (port: number) => ({ service: `tcp:${NET.vip}:${port}` });
    expect(sampleOf(scrape, "wlvs_syn_cookies_sent_total")).toBe(2);
    expect(sampleOf(scrape, "wlvs_syn_cookies_received_total", { result: "invalid" })).toBe(1);
    expect(sampleOf(scrape, "wlvs_syn_cookies_received_total", { result: "valid" })).toBe(0);
    expect(sampleOf(scrape, "wlvs_syn_proxy_handshakes_total", { result: "spliced" })).toBe(0);
    expect(sampleOf(scrape, "wlvs_service_syn_proxy", of(80))).toBe(1);
    expect(sampleOf(scrape, "wlvs_service_syn_proxy", of(81))).toBe(0);
    expect(sampleOf(scrape, "wlvs_service_half_open", of(81))).toBe(1);
    expect(sampleOf(scrape, "wlvs_service_refused_total", { ...of(81), limit: "rate" })).toBe(2);
    expect(sampleOf(scrape, "wlvs_server_refused_total", { ...of(81), server: `${NET.servers[0].ip}:8080` })).toBe(0);
  });

  it("show checks", async () => {
    const one = { service: `tcp:${NET.vip}:80`, server: "10.0.0.1:80", passed: 7, failed: 2 };
    const health: ServerHealth[] = [
      { ...one, state: "down", problem: "refused", took: 250 },
      { ...one, server: "10.0.0.2:80", state: "unknown" },
    ];
    const scrape = parseScrape(await textOf(createDirector(), health));
    const place = { service: one.service, server: one.server };
    expect(sampleOf(scrape, "wlvs_server_up", place)).toBe(0);
    expect(sampleOf(scrape, "wlvs_check_duration_seconds", place)).toBe(0.25);
    expect(sampleOf(scrape, "wlvs_check_results_total", { ...place, result: "failed" })).toBe(2);
    expect(scrape.samples.filter(({ name }) => name === "wlvs_server_up")).toHaveLength(1);
  });

  it("name a mark as node_exporter does, and add up what it would add up", async () => {
    const engine = createDirector();
    const mark = (family: 4 | 6) => ({
      ...WEB,
      id: { family, mark: 0x1f },
      persistencePrefix: family === 4 ? 32 : 128,
    });
    const tunnel = { type: "ipip", port: 0, checksum: "nocsum" } as const;
    for (const family of [4, 6] as const) {
      await engine.ipvs.addService(mark(family));
      await engine.ipvs.addServer(mark(family).id, server(NET.servers[0].ip, 0, "tunnel", { weight: 2, tunnel }));
    }
    const scrape = parseScrape(await textOf(engine));
    const backend = { local_address: "", local_mark: "0000001F", local_port: "0", proto: "FWM", remote_port: "0" };
    expect(sampleOf(scrape, "node_ipvs_backend_weight", backend)).toBe(4);
  });

  it("leave nothing for promtool to say", async (context) => {
    needsCommands(context, "promtool");
    const one = { service: `tcp:${NET.vip}:80`, server: "10.0.0.1:80", passed: 7, failed: 2, took: 1 };
    lint(await textOf(await loaded(), [{ ...one, state: "up" }]));
    expect(() => lint("# HELP a_total x\n# TYPE a_total gauge\na_total 1\n")).toThrow("non-counter");
  });

  it("are those of the documentation", async () => {
    const one = { service: `tcp:${NET.vip}:80`, server: "10.0.0.1:80", passed: 7, failed: 2, took: 1 };
    const { types, help } = parseScrape(await textOf(await loaded(), [{ ...one, state: "up" }]));
    const page = readFileSync(join(import.meta.dirname, "../../../docs/metrics.md"), "utf8");
    const rows = [...page.matchAll(/^\| `([a-z_]+)` \| (\w+) \|/gm)].map(([, name, type]) => [name!, type!]);
    expect(rows.toSorted()).toEqual([...types].toSorted());
    expect([...help.keys()].toSorted()).toEqual([...types.keys()].toSorted());
  });

  it("are what the dashboard asks for", async () => {
    const one = { service: `tcp:${NET.vip}:80`, server: "10.0.0.1:80", passed: 7, failed: 2, took: 1 };
    const { samples } = parseScrape(await textOf(await loaded(), [{ ...one, state: "up" }]));
    const file = join(import.meta.dirname, "../../../docs/grafana-dashboard.json");
    const { panels, templating } = JSON.parse(readFileSync(file, "utf8")) as {
      panels: Array<{ title: string; targets: Array<{ expr: string }> }>;
      templating: { list: Array<{ query: string }> };
    };
    expect(panels.length).toBeGreaterThan(20);
    const asked = [
      ...panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
      ...templating.list.map((v) => v.query),
    ];
    for (const text of asked.filter((query) => query !== "prometheus")) {
      const found = [...text.matchAll(/\b((?:wlvs|node|process)_[a-z_]+)(?:\{([^}]*)\})?/g)];
      expect(found.length, text).toBeGreaterThan(0);
      for (const [, name, selector = ""] of found) {
        const those = samples.filter((sample) => sample.name === name);
        expect(those.length, `${name} in ${text}`).toBeGreaterThan(0);
        // What is chosen by one of our own labels has to be there, too.
        for (const [, label, value] of selector.matchAll(/([a-z_]+)="([^"]*)"/g)) {
          expect(
            those.some(({ labels: of }) => of[label!] === value),
            `${label}="${value}" in ${text}`,
          ).toBe(true);
        }
      }
    }
  });

  it("escape what a label must not hold", () => {
    expect(labels({ a: 'x"y\\z\n' })).toBe('{a="x\\"y\\\\z\\n"}');
    expect(labels({})).toBe("");
  });
});

describe("many services", () => {
  const address = (n: number) => `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;

  async function crowd(services: number, each: number): Promise<MemoryEngine> {
    const engine = createDirector({ capacities: { services: 8192, servers: 16384, serviceHash: 8192 } });
    for (let n = 0; n < services; n++) {
      const one = { ...WEB, id: { family: 4, protocol: "tcp", address: address(n), port: 80 } } as const;
      await engine.ipvs.addService(one);
      for (let s = 0; s < each; s++) await engine.ipvs.addServer(one.id, server(address((1 << 18) + n * each + s), 80));
    }
    return engine;
  }

  const named = ({ samples }: Scrape, wanted: string) => samples.filter(({ name }) => name === wanted).length;

  let engine: MemoryEngine;
  beforeAll(async () => {
    engine = await crowd(SERVICES_MOST + 20, 2);
  });

  it("do not keep the process from what else there is to do", async () => {
    for (let round = 0; round < 2; round++) await textOf(engine);
    const began = threadTime();
    let last = began;
    let longest = 0;
    const beat = () => {
      const now = threadTime();
      longest = Math.max(longest, now - last);
      last = now;
    };
    let ended = false;
    const again = () => {
      beat();
      if (!ended) setImmediate(again);
    };
    setImmediate(again);
    const text = await textOf(engine);
    ended = true;
    beat();
    expect(named(parseScrape(text), "wlvs_server_connections_total")).toBe(2 * SERVICES_MOST);
    // About 120 ms of the processor in all: in one piece it would be those. Pieces grow by collections of garbage.
    expect(longest, `of ${last - began} ms`).toBeLessThan(50);
  });

  it("have series up to the limit, and a series that says what is left out", async () => {
    const scrape = parseScrape(await textOf(engine));
    expect(named(scrape, "wlvs_service_connections_total")).toBe(SERVICES_MOST);
    expect(named(scrape, "node_ipvs_backend_weight")).toBe(SERVERS_MOST);
    expect(sampleOf(scrape, "wlvs_series_left_out", { of: "services" })).toBe(20);
    expect(sampleOf(scrape, "wlvs_series_left_out", { of: "servers" })).toBe(40);
    expect(sampleOf(scrape, "wlvs_table_entries", { table: "services" })).toBe(SERVICES_MOST + 20);
  });

  it("are of one moment, whatever changes while the text is made", async () => {
    const { count, services } = engine.ipvs.tables.frozenServices();
    const before = await engine.ipvs.services();
    await engine.ipvs.flush();
    await engine.ipvs.addService(service(7));
    expect(count).toBe(SERVICES_MOST + 20);
    expect([...services]).toEqual(before);
  });
});

it("frozen services say what settings make of them, however few there are", async () => {
  const few = createDirector();
  await few.ipvs.addService(service(80));
  for (const usual of [0, 1, 2]) {
    few.control.setting("syn_proxy", `${usual}`);
    expect([...few.ipvs.tables.frozenServices().services]).toEqual(await few.ipvs.services());
  }
});

describe("a breath's duration", () => {
  const words = new Uint32Array(new SharedArrayBuffer(Worker.SIZE));
  const buckets = () =>
    Array.from({ length: Worker.DURATION_BUCKET_COUNT }, (_, n) => words[(Worker.DURATION_BUCKETS + 8 * n) >>> 2]!);

  it("goes into the bucket below whose bound it lies, the longest into the last", () => {
    const meter = new BreathMeter(words, 0);
    for (const micros of [0, 0.9, 1, 1.9, 2, 3.9, 4, 1000, 60e6]) meter.count(micros / 1000);
    const counts = buckets();
    expect(counts.slice(0, 4)).toEqual([2, 2, 2, 1]);
    expect(counts[10]).toBe(1);
    expect(counts.at(-1)).toBe(1);
    expect(counts.reduce((sum, count) => sum + count)).toBe(9);
    // Parts of microseconds are not lost.
    expect(words[Worker.BUSY >>> 2]).toBe(60_001_013);
  });

  it("carries into the upper word", () => {
    const meter = new BreathMeter(words, 0);
    words[Worker.BUSY >>> 2] = 0xffff_ffff;
    meter.count(0.002);
    expect([words[Worker.BUSY >>> 2], words[(Worker.BUSY >>> 2) + 1]]).toEqual([1, 1]);
  });

  it("has places of its own in a worker's block", () => {
    const ends = [
      Worker.SEND + 4 * Worker.SEND_LIMIT,
      Worker.BREATHS,
      Worker.FRAMES_OUT + 8,
      Worker.FRAMES_BUCKETS,
      Worker.FRAMES_BUCKETS + 8 * Worker.FRAMES_BUCKET_COUNT,
      Worker.BUSY,
      Worker.BUSY + 8,
      Worker.DURATION_BUCKETS,
      Worker.DURATION_BUCKETS + 8 * Worker.DURATION_BUCKET_COUNT,
      Worker.SIZE,
    ];
    expect(ends).toEqual(ends.toSorted((a, b) => a - b));
  });
});
