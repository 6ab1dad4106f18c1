/**
 * A farm that is nothing like the lab's: a client on a link of its own, a switch with servers behind it that run nginx,
 * devices that were moved into their namespaces after the director had opened them, a virtual address that is routed.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Director, hasLink, inside, ip, type Network, waitFor } from "./network.js";

/** Where the pages of the servers listen. */
export const PAGES = 8080;
export const CLIENT = { v4: "10.77.0.10", v6: "fd77::10" };
export const OUTER = { v4: "10.77.0.1", v6: "fd77::1" };
export const INNER = { v4: "10.88.0.1", v6: "fd88::1" };
/** On no link of the director: the client routes it there. */
export const VIP = { v4: "172.20.5.5", v6: "fd20::5" };
/** On the servers' own link, for direct routing. */
export const LINK_VIP = { v4: "10.88.0.100", v6: "fd88::100" };
export const SERVERS = [1, 2, 3].map((n) => ({ name: `s${n}`, v4: `10.88.0.${10 + n}`, v6: `fd88::${10 + n}` }));

const PATIENTLY = ["--retry", "30", "--retry-connrefused", "--retry-delay", "1"];

/** A UDP server that says what it was told; a TCP server that tells the hash of what it was sent. */
const ECHO = `
const { createSocket } = require("node:dgram");
for (const type of ["udp4", "udp6"]) {
  const socket = createSocket({ type, ipv6Only: type === "udp6" });
  socket.on("message", (text, from) => socket.send(text, from.port, from.address)).bind(7000);
}
require("node:http").createServer((request, response) => {
  const hash = require("node:crypto").createHash("sha256");
  request.on("data", (chunk) => hash.update(chunk)).on("end", () => response.end(hash.digest("hex")));
}).listen(9000);
`;

function configuration(network: Network, name: string, root: string): string {
  const own = (file: string) => network.path(`${name}-${file}`);
  return `
user root; worker_processes 1; daemon off; pid ${own("pid")}; error_log ${own("error")} crit;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; default_type text/plain; keepalive_requests 1000000; server_tokens off;
  client_body_temp_path ${own("body")}; proxy_temp_path ${own("proxy")}; fastcgi_temp_path ${own("fastcgi")};
  uwsgi_temp_path ${own("uwsgi")}; scgi_temp_path ${own("scgi")};
  server {
    listen ${PAGES} backlog=4096; listen [::]:${PAGES} backlog=4096; listen 80 backlog=4096; listen [::]:80;
    location / { return 200 "I am ${name}\\n"; }
    location /file { alias ${root}; }
  }
}
`;
}

export class Farm {
  readonly network: Network;
  readonly client: string;
  readonly fabric: string;
  readonly servers: readonly string[];
  /** Names of the devices before and after they are moved. */
  readonly outer = `wa${process.pid % 100000}`;
  readonly inner = `wb${process.pid % 100000}`;
  readonly socket: string;
  readonly file: string;
  director: Director | undefined;

  constructor(network: Network) {
    this.network = network;
    chmodSync(network.directory, 0o755);
    this.socket = network.path("control.sock");
    this.file = network.path("file");
    this.client = network.namespace("client");
    this.fabric = network.namespace("fabric");
    ip("-n", this.fabric, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0");
    ip("-n", this.fabric, "link", "set", "br0", "up");
    this.servers = SERVERS.map(({ name, v4, v6 }) => {
      const namespace = network.namespace(name);
      this.plug(namespace, name, v4, v6);
      ip("-n", namespace, "route", "add", "default", "via", INNER.v4);
      ip("-n", namespace, "-6", "route", "add", "default", "via", INNER.v6);
      return namespace;
    });
  }

  /** A cable from a machine's eth0 into the switch. */
  plug(namespace: string, name: string, v4: string, v6: string): void {
    const cable = ["type", "veth", "peer", "name", "eth0", "netns", namespace];
    ip("-n", this.fabric, "link", "add", name, ...cable);
    ip("-n", this.fabric, "link", "set", name, "master", "br0", "up");
    ip("-n", namespace, "addr", "add", `${v4}/24`, "dev", "eth0");
    ip("-n", namespace, "addr", "add", `${v6}/64`, "dev", "eth0", "nodad");
    ip("-n", namespace, "link", "set", "eth0", "up");
  }

  /** nginx and the echo in every server's namespace; resolves when all of them answer. */
  async serve(): Promise<void> {
    for (const [n, namespace] of this.servers.entries()) {
      const name = SERVERS[n]!.name;
      const file = this.network.path(`${name}.conf`);
      mkdirSync(this.network.path(`${name}-body`), { recursive: true });
      writeFileSync(file, configuration(this.network, name, this.file));
      this.network.start(namespace, "nginx", "-c", file, "-e", "stderr");
      this.network.start(namespace, process.execPath, "-e", ECHO);
    }
    for (const namespace of this.servers) {
      for (const port of [PAGES, 9000]) {
        await inside(namespace, "curl", "-sS", ...PATIENTLY, `http://127.0.0.1:${port}/`);
      }
    }
  }

  /** The director of two arms: opened here, its devices moved away afterwards. */
  async start(...more: string[]): Promise<Director> {
    const director = this.network.director(
      ...["--tap", `${this.outer},ip=${OUTER.v4}/24,ip=${OUTER.v6}/64`],
      ...["--tap", `${this.inner},ip=${INNER.v4}/24,ip=${INNER.v6}/64`],
      ...["--socket", this.socket, ...more],
    );
    this.director = director;
    await director.ready();
    this.connect();
    return director;
  }

  /** Moves the kernel's ends to where they belong: moving takes addresses away and brings them down. */
  connect(): void {
    ip("link", "set", this.outer, "netns", this.client);
    ip("link", "set", this.inner, "netns", this.fabric);
    ip("-n", this.client, "addr", "add", `${CLIENT.v4}/24`, "dev", this.outer);
    ip("-n", this.client, "link", "set", this.outer, "up");
    ip("-n", this.client, "addr", "add", `${CLIENT.v6}/64`, "dev", this.outer, "nodad");
    ip("-n", this.client, "route", "add", "default", "via", OUTER.v4);
    ip("-n", this.client, "-6", "route", "add", "default", "via", OUTER.v6);
    ip("-n", this.fabric, "link", "set", this.inner, "master", "br0", "up");
  }

  /** Every device that frames of this farm pass: [namespace, device]. */
  devices(): Array<readonly [string, string]> {
    const ends = this.servers.map((namespace) => [namespace, "eth0"] as const);
    const found = [[this.client, this.outer] as const, [this.fabric, this.inner] as const, ...ends];
    return found.filter(([namespace, name]) => hasLink(namespace, name));
  }

  /** Checksums and segments by the kernel itself, or left to the devices. */
  offloads(on: boolean, devices: ReadonlyArray<readonly [string, string]> = this.devices()): void {
    const state = on ? "on" : "off";
    for (const [namespace, name] of devices) {
      const features = ["tx", "tso", "gso", "gro", "sg"].flatMap((feature) => [feature, state]);
      // Some devices cannot turn some of them; what counts is seen in what the director is given.
      spawnSync("ip", ["netns", "exec", namespace, "ethtool", "-K", name, ...features], { stdio: "ignore" });
    }
  }

  curl(namespace: string, url: string, ...more: string[]): Promise<string> {
    return inside(namespace, "curl", "-sS", "--fail", "--max-time", "120", ...more, url);
  }

  /** The hash of the file as it arrives. */
  async fetched(namespace: string, base: string): Promise<string> {
    const script = `set -o pipefail; curl -sS --fail --max-time 300 '${base}/file' | sha256sum`;
    return (await inside(namespace, "bash", "-c", script)).split(" ")[0]!;
  }

  async stop(): Promise<void> {
    const director = this.director;
    this.director = undefined;
    if (director === undefined) return;
    await director.stop();
    await waitFor(() => !hasLink(this.client, this.outer) && !hasLink(this.fabric, this.inner), "the devices go");
  }
}

/** What tcpdump -vv saw on a device while it listened. */
export class Capture {
  private readonly network: Network;
  private readonly file: string;
  private readonly child: ReturnType<Network["start"]>;

  private constructor(network: Network, file: string, child: ReturnType<Network["start"]>) {
    this.network = network;
    this.file = file;
    this.child = child;
  }

  static async start(network: Network, namespace: string, device: string, ...words: string[]): Promise<Capture> {
    const file = join(network.directory, `capture-${namespace}-${device}`);
    const script = `exec tcpdump -i '${device}' -nnvvl -s 0 ${words.map((word) => `'${word}'`).join(" ")} >'${file}' 2>'${file}.log'`;
    const child = network.start(namespace, "sh", "-c", script);
    const log = () => {
      try {
        return readFileSync(`${file}.log`, "utf8");
      } catch {
        return "";
      }
    };
    await waitFor(() => log().includes("listening on"), "tcpdump listens");
    return new Capture(network, file, child);
  }

  async stop(): Promise<string> {
    // The last packets are still on their way through the buffer.
    await new Promise((resolve) => setTimeout(resolve, 1200));
    const ended = new Promise((resolve) => this.child.once("close", resolve));
    this.child.kill("SIGTERM");
    await ended;
    void this.network;
    return readFileSync(this.file, "utf8");
  }
}

/** One ICMP echo by raw sockets, and every ICMP message that arrives within a while: "FROM TYPE CODE". */
const PING = `
const koffi = require("koffi");
const libc = koffi.load("libc.so.6");
const socket = libc.func("int socket(int, int, int)");
const sendto = libc.func("intptr_t sendto(int, void *, size_t, int, void *, uint)");
const recv = libc.func("intptr_t recv(int, _Out_ uint8_t *, size_t, int)");
const [target, wait] = [process.argv[1], Number(process.argv[2])];
const fd = socket(2, 3 | 2048, 1);
const message = Buffer.from("0800000012340001" + "77".repeat(56), "hex");
let sum = 0;
for (let n = 0; n < message.length; n += 2) sum += message.readUInt16BE(n);
while (sum > 65535) sum = (sum & 65535) + (sum >>> 16);
message.writeUInt16BE(~sum & 65535, 2);
const address = Buffer.from([2, 0, 0, 0, ...target.split(".").map(Number), 0, 0, 0, 0, 0, 0, 0, 0]);
sendto(fd, message, message.length, 0, address, 16);
const until = Date.now() + wait;
const buffer = Buffer.alloc(2000);
const timer = setInterval(() => {
  let length;
  while ((length = Number(recv(fd, buffer, buffer.length, 0))) > 0) {
    const at = (buffer[0] & 15) * 4;
    if (buffer[at] !== 8) console.log([...buffer.subarray(12, 16)].join("."), buffer[at], buffer[at + 1]);
  }
  if (Date.now() > until) { clearInterval(timer); }
}, 20);
`;

/** Sends one echo request with that TTL; who answered, with what. */
export async function ping(namespace: string, target: string, ttl = 64, waitMs = 600): Promise<string[]> {
  const set = `echo ${ttl} >/proc/sys/net/ipv4/ip_default_ttl`;
  const main = join(import.meta.dirname, "../..");
  const script = `${set}; cd '${main}' && exec '${process.execPath}' -e "$0" '${target}' ${waitMs}`;
  const out = await inside(namespace, "sh", "-c", script, PING);
  await inside(namespace, "sh", "-c", "echo 64 >/proc/sys/net/ipv4/ip_default_ttl");
  return out.split("\n").filter(Boolean);
}

/** Frames as they are, out of a device: [hex...]. */
const EMIT = `
const koffi = require("koffi");
const libc = koffi.load("libc.so.6");
const socket = libc.func("int socket(int, int, int)");
const sendto = libc.func("intptr_t sendto(int, void *, size_t, int, void *, uint)");
const [index, ...frames] = process.argv.slice(1);
const fd = socket(17, 3, 0);
const address = Buffer.alloc(20);
address.writeUInt16LE(17, 0);
address.writeInt32LE(Number(index), 4);
for (const frame of frames) {
  const bytes = Buffer.from(frame, "hex");
  if (Number(sendto(fd, bytes, bytes.length, 0, address, 20)) !== bytes.length) process.exit(1);
}
`;

/** Sends frames from the kernel's end of a device. */
export async function emit(namespace: string, device: string, ...frames: Uint8Array[]): Promise<void> {
  const index = ip("-n", namespace, "-o", "link", "show", device).split(":")[0]!;
  const main = join(import.meta.dirname, "../..");
  const script = `cd '${main}' && exec '${process.execPath}' -e "$0" "$@"`;
  const hex = frames.map((frame) => Buffer.from(frame).toString("hex"));
  await inside(namespace, "sh", "-c", script, EMIT, index, ...hex);
}

/** Datagrams of many lengths to a server that echoes them: how many came back as they were sent. */
const DATAGRAMS = `
const [host, port, count] = [process.argv[1], Number(process.argv[2]), Number(process.argv[3])];
const socket = require("node:dgram").createSocket(host.includes(":") ? "udp6" : "udp4");
let good = 0;
let n = 0;
const next = () => {
  if (n === count) { console.log(good); return socket.close(); }
  const text = require("node:crypto").randomBytes(1 + ((n++ * 37) % 1450));
  const timer = setTimeout(next, 1000);
  socket.once("message", (back) => { clearTimeout(timer); if (back.equals(text)) good++; next(); });
  socket.send(text, port, host);
};
next();
`;

export async function datagrams(namespace: string, host: string, port: number, count: number): Promise<number> {
  return Number(await inside(namespace, process.execPath, "-e", DATAGRAMS, host, `${port}`, `${count}`));
}
