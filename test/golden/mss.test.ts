/** MSS clamping, and answers of servers that share the virtual address. */
import { describe, expect, it } from "vitest";
import { describe as decode } from "../conformance/frames.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { ethernet, FLAG, tcpPacket } from "../support/packets.js";

const REAL = NET.servers[0];
const TO = { source: NET.client.ip, destination: NET.vip, sourcePort: 40000, destinationPort: 80 };
const BACK = { source: NET.vip, destination: NET.client.ip, sourcePort: 80, destinationPort: 40000 };
const MSS = (value: number) => Uint8Array.of(2, 4, value >> 8, value & 255);

async function director(forwarding: "tunnel" | "dr", settings: Record<string, number>) {
  const engine = createDirector({
    settings: { forward_shared: 1, mss_clamp: 1, ...settings },
    interfaces: [
      { name: "ext", mac: NET.ext.mac, addresses: [`${NET.ext.ip}/24`] },
      { name: "int", mac: NET.int.mac, addresses: [`${NET.int.ip}/24`] },
    ],
  });
  await engine.ipvs.addService(service(80));
  const tunnel = forwarding === "tunnel" ? ({ type: "gue", port: 6080, checksum: "nocsum" } as const) : undefined;
  await engine.ipvs.addServer(service(80).id, server(REAL.ip, 80, forwarding, { tunnel }));
  engine.inject("ext", ethernet(NET.ext.mac, NET.client.mac, tcpPacket(TO, { options: MSS(1460) })));
  // A client's own MSS bounds what does not go through the tunnel.
  expect(decode(engine.collect().at(-1)!.frame)).toContain("opts 020405b4");
  return (options: Uint8Array, flags: number = FLAG.syn | FLAG.ack) => {
    engine.inject("int", ethernet(NET.int.mac, REAL.mac, tcpPacket(BACK, { flags, options })));
    const sent = engine.collect();
    return sent.length === 0 ? "" : `${sent[0]!.dev} ${decode(sent[0]!.frame)}`;
  };
}

describe("answers that pass by", () => {
  it("promise no more than fits the tunnel", async () => {
    const answer = await director("tunnel", {});
    // 1500 - (20 + 8 + 4) - 40
    const clamped = answer(MSS(1460));
    expect(clamped).toContain(`ext ${NET.ext.mac}>${NET.client.mac} ${NET.vip} > ${NET.client.ip} ttl 63`);
    expect(clamped).toMatch(/opts 02040594$/);
    // At an odd place among the options.
    expect(answer(Uint8Array.of(1, 2, 4, 5, 0xb4, 1, 1, 0))).toMatch(/opts 0102040594010100$/);
    expect(answer(MSS(1400))).toMatch(/opts 02040578$/);
    expect(answer(MSS(1460), FLAG.ack)).toMatch(/opts 020405b4$/);
    // Options that end too early are left as they are.
    expect(answer(Uint8Array.of(3, 9, 2, 4))).toMatch(/opts 03090204$/);
    expect(answer(Uint8Array.of(3, 0, 2, 4))).toMatch(/opts 03000204$/);
  });

  it("stay as they are without mss_clamp, and with direct routing", async () => {
    expect((await director("tunnel", { mss_clamp: 0 }))(MSS(1460))).toMatch(/opts 020405b4$/);
    expect((await director("dr", {}))(MSS(1460))).toMatch(/opts 020405b4$/);
  });

  it("are dropped without forward_shared, as the kernel does", async () => {
    expect((await director("tunnel", { forward_shared: 0 }))(MSS(1460))).toBe("");
  });
});
