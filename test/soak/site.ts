/**
 * Where the soak takes place: a client, four servers behind a switch, a real `wlvs run` between them, all of it in
 * namespaces that go away with this process.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { RemoteIpvs } from "../../host/control/client.js";
import { type Director, inside, ip, MAIN, Network } from "../netns/network.js";
import { freePort } from "../support/free-port.js";
import type { ClientSpec } from "./traffic.js";

export const VIP = "10.97.0.100";
export const CLIENTS = [10, 11, 12, 13].map((last) => `10.97.0.${last}`);
const GATEWAY = "10.98.0.1";
const CHECKS_FROM = "10.98.0.2";
/** Two that nothing happens to, and two that die and return. */
export const STEADY = ["10.98.0.11", "10.98.0.12"] as const;
export const MORTAL = ["10.98.0.13", "10.98.0.14"] as const;
export const ADDRESSES = [...STEADY, ...MORTAL];
const FILE_BYTES = 2_000_000;
export const EXTERNAL = "soak-ext0";
export const INTERNAL = "soak-int0";

export interface Ran {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Weights of the steady servers, as a file says them. */
export interface Weights {
  readonly pages: readonly [number, number];
  readonly streams: readonly [number, number];
  readonly datagrams: readonly [number, number];
}

export class Site {
  readonly network = new Network();
  readonly client: string;
  readonly fabric: string;
  readonly socket: string;
  readonly configuration: string;
  readonly remote: RemoteIpvs;
  readonly sha256: string;
  director!: Director;
  listen = "";
  private readonly namespaces = new Map<string, string>();
  private readonly pages = new Map<string, ChildProcess>();
  private readonly children: ChildProcess[] = [];

  constructor() {
    const { network } = this;
    process.on("exit", () => {
      for (const child of this.children) child.kill("SIGKILL");
    });
    chmodSync(network.directory, 0o755);
    this.socket = network.path("control.sock");
    this.configuration = network.path("wlvs.yaml");
    this.remote = new RemoteIpvs(this.socket);
    const file = randomBytes(FILE_BYTES);
    this.sha256 = createHash("sha256").update(file).digest("hex");
    writeFileSync(network.path("file"), file, { mode: 0o644 });
    this.client = network.namespace("client");
    this.fabric = network.namespace("fabric");
    ip("-n", this.fabric, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0");
    ip("-n", this.fabric, "link", "set", "br0", "up");
    ip("-n", this.fabric, "addr", "add", `${CHECKS_FROM}/24`, "dev", "br0");
    for (const [n, address] of ADDRESSES.entries()) {
      const namespace = network.namespace(`s${n + 1}`);
      this.namespaces.set(address, namespace);
      ip("-n", this.fabric, "link", "add", `s${n + 1}`, "type", "veth", "peer", "name", "eth0", "netns", namespace);
      ip("-n", this.fabric, "link", "set", `s${n + 1}`, "master", "br0", "up");
      ip("-n", namespace, "addr", "add", `${address}/24`, "dev", "eth0");
      ip("-n", namespace, "link", "set", "eth0", "up");
      ip("-n", namespace, "route", "add", "default", "via", GATEWAY);
    }
  }

  /** The configuration with these weights, in the place of the one that is there. */
  write(weights: Weights, more = ""): void {
    const { socket, listen, client, fabric, configuration } = this;
    const servers = (list: readonly string[], port: number, own: readonly number[] = []) =>
      list.map((rip, n) => `      - {rip: "${rip}:${port}", weight: ${own[n] ?? 1}}\n`).join("");
    const text = `ports:
  - {tap: ${EXTERNAL}, ip: ${VIP}/24, netns: ${client}}
  - {tap: ${INTERNAL}, ip: ${GATEWAY}/24, netns: ${fabric}, bridge: br0}
socket: ${socket}
listen: ${listen}
watch: false
check_netns: ${fabric}
checks: {interval: 2s, timeout: 2s, retry: 500ms}
timeouts: {tcp: 900, tcp_fin: 5, udp: 5}
services:
  - vip: ${VIP}:80
    scheduler: wrr
    servers:
${servers(STEADY, 80, weights.pages)}
  - vip: ${VIP}:9000
    scheduler: wlc
    servers:
${servers(STEADY, 9000, weights.streams)}
  - vip: ${VIP}:7000/udp
    scheduler: rr
    servers:
${servers(STEADY, 7000, weights.datagrams)}
  - vip: ${VIP}:81
    scheduler: rr
    check: {type: http, path: /}
    connections: reset
    servers:
${servers(MORTAL, 80)}${more}`;
    writeFileSync(`${configuration}.new`, text);
    renameSync(`${configuration}.new`, configuration);
  }

  /** Servers that answer, and a director that forwards. */
  async open(weights: Weights): Promise<void> {
    this.listen = `127.0.0.1:${await freePort()}`;
    for (const address of ADDRESSES) this.serve(address);
    for (const address of STEADY) this.node(this.namespaces.get(address)!, "server.js");
    this.write(weights);
    this.director = this.network.director("--config", this.configuration);
    await this.director.ready();
    for (const address of CLIENTS) ip("-n", this.client, "addr", "add", `${address}/24`, "dev", EXTERNAL);
    const range = "echo 1024 65000 >/proc/sys/net/ipv4/ip_local_port_range";
    await inside(this.client, "sh", "-c", range);
    for (const address of ADDRESSES) await this.answers(address);
  }

  /** nginx in one process, so that killing it is killing it. */
  private serve(address: string): void {
    const namespace = this.namespaces.get(address)!;
    const name = `s${ADDRESSES.indexOf(address as (typeof ADDRESSES)[number]) + 1}`;
    const own = (file: string) => this.network.path(`${name}-${file}`);
    mkdirSync(own("body"), { recursive: true });
    writeFileSync(
      own("conf"),
      `user root; daemon off; master_process off; pid ${own("pid")}; error_log ${own("error")} crit;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; default_type text/plain; keepalive_requests 1000000; server_tokens off;
  client_body_temp_path ${own("body")}; proxy_temp_path ${own("proxy")}; fastcgi_temp_path ${own("fastcgi")};
  uwsgi_temp_path ${own("uwsgi")}; scgi_temp_path ${own("scgi")};
  server {
    listen 80 backlog=4096;
    location / { return 200 "I am ${name}\\n"; }
    location /file { alias ${this.network.path("file")}; }
  }
}
`,
    );
    this.pages.set(address, this.network.start(namespace, "nginx", "-c", own("conf"), "-e", own("error")));
  }

  private async answers(address: string): Promise<void> {
    const patiently = ["--retry", "60", "--retry-connrefused", "--retry-delay", "1", "-m", "60"];
    await inside(this.namespaces.get(address)!, "curl", "-sS", ...patiently, `http://${address}/`);
  }

  /** The server's program is gone at once, its kernel refuses. */
  kill(address: string): void {
    this.pages.get(address)!.kill("SIGKILL");
  }

  async revive(address: string): Promise<void> {
    this.serve(address);
    await this.answers(address);
  }

  /** Nothing reaches the server any more, and nothing comes from it. */
  cut(address: string): void {
    ip("-n", this.fabric, "link", "set", `s${ADDRESSES.indexOf(address as (typeof ADDRESSES)[number]) + 1}`, "down");
  }

  mend(address: string): void {
    ip("-n", this.fabric, "link", "set", `s${ADDRESSES.indexOf(address as (typeof ADDRESSES)[number]) + 1}`, "up");
  }

  /** What the kernel's ends of both TAPs do themselves, or leave to the director. */
  async offload(on: boolean): Promise<void> {
    const features = ["tx", "tso", "gso", "gro"].flatMap((feature) => [feature, on ? "on" : "off"]);
    await inside(this.client, "ethtool", "-K", EXTERNAL, ...features);
    await inside(this.fabric, "ethtool", "-K", INTERNAL, ...features);
  }

  close(): void {
    for (const child of this.children) child.kill("SIGKILL");
    this.network.close();
  }

  /** A program of this folder in a namespace, until its input ends. */
  private node(namespace: string, file: string, ...args: string[]): ChildProcess {
    const program = fileURLToPath(new URL(`./${file}`, import.meta.url));
    const child = spawn("ip", ["netns", "exec", namespace, process.execPath, program, ...args], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.children.push(child);
    return child;
  }

  visitor(spec: ClientSpec): ChildProcess {
    return this.node(this.client, "client.js", JSON.stringify(spec));
  }

  /** A burst as fast as it goes; what wrk says of it. */
  wrk(port: number, seconds: number, connections: number, ...more: string[]): Promise<Ran> {
    const args = ["-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "10s", ...more, `http://${VIP}:${port}/`];
    return this.run("ip", ["netns", "exec", this.client, "wrk", ...args]);
  }

  wlvs(...args: string[]): Promise<Ran> {
    return this.run(process.execPath, [MAIN, ...args]);
  }

  wlvsadm(args: readonly string[], input?: string): Promise<Ran> {
    return this.run(process.execPath, [join(dirname(MAIN), "wlvsadm.js"), ...args], input);
  }

  private run(command: string, args: readonly string[], input = ""): Promise<Ran> {
    return new Promise((resolve) => {
      const child = spawn(command, args, { env: { ...process.env, WLVS_SOCKET: this.socket } });
      this.children.push(child);
      let out = "";
      let err = "";
      child.stdout.on("data", (chunk) => (out += chunk));
      child.stderr.on("data", (chunk) => (err += chunk));
      child.stdin.on("error", () => {});
      child.stdin.end(input);
      child.once("close", (status) => {
        this.children.splice(this.children.indexOf(child), 1);
        resolve({ status, out, err });
      });
    });
  }
}
