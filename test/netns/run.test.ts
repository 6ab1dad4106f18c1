import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { hasLink, inside, ip, Network, waitFor } from "./network.js";
import { until } from "./pair.js";

const SERVER = `
const { createServer } = require("node:http");
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
for (const host of process.argv.slice(2)) createServer((request, response) => {
  if (request.method === "PUT") {
    const hash = createHash("sha256");
    request.on("data", (chunk) => hash.update(chunk)).on("end", () => response.end(hash.digest("hex")));
  } else if (request.url === "/big") response.end(readFileSync(process.argv[1]));
  else response.end("I am " + host + "\\n");
}).listen(80, host);
`;

interface Status {
  pid: number;
  ports: Array<{ name: string; framesIn: number; bytesIn: number; framesOut: number }>;
}

function ask<T>(socketPath: string, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk)).on("end", () => resolve(JSON.parse(text) as T));
    });
    call.once("error", reject).end();
  });
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

describe("wlvs run", () => {
  let network: Network;
  let client: string;
  let server: string;
  let socket: string;

  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, "curl");
    network = new Network();
    client = network.namespace("client");
    server = network.namespace("server");
    socket = network.path("control.sock");
  });

  afterEach(() => network?.close());

  const ports = () => [
    "--tap",
    `ext0,ip=192.168.4.133/24,netns=${client}`,
    "--tap",
    `int0,ip=192.168.2.130/24,netns=${server}`,
    "--socket",
    socket,
  ];
  const services = [
    ...["--vip", "192.168.4.133:80", "--scheduler", "rr"],
    ...["--rip", "192.168.2.128", "--rip", "192.168.2.129"],
  ];

  /** Addresses on the kernel's ends: they vanish with the devices. */
  function address(): void {
    ip("-n", client, "addr", "replace", "192.168.4.132/24", "dev", "ext0");
    for (const last of [128, 129]) ip("-n", server, "addr", "replace", `192.168.2.${last}/24`, "dev", "int0");
    ip("-n", server, "route", "replace", "default", "via", "192.168.2.130");
  }

  async function serve(): Promise<void> {
    network.start(server, process.execPath, "-e", SERVER, network.path("big"), "192.168.2.128", "192.168.2.129");
    for (const last of [128, 129])
      await curl(server, `http://192.168.2.${last}/`, "--retry", "20", "--retry-connrefused", "--retry-delay", "1");
  }

  const curl = (namespace: string, url: string, ...more: string[]) =>
    inside(namespace, "curl", "-sS", "--max-time", "30", ...more, url);

  it("says one line when frames flow, and leaves nothing after SIGTERM", async () => {
    const director = network.director(...ports(), ...services);
    await director.ready();
    expect(director.stdout).toBe(`wlvs: forwarding on ext0 int0, control ${socket}\n`);
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(await director.stop()).toEqual({ status: 0, signal: null });
    expect(hasLink(client, "ext0") || hasLink(server, "int0") || existsSync(socket)).toBe(false);
  });

  it("hands on marks that were read again, to a director that comes after", async () => {
    const rules = (mark: number) =>
      `add table ip m; add chain ip m c; add rule ip m c tcp dport 80 meta mark set ${mark}\n`;
    const file = network.path("marks");
    writeFileSync(file, rules(7));
    const director = network.director(...ports(), "--marks", file);
    await director.ready();
    const remote = new RemoteIpvs(socket);
    const has = (mark: number) => until(async () => (await remote.marks()).rules.includes(` ${mark}`), `mark ${mark}`);
    await has(7);
    // Something that is told to the keeper, with the marks of now.
    await remote.setSettings({ drop_entry: 1 });
    writeFileSync(file, rules(8));
    director.child.kill("SIGHUP");
    await has(8);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const { pid } = await remote.status();
    process.kill(pid, "SIGKILL");
    await until(async () => (await remote.status()).pid !== pid, "another director");
    await has(8);
  });

  it.each([1, 2])("balances real connections over NAT with %s worker(s)", async (workers) => {
    writeFileSync(network.path("big"), randomBytes(20_000_000));
    const digest = createHash("sha256")
      .update(readFileSync(network.path("big")))
      .digest("hex");
    const director = network.director(...ports(), ...services, "--workers", `${workers}`);
    await director.ready();
    address();
    await serve();
    const answers: string[] = [];
    for (let n = 0; n < 4; n++) answers.push((await curl(client, "http://192.168.4.133/")).trim());
    expect([...answers].sort()).toEqual([128, 128, 129, 129].map((last) => `I am 192.168.2.${last}`));
    const before = await ask<Status>(socket, "/v1/status");
    const big = await curl(client, "http://192.168.4.133/big", "-o", network.path("got"), "-w", "%{http_code}");
    expect(big).toBe("200");
    expect(
      createHash("sha256")
        .update(readFileSync(network.path("got")))
        .digest("hex"),
    ).toBe(digest);
    expect(await curl(client, "http://192.168.4.133/", "-T", network.path("big"))).toBe(digest);
    const after = await ask<Status>(socket, "/v1/status");
    // Segmentation offload: super-frames, not one frame a segment.
    const frames = after.ports[1]!.framesIn - before.ports[1]!.framesIn;
    const bytes = after.ports[1]!.bytesIn - before.ports[1]!.bytesIn;
    expect(bytes / frames).toBeGreaterThan(3000);
    expect((await director.stop("SIGINT")).status).toBe(0);
  });

  it("runs the director as nobody, with nothing that it could gain", async () => {
    const director = network.director(...ports());
    await director.ready();
    const { pid } = await ask<Status>(socket, "/v1/status");
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    for (const set of ["CapPrm", "CapEff", "CapBnd", "CapInh"])
      expect(status).toMatch(new RegExp(`^${set}:\\s+0+$`, "m"));
    expect(status).toMatch(/^Uid:\s+65534\s+65534/m);
    expect(status).toMatch(/^Groups:\s*$/m);
  });

  it("sleeps when nothing comes", async () => {
    const director = network.director(...ports());
    await director.ready();
    const { pid } = await ask<Status>(socket, "/v1/status");
    const ticks = () => {
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
      return Number(fields[11]) + Number(fields[12]);
    };
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const before = ticks();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    // Hundredths of a second, of 200: one that does not sleep takes all that it gets.
    expect(ticks() - before).toBeLessThan(20);
  });

  it("starts a director that was killed again, on the same devices", async () => {
    const director = network.director(...ports(), ...services, "--workers", "2");
    await director.ready();
    address();
    await serve();
    const { pid } = await ask<Status>(socket, "/v1/status");
    process.kill(pid, "SIGKILL");
    await waitFor(() => director.stderr.split('"msg":"forwarding"').length > 2, "a second director forwards");
    expect(await curl(client, "http://192.168.4.133/", "--retry", "5")).toMatch(/^I am 192.168.2.12[89]$/m);
    expect((await ask<Status>(socket, "/v1/status")).pid).not.toBe(pid);
    expect(director.stdout.split("\n").length).toBe(2);
    expect((await director.stop()).status).toBe(0);
  });

  it("leaves no director and no device behind a keeper that was killed", async () => {
    const director = network.director(...ports());
    await director.ready();
    const { pid } = await ask<Status>(socket, "/v1/status");
    await director.stop("SIGKILL");
    await waitFor(() => !isAlive(pid), "the director ends");
    await waitFor(() => !hasLink(client, "ext0") && !hasLink(server, "int0"), "the devices go");
    // The socket's name is still there, and in nobody's way.
    const next = network.director(...ports());
    await next.ready();
    expect((await next.stop()).status).toBe(0);
  });

  it("leaves nothing when it is stopped in the middle of its start", async () => {
    for (const delay of [250, 320, 400, 500, 650]) {
      const director = network.director(...ports());
      await new Promise((resolve) => setTimeout(resolve, delay));
      const { status, signal } = await director.stop(delay % 100 === 0 ? "SIGINT" : "SIGTERM");
      // Before its own code runs a process can only die of the signal.
      if (signal === null) expect(status).toBe(0);
      expect(hasLink(client, "ext0") || hasLink(server, "int0") || existsSync(socket)).toBe(false);
    }
  });

  it("takes rules whole or not at all", async () => {
    const rules = network.path("rules");
    writeFileSync(rules, "-A -t 192.168.4.133:80 -s wrr\n-a -t 192.168.4.133:80 -r 192.168.2.128:80 -m -w 3\n");
    const director = network.director(...ports(), "--rules", rules);
    await director.ready();
    expect(await ask(socket, "/v1/services")).toMatchObject([{ scheduler: "wrr", servers: [{ weight: 3 }] }]);
    await director.stop();
    writeFileSync(rules, "-A -t 192.168.4.133:80 -s wrr\n-A -t 192.168.4.133:80 -s wrr\n");
    const twice = network.director(...ports(), "--log-level", "silent", "--rules", rules);
    expect((await twice.ended).status).toBe(1);
    expect(twice.stderr).toBe(`wlvs: --rules ${rules}, line 2: it is there already\n`);
    writeFileSync(rules, "-A -t 192.168.4.133:80 -s wrr\nnonsense\n");
    const bad = network.director(...ports(), "--rules", rules);
    expect((await bad.ended).status).toBe(2);
    expect(bad.stderr).toBe(`wlvs: --rules ${rules}, line 2: not a rule: nonsense\n`);
    expect(hasLink(client, "ext0") || existsSync(socket)).toBe(false);
  });

  it("refuses what is in use with one line", async () => {
    const first = network.director(...ports());
    await first.ready();
    const device = network.director(...ports());
    expect((await device.ended).status).toBe(1);
    expect(device.stderr).toMatch(
      /^wlvs: ext0 is in use, and a director already answers on \S+ \(pid \d+\): end it, or give --socket PATH and other devices\n$/,
    );
    const control = network.director("--tap", `other0,netns=${client}`, "--socket", socket);
    expect((await control.ended).status).toBe(1);
    expect(control.stderr).toMatch(/^wlvs: a director already answers on [^\n]*\n$/);
    expect(hasLink(client, "other0")).toBe(false);
    const missing = network.director("--tap", "x0,netns=wlvs-none", "--socket", join(network.directory, "y"));
    expect((await missing.ended).status).toBe(1);
    expect(missing.stderr).toMatch(/^wlvs: no network namespace wlvs-none[^\n]*\n$/);
    const low = network.director(
      ...["--tap", `other0,netns=${client}`, "--socket", join(network.directory, "z")],
      ...["--listen", "127.0.0.1:1", "--log-level", "error"],
    );
    expect((await low.ended).status).toBe(1);
    expect(low.stderr).toMatch(
      /^wlvs: cannot listen on 127\.0\.0\.1:1: permission denied \(take a port from 1024[^\n]*\n$/,
    );
    expect(hasLink(client, "other0")).toBe(false);
    expect((await first.stop()).status).toBe(0);
  });
});
