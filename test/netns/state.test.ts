/** A director that is killed, stopped or upgraded: what its clients notice of it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { server as serverAt } from "../support/director.js";
import { needsCommands, needsDevices } from "../support/needs.js";
import { type Director, inside, ip, journalled, Network, upgrade, waitFor } from "./network.js";

/** Says back what it hears, by TCP and by UDP; web pages beside it. */
const SERVER = `
const net = require("node:net"), http = require("node:http"), dgram = require("node:dgram");
for (const host of process.argv.slice(1)) {
  net.createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen({ host, port: 9000, backlog: 4096 });
  http.createServer((request, response) => response.end("I am " + host + "\\n")).listen(80, host);
  for (const port of [9001, 9002, 9003, 9004]) {
    const udp = dgram.createSocket("udp4");
    udp.on("message", (text, from) => udp.send(text, from.port, from.address)).bind(port, host);
  }
}
`;

/**
 * Holds connections, asks by datagrams all the time, and has four connections that ask again as soon as they are
 * answered. "check": whether each connection still says back what it is told, the longest time without an answer to a
 * datagram since the last check, and the longest time that one of the four waited for an answer. "fill N": so many
 * connections more in the director's table, by datagrams from as many ports.
 */
const CLIENT = `
const net = require("node:net"), dgram = require("node:dgram");
const [count, host] = [Number(process.argv[1]), process.argv[2]];
const sockets = [];
let resets = 0, last = 0, longest = 0, stall = 0;
const udp = dgram.createSocket("udp4");
udp.on("message", () => {
  const now = performance.now();
  if (last !== 0) longest = Math.max(longest, now - last);
  last = now;
});
udp.on("error", () => {});
udp.connect(9001, host, () => setInterval(() => udp.send("ping", () => {}), 2));
function ask() {
  let asked = 0, timer;
  const socket = net.connect(9000, host, () => again());
  const again = () => { asked = performance.now(); socket.write("?"); };
  socket.setNoDelay(true).on("error", () => resets++).on("data", () => {
    stall = Math.max(stall, performance.now() - asked);
    setImmediate(again);
  });
}
for (let n = 0; n < 4; n++) ask();
async function fill(count) {
  let next = 0;
  const some = async () => {
    while (next < count) {
      const socket = dgram.createSocket("udp4");
      const port = 10000 + next / 4;
      next += 4;
      await new Promise((done) => socket.bind(port, done));
      const missing = new Set([9001, 9002, 9003, 9004]);
      await new Promise((done) => {
        const send = () => missing.forEach((port) => socket.send("x", port, host, () => {}));
        const again = setInterval(send, 200);
        socket.on("message", (_, { port }) => {
          missing.delete(port);
          if (missing.size > 0) return;
          clearInterval(again);
          done();
        });
        send();
      });
      socket.close();
    }
  };
  await Promise.all([some(), some(), some(), some(), some(), some()]);
  say({ filled: count });
}
const say = (what) => console.log(JSON.stringify(what));
async function open() {
  for (let n = 0; n < count; n += 50) {
    await Promise.all(Array.from({ length: Math.min(50, count - n) }, () => new Promise((done) => {
      const socket = net.connect(9000, host, done);
      socket.on("error", () => resets++).on("close", () => (socket.gone = true));
      socket.on("data", () => socket.heard?.());
      sockets.push(socket);
    })));
  }
  say({ open: sockets.length });
}
async function check() {
  let well = 0;
  await Promise.all(sockets.map((socket) => new Promise((done) => {
    const timer = setTimeout(done, 10000);
    socket.heard = () => { well++; clearTimeout(timer); socket.heard = undefined; done(); };
    if (!socket.gone) socket.write("x");
  })));
  say({ well, resets, longest: Math.round(longest), stall: Math.round(stall) });
  longest = stall = 0;
}
require("node:readline").createInterface(process.stdin).on("line", (line) => {
  if (line === "check") check();
  else if (line === "forget") longest = stall = 0;
  else fill(Number(line.slice(5)));
});
open();
`;

interface Check {
  readonly well: number;
  readonly resets: number;
  readonly longest: number;
  readonly stall: number;
}

class Client {
  readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  constructor(namespace: string, count: number) {
    this.child = spawn(
      "ip",
      ["netns", "exec", namespace, process.execPath, "-e", CLIENT, `${count}`, "192.168.4.133"],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    this.lines = createInterface(this.child.stdout!)[Symbol.asyncIterator]();
  }

  async next<T>(): Promise<T> {
    return JSON.parse((await this.lines.next()).value as string) as T;
  }

  fill(count: number): Promise<unknown> {
    this.child.stdin!.write(`fill ${count}\n`);
    return this.next();
  }

  forget(): void {
    this.child.stdin!.write("forget\n");
  }

  check(): Promise<Check> {
    this.child.stdin!.write("check\n");
    return this.next<Check>();
  }
}

/** Milliseconds of the processor that a process has used. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("a state file", () => {
  let network: Network;
  let client: string;
  let server: string;
  let socket: string;
  let state: string;

  beforeEach((context) => {
    needsDevices(context);
    needsCommands(context, "curl", "wrk");
    network = new Network();
    client = network.namespace("client");
    server = network.namespace("server");
    socket = network.path("control.sock");
    state = network.path("state");
  });

  afterEach(() => network?.close());

  const args = (...more: string[]) => [
    ...["--tap", `ext0,ip=192.168.4.133/24,netns=${client},persist=on`],
    ...["--tap", `int0,ip=192.168.2.130/24,netns=${server},persist=on`],
    ...["--socket", socket, ...more],
  ];
  const services = [80, 9000, 9001, 9002, 9003, 9004].flatMap((port) => [
    ...["--vip", `192.168.4.133:${port}${port > 9000 ? "/udp" : ""}`, "--scheduler", "rr"],
    ...["--rip", "192.168.2.128", "--rip", "192.168.2.129"],
  ]);

  async function start(...more: string[]): Promise<Director> {
    const director = network.director(...args("--state", state, ...more));
    await director.ready();
    return director;
  }

  /** Addresses on the kernel's ends: persistent devices keep them. */
  async function furnish(): Promise<void> {
    ip("-n", client, "addr", "replace", "192.168.4.132/24", "dev", "ext0");
    for (const last of [128, 129]) ip("-n", server, "addr", "replace", `192.168.2.${last}/24`, "dev", "int0");
    ip("-n", server, "route", "replace", "default", "via", "192.168.2.130");
    network.start(server, process.execPath, "-e", SERVER, "192.168.2.128", "192.168.2.129");
    for (const last of [128, 129]) {
      const patiently = ["--retry", "20", "--retry-connrefused", "--retry-delay", "1"];
      await inside(server, "curl", "-sS", ...patiently, `http://192.168.2.${last}/`);
    }
  }

  const forwarded = (director: Director) => director.stderr.split('"msg":"forwarding"').length - 1;
  const pidOf = async () => (await new RemoteIpvs(socket).status()).pid;

  const standby = async (of: Director, count = 1) => {
    const ready = () => [...of.stderr.matchAll(/"event":"standby.ready","child":(\d+)/g)];
    await waitFor(() => ready().length >= count, "another director stands by");
    return Number(ready().at(-1)![1]);
  };

  // WLVS_RESTARTS=5 says how long clients wait, so many times.
  it("brings a thousand connections through a kill -9 of the director, of the keeper, of both", async () => {
    const rounds = Number(process.env.WLVS_RESTARTS ?? 1);
    let director = await start(...services);
    await furnish();
    const held = new Client(client, 1000);
    expect(await held.next()).toEqual({ open: 1000 });
    const load = inside(client, "wrk", "-t1", "-c8", `-d${12 * rounds}s`, "--timeout", "10s", "http://192.168.4.133/");
    load.catch(() => {});
    await pause(1200);
    await journalled(state);
    let lives = 1;
    const down = { director: [] as number[], keeper: [] as number[], both: [] as number[] };
    for (const what of Array.from({ length: rounds }, () => ["director", "keeper", "both"] as const).flat()) {
      const pid = await pidOf();
      const next = await standby(director, lives);
      held.forget();
      const began = forwarded(director);
      if (what !== "keeper") process.kill(pid, "SIGKILL");
      if (what === "director") {
        await waitFor(() => forwarded(director) > began, "another director forwards");
        expect(await pidOf()).toBe(next);
        lives++;
      } else {
        director.child.kill("SIGKILL");
        director = await start(...services);
        lives = 1;
      }
      const { longest, stall: _, ...rest } = await held.check();
      expect(rest, what).toEqual({ well: 1000, resets: 0 });
      down[what].push(longest);
      await waitFor(() => /"event":"state.restored"[^\n]*"left":0/.test(director.stderr), "it says what it restored");
      await pause(1200);
      await journalled(state);
    }
    if (process.env.WLVS_RESTARTS !== undefined) {
      console.log(`without an answer for at most, ms: ${JSON.stringify(down)}`);
      // Many times what it takes on a calm machine.
      expect(Math.min(...down.director)).toBeLessThan(1500);
    }
    held.child.kill();
    expect(await load).toMatch(/Requests\/sec/);
    // Listed, counted, and stopped as any other.
    const listed = await new RemoteIpvs(socket).services();
    expect(listed.find(({ id }) => "port" in id && id.port === 9000)!.stats.connections).toBe(1004);
    expect((await director.stop()).status).toBe(0);
    expect(statSync(state).mode & 0o777).toBe(0o600);
  }, 300_000);

  // WLVS_STATE_COST=6 compares new connections and requests a second with and without a state file, in so many rounds.
  if (process.env.WLVS_STATE_COST !== undefined) {
    it("costs little", async () => {
      // Ports of connections that have ended are taken again at once.
      await inside(client, "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1");
      const ratios = { connections: [] as number[], requests: [] as number[] };
      const rate = async (...more: string[]) => {
        const report = await inside(client, "wrk", "-t1", "-c16", "-d2s", ...more, "http://192.168.4.133/");
        return Number(/Requests\/sec:\s+([\d.]+)/.exec(report)![1]);
      };
      const measure = async (director: Director) => {
        const rates = { connections: await rate("-H", "Connection: close"), requests: await rate() };
        await director.stop();
        return rates;
      };
      for (let round = 0; round < Number(process.env.WLVS_STATE_COST); round++) {
        const without = async () => {
          const plain = network.director(...args(...services));
          await plain.ready();
          if (round === 0) await furnish();
          return measure(plain);
        };
        const keeping = async () => {
          const director = await start(...services);
          await standby(director);
          return measure(director);
        };
        // By turns first: a machine that gets slower must not tell for one of them.
        let before: Awaited<ReturnType<typeof measure>> | undefined;
        if (round % 2 === 0) before = await without();
        const kept = await keeping();
        before ??= await without();
        for (const what of ["connections", "requests"] as const) ratios[what].push(kept[what] / before[what]);
      }
      console.log(`with a state file, of what it is without: ${JSON.stringify(ratios)}`);
      expect(Math.max(...ratios.connections)).toBeGreaterThan(0.5);
    }, 600_000);
  }

  it("has one that stands by, and does without when it is gone", async () => {
    const director = await start(...services);
    await furnish();
    const held = new Client(client, 20);
    expect(await held.next()).toEqual({ open: 20 });
    // It ends: nobody notices but the log; and the director's death is survived as ever.
    process.kill(await standby(director), "SIGKILL");
    await waitFor(() => director.stderr.includes('"standby.ended"'), "the log says so");
    await journalled(state);
    let began = forwarded(director);
    process.kill(await pidOf(), "SIGKILL");
    await waitFor(() => forwarded(director) > began, "another director forwards");
    expect((await held.check()).well).toBe(20);
    // It has the descriptors of a device that is gone: it is of no use.
    const next = await standby(director, 2);
    ip("-n", client, "link", "del", "ext0");
    began = forwarded(director);
    process.kill(await pidOf(), "SIGKILL");
    await waitFor(() => forwarded(director) > began, "another director forwards");
    expect(await pidOf()).not.toBe(next);
    ip("-n", client, "addr", "replace", "192.168.4.132/24", "dev", "ext0");
    await inside(client, "curl", "-sS", "--retry", "5", "--retry-all-errors", "http://192.168.4.133/");
    expect(await standby(director, 3)).not.toBe(next);
    held.child.kill();
    const children = execFileSync("pgrep", ["-P", `${director.child.pid}`], { encoding: "utf8" }).split("\n");
    expect((await director.stop()).status).toBe(0);
    expect(children.filter((pid) => pid !== "" && existsSync(`/proc/${pid}`))).toEqual([]);
  });

  it("brings connections through whose handshakes were the director's own", async () => {
    const director = await start("--syn-proxy", "on", ...services);
    await furnish();
    const held = new Client(client, 30);
    expect(await held.next()).toEqual({ open: 30 });
    expect(await held.check()).toMatchObject({ well: 30, resets: 0 });
    await journalled(state);
    const began = forwarded(director);
    process.kill(await pidOf(), "SIGKILL");
    await waitFor(() => forwarded(director) > began, "another director forwards");
    expect(await held.check()).toMatchObject({ well: 30, resets: 0 });
    await upgrade(new RemoteIpvs(socket));
    expect(await held.check()).toMatchObject({ well: 30, resets: 0 });
    held.child.kill();
    await director.stop();
  });

  // WLVS_UPGRADES=10 WLVS_TABLE=100000 says how long clients wait, with so many connections in the table.
  it("hands over to a new director under load, and no client notices", async () => {
    const director = await start(...services);
    await furnish();
    const held = new Client(client, 300);
    expect(await held.next()).toEqual({ open: 300 });
    const table = Number(process.env.WLVS_TABLE ?? 2000);
    await held.fill(table);
    const rounds = Number(process.env.WLVS_UPGRADES ?? 2);
    const seconds = 4 + 3 * rounds;
    const load = ["-t1", "-c8", `-d${seconds}s`, "--timeout", "8s", "--latency", "http://192.168.4.133/"];
    const requests = inside(client, "wrk", ...load);
    requests.catch(() => {});
    await pause(1000);
    let before = await pidOf();
    const waited: Array<{ frames: number; datagram: number; stall: number }> = [];
    // The second time the one that came goes.
    for (let round = 0; round < rounds; round++) {
      held.forget();
      const result = await upgrade(new RemoteIpvs(socket));
      const { longest, stall, ...rest } = await held.check();
      expect(rest).toEqual({ well: 300, resets: 0 });
      waited.push({ frames: result.pause, datagram: longest, stall });
      expect(result.connections).toBeGreaterThanOrEqual(300 + table);
      expect(await pidOf()).toBe(result.pid);
      expect(result.pid).not.toBe(before);
      before = result.pid;
      await pause(rounds > 2 ? 2000 : 0);
    }
    if (process.env.WLVS_UPGRADES !== undefined) console.log(waited.map((each) => JSON.stringify(each)).join("\n"));
    // Many times what it takes on a calm machine: no handshake of a client is given up.
    expect(Math.min(...waited.map(({ datagram }) => datagram))).toBeLessThan(5000);
    const report = await requests;
    if (process.env.WLVS_UPGRADES !== undefined) console.log(report);
    expect(report).toMatch(/Requests\/sec/);
    expect(report).not.toMatch(/Socket errors|Non-2xx/);
    held.child.kill();
    expect((await director.stop()).status).toBe(0);
  }, 300_000);

  it("stays with the old director when the new one does not come up", async () => {
    const version = network.version();
    const file = version.file("keeper/director.js");
    const good = readFileSync(file, "utf8");
    const director = network.directorOf(version, ...args("--state", state, ...services));
    await director.ready();
    await furnish();
    const held = new Client(client, 50);
    expect(await held.next()).toEqual({ open: 50 });
    const pid = await pidOf();
    const ipvs = new RemoteIpvs(socket);
    // It cannot even be read; it dies while it takes over, when the old one has stopped already.
    for (const bad of ["nonsense(", good.replace('tell({ type: "moving"', 'process.exit(7); tell({ type: "moving"')]) {
      expect(bad).not.toBe(good);
      writeFileSync(file, bad);
      await expect(ipvs.upgrade()).rejects.toThrow(/director \d+ died/);
      expect(await pidOf()).toBe(pid);
      expect((await held.check()).well).toBe(50);
      expect(director.stderr).toMatch(/"upgrade.failed"[^\n]*the running director goes on/);
    }
    await ipvs.setTimeouts({ tcp: 99, tcpFin: 0, udp: 0 });
    writeFileSync(file, good);
    expect((await upgrade(new RemoteIpvs(socket))).pid).not.toBe(pid);
    expect((await ipvs.timeouts()).tcp).toBe(99);
    expect((await held.check()).well).toBe(50);
    held.child.kill();
    expect((await director.stop()).status).toBe(0);
  });

  it("goes on with a full disk, and writes when there is room", async () => {
    const disk = network.path("disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "wlvs", disk]);
    try {
      state = `${disk}/state`;
      const director = await start(...services);
      await furnish();
      await waitFor(() => statSync(state).size > 0, "the first snapshot");
      const filler = openSync(`${disk}/filler`, "w");
      try {
        for (;;) writeSync(filler, Buffer.alloc(4096));
      } catch {
        // Full.
      }
      const before = readFileSync(state);
      const held = new Client(client, 300);
      expect(await held.next()).toEqual({ open: 300 });
      await waitFor(() => director.stderr.includes('"state.failed"'), "it says so");
      expect((await held.check()).well).toBe(300);
      expect(readFileSync(state).subarray(0, before.length).equals(before)).toBe(true);
      expect(director.stderr.split('"state.failed"')).toHaveLength(2);
      const pid = await pidOf();
      const [spent, from] = [cpuMs(pid), performance.now()];
      await pause(1000);
      held.child.kill("SIGSTOP");
      // One that tried again and again would take a processor for itself.
      expect((cpuMs(pid) - spent) / (performance.now() - from)).toBeLessThan(0.9);
      held.child.kill("SIGCONT");
      rmSync(`${disk}/filler`);
      closeSync(filler);
      await waitFor(() => director.stderr.includes('"state.recovered"'), "it is written again");
      await journalled(state);
      director.child.kill("SIGKILL");
      const next = await start(...services);
      const { longest: _, stall: __, ...rest } = await held.check();
      expect(rest).toEqual({ well: 300, resets: 0 });
      held.child.kill();
      await next.stop();
    } finally {
      execFileSync("umount", ["-l", disk]);
    }
  });

  it("is refused with the reason, and put aside", async () => {
    writeFileSync(state, "WLVS, but no state");
    const director = await start(...services);
    await waitFor(() => director.stderr.includes('"state.refused"'), "it says so");
    expect(director.stderr).toContain(`nothing is restored from ${state}: it is cut off`);
    expect(readFileSync(`${state}.refused`, "utf8")).toBe("WLVS, but no state");
    expect(await new RemoteIpvs(socket).services()).toHaveLength(6);
    const twice = network.director(
      ...["--tap", `other0,ip=10.9.9.1/24,netns=${client}`, "--socket", network.path("other.sock"), "--state", state],
    );
    expect((await twice.ended).status).toBe(1);
    expect(twice.stderr).toBe(`wlvs: the state file ${state} is in use by another director: give another one\n`);
    await director.stop();
    for (const [path, text] of [
      [network.path("none/state"), "no such file or directory"],
      [network.directory, "illegal operation on a directory"],
      ["/dev/null", "is no plain file"],
    ] as const) {
      const bad = network.director("--tap", `other0,netns=${client}`, "--state", path, "--socket", socket);
      expect((await bad.ended).status).toBe(1);
      expect(bad.stderr).toMatch(new RegExp(`^wlvs: [^\\n]*${text}[^\\n]*\\n$`));
    }
  });

  it("gives way to a configuration that says something else, and keeps what was changed under the same", async () => {
    let director = await start(...services);
    const ipvs = new RemoteIpvs(socket);
    const [first] = await ipvs.services();
    await ipvs.addServer(first!.id, serverAt("192.168.2.140", 80));
    await ipvs.setTimeouts({ tcp: 77, tcpFin: 0, udp: 0 });
    await director.stop();
    director = await start(...services);
    expect((await ipvs.services())[0]!.servers.map(({ id }) => id.address).sort()).toContain("192.168.2.140");
    expect((await ipvs.timeouts()).tcp).toBe(77);
    await director.stop();
    director = await start("--vip", "192.168.4.133:81", "--rip", "192.168.2.128");
    expect((await ipvs.services()).map(({ id }) => "port" in id && id.port)).toEqual([81]);
    await waitFor(() => director.stderr.includes(`"state.configuration"`), "it says so");
    await director.stop();
  });
});
