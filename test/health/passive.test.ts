/** Passive checks: what a real core counts takes servers out, and time brings them back. */
import { afterEach, describe, expect, it } from "vitest";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import type { PassiveCheck } from "../../host/health/checker.js";
import { Failover } from "../../host/health/failover.js";
import { Passive } from "../../host/health/passive.js";
import { type ServiceHealth, targetId } from "../../host/health/service-health.js";
import type { ServerConfig } from "../../host/ipvs/model.js";
import { createLog } from "../../host/log.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { ethernet, FLAG, tcpPacket } from "../support/packets.js";
import { FAST, sleep, until } from "./support.js";

const WEB = service(80, "rr");
const [A, B] = [11, 12].map((last) => server(`192.168.2.${last}`, 80)) as [ServerConfig, ServerConfig];
const CHECK: PassiveCheck = { type: "passive", refused: 2, unanswered: 0, window: 10_000, hold: 300 };

const closing: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of closing.splice(0)) one.close();
});

let port = 4000;

/** A client is refused by both servers: round robin reaches each of them. */
function refuse(engine: MemoryEngine, whom: ServerConfig, times: number): void {
  for (let left = times; left > 0; ) {
    const clientPort = port++;
    const ends = { source: NET.client.ip, sourcePort: clientPort, destination: NET.vip, destinationPort: 80 };
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends)));
    const asked = engine.collect().find(({ dev }) => dev === "int");
    const address = `192.168.2.${asked?.frame[33]}`;
    const back = { source: address, sourcePort: 80, destination: NET.client.ip, destinationPort: clientPort };
    const flags = address === whom.id.address ? FLAG.rst | FLAG.ack : FLAG.syn | FLAG.ack;
    engine.inject("int", ethernet(NET.int.mac, NET.servers[0].mac, tcpPacket(back, { flags })));
    engine.collect();
    if (address === whom.id.address) left--;
  }
}

async function setup(more: Partial<ServiceHealth> = {}, checks: ServiceHealth["servers"][number]["checks"] = [CHECK]) {
  const engine = createDirector();
  await engine.ipvs.addService(WEB);
  for (const one of [A, B]) await engine.ipvs.addServer(WEB.id, one);
  const events: Array<Record<string, unknown>> = [];
  const log = createLog("info", "test", (line) => void events.push(JSON.parse(line)));
  const failover = new Failover(engine.ipvs, log);
  const passive = new Passive(engine.ipvs, (news) => void failover.learn(news));
  closing.push(passive, failover);
  const configure = async (given: Partial<ServiceHealth> = {}, theirs = checks) => {
    const spec: ServiceHealth = {
      service: WEB.id,
      servers: [A, B].map(({ id }) => ({ server: id, checks: theirs })),
      onFailure: "remove",
      slowStart: 0,
      quorum: 1,
      hysteresis: 0,
      panic: 0,
      ...more,
      ...given,
    };
    await failover.configure([spec]);
    passive.configure([spec]);
  };
  await configure();
  const table = async () => (await engine.ipvs.service(WEB.id)).servers.map(({ id, weight }) => [id.address, weight]);
  return { engine, failover, events, configure, table };
}

describe("passive checks", () => {
  it("take a server out, and try it again when its hold time is over", async () => {
    const { engine, failover, events, table } = await setup();
    await until(() => failover.health().every(({ state }) => state === "up"), "both are up");
    refuse(engine, B, 2);
    await until(() => events.length === 1, "an event");
    expect(events[0]).toMatchObject({
      event: "health.down",
      server: "192.168.2.12:80",
      problem: "2 connections refused within 10 s",
    });
    expect(await table()).toEqual([["192.168.2.11", 1]]);
    expect(failover.health()).toMatchObject([{ state: "up" }, { state: "down" }]);
    await until(() => events.length === 2, "it is back");
    expect(events[1]).toMatchObject({ event: "health.up", server: "192.168.2.12:80" });
    expect(await table()).toEqual([
      ["192.168.2.11", 1],
      ["192.168.2.12", 1],
    ]);
    // Nothing is held against it from before, and it is watched again.
    refuse(engine, B, 1);
    await sleep(80);
    expect(events).toHaveLength(2);
    refuse(engine, B, 1);
    await until(() => events.length === 3, "out again");
  });

  it("leave it with weight 0 where that is asked for", async () => {
    const { engine, events, table } = await setup({ onFailure: "inhibit" });
    refuse(engine, A, 2);
    await until(() => events.length === 1, "an event");
    expect(await table()).toEqual([
      ["192.168.2.11", 0],
      ["192.168.2.12", 1],
    ]);
    await until(() => events.length === 2, "it is back");
    expect((await table())[0]).toEqual(["192.168.2.11", 1]);
    expect([...engine.ipvs.suspects()]).toEqual([]);
  });

  it("bring a server back only when the other checks say so too", async () => {
    const active = { type: "tcp", ...FAST } as const;
    const { engine, failover, events, table } = await setup({}, [active, CHECK]);
    const say = (up: boolean) =>
      failover.learn([A, B].map(({ id }) => ({ id: targetId(WEB.id, id, 0), up: id === A.id || up, took: 1 })));
    await say(true);
    refuse(engine, B, 2);
    await until(() => events.length === 1, "out");
    await say(false);
    await sleep(CHECK.hold + 100);
    expect(await table()).toEqual([["192.168.2.11", 1]]);
    await say(true);
    expect(await table()).toHaveLength(2);
  });

  it("find nobody too bad in a panic", async () => {
    const { engine, failover, events, table } = await setup({ panic: 60 });
    refuse(engine, B, 2);
    await until(() => events.some(({ event }) => event === "health.panic"), "panic");
    await failover.learn([]);
    expect(await table()).toHaveLength(2);
    expect([...engine.ipvs.suspects()]).toEqual([]);
    refuse(engine, B, 3);
    expect([...engine.ipvs.suspects()]).toEqual([]);
    await until(() => events.some(({ event }) => event === "health.panic-over"), "its end");
    refuse(engine, B, 2);
    expect([...engine.ipvs.suspects()]).toHaveLength(1);
  });

  it("end with the configuration, and stay through a reload", async () => {
    const { engine, failover, events, configure, table } = await setup();
    refuse(engine, B, 2);
    await until(() => events.length === 1, "out");
    await configure({ slowStart: 5 });
    expect(await table()).toHaveLength(1);
    expect(failover.health()[1]).toMatchObject({ state: "down" });
    await configure({}, [{ type: "tcp", ...FAST }]);
    expect(await table()).toHaveLength(2);
    refuse(engine, B, 5);
    expect([...engine.ipvs.suspects()]).toEqual([]);
  });
});
