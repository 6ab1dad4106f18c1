/** Floods of each kind, at a bounded rate, while honest clients go on: each served, memory as it was, each counted. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { CLIENT, Farm, OUTER, SERVERS, VIP } from "./farm.js";
import { inside, ip, Network } from "./network.js";

/** Frames a second; FLOOD_RATE=0 sends as many as the machine can, FLOOD_SECONDS for longer; FLOOD_PROXY=off without it. */
const RATE = process.env.FLOOD_RATE ?? "10000";
const SECONDS = process.env.FLOOD_SECONDS ?? "3";
const PAGES = 8080;
const CLIENT_MAC = "02:00:00:00:77:10";

describe("a flood of", () => {
  let network: Network | undefined;
  let farm: Farm;

  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, "gcc", "nginx", "curl");
  });

  beforeAll(async () => {
    if (process.getuid?.() !== 0) return;
    network = new Network();
    farm = new Farm(network);
    const source = join(import.meta.dirname, "../../bench/flood.c");
    expect(spawnSync("gcc", ["-O2", "-o", network.path("flood"), source]).status).toBe(0);
    await farm.serve();
    await farm.start(
      ...["--syn-proxy", process.env.FLOOD_PROXY ?? "auto", "--max-connections", "50000"],
      ...["--neigh", `${CLIENT.v4},${CLIENT_MAC},dev=${farm.outer}`],
      ...["--vip", `[${VIP.v6}]:80`, "--rip", `[${SERVERS[0]!.v6}]:${PAGES}`],
      ...["--vip", `${VIP.v4}:80`, "--rip", `${SERVERS[0]!.v4}:${PAGES}`],
      ...["--vip", `${VIP.v4}:7000/udp`, "--rip", SERVERS[0]!.v4],
    );
    ip("-n", farm.client, "link", "set", farm.outer, "address", CLIENT_MAC);
    for (const host of [VIP.v4, `[${VIP.v6}]`]) {
      await farm.curl(farm.client, `http://${host}/`, "--retry", "20", "--retry-all-errors", "--retry-delay", "1");
    }
  }, 60_000);

  afterAll(async () => {
    await farm?.stop();
    network?.close();
  });

  /** Resident kilobytes of the director and what it started. */
  function resident(): number {
    const of = (pid: number): number => {
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
      const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
      return Number(kilobytes) + children.reduce((sum, child) => sum + of(child), 0);
    };
    return of(farm.director!.child.pid!);
  }

  async function flood(kind: string): Promise<{ sent: number; tried: number; failed: number; slowest: number }> {
    const ipvs = new RemoteIpvs(farm.socket);
    const mac = (await ipvs.ports())[0]!.mac!;
    const targets: Record<string, string> = { arp: OUTER.v4, ndp: OUTER.v6, fragment6: OUTER.v6, spoof: CLIENT.v4 };
    const six = kind === "ndp" || kind === "fragment6";
    const vip = six ? VIP.v6 : VIP.v4;
    const words = [farm.outer, mac, kind, targets[kind] ?? SERVERS[1]!.v4, vip, RATE, SECONDS];
    let over = false;
    const flooding = inside(farm.client, network!.path("flood"), ...words).finally(() => (over = true));
    let tried = 0;
    let failed = 0;
    let slowest = 0;
    while (!over) {
      const began = performance.now();
      tried++;
      await farm
        .curl(farm.client, six ? `http://[${VIP.v6}]/` : `http://${VIP.v4}/`, "-g", "--max-time", "3")
        .catch(() => failed++);
      slowest = Math.max(slowest, performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    const result = { sent: Number(await flooding), tried, failed, slowest: Math.round(slowest) };
    if (process.env.FLOOD_RATE !== undefined) console.log(kind, JSON.stringify(result));
    return result;
  }

  it.each([
    ["syn", (c: Counters) => c.synProxy.answered, 0],
    ["ack", (c: Counters) => c.synProxy.invalid, 0],
    ["udp", (c: Counters) => c.evictions, 0.01],
    ["fragment", (c: Counters) => c.fragmentsEvicted, 0.01],
    ["fragment6", (c: Counters) => c.fragmentsEvicted, 0.01],
    ["arp", (c: Counters) => c.verdicts.consumed ?? 0, 0.01],
    ["ndp", (c: Counters) => c.verdicts.consumed ?? 0, 0.01],
    ["spoof", (c: Counters) => c.verdicts.consumed ?? 0, 0.01],
    ["icmp", (c: Counters) => c.reasons["local-unanswered"] ?? 0, 0.01],
    ["ttl", (c: Counters) => c.reasons["ttl-expired"] ?? 0, 0.01],
    ["junk", (c: Counters) => c.reasons["unknown-ethertype"] ?? 0, 0.01],
  ] as const)("%s hurts nobody else", { timeout: 120_000 }, async (kind, counter, share) => {
    const ipvs = new RemoteIpvs(farm.socket);
    const before = await ipvs.counters();
    const memory = resident();
    const { sent, tried, failed } = await flood(kind);
    const after = await ipvs.counters();
    expect(sent).toBeGreaterThan(1000);
    expect(tried).toBeGreaterThan(2);
    expect(failed / tried, `${failed} of ${tried} clients failed`).toBeLessThanOrEqual(share);
    if (kind !== "udp") expect(counter(after) - counter(before)).toBeGreaterThan(sent / 3);
    else expect((await ipvs.status()).connections.used).toBeGreaterThan(1000);
    if (kind === "syn") expect(farm.director!.stderr).toContain("proxy.on");
    expect(resident() - memory, "kilobytes more").toBeLessThan(100_000);
  });
});

type Counters = Awaited<ReturnType<RemoteIpvs["counters"]>>;
