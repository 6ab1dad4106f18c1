/** A real Prometheus beside a real director, which real frames pass through. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { freePort } from "../support/free-port.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { lint, parseScrape, type Scrape, sampleOf } from "../support/scrape.js";
import { type Director, inside, ip, Network, PATIENCE_MS } from "./network.js";

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

async function until<T>(ask: () => Promise<T | undefined>, what: string, limitMs = PATIENCE_MS): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    let trouble: unknown;
    const found = await ask().catch((error: unknown) => {
      trouble = error;
      return undefined;
    });
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`, { cause: trouble });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

const MAIN = join(import.meta.dirname, "../../dist/host/cli/main.js");
const SERVICE = "192.0.2.100:80";

/** Runs until `then` is done, whatever happens. */
async function beside<T>(command: string, args: readonly string[], then: () => Promise<T>): Promise<T> {
  const child = spawn(command, args, { stdio: "ignore" });
  const ended = new Promise((resolve) => child.once("close", resolve));
  try {
    return await then();
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

describe("metrics of a running director", () => {
  let network: Network;
  let client: string;
  let director: Director;
  let port: number;
  const scrape = async (): Promise<Scrape> => parseScrape((await get(port, "/metrics")).text);

  beforeEach(async (context) => {
    needsDevices(context);
    network = new Network();
    client = network.namespace("client");
    // The director, who is nobody, writes there.
    chmodSync(network.directory, 0o755);
    port = await freePort();
    director = network.director(
      ...["--tap", `ext0,ip=192.0.2.1/24,netns=${client}`, "--socket", network.path("wlvs.sock")],
      ...["--listen", `127.0.0.1:${port}`, "--workers", "2"],
      ...["--vip", SERVICE, "--rip", "192.0.2.10:8080,weight=5", "--procfs", network.path("proc")],
      ...["--vip", "[2001:db8::100]:53/udp", "--rip", "[2001:db8::10]:53,weight=3"],
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
    const args = [
      `--config.file=${file}`,
      `--storage.tsdb.path=${network.path("tsdb")}`,
      `--web.listen-address=127.0.0.1:${own}`,
    ];
    await beside("prometheus", args, async () => {
      const query = async (text: string) => {
        const answer = await get(own, `/api/v1/query?query=${encodeURIComponent(text)}`);
        const { data } = JSON.parse(answer.text) as { data: { result: Series[] } };
        return data.result.length === 0 ? undefined : data.result;
      };
      const up = await until(() => query("up == 1"), "the target is up", 40_000);
      expect(up[0]!.metric.job).toBe("wlvs");
      const weights = (await query('node_ipvs_backend_weight{proto="TCP"}'))!;
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
    });
  });

  it("are what an unchanged node_exporter makes of --procfs", async (context) => {
    needsCommands(context, "prometheus-node-exporter");
    const wlvsadm = (...args: string[]) =>
      execFileSync(process.execPath, [MAIN, "ipvsadm", ...args], {
        env: { ...process.env, WLVS_SOCKET: network.path("wlvs.sock") },
      });
    wlvsadm("-A", "-f", "31");
    wlvsadm("-a", "-f", "31", "-r", "192.0.2.11", "-g", "-w", "7");
    // Connections, so that there is something to compare.
    const { status } = spawnSync(
      "ip",
      ["netns", "exec", client, "timeout", "0.5", "bash", "-c", `exec 3<>/dev/tcp/${SERVICE.replace(":", "/")}`],
      { stdio: "ignore" },
    );
    expect(status).not.toBe(127);
    const own = await freePort();
    const args = [
      ...[`--path.procfs=${network.path("proc")}`, "--collector.disable-defaults", "--collector.ipvs"],
      `--web.listen-address=127.0.0.1:${own}`,
    ];
    await beside("prometheus-node-exporter", args, async () => {
      const ofIpvs = ({ samples, types, help }: Scrape) => {
        const names = [...types.keys()].filter((name) => name.startsWith("node_ipvs_")).toSorted();
        const chosen = samples.filter(({ name }) => name.startsWith("node_ipvs_"));
        return {
          types: names.map((name) => [name, types.get(name), help.get(name)]),
          samples: chosen.map(({ name, labels, value }) => `${name} ${JSON.stringify(labels)} ${value}`).toSorted(),
        };
      };
      const linesOf = (text: string) =>
        `${text
          .split("\n")
          .filter((line) => line.includes("node_ipvs_"))
          .join("\n")}\n`;
      const same = await until(async () => {
        const theirs = ofIpvs(parseScrape(linesOf((await get(own, "/metrics")).text)));
        const ours = ofIpvs(await scrape());
        expect(theirs.samples).toHaveLength(14);
        expect(theirs).toEqual(ours);
        return ours;
      }, "node_exporter says the same");
      expect(same.samples.join("\n")).toContain('"local_mark":"0000001F"');
      expect(same.samples.join("\n")).toContain('"remote_address":"2001:db8::10"');
      expect(same.samples).toContain("node_ipvs_connections_total {} 1");
    });
    const files = () => readdirSync(network.path("proc/net")).filter((name) => !name.endsWith(".new"));
    expect(files().toSorted()).toEqual(["ip_vs", "ip_vs_stats"]);
    expect(readFileSync(network.path("proc/net/ip_vs"), "utf8")).toBe(
      execFileSync(process.execPath, [MAIN, "proc", "ip_vs", "--socket", network.path("wlvs.sock")], {
        encoding: "utf8",
      }),
    );
    await director.stop();
    expect(existsSync(network.path("proc"))).toBe(false);
  });

  it("tell what a full queue lost before the core", async () => {
    ip("-n", client, "link", "set", "ext0", "txqueuelen", "4");
    const pids = execFileSync("ps", ["-o", "pid=", "--ppid", `${director.child.pid}`], { encoding: "utf8" });
    const child = Number(pids.trim().split(/\s+/)[0]);
    process.kill(child, "SIGSTOP");
    try {
      // More than the buffers that wait in both rings, and the queue behind each.
      const send = "exec 3<>/dev/udp/192.0.2.1/9; for n in {1..3000}; do echo x >&3 2>/dev/null; done; true";
      await inside(client, "bash", "-c", send);
    } finally {
      process.kill(child, "SIGCONT");
    }
    const link = JSON.parse(ip("-n", client, "-s", "-j", "link", "show", "ext0")) as Array<{
      stats64: { tx: { dropped: number; errors: number } };
    }>;
    const { dropped, errors } = link[0]!.stats64.tx;
    expect(dropped).toBeGreaterThan(0);
    const found = await scrape();
    expect(sampleOf(found, "wlvs_device_lost_total", { port: "ext0", direction: "in" })).toBe(dropped + errors);
    expect(sampleOf(found, "wlvs_device_queue_length", { port: "ext0" })).toBe(4);
    expect(sampleOf(found, "wlvs_device_carrier", { port: "ext0" })).toBe(1);
    const say = (...args: string[]) =>
      execFileSync(process.execPath, [MAIN, ...args, "--socket", network.path("wlvs.sock")], { encoding: "utf8" });
    expect(say("status")).toMatch(/^lost before the core on ext0 [\d.k]+: its queue holds 4$/m);
    const { stdout } = spawnSync(process.execPath, [MAIN, "doctor", "--socket", network.path("wlvs.sock")], {
      encoding: "utf8",
    });
    expect(stdout).toContain("frames were lost before the director: its queue holds 4");
    ip("-n", client, "link", "set", "ext0", "down");
    const down = await scrape();
    expect(sampleOf(down, "wlvs_device_carrier", { port: "ext0" })).toBe(0);
    expect(say("status")).toContain("no carrier");
  });

  it("refuse a directory that is not theirs", () => {
    const refusal = (directory: string) => {
      const args = ["--tap", `ext1,netns=${client}`, "--socket", network.path("other.sock"), "--procfs", directory];
      const { status, stderr } = spawnSync(process.execPath, [MAIN, "run", ...args, "--log-level", "silent"], {
        encoding: "utf8",
        timeout: 20_000,
      });
      return { status, stderr };
    };
    mkdirSync(network.path("taken/net"), { recursive: true });
    writeFileSync(network.path("taken/net/dev"), "");
    const taken = refusal(network.path("taken"));
    expect(taken.status).toBe(1);
    expect(taken.stderr).toContain(`has other files (dev): give a directory of its own`);
    expect(readdirSync(network.path("taken/net"))).toEqual(["dev"]);
    mkdirSync(network.path("closed"), { mode: 0o700 });
    const closed = refusal(network.path("closed/proc"));
    expect(closed.status).toBe(1);
    expect(closed.stderr).toMatch(/nobody, who writes there, cannot reach it \(.*closed is closed to others\)/);
    expect(readdirSync(network.path("closed"))).toEqual([]);
    const deep = refusal(network.path("no/such"));
    expect(deep.status).toBe(1);
    expect(deep.stderr).toMatch(/^wlvs: --procfs .*no\/such: .*: give a directory that can be made\n$/);
  });
});
