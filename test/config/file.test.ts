/** The configuration file: what it means, and that every mistake is told with its line. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { diffTables, stepText, tablesOf } from "../../host/config/diff.js";
import { ConfigError } from "../../host/config/document.js";
import { parseConfigFile } from "../../host/config/file.js";
import { loadRunConfig } from "../../host/config/load.js";
import type { Token } from "../../host/config/options.js";
import { jsonSchema } from "../../host/config/schema.js";
import { tuningOf } from "../../host/config/tuning.js";
import { mergeServices, servicesText } from "../../host/config/write.js";

const directory = mkdtempSync(join(tmpdir(), "wlvs-config-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function load(text: string, flags: readonly Token[] = []) {
  const path = join(directory, "wlvs.yaml");
  writeFileSync(path, text);
  const none = async () => [];
  return loadRunConfig([["config", path], ...flags], {
    env: {},
    rules: none,
    marks: async () => ({ file: "", text: "" }),
  });
}

function mistakes(text: string): string[] {
  try {
    parseConfigFile("f", text);
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n");
    throw error;
  }
  return [];
}

const WHOLE = `
ports:
  - {tap: ext0, ip: [192.0.2.1/24, "2001:db8::1/64"], gw: 192.0.2.254, mac: "02:00:00:00:00:01", bridge: br0}
  - {tun: t0, ip: 10.9.0.1/24, mtu: 1400}
check_netns: outside
checks: {interval: 1s, timeout: 500ms}
settings: {sloppy_tcp: true, net.ipv4.vs.drop_entry: 1}
timeouts: {tcp: 600}
routes:
  - {to: default, via: 192.0.2.253}
  - {to: 198.51.100.0/24, local: true, mark: 5}
neighbours:
  - {ip: 192.0.2.9, mac: "02:00:00:00:00:09", port: ext0}
workers: 2
profile: kernel
services:
  - vip: 192.0.2.80:80
    scheduler: sh
    flags: [sh-port, sh-fallback]
    persistent: true
    granularity: 24
    check: {type: http, path: /health, status: [200, 301-302], fall: 3}
    on_failure: inhibit
    slow_start: 1.5m
    sorry: {rip: 192.0.2.70:80}
    quorum: {weight: 2, hysteresis: 1, up: [/bin/true, up]}
    servers:
      - {rip: 192.0.2.71:8080, weight: 3}
      - {rip: 192.0.2.72:8080, mode: dr, check: false}
      - rip: 192.0.2.73
        upper: 100
        lower: 50
        check: [{type: tcp, port: 22}, {type: ping}]
  - vip: "[2001:db8::80]:53/udp"
    one_packet: true
    mode: tun
    servers: [{rip: "[2001:db8::90]", tunnel: {type: gue, port: 6080, checksum: csum}}]
  - mark: 7
    family: 6
`;

describe("a configuration file", () => {
  it("says what flags say, and more", async () => {
    // dr keeps the port.
    const config = await load(WHOLE.replace("192.0.2.72:8080, mode: dr", "192.0.2.72:80, mode: dr"));
    expect(config.ports.map(({ name, kind, addresses }) => [name, kind, addresses])).toEqual([
      ["ext0", "tap", ["192.0.2.1/24", "2001:db8::1/64"]],
      ["t0", "tun", ["10.9.0.1/24"]],
    ]);
    expect(config).toMatchObject({ workers: 2, profile: "kernel", timeouts: { tcp: 600, tcpFin: 0, udp: 0 } });
    expect(config.settings).toEqual([
      ["sloppy_tcp", "1"],
      ["net.ipv4.vs.drop_entry", "1"],
    ]);
    expect(config.routes).toMatchObject([
      { to: "0.0.0.0/0", gateway: "192.0.2.253" },
      { kind: "local", mark: 5 },
    ]);
    expect(config.neighbours).toMatchObject([{ address: "192.0.2.9", port: "ext0" }]);
    expect(diffTables([], tablesOf(config.steps.map(({ step }) => step))).map(stepText)).toEqual([
      "-A -t 192.0.2.80:80 -s sh -p 360 -M 255.255.255.0 -b sh-fallback,sh-port",
      "-a -t 192.0.2.80:80 -r 192.0.2.71:8080 -m -w 3",
      "-a -t 192.0.2.80:80 -r 192.0.2.72:80 -g -w 1",
      "-a -t 192.0.2.80:80 -r 192.0.2.73:80 -m -w 1 -x 100 -y 50",
      "-A -u [2001:db8::80]:53 -s wlc -o",
      "-a -u [2001:db8::80]:53 -r [2001:db8::90]:53 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum",
      "-A -f 7 -6 -s wlc",
    ]);
    expect(config.health).toMatchObject([
      {
        onFailure: "inhibit",
        slowStart: 90_000,
        quorum: 2,
        hysteresis: 1,
        quorumUp: ["/bin/true", "up"],
        sorry: { id: { address: "192.0.2.70", port: 80 } },
        servers: [
          {
            server: { address: "192.0.2.71" },
            checks: [
              {
                type: "http",
                path: "/health",
                status: [
                  [200, 200],
                  [301, 302],
                ],
                fall: 3,
                interval: 1000,
                timeout: 500,
                netns: "outside",
              },
            ],
          },
          {
            server: { address: "192.0.2.73" },
            checks: [
              { type: "tcp", port: 22 },
              { type: "ping", rise: 2 },
            ],
          },
        ],
      },
    ]);
  });

  it("gives way to flags", async () => {
    const config = await load("ports: [{tap: a, ip: 192.0.2.1/24}]\nworkers: 3\nspin: 7\n", [
      ["workers", "2"],
      ["tap", "b,ip=10.0.0.1/8"],
    ]);
    expect(config).toMatchObject({ workers: 2, spin: 7 });
    expect(config.ports.map(({ name }) => name)).toEqual(["a", "b"]);
  });

  it.each([
    [
      "services:\n  - vip: 192.0.2.1:80\n    shceduler: rr\n",
      "f:3: services[1]: no such key: shceduler: write one of vip, mark",
    ],
    ["workers: many\n", "f:1: workers: write a number from 1 to 32"],
    ["workers: 2\nworkers: 3\n", "f:2: Map keys must be unique"],
    ["ports:\n  - {tap: a\n", "f:3: Flow map"],
    ["ports:\n  - {tap: a, ip: 192.0.2.1}\n\n", ""],
    ["services:\n  - vip: 192.0.2.1\n", "f:2: services[1].vip: 192.0.2.1: the port is missing: write ADDR:PORT"],
    ["services:\n  - scheduler: rr\n", "f:2: services[1]: write vip: ADDR:PORT, or mark: N"],
    ["services:\n  - vip: [2001:db8::1]:80\n", "f:2: "],
    [
      "services:\n\n  - vip: 192.0.2.1:80\n    check: {type: htp}\n",
      "f:4: services[1].check.type: write type: one of tcp, http",
    ],
    [
      "services:\n  - vip: 192.0.2.1:80\n    check:\n      type: http\n      pth: /\n",
      "f:5: services[1].check: no such key: pth",
    ],
    [
      "services:\n  - vip: 192.0.2.1:80\n    check: [{type: tcp}, {type: udp, port: 0}]\n",
      "f:3: services[1].check[2].port: write a number from 1",
    ],
    [
      "services:\n  - vip: 192.0.2.1:80\n    check: {type: tcp, interval: 5x}\n",
      "f:3: services[1].check.interval: write a time as 500ms",
    ],
    ["services:\n  - vip: 192.0.2.1:80\n    panic: 50\n", "f:3: services[1].panic: needs check:"],
    [
      "services:\n  - mark: 5\n    check: {type: tcp}\n    servers: [{rip: 192.0.2.2}]\n",
      "f:3: services[1].check: 192.0.2.2 has no port",
    ],
    [
      "services:\n  - vip: 192.0.2.1:80\n    mode: dr\n    check: {type: passive}\n    servers: [{rip: 192.0.2.2}]\n",
      "f:4: services[1].check: 192.0.2.2 has mode dr: its answers go past the director; write a check that asks it, as tcp",
    ],
    [
      "services:\n  - vip: 192.0.2.1:80\n    servers: [{rip: 192.0.2.2, mode: tun, check: {type: passive}}]\n",
      "f:3: services[1].servers[1].check: 192.0.2.2 has mode tun: its answers go past",
    ],
    [
      "services:\n  - vip: 192.0.2.1:53/udp\n    check: {type: passive, unanswered: 1}\n    servers: [{rip: 192.0.2.2}]\n",
      "f:3: services[1].check: a datagram without an answer says nothing: leave unanswered away",
    ],
    [
      "services:\n  - vip: 192.0.2.1:9/sctp\n    check: {type: passive}\n    servers: [{rip: 192.0.2.2}]\n",
      "f:3: services[1].check: it is for TCP and UDP: write a check that asks the servers",
    ],
    [
      "services:\n  - vip: 192.0.2.1:80\n    check: {type: passive, refused: 0, unanswered: 0}\n    servers: [{rip: 192.0.2.2}]\n",
      "f:3: services[1].check: with refused: 0 and unanswered: 0 nothing is looked for",
    ],
    [
      "services:\n  - vip: 192.0.2.1:80\n    check: [{type: passive}, {type: passive}]\n    servers: [{rip: 192.0.2.2}]\n",
      "f:3: services[1].check: one passive check will do",
    ],
    [
      "services:\n  - vip: 192.0.2.1:80\n    check: {type: passive, timeout: 1s}\n    servers: [{rip: 192.0.2.2}]\n",
      "f:3: services[1].check: no such key: timeout: write one of type, refused, unanswered, window, hold",
    ],
    [
      "services:\n  - vip: 192.0.2.1:80\n    connections: drop\n",
      "f:3: services[1].connections: write one of keep, reset, reschedule",
    ],
    ["services:\n  - vip: 192.0.2.1:80\n    connections: keep\n", "f:3: services[1].connections: needs check:"],
    ["services:\n  - vip: 192.0.2.1:80\n  - vip: 192.0.2.1:80\n", "f:3: services[2]: the service is there twice"],
    [
      "services:\n  - vip: 192.0.2.1:80\n    servers:\n      - rip: 192.0.2.2:80\n      - rip: 192.0.2.2:80\n",
      "f:5: services[1].servers[2]: 192.0.2.2:80 is there twice",
    ],
    ["settings:\n  sloppy: 1\n", "f:2: settings.sloppy: no such setting in net.ipv4.vs"],
    ["just text\n", "f:1: write a mapping of ports"],
    ["syn_proxy: sometimes\n", "f:1: syn_proxy: write auto, on or off"],
    ["services:\n  - vip: 192.0.2.1:53/udp\n    syn_proxy: on\n", "it is for TCP, not for udp"],
    [
      "services:\n  - vip: 192.0.2.1:80\n    syn_proxy: on\n    mode: dr\n    servers: [{rip: 192.0.2.2}]\n",
      "needs mode nat or fullnat",
    ],
    ["services:\n  - vip: 192.0.2.1:80\n    limits: {rate: 0}\n", "write a number a second, as 100 or 100/s"],
    ["services:\n  - vip: 192.0.2.1:80\n    limits: {rate: 100/m}\n", "write a number a second, as 100 or 100/s"],
    ["services:\n  - vip: 192.0.2.1:80\n    limits: {per_source: {connections: -1}}\n", "write a number from 1"],
    ["services:\n  - vip: 192.0.2.1:80\n    syn_proxy: auto\n    limits: {rate: 50/s, per_source: {rate: 5}}\n", ""],
    ["workers: 1\nlisten: *here\n", "f:2: an alias (*name) whose &name is not there"],
    [`settings:\n  a: &a [1]\n  b: [${"*a, ".repeat(200)}]\n`, "f:3: too many aliases"],
  ])("%j is refused with %j", (text, message) => {
    const found = mistakes(text);
    if (message === "") expect(found).toEqual([]);
    else expect(found.join("\n")).toContain(message);
  });

  it("tells all mistakes at once, in the order of lines", () => {
    const found = mistakes("workers: 99\nspin: -1\nservices:\n  - vip: nowhere:80\n    panic: 200\n");
    expect(found.map((line) => line.split(":")[1])).toEqual(["1", "2", "4", "5"]);
  });

  it.each([
    [
      "ports:\n  - {tap: a, ip: 192.0.2.1/24}\n  - {tap: b, ip: 192.0.2.1}\n",
      /wlvs\.yaml:3: ports\[2\]: --tap b: ip: 192\.0\.2\.1 has no prefix/,
    ],
    [
      "ports:\n  - {tap: a, ip: 192.0.2.1/24}\n  - {tap: a}\n",
      /wlvs\.yaml:[23]: ports\[[12]\]: --tap a: the name is given twice/,
    ],
    [
      "ports: [{tap: a, ip: 192.0.2.1/24}]\nroutes:\n  - {to: default, via: 203.0.113.1}\n",
      /wlvs\.yaml:3: .*no port's subnet/,
    ],
  ])("knows the line of what only the whole shows: %j", async (text, message) => {
    await expect(load(text)).rejects.toThrow(message);
  });

  it("has a schema for editors that is published as it is", () => {
    const published = readFileSync(join(import.meta.dirname, "../../docs/wlvs.schema.json"), "utf8");
    expect(published === `${JSON.stringify(jsonSchema(), null, 2)}\n`, "npm run schema").toBe(true);
  });

  it("has a schema for editors", () => {
    const schema = jsonSchema() as { properties: Record<string, { items?: { properties: object } }> };
    expect(Object.keys(schema.properties)).toContain("services");
    expect(Object.keys(schema.properties.services!.items!.properties)).toContain("slow_start");
  });
});

describe("services as YAML", () => {
  it("are read again as they were written", async () => {
    const { steps } = await load(WHOLE.replace("192.0.2.72:8080, mode: dr", "192.0.2.72:80, mode: dr"));
    const tables = tablesOf(steps.map(({ step }) => step));
    const again = parseConfigFile("f", servicesText(tables));
    expect(diffTables(tables, tablesOf(again.steps.map(({ step }) => step)))).toEqual([]);
  });

  it("are merged into a file without touching the rest", () => {
    const text =
      "# mine\nworkers: 2\nservices:\n  # web\n  - vip: 192.0.2.1:80 # here\n    check: {type: tcp}\n    servers:\n      - {rip: 192.0.2.2:80} # one\n      - {rip: 192.0.2.3:80}\n";
    const said = tablesOf(parseConfigFile("f", text).steps.map(({ step }) => step));
    expect(mergeServices("f", text, said)).toEqual({ text, changes: [] });
    const [web] = said;
    const running = [{ ...web!, scheduler: "rr", servers: [{ ...web!.servers[0]!, weight: 5 }] }];
    const merged = mergeServices("f", text, running);
    expect(merged.text).toContain("# mine");
    expect(merged.text).toContain("# here");
    expect(merged.text).toContain("{rip: 192.0.2.2:80, weight: 5} # one");
    expect(merged.text).toContain("check: {type: tcp}");
    expect(merged.text).not.toContain("192.0.2.3");
    const again = tablesOf(parseConfigFile("f", merged.text).steps.map(({ step }) => step));
    expect(diffTables(again, running)).toEqual([]);
    expect(mergeServices("f", merged.text, []).text).toContain("workers: 2");
  });

  it.each([
    [
      "close braces",
      `ports:
  - {tap: ext0, ip: [192.168.4.133/24, "[2001:db8::1]/64"], bridge: br-ext, gw: [192.168.4.1, "2001:db8::99"]}
services:
  - vip: 192.0.2.1:80
    servers:
      - {rip: 192.0.2.2:80}
`,
      "      - {rip: 192.0.2.3:80, weight: 7}\n",
    ],
    [
      "wide braces and a list without indentation",
      `ports:
- { tap: ext0, ip: 192.168.4.133/24 }
services:
- vip: 192.0.2.1:80
  check: { type: http, path: "/a/page/whose/name/is/rather/long", host: www.example.com, contains: "all is well" }
  servers:
  - { rip: 192.0.2.2:80 }
`,
      "  - { rip: 192.0.2.3:80, weight: 7 }\n",
    ],
    [
      "no braces",
      `services:
  - vip: 192.0.2.1:80
    servers:
      - rip: 192.0.2.2:80
`,
      "      - rip: 192.0.2.3:80\n        weight: 7\n",
    ],
  ])("come into a file with %s: no line of it changes", (_, text, line) => {
    const [web] = tablesOf(parseConfigFile("f", text).steps.map(({ step }) => step));
    const [one] = web!.servers;
    const more = { ...one!, id: { ...one!.id, address: "192.0.2.3" }, weight: 7 };
    expect(mergeServices("f", text, [{ ...web!, servers: [one!, more] }]).text).toBe(`${text}${line}`);
  });

  it("come with timeouts and settings, where they are not as usual", () => {
    const usual = tuningOf({ settings: [] });
    const runs = tuningOf({ timeouts: { tcp: 600, tcpFin: 0, udp: 30 }, settings: [["sync_threshold", "4 60"]] });
    expect(servicesText([], usual, usual)).toBe("services: []\n");
    expect(servicesText([], runs, usual)).toBe(
      "services: []\ntimeouts:\n  tcp: 600\n  tcp_fin: 120\n  udp: 30\nsettings:\n  sync_threshold: 4 60\n",
    );
    const text = "# mine\nsyn_proxy: auto\nsettings: {net.ipv4.vs.drop_packet: 1} # lossy\n";
    const said = tuningOf({
      settings: [
        ["drop_packet", "1"],
        ["syn_proxy", "2"],
      ],
    });
    const now = tuningOf({ timeouts: { tcp: 600, tcpFin: 0, udp: 0 }, settings: [["syn_proxy", "1"]] });
    const merged = mergeServices("f", text, [], { said, runs: now });
    expect(merged.changes).toEqual(["--set 600 120 300", "net.ipv4.vs.drop_packet=0", "net.ipv4.vs.syn_proxy=1"]);
    expect(merged.text).toBe(
      "# mine\nsyn_proxy: on\nsettings: {net.ipv4.vs.drop_packet: 0} # lossy\n" +
        "timeouts:\n  tcp: 600\n  tcp_fin: 120\n  udp: 300\n",
    );
    expect(mergeServices("f", text, [], { said, runs: said })).toEqual({ text, changes: [] });
  });
});
