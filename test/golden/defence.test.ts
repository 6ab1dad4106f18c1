/** What is given up under load: drop_packet, drop_entry, secure_tcp. */
import { describe, expect, it } from "vitest";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { ethernet, FLAG, tcpPacket, udpPacket } from "../support/packets.js";

let port = 10_000;

async function start(capacities = {}): Promise<MemoryEngine> {
  const engine = createDirector({ capacities });
  for (const protocol of ["tcp", "udp"] as const) {
    const config = service(80, "rr", protocol);
    await engine.ipvs.addService(config);
    await engine.ipvs.addServer(config.id, server(NET.servers[0].ip, 80));
  }
  return engine;
}

/** Sends a packet of a new connection; whether it came through. */
function open(engine: MemoryEngine, protocol: "tcp" | "udp" = "tcp"): boolean {
  const ends = { source: NET.client.ip, destination: NET.vip, sourcePort: port++, destinationPort: 80 };
  const packet = protocol === "tcp" ? tcpPacket(ends, { flags: FLAG.syn }) : udpPacket(ends);
  engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, packet));
  return engine.collect().length === 1;
}

function later(engine: MemoryEngine, seconds: number): void {
  engine.advanceTo(engine.clock.nowMs + seconds * 1000);
  engine.collect();
}

async function listed(engine: MemoryEngine): Promise<string[]> {
  const states: string[] = [];
  for await (const { state } of engine.ipvs.connections()) states.push(state);
  return states;
}

describe("drop_packet", () => {
  it("3 drops one attempt in am_droprate, the first at once", async () => {
    const engine = await start();
    engine.control.setting("am_droprate", "4");
    engine.control.setting("drop_packet", "3");
    expect(open(engine)).toBe(true);
    later(engine, 1.1);
    const came = Array.from({ length: 9 }, () => open(engine, "udp"));
    expect(came).toEqual([false, true, true, true, false, true, true, true, false]);
    engine.control.setting("drop_packet", "0");
    later(engine, 1.1);
    expect(Array.from({ length: 9 }, () => open(engine)).every(Boolean)).toBe(true);
  });

  it("1 waits until the table has little room", async () => {
    const engine = await start({ connections: 1000 });
    engine.control.setting("amemthresh", "100");
    engine.control.setting("drop_packet", "1");
    for (let n = 0; n < 950; n++) expect(open(engine)).toBe(true);
    later(engine, 1.1);
    expect(engine.ipvs.tables.setting(3)).toBe(2);
    // A threshold of 100 over 50 that are short: every other one.
    expect(Array.from({ length: 8 }, () => open(engine)).filter(Boolean)).toHaveLength(4);
    later(engine, 70);
    expect(engine.ipvs.tables.setting(3)).toBe(1);
    expect(Array.from({ length: 8 }, () => open(engine)).every(Boolean)).toBe(true);
  });
});

describe("drop_entry", () => {
  it("3 ends connections that never got through, within half a minute", async () => {
    const engine = await start();
    for (let n = 0; n < 100; n++) open(engine);
    for (let n = 0; n < 100; n++) open(engine, "udp");
    engine.control.setting("drop_entry", "3");
    later(engine, 40);
    // What was seen a moment ago is kept, whatever it is.
    expect(await listed(engine)).toEqual(Array.from({ length: 100 }, () => "UDP"));
    later(engine, 60);
    expect(await listed(engine)).toEqual([]);
  });
});

describe("secure_tcp", () => {
  it("3 trusts no client's ACK", async () => {
    const engine = await start();
    engine.control.setting("secure_tcp", "3");
    later(engine, 1.1);
    const ends = { source: NET.client.ip, destination: NET.vip, sourcePort: port++, destinationPort: 80 };
    for (const flags of [FLAG.syn, FLAG.ack]) {
      engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends, { flags })));
    }
    expect(await listed(engine)).toEqual(["SYN_RECV"]);
    engine.control.setting("secure_tcp", "0");
    later(engine, 1.1);
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends, { flags: FLAG.ack })));
    expect(await listed(engine)).toEqual(["ESTABLISHED"]);
  });
});
