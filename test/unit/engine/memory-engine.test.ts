/** The director over memory ports: frames in, frames out, time as the test lets it pass. */
import { describe, expect, it } from "vitest";
import { IpvsError } from "../../../host/ipvs/model.js";
import { describe as decode } from "../../conformance/frames.js";
import { createDirector, NET, server, service } from "../../support/director.js";
import { arp, ethernet, FLAG, tcpPacket } from "../../support/packets.js";

const ENDS = { source: NET.client.ip, destination: NET.vip, sourcePort: 40000, destinationPort: 80 };
const syn = () => ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ENDS));

async function nat() {
  const director = createDirector();
  await director.ipvs.addService(service(80));
  await director.ipvs.addServer(service(80).id, server(NET.servers[0].ip, 8080));
  director.breathe();
  director.collect();
  return director;
}

describe("a director over memory ports", () => {
  it("sends a client's packet to the server and the answer back", async () => {
    const director = await nat();
    director.inject("ext", syn());
    const [out] = director.collect();
    expect(out!.dev).toBe("int");
    expect(decode(out!.frame)).toContain(`${NET.client.ip} > ${NET.servers[0].ip} ttl 63`);
    expect(decode(out!.frame)).not.toContain("bad");
    const answer = { source: NET.servers[0].ip, destination: NET.client.ip, sourcePort: 8080, destinationPort: 40000 };
    director.inject(
      "int",
      ethernet(NET.int.mac, NET.servers[0].mac, tcpPacket(answer, { flags: FLAG.syn | FLAG.ack })),
    );
    const [back] = director.collect();
    expect(back!.dev).toBe("ext");
    expect(decode(back!.frame)).toContain(`${NET.vip} > ${NET.client.ip}`);
  });

  it("lists what the tables hold, and lets it end in time", async () => {
    const director = await nat();
    director.inject("ext", syn());
    const [connection] = [...director.ipvs.tables.connections(director.clock.ticks())];
    expect(connection).toMatchObject({ state: "SYN_RECV", client: NET.client.ip, clientPort: 40000, serverPort: 8080 });
    expect((await director.ipvs.services())[0]).toMatchObject({
      scheduler: "rr",
      servers: [{ id: { address: NET.servers[0].ip, port: 8080 }, forwarding: "nat", weight: 1, active: 1 }],
    });
    director.advanceTo(director.clock.nowMs + 80_000);
    expect([...director.ipvs.tables.connections(director.clock.ticks())]).toEqual([]);
  });

  it("works where the ticks wrap", async () => {
    const director = createDirector({ start: 2 ** 32 - 250 });
    await director.ipvs.addService(service(80));
    await director.ipvs.addServer(service(80).id, server(NET.servers[0].ip, 8080));
    director.inject("ext", syn());
    director.advanceTo(10_000);
    expect([...director.ipvs.tables.connections(director.clock.ticks())]).toMatchObject([{ expires: 50 }]);
    director.advanceTo(80_000);
    expect([...director.ipvs.tables.connections(director.clock.ticks())]).toEqual([]);
  });

  it("asks for a neighbour while time passes, and sends what waited", async () => {
    const director = createDirector({ neighbours: [{ ...NET.client, dev: "ext" }] });
    await director.ipvs.addService(service(80));
    await director.ipvs.addServer(service(80).id, server(NET.servers[0].ip, 8080));
    director.collect();
    director.inject("ext", syn());
    director.advanceTo(2_500);
    const questions = director.collect();
    expect(questions.length).toBe(3);
    expect(questions.every(({ dev, frame }) => dev === "int" && decode(frame).includes("arp op 1"))).toBe(true);
    director.inject("int", ethernet(NET.int.mac, NET.servers[0].mac, arp(2, NET.servers[0], NET.int), 0x0806));
    expect(director.collect().map(({ frame }) => decode(frame))).toEqual([expect.stringContaining("tcp 40000>8080 S")]);
  });

  it("gives every frame one verdict", async () => {
    const director = await nat();
    const frames = [syn(), syn().subarray(0, 20), ethernet(NET.ext.mac, NET.client.mac, new Uint8Array(60), 0x88cc)];
    for (const frame of frames) director.inject("ext", frame);
    const { framesIn, verdicts } = director.ipvs.tables.counters();
    expect(framesIn).toBe(frames.length);
    expect(Object.values(verdicts).reduce((sum, count) => sum + count, 0)).toBe(framesIn);
  });

  it("counts a frame that its port does not take", async () => {
    const director = await nat();
    director.ports[1]!.refuse = 1;
    director.inject("ext", syn());
    expect(director.collect()).toEqual([]);
    expect([...director.ipvs.tables.ports()].find(({ number }) => number === 1)!.dropsOut).toBe(1);
  });
});

describe("a transaction", () => {
  it("leaves nothing behind when a step is refused", async () => {
    const director = await nat();
    const before = await director.ipvs.services();
    const udp = service(53, "wlc", "udp");
    await expect(
      director.ipvs.transaction([
        { do: "addService", service: udp },
        { do: "addServer", service: udp.id, server: server(NET.servers[1].ip, 53) },
        { do: "removeServer", service: service(80).id, server: server(NET.servers[0].ip, 8080).id },
        { do: "editService", service: service(80, "wrr") },
        { do: "removeService", id: service(81).id },
      ]),
    ).rejects.toThrow(IpvsError);
    expect(await director.ipvs.services()).toEqual(before);
    await director.ipvs.transaction([{ do: "flush" }, { do: "addService", service: udp }]);
    expect((await director.ipvs.services()).map(({ id }) => id)).toEqual([udp.id]);
  });

  it("refuses as the kernel does", async () => {
    const director = await nat();
    const { ipvs } = director;
    const errno = async (work: Promise<void>) => work.then(() => "none").catch((error: IpvsError) => error.code);
    expect(await errno(ipvs.addService(service(80, "nonsense")))).toBe("EEXIST");
    expect(await errno(ipvs.addService(service(81, "nonsense")))).toBe("ENOENT");
    expect(await errno(ipvs.editService(service(81)))).toBe("ESRCH");
    expect(await errno(ipvs.removeServer(service(80).id, server(NET.servers[2].ip, 1).id))).toBe("ENOENT");
    expect(await errno(ipvs.addServer(service(80).id, server(NET.servers[0].ip, 8080)))).toBe("EEXIST");
    expect(await errno(ipvs.addServer(service(80).id, server("224.0.0.1", 80)))).toBe("EINVAL");
    expect(await errno(ipvs.addServer(service(80).id, server("2001:db8::1", 80)))).toBe("EINVAL");
    const thresholds = { upperThreshold: 1, lowerThreshold: 2 };
    expect(await errno(ipvs.addServer(service(80).id, server(NET.servers[1].ip, 80, "nat", thresholds)))).toBe(
      "ERANGE",
    );
  });
});
