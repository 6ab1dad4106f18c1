/** What clients of the control plane can do to a director: use up its descriptors, stall, go away in the middle. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, expect, it } from "vitest";
import { freePort } from "../support/free-port.js";
import { calm, direct, events, hold, load, pings, remote, socket, useSite } from "./faults.js";
import { waitFor } from "./network.js";
import { until } from "./pair.js";

useSite("ss", "ping", "prlimit");

const peers: Socket[] = [];
afterEach(leave);

function leave(): void {
  for (const peer of peers.splice(0)) peer.destroy();
}

const descriptors = (pid: number) => readdirSync(`/proc/${pid}/fd`).map(Number);
const residentKib = (pid: number) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]);
const stillOpen = () => peers.filter(({ destroyed }) => !destroyed).length;

/** Sets the soft limit, as the user that it runs as: what root may is a matter of capabilities. */
function limit(pid: number, soft: number): void {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const [uid, gid] = ["Uid", "Gid"].map((name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)![1]));
  execFileSync("prlimit", ["--pid", `${pid}`, `--nofile=${soft}:`], { uid, gid, cwd: "/" });
}

/** A connection to the control socket, or to a port of TCP, that is sent a text; nothing is read unless that is asked for. */
function dial(text = "", port?: number): Promise<Socket> {
  return new Promise((resolve) => {
    const peer = port === undefined ? connect(socket) : connect(port, "127.0.0.1");
    peers.push(peer);
    peer.on("error", () => {}).once("close", () => resolve(peer));
    peer.once("connect", () => {
      if (text !== "") peer.write(text);
      resolve(peer);
    });
  });
}

/** Many at the same time, which notice when they are closed. */
async function crowd(count: number, port?: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, async () => (await dial("", port)).resume()));
}

it("forwards with no descriptor left, without being busy, and is reached again when they are back", async () => {
  const port = await freePort();
  const director = await direct("--listen", `127.0.0.1:${port}`);
  const connections = await hold(5);
  const { pid } = await remote.status();
  const own = descriptors(pid);
  const before = own.length;
  const usual = Number(/^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, "latin1"))![1]);

  // Some are left: the director keeps them for itself, and says so once.
  const dense = own.filter((fd) => fd < own.length).length;
  const few = dense + 50;
  limit(pid, few);
  await crowd(100, port);
  await waitFor(() => stillOpen() === 0, "TCP leaves descriptors to the control socket");
  expect((await remote.status()).pid).toBe(pid);
  await crowd(100);
  await waitFor(() => stillOpen() < 60, "those beyond are closed");
  expect(stillOpen()).toBeGreaterThan(10);
  await waitFor(() => events(director, "control.full").length === 2, "it is told of both");
  const highest = () => Math.max(...descriptors(pid).filter((fd) => !own.includes(fd)));
  await waitFor(() => highest() < few - 32, "some are left");
  expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  expect(await load(1000, pid)).toBeLessThan(0.3);
  leave();
  await until(async () => (await remote.status()).pid === pid && descriptors(pid).length <= before, "they are back");

  // Not one is left; then there are more than may be, and those who wait cannot even be turned away.
  for (const none of [dense, 8]) {
    limit(pid, none);
    await Promise.all([crowd(100), crowd(100, port)]);
    expect(await connections.check()).toEqual({ well: 5, resets: 0 });
    const more = await hold(5);
    expect(await more.check()).toEqual({ well: 5, resets: 0 });
    await calm(pid);
  }
  // Who waited is answered.
  const waiting = peers.length;
  const request = "GET /v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
  const late = await Promise.all([dial(request), dial(request, port)]);
  const answers = late.map((peer) => text(peer));
  limit(pid, usual);
  for (const peer of peers.slice(0, waiting)) peer.destroy();
  for (const answer of answers) expect(await answer).toContain(`"pid":${pid}`);
  leave();
  await until(async () => (await remote.status()).pid === pid, "it is reached again");
  await until(async () => descriptors(pid).length <= before, "none is lost");
  expect(events(director, "control.full").length).toBe(2);
  expect(events(director, "director.died")).toEqual([]);
});

it("is held up by nobody who does not read, and loses nothing to those who go away", async () => {
  const director = await direct();
  const connections = await hold(1000);
  const { pid } = await remote.status();
  const before = descriptors(pid).length;
  const resident = residentKib(pid);
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nhost: wlvs\r\n\r\n`;
  // Each answer, or a few of them, is more than the kernel's buffers take.
  for (let n = 0; n < 20; n++) await dial(get("/v1/connections").repeat(2));
  for (let n = 0; n < 20; n++) await dial(get("/metrics").repeat(4));
  // These are let go.
  for (let n = 0; n < 20; n++) await dial(get("/v1/connections").repeat(1000));
  for (const path of ["/v1/events/connections", "/v1/trace?rate=0"]) for (let n = 0; n < 4; n++) await dial(get(path));
  for (const peer of peers) peer.pause();
  // And those who go in the middle: of a head, of a body, of an answer, of what has no end.
  const halves = [
    "GET /v1/connec",
    `POST /v1/services HTTP/1.1\r\nhost: wlvs\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"id":`,
    get("/v1/connections"),
    get("/v1/events/connections"),
    get("/metrics"),
  ];
  for (const half of halves) {
    const gone = await Promise.all(Array.from({ length: 20 }, () => dial(half)));
    for (const peer of gone) peer.destroy();
  }
  for (let round = 0; round < 5; round++) {
    expect(await connections.check()).toEqual({ well: 1000, resets: 0 });
    expect(await pings()).toBe(true);
    expect((await remote.services()).length).toBe(1);
  }
  let listed = 0;
  for await (const _ of remote.connections()) listed++;
  expect(listed).toBeGreaterThanOrEqual(1000);
  expect(residentKib(pid) - resident).toBeLessThan(200 * 1024);
  expect(await load(1000, pid)).toBeLessThan(0.3);
  leave();
  await until(
    async () => (await remote.status()).pid === pid && descriptors(pid).length <= before,
    "no descriptor is lost",
  );
  // The places of those who listened are free again.
  const stop = new AbortController();
  const listening = Array.from({ length: 4 }, () => remote.events({ sample: 1 }, stop.signal).next());
  await hold(1);
  const first = await Promise.all(listening);
  expect(first.map(({ done }) => done)).toEqual([false, false, false, false]);
  stop.abort();
  expect(events(director, "engine.trap")).toEqual([]);
});
