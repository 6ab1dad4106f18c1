/**
 * A place to see what faults do: a client and a server, each behind a bridge that a device of the director is a port of,
 * so that nothing but the bridge has to be there for the device to come back.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { afterEach, beforeEach } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { type Director, inside, ip, Network } from "./network.js";
import { until } from "./pair.js";

export const VIP = "192.168.4.133";
export const CLIENT = "192.168.4.132";
export const SERVER = "192.168.2.128";
export const INNER = "192.168.2.130";

/** Says back what it hears. */
const ECHO = `
require("node:net").createServer((socket) => socket.on("error", () => {}).pipe(socket))
  .listen({ host: process.argv[1], port: 9000, backlog: 1024 });
`;

/** Holds connections; for each line that it reads: how many of them say back what they are told, and resets so far. */
const HOLDER = `
const net = require("node:net");
const [count, host] = [Number(process.argv[1]), process.argv[2]];
const sockets = [];
let resets = 0;
const say = (what) => console.log(JSON.stringify(what));
async function open() {
  await Promise.all(Array.from({ length: count }, () => new Promise((done) => {
    const socket = net.connect(9000, host, done);
    socket.on("error", () => resets++).on("close", () => (socket.gone = true)).on("data", () => socket.heard?.());
    sockets.push(socket);
  })));
  say({ open: sockets.length });
}
async function check() {
  let well = 0;
  await Promise.all(sockets.map((socket) => new Promise((done) => {
    const timer = setTimeout(done, 15000);
    socket.heard = () => { well++; clearTimeout(timer); socket.heard = undefined; done(); };
    if (!socket.gone) socket.write("x");
  })));
  say({ well, resets });
}
require("node:readline").createInterface(process.stdin).on("line", check);
open();
`;

/** Connections of a client that are there before a fault, and are to be there after it. */
export class Held {
  readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  constructor(namespace: string, count: number) {
    this.child = spawn("ip", ["netns", "exec", namespace, process.execPath, "-e", HOLDER, `${count}`, VIP], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.lines = createInterface(this.child.stdout!)[Symbol.asyncIterator]();
  }

  private async next<T>(): Promise<T> {
    return JSON.parse((await this.lines.next()).value as string) as T;
  }

  async open(): Promise<number> {
    return (await this.next<{ open: number }>()).open;
  }

  check(): Promise<{ readonly well: number; readonly resets: number }> {
    this.child.stdin!.write("\n");
    return this.next();
  }
}

export let network: Network;
export let client: string;
/** Where the bridges are: brx has ext0, bri has int0. */
export let edge: string;
export let inner: string;
export let server: string;
export let socket: string;
export let remote: RemoteIpvs;
const held: Held[] = [];

/** Builds all of it before each test of the file, and takes it away afterwards. */
export function useSite(...programs: string[]): void {
  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, ...programs);
    network = new Network();
    [client, edge, inner, server] = ["client", "edge", "inner", "server"].map((role) => network.namespace(role)) as [
      string,
      string,
      string,
      string,
    ];
    makeBridge(edge, "brx", client, `${CLIENT}/24`);
    makeBridge(inner, "bri", server, `${SERVER}/24`);
    ip("-n", server, "route", "add", "default", "via", INNER);
    network.start(server, process.execPath, "-e", ECHO, SERVER);
    socket = network.path("control.sock");
    remote = new RemoteIpvs(socket);
  });
  afterEach(({ task }) => {
    if (task.result?.state === "fail") console.error(network?.latest?.stderr);
    for (const { child } of held.splice(0)) child.kill("SIGKILL");
    network?.close();
  });
}

function makeBridge(where: string, bridge: string, peer: string, address: string): void {
  ip("-n", where, "link", "add", bridge, "type", "bridge");
  ip("-n", where, "link", "set", bridge, "up");
  ip("-n", where, "link", "add", "v0", "type", "veth", "peer", "name", "eth0", "netns", peer);
  ip("-n", where, "link", "set", "v0", "master", bridge, "up");
  ip("-n", peer, "addr", "add", address, "dev", "eth0");
  ip("-n", peer, "link", "set", "eth0", "up");
}

export const PORTS = () => [
  ...["--tap", `ext0,ip=${VIP}/24,netns=${edge},bridge=brx`],
  ...["--tap", `int0,ip=${INNER}/24,netns=${inner},bridge=bri`],
];

/** A director with one service, in front of the server that says back. */
export async function direct(...more: string[]): Promise<Director> {
  const service = ["--vip", `${VIP}:9000`, "--rip", `${SERVER}:9000`];
  const director = network.director(...PORTS(), "--socket", socket, ...service, ...more);
  await director.ready();
  await until(async () => (await inside(server, "ss", "-Hltn", "sport", "=", "9000")) !== "", "the server listens");
  return director;
}

/** Connections that are open when this resolves. */
export async function hold(count: number): Promise<Held> {
  const connections = new Held(client, count);
  held.push(connections);
  if ((await connections.open()) !== count) throw new Error("not all connections could be opened");
  return connections;
}

/** Whether the director answers the client's ping: its other port is not needed for that. */
export async function pings(): Promise<boolean> {
  return inside(client, "ping", "-c", "1", "-W", "2", VIP).then(
    () => true,
    () => false,
  );
}

/** Slots that are neither free nor with the kernel to be received into, once the frames under way are out. */
export async function slotsInUse(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let look = 0; look < 20 && least > 0; look++) {
    if (look > 0) await new Promise((resolve) => setTimeout(resolve, 50));
    const [tables, workers] = await Promise.all([remote.occupancy(), remote.workers()]);
    const used = tables.find(({ table }) => table === "slots")!.used;
    least = Math.min(least, used - workers.reduce((sum, { held: slots }) => sum + slots, 0));
  }
  return least;
}

/** Milliseconds of the processor that a process has used. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** How much of the processor the processes use while nothing is asked of them: of 1, over so long. */
export async function load(ms: number, ...pids: number[]): Promise<number> {
  const used = () => pids.reduce((sum, pid) => sum + cpuMs(pid), 0);
  const before = used();
  const began = performance.now();
  await new Promise((resolve) => setTimeout(resolve, ms));
  return (used() - before) / (performance.now() - began);
}

/** Until the processes use next to nothing of the processor for a moment, as those that go round and round never do. */
export async function calm(...pids: number[]): Promise<void> {
  await until(async () => (await load(500, ...pids)) < 0.3, "nothing is busy", 30_000);
}

/** The events of a director's log so far, keeper and director together. */
export function events({ stderr }: Director, name: string): Array<Record<string, unknown>> {
  return stderr
    .split("\n")
    .filter((line) => line.startsWith("{") && line.endsWith("}"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ event }) => event === name);
}
