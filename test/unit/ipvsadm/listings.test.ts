import { describe, expect, test } from "vitest";
import { put } from "../../../host/cli/put.js";
import { runIpvsadm } from "../../../host/ipvs/command.js";
import { formatConnection, formatDaemon, formatServices, largeNumber } from "../../../host/ipvs/format.js";
import type { ConnectionInfo, ServerInfo, ServiceInfo } from "../../../host/ipvs/model.js";
import { FileNames } from "../../../host/ipvs/names.js";
import { numericPlace } from "../../../host/ipvs/place-text.js";
import { formatRules } from "../../../host/ipvs/save.js";
import { SlowReader } from "../../support/cli.js";
import { NO_RATES, NO_STATS, TablesModel } from "./tables-model.js";

const service: ServiceInfo = {
  id: { family: 4, protocol: "tcp", address: "192.168.4.133", port: 80 },
  scheduler: "wrr",
  persistencePrefix: 32,
  onePacket: false,
  schedulerFlags: 0,
  stats: { connections: 6, inPackets: 9, outPackets: 123456789, inBytes: 105128520, outBytes: 98765432101234 },
  rates: { cps: 1, inPps: 5041, outPps: 0, inBps: 7561547, outBps: 0 },
  servers: [],
};

const server: ServerInfo = {
  id: { family: 4, address: "192.168.2.11", port: 80 },
  forwarding: "nat",
  weight: 1,
  upperThreshold: 100,
  lowerThreshold: 50,
  active: 3,
  inactive: 4,
  persistent: 5,
  stats: NO_STATS,
  rates: NO_RATES,
};

const connection: ConnectionInfo = {
  family: 4,
  protocol: 6,
  state: "ESTABLISHED",
  expires: 897,
  client: "10.0.5.5",
  clientPort: 3005,
  virtual: "192.168.4.133",
  virtualPort: 443,
  server: "192.168.2.11",
  serverPort: 443,
  serverFamily: 4,
  template: false,
};

const line = (changes: Partial<ConnectionInfo>, persistenceData = false) =>
  formatConnection({ ...connection, ...changes }, persistenceData, numericPlace);

describe("numbers", () => {
  test.each([
    [0, "        0"],
    [99999999, " 99999999"],
    [100000000, "  100000K"],
    [999999999, "  999999K"],
    [1000000000, "    1000M"],
    [99999999999, "   99999M"],
    [100000000000, "     100G"],
    [99999999999999, "   99999G"],
    [100000000000000, "     100T"],
  ])("%d fits into its column", (value, text) => expect(largeNumber(value, false)).toBe(text));

  test("an exact one takes the room that it needs", () => {
    expect(largeNumber(105128520, true)).toBe(" 105128520");
    expect(largeNumber(12345678, true)).toBe(" 12345678");
  });
});

describe("services", () => {
  const list = (format: "stats" | "rate" | "plain", exact = false) =>
    [...formatServices([service], { format, exact, sort: true }, numericPlace)].join("").split("\n")[2];

  test("counters", () => {
    expect(list("stats")).toBe("TCP  192.168.4.133:80                    6        9  123456K  105128K   98765G");
    expect(list("stats", true)).toBe(
      "TCP  192.168.4.133:80                    6        9 123456789 105128520 98765432101234",
    );
    expect(list("rate")).toBe("TCP  192.168.4.133:80                    1     5041        0  7561547        0");
  });

  test("fullnat and local servers", () => {
    const servers = [
      { ...server, forwarding: "fullnat" as const },
      { ...server, id: { ...server.id, port: 81 }, forwarding: "local" as const },
    ];
    const options = { format: "plain", exact: false, sort: true } as const;
    expect(
      [...formatServices([{ ...service, servers }], options, numericPlace)].join("").split("\n").slice(3, 5),
    ).toEqual([
      "  -> 192.168.2.11:80              FullNAT 1      3          4         ",
      "  -> 192.168.2.11:81              Local   1      3          4         ",
    ]);
  });

  test("no order: what the C library makes of addresses more than half of all apart", () => {
    const at = (address: string) => ({ ...service, id: { ...service.id, address } as typeof service.id });
    const services = ["1.2.0.3", "224.0.0.1", "192.168.4.150"].map(at);
    const text = [...formatServices(services, { format: "plain", exact: false, sort: true }, numericPlace)].join("");
    expect(text.match(/^TCP {2}\S+/gm)).toEqual(["TCP  192.168.4.150:80", "TCP  224.0.0.1:80", "TCP  1.2.0.3:80"]);
  });
});

describe("saved rules", () => {
  test("thresholds are lost, as ipvsadm loses them, unless all is asked for", () => {
    const services = [{ ...service, servers: [{ ...server, forwarding: "fullnat" as const }] }];
    expect([...formatRules(services)].join("")).toBe(
      "-A -t 192.168.4.133:80 -s wrr\n-a -t 192.168.4.133:80 -r 192.168.2.11:80 --fullnat -w 1\n",
    );
    expect([...formatRules(services, numericPlace, { complete: true })].join("")).toBe(
      "-A -t 192.168.4.133:80 -s wrr\n-a -t 192.168.4.133:80 -r 192.168.2.11:80 --fullnat -w 1 -x 100 -y 50\n",
    );
  });

  test("a mark of more than 31 bits can be read back", () => {
    expect([...formatRules([{ ...service, id: { family: 6, mark: 0xffffffff } }])].join("")).toBe(
      "-A -f 4294967295 -6 -s wrr\n",
    );
  });
});

describe("connections", () => {
  test.each<[string, Partial<ConnectionInfo>]>([
    ["TCP 14:57  ESTABLISHED 10.0.5.5:3005      192.168.4.133:443  192.168.2.11:443\n", {}],
    [
      "UDP 00:05  UDP         10.0.5.5:3005      192.168.4.133:443  192.168.2.11:443\n",
      { protocol: 17, state: "UDP", expires: 5 },
    ],
    [
      "TCP 1666:39 NONE        10.0.5.5:0         192.168.4.133:443  192.168.2.11:443\n",
      { state: "NONE", expires: 99999, clientPort: 0 },
    ],
    [
      "IP  00:59  NONE        10.0.5.5:0         192.168.4.133:443  192.168.2.11:443\n",
      { protocol: 0, state: "NONE", expires: 59, clientPort: 0 },
    ],
    [
      "TCP 14:57  ESTABLISHED [2001:db8:180::8de2]:4321 [2001:db8:4::150]:80 192.168.2.11:443\n",
      { family: 6, client: "2001:db8:180::8de2", clientPort: 4321, virtual: "2001:db8:4::150", virtualPort: 80 },
    ],
  ])("%s", (text, changes) => expect(line(changes)).toBe(text));

  test("data of a persistence engine", () => {
    const sip = { protocol: 17, persistenceEngine: "sip", persistenceData: "abc@host", serverPort: 5060 };
    expect(line(sip, true)).toBe(
      "UDP 14:57  ESTABLISHED 10.0.5.5:3005      192.168.4.133:443  192.168.2.11:5060 sip                abc@host\n",
    );
    expect(line(sip)).toBe("UDP 14:57  ESTABLISHED 10.0.5.5:3005      192.168.4.133:443  192.168.2.11:5060\n");
  });

  test("by name, cut where there is no more room", async () => {
    const names = new FileNames(new URL("./etc", import.meta.url).pathname);
    const tables = new TablesModel();
    tables.connectionList = [{ ...connection, client: "10.9.0.3", virtual: "10.9.0.1" }];
    let text = "";
    const io = { stdin: async () => "", stdout: (part: string) => void (text += part), stderr: () => {}, names };
    expect(await runIpvsadm(["-Lc"], tables, io)).toBe(0);
    expect(text.split("\n")[2]).toBe(
      "TCP 14:57  ESTABLISHED a-very-long-hostname.with.a.very.long.domain.example.org:30 nine:https         192.168.2.11:https",
    );
  });
});

test("daemons show what is known of them", () => {
  expect(formatDaemon({ role: "backup", interface: "int", syncId: 7 })).toBe(
    "backup sync daemon (mcast=int, syncid=7)\n",
  );
  expect(
    formatDaemon({
      role: "master",
      interface: "ext",
      syncId: 0,
      maxLength: 1472,
      group: "224.0.0.81",
      port: 8848,
      ttl: 1,
    }),
  ).toBe("master sync daemon (mcast=ext, syncid=0, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n");
});

test.each([["-Ln"], ["-Sn"]])("%s of many services is written no faster than it is read", async (command) => {
  const tables = new TablesModel();
  for (let port = 1; port <= 1000; port++) {
    await tables.addService({ ...service, id: { family: 4, protocol: "tcp", address: "192.0.2.1", port } });
    for (const end of [1, 2, 3]) {
      const id = { family: 4, address: `192.0.2.${end}`, port } as const;
      await tables.addServer({ family: 4, protocol: "tcp", address: "192.0.2.1", port }, { ...server, id });
    }
  }
  const reader = new SlowReader();
  const io = { stdin: async () => "", stdout: (text: string) => put(reader, text), stderr: () => {} };
  expect(await runIpvsadm([command], tables, io)).toBe(0);
  expect(reader.text.match(/192\.0\.2\.3/g)).toHaveLength(1000);
  expect(reader.early).toBe(0);
  expect(reader.pieces).toBeGreaterThan(2);
});
