import { describe, expect, test } from "vitest";
import * as Service from "../../../assembly/layout/service.js";
import { type SchedulerName, Schedulers } from "../../support/schedulers.js";

/** Servers in order of adding (weights too), then clients and the places in that list where Linux 6.1 sent them. */
interface Row {
  readonly scheduler: SchedulerName;
  readonly servers: string[];
  readonly weights: number[];
  readonly virtual: string;
  readonly clients: [client: string, server: number][];
}

const ROWS: Row[] = [
  {
    scheduler: "sh",
    servers: ["192.168.2.11", "192.168.2.12", "192.168.2.13"],
    weights: [1, 1, 1],
    virtual: "192.168.4.100",
    clients: [
      ["172.16.205.154", 2],
      ["10.233.126.159", 1],
      ["198.51.100.15", 0],
      ["100.64.89.140", 2],
      ["10.8.188.15", 0],
      ["172.16.171.11", 1],
      ["10.105.221.80", 0],
    ],
  },
  {
    scheduler: "sh",
    servers: ["192.168.2.31", "192.168.2.32", "192.168.2.33", "192.168.2.34"],
    weights: [1, 2, 3, 4],
    virtual: "192.168.4.150",
    clients: [
      ["192.168.4.10", 3],
      ["10.134.185.66", 2],
      ["192.168.4.12", 3],
      ["192.168.4.13", 0],
      ["172.16.128.235", 3],
      ["198.51.100.174", 2],
      ["172.16.121.111", 0],
    ],
  },
  {
    scheduler: "mh",
    servers: ["192.168.2.11", "192.168.2.12", "192.168.2.13"],
    weights: [1, 1, 1],
    virtual: "192.168.4.100",
    clients: [
      ["10.228.146.225", 0],
      ["172.16.227.108", 0],
      ["172.16.178.50", 1],
      ["172.16.128.25", 2],
      ["192.168.4.15", 1],
      ["203.0.113.169", 2],
      ["10.205.24.135", 0],
    ],
  },
  {
    scheduler: "mh",
    servers: ["192.168.2.31", "192.168.2.32", "192.168.2.33", "192.168.2.34"],
    weights: [1, 2, 3, 4],
    virtual: "192.168.4.150",
    clients: [
      ["203.0.113.117", 1],
      ["192.168.4.14", 3],
      ["100.64.226.128", 3],
      ["192.168.4.17", 2],
      ["172.16.65.25", 2],
      ["192.168.4.19", 2],
    ],
  },
  {
    scheduler: "mh",
    servers: ["2001:db8:2:0:0:0:0:11", "2001:db8:2:0:0:0:0:12", "2001:db8:2:0:0:0:0:13"],
    weights: [1, 1, 1],
    virtual: "2001:db8:4:0:0:0:0:100",
    clients: [
      ["2001:db8:4:0:0:0:0:10", 2],
      ["2001:db8:4:0:0:0:0:11", 0],
      ["2001:db8:4d71:0:0:0:0:d2e0", 0],
      ["2001:db8:9b75:0:0:0:0:a771", 1],
      ["2001:db8:4:0:0:0:0:14", 1],
      ["2001:db8:2d5e:0:0:0:0:9f76", 2],
    ],
  },
  {
    scheduler: "sh",
    servers: ["2001:db8:2:0:0:0:0:11", "2001:db8:2:0:0:0:0:12", "2001:db8:2:0:0:0:0:13"],
    weights: [1, 1, 1],
    virtual: "2001:db8:4:0:0:0:0:100",
    clients: [
      ["2001:db8:7923:0:0:0:0:8a9a", 2],
      ["2001:db8:4:0:0:0:0:11", 0],
      ["2001:db8:93e2:0:0:0:0:86bc", 0],
      ["2001:db8:ef01:0:0:0:0:42b6", 1],
      ["2001:db8:887e:0:0:0:0:885e", 1],
    ],
  },
];

describe("hashing schedulers pick the very server that the kernel picks", () => {
  test.each(ROWS)("$scheduler, $weights, to $virtual", async ({ scheduler, servers, weights, virtual, clients }) => {
    const core = await Schedulers.create();
    const service = core.addService(scheduler, 0, virtual.includes(":") ? 6 : 4);
    const ids = servers.map((address, i) => core.addServer(service, address, 80, weights[i] ?? 1));
    const picked = clients.map(([client]) => ids.indexOf(core.pick(service, { client, virtual, clientPort: 4711 })));
    expect(picked).toEqual(clients.map(([, server]) => server));
  });

  test.each<SchedulerName>(["sh", "mh", "maglev"])("%s sends an ICMP error after the client's flow", async (name) => {
    const core = await Schedulers.create();
    const service = core.addService(name, Service.FLAG_SCHEDULER_2);
    for (let i = 1; i <= 9; i++) core.addServer(service, `10.0.0.${i}`, 80, 1);
    for (let i = 0; i < 200; i++) {
      const flow = { client: `172.16.${i}.7`, clientPort: 1000 + i, virtual: "192.0.2.1" };
      expect(core.pick(service, { ...flow, reversed: true })).toBe(core.pick(service, flow));
    }
  });

  test.each<SchedulerName>(["sh", "dh", "mh", "maglev"])(
    "%s with nobody, or nobody able, picks nobody",
    async (name) => {
      const core = await Schedulers.create();
      const service = core.addService(name);
      const flow = { client: "10.1.2.3", virtual: "10.3.2.1" };
      expect(core.pick(service, flow)).toBe(0);
      const server = core.addServer(service, "10.0.0.1", 80, 0);
      expect(core.pick(service, flow)).toBe(0);
      core.editServer(service, server, 3);
      expect(core.pick(service, flow)).toBe(server);
      core.setOverloaded(server, true);
      expect(core.pick(service, flow)).toBe(0);
      core.removeServer(service, server);
      expect(core.pick(service, flow)).toBe(0);
    },
  );
});
