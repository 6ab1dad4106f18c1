import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { connect, createServer as createNetServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { parseServerKey, parseServiceKey, serverKey, serviceKey } from "../../host/control/keys.js";
import { type ControlServer, type ControlServerOptions, createControlServer } from "../../host/control/server.js";
import type { ConnectionInfo, ServerConfig, ServiceConfig } from "../../host/ipvs/model.js";
import { FakeInfo, FakeIpvs, RATES, STATS } from "./fake.js";

const WEB: ServiceConfig = {
  id: { family: 4, protocol: "tcp", address: "192.168.4.133", port: 80 },
  scheduler: "wrr",
  persistencePrefix: 32,
  onePacket: false,
  schedulerFlags: 0,
};
const WEB6: ServiceConfig = {
  ...WEB,
  id: { family: 6, protocol: "udp", address: "2001:db8::1", port: 53 },
  persistencePrefix: 128,
  persistence: 300,
};
const MARK: ServiceConfig = { ...WEB, id: { family: 6, mark: 7 }, persistencePrefix: 128 };
const SERVER: ServerConfig = {
  id: { family: 4, address: "192.168.2.128", port: 80 },
  forwarding: "nat",
  weight: 1,
  upperThreshold: 0,
  lowerThreshold: 0,
};

let directory: string;
let path: string;
let ipvs: FakeIpvs;
let info: FakeInfo;
let server: ControlServer | undefined;
let client: RemoteIpvs;

async function start(options: Partial<ControlServerOptions> = {}): Promise<ControlServer> {
  server = await createControlServer({ ipvs, info, socketPath: path, ...options });
  return server;
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
  path = join(directory, "wlvs.sock");
  ipvs = new FakeIpvs();
  info = new FakeInfo();
  client = new RemoteIpvs(path);
});

afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(directory, { recursive: true, force: true });
});

describe("keys", () => {
  it("come back as they went", () => {
    for (const { id } of [WEB, WEB6, MARK]) expect(parseServiceKey(serviceKey(id))).toEqual(id);
    expect(parseServerKey(serverKey(SERVER.id))).toEqual(SERVER.id);
    expect(serviceKey(WEB6.id)).toBe("udp:[2001:db8::1]:53");
  });

  it("refuse what names nothing", () => {
    for (const text of ["", "tcp", "tcp:1.2.3:80", "tcp:1.2.3.4", "tcp:1.2.3.4:65536", "mark:0:ipv4", "mark:1:ipv5"]) {
      expect(parseServiceKey(text), text).toBeUndefined();
    }
    for (const text of ["2001:db8::1:80", "[1.2.3.4]:80", "1.2.3.4:"])
      expect(parseServerKey(text), text).toBeUndefined();
  });
});

describe("tables over the socket", () => {
  it("carry every call of Ipvs", async () => {
    await start();
    await client.addService(WEB);
    await client.addService(WEB6);
    await client.addService(MARK);
    await client.addServer(WEB.id, SERVER);
    await client.editServer(WEB.id, { ...SERVER, weight: 5 });
    await client.editService({ ...WEB6, scheduler: "sh", schedulerFlags: 3 });
    const services = await client.services();
    expect(services).toEqual(await ipvs.services());
    expect(services[0]!.servers[0]!.weight).toBe(5);
    expect(await client.service(WEB6.id)).toMatchObject({ scheduler: "sh", schedulerFlags: 3, persistence: 300 });
    await client.removeServer(WEB.id, SERVER.id);
    await client.removeService(WEB.id);
    expect(await client.services()).toHaveLength(2);
    await client.zero();
    await client.zero(MARK.id);
    expect(ipvs.zeroed).toEqual([undefined, "mark:7:ipv6"]);
    await client.setTimeouts({ tcp: 1, tcpFin: 2, udp: 3 });
    expect(await client.timeouts()).toEqual({ tcp: 1, tcpFin: 2, udp: 3 });
    expect(await client.totals()).toEqual({ stats: STATS, rates: RATES });
    expect(await client.tableSize()).toBe(4096);
    await client.startDaemon({ role: "master", interface: "eth0", syncId: 3 });
    expect(await client.daemons()).toEqual([{ role: "master", interface: "eth0", syncId: 3 }]);
    await client.stopDaemon("master");
    expect(await client.daemons()).toEqual([]);
    await client.flush();
    expect(await client.services()).toEqual([]);
  });

  it("keep the errno of a refusal", async () => {
    await start();
    await expect(client.removeService(WEB.id)).rejects.toMatchObject({ name: "IpvsError", code: "ESRCH", errno: 3 });
    await client.addService(WEB);
    await expect(client.addService(WEB)).rejects.toMatchObject({ code: "EEXIST", errno: 17 });
    await expect(client.addServer(WEB.id, { ...SERVER, weight: -1 })).rejects.toMatchObject({
      code: "ERANGE",
      errno: 34,
    });
    const noPort = { ...WEB, id: { ...WEB.id, port: 70000 } } as ServiceConfig;
    await expect(client.addService(noPort)).rejects.toMatchObject({ code: "EINVAL", errno: 22 });
  });

  it("take many steps at once", async () => {
    await start();
    const servers = Array.from({ length: 3000 }, (_, at): ServerConfig => {
      return { ...SERVER, id: { family: 4, address: `10.0.${at >> 8}.${at & 255}`, port: 80 } };
    });
    await client.transaction([
      { do: "addService", service: WEB },
      ...servers.map((one) => ({ do: "addServer" as const, service: WEB.id, server: one })),
    ]);
    expect((await client.service(WEB.id)).servers).toHaveLength(3000);
  });

  it("stream connections", async () => {
    await start();
    const one: ConnectionInfo = {
      family: 4,
      protocol: 6,
      state: "ESTABLISHED",
      expires: 899,
      client: "192.168.4.132",
      clientPort: 40000,
      virtual: "192.168.4.133",
      virtualPort: 80,
      server: "192.168.2.128",
      serverPort: 80,
      serverFamily: 4,
      template: false,
    };
    ipvs.connectionList = Array.from({ length: 5000 }, (_, at) => ({ ...one, clientPort: at }));
    const seen: ConnectionInfo[] = [];
    for await (const connection of client.connections()) seen.push(connection);
    expect(seen).toEqual(ipvs.connectionList);
    ipvs.connectionList = [];
    for await (const connection of client.connections()) expect.unreachable(JSON.stringify(connection));
  });

  it("tell and change settings", async () => {
    await start();
    expect(await client.settings()).toEqual({ sloppy_tcp: 0, sync_threshold: "3 50" });
    await client.setSettings({ sloppy_tcp: 1 });
    expect(info.values.sloppy_tcp).toBe(1);
    await expect(client.setSettings({ nothing: 1 })).rejects.toMatchObject({ code: "ENOENT", errno: 2 });
    await expect(client.setSettings({ sloppy_tcp: 0, nothing: 1 })).rejects.toMatchObject({ code: "ENOENT" });
    expect(info.values.sloppy_tcp).toBe(1);
  });

  it("replace and change firewall marks", async () => {
    await start();
    await client.setMarks("table ip m { }\n", "replace");
    await client.setMarks("table ip n { }\n", "apply");
    expect(await client.marks()).toEqual({ rules: "table ip m { }\ntable ip n { }\n", count: 1 });
    await expect(client.setMarks("?", "apply")).rejects.toMatchObject({
      code: "EINVAL",
      message: expect.stringContaining("line 1"),
    });
    await client.setMarks("", "replace");
    expect(await client.marks()).toEqual({ rules: "", count: 0 });
  });

  it("show the director", async () => {
    await start();
    await client.addService(WEB);
    const status = await client.status();
    expect(status).toMatchObject({ pid: 42, ports: [{ name: "ext0" }], services: [{ scheduler: "wrr" }] });
    expect((await client.counters()).reasons).toEqual({ "no-route": 4 });
    expect(await client.neighbours()).toEqual(info.neighbours());
    expect(await client.routes()).toEqual(info.routes());
  });

  it("come with an OpenAPI document of every path", async () => {
    await start();
    const document = await client.call<{ openapi: string; paths: Record<string, unknown> }>("GET", "/v1/openapi.json");
    expect(document.openapi).toBe("3.1.0");
    expect(Object.keys(document.paths)).toContain("/v1/services/{service}/servers/{server}");
    expect(Object.keys(document.paths)).toContain("/v1/connections");
  });
});

describe("the socket", () => {
  it("is its owner's alone, or its group's", async () => {
    await start();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await server!.close();
    await start({ group: process.getgid!() });
    expect(statSync(path).mode & 0o777).toBe(0o660);
  });

  it("is gone when the server is", async () => {
    await start();
    await server!.close();
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  });

  it("is not taken from a director that answers", async () => {
    await start();
    const second = createControlServer({ ipvs, info, socketPath: path });
    await expect(second).rejects.toThrow(`socket in use: another director answers on ${path}`);
    expect(await client.services()).toEqual([]);
  });

  it("is taken over from a director that ended badly", async () => {
    const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    expect(() => execFileSync(process.execPath, ["-e", script])).toThrow();
    expect(statSync(path).isSocket()).toBe(true);
    await expect(client.services()).rejects.toThrow(/no director answers on .*: it ended and left its socket behind/);
    await start();
    expect(await client.services()).toEqual([]);
  });

  it("never replaces another file", async () => {
    writeFileSync(path, "precious");
    await expect(start()).rejects.toThrow(`${path} exists and is not a socket`);
  });

  it("needs a directory", async () => {
    const socketPath = join(directory, "nowhere", "wlvs.sock");
    await expect(start({ socketPath })).rejects.toThrow(`cannot open ${socketPath}: no such directory`);
    const long = join(directory, "x".repeat(100));
    await expect(start({ socketPath: long })).rejects.toThrow(
      `cannot open ${long}: a socket's path has at most 107 bytes`,
    );
  });

  it("needs a group that exists", async () => {
    await expect(start({ group: "no-such-group-here" })).rejects.toThrow("no such group: no-such-group-here");
  });
});

describe("a client without a director", () => {
  it("says so in one line", async () => {
    await expect(client.services()).rejects.toThrow(
      `no director is running here: ${path} does not exist (start one with 'wlvs run', or set WLVS_SOCKET)`,
    );
    writeFileSync(path, "");
    await expect(client.services()).rejects.toThrow(`${path} is not a director's socket`);
  });

  it("names the socket of the systemd unit's director, where that is", async () => {
    const folder = join(dirname(path), "wlvs");
    mkdirSync(folder);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(join(folder, "wlvs.sock"), resolve));
    await expect(client.services()).rejects.toThrow(
      `${path} does not exist (there is ${folder}/wlvs.sock: set WLVS_SOCKET)`,
    );
    await new Promise((resolve) => other.close(resolve));
    rmSync(folder, { recursive: true });
  });

  it("notices one that is something else", async () => {
    const other = createServer((_request, response) => response.writeHead(200).end("hello"));
    await new Promise<void>((resolve) => other.listen(path, resolve));
    await expect(client.services()).rejects.toThrow(`what answers on ${path} is no director (HTTP 200)`);
    await new Promise((resolve) => other.close(resolve));
  });

  it("notices one that goes away", async () => {
    const other = createNetServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => other.listen(path, resolve));
    await expect(client.services()).rejects.toThrow(`the director on ${path} ended while it was asked`);
    await new Promise((resolve) => other.close(resolve));
  });
});

describe("TCP", () => {
  function ask(
    port: number,
    method: string,
    target: string,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      const sent = request({ host: "127.0.0.1", port, method, path: target, headers, agent: false }, (response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (chunk: string) => {
          body += chunk;
        });
        response.on("end", () => resolve({ status: response.statusCode!, body }));
      });
      sent.on("error", reject).end();
    });
  }

  it("answers what is no HTTP in its own form", async () => {
    await start();
    const answer = await new Promise<string>((resolve, reject) => {
      let text = "";
      const socket = connect(path, () => socket.write("GET a HTTP/1.1\r\n\r\n"));
      socket.setEncoding("utf8").on("data", (more) => (text += more));
      socket.on("end", () => resolve(text)).on("error", reject);
    });
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(JSON.parse(answer.slice(answer.indexOf("\r\n\r\n")))).toEqual({
      error: { code: "ERR_LVS_REQUEST", errno: 0, message: "this is not HTTP" },
    });
  });

  it("reads, and does not write", async () => {
    const { tcp } = await start({ listen: { host: "127.0.0.1", port: 0, admin: false } });
    expect((await ask(tcp!.port, "GET", "/v1/status")).status).toBe(200);
    const refused = await ask(tcp!.port, "DELETE", "/v1/services");
    expect(refused.status).toBe(403);
    expect(JSON.parse(refused.body)).toEqual({
      error: {
        code: "ERR_LVS_READ_ONLY",
        errno: 0,
        message: "read-only here: use the control socket, or --listen-admin",
      },
    });
  });

  it("writes when told to", async () => {
    await ipvs.addService(WEB);
    const { tcp } = await start({ listen: { host: "127.0.0.1", port: 0, admin: true } });
    expect((await ask(tcp!.port, "DELETE", "/v1/services")).status).toBe(204);
    expect(ipvs.table.size).toBe(0);
  });

  it("refuses foreign pages and rebound names", async () => {
    const { tcp } = await start({ listen: { host: "127.0.0.1", port: 0, admin: true } });
    const { port } = tcp!;
    expect((await ask(port, "GET", "/v1/status", { host: "evil.example" })).status).toBe(403);
    expect((await ask(port, "GET", "/v1/status", { host: `localhost:${port}` })).status).toBe(200);
    expect((await ask(port, "GET", "/v1/status", { origin: "http://evil.example" })).status).toBe(403);
    expect((await ask(port, "GET", "/v1/status", { origin: `http://127.0.0.1:${port}` })).status).toBe(200);
  });

  it("answers in JSON to what it does not know", async () => {
    const { tcp } = await start({ listen: { host: "127.0.0.1", port: 0, admin: true } });
    const { status, body } = await ask(tcp!.port, "GET", "/v1/nothing");
    expect(status).toBe(404);
    expect(JSON.parse(body).error.code).toBe("ERR_LVS_NO_SUCH_PATH");
    // Found by the fuzzer: a zone is no part of a service's address, and was an internal error.
    for (const key of ["tcp:1.2.3:80", "udp:[fe80::1%25eth0]:3"]) {
      const bad = await ask(tcp!.port, "GET", `/v1/services/${key}`);
      expect(bad.status).toBe(400);
      expect(JSON.parse(bad.body).error).toMatchObject({ code: "EINVAL", errno: 22 });
    }
  });

  it("says when the place is taken", async () => {
    const other = createNetServer();
    const port = await new Promise<number>((resolve) => {
      other.listen(0, "127.0.0.1", () => resolve((other.address() as { port: number }).port));
    });
    const listen = { host: "127.0.0.1", port, admin: false };
    await expect(start({ listen })).rejects.toThrow(`cannot listen on 127.0.0.1:${port}: address in use`);
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
    await new Promise((resolve) => other.close(resolve));
  });
});
