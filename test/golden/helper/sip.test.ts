/** Persistence by Call-ID: which packets find the same server, what is kept of them, and what servers begin. */
import { describe, expect, it } from "vitest";
import * as Memory from "../../../assembly/layout/memory.js";
import type { MemoryEngine, MemoryEngineConfig } from "../../../host/engine/memory-engine.js";
import type { ConnectionInfo, ServiceConfig } from "../../../host/ipvs/model.js";
import { describe as decode } from "../../conformance/frames.js";
import { createDirector, NET, server, service } from "../../support/director.js";
import { ethernet, udpPacket } from "../../support/packets.js";
import { bytes } from "./session.js";

const CLIENT = NET.client.ip;

async function director(
  more: Partial<ServiceConfig> = {},
  config: Partial<MemoryEngineConfig> = {},
): Promise<MemoryEngine> {
  const engine = createDirector(config);
  const sip = service(5060, "rr", "udp", { persistence: 60, persistenceEngine: "sip", ...more });
  await engine.ipvs.addService(sip);
  for (const { ip } of NET.servers) await engine.ipvs.addServer(sip.id, server(ip, 5060));
  engine.breathe();
  engine.collect();
  return engine;
}

/** Sends a client's text; tells which server it went to. */
function call(engine: MemoryEngine, text: string, sourcePort = 5060, source: string = CLIENT): string | undefined {
  const ends = { source, destination: NET.vip, sourcePort, destinationPort: 5060 };
  engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, udpPacket(ends, bytes(text))));
  const [out] = engine.collect();
  if (out === undefined) return undefined;
  const line = decode(out.frame);
  expect(line).not.toContain("bad");
  return / > (\S+) /.exec(line)![1];
}

function begin(engine: MemoryEngine, text: string, n = 0, destinationPort = 6000): string | undefined {
  const { ip, mac } = NET.servers[n]!;
  const ends = { source: ip, destination: CLIENT, sourcePort: 5060, destinationPort };
  engine.inject("int", ethernet(NET.int.mac, mac, udpPacket(ends, bytes(text))));
  const [out] = engine.collect();
  return out === undefined ? undefined : /(\S+) > /.exec(decode(out.frame).slice(36))![1];
}

const invite = (id: string, name = "Call-ID") =>
  `INVITE sip:b@c SIP/2.0\r\nVia: x\r\n${name}: ${id}\r\nCSeq: 1\r\n\r\n`;
const connections = (engine: MemoryEngine) => [...engine.ipvs.tables.connections(engine.clock.ticks())];
const ids = (engine: MemoryEngine) =>
  connections(engine)
    .map((each: ConnectionInfo) => each.persistenceData)
    .filter((data) => data !== undefined)
    .sort();
const word = (engine: MemoryEngine, at: number) =>
  new DataView(engine.memory.buffer).getUint32(Memory.LAYOUT_BASE + at, true);

describe("a call", () => {
  it("stays with its server, whatever port it comes from", async () => {
    const engine = await director();
    const first = call(engine, invite("one@a"));
    expect(call(engine, invite("two@a"), 5061)).not.toBe(first);
    expect(call(engine, invite("one@a", "i"), 5062)).toBe(first);
    expect(call(engine, invite("one@a", "CALL-ID "), 5063)).toBe(first);
    expect(ids(engine)).toEqual(["one@a", "two@a"]);
    expect(connections(engine).filter((each) => each.template)).toMatchObject(
      [1, 2].map(() => ({ client: CLIENT, clientPort: 0, virtualPort: 5060, persistenceEngine: "sip" })),
    );
  });

  it("of another client is another call, unless the mask joins them", async () => {
    for (const [persistencePrefix, same] of [
      [32, false],
      [24, true],
    ] as const) {
      const engine = await director({ persistencePrefix });
      const first = call(engine, invite("one"));
      expect(call(engine, invite("one"), 5060, "192.168.4.77") === first).toBe(same);
    }
  });

  it("leaves nothing but its template with one-packet scheduling", async () => {
    const engine = await director({ onePacket: true });
    const first = call(engine, invite("one"));
    expect(call(engine, invite("one"))).toBe(first);
    expect(connections(engine)).toMatchObject([{ template: true, persistenceData: "one" }]);
    engine.advanceTo(engine.clock.nowMs + 70_000);
    expect(connections(engine)).toEqual([]);
    expect(word(engine, Memory.EXTENSION_COUNT)).toBe(0);
  });

  it("is told apart by every byte of a long id", async () => {
    const engine = await director({ onePacket: true });
    for (const length of [1, 47, 48, 49, 163, 164, 165, 254, 255]) {
      const id = "x".repeat(length - 1);
      const first = call(engine, invite(`${id}1`));
      expect(call(engine, invite(`${id}2`))).not.toBe(first);
      expect(call(engine, invite(`${id}1`))).toBe(first);
      expect(ids(engine)).toContain(`${id}1`);
    }
    expect(call(engine, invite("x".repeat(256)))).toBeUndefined();
    engine.advanceTo(engine.clock.nowMs + 70_000);
    expect(word(engine, Memory.EXTENSION_COUNT)).toBe(0);
  });

  it("is refused when there is no room to remember it", async () => {
    const engine = await director({ onePacket: true }, { capacities: { extensions: 3 } });
    expect(call(engine, invite("x".repeat(200)))).toBeDefined();
    expect(call(engine, invite("y".repeat(200)))).toBeUndefined();
    expect(call(engine, invite("x".repeat(200)))).toBeDefined();
    expect(connections(engine)).toHaveLength(1);
    expect(word(engine, Memory.CONNECTION_COUNT)).toBe(1);
  });

  it.each([
    ["no Call-ID", "OPTIONS x\r\n\r\n"],
    ["nothing at all", ""],
    ["it stands in the first line", "Call-ID: one\r\n"],
    ["its line does not end", "A\r\nCall-ID: one"],
    ["something follows it", "A\r\nCall-ID: one;x\r\n"],
    ["there is no colon", "A\r\nCall-ID one\r\nCall-ID: two\r\n"],
    ["half of it is missing", "A\r\nCall-ID: one@\r\n"],
    ["another header begins like it", "A\r\nix: one\r\n"],
    ["its line goes on another's", "A\r\n Call-ID: one\r\n"],
    ["a folded line is empty", "A\r\nCall-ID:\r\n \r\n"],
  ])("is dropped where %s", async (_, text) => {
    const engine = await director();
    expect(call(engine, text)).toBeUndefined();
    expect(connections(engine)).toEqual([]);
  });

  it.each([
    ["A\nCall-ID :\t three\n", "three"],
    ["A\r\ncall-id:\r\n  seven\r\n", "seven"],
    ["A\rI: nine@10.0.0.1:5\r", "nine@10.0.0.1:5"],
    ["A\r\n Call-ID: no\r\nCall-ID: eleven\r\n", "eleven"],
    ["A\r\nCall-ID: a-!%*_+`'~.()<>:\\\"/[]?{}@b\r\n", "a-!%*_+`'~.()<>:\\\"/[]?{}@b"],
  ])("is read from %j", async (text, id) => {
    const engine = await director();
    expect(call(engine, text)).toBeDefined();
    expect(ids(engine)).toEqual([id]);
  });
});

describe("a server", () => {
  it("begins calls that the client's answers come back to", async () => {
    const engine = await director();
    expect(begin(engine, invite("mine"), 2)).toBe(NET.vip);
    expect(connections(engine)).toHaveLength(2);
    expect(call(engine, "SIP/2.0 200 OK\r\nCall-ID: mine\r\n\r\n", 6000)).toBe(NET.servers[2].ip);
    expect(call(engine, invite("mine"), 6001)).toBe(NET.servers[2].ip);
  });

  it("takes a call over", async () => {
    const engine = await director();
    begin(engine, invite("mine"), 2);
    expect(begin(engine, invite("mine"), 1, 6001)).toBe(NET.vip);
    expect(call(engine, invite("mine"), 6002)).toBe(NET.servers[1].ip);
    expect(connections(engine).filter((each) => each.virtualPort === 65535)).toHaveLength(1);
  });

  it("is translated even where nothing is kept", async () => {
    const engine = await director({ onePacket: true });
    expect(begin(engine, invite("mine"))).toBe(NET.vip);
    expect(connections(engine)).toMatchObject([{ template: true, persistenceData: "mine" }]);
  });

  it("speaks for itself without a Call-ID, or without an engine", async () => {
    expect(begin(await director(), "hello")).toBe(NET.servers[0].ip);
    expect(begin(await director({ persistenceEngine: undefined }), invite("one"))).toBe(NET.servers[0].ip);
  });
});

it("survives any text", async () => {
  const engine = await director({ onePacket: true });
  const scraps = ["\r", "\n", "\r\n", "Call-ID", "i", ":", " ", "\t", "a", "@", "x".repeat(60), "\0", "\xff", ";"];
  let state = 9;
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % below;
  };
  for (let round = 0; round < 2000; round++) {
    let text = "";
    for (let parts = next(14); parts >= 0; parts--) text += scraps[next(scraps.length)];
    call(engine, text);
  }
  for (const id of ids(engine)) expect(id!.length).toBeGreaterThan(0);
  engine.advanceTo(engine.clock.nowMs + 70_000);
  expect(connections(engine)).toEqual([]);
  expect(word(engine, Memory.EXTENSION_COUNT)).toBe(0);
});
