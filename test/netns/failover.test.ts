/** Failover as clients see it: nginx that falls silent, or is stopped; connections that are open meanwhile. */
import { mkdirSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Director, inside, ip } from "./network.js";
import {
  A,
  B,
  bothUp,
  client,
  config,
  file,
  network,
  remote,
  servers,
  serving,
  start,
  stateOf,
  until,
  usePair,
  VIP,
  weights,
} from "./pair.js";

usePair(
  (namespace, address) => {
    const own = (name: string) => network.path(`${address}-${name}`);
    mkdirSync(own("body"), { recursive: true });
    writeFileSync(
      own("conf"),
      `user root; worker_processes 1; daemon off; pid ${own("pid")}; error_log ${own("error")} crit;
events { worker_connections 1024; }
http {
  access_log off; default_type text/plain; client_body_temp_path ${own("body")}; proxy_temp_path ${own("proxy")};
  fastcgi_temp_path ${own("fastcgi")}; uwsgi_temp_path ${own("uwsgi")}; scgi_temp_path ${own("scgi")};
  server { listen 80 backlog=1024; location / { return 200 "I am ${address}\\n"; } }
}
`,
    );
    return network.start(namespace, "nginx", "-c", own("conf"), "-e", "stderr");
  },
  "nginx",
  "nft",
  "wrk",
);

/** Times are of this machine, which others use as well: once within them is proof enough. */
const PATIENTLY = { retry: 3 } as const;

/** Asks so often, each time over a new connection, and prints what became of each question: [begun, ended, how]. */
const ASKER = `
const { request } = require("node:http");
const [every, seconds, timeout] = process.argv.slice(1).map(Number);
const asked = [];
const timer = setInterval(() => {
  const one = [Date.now(), 0, "?"];
  asked.push(one);
  const over = (how) => { if (one[1] === 0) { one[1] = Date.now(); one[2] = how; } };
  const sent = request("http://${VIP}/", { agent: false, timeout }, (response) =>
    response.resume().on("end", () => over("" + response.statusCode)));
  sent.on("timeout", () => { over("timeout"); sent.destroy(); }).on("error", (error) => over(error.code)).end();
}, every);
setTimeout(() => clearInterval(timer), seconds * 1000);
process.on("exit", () => console.log(JSON.stringify(asked)));
`;

type Asked = ReadonlyArray<readonly [begun: number, ended: number, how: string]>;

function ask(every: number, seconds: number, timeout = 2000): Promise<Asked> {
  return inside(client, process.execPath, "-e", ASKER, `${every}`, `${seconds}`, `${timeout}`).then(
    (out) => JSON.parse(out) as Asked,
  );
}

const failures = (asked: Asked) => asked.filter(([, , how]) => how !== "200");
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** From now on a server takes nothing in: neither answers nor refusals. */
function silence(address: string): void {
  const place = ["netns", "exec", servers.get(address)!, "nft"];
  ip(...place, "add table inet quiet");
  ip(...place, "add chain inet quiet in { type filter hook input priority 0; policy drop; }");
}

function speak(address: string): void {
  ip("netns", "exec", servers.get(address)!, "nft", "delete table inet quiet");
}

const events = (director: Director, name: string) =>
  director.stderr
    .split("\n")
    .filter((line) => line.includes(`"event":"${name}"`))
    .map((line) => JSON.parse(line) as { time: number; server: string; problem?: string });

/** The checks of the promise: every second, half a second's patience, two in a row. */
const CHECKS = "{type: tcp, interval: 1s, timeout: 500ms, rise: 2, fall: 2}";

describe("failover", () => {
  it.each(["keep", "reschedule"])(
    "leaves no request failing 3 s after a server fell silent (%s)",
    PATIENTLY,
    async (how) => {
      const director = await start(config(`check: ${CHECKS}\n    connections: ${how}`));
      await bothUp();
      const asking = ask(50, 7);
      await sleep(1000);
      const at = Date.now();
      silence(B);
      const asked = await asking;
      const failed = failures(asked);
      const late = failed.filter(([begun]) => begun > at + 3000);
      const [down] = events(director, "health.down");
      console.log(
        `${how}: ${asked.length} requests, ${failed.length} failed, the last begun ${Math.max(0, ...failed.map(([begun]) => begun - at))} ms after; ` +
          `known after ${down!.time - at} ms`,
      );
      expect(failed.length, "requests before it is known").toBeGreaterThan(0);
      expect(late).toEqual([]);
      expect(asked.filter(([begun]) => begun > at + 3000).length).toBeGreaterThan(40);
      expect(down).toMatchObject({ server: `${B}:80` });
      expect(down!.time - at).toBeLessThan(3000);
      speak(B);
      await until(async () => (await stateOf(B)) === "up", "B is back");
      const after = await ask(50, 1);
      expect(failures(after)).toEqual([]);
    },
  );

  it("leaves none failing after the first reset, with passive checks", PATIENTLY, async () => {
    const director = await start(config("check: {type: passive, hold: 60s}"));
    await until(async () => (await stateOf(B)) === "up", "known");
    const asking = ask(5, 4);
    await sleep(1000);
    serving.get(B)!.kill("SIGTERM");
    const asked = await asking;
    const failed = failures(asked);
    const [down] = events(director, "health.down");
    console.log(`passive: ${asked.length} requests, ${failed.length} failed: ${failed.map(([, , how]) => how)}`);
    // What was under way when the server stopped, or when the first one met the reset, may have met one too.
    const first = Math.min(...failed.filter(([, , how]) => how === "ECONNREFUSED").map(([, ended]) => ended));
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.filter(([begun]) => begun > first)).toEqual([]);
    expect(asked.filter(([begun]) => begun > first).length).toBeGreaterThan(100);
    expect(down).toMatchObject({ server: `${B}:80`, problem: expect.stringMatching(/refused within 10 s$/) });
    expect(await weights()).toEqual({ [A]: 1 });
  });

  it(
    "needs no check to find a silent server: a client's second SYN goes elsewhere, with passive checks",
    PATIENTLY,
    async () => {
      const director = await start(config("check: {type: passive, unanswered: 1, hold: 60s}"));
      await until(async () => (await stateOf(B)) === "up", "known");
      silence(B);
      const asked = await ask(100, 4, 5000);
      // None fails: some take the second after which a client says its SYN again.
      expect(failures(asked)).toEqual([]);
      expect(Math.max(...asked.map(([begun, ended]) => ended - begun))).toBeGreaterThan(900);
      expect(events(director, "health.down")).toMatchObject([
        { server: `${B}:80`, problem: expect.stringMatching(/unanswered within 10 s/) },
      ]);
    },
  );
});

/** Sends as many requests as it can over connections that last for one each; what went wrong, in its words. */
function load(seconds: number): Promise<string> {
  const how = ["-t", "1", "-c", "8", "-d", `${seconds}s`, "--timeout", "5s", "-H", "Connection: close"];
  return inside(client, "wrk", ...how, `http://${VIP}/`);
}

describe("a reload of 100 services with 10 servers each", () => {
  it("takes no more than 100 ms, and no request fails under load", PATIENTLY, async () => {
    const others = (weight: number) =>
      Array.from({ length: 99 }, (_, n) => {
        const real = Array.from({ length: 10 }, (_, at) => `{rip: 192.168.2.${at + 10}:80, weight: ${weight}}`);
        return `  - {vip: "10.1.${n}.1:80", scheduler: wlc, servers: [${real.join(", ")}]}\n`;
      }).join("");
    // The one that is under load has ten as well, eight of them without weight.
    const real = (weight: number) => [
      ...[A, B].map((address) => `{rip: "${address}:80", weight: ${weight}}`),
      ...Array.from({ length: 8 }, (_, at) => `{rip: "192.168.2.${at + 10}:80", weight: 0, check: false}`),
    ];
    const text = (weight: number) => config("check: {type: tcp}", real(weight)) + others(weight);
    const director = await start(text(1));
    await bothUp();
    const loading = load(6);
    await sleep(1000);
    for (const weight of [2, 3, 4, 5, 6, 7]) {
      writeFileSync(file, text(weight));
      expect((await remote.reload()).changes).toHaveLength(992);
      await sleep(300);
    }
    const out = await loading;
    const [, requests] = /(\d+) requests in/.exec(out) ?? [];
    const times = events(director, "config.reloaded").map((event) => (event as unknown as { ms: number }).ms);
    console.log(`${requests} requests; reloads of 992 changes: ${times.join(", ")} ms`);
    expect(out).not.toMatch(/Socket errors|Non-2xx/);
    expect(Number(requests)).toBeGreaterThan(500);
    expect(times).toHaveLength(6);
    // The machine has others to serve, so it is the best of them that tells how long it takes.
    expect(Math.min(...times)).toBeLessThan(100);
  });
});

/** Holds a connection open, silently, and prints what the server was and how and when it ended, or "open". */
const HOLDER = `
const { connect } = require("node:net");
const socket = connect(80, "${VIP}");
let text = "";
socket.on("connect", () => socket.write("GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"));
socket.on("data", (chunk) => {
  if (text === "") process.stderr.write("open");
  text += chunk;
});
const said = (how) => { console.log(JSON.stringify({ server: /I am (\\S+)/.exec(text)?.[1], how, at: Date.now() })); process.exit(); };
socket.on("error", (error) => said(error.code)).on("end", () => said("end"));
setTimeout(() => said("open"), Number(process.argv[1]));
`;

interface Held {
  readonly server: string;
  readonly how: string;
  readonly at: number;
}

const hold = (ms: number): Promise<Held> =>
  inside(client, process.execPath, "-e", HOLDER, `${ms}`).then((out) => JSON.parse(out) as Held);

describe("open connections of a server that failed", () => {
  it.each([
    ["reset", "remove", "ECONNRESET"],
    ["reset", "inhibit", "ECONNRESET"],
    ["keep", "remove", "open"],
    ["reschedule", "remove", "open"],
  ])("with %s and %s: an idle client sees %s", async (how, onFailure, sees) => {
    const checks = "{type: tcp, interval: 300ms, timeout: 200ms, rise: 2, fall: 2}";
    const director = await start(config(`check: ${checks}\n    connections: ${how}\n    on_failure: ${onFailure}`));
    await bothUp();
    const held = Array.from({ length: 4 }, () => hold(12_000));
    const active = async () => (await remote.services())[0]!.servers.reduce((sum, one) => sum + one.active, 0);
    await until(async () => (await active()) === 4, "four connections");
    silence(B);
    await until(async () => (await stateOf(B)) === "down", "B is down");
    const ends = await Promise.all(held);
    expect(ends.filter(({ server }) => server === A).map((one) => one.how)).toEqual(["open", "open"]);
    expect(ends.filter(({ server }) => server === B).map((one) => one.how)).toEqual([sees, sees]);
    if (sees === "open") return;
    const [down] = events(director, "health.down");
    const delays = ends.filter(({ server }) => server === B).map(({ at }) => at - down!.time);
    console.log(`${onFailure}: reset ${delays.join(" and ")} ms after the server was found to be down`);
    expect(Math.max(...delays)).toBeLessThan(1000);
  });
});
