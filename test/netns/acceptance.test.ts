/**
 * A director in a topology that it was not written for, under the load of real programs. WLVS_ACCEPTANCE=full takes the
 * figures that a release is held to; without it everything is the same, only shorter.
 */
import { createHash } from "node:crypto";
import { createReadStream, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";
import { concat, ethernet, FLAG, tcpPacket } from "../support/packets.js";
import { Capture, CLIENT, datagrams, emit, Farm, INNER, LINK_VIP, OUTER, PAGES, ping, SERVERS, VIP } from "./farm.js";
import { inside, ip, Network } from "./network.js";

const FULL = process.env.WLVS_ACCEPTANCE === "full";
const SECONDS = FULL ? 10 : 3;
/** A multiple of the sum of the weights: shares come out even. */
const CONNECTIONS = FULL ? 10_008 : 2_004;
const MEGABYTES = FULL ? 200 : 20;
const WEIGHTS = [1, 2, 3];

function report(text: string): void {
  process.stdout.write(`acceptance: ${text}\n`);
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

const service = (vip: string, port: number, protocol = "tcp") => [
  ...["--vip", `${vip.includes(":") ? `[${vip}]` : vip}:${port}/${protocol}`, "--scheduler", "wrr"],
];
const rips = (family: "v4" | "v6", port: number | undefined, weights: readonly number[] = WEIGHTS) =>
  SERVERS.flatMap((server, n) => {
    const host = family === "v6" ? `[${server.v6}]` : server.v4;
    return ["--rip", `${host}${port === undefined ? "" : `:${port}`},weight=${weights[n]}`];
  });

let network: Network;
let farm: Farm;
let digest: string;

/** Sets up once, in the first test that finds what it needs on this machine. */
function once(setup: () => Promise<unknown>): void {
  let ready: Promise<unknown> | undefined;
  beforeEach(async (context) => {
    needsDevices(context);
    needsCommands(context, "nginx", "curl", "bash", "sha256sum", "ethtool");
    await (ready ??= setup());
  });
  afterAll(() => {
    if (ready !== undefined) network.close();
  });
}

describe("NAT in a topology of its own", () => {
  once(async () => {
    network = new Network();
    farm = new Farm(network);
    const block = Buffer.alloc(1_000_000);
    for (let n = 0; n < MEGABYTES; n++) {
      for (let at = 0; at < block.length; at += 4)
        block.writeUInt32LE(Math.imul(at + n * block.length, 0x9e3779b1) >>> 0, at);
      writeFileSync(farm.file, block, { flag: "a" });
    }
    digest = await hashOf(farm.file);
    await farm.serve();
    await farm.start(
      ...[...service(VIP.v4, 80), ...rips("v4", PAGES)],
      ...[...service(VIP.v4, 7000, "udp"), ...rips("v4", undefined)],
      ...[...service(VIP.v4, 9000), ...rips("v4", undefined)],
      ...[...service(VIP.v6, 80), ...rips("v6", PAGES)],
      ...[...service(VIP.v6, 7000, "udp"), ...rips("v6", undefined)],
    );
  });

  afterEach(() => expect(farm.director?.stderr ?? "").not.toMatch(/"level":(50|60)|trap/));

  it("says that a virtual address in nobody's subnet must be routed here", () => {
    expect(farm.director!.stderr).toContain(`${VIP.v4} is in no port's subnet`);
  });

  it(`shares ${CONNECTIONS} separate connections exactly as wrr does`, async () => {
    const began = performance.now();
    const streams = 4;
    const each = CONNECTIONS / streams;
    const answers = await Promise.all(
      Array.from({ length: streams }, () =>
        farm.curl(farm.client, `http://${VIP.v4}/[1-${each}]`, "-H", "Connection: close"),
      ),
    );
    const shares = new Map<string, number>();
    for (const line of answers.join("").trim().split("\n")) shares.set(line, (shares.get(line) ?? 0) + 1);
    expect(Object.fromEntries(shares)).toEqual(
      Object.fromEntries(SERVERS.map(({ name }, n) => [`I am ${name}`, (CONNECTIONS * WEIGHTS[n]!) / 6])),
    );
    report(`${CONNECTIONS} curl connections in ${Math.round(performance.now() - began)} ms, none failed, exact shares`);
  });

  it(`carries 64 busy connections of wrk for ${SECONDS} s`, async (context) => {
    needsCommands(context, "wrk");
    const script = network.path("check.lua");
    writeFileSync(
      script,
      `local threads = {}
      function setup(thread) thread:set("bad", 0) table.insert(threads, thread) end
      function response(status, headers, body)
        if status ~= 200 or not body:match("^I am s[123]\\n$") then bad = bad + 1 end
      end
      function done(summary)
        local wrong = 0
        for _, thread in ipairs(threads) do wrong = wrong + thread:get("bad") end
        local e = summary.errors
        print(string.format("RESULT %d %d %d %d %d %d %d", summary.requests, wrong, e.connect, e.read, e.write, e.status, e.timeout))
      end`,
    );
    const out = await inside(
      farm.client,
      "wrk",
      ...["-t2", "-c64", `-d${SECONDS}s`, "-s", script, `http://${VIP.v4}/`],
    );
    const [requests, ...faults] = /^RESULT (.*)$/m.exec(out)![1]!.split(" ").map(Number);
    report(`wrk: ${requests} requests in ${SECONDS} s, faults ${faults.join(" ")}`);
    expect(faults).toEqual([0, 0, 0, 0, 0, 0]);
    expect(requests).toBeGreaterThan(100 * SECONDS);
  });

  it.each([true, false])(`brings ${MEGABYTES} MB unharmed, offloads %s`, async (on) => {
    farm.offloads(on);
    try {
      const began = performance.now();
      expect(await farm.fetched(farm.client, `http://${VIP.v4}`)).toBe(digest);
      const seconds = (performance.now() - began) / 1000;
      report(`NAT ${MEGABYTES} MB, offloads ${on ? "on" : "off"}: ${seconds.toFixed(1)} s, sha256 right`);
      const up = await farm.curl(farm.client, `http://${VIP.v4}:9000/`, "-T", farm.file);
      expect(up).toBe(digest);
    } finally {
      farm.offloads(true);
    }
  });

  it("makes no checksum that tcpdump finds wrong", async (context) => {
    needsCommands(context, "tcpdump");
    farm.offloads(false);
    try {
      const filter = "tcp or udp or icmp or icmp6";
      const captures = await Promise.all([
        Capture.start(network, farm.client, farm.outer, filter),
        Capture.start(network, farm.fabric, farm.inner, filter),
      ]);
      for (let n = 0; n < 6; n++) await farm.curl(farm.client, `http://${VIP.v4}/`);
      for (let n = 0; n < 6; n++) await farm.curl(farm.client, `http://[${VIP.v6}]/`);
      await farm.curl(farm.client, `http://${VIP.v4}/file`, "-r", "0-2000000", "-o", "/dev/null");
      expect(await datagrams(farm.client, VIP.v4, 7000, 40)).toBe(40);
      expect(await datagrams(farm.client, VIP.v6, 7000, 40)).toBe(40);
      await ping(farm.client, VIP.v4);
      // Answered with a reset and with an ICMP error.
      await farm.curl(farm.client, `http://${OUTER.v4}:1/`).catch(() => {});
      await datagrams(farm.client, OUTER.v4, 9, 1);
      for (const capture of captures) {
        const text = await capture.stop();
        expect(text).not.toMatch(/incorrect|bad udp cksum|wrong icmp|bad icmp6|bad cksum/);
        expect(text.match(/cksum 0x[0-9a-f]+ \(correct\)/g)!.length).toBeGreaterThan(1000);
        expect(text.match(/udp sum ok/g)!.length).toBeGreaterThan(100);
      }
    } finally {
      farm.offloads(true);
    }
  });

  it("answers ping for its addresses, and says when a packet's time is over", async () => {
    for (const target of [VIP.v4, OUTER.v4, INNER.v4])
      expect(await ping(farm.client, target)).toEqual([`${target} 0 0`]);
    expect(await ping(farm.client, SERVERS[0]!.v4)).toEqual([`${SERVERS[0]!.v4} 0 0`]);
    expect(await ping(farm.client, SERVERS[0]!.v4, 1)).toEqual([`${OUTER.v4} 11 0`]);
    expect(await ping(farm.client, SERVERS[0]!.v4, 2)).toEqual([`${SERVERS[0]!.v4} 0 0`]);
    expect(await ping(farm.servers[0]!, CLIENT.v4, 1)).toEqual([`${INNER.v4} 11 0`]);
  });

  it("balances IPv6 as exactly", async () => {
    const answers = await farm.curl(farm.client, `http://[${VIP.v6}]/?n=[1-60]`, "-H", "Connection: close");
    const counts = SERVERS.map(({ name }) => answers.split(`I am ${name}\n`).length - 1);
    expect(counts).toEqual([10, 20, 30]);
    expect(await farm.fetched(farm.client, `http://[${VIP.v6}]`)).toBe(digest);
  });
});

describe("NAT towards a link with a smaller MTU", () => {
  once(async () => {
    network = new Network();
  });

  it("tells senders the MTU, and their transfers go through", async (context) => {
    needsCommands(context, "tcpdump");
    farm = new Farm(network);
    writeFileSync(farm.file, Buffer.alloc(3_000_000, "wlvs"));
    await farm.serve();
    const director = network.director(
      ...["--tap", `${farm.outer},ip=${OUTER.v4}/24,ip=${OUTER.v6}/64`],
      ...["--tap", `${farm.inner},ip=${INNER.v4}/24,ip=${INNER.v6}/64,mtu=1400`],
      ...["--socket", farm.socket],
      ...[...service(VIP.v4, 9000), ...rips("v4", undefined)],
      ...[...service(VIP.v6, 9000), ...rips("v6", undefined)],
    );
    farm.director = director;
    await director.ready();
    farm.connect();
    const capture = await Capture.start(network, farm.client, farm.outer, "icmp or icmp6");
    const expected = await hashOf(farm.file);
    expect(await farm.curl(farm.client, `http://${VIP.v4}:9000/`, "-T", farm.file)).toBe(expected);
    expect(await farm.curl(farm.client, `http://[${VIP.v6}]:9000/`, "-T", farm.file)).toBe(expected);
    const text = await capture.stop();
    expect(text).toMatch(/need to frag \(mtu 1400\)/);
    expect(text).toMatch(/packet too big, mtu 1400/);
    expect(text).not.toMatch(/incorrect|wrong icmp|bad icmp6/);
  });
});

describe("direct routing with one arm", () => {
  let near: string;

  once(async () => {
    network = new Network();
    farm = new Farm(network);
    writeFileSync(farm.file, Buffer.alloc(MEGABYTES * 1_000_000, "direct routing "));
    digest = await hashOf(farm.file);
    near = network.namespace("near");
    farm.plug(near, "near", "10.88.0.200", "fd88::200");
    for (const namespace of farm.servers) {
      const lines = ["all", "lo"].flatMap((name) => {
        const at = `/proc/sys/net/ipv4/conf/${name}`;
        return [`echo 1 >${at}/arp_ignore`, `echo 2 >${at}/arp_announce`];
      });
      await inside(namespace, "sh", "-c", lines.join(" && "));
      ip("-n", namespace, "addr", "add", `${LINK_VIP.v4}/32`, "dev", "lo");
      ip("-n", namespace, "addr", "add", `${LINK_VIP.v6}/128`, "dev", "lo", "nodad");
    }
    await farm.serve();
    const director = network.director(
      ...["--tap", `one0,ip=${INNER.v4}/24,ip=${INNER.v6}/64,netns=${farm.fabric},bridge=br0`],
      ...["--socket", farm.socket],
      ...[...service(LINK_VIP.v4, 80), "--mode", "dr", ...rips("v4", undefined)],
      ...[...service(LINK_VIP.v6, 80), "--mode", "dr", ...rips("v6", undefined)],
    );
    farm.director = director;
    await director.ready();
  });

  it("shares connections exactly", async () => {
    for (const host of [LINK_VIP.v4, `[${LINK_VIP.v6}]`]) {
      const answers = await farm.curl(near, `http://${host}/?n=[1-60]`, "-H", "Connection: close");
      expect(SERVERS.map(({ name }) => answers.split(`I am ${name}\n`).length - 1)).toEqual([10, 20, 30]);
    }
  });

  it.each([true, false])(`brings ${MEGABYTES} MB unharmed, offloads %s`, async (on) => {
    const devices = [[near, "eth0"] as const, [farm.fabric, "one0"] as const, ...farm.devices()];
    farm.offloads(on, devices);
    try {
      const began = performance.now();
      expect(await farm.fetched(near, `http://${LINK_VIP.v4}`)).toBe(digest);
      const seconds = (performance.now() - began) / 1000;
      report(`DR ${MEGABYTES} MB, offloads ${on ? "on" : "off"}: ${seconds.toFixed(1)} s, sha256 right`);
      expect(await farm.fetched(near, `http://[${LINK_VIP.v6}]`)).toBe(digest);
    } finally {
      farm.offloads(true, devices);
    }
  });
});

describe("802.1Q tags", () => {
  once(async () => {
    network = new Network();
  });

  it("pass from one side to the other and back", async (context) => {
    needsCommands(context, "tcpdump");
    const [client, server] = [network.namespace("client"), network.namespace("server")];
    const macs = ["02:77:00:00:00:01", "02:88:00:00:00:01"] as const;
    const ends = ["02:77:00:00:00:10", "02:88:00:00:00:10"] as const;
    const director = network.director(
      ...["--tap", `t0,ip=10.77.0.1/24,mac=${macs[0]},netns=${client}`],
      ...["--tap", `t1,ip=10.88.0.1/24,mac=${macs[1]},netns=${server}`],
      ...["--neigh", `10.77.0.10,${ends[0]},dev=t0`, "--neigh", `10.88.0.10,${ends[1]},dev=t1`],
      ...["--socket", network.path("control.sock")],
      ...["--vip", "10.77.0.1:80", "--scheduler", "rr", "--rip", "10.88.0.10:8080"],
    );
    await director.ready();
    const tagged = (to: string, from: string, packet: Uint8Array) =>
      ethernet(to, from, concat(Uint8Array.of(0, 7, 8, 0), packet), 0x8100);
    const there = { source: "10.77.0.10", destination: "10.77.0.1", sourcePort: 4000, destinationPort: 80 };
    const back = { source: "10.88.0.10", destination: "10.77.0.10", sourcePort: 8080, destinationPort: 4000 };
    const captures = [
      await Capture.start(network, client, "t0", "-e", "vlan"),
      await Capture.start(network, server, "t1", "-e", "vlan"),
    ];
    await emit(client, "t0", tagged(macs[0], ends[0], tcpPacket(there)));
    await emit(server, "t1", tagged(macs[1], ends[1], tcpPacket(back, { flags: FLAG.syn | FLAG.ack })));
    const [front, rear] = [await captures[0]!.stop(), await captures[1]!.stop()];
    expect(rear).toContain(
      `${macs[1]} > ${ends[1]}, ethertype 802.1Q (0x8100), length 58: vlan 7, p 0, ethertype IPv4`,
    );
    expect(rear).toMatch(/10\.77\.0\.10\.4000 > 10\.88\.0\.10\.8080: .*\(correct\)/);
    expect(front).toContain(
      `${macs[0]} > ${ends[0]}, ethertype 802.1Q (0x8100), length 58: vlan 7, p 0, ethertype IPv4`,
    );
    expect(front).toMatch(/10\.77\.0\.1\.80 > 10\.77\.0\.10\.4000: .*\(correct\)/);
  });
});
