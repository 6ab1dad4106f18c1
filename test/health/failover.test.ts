/** What health does to the tables: a real core, news by hand. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { serverKey } from "../../host/control/keys.js";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import { Failover } from "../../host/health/failover.js";
import { type ServiceHealth, targetId } from "../../host/health/service-health.js";
import type { ServerConfig } from "../../host/ipvs/model.js";
import { createLog } from "../../host/log.js";
import { createDirector, server, service } from "../support/director.js";
import { FAST, until } from "./support.js";

const WEB = service(80, "wrr");
const check = { type: "tcp", ...FAST } as const;
const ids = [11, 12, 13].map((last) => server(`192.168.2.${last}`, 80, "nat", { weight: last - 10 }));
const [A, B, C] = ids as [ServerConfig, ServerConfig, ServerConfig];
const SORRY = server("192.168.2.99", 80);

const failovers: Failover[] = [];
afterEach(() => {
  for (const failover of failovers.splice(0)) failover.close();
});

interface Setup {
  readonly engine: MemoryEngine;
  readonly failover: Failover;
  readonly events: Array<Record<string, unknown>>;
  spec(more?: Partial<ServiceHealth>): ServiceHealth;
  /** News of one server. */
  say(server: ServerConfig, up: boolean): Promise<void>;
  /** ADDRESS weight, of the table. */
  table(): Promise<Record<string, number>>;
}

async function setup(more: Partial<ServiceHealth> = {}, servers = ids): Promise<Setup> {
  const engine = createDirector();
  await engine.ipvs.addService(WEB);
  for (const one of servers) await engine.ipvs.addServer(WEB.id, one);
  const events: Array<Record<string, unknown>> = [];
  const log = createLog("info", "test", (line) => void events.push(JSON.parse(line)));
  const failover = new Failover(engine.ipvs, log);
  failovers.push(failover);
  const spec = (again: Partial<ServiceHealth> = {}): ServiceHealth => ({
    service: WEB.id,
    servers: servers.map(({ id }) => ({ server: id, checks: [check] })),
    onFailure: "remove",
    slowStart: 0,
    quorum: 1,
    hysteresis: 0,
    panic: 0,
    ...more,
    ...again,
  });
  await failover.configure([spec()]);
  return {
    engine,
    failover,
    events,
    spec,
    say: (one, up) => failover.learn([{ id: targetId(WEB.id, one.id), up, problem: up ? undefined : "ill", took: 1 }]),
    table: async () => {
      const { servers: there } = await engine.ipvs.service(WEB.id);
      return Object.fromEntries(there.map(({ id, weight }) => [id.address.split(".")[3]!, weight]));
    },
  };
}

describe("failover", () => {
  it("takes a server out and brings it back as it was", async () => {
    const { say, table, events, engine, failover } = await setup();
    await say(B, false);
    expect(await table()).toEqual({ 11: 1, 13: 3 });
    expect(failover.health().map(({ state }) => state)).toEqual(["unknown", "down", "unknown"]);
    expect(failover.whole(await engine.ipvs.services())[0]!.servers.map(({ id }) => serverKey(id))).toContain(
      "192.168.2.12:80",
    );
    await say(B, true);
    expect(await table()).toEqual({ 11: 1, 12: 2, 13: 3 });
    expect(events.map(({ event }) => event)).toEqual(["health.down", "health.up"]);
    expect(events[0]).toMatchObject({ service: `tcp:192.168.4.100:80`, server: "192.168.2.12:80", problem: "ill" });
  });

  it("leaves it with weight 0 when it is to be inhibited", async () => {
    const { say, table, engine, failover } = await setup({ onFailure: "inhibit" });
    await say(B, false);
    await say(B, false);
    expect(await table()).toEqual({ 11: 1, 12: 0, 13: 3 });
    expect(
      failover.whole(await engine.ipvs.services())[0]!.servers.find(({ id }) => id.address === B.id.address),
    ).toMatchObject({ weight: 2 });
    await say(B, true);
    expect(await table()).toEqual({ 11: 1, 12: 2, 13: 3 });
  });

  it("respects what somebody did by hand meanwhile", async () => {
    const { say, table, engine, failover } = await setup();
    await engine.ipvs.editServer(WEB.id, { ...B, weight: 7 });
    await say(B, false);
    await say(A, false);
    expect(await table()).toEqual({ 13: 3 });
    // Removed for good, and with another weight.
    expect(failover.change(WEB.id, A.id, undefined)).toBe(true);
    await say(A, true);
    await say(B, true);
    expect(await table()).toEqual({ 12: 7, 13: 3 });
    await say(B, false);
    expect(failover.change(WEB.id, B.id, { ...B, weight: 5 })).toBe(true);
    await say(B, true);
    expect(await table()).toEqual({ 12: 5, 13: 3 });
  });

  it("does not bring a server back into a service that is gone", async () => {
    const { say, engine } = await setup();
    await say(B, false);
    await engine.ipvs.removeService(WEB.id);
    await say(B, true);
    expect(await engine.ipvs.services()).toEqual([]);
    await engine.ipvs.addService(WEB);
    await say(A, false);
    expect((await engine.ipvs.service(WEB.id)).servers).toEqual([]);
  });

  it("lets a sorry server serve while nobody else can", async () => {
    const { say, table, events } = await setup({ sorry: SORRY });
    await say(A, false);
    await say(B, false);
    expect(await table()).toEqual({ 13: 3 });
    await say(C, false);
    expect(await table()).toEqual({ 99: 1 });
    await say(B, true);
    expect(await table()).toEqual({ 12: 2 });
    expect(events.map(({ event }) => event)).toContain("health.sorry");
  });

  it("keeps a quorum by weight, with hysteresis, and runs commands", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wlvs-quorum-"));
    const note = (word: string) =>
      ["sh", "-c", `echo ${word} $VIP:$PORT >>${directory}/notes`] as [string, ...string[]];
    const { say, table } = await setup({
      sorry: SORRY,
      quorum: 3,
      hysteresis: 1,
      quorumUp: note("up"),
      quorumDown: note("down"),
    });
    const notes = () => {
      try {
        return readFileSync(`${directory}/notes`, "utf8").trim().split("\n");
      } catch {
        return [];
      }
    };
    await say(C, false);
    // 3 of 6 are left: not below 3 - 1.
    expect(await table()).toEqual({ 11: 1, 12: 2 });
    await say(B, false);
    expect(await table()).toEqual({ 99: 1 });
    await until(() => notes().length === 1, "the command for down");
    await say(B, true);
    // 3 is not 3 + 1.
    expect(await table()).toEqual({ 99: 1 });
    await say(C, true);
    expect(await table()).toEqual({ 11: 1, 12: 2, 13: 3 });
    await until(() => notes().length === 2, "the command for up");
    expect(notes()).toEqual(["down 192.168.4.100:80", "up 192.168.4.100:80"]);
    rmSync(directory, { recursive: true });
  });

  it("uses all when too few are well, if it may panic", async () => {
    const { say, table, events } = await setup({ panic: 50 });
    await say(A, false);
    expect(await table()).toEqual({ 12: 2, 13: 3 });
    await say(B, false);
    expect(await table()).toEqual({ 11: 1, 12: 2, 13: 3 });
    await say(C, false);
    expect(await table()).toEqual({ 11: 1, 12: 2, 13: 3 });
    await say(C, true);
    await say(B, true);
    expect(await table()).toEqual({ 12: 2, 13: 3 });
    expect(events.map(({ event }) => event).filter((event) => String(event).includes("panic"))).toEqual([
      "health.panic",
      "health.panic-over",
    ]);
  });

  it("gives a server its weight back bit by bit", async () => {
    const heavy = { ...A, weight: 100 };
    const { say, table, engine, failover } = await setup({ slowStart: 2500 }, [heavy, B]);
    await say(heavy, false);
    await say(heavy, true);
    expect(await table()).toEqual({ 11: 1, 12: 2 });
    expect(failover.whole(await engine.ipvs.services())[0]!.servers.map(({ weight }) => weight)).toContain(100);
    const seen = new Set<number>();
    let full = false;
    const watch = setInterval(() => {
      void table().then(({ 11: weight = 0 }) => {
        seen.add(weight);
        full ||= weight === 100;
      });
    }, 50);
    await until(() => full, "full weight");
    clearInterval(watch);
    expect(seen.size).toBeGreaterThan(2);
    expect([...seen]).toEqual([...seen].sort((a, b) => a - b));
  });

  it("brings all back when nothing is checked any more, and changes its mind with the configuration", async () => {
    const { say, table, failover, spec } = await setup();
    await say(A, false);
    await failover.configure([spec({ onFailure: "inhibit" })]);
    await failover.configure([spec({ panic: 100 })]);
    expect(await table()).toEqual({ 11: 1, 12: 2, 13: 3 });
    await failover.configure([spec()]);
    expect(await table()).toEqual({ 12: 2, 13: 3 });
    await failover.configure([]);
    expect(await table()).toEqual({ 11: 1, 12: 2, 13: 3 });
  });

  it("takes a server for up only when all of its checks do", async () => {
    const { table, failover, spec, events } = await setup();
    await failover.configure([spec({ servers: [{ server: A.id, checks: [check, { ...check, port: 8080 }] }] })]);
    const say = (at: number, up: boolean) =>
      failover.learn([{ id: targetId(WEB.id, A.id, at), up, problem: up ? undefined : "ill", took: 1 }]);
    await say(0, true);
    expect(failover.health()).toMatchObject([{ state: "unknown" }]);
    await say(1, false);
    expect(await table()).toEqual({ 12: 2, 13: 3 });
    await say(0, false);
    await say(1, true);
    expect(await table()).toEqual({ 12: 2, 13: 3 });
    await say(0, true);
    expect(await table()).toEqual({ 11: 1, 12: 2, 13: 3 });
    expect(failover.health()).toMatchObject([{ state: "up" }]);
    expect(events.map(({ event }) => event)).toEqual(["health.down", "health.up"]);
  });
});
