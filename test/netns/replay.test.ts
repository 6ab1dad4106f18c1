/** What a live director sent is what a replay of what it was sent sends, frame for frame. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type CapturedFrame, readCapture, vnetOf } from "../../host/port/pcap.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { inside, ip, Network, waitFor } from "./network.js";

const MAIN = join(import.meta.dirname, "../../dist/host/cli/main.js");
const VIP = "10.66.1.100";
const CLIENT = "10.66.1.10";
const SERVERS = ["10.66.2.11", "10.66.2.12"];
/** Pages of 300 KB: the kernel hands them over as super-frames with partial checksums. */
const PAGES = `
const { createServer } = require("node:http");
for (const host of ${JSON.stringify(SERVERS)}) {
  createServer((request, response) => {
    let length = 0;
    request.on("data", (chunk) => (length += chunk.length)).on("end", () => response.end(host + " " + length + "x".repeat(300000)));
  }).listen(8080, host);
}
`;

let network: Network;
beforeEach((context) => {
  needsDevices(context);
  needsCommands(context, "curl", "ping", "tcpdump", "tshark");
  network = new Network();
});
afterEach(() => network?.close());

async function wlvs(socket: string, ...args: string[]): Promise<{ status: number | null; out: string; err: string }> {
  const { child, ended } = begin(socket, ...args);
  child.stdin.end();
  return ended;
}

function begin(socket: string, ...args: string[]) {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, WLVS_SOCKET: socket } });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  const ended = new Promise<{ status: number | null; out: string; err: string }>((resolve) =>
    child.once("close", (status) => resolve({ status, out, err })),
  );
  return { child, ended };
}

const sent = (frames: readonly CapturedFrame[], number: number) =>
  frames
    .filter((one) => one.interface === number && one.direction === "out")
    .map(
      ({ frame, comments }) =>
        `${Buffer.from(vnetOf(comments) ?? []).toString("hex")} ${Buffer.from(frame).toString("hex")}`,
    );

describe("wlvs replay", () => {
  it("of a live director's trace, with real TCP through NAT, sends what it sent", async () => {
    const client = network.namespace("client");
    const servers = network.namespace("servers");
    const [ext, int] = [`xe${process.pid % 100000}`, `xi${process.pid % 100000}`];
    const socket = network.path("control.sock");
    const flags = [
      ...["--tap", `${ext},ip=10.66.1.1/24,netns=${client}`, "--tap", `${int},ip=10.66.2.1/24,netns=${servers}`],
      ...["--vip", `${VIP}:80`, "--scheduler", "sh"],
      ...SERVERS.flatMap((address) => ["--rip", `${address}:8080`]),
      // Services that are added tell the link of their address, some seconds long.
      ...["--set", "announce=0"],
    ];
    const director = network.director(...flags, "--socket", socket);
    await director.ready();
    const file = network.path("trace.pcapng");
    const trace = begin(socket, "trace", "--pcap", file);
    await waitFor(() => {
      try {
        return readFileSync(file).length > 0;
      } catch {
        return false;
      }
    }, "the trace has begun");
    await new Promise((resolve) => setTimeout(resolve, 500));
    const caught = network.path("client.pcap");
    const tcpdump = network.start(
      client,
      "tcpdump",
      "-Z",
      "root",
      "-U",
      "-w",
      caught,
      "-i",
      ext,
      "-s",
      "0",
      "-B",
      "32768",
    );
    ip("-n", client, "addr", "add", `${CLIENT}/24`, "dev", ext);
    for (const address of SERVERS) ip("-n", servers, "addr", "add", `${address}/24`, "dev", int);
    ip("-n", servers, "route", "add", "default", "via", "10.66.2.1");
    network.start(servers, process.execPath, "-e", PAGES);
    const retry = ["--retry", "20", "--retry-connrefused", "--retry-delay", "1"];
    for (const address of SERVERS)
      await inside(servers, "curl", "-sS", ...retry, "-o", network.path("page"), `http://${address}:8080/`);
    for (let n = 0; n < 3; n++) {
      const page = await inside(client, "curl", "-sS", "--data-binary", `@${network.path("page")}`, `http://${VIP}/`);
      expect(page.length).toBeGreaterThan(300_000);
    }
    // Nothing listens there; the host answers; nobody is there.
    await inside(client, "curl", "-sS", "-m", "2", `http://${VIP}:81/`).catch(() => {});
    await inside(client, "ping", "-c", "2", "-i", "0.2", VIP);
    ip("-n", client, "route", "add", "10.66.2.0/24", "via", "10.66.1.1");
    await inside(client, "ping", "-c", "1", "-W", "1", "10.66.2.77").catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 500));
    trace.child.kill("SIGINT");
    const { status, err } = await trace.ended;
    expect(status).toBe(0);
    expect(err).toMatch(/frames as they came, .* as they left\n$/);
    expect(err).not.toContain("lost");
    tcpdump.kill("SIGTERM");

    const live = readCapture(readFileSync(file), file);
    const out = network.path("out.pcapng");
    const captured = ["--in", `${ext}=${file}`, "--in", `${int}=${file}`];
    const again = await wlvs(socket, "replay", ...flags, ...captured, "--out", out);
    expect([again.status, again.err]).toEqual([0, ""]);
    const replayed = readCapture(readFileSync(out), out);
    for (const [number, least] of [
      [0, 30],
      [1, 30],
    ] as const) {
      const wanted = sent(live.frames, number);
      expect(wanted.length).toBeGreaterThan(least);
      expect(wanted.some((text) => text.length > 8000)).toBe(true);
      const emitted = sent(replayed.frames, number);
      // The live director went on asking for who is not there until it was ended; the replay ends with the last frame.
      const both = Math.min(wanted.length, emitted.length);
      expect(emitted.slice(0, both)).toEqual(wanted.slice(0, both));
      for (const text of [...wanted.slice(both), ...emitted.slice(both)])
        expect(text).toMatch(/^ f{12}[0-9a-f]{12}0806/);
    }

    const told = await wlvs(socket, "replay", ...flags, ...captured, "--explain");
    expect(told.status).toBe(0);
    expect(told.out).toContain(", as sent");

    // Wireshark's judgement: interfaces, directions, comments.
    const fields = ["frame.interface_name", "frame.packet_flags_direction", "frame.comment"].flatMap((field) => [
      "-e",
      field,
    ]);
    const lines = (await inside(client, "tshark", "-n", "-r", file, "-T", "fields", ...fields)).trimEnd().split("\n");
    expect(lines).toHaveLength(live.frames.length);
    const syn = lines.find((line) => line.includes("new connection") && line.includes("forward,"))!;
    expect(syn).toMatch(
      new RegExp(`^${ext}\t0x00000001\t${ext} > ${int} forward, tcp ${CLIENT}:\\d+ > ${VIP}:80 \\[S\\]`),
    );

    // What tcpdump caught at the kernel's end of one port, both ways, is what came and left there.
    const heard = readCapture(readFileSync(caught), caught);
    const mac = live.interfaces[0]!.mac!.replaceAll(":", "");
    const hex = (frame: Uint8Array) => Buffer.from(frame).toString("hex");
    const ours = heard.frames.map(({ frame }) => hex(frame)).filter((text) => text.slice(12, 24) === mac);
    const left = live.frames
      .filter((one) => one.interface === 0 && one.direction === "out")
      .map(({ frame }) => hex(frame));
    expect(ours.length).toBeGreaterThan(20);
    expect(left.slice(-ours.length)).toEqual(ours);
    await director.stop();
  });
});
