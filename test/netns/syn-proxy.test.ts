/** The SYN proxy with real TCP: every option on and off, both families, loss, servers that refuse or say nothing. */
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { Farm, SERVERS, VIP } from "./farm.js";
import { inside, Network } from "./network.js";

const BYTES = 6_000_000;
const PAGES = 8080;
/** One that speaks first, one that hears all before it speaks, one that closes while the client does. */
const SPEAKERS = `
const { createServer } = require("node:net");
createServer((socket) => {
  socket.write("220 here I am\\r\\n");
  socket.on("data", (text) => socket.end("you said " + text)).on("error", () => {});
}).listen(2525);
createServer({ allowHalfOpen: true }, (socket) => {
  const parts = [];
  socket.on("data", (part) => parts.push(part)).on("end", () => socket.end(Buffer.concat(parts).toString("hex")));
}).listen(2526);
createServer((socket) => socket.on("error", () => {}).resetAndDestroy()).listen(2527);
`;

describe("the SYN proxy", () => {
  let network: Network | undefined;
  let farm: Farm;
  let digest: string;
  let body: string;
  /** What a client of a server hears that says nothing. */
  let silent: Promise<string>;

  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, "nginx", "curl", "iperf3", "nft", "ss", "ethtool", "sysctl");
  });

  beforeAll(async () => {
    if (process.getuid?.() !== 0) return;
    network = new Network();
    farm = new Farm(network);
    const data = randomBytes(BYTES);
    writeFileSync(farm.file, data);
    digest = createHash("sha256").update(data).digest("hex");
    await farm.serve();
    for (const namespace of farm.servers) {
      network.start(namespace, process.execPath, "-e", SPEAKERS);
      network.start(namespace, "iperf3", "-s");
    }
    body = farm.file;
    const services = (vip: string, servers: string[]) =>
      [80, 9000, 2525, 2526, 2527, 5201, 81].flatMap((port) => [
        ...["--vip", `${vip}:${port}`, "--scheduler", "rr"],
        ...servers.flatMap((server) => ["--rip", `${server}:${port === 80 ? PAGES : port === 81 ? 1 : port}`]),
      ]);
    // Both directions of a connection meet either worker.
    await farm.start(
      ...["--workers", "2"],
      "--syn-proxy",
      "on",
      ...services(
        VIP.v4,
        SERVERS.slice(0, 1).map(({ v4 }) => v4),
      ),
      ...services(
        `[${VIP.v6}]`,
        SERVERS.slice(0, 1).map(({ v6 }) => `[${v6}]`),
      ),
      ...["--vip", `${VIP.v4}:82`, "--rip", `${SERVERS[2]!.v4}:${PAGES}`],
    );
    spawnSync("ip", ["-n", farm.servers[2]!, "route", "add", "blackhole", "10.77.0.0/24"]);
    silent = talk(82, "");
  }, 60_000);

  afterAll(async () => {
    await farm?.stop();
    await network?.close();
  });

  const sysctl = (namespace: string, setting: string) =>
    expect(spawnSync("ip", ["netns", "exec", namespace, "sysctl", "-qw", setting]).status).toBe(0);
  const both = (setting: string) => {
    for (const namespace of [farm.client, farm.servers[0]!]) sysctl(namespace, setting);
  };
  const upload = (base: string) => farm.curl(farm.client, `${base}/`, "-T", body, "--max-time", "100");
  const counters = () => new RemoteIpvs(farm.socket).counters();

  async function transfer(): Promise<void> {
    for (const host of [VIP.v4, `[${VIP.v6}]`]) {
      expect(await farm.fetched(farm.client, `http://${host}`), `from ${host}`).toBe(digest);
      expect(await upload(`http://${host}:9000`), `to ${host}`).toBe(digest);
    }
  }

  /** Gigabits a second through the service, which is proxied or not. */
  async function speed(mode: "on" | "off", reverse: boolean): Promise<number> {
    const ipvs = new RemoteIpvs(farm.socket);
    const { id } = (await ipvs.services()).find(({ id }) => "port" in id && id.port === 5201 && id.family === 4)!;
    const service = await ipvs.service(id);
    const { stats: _stats, rates: _rates, servers: _servers, defence: _defence, ...config } = service;
    await ipvs.editService({ ...config, synProxy: mode });
    const more = reverse ? ["-R"] : [];
    const report = await inside(farm.client, "iperf3", "-c", VIP.v4, "-t", "1", "-J", "-C", "reno", ...more);
    return JSON.parse(report).end.sum_received.bits_per_second / 1e9;
  }

  it("moves files whole, whatever options the two ends have", { timeout: 120_000 }, async () => {
    const before = await counters();
    for (const offload of [true, false]) {
      farm.offloads(offload);
      await transfer();
    }
    farm.offloads(true);
    both("net.ipv4.tcp_timestamps=0");
    await transfer();
    both("net.ipv4.tcp_timestamps=1");
    for (const setting of ["tcp_window_scaling", "tcp_sack", "tcp_timestamps"]) {
      sysctl(farm.servers[0]!, `net.ipv4.${setting}=0`);
      // The first client of such a server is offered more than it has; the next ones are not.
      expect(await farm.fetched(farm.client, `http://${VIP.v4}`), `server without ${setting}`).toBe(digest);
      expect(await upload(`http://${VIP.v4}:9000`), `server without ${setting}`).toBe(digest);
      sysctl(farm.servers[0]!, `net.ipv4.${setting}=1`);
    }
    const after = await counters();
    expect(after.synProxy.spliced - before.synProxy.spliced).toBeGreaterThanOrEqual(18);
  });

  it("is as fast as without it", { timeout: 60_000 }, async () => {
    for (const reverse of [false, true]) {
      const off: number[] = [];
      const on: number[] = [];
      for (let round = 0; round < 2; round++) {
        off.push(await speed("off", reverse));
        on.push(await speed("on", reverse));
      }
      expect(Math.max(...on) / Math.max(...off), `${on} against ${off}`).toBeGreaterThan(0.5);
    }
  });

  it("recovers from loss", { timeout: 60_000 }, async () => {
    // One segment in a hundred each way, for good TCP no more than slow.
    const rules = ["input", "output"].map(
      (hook) =>
        `add chain inet loss ${hook} { type filter hook ${hook} priority 0; }
         add rule inet loss ${hook} meta l4proto tcp numgen random mod 100 < 1 drop`,
    );
    const nft = (text: string) =>
      spawnSync("ip", ["netns", "exec", farm.client, "nft", "-f", "-"], { input: text }).status;
    expect(nft(["add table inet loss", ...rules, ""].join("\n"))).toBe(0);
    try {
      expect(await farm.fetched(farm.client, `http://${VIP.v4}`)).toBe(digest);
      expect(await upload(`http://${VIP.v4}:9000`)).toBe(digest);
    } finally {
      nft("delete table inet loss\n");
    }
  });

  it("agrees on the options that both ends have", async () => {
    const client = network!.start(farm.client, "iperf3", "-c", VIP.v4, "-t", "2");
    const ended = new Promise((resolve) => client.once("close", resolve));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const [there, here] = await Promise.all(
      [farm.servers[0]!, farm.client].map((namespace) =>
        inside(namespace, "ss", "-tinH", "state", "established", "( sport = :5201 or dport = :5201 )"),
      ),
    );
    await ended;
    // The server has the client's scale and its own; the client has the director's in the place of the server's. 12 of
    // 1460 bytes are timestamps.
    expect(here).toMatch(/wscale:7,\d+[^\n]* mss:1448/);
    expect(there).toMatch(/wscale:\d+,\d+[^\n]* mss:1448/);
  });

  const talk = (port: number, script: string) =>
    inside(
      farm.client,
      process.execPath,
      "-e",
      `const socket = require("node:net").connect({ host: "${VIP.v4}", port: ${port}, allowHalfOpen: true });
       const began = Date.now(); let heard = "";
       const end = (what) => { console.log(what, heard, Date.now() - began); process.exit(0); };
       socket.on("error", (error) => end(error.code)).on("close", () => end("closed"));
       socket.on("data", (text) => (heard += text));
       setTimeout(() => end("timeout"), 20000);
       ${script}`,
    );

  it("lets the server speak first, and the client, and both end at once", async () => {
    expect(
      await talk(2525, `socket.once("data", () => socket.write("hello"));socket.on("end",()=>socket.end())`),
    ).toMatch(/^closed 220 here I am\r\nyou said hello \d+\n$/);
    expect(await talk(2526, `socket.end("client first")`)).toMatch(
      new RegExp(`^closed ${Buffer.from("client first").toString("hex")} \\d+\n$`),
    );
    // The client's FIN is on its way when the server's comes.
    expect(await talk(2525, `socket.write("bye"); socket.end()`)).toMatch(
      /^closed 220 here I am\r\nyou said bye \d+\n$/,
    );
  });

  it("carries resets, and what refuses or says nothing is told to the client", { timeout: 60_000 }, async () => {
    expect(await talk(2527, "")).toMatch(/^(ECONNRESET|closed) /);
    const refused = await talk(81, "");
    expect(refused).toMatch(/^ECONNRESET /);
    expect(Number(refused.split(" ").at(-1))).toBeLessThan(3000);
    const told = await silent;
    expect(told).toMatch(/^ECONNRESET /);
    // 1 + 2 + 4 + 8 seconds, each timer late by an eighth at most.
    expect(Number(told.split(" ").at(-1))).toBeGreaterThan(14_000);
    const after = await counters();
    expect(after.synProxy.silent).toBe(1);
    expect(after.synProxy.refused).toBeGreaterThan(0);
  });

  it("says in the status that it is at work", async () => {
    const { defence } = (await new RemoteIpvs(farm.socket).services())[0]!;
    expect(defence).toMatchObject({ synProxy: true });
  });
});
