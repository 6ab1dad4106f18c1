/** Searches in the table of a real core: what is found is what a look at every connection finds. */
import { describe, expect, it } from "vitest";
import { parseConnectionQuery } from "../../host/control/connection-query.js";
import type { ConnectionInfo } from "../../host/ipvs/model.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { ethernet, FLAG, tcpPacket, udpPacket } from "../support/packets.js";

async function listed(connections: AsyncIterable<ConnectionInfo>): Promise<ConnectionInfo[]> {
  const found: ConnectionInfo[] = [];
  for await (const one of connections) found.push(one);
  return found;
}

describe("connections of a director", () => {
  it("are found by client, virtual address, server, state and protocol", async () => {
    const engine = createDirector();
    const { ipvs } = engine;
    const V6 = { client: "2001:db8:4::20", vip: "2001:db8:4::100", server: "2001:db8:2::11" };
    for (const [port, protocol] of [
      [80, "tcp"],
      [53, "udp"],
    ] as const) {
      await ipvs.addService(service(port, "rr", protocol));
      for (const { ip } of NET.servers) await ipvs.addServer(service(port, "rr", protocol).id, server(ip, port));
    }
    const wide = {
      ...service(80),
      persistencePrefix: 128,
      id: { ...service(80).id, family: 6 as const, address: V6.vip },
    };
    await ipvs.addService(wide);
    await ipvs.addServer(wide.id, server(V6.server, 80));
    const send = (packet: Uint8Array, type?: number) =>
      engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, packet, type));
    for (let n = 0; n < 40; n++) {
      const from = `192.168.4.${20 + (n % 5)}`;
      const ends = { source: from, destination: NET.vip, sourcePort: 2000 + n };
      send(tcpPacket({ ...ends, destinationPort: 80 }, { flags: FLAG.syn }));
      send(udpPacket({ ...ends, destinationPort: 53 }));
      const v6 = {
        source: `2001:db8:4::${(n % 3) + 1}`,
        destination: V6.vip,
        sourcePort: 2000 + n,
        destinationPort: 80,
      };
      send(tcpPacket(v6, { flags: FLAG.syn }), 0x86dd);
    }
    engine.collect();
    const all = await listed(ipvs.connections());
    expect(all).toHaveLength(120);
    const cases: Array<readonly [Record<string, string>, (one: ConnectionInfo) => boolean]> = [
      [{ client: "192.168.4.21" }, ({ client }) => client === "192.168.4.21"],
      [{ client: "192.168.4.20/30" }, ({ client }) => /^192\.168\.4\.2[0-3]$/.test(client)],
      [{ client: "0.0.0.0/0" }, ({ family }) => family === 4],
      [{ client: "2001:db8:4::2" }, ({ client }) => client === "2001:db8:4::2"],
      [{ client: "2001:db8:4::/127" }, ({ client }) => client === "2001:db8:4::1"],
      [{ virtual: `${NET.vip}:53` }, ({ virtualPort, family }) => virtualPort === 53 && family === 4],
      [{ virtual: `[${V6.vip}]:80`, client: ":2001" }, (one) => one.virtual === V6.vip && one.clientPort === 2001],
      [
        { server: NET.servers[1].ip, protocol: "udp" },
        (one) => one.server === NET.servers[1].ip && one.protocol === 17,
      ],
      [{ server: `[${V6.server}]:80` }, (one) => one.server === V6.server],
      [{ state: "SYN_RECV" }, ({ state }) => state === "SYN_RECV"],
      [{ state: "UDP" }, ({ state }) => state === "UDP"],
    ];
    for (const [query, fits] of cases) {
      const found = await listed(ipvs.connections(parseConnectionQuery(query)));
      expect(found.length, JSON.stringify(query)).toBeGreaterThan(0);
      expect(found, JSON.stringify(query)).toEqual(all.filter(fits));
    }
    expect(await listed(ipvs.connections({ limit: 7 }))).toEqual(all.slice(0, 7));
    expect(await listed(ipvs.connections(parseConnectionQuery({ client: "10.0.0.0/8" })))).toEqual([]);
  });
});
