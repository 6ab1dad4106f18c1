/** The director of most tests: a client side, a server side, everybody's MAC known. */
import { MemoryEngine, type MemoryEngineConfig } from "../../host/engine/memory-engine.js";
import type { ForwardingName, ServerConfig, ServiceConfig, ServiceProtocol } from "../../host/ipvs/model.js";

export const NET = {
  client: { ip: "192.168.4.20", mac: "02:00:00:00:04:14" },
  gateway: { ip: "192.168.4.1", mac: "02:00:00:00:04:01" },
  ext: { ip: "192.168.4.133", mac: "02:00:00:00:04:85" },
  int: { ip: "192.168.2.130", mac: "02:00:00:00:02:82" },
  vip: "192.168.4.100",
  servers: [
    { ip: "192.168.2.11", mac: "02:00:00:00:02:0b" },
    { ip: "192.168.2.12", mac: "02:00:00:00:02:0c" },
    { ip: "192.168.2.13", mac: "02:00:00:00:02:0d" },
  ],
} as const;

/** Two ports, `ext` and `int`, permanent neighbours, no services; frames of its own start are gone. */
export function createDirector(config: Partial<MemoryEngineConfig> = {}): MemoryEngine {
  const engine = new MemoryEngine({
    interfaces: [
      { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`, `${NET.vip}/32`] },
      { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`] },
    ],
    routes: [{ to: "0.0.0.0/0", gateway: NET.gateway.ip, dev: "ext" }],
    neighbours: [
      { ...NET.client, dev: "ext" },
      { ...NET.gateway, dev: "ext" },
      ...NET.servers.map((server) => ({ ...server, dev: "int" })),
    ],
    ...config,
  });
  engine.collect();
  return engine;
}

export function service(
  port: number,
  scheduler = "rr",
  protocol: ServiceProtocol = "tcp",
  more: Partial<ServiceConfig> = {},
): ServiceConfig {
  return {
    id: { family: 4, protocol, address: NET.vip, port },
    scheduler,
    persistencePrefix: 32,
    onePacket: false,
    schedulerFlags: 0,
    ...more,
  };
}

export function server(
  address: string,
  port: number,
  forwarding: ForwardingName = "nat",
  more: Partial<ServerConfig> = {},
): ServerConfig {
  return {
    id: { family: address.includes(":") ? 6 : 4, address, port },
    forwarding,
    weight: 1,
    upperThreshold: 0,
    lowerThreshold: 0,
    ...more,
  };
}
