/** What the doctor says of set-ups that are really wrong, and that what it tells to do mends them. */
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Finding } from "../../host/doctor/finding.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { type Director, inside, ip, Network, waitFor } from "./network.js";

const ROOT = join(import.meta.dirname, "../..");
const MAIN = join(ROOT, "dist/host/cli/main.js");
const SERVE = `require("node:http").createServer((_, response) => response.end("here")).listen(80)`;

let network: Network;
let fabric: string;
let socket: string;

beforeEach((context) => {
  needsDevices(context);
  network = new Network();
  socket = network.path("control.sock");
  fabric = network.namespace("fabric");
  ip("-n", fabric, "link", "add", "br0", "type", "bridge", "forward_delay", "0");
  ip("-n", fabric, "link", "set", "br0", "up");
});

afterEach(() => network?.close());

/** A machine at the bridge. */
function machine(role: string, address: string, gateway?: string): string {
  const name = network.namespace(role);
  ip("-n", fabric, "link", "add", role, "type", "veth", "peer", "name", "eth0", "netns", name);
  ip("-n", fabric, "link", "set", role, "master", "br0", "up");
  ip("-n", name, "addr", "add", `${address}/24`, "dev", "eth0");
  ip("-n", name, "link", "set", "eth0", "up");
  if (gateway !== undefined) ip("-n", name, "route", "add", "default", "via", gateway);
  return name;
}

async function director(...args: string[]): Promise<Director> {
  const started = network.director("--socket", socket, ...args);
  await started.ready();
  return started;
}

/** What is not ok or a mere remark about the machine, by subject. */
function findings(...more: string[]): { status: number | null; of(subject: string): Finding[]; all: Finding[] } {
  const { stdout, status } = spawnSync(process.execPath, [MAIN, "doctor", "--json", "--socket", socket, ...more], {
    encoding: "utf8",
  });
  const { findings: all } = JSON.parse(stdout) as { findings: Finding[] };
  return {
    status,
    all,
    of: (subject) => all.filter((finding) => finding.subject === subject && finding.level !== "ok"),
  };
}

/** A connection that nobody waits long for. */
function ask(namespace: string, url: string): string {
  const args = ["netns", "exec", namespace, "curl", "-sS", "--max-time", "1", url];
  return spawnSync("ip", args, { encoding: "utf8" }).stdout;
}

describe("NAT servers whose answers do not come back", () => {
  it("without a default route, and beside their clients: both are told apart, and mended as it says", async (context) => {
    needsCommands(context, "curl");
    const client = network.namespace("client");
    const server = machine("server", "10.88.0.11");
    const beside = machine("beside", "10.88.0.50");
    network.start(server, process.execPath, "-e", SERVE);
    await inside(
      server,
      "curl",
      "-sS",
      "--retry",
      "20",
      "--retry-connrefused",
      "--retry-delay",
      "1",
      "http://127.0.0.1/",
    );
    await director(
      ...["--tap", `ext0,ip=10.77.0.1/24,netns=${client}`, "--tap", `int0,ip=10.88.0.1/24,netns=${fabric},bridge=br0`],
      ...["--vip", "10.77.0.1:80", "--mode", "nat", "--rip", "10.88.0.11:80"],
      ...["--vip", "10.88.0.100:81", "--mode", "nat", "--rip", "10.88.0.11:80"],
    );
    ip("-n", client, "addr", "add", "10.77.0.9/24", "dev", "ext0");
    expect(findings().of("server 10.88.0.11:80")).toEqual([]);

    await waitFor(
      () => ask(client, "http://10.77.0.1/") === "" && findings().of("server 10.88.0.11:80").length > 0,
      "it is found",
    );
    const { of, status } = findings();
    const [lost] = of("server 10.88.0.11:80");
    expect(lost).toMatchObject({
      level: "wrong",
      remedy: expect.stringContaining("ip route replace default via 10.88.0.1"),
    });
    expect(lost!.found).toMatch(/packets went to it and none came back \(\d connections in SYN_RECV\)/);
    expect(status).toBe(1);
    const command = /(ip route replace [^;]*)/.exec(lost!.remedy!)![1]!;
    execFileSync("ip", ["netns", "exec", server, "sh", "-c", command]);
    await waitFor(() => ask(client, "http://10.77.0.1/") === "here", "the client is answered");
    // Its first connection waits on, but something has come back now.
    expect(findings().of("server 10.88.0.11:80")).toEqual([]);

    expect(ask(beside, "http://10.88.0.100:81/")).toBe("");
    const [neighbour] = findings().of("server 10.88.0.11:80");
    expect(neighbour).toMatchObject({
      level: "wrong",
      found: expect.stringContaining("(10.88.0.50) are on its own network"),
    });
    expect(neighbour!.remedy).toContain("--mode fullnat or --mode dr");
    const route = /(ip route add \S+ via \S+),/.exec(neighbour!.remedy!)![1]!;
    await inside(server, "sh", "-c", `${route} && echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects`);
    await waitFor(() => ask(beside, "http://10.88.0.100:81/") === "here", "the neighbour is answered");
  });

  it("that are not there: it says that they do not answer ARP", async (context) => {
    needsCommands(context, "curl");
    const client = network.namespace("client");
    await director(
      ...["--tap", `ext0,ip=10.77.0.1/24,netns=${client}`, "--tap", `int0,ip=10.88.0.1/24,netns=${fabric},bridge=br0`],
      ...["--vip", "10.77.0.1:80", "--mode", "nat", "--rip", "10.88.0.66:80"],
    );
    ip("-n", client, "addr", "add", "10.77.0.9/24", "dev", "ext0");
    let gone: Finding | undefined;
    const looked = () => {
      ask(client, "http://10.77.0.1/");
      [gone] = findings().of("server 10.88.0.66:80");
      return gone !== undefined;
    };
    await waitFor(looked, "it is found", 30_000);
    expect(gone?.found).toContain("it does not answer ARP on int0");
  });
});

describe("the network of a director", () => {
  it("a virtual address that a real server answers ARP for", async () => {
    const server = machine("server", "10.88.0.11");
    await director(
      ...["--tap", `lan0,ip=10.88.0.1/24,netns=${fabric},bridge=br0`],
      ...["--vip", "10.88.0.100:80", "--mode", "dr", "--rip", "10.88.0.11"],
    );
    // As it should be: on lo, and quiet.
    ip("-n", server, "addr", "add", "10.88.0.100/32", "dev", "lo");
    const quiet = (on: number) => inside(server, "sh", "-c", `echo ${on} >/proc/sys/net/ipv4/conf/all/arp_ignore`);
    await quiet(1);
    expect(findings().of("VIP 10.88.0.100")).toEqual([]);
    await quiet(0);
    const mac = /link\/ether (\S+)/.exec(ip("-n", server, "link", "show", "eth0"))![1]!;
    const { of, status } = findings();
    expect(of("VIP 10.88.0.100")).toMatchObject([
      {
        level: "wrong",
        found: expect.stringContaining(mac),
        remedy: expect.stringContaining("wlvs realserver dr --vip 10.88.0.100"),
      },
    ]);
    expect(status).toBe(1);
  });

  it("a bridge that waits, and whose frames go through the firewall: the commands that it names end both", async () => {
    ip("-n", fabric, "link", "set", "br0", "type", "bridge", "forward_delay", "1500");
    await director("--tap", `lan0,ip=10.88.0.1/24,netns=${fabric},bridge=br0`);
    const { of } = findings();
    expect(of("bridge br0")).toMatchObject([{ level: "limited", found: expect.stringContaining("waits 15 s") }]);
    const firewall = of("br_netfilter").filter(({ found }) => found.includes(fabric));
    const settings = ["iptables", "ip6tables", "arptables"].map(
      (name) => `/proc/sys/net/bridge/bridge-nf-call-${name}`,
    );
    const set = spawnSync("ip", ["netns", "exec", fabric, "cat", ...settings], { encoding: "utf8" });
    // Only where the kernel has br_netfilter, whose default is 1.
    expect(firewall.length).toBe(set.stdout.includes("1") ? 1 : 0);
    for (const { remedy } of [...of("bridge br0"), ...firewall]) execFileSync("sh", ["-c", remedy!]);
    const after = findings();
    expect(after.of("bridge br0")).toEqual([]);
    expect(after.of("br_netfilter").filter(({ found }) => found.includes(fabric))).toEqual([]);
  });

  it("a filter that lets the director's MAC not out", async (context) => {
    needsCommands(context, "nft", "ping");
    const client = machine("client", "10.88.0.9");
    await director(
      "--tap",
      `lan0,ip=10.88.0.1/24,netns=${fabric},bridge=br0`,
      "--route",
      "10.99.0.0/24,via=10.88.0.77",
    );
    const status = JSON.parse(
      execFileSync(process.execPath, [MAIN, "status", "--json", "--socket", socket], { encoding: "utf8" }),
    );
    const { mac } = status.ports[0] as { mac: string };
    // What arrives is let through; what has another MAC than the machine's is not let out.
    const rules = `table bridge filter { chain forward { type filter hook forward priority 0; ether saddr ${mac} drop; }; }`;
    execFileSync("ip", ["netns", "exec", fabric, "nft", rules]);
    // The client asks for the director, which has to ask for the client.
    await inside(
      client,
      "sh",
      "-c",
      `ip neigh replace 10.88.0.1 lladdr ${mac} dev eth0; ping -c 3 -i 0.3 -W 1 10.88.0.1 || true`,
    );
    await waitFor(() => findings().of("port lan0").length > 0, "it is found", 20_000);
    const [silent] = findings().of("port lan0");
    expect(silent).toMatchObject({
      level: "wrong",
      found: expect.stringMatching(/frames came in, but none of 1 neighbours answers it \(10\.88\.0\.9\)/),
    });
    expect(silent!.remedy).toContain(mac);
    expect(silent!.remedy).toContain("routes=auto");
  });

  it("a queue that overflows before the director", async (context) => {
    needsCommands(context, "ping");
    const client = network.namespace("client");
    await director("--tap", `ext0,ip=10.77.0.1/24,netns=${client}`);
    ip("-n", client, "addr", "add", "10.77.0.9/24", "dev", "ext0");
    await inside(client, "ping", "-c", "1", "10.77.0.1");
    ip("-n", client, "link", "set", "ext0", "txqueuelen", "8");
    expect(findings().of("port ext0")).toEqual([]);
    const { pid } = JSON.parse(
      execFileSync(process.execPath, [MAIN, "status", "--json", "--socket", socket], { encoding: "utf8" }),
    ) as { pid: number };
    process.kill(pid, "SIGSTOP");
    try {
      // More than the queue and the reads that wait for frames in the ring can take.
      spawnSync("ip", [
        "netns",
        "exec",
        client,
        "ping",
        "-q",
        "-f",
        "-c",
        "3000",
        "-l",
        "1000",
        "-w",
        "3",
        "10.77.0.1",
      ]);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    const [lost] = findings().of("port ext0");
    expect(lost).toMatchObject({
      level: "limited",
      found: expect.stringMatching(/^\d+ frames were lost before the director/),
    });
    execFileSync("sh", ["-c", lost!.remedy!.split(";")[0]!]);
    expect(ip("-n", client, "link", "show", "ext0")).toContain("qlen 2000");
  });

  it("a kernel behind a TUN device that does not forward, and minds where packets come from", async () => {
    const cloud = network.namespace("cloud");
    await inside(
      cloud,
      "sh",
      "-c",
      "echo 0 >/proc/sys/net/ipv4/ip_forward; echo 2 >/proc/sys/net/ipv4/conf/all/rp_filter",
    );
    await director("--tun", `lvs0,ip=10.66.0.1/32,netns=${cloud}`, "--vip", "10.66.0.100:80", "--rip", "10.67.0.1");
    const { of } = findings();
    expect(of("port lvs0").map(({ found }) => found)).toEqual(["net.ipv4.ip_forward is 0", "rp_filter is 2 for it"]);
    for (const { remedy } of of("port lvs0")) execFileSync("sh", ["-c", remedy!]);
    expect(findings().of("port lvs0")).toEqual([]);
  });

  it("tunnels that make packets too large, unless TCP is told to send less", async () => {
    const arm = ["--tap", `lan0,ip=10.88.0.1/24,netns=${fabric},bridge=br0`];
    const service = ["--vip", "10.88.0.100:80", "--mode", "tun", "--rip", "10.88.0.11"];
    const plain = await director(...arm, ...service, "--profile", "kernel");
    expect(findings().of("tunnel MTU")).toMatchObject([
      { level: "note", remedy: expect.stringContaining("--set mss_clamp=1") },
    ]);
    await plain.stop();
    await director(...arm, ...service, "--profile", "kernel", "--set", "mss_clamp=1");
    expect(findings().of("tunnel MTU")).toEqual([]);
  });
});

describe("a machine that lacks something", () => {
  it("says how a container is given /dev/net/tun", () => {
    const script = 'mount -t tmpfs none /dev/net && exec "$@"';
    const line = ["--mount", "sh", "-c", script, "sh", process.execPath, MAIN, "doctor", "--json", "--socket", socket];
    const env = { ...process.env, KUBERNETES_SERVICE_HOST: "10.0.0.1" };
    const { stdout, status } = spawnSync("unshare", line, { encoding: "utf8", env });
    const { able, findings: all } = JSON.parse(stdout) as { able: boolean; findings: Finding[] };
    expect(able).toBe(false);
    expect(status).toBe(1);
    expect(all.find(({ subject }) => subject === "/dev/net/tun")).toMatchObject({
      level: "missing",
      found: "is not there (this is a container: kubernetes)",
      remedy: expect.stringContaining("capabilities.add [NET_ADMIN]"),
    });
  });

  it("says that a seccomp filter forbids io_uring", () => {
    const calls = Array.from({ length: 470 }, (_, number) => number).filter((number) => number < 425 || number > 427);
    const line = [join(ROOT, "test/support/confine.mjs"), calls.join(","), "1,2,10,16,17", process.execPath, MAIN];
    const { stdout } = spawnSync(process.execPath, [...line, "doctor", "--json", "--socket", socket], {
      encoding: "utf8",
    });
    const { findings: all } = JSON.parse(stdout) as { findings: Finding[] };
    const uring = all.find(({ subject }) => subject === "io_uring");
    expect(uring).toMatchObject({ level: "limited", found: expect.stringContaining("forbidden") });
    expect(uring!.remedy).toContain("--io rw");
  });
});
