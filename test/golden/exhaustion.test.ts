/** What a stranger may use up, and what is left for the others. */
import { describe, expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";
import * as Neighbour from "../../assembly/layout/neighbour.js";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { arp, ethernet, FLAG, tcpPacket, udpPacket } from "../support/packets.js";

const word = (engine: MemoryEngine, at: number) =>
  new DataView(engine.memory.buffer).getUint32(Memory.LAYOUT_BASE + at, true);

const ends = (destination: string, sourcePort = 4000) => ({
  source: NET.client.ip,
  destination,
  sourcePort,
  destinationPort: 80,
});

function send(engine: MemoryEngine, packet: Uint8Array): number {
  engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, packet));
  return engine.collect().length;
}

describe("frames that wait for neighbours that do not exist", () => {
  it("leave slots for those that move", async () => {
    const engine = createDirector({ capacities: { slots: 768 } });
    await engine.ipvs.addService(service(80));
    await engine.ipvs.addServer(service(80).id, server(NET.servers[0].ip, 80));
    for (let host = 50; host < 70; host++) {
      for (let n = 0; n < 101; n++) send(engine, udpPacket(ends(`192.168.2.${host}`)));
    }
    expect(word(engine, Memory.WAITING)).toBeLessThanOrEqual(192);
    expect(send(engine, tcpPacket(ends(NET.vip)))).toBe(1);
    engine.advanceTo(engine.clock.nowMs + 10_000);
    expect(word(engine, Memory.WAITING)).toBe(0);
    // All but what the worker holds ready is free again.
    expect(word(engine, Memory.FREE_SLOT_COUNT)).toBe(768 - 256);
  });

  it("go out when somebody says for good who the neighbour is", () => {
    const engine = createDirector();
    send(engine, udpPacket(ends("192.168.2.50")));
    expect(word(engine, Memory.WAITING)).toBe(1);
    engine.control.neighbourAdd("192.168.2.50", "02:00:00:00:02:32", 1);
    engine.breathe();
    expect(word(engine, Memory.WAITING)).toBe(0);
    expect(engine.collect()).toHaveLength(1);
  });
});

describe("neighbours", () => {
  it("give way to new ones when nobody answers for them", () => {
    const engine = createDirector({
      capacities: { neighbours: 64 },
      interfaces: [
        { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`] },
        { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`] },
      ],
    });
    for (let host = 50; host < 200; host++) send(engine, udpPacket(ends(`192.168.2.${host}`)));
    expect(word(engine, Memory.NEIGHBOUR_COUNT)).toBeLessThanOrEqual(64);
    const fresh = { ip: "192.168.2.201", mac: "02:00:00:00:02:c9" };
    expect(send(engine, udpPacket(ends(fresh.ip)))).toBe(1);
    engine.inject("int", ethernet(NET.int.mac, fresh.mac, arp(2, fresh, NET.int), 0x0806));
    expect(engine.collect()).toHaveLength(1);
    // Those that were set stay.
    const base = word(engine, Memory.NEIGHBOURS_BASE);
    const states = new Uint8Array(engine.memory.buffer);
    const permanent = Array.from({ length: 64 }, (_, n) => states[base + n * Neighbour.SIZE + Neighbour.STATE]);
    expect(permanent.filter((state) => state === Neighbour.STATE_PERMANENT)).toHaveLength(5);
    engine.advanceTo(engine.clock.nowMs + 10_000);
    expect(word(engine, Memory.WAITING)).toBe(0);
  });
});

describe("a storm of neighbours that are only heard of", () => {
  it.each([1000, 0x80000000, 0xffff0000])("leaves room for those that are needed, at tick %i", (start) => {
    const engine = createDirector({ capacities: { neighbours: 64 }, start });
    const hear = (ip: string, mac: string) => {
      const message = arp(1, { ip, mac }, { ip: NET.ext.ip, mac: "00:00:00:00:00:00" });
      engine.inject("ext", ethernet("ff:ff:ff:ff:ff:ff", mac, message, 0x0806));
      return engine.collect().length;
    };
    for (let n = 0; n < 500; n++) {
      const host = `${1 + (n >> 7)}.${n & 127}`;
      expect(hear(`10.9.${host}`, `02:00:00:00:0${1 + (n >> 7)}:${(16 + (n & 127)).toString(16)}`)).toBe(1);
    }
    expect(engine.ipvs.tables.counters().neighboursEvicted).toBeGreaterThan(400);
    // A server that was not known yet is asked for, and what was to go to it goes.
    const fresh = { ip: "192.168.2.201", mac: "02:00:00:00:02:c9" };
    expect(send(engine, udpPacket(ends(fresh.ip)))).toBe(1);
    engine.inject("int", ethernet(NET.int.mac, fresh.mac, arp(2, fresh, NET.int), 0x0806));
    expect(engine.collect()).toHaveLength(1);
  });
});

describe("answers", () => {
  it("of one kind do not use up those of another", async () => {
    const engine = createDirector({
      interfaces: [
        { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`, `${NET.vip}/32`] },
        { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`], mtu: 1280 },
      ],
    });
    await engine.ipvs.addService(service(80, "rr", "udp"));
    await engine.ipvs.addServer(service(80, "rr", "udp").id, server(NET.servers[0].ip, 80));
    let told = 0;
    for (let n = 0; n < 200; n++) told += send(engine, udpPacket(ends("192.168.2.50"), new Uint8Array(8), { ttl: 1 }));
    expect(told).toBe(50);
    expect(engine.ipvs.tables.counters().errorsWithheld).toBe(150);
    // Path MTU discovery goes on.
    expect(send(engine, udpPacket(ends(NET.vip), new Uint8Array(1400), { dontFragment: true }))).toBe(1);
    expect(engine.ipvs.tables.counters().reasons["mtu-exceeded"]).toBe(1);
  });

  it("to segments that belong to nothing are bounded", () => {
    const engine = createDirector();
    engine.control.setting("reset_rate", "100");
    engine.advanceTo(engine.clock.nowMs + 10_000);
    let told = 0;
    for (let n = 0; n < 300; n++) told += send(engine, tcpPacket(ends(NET.vip, 5000 + n), { flags: FLAG.ack }));
    expect(told).toBe(100);
    expect(engine.ipvs.tables.counters().reasons["rate-limited"]).toBe(200);
    engine.advanceTo(engine.clock.nowMs + 500);
    for (let n = 0; n < 300; n++) told += send(engine, tcpPacket(ends(NET.vip, 5000 + n), { flags: FLAG.ack }));
    expect(told).toBe(150);
    engine.control.setting("reset_rate", "0");
    for (let n = 0; n < 300; n++) told += send(engine, tcpPacket(ends(NET.vip, 5000 + n), { flags: FLAG.ack }));
    expect(told).toBe(450);
  });
});

describe("a neighbour that takes another MAC", () => {
  it("is counted, as one that is new or the same is not", () => {
    const engine = createDirector();
    const changed = () => engine.ipvs.tables.counters().neighboursChanged;
    const ask = (mac: string) => {
      const message = arp(1, { ip: "192.168.4.77", mac }, { ip: NET.ext.ip, mac: "00:00:00:00:00:00" });
      engine.inject("ext", ethernet("ff:ff:ff:ff:ff:ff", mac, message, 0x0806));
      engine.collect();
    };
    ask("02:00:00:00:04:77");
    ask("02:00:00:00:04:77");
    expect(changed()).toBe(0);
    ask("02:00:00:00:04:78");
    expect(changed()).toBe(1);
  });

  it("without a word is found by asking: the old MAC when an answer is half a minute old, then everybody", () => {
    const engine = createDirector({ neighbours: [{ ...NET.client, dev: "ext" }] });
    const [before] = NET.servers;
    const after = { ...before, mac: "02:00:00:00:99:01" };
    const everybody = "ff:ff:ff:ff:ff:ff";
    const asked: Array<readonly [number, string]> = [];
    const last = { [before.mac]: -1, [after.mac]: -1 };
    // It says nothing but answers to questions that it hears; there is something for it four times a second.
    const look = (at: number, now: typeof before | typeof after) => {
      const answers: Uint8Array[] = [];
      for (const { frame } of engine.collect()) {
        const to = [...frame.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
        if (frame[13] !== 0x06) {
          last[to] = at;
          continue;
        }
        asked.push([at, to]);
        const answer = ethernet(NET.int.mac, now.mac, arp(2, now, NET.int), 0x0806);
        if (to === now.mac || to === everybody) answers.push(answer);
      }
      for (const answer of answers) engine.inject("int", answer);
      return answers.length;
    };
    const began = engine.clock.nowMs;
    for (let at = 0; at <= 45_000; at += 250) {
      engine.advanceTo(began + at);
      engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, udpPacket(ends(before.ip))));
      while (look(at, at < 1000 ? before : after) > 0);
    }
    expect(asked.map(([, to]) => to)).toEqual([everybody, before.mac, before.mac, before.mac, everybody]);
    // As the kernel has it: believed for 30 s, 5 s more for whoever uses it, three questions a second apart.
    const times = asked.map(([at]) => Math.round(at / 1000));
    expect(times).toEqual([0, 35, 36, 37, 38]);
    expect(last).toEqual({ [before.mac]: expect.closeTo(38_000, -3), [after.mac]: 45_000 });
    // Nobody was believed who was not asked.
    expect(engine.ipvs.tables.counters().neighboursChanged).toBe(0);
  });
});

describe("clients that send from port 0", () => {
  // Each of their packets makes a connection of its own, and all have one hash.
  it("make a bounded number of connections, and disturb no others", async () => {
    const engine = createDirector({ capacities: { connections: 100_000 } });
    const config = service(80, "rr", "udp");
    await engine.ipvs.addService(config);
    await engine.ipvs.addServer(config.id, server(NET.servers[0].ip, 80));
    const frame = ethernet(NET.ext.mac, NET.client.mac, udpPacket(ends(NET.vip, 0)));
    for (let n = 0; n < 70_000; n++) engine.inject("ext", frame);
    engine.collect();
    expect(word(engine, Memory.CONNECTION_COUNT)).toBeLessThan(5000);
    expect(send(engine, udpPacket(ends(NET.vip, 4000)))).toBe(1);
  });
});

describe("a full table", () => {
  // Making room ends a full NAT connection while the new client's network is at hand.
  it("does not mistake a server for the client of a new template", async () => {
    const engine = createDirector({ capacities: { connections: 4 } });
    const config = service(80, "rr", "tcp", { persistence: 300 });
    await engine.ipvs.addService(config);
    await engine.ipvs.addServer(config.id, server(NET.servers[0].ip, 80, "fullnat"));
    const clients = ["192.168.4.20", "192.168.4.21", "192.168.4.22"];
    for (const source of clients) expect(send(engine, tcpPacket({ ...ends(NET.vip), source }))).toBe(1);
    const templates: string[] = [];
    for await (const { template, client } of engine.ipvs.connections()) if (template) templates.push(client);
    expect(templates.sort()).toEqual(clients);
  });
});

describe("a full table of persistent clients", () => {
  it.each([2, 3, 4, 5])("of %i records never takes a template's place for its own connection", async (connections) => {
    const engine = createDirector({ capacities: { connections } });
    await engine.ipvs.addService(service(80, "rr", "tcp", { persistence: 60 }));
    await engine.ipvs.addServer(service(80).id, server(NET.servers[0].ip, 80));
    for (let client = 1; client < 60; client++) {
      send(engine, tcpPacket({ ...ends(NET.vip), source: `192.168.4.${client + 20}` }));
      engine.clock.nowMs += 40;
    }
    engine.advanceTo(engine.clock.nowMs + 1_800_000);
    expect(word(engine, Memory.CONNECTION_COUNT)).toBe(0);
  });
});
