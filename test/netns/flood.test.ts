/** Floods of each kind, at a bounded rate, while honest clients go on: each served, memory as it was, each counted. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { COUNTERS, type FloodRecord, Ground, KINDS, type Kind, pageBeside } from "../flood/flood.js";
import { needsCommands, needsDevices } from "../support/needs.js";

/** Frames a second; FLOOD_RATE=0 sends as many as the machine can, FLOOD_SECONDS for longer; FLOOD_PROXY=off without it. */
const RATE = Number(process.env.FLOOD_RATE ?? 10_000);
const SECONDS = Number(process.env.FLOOD_SECONDS ?? 3);
const PROXY = (process.env.FLOOD_PROXY ?? "auto") as FloodRecord["proxy"];
/** Clients that have come and gone before it is judged, however long they take. */
const CLIENTS = 3;

describe("a flood of", () => {
  let ground: Ground;

  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, "gcc", "nginx", "curl");
  });

  beforeAll(async () => {
    if (process.getuid?.() !== 0) return;
    ground = new Ground(PROXY);
    await ground.open();
  }, 60_000);

  afterAll(() => ground?.close());

  async function flood(kind: Kind): Promise<{ sent: number; tried: number; failed: number; slowest: number }> {
    const { farm } = ground;
    let sent: number | undefined;
    const flooding = ground.flood(kind, RATE, SECONDS).then((count) => (sent = count));
    flooding.catch(() => {});
    let tried = 0;
    let failed = 0;
    let slowest = 0;
    while (sent === undefined || tried < CLIENTS) {
      const began = performance.now();
      tried++;
      await farm.curl(farm.client, pageBeside(kind), "-g", "--max-time", "10").catch(() => failed++);
      slowest = Math.max(slowest, performance.now() - began);
      await Promise.race([flooding, new Promise((resolve) => setTimeout(resolve, 30))]);
    }
    const result = { sent, tried, failed, slowest: Math.round(slowest) };
    if (process.env.FLOOD_RATE !== undefined) console.log(kind, JSON.stringify(result));
    return result;
  }

  it.each(KINDS)("%s hurts nobody else", { timeout: 120_000 }, async (kind) => {
    // Others give way only once the table is full.
    const [, counter] = COUNTERS[kind === "ndp" ? "arp" : kind];
    const ipvs = ground.ipvs();
    const before = await ipvs.counters();
    const memory = ground.resident();
    const { sent, tried, failed } = await flood(kind);
    const after = await ipvs.counters();
    // What the SYN proxy is for harms nobody; others may cost one in a hundred.
    const share = kind === "syn" || kind === "ack" ? 0 : 0.01;
    expect(sent).toBeGreaterThan(1000);
    expect(failed / tried, `${failed} of ${tried} clients failed`).toBeLessThanOrEqual(share);
    if (kind !== "udp") expect(counter(after) - counter(before)).toBeGreaterThan(sent / 3);
    else expect((await ipvs.status()).connections.used).toBeGreaterThan(1000);
    if (kind === "syn") expect(ground.farm.director!.stderr).toContain("proxy.on");
    expect(ground.resident() - memory, "kilobytes more").toBeLessThan(100_000);
  });
});
