/** What a person meets who types something wrong, or in the wrong place: one line that says what, and the status. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { formatStatus } from "../../host/cli/commands/status.js";
import { RemoteIpvs } from "../../host/control/client.js";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import type { ServiceInfo } from "../../host/ipvs/model.js";
import { cli, type Said } from "../support/cli.js";
import { FakeInfo, FakeIpvs } from "./fake.js";

let directory: string;
let socket: string;
let server: ControlServer;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
  socket = join(directory, "wlvs.sock");
  const ipvs = new FakeIpvs();
  await ipvs.addService({
    id: { family: 4, protocol: "tcp", address: "192.168.4.133", port: 80 },
    scheduler: "wrr",
    persistence: 300,
    persistencePrefix: 32,
    onePacket: false,
    schedulerFlags: 0,
  });
  await ipvs.addServer(
    { family: 4, protocol: "tcp", address: "192.168.4.133", port: 80 },
    {
      id: { family: 4, address: "192.168.2.128", port: 80 },
      forwarding: "nat",
      weight: 2,
      upperThreshold: 0,
      lowerThreshold: 0,
    },
  );
  server = await createControlServer({ ipvs, info: new FakeInfo(), socketPath: socket });
});

afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

function wlvs(...argv: string[]): Promise<Said> {
  return cli(argv, async (path) => new RemoteIpvs(path ?? join(directory, "none.sock")));
}

const BUILT = ["run", "lab", "status", "doctor", "realserver", "bench", "top", "trace", "replay"];

describe("help", () => {
  it("lists every command", async () => {
    const { status, out } = await wlvs("--help");
    expect(status).toBe(0);
    for (const name of [...BUILT, "ipvsadm"]) expect(out).toMatch(new RegExp(`^  ${name} `, "m"));
    expect(out).toContain("Examples:");
  });

  it.each(BUILT)("of %s has examples", async (name) => {
    for (const argv of [
      [name, "--help"],
      ["help", name],
    ]) {
      const { status, out } = await wlvs(...argv);
      expect(status).toBe(0);
      expect(out).toMatch(new RegExp(`^Usage: wlvs ${name}`));
      expect(out).toMatch(new RegExp(`^Examples:\n  .*wlvs ${name}`, "m"));
    }
  });

  it("is what one gets without a command, and no success", async () => {
    const { status, err } = await wlvs();
    expect(status).toBe(2);
    expect(err).toMatch(/^Usage: wlvs/);
  });

  it("tells the version", async () => {
    expect(await wlvs("--version")).toEqual({ status: 0, out: "0.1.0\n", err: "" });
  });
});

describe("usage errors end with status 2", () => {
  it.each([
    [["frobnicate"], "wlvs: unknown command 'frobnicate' (see 'wlvs --help')\n"],
    [["statsu"], "wlvs: unknown command 'statsu' (Did you mean status?) (see 'wlvs --help')\n"],
    [["status", "--jsn"], "wlvs: unknown option '--jsn' (Did you mean --json?) (see 'wlvs status --help')\n"],
    [["status", "more"], /^wlvs: too many arguments for 'status'/],
    [["lab"], "wlvs: missing required argument 'method' (see 'wlvs lab --help')\n"],
    [["lab", "gre"], "wlvs: lab: nat, dr or tun, not 'gre'\n"],
    [["lab", "nat", "--server", "apache"], "wlvs: lab --server: builtin or nginx, not 'apache'\n"],
    [["lab", "nat", "--requests", "0"], /^wlvs: option '--requests <n>' argument '0' is invalid/],
    [["lab", "nat", "--servers", "101"], /It takes a number from 1 to 100\./],
    [["trace", "tcp", "and"], "wlvs: filter, character 8: a condition is missing\n"],
    [["trace", "--count", "0"], "wlvs: --count 0: a number from 1 to 9007199254740991 is wanted\n"],
    [["trace", "--snap", "70000"], "wlvs: --snap 70000: a number from 0 to 65565 is wanted\n"],
    [["trace", "--sample", "2"], "wlvs: --sample is for --connections\n"],
    [["trace", "--json", "--pcap", "x"], "wlvs: --json or --pcap, not both\n"],
    [["trace", "--connections", "--pcap", "x"], "wlvs: --pcap is for frames, not for --connections\n"],
    [["trace", "--connections", "tcp"], "wlvs: --connections takes no filter\n"],
    [["realserver", "dr"], "wlvs: required option '--vip <address>' not specified (see 'wlvs realserver --help')\n"],
    [["realserver", "nat", "--vip", "192.168.4.133"], "wlvs: realserver: dr or tun, not 'nat'\n"],
    [["realserver", "dr", "--vip", "192.168.4"], "wlvs: realserver --vip: not an address: 192.168.4\n"],
  ])("%j", async (argv, message) => {
    const { status, out, err } = await wlvs(...argv);
    expect(status).toBe(2);
    expect(out).toBe("");
    if (typeof message === "string") expect(err).toBe(message);
    else expect(err).toMatch(message);
  });
});

describe("status", () => {
  it("fails in one line without a director", async () => {
    const { status, err } = await wlvs("status");
    expect(status).toBe(1);
    expect(err).toBe(
      `wlvs: no director is running here: ${directory}/none.sock does not exist (start one with 'wlvs run', or set WLVS_SOCKET)\n`,
    );
  });

  it("shows the director", async () => {
    const { status, out } = await wlvs("status", "--socket", socket);
    expect(status).toBe(0);
    expect(out).toBe(
      `wlvs 0.1.0, pid 42, up 1h 2m, control ${socket}
profile wlvs, 1 worker, io rw, 12 of 1000000 connections
configuration /etc/wlvs.yaml, read 0s ago
what runs differs from it in 1 place: 'wlvs check /etc/wlvs.yaml' shows it, 'wlvs save /etc/wlvs.yaml' keeps it

PORT  KIND  STATE  ADDRESSES         MAC                 MTU  OFFLOADS     IN            OUT         DROPS  PEER
ext0  tap   up     192.168.4.133/24  02:00:00:00:00:01  1500  csum,tso4  1.2k  4.8 MiB  1.2k  700 B      0  -

SERVICE                HOW                   WEIGHT  ACTIVE  INACTIVE  CONNS       IN       OUT  CONN/S  HEALTH
TCP 192.168.4.133:80   wrr, persistent 300s                                3  2.9 KiB  19.5 KiB       1
  -> 192.168.2.128:80  nat                        2       1         2      3  2.9 KiB  19.5 KiB       1  up

frames in 1.2k, out 1.2k, made here 4
ended as forward 1.2k, local 30, drop 4
dropped for no-route 4
SYN proxy cookies sent 9, valid 3, invalid 1; servers answered 2, refused 1, silent 0
`,
    );
  });

  it("names what limits refused, and who has the SYN proxy at work", () => {
    const info = new FakeInfo();
    const refused = { connections: 0, rate: 12, source: 3400 };
    const nothing = { connections: 0, inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 };
    const guarded: ServiceInfo = {
      id: { family: 6, protocol: "tcp", address: "2001:db8::1", port: 80 },
      scheduler: "rr",
      persistencePrefix: 128,
      onePacket: false,
      schedulerFlags: 0,
      limits: { rate: 5 },
      defence: { synProxy: true, switches: 1, halfOpen: 0, refused },
      stats: nothing,
      rates: { cps: 0, inPps: 0, outPps: 0, inBps: 0, outBps: 0 },
      servers: [],
    };
    const status = { ...info.status(), ports: [], services: [guarded] };
    const text = formatStatus(status, { ...info.counters(), evictions: 5 }, socket);
    expect(text).toContain("TCP [2001:db8::1]:80  rr, syn-proxy, limited ");
    expect(text).toContain("\nlimits of TCP [2001:db8::1]:80 refused for source 3.4k, rate 12\n");
    expect(text).toContain("\ntable full, made room 5 times\n");
  });

  it("shows it as JSON", async () => {
    const { status, out } = await wlvs("status", "--json", "--socket", socket);
    expect(status).toBe(0);
    const document = JSON.parse(out);
    expect(document).toMatchObject({ pid: 42, services: [{ scheduler: "wrr" }], counters: { framesIn: 1234 } });
  });
});

describe("realserver --print", () => {
  it("prints the commands of direct routing", async () => {
    const { status, out } = await wlvs("realserver", "dr", "--vip", "192.168.4.133", "--print");
    expect(status).toBe(0);
    expect(out.split("\n")).toEqual([
      "sysctl -w net.ipv4.conf.all.arp_ignore=1",
      "sysctl -w net.ipv4.conf.all.arp_announce=2",
      "ip addr add 192.168.4.133/32 dev lo",
      "",
    ]);
  });

  it("prints those of IPv6, which needs no quieting", async () => {
    const { out } = await wlvs("realserver", "dr", "--vip", "2001:db8::1", "--print");
    expect(out).toBe("ip addr add 2001:db8::1/128 dev lo nodad\n");
  });
});

describe("doctor", () => {
  it("examines this machine", async () => {
    const { status, out } = await wlvs("doctor", "--json");
    const document = JSON.parse(out);
    expect(status).toBe(document.able ? 0 : 1);
    const subjects = document.findings.map(({ subject }: { subject: string }) => subject);
    expect(subjects).toEqual(
      expect.arrayContaining(["Node.js", "core", "/dev/net/tun", "CAP_NET_ADMIN", "ip", "ip_forward"]),
    );
    for (const finding of document.findings) {
      if (finding.level === "missing" || finding.level === "limited")
        expect(finding.remedy, finding.subject).toBeTruthy();
    }
  });
});
