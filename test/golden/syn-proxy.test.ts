/** The SYN proxy to the byte: handshakes that the director makes itself, and what it does to segments afterwards. */
import { describe, expect, it } from "vitest";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import type { ServerConfig, ServiceConfig } from "../../host/ipvs/model.js";
import { checksum, pseudoHeader } from "../conformance/frames.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { ethernet, FLAG, icmp, ip4, tcp, tcpPacket } from "../support/packets.js";

const ECE = 64;
const CWR = 128;
const CLIENT_ISN = 0x11223344;
const SERVER_ISN = 0xfffffff0;
const SERVER = NET.servers[0];

interface Segment {
  readonly dev: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly window: number;
  readonly tos: number;
  readonly options: Options;
  readonly data: number;
}

interface Options {
  readonly mss?: number;
  readonly scale?: number;
  readonly sackPermitted?: true;
  readonly sack?: ReadonlyArray<readonly [number, number]>;
  readonly timestamps?: readonly [number, number];
}

/** Options in the order that Linux sends them in a SYN, or with NOPs before the timestamps. */
function options({ mss, scale, sackPermitted, sack, timestamps }: Options): Uint8Array {
  const u32 = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  return Uint8Array.from([
    ...(mss === undefined ? [] : [2, 4, mss >> 8, mss & 255]),
    ...(sackPermitted === undefined ? [] : [1, 1, 4, 2]),
    ...(timestamps === undefined ? [] : [1, 1, 8, 10, ...timestamps.flatMap(u32)]),
    ...(scale === undefined ? [] : [1, 3, 3, scale]),
    ...(sack === undefined ? [] : [1, 1, 5, 2 + 8 * sack.length, ...sack.flat().flatMap(u32)]),
  ]);
}

function read(dev: string, frame: Uint8Array): Segment {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const six = frame[14]! >> 4 === 6;
  const ip = 14;
  const at = six ? ip + 40 : ip + (frame[ip]! & 15) * 4;
  const end = six ? ip + 40 + view.getUint16(ip + 4) : ip + view.getUint16(ip + 2);
  const header = (frame[at + 12]! >> 4) * 4;
  expect(end, "length").toBe(frame.length);
  const text = (from: number, length: number) => [...frame.subarray(from, from + length)];
  const name = (from: number) => (six ? text(from, 16).join(":") : text(from, 4).join("."));
  const [source, destination] = six ? [name(ip + 8), name(ip + 24)] : [name(ip + 12), name(ip + 16)];
  const addresses = six
    ? [frame.subarray(ip + 8, ip + 24), frame.subarray(ip + 24, ip + 40)]
    : [frame.subarray(ip + 12, ip + 16), frame.subarray(ip + 16, ip + 20)];
  const segment = frame.subarray(at, end);
  expect(checksum(pseudoHeader(addresses[0]!, addresses[1]!, 6, segment.length), segment), "checksum").toBe(0);
  if (!six) expect(checksum(frame.subarray(ip, at)), "IP checksum").toBe(0);
  const found: { -readonly [K in keyof Options]: Options[K] } = {};
  for (let o = at + 20; o < at + header; ) {
    const kind = frame[o]!;
    if (kind === 0) break;
    if (kind === 1) {
      o++;
      continue;
    }
    if (kind === 2) found.mss = view.getUint16(o + 2);
    if (kind === 3) found.scale = frame[o + 2]!;
    if (kind === 4) found.sackPermitted = true;
    if (kind === 5) {
      const blocks = (frame[o + 1]! - 2) / 8;
      found.sack = Array.from({ length: blocks }, (_, n) => [
        view.getUint32(o + 2 + 8 * n),
        view.getUint32(o + 6 + 8 * n),
      ]);
    }
    if (kind === 8) found.timestamps = [view.getUint32(o + 2), view.getUint32(o + 6)];
    o += frame[o + 1]!;
  }
  return {
    dev,
    source: source!,
    destination: destination!,
    sourcePort: view.getUint16(at),
    destinationPort: view.getUint16(at + 2),
    sequence: view.getUint32(at + 4),
    acknowledgement: view.getUint32(at + 8),
    flags: frame[at + 13]!,
    window: view.getUint16(at + 14),
    tos: six ? 0 : frame[ip + 1]!,
    options: found,
    data: end - at - header,
  };
}

class Side {
  readonly engine: MemoryEngine;
  port = 40_000;

  constructor(engine: MemoryEngine) {
    this.engine = engine;
  }

  out(): Segment[] {
    return this.engine.collect().map(({ dev, frame }) => read(dev, frame));
  }

  /** What comes out when the client sends this. */
  client(fields: Parameters<typeof tcpPacket>[1] & { tos?: number }): Segment[] {
    const ends = { source: NET.client.ip, destination: NET.vip, sourcePort: this.port, destinationPort: 80 };
    this.engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends, fields)));
    return this.out();
  }

  server(fields: Parameters<typeof tcpPacket>[1]): Segment[] {
    const ends = { source: SERVER.ip, destination: NET.client.ip, sourcePort: 8080, destinationPort: this.port };
    this.engine.inject("int", ethernet(NET.int.mac, SERVER.mac, tcpPacket(ends, fields)));
    return this.out();
  }

  /** The client's SYN and its answer. */
  open(offered: Options, flags: number = FLAG.syn): Segment {
    const [answer, ...more] = this.client({ flags, sequence: CLIENT_ISN, options: options(offered) });
    expect(more).toEqual([]);
    return answer!;
  }

  /** The ACK of an answer, and the SYN that the server gets for it. */
  confirm(answer: Segment, stamp = 1001, window = 502): Segment[] {
    const timestamps = answer.options.timestamps;
    return this.client({
      flags: FLAG.ack,
      sequence: CLIENT_ISN + 1,
      acknowledgement: answer.sequence + 1,
      window,
      options: options(timestamps === undefined ? {} : { timestamps: [stamp, timestamps[0]] }),
    });
  }

  counters() {
    return this.engine.ipvs.tables.counters();
  }

  later(ms: number): Segment[] {
    this.engine.advanceTo(this.engine.clock.nowMs + ms);
    return this.out();
  }

  async states(): Promise<string[]> {
    const found: string[] = [];
    for await (const { state } of this.engine.ipvs.connections()) found.push(state);
    return found;
  }
}

async function start(
  more: Partial<ServiceConfig> = { synProxy: "on" },
  servers: readonly ServerConfig[] = [server(SERVER.ip, 8080)],
): Promise<Side> {
  const engine = createDirector();
  const config = service(80, "rr", "tcp", more);
  await engine.ipvs.addService(config);
  for (const one of servers) await engine.ipvs.addServer(config.id, one);
  return new Side(engine);
}

const LINUX: Options = { mss: 1460, sackPermitted: true, timestamps: [1000, 0], scale: 9 };

/** A whole handshake; the server's SYN+ACK has these options. */
function handshake(proxy: Side, offered: Options = LINUX, answered: Options = { ...LINUX, scale: 7 }) {
  const answer = proxy.open(offered);
  const [syn] = proxy.confirm(answer);
  const stamps = answered.timestamps === undefined ? {} : { timestamps: [500_000, 1001] as const };
  const opened = proxy.server({
    flags: FLAG.syn | FLAG.ack,
    sequence: SERVER_ISN,
    acknowledgement: CLIENT_ISN + 1,
    window: 65160,
    options: options({ ...answered, ...stamps }),
  });
  return { answer, syn: syn!, opened };
}

describe("the director's own handshake", () => {
  it("is answered with an empty window and the client's kind of options", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    expect(answer).toMatchObject({
      dev: "ext",
      source: NET.vip,
      destination: NET.client.ip,
      sourcePort: 80,
      destinationPort: 40_000,
      acknowledgement: CLIENT_ISN + 1,
      flags: FLAG.syn | FLAG.ack,
      window: 0,
      options: { mss: 1460, sackPermitted: true, scale: 7 },
    });
    expect(answer.options.timestamps![1]).toBe(1000);
    // Scale 9 and SACK, for the ACK to bring back.
    expect(answer.options.timestamps![0] & 63).toBe(9 | 16);
    expect(await proxy.states(), "nothing is remembered").toEqual([]);
    expect(proxy.counters().synProxy.answered).toBe(1);
  });

  it("asks the server in the client's name when the cookie comes back, opens the window, and translates", async () => {
    const proxy = await start();
    const { answer, syn, opened } = handshake(proxy);
    expect(syn).toMatchObject({
      dev: "int",
      source: NET.client.ip,
      destination: SERVER.ip,
      sourcePort: 40_000,
      destinationPort: 8080,
      sequence: CLIENT_ISN,
      acknowledgement: 0,
      flags: FLAG.syn,
      window: 65535,
      options: { mss: 1460, sackPermitted: true, timestamps: [1001, 0], scale: 9 },
      data: 0,
    });
    const [ack, window] = opened;
    expect(ack).toMatchObject({
      dev: "int",
      sequence: CLIENT_ISN + 1,
      acknowledgement: (SERVER_ISN + 1) >>> 0,
      flags: FLAG.ack,
      window: 502,
      options: { timestamps: [1001, 500_000] },
    });
    expect(window).toMatchObject({
      dev: "ext",
      source: NET.vip,
      sourcePort: 80,
      sequence: answer.sequence + 1,
      acknowledgement: CLIENT_ISN + 1,
      flags: FLAG.ack,
      window: 65160 >> 7,
      options: { timestamps: [answer.options.timestamps![0], 1001] },
    });
    expect(await proxy.states()).toEqual(["ESTABLISHED"]);

    const asked = proxy.client({
      flags: FLAG.ack | FLAG.psh,
      sequence: CLIENT_ISN + 1,
      acknowledgement: answer.sequence + 1,
      window: 600,
      options: options({ timestamps: [1050, answer.options.timestamps![0]] }),
      data: new Uint8Array(100),
    });
    expect(asked).toMatchObject([
      {
        dev: "int",
        sequence: CLIENT_ISN + 1,
        acknowledgement: (SERVER_ISN + 1) >>> 0,
        window: 600,
        options: { timestamps: [1050, 500_000] },
        data: 100,
      },
    ]);
    // The server's numbers wrap around in its first bytes.
    const told = proxy.server({
      flags: FLAG.ack,
      sequence: (SERVER_ISN + 21) >>> 0,
      acknowledgement: CLIENT_ISN + 101,
      window: 509,
      options: options({ timestamps: [500_060, 1050] }),
      data: new Uint8Array(30),
    });
    expect(told).toMatchObject([
      {
        dev: "ext",
        sequence: (answer.sequence + 21) >>> 0,
        acknowledgement: CLIENT_ISN + 101,
        window: 509,
        options: { timestamps: [(answer.options.timestamps![0] + 60) >>> 0, 1050] },
      },
    ]);
    const lost = proxy.client({
      flags: FLAG.ack,
      sequence: CLIENT_ISN + 101,
      acknowledgement: answer.sequence + 1,
      options: options({
        timestamps: [1100, (answer.options.timestamps![0] + 60) >>> 0],
        sack: [[(answer.sequence + 21) >>> 0, (answer.sequence + 51) >>> 0]],
      }),
    });
    expect(lost).toMatchObject([
      {
        acknowledgement: (SERVER_ISN + 1) >>> 0,
        options: { timestamps: [1100, 500_060], sack: [[(SERVER_ISN + 21) >>> 0, (SERVER_ISN + 51) >>> 0]] },
      },
    ]);
    expect(proxy.counters().synProxy).toEqual({
      answered: 1,
      accepted: 1,
      invalid: 0,
      spliced: 1,
      refused: 0,
      silent: 0,
    });
  });

  it("takes no more of a client without timestamps than its MSS", async () => {
    const proxy = await start();
    const { answer, syn, opened } = handshake(proxy, { mss: 1459, scale: 5, sackPermitted: true }, { mss: 1400 });
    expect(answer.options).toEqual({ mss: 1460 });
    expect(syn.options).toEqual({ mss: 1452 });
    expect(syn.window).toBe(502);
    expect(opened[1]).toMatchObject({ window: 65160, options: {} });
    // The next one is told what the server takes.
    proxy.port++;
    expect(proxy.open({}).options).toEqual({ mss: 1400 });
  });

  it("shifts windows where the server has another scale, and offers no more than it has", async () => {
    const proxy = await start();
    const { answer } = handshake(proxy, LINUX, { mss: 1460 });
    const [asked] = proxy.client({
      flags: FLAG.ack,
      sequence: CLIENT_ISN + 1,
      acknowledgement: answer.sequence + 1,
      window: 100,
      options: options({ timestamps: [1050, answer.options.timestamps![0]] }),
    });
    expect(asked).toMatchObject({ window: 100 << 9, options: { timestamps: [1050, answer.options.timestamps![0]] } });
    const [told] = proxy.server({
      flags: FLAG.ack,
      sequence: (SERVER_ISN + 1) >>> 0,
      acknowledgement: CLIENT_ISN + 1,
      window: 64240,
    });
    expect(told).toMatchObject({ window: 64240 >> 7 });
    proxy.port++;
    expect(proxy.open(LINUX).options).toEqual({ mss: 1460 });
  });

  it("agrees to ECN, and takes the mark off where the server does not", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX, FLAG.syn | ECE | CWR);
    expect(answer.flags).toBe(FLAG.syn | FLAG.ack | ECE);
    const [syn] = proxy.confirm(answer);
    expect(syn!.flags).toBe(FLAG.syn | ECE | CWR);
    proxy.server({
      flags: FLAG.syn | FLAG.ack,
      sequence: 7,
      acknowledgement: CLIENT_ISN + 1,
      options: options({ ...LINUX, timestamps: [1, 1001] }),
    });
    const [sent] = proxy.client({
      flags: FLAG.ack,
      sequence: CLIENT_ISN + 1,
      acknowledgement: answer.sequence + 1,
      tos: 0x0a,
    });
    expect(sent!.tos).toBe(0x08);
  });

  it("works over IPv6", async () => {
    const vip = "2001:db8:4::100";
    const client = { ip: "2001:db8:4::20", mac: NET.client.mac };
    const real = { ip: "2001:db8:2::11", mac: SERVER.mac };
    const engine = createDirector({
      interfaces: [
        { name: "ext", mac: NET.ext.mac, addresses: ["2001:db8:4::133/64"] },
        { name: "int", mac: NET.int.mac, addresses: ["2001:db8:2::130/64"] },
      ],
      routes: [],
      neighbours: [
        { ...client, dev: "ext" },
        { ...real, dev: "int" },
      ],
    });
    const config: ServiceConfig = {
      ...service(80),
      id: { family: 6, protocol: "tcp", address: vip, port: 80 },
      persistencePrefix: 128,
      synProxy: "on",
    };
    await engine.ipvs.addService(config);
    await engine.ipvs.addServer(config.id, server(real.ip, 80));
    const send = (dev: "ext" | "int", fields: Parameters<typeof tcpPacket>[1]) => {
      const [mac, from, source, destination] =
        dev === "ext" ? [NET.ext.mac, client.mac, client.ip, vip] : [NET.int.mac, real.mac, real.ip, client.ip];
      const [sourcePort, destinationPort] = dev === "ext" ? [4000, 80] : [80, 4000];
      engine.inject(dev, ethernet(mac, from, tcpPacket({ source, destination, sourcePort, destinationPort }, fields)));
      return engine.collect().map((out) => read(out.dev, out.frame));
    };
    const [answer] = send("ext", { flags: FLAG.syn, sequence: 5, options: options({ ...LINUX, mss: 1440 }) });
    expect(answer).toMatchObject({ flags: FLAG.syn | FLAG.ack, acknowledgement: 6, options: { mss: 1440 } });
    const [syn] = send("ext", {
      flags: FLAG.ack,
      sequence: 6,
      acknowledgement: answer!.sequence + 1,
      options: options({ timestamps: [1001, answer!.options.timestamps![0]] }),
    });
    expect(syn).toMatchObject({ dev: "int", flags: FLAG.syn, sequence: 5, options: { mss: 1440, scale: 9 } });
    const opened = send("int", {
      flags: FLAG.syn | FLAG.ack,
      sequence: 77,
      acknowledgement: 6,
      options: options({ ...LINUX, timestamps: [9, 1001] }),
    });
    expect(opened.map(({ dev, flags }) => [dev, flags])).toEqual([
      ["int", FLAG.ack],
      ["ext", FLAG.ack],
    ]);
    expect(opened[1]!.sequence).toBe(answer!.sequence + 1);
  });
});

describe("cookies", () => {
  const bad: ReadonlyArray<readonly [string, (answer: Segment) => Parameters<typeof tcpPacket>[1]]> = [
    ["a guess", () => ({ acknowledgement: 0x12345678 })],
    ["a cookie for another number", (answer) => ({ acknowledgement: answer.sequence + 1, sequence: CLIENT_ISN + 9 })],
    ["another MSS", (answer) => ({ acknowledgement: (answer.sequence ^ 1) + 1 })],
    ["another scale", (answer) => ({ options: options({ timestamps: [5, answer.options.timestamps![0] ^ 1] }) })],
    ["no timestamps any more", () => ({ options: options({}) })],
  ];

  it.each(bad)("%s is answered as a host does, counted, and makes no connection", async (_, change) => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    const fields = {
      flags: FLAG.ack,
      sequence: CLIENT_ISN + 1,
      acknowledgement: answer.sequence + 1,
      options: options({ timestamps: [5, answer.options.timestamps![0]] }),
      ...change(answer),
    };
    expect(proxy.client(fields)).toMatchObject([
      { dev: "ext", flags: FLAG.rst, sequence: fields.acknowledgement! >>> 0 },
    ]);
    expect(proxy.counters().synProxy).toMatchObject({ accepted: 0, invalid: 1 });
    expect(await proxy.states()).toEqual([]);
  });

  it("of another client are none", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    proxy.port++;
    expect(proxy.confirm(answer)).toMatchObject([{ flags: FLAG.rst }]);
  });

  it("are good for a minute, over a change of keys, and not for three", async () => {
    for (const [ms, good] of [
      [0, true],
      [60_000, true],
      [63_900, true],
      [180_000, false],
    ] as const) {
      const proxy = await start();
      const answer = proxy.open(LINUX);
      proxy.later(ms);
      expect(proxy.confirm(answer)[0]!.flags, `${ms} ms`).toBe(good ? FLAG.syn : FLAG.rst);
    }
  });

  it("are brought back by a probe of the window, too, when the ACK was lost", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    const probe = proxy.client({
      flags: FLAG.ack,
      sequence: CLIENT_ISN,
      acknowledgement: answer.sequence + 1,
      options: options({ timestamps: [1300, answer.options.timestamps![0]] }),
    });
    expect(probe).toMatchObject([{ dev: "int", flags: FLAG.syn, sequence: CLIENT_ISN }]);
  });

  it("of a SYN with a wrong checksum are not given", async () => {
    const proxy = await start();
    const ends = { source: NET.client.ip, destination: NET.vip, sourcePort: 9, destinationPort: 80 };
    const segment = tcp(ends, { flags: FLAG.syn });
    segment[16]! ^= 1;
    proxy.engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, ip4(ends.source, ends.destination, 6, segment)));
    expect(proxy.out()).toEqual([]);
    expect(proxy.counters().reasons["transport-checksum"]).toBe(1);
  });
});

describe("a server that", () => {
  it("refuses: its client is told", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    proxy.confirm(answer);
    const told = proxy.server({ flags: FLAG.rst | FLAG.ack, sequence: 0, acknowledgement: CLIENT_ISN + 1 });
    expect(told).toMatchObject([
      {
        dev: "ext",
        source: NET.vip,
        flags: FLAG.rst | FLAG.ack,
        sequence: answer.sequence + 1,
        acknowledgement: CLIENT_ISN + 1,
      },
    ]);
    expect(await proxy.states()).toEqual(["CLOSE"]);
    expect(proxy.counters().synProxy.refused).toBe(1);
    expect(proxy.later(20_000)).toEqual([]);
    // And the next attempt begins anew.
    expect(proxy.open(LINUX).flags).toBe(FLAG.syn | FLAG.ack);
  });

  it("is silent: it is asked four times, then the client is told", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    expect(proxy.confirm(answer)).toHaveLength(1);
    const seen = proxy.later(20_000);
    expect(seen.map(({ dev, flags }) => [dev, flags])).toEqual([
      ["int", FLAG.syn],
      ["int", FLAG.syn],
      ["int", FLAG.syn],
      ["ext", FLAG.rst | FLAG.ack],
    ]);
    expect(seen[0]!.options).toEqual({ ...LINUX, timestamps: [1001, 0] });
    expect(seen[3]!.sequence).toBe(answer.sequence + 1);
    expect(await proxy.states()).toEqual([]);
    expect(proxy.counters().synProxy.silent).toBe(1);
  });

  it("remembers an older connection: it is told, and asked again", async () => {
    const proxy = await start();
    proxy.confirm(proxy.open(LINUX));
    const told = proxy.server({ flags: FLAG.ack, sequence: 99, acknowledgement: 12345 });
    expect(told).toMatchObject([{ dev: "int", flags: FLAG.rst, sequence: 12345 }]);
    expect(proxy.later(1500)).toMatchObject([{ dev: "int", flags: FLAG.syn }]);
  });

  it("did not get the ACK: its SYN+ACK is answered again, another one is not", async () => {
    const proxy = await start();
    handshake(proxy);
    const again = (sequence: number) =>
      proxy.server({
        flags: FLAG.syn | FLAG.ack,
        sequence,
        acknowledgement: CLIENT_ISN + 1,
        options: options({ ...LINUX, timestamps: [500_900, 1001] }),
      });
    expect(again(SERVER_ISN).map(({ dev, flags }) => [dev, flags])).toEqual([
      ["int", FLAG.ack],
      ["ext", FLAG.ack],
    ]);
    expect(again(SERVER_ISN - 5)).toEqual([]);
    expect(proxy.counters().reasons["syn-proxy-state"]).toBe(1);
  });
});

describe("what changes while a server is asked", () => {
  it("its weight: the client is told when it does not answer, and nobody is asked again", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    proxy.confirm(answer);
    await proxy.engine.ipvs.editServer(service(80).id, server(SERVER.ip, 8080, "nat", { weight: 0 }));
    // It is still asked, as it would be for a client of its own; an answer is still an answer.
    const opened = proxy.server({ flags: FLAG.syn | FLAG.ack, sequence: 77, acknowledgement: CLIENT_ISN + 1 });
    expect(opened.map(({ dev, flags }) => [dev, flags])).toEqual([
      ["int", FLAG.ack],
      ["ext", FLAG.ack],
    ]);
  });

  it("it is removed: the client is told at once when it should be asked again", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    proxy.confirm(answer);
    await proxy.engine.ipvs.removeServer(service(80).id, server(SERVER.ip, 8080).id);
    const seen = proxy.later(3000);
    expect(seen).toMatchObject([{ dev: "ext", flags: FLAG.rst | FLAG.ack, sequence: answer.sequence + 1 }]);
    expect(await proxy.states()).toEqual([]);
  });

  it("the whole service is removed: nothing is left behind", async () => {
    const proxy = await start();
    proxy.confirm(proxy.open(LINUX));
    await proxy.engine.ipvs.removeService(service(80).id);
    proxy.later(30_000);
    expect(await proxy.states()).toEqual([]);
  });

  it("the proxy is switched off: handshakes that it began are ended by it", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    proxy.confirm(answer);
    await proxy.engine.ipvs.editService(service(80, "rr", "tcp", { synProxy: "off" }));
    const opened = proxy.server({ flags: FLAG.syn | FLAG.ack, sequence: 77, acknowledgement: CLIENT_ISN + 1 });
    expect(opened.map(({ dev }) => dev)).toEqual(["int", "ext"]);
    const data = { flags: FLAG.ack | FLAG.psh, sequence: CLIENT_ISN + 1, acknowledgement: answer.sequence + 1 };
    expect(proxy.client({ ...data, data: new Uint8Array(5) })).toMatchObject([{ dev: "int", acknowledgement: 78 }]);
  });
});

describe("persistence", () => {
  it("begins with the cookie that came back, not with the SYN, and binds the client's next connections", async () => {
    const proxy = await start({ synProxy: "on", persistence: 300 }, [
      server(SERVER.ip, 8080),
      server(NET.servers[1].ip, 8080),
    ]);
    proxy.open(LINUX);
    expect(await proxy.states()).toEqual([]);
    const servers = new Set<string>();
    for (let n = 0; n < 6; n++) {
      proxy.port++;
      const [syn] = proxy.confirm(proxy.open(LINUX));
      servers.add(syn!.destination);
    }
    expect(servers.size).toBe(1);
  });
});

describe("a client that", () => {
  it("sends data with the ACK that ends the handshake says them again, and they arrive once", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    const first = {
      flags: FLAG.ack | FLAG.psh,
      sequence: CLIENT_ISN + 1,
      acknowledgement: answer.sequence + 1,
      data: new Uint8Array(20).fill(7),
      options: options({ timestamps: [1001, answer.options.timestamps![0]] }),
    };
    // The server is asked, and hears no byte yet: its window is not known.
    expect(proxy.client(first)).toMatchObject([{ dev: "int", flags: FLAG.syn, sequence: CLIENT_ISN, data: 0 }]);
    const stamps = { ...LINUX, timestamps: [500_000, 1001] as const };
    proxy.server({
      flags: FLAG.syn | FLAG.ack,
      sequence: SERVER_ISN,
      acknowledgement: CLIENT_ISN + 1,
      window: 65160,
      options: options(stamps),
    });
    expect(proxy.client(first)).toMatchObject([
      { dev: "int", sequence: CLIENT_ISN + 1, acknowledgement: (SERVER_ISN + 1) >>> 0, data: 20 },
    ]);
  });

  it("sends before the window is open keeps its bytes for later", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    proxy.confirm(answer);
    const early = { flags: FLAG.ack, sequence: CLIENT_ISN + 1, acknowledgement: answer.sequence + 1 };
    expect(proxy.client({ ...early, data: new Uint8Array(10) })).toEqual([]);
    expect(proxy.client({ ...early, flags: FLAG.ack | FLAG.fin })).toEqual([]);
    expect(proxy.client(early)).toEqual([]);
    expect(proxy.counters().reasons["syn-proxy-waiting"]).toBe(2);
    expect(await proxy.states()).toEqual(["SYN_RECV"]);
  });

  it("gives up while the server is asked: the server is told", async () => {
    const proxy = await start();
    const answer = proxy.open(LINUX);
    proxy.confirm(answer);
    const early = { flags: FLAG.rst | FLAG.ack, acknowledgement: answer.sequence + 1 };
    expect(proxy.client({ ...early, sequence: CLIENT_ISN + 77 }), "a guess").toEqual([]);
    expect(proxy.client({ ...early, sequence: CLIENT_ISN + 1 })).toMatchObject([
      { dev: "int", flags: FLAG.rst, sequence: CLIENT_ISN + 1 },
    ]);
    const late = proxy.server({ flags: FLAG.syn | FLAG.ack, sequence: 1, acknowledgement: CLIENT_ISN + 1 });
    expect(late).toMatchObject([{ dev: "int", flags: FLAG.rst }]);
    // And it may begin anew.
    expect(proxy.open(LINUX).flags).toBe(FLAG.syn | FLAG.ack);
  });

  it("is told of a path's MTU: the server hears its own number", async () => {
    const proxy = await start();
    const { answer } = handshake(proxy);
    const ends = { source: NET.vip, destination: NET.client.ip, sourcePort: 80, destinationPort: proxy.port };
    const about = tcpPacket(ends, { flags: FLAG.ack, sequence: (answer.sequence + 21) >>> 0, data: new Uint8Array(9) });
    const error = icmp(3, 4, Uint8Array.of(0, 0, 5, 0), about.subarray(0, 28));
    const packet = ip4("192.168.4.1", NET.vip, 1, error);
    proxy.engine.inject("ext", ethernet(NET.ext.mac, NET.gateway.mac, packet));
    const [out] = proxy.engine.collect();
    expect(out!.dev).toBe("int");
    const inner = new DataView(out!.frame.buffer, out!.frame.byteOffset + 14 + 20 + 8);
    expect(inner.getUint32(24)).toBe((SERVER_ISN + 21) >>> 0);
    expect(checksum(out!.frame.subarray(34))).toBe(0);
  });
});

describe("where it cannot be", () => {
  it("a server without answers here is refused, and a service with one is not proxied", async () => {
    const proxy = await start();
    const config = service(80);
    await expect(proxy.engine.ipvs.addServer(config.id, server("192.168.2.12", 80, "dr"))).rejects.toThrow(
      /needs mode nat or fullnat/,
    );
    const other = await start({ synProxy: "auto" }, [server("192.168.2.12", 80, "dr")]);
    await expect(other.engine.ipvs.editService(service(80, "rr", "tcp", { synProxy: "on" }))).rejects.toThrow(
      /needs mode nat or fullnat/,
    );
    other.engine.control.setting("syn_proxy", "1");
    expect(other.client({ flags: FLAG.syn })).toMatchObject([{ dev: "int", flags: FLAG.syn }]);
  });

  it("without servers the client hears what it always hears", async () => {
    const proxy = await start({ synProxy: "on" }, []);
    proxy.engine.inject(
      "ext",
      ethernet(
        NET.ext.mac,
        NET.client.mac,
        tcpPacket({ source: NET.client.ip, destination: NET.vip, sourcePort: 1, destinationPort: 80 }),
      ),
    );
    const [out] = proxy.engine.collect();
    expect([...out!.frame.subarray(34, 36)]).toEqual([3, 3]);
  });
});

describe("full NAT", () => {
  it("is spliced as well", async () => {
    const proxy = await start({ synProxy: "on" }, [server(SERVER.ip, 8080, "fullnat")]);
    const answer = proxy.open(LINUX);
    const [syn] = proxy.confirm(answer);
    expect(syn).toMatchObject({ source: NET.int.ip, destination: SERVER.ip, flags: FLAG.syn, sequence: CLIENT_ISN });
    const ends = { source: SERVER.ip, destination: NET.int.ip, sourcePort: 8080, destinationPort: syn!.sourcePort };
    const packet = tcpPacket(ends, {
      flags: FLAG.syn | FLAG.ack,
      sequence: 50,
      acknowledgement: CLIENT_ISN + 1,
      options: options({ ...LINUX, timestamps: [3, 1001] }),
    });
    proxy.engine.inject("int", ethernet(NET.int.mac, SERVER.mac, packet));
    expect(proxy.out()).toMatchObject([
      { dev: "int", source: NET.int.ip, flags: FLAG.ack, acknowledgement: 51 },
      { dev: "ext", source: NET.vip, destination: NET.client.ip, flags: FLAG.ack, sequence: answer.sequence + 1 },
    ]);
  });
});

describe("auto", () => {
  it("begins when many handshakes are left open, and ends when they are not", async () => {
    const proxy = await start({ synProxy: "auto" });
    proxy.engine.control.setting("syn_proxy_threshold", "20");
    const defence = async () => (await proxy.engine.ipvs.service(service(80).id)).defence;
    const syn = () => {
      proxy.port++;
      return proxy.client({ flags: FLAG.syn, sequence: CLIENT_ISN, options: options(LINUX) });
    };
    for (let n = 0; n < 20; n++) expect(syn()[0]!.dev).toBe("int");
    expect(await defence()).toMatchObject({ synProxy: false, halfOpen: 20 });
    expect(syn()).toMatchObject([{ dev: "ext", flags: FLAG.syn | FLAG.ack }]);
    expect(await defence()).toMatchObject({ synProxy: true, switches: 1, halfOpen: 20 });
    // A flood that goes on for longer than the half-open ones live.
    for (let second = 0; second < 70; second++) {
      proxy.later(1000);
      for (let n = 0; n < 30; n++) syn();
    }
    expect(await defence()).toMatchObject({ synProxy: true, switches: 1, halfOpen: 0 });
    proxy.later(9000);
    expect((await defence())!.synProxy).toBe(true);
    proxy.later(4000);
    expect(await defence()).toMatchObject({ synProxy: false, switches: 2 });
    expect(syn()[0]!.dev).toBe("int");
  });

  it("begins when SYN come in numbers and hardly any handshake is completed", async () => {
    const proxy = await start({ synProxy: "auto" });
    proxy.engine.control.setting("syn_proxy_threshold", "20");
    const { id } = service(80);
    // Each of them is refused at once: none stays half open.
    for (let n = 0; n < 50; n++) {
      proxy.port++;
      proxy.client({ flags: FLAG.syn, sequence: 1 });
      proxy.server({ flags: FLAG.rst | FLAG.ack, acknowledgement: 2 });
    }
    expect((await proxy.engine.ipvs.service(id)).defence).toMatchObject({ synProxy: false, halfOpen: 0 });
    proxy.later(1100);
    expect((await proxy.engine.ipvs.service(id)).defence).toMatchObject({ synProxy: true });
  });
});

describe("options of a SYN", () => {
  it.each([
    ["an MSS of nothing", Uint8Array.of(2, 4, 0, 0)],
    ["one that ends too early", Uint8Array.of(8, 10, 0, 0)],
    ["one of length 0", Uint8Array.of(3, 0, 0, 0)],
    ["an end before the others", Uint8Array.of(0, 3, 3, 7)],
  ])("%s are no options", async (_, bytes) => {
    const proxy = await start();
    const [answer] = proxy.client({ flags: FLAG.syn, options: bytes });
    expect(answer!.options).toEqual({ mss: 1460 });
  });
});
