/** A real Prometheus beside a real director, which real frames pass through. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { hostname } from "node:os";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";
import { lint, parseScrape, type Scrape, sampleOf } from "../support/scrape.js";
import { inside, ip, Network } from "./network.js";

/** A port of loopback that nobody has now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

function get(port: number, path: string, host?: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = host === undefined ? {} : { host };
    request({ host: "127.0.0.1", port, path, headers, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    })
      .once("error", reject)
      .end();
  });
}

async function until<T>(ask: () => Promise<T | undefined>, what: string, limitMs = 20_000): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    const found = await ask().catch(() => undefined);
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

const SERVICE = "192.0.2.100:80";

describe("metrics of a running director", () => {
  let network: Network;
  let client: string;
  let port: number;
  const scrape = async (): Promise<Scrape> => parseScrape((await get(port, "/metrics")).text);

  beforeEach(async (context) => {
    needsDevices(context);
    network = new Network();
    client = network.namespace("client");
    port = await freePort();
    const director = network.director(
      ...["--tap", `ext0,ip=192.0.2.1/24,netns=${client}`, "--socket", network.path("wlvs.sock")],
      ...["--listen", `127.0.0.1:${port}`, "--workers", "2"],
      ...["--vip", SERVICE, "--rip", "192.0.2.10:8080,weight=5"],
    );
    await director.ready();
    ip("-n", client, "addr", "add", "192.0.2.2/24", "dev", "ext0");
    await inside(client, "ping", "-q", "-c", "5", "-i", "0.05", "192.0.2.1");
  });
  afterEach(() => network?.close());

  it("are clean to promtool, and add up", async (context) => {
    needsCommands(context, "promtool");
    const { status, text } = await get(port, "/metrics");
    expect(status).toBe(200);
    lint(text);
    const found = parseScrape(text);
    const frames = sampleOf(found, "wlvs_frames_in_total");
    const sum = (name: string, of: Readonly<Record<string, string>> = {}) =>
      found.samples
        .filter((one) => one.name === name && Object.entries(of).every(([label, value]) => one.labels[label] === value))
        .reduce((total, { value }) => total + value, 0);
    expect(frames).toBeGreaterThanOrEqual(6);
    expect(sum("wlvs_verdicts_total")).toBe(frames);
    expect(sum("wlvs_worker_frames_total", { direction: "in" })).toBe(frames);
    expect(sum("wlvs_port_frames_total", { direction: "in" })).toBe(frames);
    expect(sum("wlvs_worker_bytes_total")).toBe(sum("wlvs_port_bytes_total", { direction: "in" }));
    expect(sum("wlvs_worker_frames_total", { direction: "out" })).toBe(sampleOf(found, "wlvs_frames_out_total"));
    for (const worker of ["0", "1"]) {
      const breaths = sampleOf(found, "wlvs_breath_duration_seconds_count", { worker });
      const busy = sampleOf(found, "wlvs_worker_busy_seconds_total", { worker });
      expect(breaths).toBeGreaterThan(0);
      expect(busy).toBeGreaterThan(0);
      expect(busy).toBeLessThan(sampleOf(found, "process_cpu_seconds_total") + 30);
      // The breath that is being taken has frames already, and no end yet.
      expect(Math.abs(sampleOf(found, "wlvs_breath_frames_count", { worker }) - breaths)).toBeLessThanOrEqual(2);
    }
  });

  it("measure breaths, and not the sleep between them", async () => {
    const before = await scrape();
    const began = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const after = await scrape();
    const passed = (performance.now() - began) / 1000;
    for (const worker of ["0", "1"]) {
      const grown = (name: string) => sampleOf(after, name, { worker }) - sampleOf(before, name, { worker });
      expect(grown("wlvs_worker_busy_seconds_total")).toBeLessThan(passed / 3);
    }
  });

  it("are served to who names the host, and to nobody who reads along", async () => {
    expect((await get(port, "/metrics", `${hostname()}:${port}`)).status).toBe(200);
    expect((await get(port, "/metrics", "rebound.example")).status).toBe(403);
  });

  it("are scraped by a real Prometheus", async (context) => {
    needsCommands(context, "prometheus");
    const own = await freePort();
    const file = network.path("prometheus.yml");
    writeFileSync(
      file,
      `scrape_configs:\n  - job_name: wlvs\n    scrape_interval: 1s\n    static_configs:\n      - targets: ["127.0.0.1:${port}"]\n`,
    );
    const prometheus = spawn(
      "prometheus",
      [`--config.file=${file}`, `--storage.tsdb.path=${network.path("tsdb")}`, `--web.listen-address=127.0.0.1:${own}`],
      { stdio: ["ignore", "ignore", "ignore"] },
    );
    const ended = new Promise((resolve) => prometheus.once("close", resolve));
    try {
      const query = async (text: string) => {
        const answer = await get(own, `/api/v1/query?query=${encodeURIComponent(text)}`);
        const { data } = JSON.parse(answer.text) as { data: { result: Series[] } };
        return data.result.length === 0 ? undefined : data.result;
      };
      const up = await until(() => query("up == 1"), "the target is up", 40_000);
      expect(up[0]!.metric.job).toBe("wlvs");
      const weights = (await query("node_ipvs_backend_weight"))!;
      expect(weights).toHaveLength(1);
      expect(weights[0]!.value[1]).toBe("5");
      expect(weights[0]!.metric).toMatchObject({ local_address: "192.0.2.100", local_port: "80", proto: "TCP" });
      expect(weights[0]!.metric).toMatchObject({ remote_address: "192.0.2.10", remote_port: "8080" });
      expect((await query("histogram_quantile(0.99, wlvs_breath_duration_seconds_bucket)"))!).toHaveLength(2);
      await inside(client, "ping", "-q", "-c", "20", "-i", "0.05", "192.0.2.1");
      const rate = await until(async () => {
        const found = await query('rate(wlvs_port_frames_total{port="ext0",direction="in"}[10s])');
        return found !== undefined && Number(found[0]!.value[1]) > 0 ? found : undefined;
      }, "frames have a rate");
      expect(Number(rate[0]!.value[1])).toBeGreaterThan(0);
    } finally {
      prometheus.kill("SIGKILL");
      await ended;
    }
  });
});
