/** Which packets get which mark: each mark has a service, and each service a server of its own. */
import { beforeAll, describe, expect, it } from "vitest";
import type { MemoryEngine } from "../../host/engine/memory-engine.js";
import { Marks } from "../../host/marks/marks.js";
import { createDirector, NET, server } from "../support/director.js";
import { ethernet, ip4, PROTOCOL, tcp, tcpPacket, udpPacket } from "../support/packets.js";

const CLIENT6 = "2001:db8:4::20";
const DIRECTOR6 = "2001:db8:4::85";
const SERVERS6 = ["2001:db8:2::b", "2001:db8:2::c", "2001:db8:2::d"];

interface Packet {
  readonly protocol?: "tcp" | "udp";
  readonly source?: string;
  readonly destination?: string;
  readonly port?: number;
  readonly dev?: "ext" | "int";
}

let engine: MemoryEngine;
let marks: Marks;
let sourcePort = 20_000;

beforeAll(async () => {
  engine = createDirector({
    interfaces: [
      { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`, `${NET.vip}/32`, `${DIRECTOR6}/64`] },
      { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`, "2001:db8:2::82/64"] },
    ],
    routes: [
      { to: "0.0.0.0/0", gateway: NET.gateway.ip, dev: "ext" },
      { to: "10.90.0.0/16", kind: "local" },
      { to: "10.91.0.0/16", kind: "local", mark: 2 },
      { to: "2001:db8:90::/48", kind: "local" },
    ],
    neighbours: [
      { ...NET.client, dev: "ext" },
      { ...NET.gateway, dev: "ext" },
      { ip: CLIENT6, mac: NET.client.mac, dev: "ext" },
      ...NET.servers.map((each) => ({ ...each, dev: "int" })),
      ...SERVERS6.map((ip, n) => ({ ip, mac: NET.servers[n]!.mac, dev: "int" })),
    ],
  });
  marks = new Marks(engine.control, ["ext", "int"]);
  for (const [n, { ip }] of NET.servers.entries()) {
    for (const family of [4, 6] as const) {
      const id = { family, mark: n + 1 };
      const prefix = family === 4 ? 32 : 128;
      const config = { id, scheduler: "rr", persistencePrefix: prefix, onePacket: false, schedulerFlags: 0 };
      await engine.ipvs.addService(config);
      await engine.ipvs.addServer(id, server(family === 4 ? ip : SERVERS6[n]!, 0));
    }
  }
});

/** The mark that a packet got, by the server that it came to; 0 when it came to none. */
function markOf({ protocol = "tcp", source, destination = NET.vip, port = 80, dev = "ext" }: Packet): number {
  const wide = destination.includes(":");
  const ends = {
    source: source ?? (wide ? CLIENT6 : NET.client.ip),
    destination,
    sourcePort: sourcePort++,
    destinationPort: port,
  };
  const packet = protocol === "tcp" ? tcpPacket(ends) : udpPacket(ends);
  const [to, from] = dev === "ext" ? [NET.ext.mac, NET.client.mac] : [NET.int.mac, NET.servers[0].mac];
  engine.inject(dev, ethernet(to, from, packet));
  const sent = engine.collect().filter((frame) => frame.dev === "int");
  const mac = sent.length === 1 ? Buffer.from(sent[0]!.frame.subarray(0, 6)).toString("hex") : "";
  return NET.servers.findIndex((each) => each.mac.replaceAll(":", "") === mac) + 1;
}

const CHAIN = "type filter hook prerouting priority -150;";
const rows: ReadonlyArray<readonly [rules: string, packet: Packet, mark: number]> = [
  ["ip daddr 192.168.4.100 meta mark set 1", {}, 1],
  ["ip daddr 192.168.4.101 meta mark set 1", {}, 0],
  ["ip daddr != 192.168.4.101 meta mark set 1", {}, 1],
  ["ip daddr { 192.168.4.99, 192.168.4.100 } tcp dport { 80, 443 } meta mark set 2", { port: 443 }, 2],
  ["ip daddr { 192.168.4.99, 192.168.4.100 } tcp dport { 80, 443 } meta mark set 2", { port: 8080 }, 0],
  ["ip daddr 192.168.4.96-192.168.4.103 tcp dport 8000-8080 meta mark set 2", { port: 8080 }, 2],
  ["ip daddr 192.168.4.96/30 meta mark set 2", {}, 0],
  ["ip daddr 192.168.4.96/29 meta mark set 2", {}, 2],
  ["ip saddr 192.168.4.0/24 meta mark set 3", { source: "203.0.113.9" }, 0],
  ["udp dport 53 meta mark set 1", { protocol: "udp", port: 53 }, 1],
  ["tcp dport 53 meta mark set 1", { protocol: "udp", port: 53 }, 0],
  ["tcp dport != 80 meta mark set 1", { protocol: "udp", port: 53 }, 0],
  ["meta l4proto { tcp, udp } th dport 53 meta mark set 1", { protocol: "udp", port: 53 }, 1],
  ["ip protocol != tcp meta mark set 1", { protocol: "udp" }, 1],
  ['iifname "ext" meta mark set 1', {}, 1],
  ['iifname "int" meta mark set 1', {}, 0],
  ['iifname != "nobody" meta mark set 1', {}, 1],
  ["iifname e* meta mark set 1", {}, 1],
  // A later rule has the last word, unless an earlier one ended the chain.
  ["meta mark set 1; tcp dport 80 meta mark set 2", {}, 2],
  ["meta mark set 1 accept; tcp dport 80 meta mark set 2", {}, 1],
  ["meta mark set 2; meta mark 2 meta mark set meta mark xor 1", {}, 3],
  ["meta mark set 0xf3; meta mark set meta mark and 0xf", {}, 3],
  ["meta mark set 6; meta mark set meta mark xor 5 or 4 and 0", {}, 3],
  ["ip daddr . tcp dport { 192.168.4.100 . 443, 192.168.4.101 . 80 } meta mark set 1", {}, 0],
  ["ip daddr . tcp dport { 192.168.4.100 . 443, 192.168.4.100 . 80 } meta mark set 1", {}, 1],
  ["ip daddr . tcp dport != { 192.168.4.100 . 443, 192.168.4.101 . 80 } meta mark set 1", {}, 1],
  ["meta mark set tcp dport map { 80 : 1, 443 : 2 }", { port: 443 }, 2],
  ["meta mark set 3; meta mark set tcp dport map { 80 : 1, 443 : 2 }", { port: 22 }, 3],
  ["tcp dport vmap { 80 : accept, 443 : continue }; meta mark set 2", { port: 80 }, 0],
  ["tcp dport vmap { 80 : accept, 443 : continue }; meta mark set 2", { port: 443 }, 2],
  ["jump web; meta mark set meta mark or 2", {}, 3],
  ["goto web; meta mark set 2", {}, 1],
  ["ip6 daddr 2001:db8:4::85 tcp dport 80 meta mark set 2", { destination: DIRECTOR6 }, 2],
  ["ip6 saddr 2001:db8:4::/64 meta mark set 3", { destination: DIRECTOR6 }, 3],
  ["ip6 saddr != { 2001:db8:4::1-2001:db8:4::ff } meta mark set 3", { destination: DIRECTOR6 }, 0],
  ["ip6 nexthdr tcp meta mark set 1", { destination: DIRECTOR6 }, 1],
  ["meta nfproto ipv4 meta mark set 1", { destination: DIRECTOR6 }, 0],
  ["ip dscp cs0 meta mark set 1", {}, 1],
  // Local routes: whole networks are the director's, some for one mark only.
  ["meta mark set 1", { destination: "10.90.7.9", port: 4242 }, 1],
  ["meta mark set 1", { destination: "10.91.7.9" }, 0],
  ["meta mark set 2", { destination: "10.91.7.9" }, 2],
  ["meta mark set 1", { destination: "2001:db8:90:1::9" }, 1],
  ["meta mark set 1", { destination: "2001:db8:91:1::9" }, 0],
];

describe("firewall marks", () => {
  it.each(rows)("%s: %o gets %i", (rules, packet, mark) => {
    const web = "chain web { tcp dport 80 meta mark set 1; return; meta mark set 3; };";
    marks.replace(`table inet m { ${web} chain p { ${CHAIN} ${rules}; }; }`);
    expect(markOf(packet)).toBe(mark);
  });

  it("chains run by priority, whatever their order in the text", () => {
    marks.replace(`table ip a { chain p { type filter hook prerouting priority 10; meta mark set 1; }; }
      table inet b { chain p { type filter hook prerouting priority -10; meta mark set 2 accept; }; }
      table ip6 c { chain p { type filter hook prerouting priority 20; meta mark set 3; }; }`);
    expect(markOf({})).toBe(1);
    expect(markOf({ destination: DIRECTOR6 })).toBe(3);
  });

  it("a set of thousands is searched", () => {
    const set = Array.from({ length: 3000 }, (_, n) => `10.${n >> 8}.${n & 255}.0/25`);
    marks.replace(`table ip m { chain p { ${CHAIN} ip saddr { ${set.join(", ")} } meta mark set 1; }; }`);
    expect(markOf({ source: "10.0.0.1" })).toBe(1);
    expect(markOf({ source: "10.0.0.128" })).toBe(0);
    expect(markOf({ source: "10.11.183.127" })).toBe(1);
    expect(markOf({ source: "10.11.184.1" })).toBe(0);
  });

  it("rules that do not fit leave the others in use", () => {
    marks.replace(`table ip m { chain p { ${CHAIN} meta mark set 3; }; }`);
    const set = Array.from({ length: 9000 }, (_, n) => `10.${n >> 8}.${n & 255}.0/25`);
    const text = `table ip m { chain p { ${CHAIN} ip saddr { ${set.join(", ")} } meta mark set 1; }; }`;
    expect(() => marks.replace(text)).toThrow(/ENOSPC/);
    expect(() => marks.replace("nonsense")).toThrow("mark rules, line 1: expected table");
    expect(markOf({})).toBe(3);
    marks.apply("flush ruleset");
    expect(markOf({})).toBe(0);
    expect(marks.text()).toBe("");
  });

  it("a fragment without ports fits no port", () => {
    marks.replace(`table ip m { chain p { ${CHAIN} tcp dport 80 meta mark set 1; }; }`);
    const ends = { source: NET.client.ip, destination: NET.vip, sourcePort: sourcePort++, destinationPort: 80 };
    const segment = tcp(ends, { data: new Uint8Array(1024) });
    const options = { dontFragment: false, id: 77 };
    const first = ip4(ends.source, ends.destination, PROTOCOL.tcp, segment.subarray(0, 800), {
      ...options,
      moreFragments: true,
    });
    const second = ip4(ends.source, ends.destination, PROTOCOL.tcp, segment.subarray(800), { ...options, offset: 800 });
    // The whole has the mark of its first fragment, in whatever order they come.
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, second));
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, first));
    expect(engine.collect().filter(({ dev }) => dev === "int").length).toBeGreaterThan(0);
  });
});

describe("cache_bypass", () => {
  it("lets packets of a mark service without servers through to where they want to go", async () => {
    await engine.ipvs.removeServer({ family: 4, mark: 2 }, server(NET.servers[1].ip, 0).id);
    engine.control.setting("cache_bypass", "1");
    marks.replace(`table ip m { chain p { ${CHAIN} meta mark set 2; }; }`);
    const ends = { source: NET.client.ip, destination: "10.91.7.9", sourcePort: sourcePort++, destinationPort: 80 };
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends)));
    const [sent] = engine.collect();
    expect(Buffer.from(sent!.frame.subarray(0, 6)).toString("hex")).toBe(NET.gateway.mac.replaceAll(":", ""));
    const listed = [];
    for await (const each of engine.ipvs.connections()) if (each.virtual === "10.91.7.9") listed.push(each);
    expect(listed.filter(({ clientPort }) => clientPort === ends.sourcePort)).toMatchObject([
      { server: "0.0.0.0", serverPort: 0, state: "SYN_RECV" },
    ]);
    // Its own address is no place to go on to.
    engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket({ ...ends, destination: "10.90.7.9" })));
    const answer = engine.collect();
    expect(answer.map(({ dev }) => dev)).toEqual(["ext"]);
    expect(answer[0]!.frame[14 + 9]).toBe(PROTOCOL.icmp);
  });
});
