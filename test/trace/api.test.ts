/** Traces over the API and from the command line, of a real core over memory ports. */
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import type { TraceRecord } from "../../host/trace/model.js";
import { Tracer } from "../../host/trace/tracer.js";
import { FakeInfo } from "../control/fake.js";
import { cli } from "../support/cli.js";
import { createDirector, NET, server as realServer, service } from "../support/director.js";
import { ethernet, FLAG, tcpPacket } from "../support/packets.js";

const CLIENT = { source: NET.client.ip, destination: NET.vip, sourcePort: 40000, destinationPort: 80 };

let directory: string;
let socketPath: string;
let engine: MemoryEngine;
let tracer: Tracer;
let server: ControlServer;

class TracedInfo extends FakeInfo {
  override tracer(): never {
    return tracer as never;
  }
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-trace-"));
  socketPath = join(directory, "wlvs.sock");
  engine = createDirector();
  tracer = new Tracer(engine.control, engine.memory, [
    { name: "ext", link: true },
    { name: "int", link: true },
  ]);
  await engine.ipvs.addService(service(80));
  await engine.ipvs.addServer(service(80).id, realServer(NET.servers[0].ip, 8080));
  server = await createControlServer({
    ipvs: engine.ipvs,
    info: new TracedInfo(),
    socketPath,
    listen: { host: "127.0.0.1", port: 0, admin: false },
  });
});
afterEach(async () => {
  tracer.close();
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

const send = (port: number, flags: number = FLAG.syn) =>
  engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket({ ...CLIENT, sourcePort: port }, { flags })));

/** How many traces are on, once that many are. */
async function traces(wanted: number): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    let free = 0;
    const opened = [];
    try {
      for (; free < 4; free++) opened.push(tracer.open({}));
    } catch {}
    for (const one of opened) one.close();
    if (4 - free === wanted) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`there are not ${wanted} traces`);
}

interface Stream {
  readonly status: number;
  readonly lines: string[];
  next(count: number): Promise<void>;
  close(): void;
}

/** A reader over TCP. */
function get(path: string): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port: server.tcp!.port, path, agent: false }, (response) => {
      const lines: string[] = [];
      response.setEncoding("utf8").on("data", (text: string) => lines.push(...text.split("\n").filter((line) => line)));
      response.on("error", () => {});
      const next = async (count: number) => {
        for (let tries = 0; lines.length < count && tries < 400; tries++) {
          await new Promise((done) => setTimeout(done, 5));
        }
        expect(lines.length).toBeGreaterThanOrEqual(count);
      };
      resolve({ status: response.statusCode!, lines, next, close: () => sent.destroy() });
    });
    sent.on("error", reject);
    sent.end();
  });
}

describe("GET /v1/trace", () => {
  it("sends each record when it happens, also over TCP, and ends the trace when the reader leaves", async () => {
    const stream = await get("/v1/trace?filter=tcp%20port%2080&snap=100");
    expect(stream.status).toBe(200);
    await traces(1);
    send(40000);
    await stream.next(1);
    send(40001);
    await stream.next(2);
    const record = JSON.parse(stream.lines[1]!) as TraceRecord;
    expect(Object.keys(record).sort()).toEqual(
      [
        ...["time", "worker", "in", "out", "verdict", "made", "stages", "service", "server", "forwarding"],
        ...["connection", "before", "after", "text"],
      ].sort(),
    );
    expect(record.connection).toMatchObject({ clientPort: 40001, new: true });
    stream.close();
    await traces(0);
  });

  it("ends after so many", async () => {
    const stream = await get("/v1/trace?count=2");
    await traces(1);
    for (let n = 0; n < 5; n++) send(40000 + n);
    await stream.next(2);
    await traces(0);
    expect(stream.lines).toHaveLength(2);
  });

  it("shows headers, not data, to those who may only read", async () => {
    const stream = await get("/v1/trace?snap=65535");
    await traces(1);
    const payload = new Uint8Array(600).fill(0x55);
    const data = tcpPacket({ ...CLIENT, sourcePort: 40000 }, { flags: FLAG.ack | FLAG.psh, data: payload });
    send(40000);
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, data));
    await stream.next(2);
    const record = JSON.parse(stream.lines[1]!) as TraceRecord;
    expect(record.before).toHaveLength(2 * 128);
    expect(record.after).toHaveLength(2 * 128);
    expect(record.text).toContain("ext > int forward");
    stream.close();
    await traces(0);
    const leave = new AbortController();
    const records = new RemoteIpvs(socketPath).trace({ snap: 65535 }, leave.signal);
    const first = records.next();
    await traces(1);
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, data));
    expect(((await first).value as TraceRecord).before.length).toBeGreaterThan(2 * 600);
    leave.abort();
    await records.return(undefined).catch(() => {});
    await traces(0);
  });

  it("leaves room for the control socket", async () => {
    const streams = [await get("/v1/trace"), await get("/v1/trace")];
    await traces(2);
    const third = await get("/v1/trace");
    await third.next(1);
    expect([third.status, third.lines[0]]).toEqual([409, expect.stringContaining("2 traces over TCP run already")]);
    for (const stream of streams) stream.close();
    await traces(0);
  });

  it.each([
    ["filter=poort", "character 1"],
    ["filter=dev%20x", "no such port: there are ext, int"],
    ["snap=70000", "snap: "],
    ["count=-1", "count: "],
    ["colour=red", "colour"],
  ])("refuses %s", async (query, message) => {
    const stream = await get(`/v1/trace?${query}`);
    await stream.next(1);
    expect(stream.status).toBe(400);
    expect(stream.lines[0]).toContain(message);
    await traces(0);
  });
});

describe("GET /v1/events/connections", () => {
  it("sends them as they happen", async () => {
    const stream = await get("/v1/events/connections");
    await new Promise((resolve) => setTimeout(resolve, 50));
    send(40000);
    send(40000, FLAG.rst);
    engine.advanceTo(engine.clock.nowMs + 120_000);
    await stream.next(2);
    expect(stream.lines.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual(["open", "close"]);
    stream.close();
    const refused = await get("/v1/events/connections?sample=0");
    await refused.next(1);
    expect(refused.status).toBe(400);
  });
});

it("keeps half of the places for readers of connection events for the control socket", async () => {
  const streams = [await get("/v1/events/connections"), await get("/v1/events/connections")];
  const third = await get("/v1/events/connections");
  await third.next(1);
  const said = "2 readers of connection events are there already over TCP";
  expect([third.status, third.lines[0]]).toEqual([409, expect.stringContaining(said)]);
  tracer.listen(1).close();
  for (const stream of streams) stream.close();
});

describe("wlvs trace", () => {
  function wlvs(argv: readonly string[], during: () => Promise<void>) {
    return cli(["trace", ...argv], async () => new RemoteIpvs(socketPath), during);
  }

  it("prints a line for each frame, and ends after --count", async () => {
    const { status, out, err } = await wlvs(["tcp", "and", "new", "--count", "2"], async () => {
      await traces(1);
      send(40000);
      send(40000, FLAG.ack);
      send(40001);
    });
    expect([status, err]).toEqual([0, ""]);
    const lines = out.trimEnd().split("\n");
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{6} ext > int forward, tcp 192\.168\.4\.20:40000 > .* new connection/);
  });

  it("prints JSON, says what was over the rate, and ends with a signal", async () => {
    const { status, out, err } = await wlvs(["--json", "--rate", "1"], async () => {
      await traces(1);
      for (let n = 0; n < 30; n++) send(40000 + n);
      await new Promise((resolve) => setTimeout(resolve, 1200));
      process.emit("SIGINT");
    });
    expect(status).toBe(0);
    const records = out.trimEnd().split("\n");
    expect(records).toHaveLength(16);
    expect(JSON.parse(records[0]!)).toMatchObject({ in: "ext", out: "int" });
    expect(err).toBe("wlvs: 14 more were over the rate: give --rate N, or a narrower filter\n");
    await traces(0);
  });

  it("says what is wrong with a filter that only the director can tell", async () => {
    const { status, out, err } = await wlvs(["dev", "eth0"], async () => {});
    expect([status, out]).toEqual([2, ""]);
    expect(err).toBe('wlvs: filter, character 5 ("eth0"): no such port: there are ext, int\n');
  });

  it("prints connection events", async () => {
    const { status, out } = await wlvs(["--connections", "--count", "1"], async () => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      send(40000);
    });
    expect(status).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ event: "open", clientPort: 40000 });
  });
});
