/** Full NAT and one-arm directors with real programs: networks in which no answer finds its way by itself. */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";
import { Cloud, type Machine, sysctl } from "./cloud.js";
import { type Director, inside, ip, Network, waitFor } from "./network.js";

const SERVER = `
const { createServer } = require("node:http");
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const [big, name, host, port = "80"] = process.argv.slice(1);
createServer((request, response) => {
  if (request.method === "PUT") {
    const hash = createHash("sha256");
    request.on("data", (chunk) => hash.update(chunk)).on("end", () => response.end(hash.digest("hex")));
  } else if (request.url === "/big") response.end(readFileSync(big));
  else response.end(name + " saw " + request.socket.remoteAddress.replace("::ffff:", "") + "\\n");
}).listen(Number(port), host);
`;

const WLVSADM = new URL("../../dist/host/cli/wlvsadm.js", import.meta.url).pathname;
const MAIN = new URL("../../dist/host/cli/main.js", import.meta.url).pathname;
const VIP = "10.0.0.100";
const LOCAL = "10.0.0.3";

describe("a director whose servers know nothing of it", () => {
  let network: Network;
  let socket: string;

  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, "curl", "nft", "sysctl");
    network = new Network();
    socket = network.path("control.sock");
  });

  afterEach(() => network?.close());

  const curl = (namespace: string, url: string, ...more: string[]) =>
    inside(namespace, "curl", "-sS", "--max-time", "20", ...more, url);

  async function serve(namespace: string, name: string, host: string, ask = host): Promise<void> {
    network.start(namespace, process.execPath, "-e", SERVER, network.path("big"), name, host);
    const url = ask.includes(":") ? `http://[${ask}]/` : `http://${ask}/`;
    await curl(namespace, url, "--retry", "30", "--retry-connrefused", "--retry-delay", "1");
  }

  async function start(...args: string[]): Promise<Director> {
    const director = network.director(...args, "--socket", socket);
    await director.ready();
    return director;
  }

  function big(bytes: number): string {
    const data = randomBytes(bytes);
    writeFileSync(network.path("big"), data);
    return createHash("sha256").update(data).digest("hex");
  }

  async function download(namespace: string, url: string, digest: string): Promise<void> {
    await curl(namespace, url, "-o", network.path("got"));
    const got = createHash("sha256")
      .update(readFileSync(network.path("got")))
      .digest("hex");
    expect(got).toBe(digest);
  }

  /** wlvsadm against the director. */
  const control = (...args: string[]) =>
    promisify(execFile)(process.execPath, [WLVSADM, ...args], { env: { ...process.env, WLVS_SOCKET: socket } });

  it("answers through full NAT with two arms, over both families", async () => {
    const client = network.namespace("client");
    const server = network.namespace("server");
    const digest = big(20_000_000);
    await start(
      ...["--tap", `ext0,ip=192.168.4.133/24,ip=2001:db8:4::133/64,netns=${client}`],
      ...["--tap", `int0,ip=192.168.2.130/24,ip=2001:db8:2::130/64,netns=${server}`],
      ...["--vip", "192.168.4.133:80", "--scheduler", "rr", "--mode", "fullnat"],
      ...["--rip", "192.168.2.128", "--rip", "192.168.2.129"],
      ...["--vip", "[2001:db8:4::133]:80", "--mode", "fullnat", "--rip", "[2001:db8:2::128]"],
    );
    ip("-n", client, "addr", "add", "192.168.4.132/24", "dev", "ext0");
    ip("-n", client, "addr", "add", "2001:db8:4::132/64", "dev", "ext0", "nodad");
    ip("-n", server, "addr", "add", "192.168.2.128/24", "dev", "int0");
    ip("-n", server, "addr", "add", "192.168.2.129/24", "dev", "int0");
    ip("-n", server, "addr", "add", "2001:db8:2::128/64", "dev", "int0", "nodad");
    // No way to the client: only full NAT brings an answer back.
    await serve(server, "A", "192.168.2.128");
    await serve(server, "B", "192.168.2.129");
    await serve(server, "C", "2001:db8:2::128");
    const answers = [];
    for (let n = 0; n < 4; n++) answers.push(await curl(client, "http://192.168.4.133/"));
    expect(answers.sort().join("")).toBe("A saw 192.168.2.130\n".repeat(2) + "B saw 192.168.2.130\n".repeat(2));
    expect(await curl(client, "http://[2001:db8:4::133]/")).toBe("C saw 2001:db8:2::130\n");
    for (const url of ["http://192.168.4.133", "http://[2001:db8:4::133]"]) {
      await download(client, `${url}/big`, digest);
      expect(await curl(client, `${url}/`, "-T", network.path("big"))).toBe(digest);
    }
  });

  it("answers through full NAT with one arm, a server and the client being neighbours", async () => {
    const lan = network.namespace("lan");
    ip("-n", lan, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0");
    ip("-n", lan, "link", "set", "br0", "up");
    const machine = (role: string, address: string) => {
      const namespace = network.namespace(role);
      ip("link", "add", role, "netns", lan, "type", "veth", "peer", "name", "eth0", "netns", namespace);
      ip("-n", lan, "link", "set", role, "master", "br0", "up");
      ip("-n", namespace, "link", "set", "eth0", "up");
      ip("-n", namespace, "addr", "add", address, "dev", "eth0");
      return namespace;
    };
    const client = machine("client", "192.168.2.132/24");
    const server = machine("server", "192.168.2.128/24");
    const digest = big(5_000_000);
    await start(
      ...["--tap", `lan0,ip=192.168.2.133/24,ip=192.168.2.134/24,netns=${lan},bridge=br0`],
      ...["--vip", "192.168.2.133:80", "--mode", "fullnat", "--rip", "192.168.2.128"],
    );
    await serve(server, "A", "192.168.2.128");
    const seen = new Set<string>();
    for (let n = 0; n < 12; n++) seen.add(await curl(client, "http://192.168.2.133/"));
    expect([...seen].sort()).toEqual(["A saw 192.168.2.133\n", "A saw 192.168.2.134\n"]);
    await download(client, "http://192.168.2.133/big", digest);
  });

  describe("on a virtual machine in a cloud, --tun routes=auto", () => {
    let cloud: Cloud;
    let client: Machine;
    let vm: Machine;

    beforeEach(() => {
      cloud = new Cloud(network);
      client = cloud.machine("client", "10.1.0.2");
      vm = cloud.machine("vm", "10.0.0.2", [VIP, LOCAL, "10.0.0.101"]);
      sysctl(vm.namespace, { "net.ipv4.ip_forward": 1 });
    });

    const rules = (namespace: string) => ip("-n", namespace, "rule", "show");
    const proxies = (namespace: string) => ip("-n", namespace, "neigh", "show", "proxy");
    const routes = (namespace: string) => ip("-n", namespace, "route", "show", "table", "all");

    function untouched(namespace: string): void {
      expect(routes(namespace)).not.toMatch(/10\.0\.0\.(3|10[01])/);
      expect(proxies(namespace)).toBe("");
      expect(rules(namespace).trim().split("\n")).toHaveLength(3);
    }

    it("works with fullnat, follows the services, and leaves nothing behind", async () => {
      const servers = ["10.2.0.11", "10.2.0.12"].map((address) => cloud.machine("web", address));
      const digest = big(20_000_000);
      for (const { namespace, address } of servers) await serve(namespace, address, address);
      const director = await start(
        ...["--tun", `lvs0,ip=${LOCAL}/32,netns=${vm.namespace},routes=auto`],
        ...["--vip", `${VIP}:80`, "--scheduler", "rr", "--mode", "fullnat", "--rip", "10.2.0.11", "--rip", "10.2.0.12"],
      );
      const answers = [];
      for (let n = 0; n < 4; n++) answers.push(await curl(client.namespace, `http://${VIP}/`));
      expect(answers.sort().join("")).toBe(`10.2.0.11 saw ${LOCAL}\n`.repeat(2) + `10.2.0.12 saw ${LOCAL}\n`.repeat(2));
      await download(client.namespace, `http://${VIP}/big`, digest);
      expect(await curl(client.namespace, `http://${VIP}/`, "-T", network.path("big"))).toBe(digest);
      expect(cloud.foreign()).toBe(0);
      expect(director.stderr).not.toContain("routes=auto");
      // A service that comes later has its route when the command ends.
      await control("-A", "-t", "10.0.0.101:80");
      await control("-a", "-t", "10.0.0.101:80", "-r", "10.2.0.11:80", "--fullnat");
      expect(await curl(client.namespace, "http://10.0.0.101/")).toBe(`10.2.0.11 saw ${LOCAL}\n`);
      await control("-D", "-t", "10.0.0.101:80");
      expect(routes(vm.namespace)).not.toContain("10.0.0.101");
      expect(proxies(vm.namespace)).not.toContain("10.0.0.101");
      // The machine itself is reached as ever.
      await serve(vm.namespace, "VM", vm.address);
      expect(await curl(client.namespace, `http://${vm.address}/`)).toBe("VM saw 10.1.0.2\n");
      // A director that is killed is followed by another, with the routes of what it starts with.
      const status = await curl(vm.namespace, "http://director/v1/status", "--unix-socket", socket);
      const { pid } = JSON.parse(status) as { pid: number };
      process.kill(pid, "SIGKILL");
      await waitFor(() => director.stderr.split('"msg":"forwarding"').length > 2, "a second director forwards");
      expect(await curl(client.namespace, `http://${VIP}/`, "--retry", "5")).toContain(`saw ${LOCAL}`);
      expect(await director.stop()).toEqual({ status: 0, signal: null });
      untouched(vm.namespace);
    });

    it("works with tunnels: the servers answer directly, and have the address too", async () => {
      const server = cloud.machine("web", "10.2.0.11", [VIP]);
      // The fabric leads the address to the director; a server may only answer from it.
      // The decapsulator is a program: what goes in is less than what comes out may be.
      const digest = big(1_000_000);
      sysctl(client.namespace, { "net.ipv4.tcp_congestion_control": "reno" });
      const prepared = network.start(server.namespace, process.execPath, MAIN, "realserver", "tun", "--vip", VIP);
      expect(prepared.pid).toBeGreaterThan(0);
      await waitFor(() => ip("-n", server.namespace, "addr").includes(VIP), "the server has the address");
      network.start(server.namespace, process.execPath, "-e", SERVER, network.path("big"), "A", "0.0.0.0");
      const director = await start(
        ...["--tun", `lvs0,ip=${LOCAL}/32,netns=${vm.namespace},routes=auto`],
        ...["--vip", `${VIP}:80`, "--mode", "tun", "--rip", "10.2.0.11"],
      );
      const retry = ["--retry", "30", "--retry-connrefused", "--retry-delay", "1"];
      expect(await curl(client.namespace, `http://${VIP}/`, ...retry)).toBe("A saw 10.1.0.2\n");
      await download(client.namespace, `http://${VIP}/big`, digest);
      expect(await curl(client.namespace, `http://${VIP}/`, "-T", network.path("big"))).toBe(digest);
      expect(cloud.foreign()).toBe(0);
      expect((await director.stop()).status).toBe(0);
      untouched(vm.namespace);
    });

    it("works with nat where the servers' way out is this machine", async () => {
      const inner = network.namespace("inner");
      ip("link", "add", "eth1", "netns", vm.namespace, "type", "veth", "peer", "name", "eth0", "netns", inner);
      ip("-n", vm.namespace, "link", "set", "eth1", "up");
      ip("-n", inner, "link", "set", "eth0", "up");
      ip("-n", vm.namespace, "addr", "add", "172.16.0.1/24", "dev", "eth1");
      ip("-n", inner, "addr", "add", "172.16.0.11/24", "dev", "eth0");
      ip("-n", inner, "route", "add", "default", "via", "172.16.0.1");
      sysctl(vm.namespace, { "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0 });
      const digest = big(20_000_000);
      await serve(inner, "A", "172.16.0.11");
      const director = await start(
        ...["--tun", `lvs0,netns=${vm.namespace},routes=auto`],
        ...["--vip", `${VIP}:80`, "--rip", "172.16.0.11"],
      );
      expect(await curl(client.namespace, `http://${VIP}/`)).toBe("A saw 10.1.0.2\n");
      await download(client.namespace, `http://${VIP}/big`, digest);
      expect(await curl(client.namespace, `http://${VIP}/`, "-T", network.path("big"))).toBe(digest);
      expect(cloud.foreign()).toBe(0);
      expect(rules(vm.namespace)).toContain("from 172.16.0.11 lookup");
      expect((await director.stop("SIGINT")).status).toBe(0);
      untouched(vm.namespace);
    });

    it("hands clients to a program of this very machine", async () => {
      await serve(vm.namespace, "A", vm.address);
      await start(
        ...["--tun", `lvs0,ip=${LOCAL}/32,netns=${vm.namespace},routes=auto`],
        ...["--vip", `${VIP}:8080`, "--mode", "fullnat", "--rip", `${vm.address}:80`],
      );
      expect(await curl(client.namespace, `http://${VIP}:8080/`)).toBe(`A saw ${LOCAL}\n`);
      // Asked directly, it answers directly.
      expect(await curl(client.namespace, `http://${vm.address}/`)).toBe("A saw 10.1.0.2\n");
    });

    it("hands clients to a program of this very machine by nat, whose answers alone are led back", async () => {
      sysctl(vm.namespace, { "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0 });
      await serve(vm.namespace, "A", vm.address);
      const director = await start(
        ...["--tun", `lvs0,netns=${vm.namespace},routes=auto`],
        ...["--vip", `${VIP}:8080`, "--rip", `${vm.address}:80`],
      );
      expect(await curl(client.namespace, `http://${VIP}:8080/`)).toBe("A saw 10.1.0.2\n");
      expect(rules(vm.namespace)).toContain(`from ${vm.address} ipproto tcp sport 80 lookup`);
      expect(director.stderr).toContain("who asks 10.0.0.2:80 itself gets no answer");
      expect((await director.stop()).status).toBe(0);
      untouched(vm.namespace);
      expect(await curl(client.namespace, `http://${vm.address}/`)).toBe("A saw 10.1.0.2\n");
    });

    it("works over IPv6", async () => {
      const from = cloud.machine("six", "2001:db8:1::2");
      const director6 = cloud.machine("vm6", "2001:db8::2", ["2001:db8::3", "2001:db8::100"]);
      const server = cloud.machine("web6", "2001:db8:2::11");
      sysctl(director6.namespace, { "net.ipv6.conf.all.forwarding": 1, "net.ipv6.conf.eth0.proxy_ndp": 1 });
      const digest = big(5_000_000);
      await serve(server.namespace, "A", server.address);
      const director = await start(
        ...["--tun", `lvs0,ip=2001:db8::3/128,netns=${director6.namespace},routes=auto`],
        ...["--vip", "[2001:db8::100]:80", "--mode", "fullnat", "--rip", "[2001:db8:2::11]"],
      );
      expect(await curl(from.namespace, "http://[2001:db8::100]/")).toBe("A saw 2001:db8::3\n");
      await download(from.namespace, "http://[2001:db8::100]/big", digest);
      expect(await curl(from.namespace, "http://[2001:db8::100]/", "-T", network.path("big"))).toBe(digest);
      expect(cloud.foreign()).toBe(0);
      expect(director.stderr).not.toContain("routes=auto");
      expect((await director.stop()).status).toBe(0);
      expect(ip("-6", "-n", director6.namespace, "route")).not.toContain("2001:db8::100");
      expect(ip("-6", "-n", director6.namespace, "neigh", "show", "proxy")).toBe("");
    });

    it("says what the kernel still has to be told, and finds what a killed keeper left", async () => {
      sysctl(vm.namespace, { "net.ipv4.ip_forward": 0, "net.ipv4.conf.all.rp_filter": 2 });
      ip("-n", vm.namespace, "addr", "add", "10.0.0.101/32", "dev", "lo");
      const args = [
        ...["--tun", `lvs0,netns=${vm.namespace},routes=auto`],
        ...["--vip", `${VIP}:80`, "--rip", "10.2.0.11", "--vip", "10.0.0.101:80"],
      ];
      const first = await start(...args);
      expect(first.stderr).toContain("net.ipv4.ip_forward=1");
      expect(first.stderr).toContain("net.ipv4.conf.all.rp_filter=0");
      expect(first.stderr).toContain("10.0.0.101 is an address of this machine");
      const before = rules(vm.namespace);
      await first.stop("SIGKILL");
      await waitFor(() => !ip("-n", vm.namespace, "link").includes("lvs0"), "the device goes");
      const second = await start(...args);
      expect(rules(vm.namespace)).toBe(before);
      expect((await second.stop()).status).toBe(0);
      ip("-n", vm.namespace, "addr", "del", "10.0.0.101/32", "dev", "lo");
      untouched(vm.namespace);
    });
  });
});
