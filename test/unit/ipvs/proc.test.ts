/** The files of /proc/net/ip_vs*, as the kernel prints them. */
import { describe, expect, it } from "vitest";
import type { ConnectionInfo, ServiceConfig } from "../../../host/ipvs/model.js";
import { procText } from "../../../host/ipvs/proc.js";
import { FakeIpvs } from "../../control/fake.js";

const CONNECTION: ConnectionInfo = {
  family: 4,
  protocol: 6,
  state: "ESTABLISHED",
  expires: 899,
  client: "192.0.2.7",
  clientPort: 40000,
  virtual: "198.51.100.1",
  virtualPort: 80,
  server: "10.0.0.8",
  serverPort: 8080,
  serverFamily: 4,
  template: false,
};

async function tables(): Promise<FakeIpvs> {
  const ipvs = new FakeIpvs();
  const base = { scheduler: "rr", onePacket: false, schedulerFlags: 0 };
  const services: ServiceConfig[] = [
    { ...base, id: { family: 4, protocol: "tcp", address: "198.51.100.1", port: 80 }, persistencePrefix: 32 },
    {
      ...base,
      id: { family: 4, protocol: "udp", address: "198.51.100.1", port: 53 },
      onePacket: true,
      persistence: 60,
      persistencePrefix: 24,
      persistenceNetmask: "255.255.255.0",
    },
    { ...base, id: { family: 4, mark: 7 }, onePacket: true, persistencePrefix: 32 },
    {
      ...base,
      id: { family: 6, protocol: "tcp", address: "2001:db8::1", port: 443 },
      persistence: 100,
      persistencePrefix: 64,
    },
  ];
  for (const service of services) await ipvs.addService(service);
  const server = { weight: 10, upperThreshold: 0, lowerThreshold: 0 };
  await ipvs.addServer(services[0]!.id, {
    ...server,
    id: { family: 4, address: "10.0.0.8", port: 8080 },
    forwarding: "nat",
  });
  await ipvs.addServer(services[3]!.id, {
    ...server,
    id: { family: 6, address: "2001:db8::8", port: 443 },
    forwarding: "tunnel",
  });
  return ipvs;
}

describe("/proc/net", () => {
  it("ip_vs", async () => {
    expect(await procText("ip_vs", await tables())).toBe(
      [
        "IP Virtual Server version 1.2.1 (size=4096)",
        "Prot LocalAddress:Port Scheduler Flags",
        "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn",
        "TCP  C6336401:0050 rr  ",
        "  -> 0A000008:1F90      Masq    10     1          2         ",
        "UDP  C6336401:0035 rr ops  persistent 15000 FFFFFF00",
        "FWM  00000007 rr ops ",
        "TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:01BB rr persistent 25000 40000000",
        "  -> [2001:0db8:0000:0000:0000:0000:0000:0008]:01BB      Tunnel  10     1          2         ",
        "",
      ].join("\n"),
    );
  });

  it("ip_vs_stats", async () => {
    expect(await procText("ip_vs_stats", await tables())).toBe(
      [
        "   Total Incoming Outgoing         Incoming         Outgoing",
        "   Conns  Packets  Packets            Bytes            Bytes",
        "       3       1E       14              BB8             4E20",
        "",
        " Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s",
        "       1        A        8              3E8             1B58",
        "",
      ].join("\n"),
    );
  });

  it("ip_vs_conn and ip_vs_conn_sync", async () => {
    const ipvs = await tables();
    ipvs.connectionList = [
      CONNECTION,
      { ...CONNECTION, protocol: 0, state: "NONE", clientPort: 0, virtual: "0.0.0.7", virtualPort: 0, expires: 60 },
      {
        ...CONNECTION,
        family: 6,
        serverFamily: 6,
        client: "2001:db8::7",
        virtual: "2001:db8::1",
        server: "2001:db8::8",
        persistenceEngine: "sip",
        persistenceData: "call@example",
      },
    ];
    const wide = (last: number) => `2001:0db8:0000:0000:0000:0000:0000:000${last}`;
    expect(await procText("ip_vs_conn", ipvs)).toBe(
      [
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData",
        "TCP C0000207 9C40 C6336401 0050 0A000008 1F90 ESTABLISHED     899",
        "IP  C0000207 0000 00000007 0000 0A000008 1F90 NONE             60",
        `TCP ${wide(7)} 9C40 ${wide(1)} 0050 ${wide(8)} 1F90 ESTABLISHED     899 sip call@example`,
        "",
      ].join("\n"),
    );
    expect((await procText("ip_vs_conn_sync", ipvs)).split("\n")[1]).toBe(
      "TCP C0000207 9C40 C6336401 0050 0A000008 1F90 ESTABLISHED LOCAL      899",
    );
  });
});
