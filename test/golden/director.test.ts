/** What the director does to frames, row by row. Expected frames are built independently of the core. */
import type { MemoryEngine, MemoryEngineConfig } from "../../host/engine/memory-engine.js";
import type { ServerConfig, ServiceConfig } from "../../host/ipvs/model.js";
import { createDirector, NET, server, service } from "../support/director.js";
import {
  address,
  arp,
  concat,
  ethernet,
  FLAG,
  fragments,
  icmp,
  icmp6,
  ip4,
  ip6,
  PROTOCOL,
  tcpPacket,
  udpPacket,
} from "../support/packets.js";
import { rows } from "./rows.js";

const C = NET.client.ip;
const V = NET.vip;
const [S1, S2] = [NET.servers[0].ip, NET.servers[1].ip];
const V6 = { client: "2001:db8:4::20", vip: "2001:db8:4::100", server: "2001:db8:2::11" };
const RST = FLAG.rst | FLAG.ack;
const SYNACK = FLAG.syn | FLAG.ack;
const TEXT = new TextEncoder().encode("twelve bytes");

/** A packet that an ICMP error quotes: rewritten but for its transport checksum, which nobody verifies there. */
function quoted(packet: Uint8Array, before: Uint8Array): Uint8Array {
  const copy = packet.slice();
  copy.set(before.subarray(26, 28), 26);
  return copy;
}

// Links: what the client and the servers send, and what reaches them.
const fromClient = (packet: Uint8Array, type?: number) => ethernet(NET.ext.mac, NET.client.mac, packet, type);
const toClient = (packet: Uint8Array, type?: number) => ethernet(NET.client.mac, NET.ext.mac, packet, type);
const fromServer = (packet: Uint8Array, n = 0) => ethernet(NET.int.mac, NET.servers[n]!.mac, packet);
const toServer = (packet: Uint8Array, n = 0) => ethernet(NET.servers[n]!.mac, NET.int.mac, packet);
const ends = (source: string, sourcePort: number, destination: string, destinationPort: number) => ({
  source,
  destination,
  sourcePort,
  destinationPort,
});

function director(
  list: ReadonlyArray<readonly [ServiceConfig, ...ServerConfig[]]>,
  config: Partial<MemoryEngineConfig> = {},
): () => Promise<MemoryEngine> {
  return async () => {
    const made = createDirector(config);
    for (const [one, ...servers] of list) {
      await made.ipvs.addService(one);
      for (const each of servers) await made.ipvs.addServer(one.id, each);
    }
    return made;
  };
}
const WEB = [service(80), server(S1, 8080)] as const;
const DNS = [service(53, "rr", "udp"), server(S1, 5353)] as const;
const TWO = [service(80), server(S1, 80), server(S2, 80)] as const;

const syn = (port = 4000, to = 80) => tcpPacket(ends(C, port, V, to));
/** A SYN as it reaches a server. */
const syned = (host: string, port = 4000, to = 80) => tcpPacket(ends(C, port, host, to), { ttl: 63 });

const query = udpPacket(ends(C, 4000, V, 53), TEXT);
const answer = udpPacket(ends(V, 53, C, 4000), TEXT, { ttl: 60 });
const queried = udpPacket(ends(C, 4000, S1, 5353), TEXT, { ttl: 63 });

rows("NAT", [
  {
    description: "TCP: addresses and ports both ways, TTL one less",
    setup: director([WEB]),
    steps: [
      { in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S1, 4000, 8080))]] },
      {
        in: ["int", fromServer(tcpPacket(ends(S1, 8080, C, 4000), { flags: SYNACK }))],
        out: [["ext", toClient(tcpPacket(ends(V, 80, C, 4000), { flags: SYNACK, ttl: 63 }))]],
      },
      {
        in: ["ext", fromClient(tcpPacket(ends(C, 4000, V, 80), { flags: FLAG.ack | FLAG.psh, data: TEXT }))],
        out: [
          ["int", toServer(tcpPacket(ends(C, 4000, S1, 8080), { flags: FLAG.ack | FLAG.psh, data: TEXT, ttl: 63 }))],
        ],
      },
    ],
  },
  {
    description: "UDP: addresses and ports both ways",
    setup: director([DNS]),
    steps: [
      { in: ["ext", fromClient(query)], out: [["int", toServer(queried)]] },
      {
        in: ["int", fromServer(udpPacket(ends(S1, 5353, C, 4000), TEXT))],
        out: [["ext", toClient(udpPacket(ends(V, 53, C, 4000), TEXT, { ttl: 63 }))]],
      },
    ],
  },
  {
    description: "tags stay on the frame",
    setup: director([WEB]),
    steps: [
      {
        in: ["ext", fromClient(concat(Uint8Array.of(0x20, 7, 8, 0), syn()), 0x8100)],
        out: [
          [
            "int",
            ethernet(
              NET.servers[0].mac,
              NET.int.mac,
              concat(Uint8Array.of(0x20, 7, 8, 0), syned(S1, 4000, 8080)),
              0x8100,
            ),
          ],
        ],
      },
    ],
  },
  {
    description: "an ICMP error of a server's router reaches the client as if it were about the service",
    setup: director([DNS]),
    steps: [
      { in: ["ext", fromClient(query)], out: [["int", toServer(queried)]] },
      {
        in: ["int", fromServer(ip4(S1, C, PROTOCOL.icmp, icmp(3, 3, new Uint8Array(4), queried)))],
        out: [
          [
            "ext",
            toClient(
              ip4(
                V,
                C,
                PROTOCOL.icmp,
                icmp(3, 3, new Uint8Array(4), quoted(udpPacket(ends(C, 4000, V, 53), TEXT, { ttl: 63 }), queried)),
                {
                  ttl: 63,
                },
              ),
            ),
          ],
        ],
      },
    ],
  },
  {
    description: "an ICMP error of the client's side reaches the server that it is about",
    setup: director([DNS]),
    steps: [
      { in: ["ext", fromClient(query)], out: [["int", toServer(queried)]] },
      {
        in: ["ext", fromClient(ip4("198.51.100.1", V, PROTOCOL.icmp, icmp(3, 1, new Uint8Array(4), answer)))],
        out: [
          [
            "int",
            toServer(
              ip4(
                "198.51.100.1",
                S1,
                PROTOCOL.icmp,
                icmp(3, 1, new Uint8Array(4), quoted(udpPacket(ends(S1, 5353, C, 4000), TEXT, { ttl: 60 }), answer)),
                { ttl: 63 },
              ),
            ),
          ],
        ],
      },
    ],
  },
  {
    description: "fragments go as they came, in the order of their offsets, both ways",
    setup: director([DNS]),
    steps: (() => {
      const data = Uint8Array.from({ length: 2000 }, (_, n) => n);
      const [a, b, c] = fragments(udpPacket(ends(C, 4000, V, 53), data, { dontFragment: false }), 800);
      const forth = fragments(udpPacket(ends(C, 4000, S1, 5353), data, { dontFragment: false, ttl: 63 }), 800);
      const [d, e, f] = fragments(udpPacket(ends(S1, 5353, C, 4000), data, { dontFragment: false }), 800);
      const back = fragments(udpPacket(ends(V, 53, C, 4000), data, { dontFragment: false, ttl: 63 }), 800);
      return [
        { in: ["ext", fromClient(b!)], out: [] },
        { in: ["ext", fromClient(a!)], out: [] },
        { in: ["ext", fromClient(c!)], out: forth.map((part) => ["int", toServer(part)] as const) },
        { in: ["int", fromServer(d!)], out: [] },
        { in: ["int", fromServer(e!)], out: [] },
        { in: ["int", fromServer(f!)], out: back.map((part) => ["ext", toClient(part)] as const) },
      ] as const;
    })(),
  },
  {
    description: "an all-ports service keeps the port",
    setup: director([[service(0, "rr", "tcp", { persistence: 300 }), server(S1, 0)]]),
    steps: [{ in: ["ext", fromClient(syn(4000, 8443))], out: [["int", toServer(syned(S1, 4000, 8443))]] }],
  },
  {
    description: "weights share as wrr does",
    setup: director([[service(80, "wrr"), server(S1, 80), server(S2, 80, "nat", { weight: 2 })]]),
    steps: [1, 0, 1, 1, 0, 1].map((n, at) => ({
      in: ["ext", fromClient(syn(4000 + at))] as const,
      out: [["int", toServer(syned([S1, S2][n]!, 4000 + at), n)]] as const,
    })),
  },
]);

rows("what does not go on", [
  {
    description: "a packet that does not fit: the sender is told the MTU",
    setup: director([WEB], {
      interfaces: [
        { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`] },
        { name: "int", mac: NET.int.mac, mtu: 1400, addresses: [`${NET.int.ip}/24`] },
      ],
    }),
    dropped: "mtu-exceeded",
    steps: (() => {
      const more = { flags: FLAG.ack, data: new Uint8Array(1460) };
      const big = tcpPacket(ends(C, 4000, V, 80), more);
      const told = icmp(
        3,
        4,
        Uint8Array.of(0, 0, 1400 >> 8, 1400 & 255),
        tcpPacket(ends(C, 4000, V, 80), { ...more, ttl: 63 }).subarray(0, 548),
      );
      return [
        { in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S1, 4000, 8080))]] },
        { in: ["ext", fromClient(big)], out: [["ext", toClient(own(V, C, told))]] },
      ] as const;
    })(),
  },
  {
    description: "a packet whose time is over, routed and for a service",
    setup: director([WEB]),
    steps: (() => {
      const routed = udpPacket(ends(C, 4000, S2, 9), TEXT, { ttl: 1 });
      const virtual = tcpPacket(ends(C, 4000, V, 80), { ttl: 1 });
      const over = (about: Uint8Array) => icmp(11, 0, new Uint8Array(4), about);
      return [
        { in: ["ext", fromClient(routed)], out: [["ext", toClient(own(NET.ext.ip, C, over(routed)))]] },
        { in: ["ext", fromClient(virtual)], out: [["ext", toClient(own(V, C, over(virtual)))]] },
      ] as const;
    })(),
  },
  {
    description: "nobody listens: a reset, port unreachable, an echo",
    setup: director([WEB]),
    steps: (() => {
      const datagram = udpPacket(ends(C, 4000, V, 9), TEXT);
      const echo = icmp(8, 0, Uint8Array.of(0x12, 0x34, 0, 1), TEXT);
      return [
        {
          in: ["ext", fromClient(syn(4000, 81))],
          out: [
            [
              "ext",
              toClient(
                tcpPacket(ends(V, 81, C, 4000), { flags: RST, sequence: 0, acknowledgement: 1001, window: 0, id: 0 }),
              ),
            ],
          ],
        },
        {
          in: ["ext", fromClient(datagram)],
          out: [["ext", toClient(own(V, C, icmp(3, 3, new Uint8Array(4), datagram)))]],
        },
        {
          in: ["ext", fromClient(ip4(C, V, PROTOCOL.icmp, echo))],
          out: [
            [
              "ext",
              toClient(
                ip4(V, C, PROTOCOL.icmp, icmp(0, 0, Uint8Array.of(0x12, 0x34, 0, 1), TEXT), { dontFragment: false }),
              ),
            ],
          ],
        },
      ] as const;
    })(),
  },
  {
    description: "a service without servers: port unreachable",
    setup: director([[service(80)]]),
    steps: [
      {
        in: ["ext", fromClient(syn())],
        out: [["ext", toClient(own(V, C, icmp(3, 3, new Uint8Array(4), syn())))]],
      },
    ],
  },
  {
    description: "the middle of a connection that nobody knows: a reset, unless sloppy_tcp",
    setup: director([WEB]),
    steps: (() => {
      const ack = tcpPacket(ends(C, 4000, V, 80), { flags: FLAG.ack, acknowledgement: 77 });
      return [
        {
          in: ["ext", fromClient(ack)],
          out: [
            ["ext", toClient(tcpPacket(ends(V, 80, C, 4000), { flags: FLAG.rst, sequence: 77, window: 0, id: 0 }))],
          ],
        },
        {
          change: (made: MemoryEngine) => made.control.setting("sloppy_tcp", "1"),
          in: ["ext", fromClient(ack)],
          out: [
            ["int", toServer(tcpPacket(ends(C, 4000, S1, 8080), { flags: FLAG.ack, acknowledgement: 77, ttl: 63 }))],
          ],
        },
      ] as const;
    })(),
  },
  {
    description: "no way there: network unreachable",
    setup: director([], { routes: [] }),
    dropped: "no-route",
    steps: (() => {
      const lost = udpPacket(ends(C, 4000, "203.0.113.9", 9), TEXT);
      return [
        {
          in: ["ext", fromClient(lost)],
          out: [["ext", toClient(own(NET.ext.ip, C, icmp(3, 0, new Uint8Array(4), lost)))]],
        },
      ] as const;
    })(),
  },
]);

/** ICMP of the director itself; what the kernel chooses freely is masked on both sides. */
function own(source: string, destination: string, message: Uint8Array): Uint8Array {
  return ip4(source, destination, PROTOCOL.icmp, message, { dontFragment: false, tos: 0xc0, id: 0 });
}

const asks = (target: string) => arp(1, NET.client, { mac: "00:00:00:00:00:00", ip: target });

rows("ARP", [
  {
    description: "its addresses and virtual ones are answered for, others are not",
    setup: director([
      [service(80, "rr", "tcp", { id: { family: 4, protocol: "tcp", address: "192.168.4.77", port: 80 } })],
    ]),
    steps: [
      ...[NET.ext.ip, V, "192.168.4.77", NET.int.ip].map((ip) => ({
        in: ["ext", ethernet("ff:ff:ff:ff:ff:ff", NET.client.mac, asks(ip), 0x0806)] as const,
        out: [["ext", toClient(arp(2, { mac: NET.ext.mac, ip }, NET.client), 0x0806)]] as const,
      })),
      { in: ["ext", ethernet("ff:ff:ff:ff:ff:ff", NET.client.mac, asks("192.168.4.99"), 0x0806)], out: [] },
    ],
  },
]);

rows("direct routing and tunnels", [
  {
    description: "DR: another MAC, the packet as it is",
    setup: director([[service(80), server(S1, 80, "dr")]]),
    steps: [
      {
        in: ["ext", fromClient(syn())],
        out: [["int", toServer(tcpPacket(ends(C, 4000, V, 80), { ttl: 63 }))]],
      },
    ],
  },
  {
    description: "IPIP: one header more",
    setup: director([
      [service(80), server(S1, 80, "tunnel", { tunnel: { type: "ipip", port: 0, checksum: "nocsum" } })],
    ]),
    steps: [
      {
        in: ["ext", fromClient(syn())],
        out: [
          [
            "int",
            toServer(ip4(NET.int.ip, S1, PROTOCOL.ipip, tcpPacket(ends(C, 4000, V, 80), { ttl: 63 }), { ttl: 63 })),
          ],
        ],
      },
    ],
  },
  {
    description: "GRE with a checksum",
    setup: director([[service(80), server(S1, 80, "tunnel", { tunnel: { type: "gre", port: 0, checksum: "csum" } })]]),
    steps: (() => {
      const inner = tcpPacket(ends(C, 4000, V, 80), { ttl: 63 });
      const header = Uint8Array.of(0x80, 0, 8, 0, 0, 0, 0, 0);
      let sum = 0;
      const whole = concat(header, inner);
      for (let at = 0; at < whole.length; at += 2) sum += whole[at]! * 256 + whole[at + 1]!;
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      header.set([(~sum >> 8) & 255, ~sum & 255], 4);
      return [
        {
          in: ["ext", fromClient(syn())],
          out: [["int", toServer(ip4(NET.int.ip, S1, PROTOCOL.gre, concat(header, inner), { ttl: 63 }))]],
        },
      ] as const;
    })(),
  },
  {
    description: "GUE",
    setup: director([
      [service(80), server(S1, 80, "tunnel", { tunnel: { type: "gue", port: 6080, checksum: "nocsum" } })],
    ]),
    steps: (() => {
      const inner = tcpPacket(ends(C, 4000, V, 80), { ttl: 63 });
      const length = 8 + 4 + inner.length;
      const header = Uint8Array.of(0, 0, 6080 >> 8, 6080 & 255, length >> 8, length & 255, 0, 0, 0, 4, 0, 0);
      return [
        {
          in: ["ext", fromClient(syn())],
          out: [["int", toServer(ip4(NET.int.ip, S1, PROTOCOL.udp, concat(header, inner), { ttl: 63 }))]],
        },
      ] as const;
    })(),
  },
]);

const six = (more: Partial<ServerConfig> = {}): (() => Promise<MemoryEngine>) =>
  director(
    [
      [
        service(80, "rr", "tcp", {
          id: { family: 6, protocol: "tcp", address: V6.vip, port: 80 },
          persistencePrefix: 128,
        }),
        server(V6.server, more.forwarding === "dr" ? 80 : 8080, more.forwarding ?? "nat"),
      ],
    ],
    {
      interfaces: [
        { name: "ext", mac: NET.ext.mac, addresses: ["2001:db8:4::133/64"] },
        { name: "int", mac: NET.int.mac, addresses: ["2001:db8:2::130/64"] },
      ],
      routes: [],
      neighbours: [
        { ip: V6.client, mac: NET.client.mac, dev: "ext" },
        { ip: V6.server, mac: NET.servers[0].mac, dev: "int" },
      ],
    },
  );

rows("IPv6", [
  {
    description: "NAT both ways",
    setup: six(),
    steps: [
      {
        in: ["ext", fromClient(tcpPacket(ends(V6.client, 4000, V6.vip, 80)))],
        out: [["int", toServer(tcpPacket(ends(V6.client, 4000, V6.server, 8080), { hops: 63 }))]],
      },
      {
        in: ["int", fromServer(tcpPacket(ends(V6.server, 8080, V6.client, 4000), { flags: SYNACK }))],
        out: [["ext", toClient(tcpPacket(ends(V6.vip, 80, V6.client, 4000), { flags: SYNACK, hops: 63 }))]],
      },
    ],
  },
  {
    description: "direct routing",
    setup: six({ forwarding: "dr" }),
    steps: [
      {
        in: ["ext", fromClient(tcpPacket(ends(V6.client, 4000, V6.vip, 80)))],
        out: [["int", toServer(tcpPacket(ends(V6.client, 4000, V6.vip, 80), { hops: 63 }))]],
      },
    ],
  },
  {
    description: "a question for a neighbour's address, an echo",
    setup: six(),
    steps: (() => {
      const group = "ff02::1:ff00:100";
      const ask = icmp6(
        V6.client,
        group,
        135,
        0,
        new Uint8Array(4),
        concat(address(V6.vip), Uint8Array.of(1, 1, 2, 0, 0, 0, 4, 0x14)),
      );
      const macOf = NET.ext.mac.split(":").map((part) => Number.parseInt(part, 16));
      const tell = icmp6(
        V6.vip,
        V6.client,
        136,
        0,
        Uint8Array.of(0xe0, 0, 0, 0),
        concat(address(V6.vip), Uint8Array.of(2, 1, ...macOf)),
      );
      const echo = (type: number, source: string, destination: string) =>
        ip6(source, destination, PROTOCOL.icmp6, icmp6(source, destination, type, 0, Uint8Array.of(1, 2, 0, 1), TEXT));
      return [
        {
          in: [
            "ext",
            ethernet("33:33:ff:00:01:00", NET.client.mac, ip6(V6.client, group, PROTOCOL.icmp6, ask, { hops: 255 })),
          ],
          out: [["ext", toClient(ip6(V6.vip, V6.client, PROTOCOL.icmp6, tell, { hops: 255 }))]],
        },
        {
          in: ["ext", fromClient(echo(128, V6.client, V6.vip))],
          out: [["ext", toClient(echo(129, V6.vip, V6.client))]],
        },
      ] as const;
    })(),
  },
]);

const tick = (port: number, flags: number) => tcpPacket(ends(C, port, V, 80), { flags });
const ticked = (host: string, port: number, flags: number) => tcpPacket(ends(C, port, host, 80), { flags, ttl: 63 });
const OTHER = { ...NET.client, ip: "192.168.4.21" };

rows("connections in time", [
  {
    description: "persistence holds a client to its server",
    setup: director([[service(80, "rr", "tcp", { persistence: 60 }), server(S1, 80), server(S2, 80)]]),
    steps: [
      { in: ["ext", fromClient(syn(4000))], out: [["int", toServer(syned(S2, 4000), 1)]] },
      { in: ["ext", fromClient(syn(4001))], out: [["int", toServer(syned(S2, 4001), 1)]] },
      {
        in: ["ext", fromClient(tcpPacket(ends(OTHER.ip, 4000, V, 80)))],
        out: [["int", toServer(tcpPacket(ends(OTHER.ip, 4000, S1, 80), { ttl: 63 }))]],
      },
      { in: ["ext", fromClient(syn(4002))], out: [["int", toServer(syned(S2, 4002), 1)]] },
    ],
  },
  {
    description: "a port used anew after the end of its connection is scheduled anew",
    setup: director([TWO]),
    steps: [
      { in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S2), 1)]] },
      {
        in: ["int", fromServer(tcpPacket(ends(S2, 80, C, 4000), { flags: SYNACK }), 1)],
        out: [["ext", toClient(tcpPacket(ends(V, 80, C, 4000), { flags: SYNACK, ttl: 63 }))]],
      },
      { in: ["ext", fromClient(tick(4000, FLAG.ack))], out: [["int", toServer(ticked(S2, 4000, FLAG.ack), 1)]] },
      {
        in: ["int", fromServer(tcpPacket(ends(S2, 80, C, 4000), { flags: FLAG.fin | FLAG.ack }), 1)],
        out: [["ext", toClient(tcpPacket(ends(V, 80, C, 4000), { flags: FLAG.fin | FLAG.ack, ttl: 63 }))]],
      },
      {
        in: ["ext", fromClient(tick(4000, FLAG.fin | FLAG.ack))],
        out: [["int", toServer(ticked(S2, 4000, FLAG.fin | FLAG.ack), 1)]],
      },
      { in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S1))]] },
    ],
  },
  {
    description: "with conn_reuse_mode 0 it stays with its server",
    setup: director([TWO], { settings: { conn_reuse_mode: 0 } }),
    steps: [
      { in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S2), 1)]] },
      {
        in: ["ext", fromClient(tick(4000, FLAG.rst))],
        out: [["int", toServer(ticked(S2, 4000, FLAG.rst), 1)]],
      },
      { in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S2), 1)]] },
    ],
  },
  {
    description: "a server that was removed: its connections are dropped, silently",
    setup: director([TWO]),
    dropped: "server-unavailable",
    steps: [
      { in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S2), 1)]] },
      {
        change: (made) => made.ipvs.removeServer(service(80).id, { family: 4, address: S2, port: 80 }),
        in: ["ext", fromClient(tick(4000, FLAG.ack))],
        out: [],
      },
      { in: ["ext", fromClient(syn(4001))], out: [["int", toServer(syned(S1, 4001))]] },
    ],
  },
  {
    description: "with expire_nodest_conn they end, and a packet of theirs is one of no connection",
    setup: director([TWO], { settings: { expire_nodest_conn: 1 } }),
    steps: [
      { in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S2), 1)]] },
      {
        change: (made) => made.ipvs.removeServer(service(80).id, { family: 4, address: S2, port: 80 }),
        in: ["ext", fromClient(tick(4000, FLAG.ack))],
        out: [["ext", toClient(tcpPacket(ends(V, 80, C, 4000), { flags: FLAG.rst, sequence: 0, window: 0, id: 0 }))]],
      },
      { at: 1000, in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S1))]] },
    ],
  },
  {
    description: "a connection that is half open ends with its time",
    setup: director([TWO]),
    steps: [
      { in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S2), 1)]] },
      { at: 59_000, in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S2), 1)]] },
      { at: 180_000, in: ["ext", fromClient(syn())], out: [["int", toServer(syned(S1))]] },
    ],
  },
]);
