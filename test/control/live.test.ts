/** The page's side of the control server: its stream, its files, and who is kept away from them. */
import { mkdtempSync, rmSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { formatConnectionQuery, parseConnectionQuery } from "../../host/control/connection-query.js";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import { FakeInfo, FakeIpvs } from "./fake.js";

const WEB = {
  id: { family: 4, protocol: "tcp", address: "192.168.4.133", port: 80 },
  scheduler: "wrr",
  persistencePrefix: 32,
  onePacket: false,
  schedulerFlags: 0,
} as const;
const SERVER = {
  id: { family: 4, address: "192.168.2.128", port: 80 },
  forwarding: "nat",
  weight: 3,
  upperThreshold: 0,
  lowerThreshold: 0,
} as const;

let directory: string;
let ipvs: FakeIpvs;
let server: ControlServer;
let port: number;
const streams: IncomingMessage[] = [];

async function start(admin = true): Promise<void> {
  const listen = { host: "127.0.0.1", port: 0, admin };
  server = await createControlServer({ ipvs, info: new FakeInfo(), socketPath: join(directory, "s"), listen });
  port = server.tcp!.port;
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
  ipvs = new FakeIpvs();
  await ipvs.addService(WEB);
  await ipvs.addServer(WEB.id, SERVER);
});

afterEach(async () => {
  for (const stream of streams.splice(0)) stream.destroy();
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

function get(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path, headers, method, agent: false }, resolve).once("error", reject).end();
  });
}

async function body(response: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk;
  return text;
}

interface Event {
  readonly name: string;
  // biome-ignore lint/suspicious/noExplicitAny: what an event says is looked at piece by piece
  readonly data: any;
}

/** Events of a stream as they come. */
async function* watch(headers: Record<string, string> = {}): AsyncGenerator<Event> {
  const response = await get("/v1/live", headers);
  expect(response.statusCode).toBe(200);
  expect(response.headers["content-type"]).toBe("text/event-stream");
  streams.push(response);
  let rest = "";
  for await (const chunk of response.setEncoding("utf8")) {
    const blocks = (rest + chunk).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const [name, data] = block.split("\n");
      yield { name: name!.replace("event: ", ""), data: JSON.parse(data!.replace("data: ", "")) };
    }
  }
}

async function next(events: AsyncGenerator<Event>): Promise<Event> {
  return (await events.next()).value as Event;
}

describe("the stream", () => {
  it("tells all at first, then what is different, and a change before its second is over", async () => {
    await start();
    const events = watch();
    expect(await next(events)).toEqual({
      name: "hello",
      data: { version: "0.1.0", admin: true, intervalMs: 1000 },
    });
    const tables = await next(events);
    expect(tables).toMatchObject({ name: "tables", data: { services: [{ key: "tcp:192.168.4.133:80" }] } });
    expect(tables.data.services[0].servers).toMatchObject([{ key: "192.168.2.128:80", forwarding: "nat" }]);
    const first = await next(events);
    expect(first.data.rows).toEqual([
      [0, 3, 30, 20, 3000, 20000],
      [1, 3, 30, 20, 3000, 20000, 1, 2, 0, 3],
    ]);
    expect(first.data).toMatchObject({ totals: [3, 30, 20, 3000, 20000], counters: { reasons: { "no-route": 4 } } });
    expect(first.data.health).toHaveLength(1);
    const second = await next(events);
    expect(second).toMatchObject({ name: "tick", data: { rows: [] } });
    expect(second.data.health).toBeUndefined();
    const path = "/v1/services/tcp:192.168.4.133:80/servers/192.168.2.128:80";
    const began = performance.now();
    await new Promise<void>((resolve, reject) => {
      const headers = { "content-type": "application/json" };
      const call = request({ host: "127.0.0.1", port, path, method: "PUT", headers, agent: false }, (response) => {
        expect(response.statusCode).toBe(204);
        resolve();
      });
      call.once("error", reject).end(JSON.stringify({ ...SERVER, weight: 9 }));
    });
    expect((await next(events)).data.rows).toEqual([[1, 3, 30, 20, 3000, 20000, 1, 2, 0, 9]]);
    expect(performance.now() - began).toBeLessThan(900);
    // What comes or goes changes the outline.
    await ipvs.removeServer(WEB.id, SERVER.id);
    const outline = await next(events);
    expect(outline).toMatchObject({ name: "tables", data: { services: [{ servers: [] }] } });
    expect((await next(events)).data.rows).toHaveLength(1);
  });

  it("reads the tables once for all who watch, and not at all when nobody does", async () => {
    await start();
    let read = 0;
    const services = ipvs.services.bind(ipvs);
    ipvs.services = () => {
      read++;
      return services();
    };
    const all = [watch(), watch(), watch()];
    for (const events of all) for (let n = 0; n < 3; n++) await next(events);
    const before = read;
    expect(before).toBeLessThanOrEqual(3);
    await Promise.all(all.map(next));
    expect(read - before).toBe(1);
    for (const stream of streams.splice(0)) stream.destroy();
    await new Promise((resolve) => setTimeout(resolve, 300));
    const after = read;
    await new Promise((resolve) => setTimeout(resolve, 1300));
    expect(read).toBe(after);
  });

  it("is for so many and no more", async () => {
    await start();
    const all = Array.from({ length: 16 }, () => watch());
    await Promise.all(all.map(next));
    const refused = await get("/v1/live");
    expect(refused.statusCode).toBe(503);
    expect(JSON.parse(await body(refused)).error).toMatchObject({
      code: "ERR_LVS_BUSY",
      message: "16 pages watch already: close one of them",
    });
    streams.pop()!.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await next(watch())).name).toBe("hello");
  });
});

describe("the page's files", () => {
  it("come with a strict policy, and are not sent twice", async () => {
    await start(false);
    const page = await get("/");
    expect(page.headers["content-type"]).toBe("text/html; charset=utf-8");
    const policy = page.headers["content-security-policy"] as string;
    expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
    expect(policy).not.toMatch(/unsafe|\*|http|data:/);
    expect(page.headers).toMatchObject({ "x-content-type-options": "nosniff", "cache-control": "no-cache" });
    const html = await body(page);
    expect(html).not.toMatch(/ style=| on\w+=|<style|<script(?! type="module" src=)/);
    expect(html).not.toMatch(/https?:\/\//);
    for (const [, path] of html.matchAll(/(?:src|href)="(\/[^"]+)"/g)) {
      const asset = await get(path!);
      expect(asset.statusCode, path).toBe(200);
      asset.resume();
      const again = await get(path!, { "if-none-match": asset.headers.etag! });
      expect(again.statusCode, path).toBe(304);
      again.resume();
    }
  });
});

describe("whoever asks for too much on TCP", () => {
  it("does not keep others from the control socket, and holds no trace open by HEAD", async () => {
    await start();
    for (const path of ["/v1/trace", "/v1/events/connections", "/v1/live"]) {
      const head = await get(path, {}, "HEAD");
      expect(head.statusCode, path).toBe(404);
      head.resume();
    }
    const sockets = Array.from({ length: 140 }, () => connect(port, "127.0.0.1"));
    try {
      const closed = new Set<number>();
      for (const [at, socket] of sockets.entries()) socket.on("error", () => {}).on("close", () => closed.add(at));
      for (let wait = 0; closed.size < 12 && wait < 500; wait++) await new Promise((done) => setTimeout(done, 20));
      expect(closed.size).toBe(12);
      const remote = new RemoteIpvs(join(directory, "s"));
      expect(await remote.services()).toHaveLength(1);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });
});

describe("pages from elsewhere", () => {
  const cross = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors" };

  it("get nothing, change nothing, hold no stream open", async () => {
    await start();
    const attempts: Array<readonly [string, Record<string, string>, string]> = [
      ["/v1/live", cross, "GET"],
      ["/v1/live", { ...cross, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" }, "GET"],
      ["/v1/status", { ...cross, "sec-fetch-site": "same-site" }, "GET"],
      ["/v1/services", { origin: "http://evil.example" }, "DELETE"],
      ["/v1/services", { origin: "null" }, "DELETE"],
      ["/v1/zero", { ...cross, "sec-fetch-mode": "navigate" }, "POST"],
      ["/v1/services", { host: "evil.example" }, "GET"],
    ];
    for (const [path, headers, method] of attempts) {
      const response = await get(path, headers, method);
      expect(response.statusCode, `${method} ${path} ${JSON.stringify(headers)}`).toBe(403);
      response.resume();
    }
    expect(await ipvs.services()).toHaveLength(1);
    expect(ipvs.zeroed).toEqual([]);
  });

  it("may link here", async () => {
    await start();
    const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
    const response = await get("/", link);
    expect(response.statusCode).toBe(200);
    response.resume();
    const own = await get("/v1/status", { "sec-fetch-site": "same-origin", origin: `http://127.0.0.1:${port}` });
    expect(own.statusCode).toBe(200);
    own.resume();
  });
});

describe("a search among connections", () => {
  it("is written and read alike", () => {
    const queries = [
      { client: "192.0.2.7" },
      { client: "192.0.2.0/24", virtual: "192.0.2.1:80", server: ":8080" },
      { client: "2001:db8::/32", server: "[2001:db8::8]:80", state: "ESTABLISHED", protocol: "17", limit: "100" },
    ];
    for (const query of queries) {
      const written = formatConnectionQuery(parseConnectionQuery(query));
      expect(Object.fromEntries(new URLSearchParams(written))).toEqual(query);
    }
    expect(formatConnectionQuery(parseConnectionQuery({ client: "", state: "" }))).toBe("");
    expect(parseConnectionQuery({ protocol: "udp", state: "established" })).toEqual({
      protocol: 17,
      state: "ESTABLISHED",
    });
  });

  it("says what is wrong with one", () => {
    const bad: Array<readonly [Record<string, unknown>, string]> = [
      [{ client: "192.0.2" }, "client=192.0.2: write ADDRESS, ADDRESS/PREFIX"],
      [{ client: "192.0.2.1/33" }, "client's prefix=33: write a number from 0 to 32"],
      [{ server: ":70000" }, "server's port=70000: write a number from 0 to 65535"],
      [{ server: "/24" }, "server=/24: write ADDRESS"],
      [{ limit: "0" }, "limit=0: write a number from 1"],
      [{ protocol: "icmpx" }, "protocol=icmpx: write a number from 0 to 255"],
      [{ rip: "1" }, "no connection is searched by rip: client, virtual"],
      [{ state: ["a", "b"] }, "state is given twice"],
    ];
    for (const [query, message] of bad) expect(() => parseConnectionQuery(query), message).toThrow(message);
  });
});
