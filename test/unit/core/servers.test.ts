/** Servers that are removed and come back. */
import { expect, it } from "vitest";
import type { MemoryEngine } from "../../../host/engine/memory-engine.js";
import { createDirector, NET, server, service } from "../../support/director.js";
import { ethernet, tcpPacket } from "../../support/packets.js";

const { id } = service(80);
const real = server(NET.servers[0].ip, 80);

async function counted(engine: MemoryEngine): Promise<number> {
  const [only] = await engine.ipvs.services();
  return Number(only!.servers[0]!.stats.connections);
}

async function start(): Promise<MemoryEngine> {
  const engine = createDirector();
  await engine.ipvs.addService(service(80));
  await engine.ipvs.addServer(id, real);
  const ends = { source: NET.client.ip, destination: NET.vip, sourcePort: 4000, destinationPort: 80 };
  engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends)));
  expect(await counted(engine)).toBe(1);
  return engine;
}

it("a server that comes back to its service goes on counting", async () => {
  const engine = await start();
  await engine.ipvs.removeServer(id, real.id);
  await engine.ipvs.addServer(id, real);
  expect(await counted(engine)).toBe(1);
});

it("a server that comes back to a service made anew counts from zero", async () => {
  const engine = await start();
  await engine.ipvs.removeServer(id, real.id);
  await engine.ipvs.removeService(id);
  await engine.ipvs.addService(service(80));
  await engine.ipvs.addServer(id, real);
  expect(await counted(engine)).toBe(0);
});
