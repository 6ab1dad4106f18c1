/** A capture of a director, sent through another one: what comes out is the same. And what is said about it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { createControlServer } from "../../host/control/server.js";
import { type CapturedFrame, pcapng, readCapture } from "../../host/port/pcap.js";
import type { Explanation } from "../../host/replay/explain.js";
import { guessVnet } from "../../host/replay/offload.js";
import { Tracer } from "../../host/trace/tracer.js";
import { checksum, pseudoHeader } from "../conformance/frames.js";
import { FakeInfo } from "../control/fake.js";
import { cli, SlowReader } from "../support/cli.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { address, arp, ethernet, FLAG, icmp, ip4, PROTOCOL, tcpPacket, udpPacket } from "../support/packets.js";

const CLIENT = { source: NET.client.ip, destination: NET.vip, sourcePort: 40000, destinationPort: 80 };
const SERVER = NET.servers[0];
const BACK = { source: SERVER.ip, destination: NET.client.ip, sourcePort: 8080, destinationPort: 40000 };
const FLAGS = [
  ...["--tap", `ext,ip=${NET.ext.ip}/24,gw=${NET.gateway.ip}`, "--tap", `int,ip=${NET.int.ip}/24`],
  ...["--vip", `${NET.vip}:80`, "--scheduler", "sh"],
  ...NET.servers.slice(0, 2).flatMap(({ ip }) => ["--rip", `${ip}:8080`]),
  ...["--profile", "kernel"],
];

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-replay-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));
const path = (name: string) => join(directory, name);

function wlvs(argv: readonly string[], socket = "", during?: () => Promise<void>) {
  return cli(argv, async () => new RemoteIpvs(socket), during);
}

/** A director whose every frame is captured by wlvs trace --pcap while `talk` goes on. */
async function capture(file: string, talk: (engine: ReturnType<typeof createDirector>) => void): Promise<string> {
  const engine = createDirector({ neighbours: [], seed: 12345, epoch: 1_700_000_000_000, start: 4000 });
  await engine.ipvs.addService(service(80, "sh"));
  for (const { ip } of NET.servers.slice(0, 2)) await engine.ipvs.addServer(service(80).id, server(ip, 8080));
  const ports = [
    { name: "ext", link: true, mac: NET.ext.mac },
    { name: "int", link: true, mac: NET.int.mac },
  ];
  const tracer = new Tracer(engine.control, engine.memory, ports, () => 1_700_000_000_000 - 4 * 4000);
  class Info extends FakeInfo {
    override tracer(): never {
      return tracer as never;
    }
  }
  const socketPath = path("s.sock");
  const control = await createControlServer({ ipvs: engine.ipvs, info: new Info(), socketPath });
  try {
    const { status, err } = await wlvs(["trace", "--pcap", file], socketPath, async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      talk(engine);
      await new Promise((resolve) => setTimeout(resolve, 300));
      process.emit("SIGINT");
    });
    expect(status).toBe(0);
    return err;
  } finally {
    tracer.close();
    await control.close();
  }
}

/** ARP, two connections, what is refused, pinged and routed. */
function talk(engine: ReturnType<typeof createDirector>): void {
  const fromClient = (packet: Uint8Array) => engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, packet));
  const answers = (who: { ip: string; mac: string }, dev: string, ours: { ip: string; mac: string }) =>
    engine.inject(dev, ethernet(ours.mac, who.mac, arp(2, who, ours), 0x0806));
  const asks = { mac: "00:00:00:00:00:00", ip: NET.vip };
  engine.inject("ext", ethernet("ff:ff:ff:ff:ff:ff", NET.client.mac, arp(1, NET.client, asks), 0x0806));
  for (const port of [40000, 40001]) {
    fromClient(tcpPacket({ ...CLIENT, sourcePort: port }));
    engine.advanceTo(engine.clock.nowMs + 3);
    for (const one of NET.servers.slice(0, 2)) answers(one, "int", NET.int);
    for (const one of NET.servers.slice(0, 2)) {
      const ends = { ...BACK, source: one.ip, destinationPort: port };
      engine.inject("int", ethernet(NET.int.mac, one.mac, tcpPacket(ends, { flags: FLAG.syn | FLAG.ack })));
    }
    fromClient(tcpPacket({ ...CLIENT, sourcePort: port }, { flags: FLAG.ack, data: new Uint8Array(200).fill(port) }));
    engine.advanceTo(engine.clock.nowMs + 1500);
  }
  fromClient(tcpPacket({ ...CLIENT, destinationPort: 81 }));
  fromClient(udpPacket({ ...CLIENT, destinationPort: 53 }));
  fromClient(ip4(NET.client.ip, NET.ext.ip, PROTOCOL.icmp, icmp(8, 0)));
  fromClient(udpPacket({ source: NET.client.ip, destination: "192.168.2.77", sourcePort: 5, destinationPort: 6 }));
  engine.advanceTo(engine.clock.nowMs + 5000);
  fromClient(tcpPacket(CLIENT, { flags: FLAG.rst }));
}

const sent = (frames: readonly CapturedFrame[], number: number) =>
  frames
    .filter((one) => one.interface === number && one.direction === "out")
    .map(({ frame }) => Buffer.from(frame).toString("hex"));

describe("a replay", () => {
  it("of what wlvs trace captured sends what the director sent, frame for frame", async () => {
    const file = path("trace.pcapng");
    const said = await capture(file, talk);
    expect(said).toMatch(/^wlvs: .*trace\.pcapng: \d+ frames as they came, \d+ as they left\n$/);
    const live = readCapture(readFileSync(file), file);
    expect(live.comments).toEqual(["wlvs seed=12345 next-id=0 epoch=1699999984000"]);
    expect(live.interfaces.map(({ name, mac }) => [name, mac])).toEqual([
      ["ext", NET.ext.mac],
      ["int", NET.int.mac],
    ]);
    const out = path("out.pcapng");
    const {
      status,
      out: text,
      err,
    } = await wlvs(["replay", ...FLAGS, "--in", `ext=${file}`, "--in", `int=${file}`, "--out", out]);
    expect([status, err]).toEqual([0, ""]);
    const again = readCapture(readFileSync(out), out);
    for (const number of [0, 1]) {
      expect(sent(live.frames, number).length).toBeGreaterThan(5);
      expect(sent(again.frames, number)).toEqual(sent(live.frames, number));
    }
    expect(again.frames.every(({ direction }) => direction === "out")).toBe(true);
    expect(text).toMatch(/^frames in \d+, out \d+, made here \d+, over 8\.\d{3} s\nended as forward \d+, local \d+/);
    // Another seed picks other servers.
    const other = path("other.pcapng");
    await wlvs(["replay", ...FLAGS, "--seed", "7", "--set", "kernel_quirks=0", "--in", `ext=${file}`, "--out", other]);
    expect(readCapture(readFileSync(other), other).frames.length).toBeGreaterThan(0);
  });

  it("explains each frame: stages, fields before and after, RFC 1624 step by step", async () => {
    const file = path("in.pcapng");
    const syn = ethernet(NET.ext.mac, NET.client.mac, tcpPacket(CLIENT));
    const datagram = ethernet(NET.ext.mac, NET.client.mac, udpPacket({ ...CLIENT, destinationPort: 53 }));
    const blocks = [
      pcapng.section("test"),
      pcapng.interface({ name: "ext", link: "ethernet", mac: NET.ext.mac, snap: 0 }),
      ...[syn, datagram].map((frame, n) =>
        pcapng.packet({ interface: 0, time: BigInt(n + 1) * 1_000_000n, frame, length: frame.length, comments: [] }),
      ),
    ];
    writeFileSync(file, Buffer.concat(blocks));
    const neighbour = [
      "--neigh",
      `${SERVER.ip},${SERVER.mac},dev=int`,
      "--neigh",
      `${NET.client.ip},${NET.client.mac},dev=ext`,
    ];
    const one = FLAGS.slice(0, FLAGS.indexOf("--rip") + 2);
    const args = ["replay", ...one, ...neighbour, "--in", `ext=${file}`, "--explain"];
    const { status, out, err } = await wlvs(args);
    expect([status, err]).toEqual([0, ""]);
    expect(out).toContain(
      "frame 1, 1970-01-01T00:00:00.001Z: ext > int forward, tcp 192.168.4.20:40000 > 192.168.4.100:80 [S]",
    );
    expect(out).toContain("    destination       192.168.4.100 -> 192.168.2.11");
    expect(out).toContain("    ttl               64 -> 63");
    expect(out).toContain("    destination port  80 -> 8080");
    expect(out).toMatch(
      /checksum of ipv4, full: 0x[0-9a-f]{4} -> 0x[0-9a-f]{4}\n {4}~0x4006 \+ 0x3f06 {3}ttl and protocol\n/,
    );
    expect(out).toMatch(
      / {4}~0x0464 \+ 0x020b {3}destination, low half\n {4}~\(~0x[0-9a-f]{4} \+ those\) = 0x[0-9a-f]{4}, as sent/,
    );
    expect(out).toMatch(
      /checksum of tcp, full:.*\n {4}~0x0464 \+ 0x020b {3}pseudo-header's destination, word 1\n {4}~0x0050 \+ 0x1f90 {3}destination port\n/,
    );
    expect(out).toContain("port unreachable");
    const lines = (await wlvs([...args, "--json"])).out.trimEnd().split("\n");
    const first = JSON.parse(lines[0]!) as Explanation;
    expect(first.checksums.map(({ of, kind, agrees }) => [of, kind, agrees])).toEqual([
      ["ipv4", "full", true],
      ["tcp", "full", true],
    ]);
    expect(first.fields).toContainEqual({ layer: "ipv4", field: "destination", before: NET.vip, after: SERVER.ip });
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ framesIn: 2, verdicts: { forward: 1, local: 1 } });
    const reader = new SlowReader();
    const slow = await cli(args, () => Promise.reject(new Error("nobody is asked")), undefined, reader);
    expect([slow.status, reader.text]).toEqual([0, out]);
    // Each frame, and the summary.
    expect([reader.pieces, reader.early]).toEqual([lines.length, 0]);
  });

  it.each([
    [["replay"], "no frames: give at least one --in PORT=FILE"],
    [["replay", "--in", "ext"], "--in ext: write PORT=FILE"],
    [["replay", ...FLAGS, "--in", "ext=FILE"], "give --out FILE, --explain, or both"],
    [["replay", ...FLAGS, "--in", "lan=FILE", "--out", "OUT"], "--in lan: no such port: give it with --tap lan,"],
    [["replay", "--in", "ext=FILE", "--out", "OUT"], "no port: give at least one --tap"],
    [["replay", ...FLAGS, "--in", "ext=FILE", "--out", "-", "--explain"], "--out - and --explain both write"],
    [
      ["replay", "--tun", "ext,ip=10.0.0.1/24", "--in", "ext=FILE", "--out", "OUT"],
      "have Ethernet headers: take --tap",
    ],
    [["replay", "--seed", "x", "--in", "ext=FILE"], "--seed x: a number up to 4294967295 is wanted"],
  ])("is refused with status 2: %j", async (argv, message) => {
    const frame = ethernet(NET.ext.mac, NET.client.mac, tcpPacket(CLIENT));
    const blocks = [
      pcapng.section("test"),
      pcapng.interface({ name: "x", link: "ethernet", snap: 0 }),
      pcapng.packet({ interface: 0, time: 0n, frame, length: frame.length, comments: [] }),
    ];
    writeFileSync(path("f"), Buffer.concat(blocks));
    const { status, err } = await wlvs(argv.map((word) => word.replace("FILE", path("f")).replace("OUT", path("o"))));
    expect(err).toContain(message);
    expect(status).toBe(2);
  });

  it.each([
    ["ext=/nowhere/x", "/nowhere/x cannot be read"],
    ["ext=BAD", "byte 0: neither pcapng nor pcap"],
    ["ext=TWO", "TWO has no interface ext: there are a, b"],
  ])("fails with status 1: --in %s", async (input, message) => {
    writeFileSync(path("BAD"), "no capture at all");
    const two = ["a", "b"].map((name) => pcapng.interface({ name, link: "ethernet", snap: 0 }));
    writeFileSync(path("TWO"), Buffer.concat([pcapng.section("test"), ...two]));
    const argv = ["replay", ...FLAGS, "--in", input.replace(/(BAD|TWO)/, path("$1")), "--out", path("o")];
    const { status, err } = await wlvs(argv);
    expect(err).toContain(message);
    expect(status).toBe(1);
  });
});

describe("what a device would have said", () => {
  const ends = { source: NET.client.ip, destination: NET.vip, sourcePort: 1, destinationPort: 80 };
  /** A segment with the pseudo-header's sum in its checksum field, as it lies in a socket buffer. */
  function partial(length: number): Uint8Array {
    const packet = tcpPacket(ends, { flags: FLAG.ack, data: new Uint8Array(length).fill(7) });
    const frame = ethernet(NET.ext.mac, NET.client.mac, packet);
    const pseudo = pseudoHeader(address(ends.source), address(ends.destination), PROTOCOL.tcp, packet.length - 20);
    const sum = ~checksum(pseudo) & 0xffff;
    frame.set([sum >> 8, sum & 255], 14 + 20 + 16);
    return frame;
  }

  it("is seen in the frame: a partial checksum, and segments to be cut", () => {
    expect([...guessVnet(partial(100), true, 1500)]).toEqual([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
    expect([...guessVnet(partial(4000), true, 1500)]).toEqual([1, 1, 54, 0, 1460 & 255, 1460 >> 8, 34, 0, 16, 0, 0, 0]);
    expect([...guessVnet(partial(4000).subarray(14), false, 1500)].slice(0, 10)).toEqual([
      1, 1, 40, 0, 180, 5, 20, 0, 16, 0,
    ]);
  });

  it("is nothing for a frame that is whole, or is anything", () => {
    const whole = ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends, { data: new Uint8Array(50) }));
    for (const frame of [whole, whole.subarray(0, 30), new Uint8Array(), new Uint8Array(80).fill(0x45)]) {
      expect([...guessVnet(frame, true, 1500)]).toEqual([...new Uint8Array(12)]);
    }
  });
});
