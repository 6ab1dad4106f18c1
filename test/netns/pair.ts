/** A client, a director with a configuration file, and two real servers on a wire of their own that checks start from. */
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { type Director, ip, Network, PATIENCE_MS, waitFor } from "./network.js";

const MAIN = join(import.meta.dirname, "../../dist/host/cli/main.js");
const SERVER = `
const { createServer } = require("node:http");
for (const host of process.argv.slice(1)) createServer((request, response) => {
  if (request.url === "/slow") {
    response.write("begun ");
    setTimeout(() => response.end("and ended\\n"), 3000);
  } else response.end("I am " + host + "\\n");
}).listen(80, host);
`;
export const A = "192.168.2.128";
export const B = "192.168.2.129";
export const VIP = "192.168.4.133";

export let network: Network;
export let client: string;
export let wire: string;
export let socket: string;
export let file: string;
export let remote: RemoteIpvs;
/** Namespaces of the real servers, and what serves there, by address. */
export const servers = new Map<string, string>();
export const serving = new Map<string, ChildProcess>();

type Serve = (namespace: string, address: string) => ChildProcess;

/** Node's own web server: "I am ADDRESS", and a page that takes its time. */
function serveWithNode(namespace: string, address: string): ChildProcess {
  return network.start(namespace, process.execPath, "-e", SERVER, address);
}

/** Builds all of it before each test of the file, and takes it away afterwards. */
export function usePair(serve: Serve = serveWithNode, ...programs: string[]): void {
  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, "curl", ...programs);
    build(serve);
  });
  afterEach(() => network?.close());
}

function build(serve: Serve): void {
  network = new Network();
  client = network.namespace("client");
  wire = network.namespace("wire");
  ip("-n", wire, "link", "add", "br0", "type", "bridge");
  ip("-n", wire, "link", "set", "br0", "up");
  ip("-n", wire, "addr", "add", "192.168.2.131/24", "dev", "br0");
  for (const [at, address] of [A, B].entries()) {
    const name = network.namespace(`server${at}`);
    servers.set(address, name);
    ip("-n", wire, "link", "add", `w${at}`, "type", "veth", "peer", "name", "eth0", "netns", name);
    ip("-n", wire, "link", "set", `w${at}`, "master", "br0", "up");
    ip("-n", name, "addr", "add", `${address}/24`, "dev", "eth0");
    ip("-n", name, "link", "set", "eth0", "up");
    ip("-n", name, "route", "add", "default", "via", "192.168.2.130");
    serving.set(address, serve(name, address));
  }
  socket = network.path("control.sock");
  file = network.path("wlvs.yaml");
  remote = new RemoteIpvs(socket);
}

/** The configuration of most tests, read again when that is asked for; `more` is of the service. */
export function config(more: string, servers = [`{rip: "${A}:80"}`, `{rip: "${B}:80", weight: 2}`], top = ""): string {
  return `ports:
  - {tap: ext0, ip: ${VIP}/24, netns: ${client}}
  - {tap: int0, ip: 192.168.2.130/24, netns: ${wire}, bridge: br0}
socket: ${socket}
check_netns: ${wire}
checks: {interval: 200ms, timeout: 150ms}
watch: false
${top}
services:
  - vip: ${VIP}:80
    scheduler: rr
    ${more}
    servers:
${servers.map((server) => `      - ${server}\n`).join("")}`;
}

export async function start(text: string): Promise<Director> {
  writeFileSync(file, text);
  const director = network.director("--config", file);
  await director.ready();
  address();
  return director;
}

function address(): void {
  ip("-n", client, "addr", "replace", "192.168.4.132/24", "dev", "ext0");
}

export const weights = async () =>
  Object.fromEntries(
    (await remote.services()).flatMap(({ servers }) => servers.map(({ id, weight }) => [id.address, weight])),
  );

export async function until(condition: () => Promise<boolean>, what: string, limitMs = PATIENCE_MS): Promise<void> {
  let last = false;
  let busy = false;
  await waitFor(
    () => {
      if (!busy) {
        busy = true;
        void condition()
          .catch(() => false)
          .then((value) => {
            last = value;
            busy = false;
          });
      }
      return last;
    },
    what,
    limitMs,
  );
}

export const stateOf = async (server: string) =>
  (await remote.health()).find((health) => health.server === `${server}:80`)?.state;
export const bothUp = () =>
  until(async () => (await stateOf(A)) === "up" && (await stateOf(B)) === "up", "both are up");

/** The command, against the director of the test, while it runs. */
export function spawnWlvs(...args: string[]) {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, WLVS_SOCKET: socket } });
  const running = {
    child,
    out: "",
    err: "",
    ended: new Promise<number | null>((resolve) => child.once("close", (status) => resolve(status))),
  };
  child.stdout.on("data", (chunk) => (running.out += chunk));
  child.stderr.on("data", (chunk) => (running.err += chunk));
  return running;
}

export async function wlvs(...args: string[]): Promise<{ status: number | null; out: string; err: string }> {
  const running = spawnWlvs(...args);
  const status = await running.ended;
  return { status, out: running.out, err: running.err };
}
