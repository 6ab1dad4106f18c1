/** Peers of the API that mean no good: slow, large, many, or from elsewhere. */
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import { FakeInfo, FakeIpvs } from "./fake.js";

let directory: string;
let path: string;
let ipvs: FakeIpvs;
let server: ControlServer;
let sockets: Socket[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
  path = join(directory, "wlvs.sock");
  ipvs = new FakeIpvs();
  sockets = [];
  const listen = { host: "127.0.0.1", port: 0, admin: true };
  server = await createControlServer({ ipvs, info: new FakeInfo(), socketPath: path, listen });
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

type Where = "socket" | "TCP";

interface Peer {
  readonly socket: Socket;
  text: string;
  /** All that came, when the server has closed. */
  readonly closed: Promise<string>;
}

function dial(where: Where): Promise<Peer> {
  return new Promise((resolve, reject) => {
    const socket = where === "socket" ? connect(path) : connect(server.tcp!.port, "127.0.0.1");
    sockets.push(socket);
    const closed = new Promise<string>((done) => socket.once("close", () => done(peer.text)));
    const peer: Peer = { socket, text: "", closed };
    socket.setEncoding("latin1").on("data", (more) => (peer.text += more));
    socket.once("connect", () => resolve(peer)).once("error", reject);
    // Being cut off while writing is what is wanted here.
    socket.on("error", () => {});
  });
}

async function say(where: Where, text: string): Promise<string> {
  const peer = await dial(where);
  peer.socket.write(text);
  return peer.closed;
}

const status = (answer: string) => Number(/^HTTP\/1\.1 (\d+) /.exec(answer)?.[1]);
const codeOf = (answer: string) => JSON.parse(answer.slice(answer.indexOf("\r\n\r\n"))).error.code as string;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(["socket", "TCP"] as const)("on the %s", (where) => {
  it("headers that are too long are refused, and what follows them is not read", async () => {
    const answer = await say(where, `GET /v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ${"y".repeat(20_000)}\r\n\r\n`);
    expect(status(answer)).toBe(431);
    expect(codeOf(answer)).toBe("ERR_LVS_REQUEST");
    expect(status(await say(where, `GET /${"a/".repeat(20_000)} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`))).toBe(431);
  });

  it.each([
    ["announced", `content-length: ${10 * 2 ** 20}`, ""],
    ["in chunks", "transfer-encoding: chunked", `40000\r\n${"x".repeat(0x40000)}\r\n`.repeat(3)],
  ])("a body that is too large is refused: %s", async (_, header, body) => {
    const head = `POST /v1/services HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n${header}\r\n\r\n`;
    const peer = await dial(where);
    peer.socket.write(head + body);
    while (!peer.text.includes("\r\n\r\n{")) {
      if (peer.socket.destroyed) break;
      await pause(5);
    }
    expect(status(peer.text)).toBe(413);
    expect(ipvs.table.size).toBe(0);
  });
});

it("who is slow is let go; who is idle, in hundreds, is in nobody's way", { timeout: 40_000 }, async () => {
  const began = performance.now();
  const slow: Promise<[string, number]>[] = [];
  const drips: NodeJS.Timeout[] = [];
  const parts = [
    ["headers", "GET /v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\n", "x: y\r\n"],
    [
      "a body",
      "POST /v1/transaction HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n",
      " ",
    ],
    ["nothing", "", ""],
  ] as const;
  for (const where of ["socket", "TCP"] as const) {
    for (const [, head, drip] of parts) {
      const peer = await dial(where);
      peer.socket.write(head);
      drips.push(setInterval(() => peer.socket.writable && peer.socket.write(drip), 250));
      slow.push(peer.closed.then((answer) => [answer, performance.now() - began]));
    }
  }
  // More than there may be: those beyond are closed, and the control socket answers as before.
  const idle: Peer[] = [];
  for (let n = 0; n < 600; n++) idle.push(await dial("TCP"));
  const onSocket = await Promise.all(Array.from({ length: 100 }, () => dial("socket")));
  expect(onSocket).toHaveLength(100);
  await pause(200);
  expect(idle.filter(({ socket }) => !socket.destroyed).length).toBeLessThanOrEqual(128);
  expect(idle.filter(({ socket }) => socket.destroyed).length).toBeGreaterThanOrEqual(450);
  for (let n = 0; n < 20; n++) {
    const asked = performance.now();
    await new RemoteIpvs(path).status();
    expect(performance.now() - asked).toBeLessThan(2000);
  }
  const ends = await Promise.all(slow);
  for (const drip of drips) clearInterval(drip);
  for (const [answer, after] of ends) {
    expect(status(answer)).toBe(408);
    expect(after).toBeLessThan(25_000);
  }
  await Promise.all(idle.map(({ closed }) => closed));
  const again = await say("TCP", "GET /v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
  expect(status(again)).toBe(200);
});

it.each(["socket", "TCP"] as const)("who asks on and on without reading is let go, on the %s", async (where) => {
  let asked = 0;
  ipvs.services = async () => {
    asked++;
    return [];
  };
  const ask = "GET /v1/services HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
  await say(where, ask.repeat(500));
  expect(asked).toBeLessThan(10);
  // One after the other they are as many as one likes.
  asked = 0;
  const peer = await dial(where);
  for (let n = 1; n <= 20; n++) {
    peer.socket.write(ask);
    while (peer.text.split("HTTP/1.1 200").length <= n) await pause(2);
  }
  expect(asked).toBe(20);
});

describe("names and origins", () => {
  const ask = (...headers: string[]) =>
    say("TCP", `GET /v1/status HTTP/1.1\r\n${headers.map((line) => `${line}\r\n`).join("")}connection: close\r\n\r\n`);

  it.each([
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:80",
    "evil.example#127.0.0.1",
    "127.0.0.1@evil.example",
    "[::1].evil.example",
    "",
  ])("a name that was pointed here is refused: %s", async (host) => {
    expect(status(await ask(`host: ${host}`))).toBe(403);
  });

  it("no name at all is refused", async () => {
    expect(status(await say("TCP", "GET /v1/status HTTP/1.0\r\n\r\n"))).toBe(403);
    expect(status(await ask("x: y"))).toBe(400);
  });

  it.each(["null", "http://evil.example", "https://127.0.0.1", "http://127.0.0.1:1", "http://localhost"])(
    "a page of elsewhere is refused: %s",
    async (origin) => {
      const answer = await ask("host: 127.0.0.1", `origin: ${origin}`);
      expect(status(answer)).toBe(403);
      expect(codeOf(answer)).toBe("ERR_LVS_ORIGIN");
      // Not even told that it would be allowed.
      expect(answer).not.toMatch(/access-control-allow/i);
    },
  );

  it("addresses and the machine's own names are not", async () => {
    const port = server.tcp!.port;
    for (const host of ["127.0.0.1", `127.0.0.1:${port}`, "localhost", "[::1]:80", "192.0.2.1"]) {
      expect(status(await ask(`host: ${host}`)), host).toBe(200);
    }
  });
});
