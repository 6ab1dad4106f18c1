/** Every kind of check against a server that is well, and against one that is not. */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createCheckers } from "../../host/health/checkers.js";
import { openIcmp } from "../../host/port/icmp.js";
import * as native from "../../host/port/native.js";
import { needsCommands } from "../support/needs.js";
import { attempt, sleep, target } from "./support.js";

const servers: Array<{ close(): unknown }> = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

function listening(server: Server): Promise<number> {
  servers.push(server);
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port)));
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  const port = await listening(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function datagrams(answer: (message: Buffer) => Buffer | undefined): Promise<number> {
  const socket: Socket = createSocket("udp4");
  servers.push(socket);
  socket.on("message", (message, { port, address }) => {
    const text = answer(message);
    if (text !== undefined) socket.send(text, port, address);
  });
  return new Promise((resolve) => socket.bind(0, "127.0.0.1", () => resolve(socket.address().port)));
}

describe("tcp", () => {
  it("is content when somebody accepts", async () => {
    const port = await listening(createTcpServer().on("connection", (socket) => socket.on("error", () => {})));
    expect(await attempt(target({ type: "tcp" }, port))).toBeUndefined();
  });

  it("says that a connection was refused", async () => {
    expect(await attempt(target({ type: "tcp" }, await freePort()))).toBe("connection refused");
  });

  it("leaves no connection behind", async () => {
    const server = createTcpServer().on("connection", (socket) => socket.on("error", () => {}));
    const port = await listening(server);
    for (let n = 0; n < 20; n++) await attempt(target({ type: "tcp" }, port));
    await sleep(50);
    const table = readFileSync("/proc/net/tcp", "utf8");
    const here = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
    // 0A is LISTEN: nothing else of this port, TIME_WAIT least of all.
    expect(table.split("\n").filter((line) => line.includes(here) && !/ 0A /.test(line))).toEqual([]);
  });
});

describe("http", () => {
  const page = "all is well\n";
  const serve = (listener: RequestListener) => listening(createServer(listener));

  it("wants a good status", async () => {
    const port = await serve((request, response) => response.writeHead(request.url === "/ok" ? 204 : 503).end());
    const check = { type: "http", status: [[200, 299]], verify: false };
    expect(await attempt(target({ ...check, path: "/ok" }, port))).toBeUndefined();
    expect(await attempt(target({ ...check, path: "/" }, port))).toBe("status 503");
    expect(await attempt(target({ ...check, path: "/", status: [[500, 503]] }, port))).toBeUndefined();
  });

  it("looks at the body when asked to", async () => {
    const port = await serve((_request, response) => response.end(page));
    const check = { type: "http", path: "/", status: [[200, 200]], verify: false };
    const md5 = createHash("md5").update(page).digest("hex");
    const sha = createHash("sha256").update(page).digest("hex");
    expect(await attempt(target({ ...check, contains: "is well" }, port))).toBeUndefined();
    expect(await attempt(target({ ...check, contains: "is ill" }, port))).toBe('the page lacks "is ill"');
    expect(await attempt(target({ ...check, matches: "^all \\w+ well$" }, port))).toContain("does not match");
    expect(await attempt(target({ ...check, matches: "^all \\w+ well\\n$" }, port))).toBeUndefined();
    expect(await attempt(target({ ...check, digest: md5 }, port))).toBeUndefined();
    expect(await attempt(target({ ...check, digest: sha.toUpperCase() }, port))).toBeUndefined();
    expect(await attempt(target({ ...check, digest: sha.replace(/^./, "g") }, port))).toBe("another page");
  });

  it("names the virtual host", async () => {
    const port = await serve((request, response) => response.writeHead(200).end(request.headers.host));
    const check = { type: "http", path: "/", status: [[200, 200]], verify: false };
    expect(await attempt(target({ ...check, host: "shop.example", contains: "shop.example" }, port))).toBeUndefined();
    expect(await attempt(target({ ...check, contains: `127.0.0.1:${port}` }, port))).toBeUndefined();
  });

  it("gives up a server that accepts and says nothing", async () => {
    const port = await listening(createTcpServer().on("connection", (socket) => socket.on("error", () => {})));
    const check = { type: "http", path: "/", status: [[200, 200]], verify: false };
    expect(await attempt(target(check, port))).toBe("silence");
  });

  it("says so when the server is no web server, or hangs up", async () => {
    const rude = await listening(createTcpServer((socket) => socket.on("error", () => {}).end("SSH-2.0-x\r\n")));
    const check = { type: "http", path: "/", status: [[200, 200]], verify: false };
    expect(await attempt(target(check, rude))).toMatch(/Parse Error|hang up/);
    expect(await attempt(target(check, await freePort()))).toBe("connection refused");
  });
});

describe("https", () => {
  let directory: string;
  let key: Buffer;
  let cert: Buffer;

  beforeEach((context) => needsCommands(context, "openssl"));

  beforeAll(() => {
    if (spawnSync("openssl", ["version"]).status !== 0) return;
    directory = mkdtempSync(join(tmpdir(), "wlvs-health-"));
    const at = (name: string) => join(directory, name);
    const subject = ["-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example"];
    const how = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    execFileSync("openssl", ["req", ...how, "-keyout", at("key"), "-out", at("cert"), ...subject], { stdio: "ignore" });
    key = readFileSync(at("key"));
    cert = readFileSync(at("cert"));
  });

  afterAll(() => directory !== undefined && rmSync(directory, { recursive: true, force: true }));

  const serve = () => {
    const names: Array<string | false> = [];
    const server = createSecureServer({ key, cert }, (request, response) => {
      names.push((request.socket as unknown as { servername: string | false }).servername);
      response.end("secret\n");
    });
    return listening(server).then((port) => ({ port, names }));
  };
  const check = { type: "https", path: "/", status: [[200, 200]] };

  it("verifies a certificate only when asked to, against its own authority", async () => {
    const { port, names } = await serve();
    expect(await attempt(target({ ...check, verify: false }, port))).toBeUndefined();
    expect(await attempt(target({ ...check, verify: true, host: "shop.example" }, port))).toMatch(/self.signed/);
    const ca = cert.toString();
    expect(await attempt(target({ ...check, verify: true, host: "shop.example", ca }, port))).toBeUndefined();
    expect(await attempt(target({ ...check, verify: true, host: "other.example", ca }, port))).toMatch(/altnames/);
    expect(await attempt(target({ ...check, verify: true, ca }, port))).toMatch(/altnames/);
    expect(names).toEqual([false, "shop.example"]);
  });

  it("sends the name that it is told to", async () => {
    const { port, names } = await serve();
    const named = { ...check, verify: true, host: "inner", sni: "shop.example", ca: cert.toString() };
    expect(await attempt(target(named, port))).toBeUndefined();
    expect(names).toEqual(["shop.example"]);
  });
});

describe("dns", () => {
  /** Answers with a code, to the same question. */
  const server = (code: number) =>
    datagrams((query) => {
      const answer = Buffer.from(query);
      answer[2]! |= 0x80;
      answer[3] = 0x80 | code;
      return answer;
    });
  const check = { type: "dns", name: "www.example.org", record: "AAAA" };

  it("asks a question that is well formed", async () => {
    let seen: Buffer = Buffer.alloc(0);
    const port = await datagrams((query) => {
      seen = query;
      return undefined;
    });
    expect(await attempt(target(check, port))).toBe("silence");
    expect(seen.subarray(2).toString("hex")).toBe(
      `01000001000000000000${"03777777"}${"076578616d706c65"}${"036f7267"}00001c0001`,
    );
  });

  it("takes an answer, and that there is no such name", async () => {
    expect(await attempt(target(check, await server(0)))).toBeUndefined();
    expect(await attempt(target(check, await server(3)))).toBeUndefined();
    expect(await attempt(target(check, await server(2)))).toBe("server failure");
    expect(await attempt(target({ ...check, name: "." }, await server(5)))).toBe("refused");
  });

  it("does not take somebody else's answer", async () => {
    const port = await datagrams((query) => {
      const answer = Buffer.from(query);
      answer[2]! |= 0x80;
      answer[0]! ^= 1;
      return answer;
    });
    expect(await attempt(target(check, port))).toBe("silence");
  });
});

describe("udp", () => {
  it("takes silence for health unless an answer is due", async () => {
    const port = await datagrams(() => undefined);
    expect(await attempt(target({ type: "udp", send: "ping" }, port))).toBeUndefined();
    expect(await attempt(target({ type: "udp", send: "ping", expect: "pong" }, port))).toBe("silence");
  });

  it("wants the right answer", async () => {
    const port = await datagrams((message) => Buffer.from(`${message}, pong`));
    expect(await attempt(target({ type: "udp", send: "ping", expect: "pong" }, port))).toBeUndefined();
    expect(await attempt(target({ type: "udp", send: "ping", expect: "bang" }, port))).toBe('the answer lacks "bang"');
  });

  it("hears a refusal", async () => {
    const port = await datagrams(() => undefined);
    servers.pop()!.close();
    await sleep(20);
    expect(await attempt(target({ type: "udp", send: "x" }, port))).toBe("connection refused");
  });
});

describe("ping", () => {
  it("says that it is not permitted where it is not", async () => {
    expect(await attempt(target({ type: "ping" }, 0))).toMatch(/not permitted/);
  });

  it.each([
    ["127.0.0.1", 4],
    ["::1", 6],
  ] as const)("hears %s, and not who is not there", async (address, family) => {
    const socket = openIcmp(family);
    if (socket === undefined) {
      expect(process.getuid?.(), "root may open raw sockets").not.toBe(0);
      return;
    }
    const checkers = createCheckers([socket]);
    expect(await attempt(target({ type: "ping" }, 0, address), checkers)).toBeUndefined();
    const many = Array.from({ length: 20 }, () => attempt(target({ type: "ping" }, 0, address), checkers));
    expect(new Set(await Promise.all(many))).toEqual(new Set([undefined]));
    if (family === 4) {
      const gone = await attempt(target({ type: "ping" }, 0, "192.0.2.77"), checkers);
      expect(gone).toMatch(/silence|unreachable|no route/);
    }
    // The last look at it; then its number may be somebody else's.
    await sleep(50);
    native.close(socket.fd);
  });
});

describe("command", () => {
  const command = (script: string) => target({ type: "command", argv: ["sh", "-c", script] }, 8080);

  it("goes by the exit status", async () => {
    expect(await attempt(command("exit 0"))).toBeUndefined();
    expect(await attempt(command("exit 3"))).toBe("status 3");
    expect(await attempt(command("kill -9 $$"))).toBe("SIGKILL");
    expect(await attempt(target({ type: "command", argv: ["/nowhere/check"] }, 80))).toMatch(/ENOENT/);
  });

  it("hands on who is checked, and nothing else", async () => {
    const script = '[ "$VIP $VPORT $RIP $PORT" = "192.0.2.1 80 127.0.0.1 8080" ] && [ -z "$HOME" ]';
    expect(await attempt(command(script))).toBeUndefined();
  });

  it("uses no shell", async () => {
    const plain = target({ type: "command", argv: ["test", "$VIP; exit 1", "=", "$VIP; exit 1"] }, 80);
    expect(await attempt(plain)).toBeUndefined();
  });

  it("inherits no descriptors", async () => {
    await listening(createTcpServer());
    const stray = native.open("/dev/null", native.O_RDONLY, 0);
    // 0, 1 and 2 are /dev/null; the fourth is the directory that is being read.
    expect(await attempt(command('set -- $(ls /proc/self/fd); [ "$*" = "0 1 2 3" ]'))).toBeUndefined();
    native.close(stray);
  });

  it("is killed with all that it started when it takes too long", async () => {
    const mark = `wlvs-${process.pid}-${Date.now()}`;
    const given = target({ type: "command", argv: ["sh", "-c", `sleep 30 & exec sleep 30; : ${mark}`] }, 80);
    const before = Number(execFileSync("sh", ["-c", "pgrep -fc '^sleep 30$' || true"], { encoding: "utf8" }));
    expect(await attempt(given)).toBe("silence");
    await sleep(50);
    const after = Number(execFileSync("sh", ["-c", "pgrep -fc '^sleep 30$' || true"], { encoding: "utf8" }));
    expect(after).toBe(before);
  });
});
