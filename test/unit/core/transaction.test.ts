/** Transactions hold the data path: all or nothing, and quickly. */
import { describe, expect, it } from "vitest";
import { MemoryEngine } from "../../../host/engine/memory-engine.js";
import type { IpvsStep, ServerConfig, ServiceConfig } from "../../../host/ipvs/model.js";

const SERVICE = { family: 4, protocol: "tcp", address: "10.0.0.1", port: 80 } as const;
const config: ServiceConfig = {
  id: SERVICE,
  scheduler: "rr",
  persistencePrefix: 32,
  onePacket: false,
  schedulerFlags: 0,
};

function engine(): MemoryEngine {
  return new MemoryEngine({ interfaces: [{ name: "lan", addresses: ["10.0.0.1/8", "2001:db8::1/64"] }] });
}

function server(address: string, port: number, weight = 1): ServerConfig {
  const family = address.includes(":") ? 6 : 4;
  return { id: { family, address, port }, forwarding: "nat", weight, upperThreshold: 0, lowerThreshold: 0 };
}

describe("a transaction", () => {
  it("takes thousands of servers of one service in a moment", async () => {
    const { ipvs } = engine();
    const steps: IpvsStep[] = [{ do: "addService", service: config }];
    for (let n = 0; n < 2000; n++) {
      steps.push({ do: "addServer", service: SERVICE, server: server(`10.1.${n >> 8}.${n & 255}`, 80) });
    }
    const began = performance.now();
    await ipvs.transaction(steps);
    expect(performance.now() - began).toBeLessThan(2500);
    expect((await ipvs.service(SERVICE)).servers).toHaveLength(2000);
  });

  it.each([
    ["10.0.0.2", "10.0.0.3"],
    ["2001:db8::2", "2001:db8::3"],
    ["2001:db8::2", "2001:db8:0:0:1::2"],
  ])("that is refused puts back the very servers that it changed: %s beside %s", async (first, second) => {
    const { ipvs } = engine();
    const id = first.includes(":") ? ({ ...SERVICE, family: 6, address: "2001:db8::1" } as const) : SERVICE;
    await ipvs.addService({ ...config, id, persistencePrefix: id.family === 6 ? 128 : 32 });
    for (const [address, port, weight] of [
      [first, 80, 1],
      [first, 8080, 2],
      [second, 80, 3],
    ] as const) {
      await ipvs.addServer(id, server(address, port, weight));
    }
    const weights = async () =>
      (await ipvs.service(id)).servers.map((one) => `${one.id.address} ${one.id.port} ${one.weight}`).sort();
    const before = await weights();
    await expect(
      ipvs.transaction([
        { do: "editServer", service: id, server: server(first, 8080, 20) },
        { do: "removeServer", service: id, server: server(second, 80).id },
        { do: "editServer", service: id, server: server(second, 8080, 1) },
      ]),
    ).rejects.toMatchObject({ code: "ENOENT" });
    expect(await weights()).toEqual(before);
  });
});
