/** Gratuitous ARP and advertisements: at start, and when a virtual address comes. */
import { describe, expect, it } from "vitest";
import { describe as decode } from "../conformance/frames.js";
import { createDirector, NET, service } from "../support/director.js";

const frames = (engine: ReturnType<typeof createDirector>) =>
  engine.collect().map(({ dev, frame }) => `${dev} ${decode(frame)}`);

describe("announcements", () => {
  it("go out for every new address, three times a second apart", async () => {
    const engine = createDirector({ settings: { announce: 1 } });
    engine.collect();
    await engine.ipvs.addService({
      ...service(80),
      id: { family: 4, protocol: "tcp", address: "192.168.4.77", port: 80 },
    });
    const asked = (sent: string[]) => sent.filter((line) => line.includes("192.168.4.77"));
    const all: string[] = [];
    for (let second = 0; second < 5; second++) {
      engine.advanceTo(engine.clock.nowMs + 1000);
      all.push(...asked(frames(engine)));
    }
    expect(all).toHaveLength(3);
    expect(new Set(all)).toEqual(
      new Set([`ext ${NET.ext.mac}>ff:ff:ff:ff:ff:ff arp op 1 192.168.4.77 is ${NET.ext.mac}, target 192.168.4.77`]),
    );
  });
});
