/** What the page says about frames, against frames that the core takes and makes, and those that a lab's trace told of. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { ForwardingName } from "../../host/ipvs/model.js";
import { arithmetic, compare, type Frame, fold, parseFrame } from "../../host/page/frame.js";
import { explain } from "../../host/page/steps.js";
import type { TraceRecord } from "../../host/trace/model.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { ethernet, FLAG, tcpPacket, udpPacket } from "../support/packets.js";

const S = NET.servers[0];
const TO = { source: NET.client.ip, destination: NET.vip, sourcePort: 1234, destinationPort: 80 };
const FRAMES = join(import.meta.dirname, "../page/frames");

const parse = (bytes: Uint8Array): Frame => parseFrame(Buffer.from(bytes).toString("hex"), true);
const value = (frame: Frame, layer: string, name: string) =>
  frame.fields.find((field) => field.layer === layer && field.name === name)?.value;

/** Before and after a director that forwards like that. */
async function through(
  forwarding: ForwardingName,
  packet: Uint8Array,
  protocol: "tcp" | "udp" = "tcp",
  port = 8080,
): Promise<readonly [Frame, Frame]> {
  const director = createDirector();
  const web = service(80, "rr", protocol);
  await director.ipvs.addService(web);
  const tunnel = forwarding === "tunnel" ? { tunnel: { type: "ipip", port: 0, checksum: "nocsum" } as const } : {};
  await director.ipvs.addServer(web.id, server(S.ip, port, forwarding, tunnel));
  const frame = ethernet(NET.ext.mac, NET.client.mac, packet);
  director.inject("ext", frame);
  const out = director.collect().find((one) => one.dev === "int")!;
  return [parse(frame), parse(out.frame)];
}

const changes = (before: Frame, after: Frame) =>
  compare(before, after)
    .filter((row) => row.changes)
    .map(({ layer, name }) => `${layer} ${name}`);

describe("frames through a director", () => {
  it("change in NAT where the page says, and the sums follow from the changed words", async () => {
    const [before, after] = await through("nat", tcpPacket(TO, { flags: FLAG.syn }));
    expect(before).toMatchObject({ source: TO.source, destination: TO.destination, flags: "SYN", protocol: "TCP" });
    expect(changes(before, after)).toEqual([
      "Ethernet destination",
      "Ethernet source",
      "IP TTL",
      "IP checksum",
      "IP destination",
      "TCP destination port",
      "TCP checksum",
    ]);
    expect(value(after, "Ethernet", "destination")).toBe(S.mac);
    expect(value(after, "IP", "destination")).toBe(S.ip);
    for (const layer of ["IP", "TCP"]) {
      expect(before.sums.find((sum) => sum.layer === layer)?.state).toBe("correct");
      expect(after.sums.find((sum) => sum.layer === layer)?.state).toBe("correct");
      expect(arithmetic(before, after, layer)).toMatchObject({ agrees: true });
    }
    expect(arithmetic(before, after, "TCP")!.lines.join("\n")).toContain("destination port, after");
  });

  it("do so with UDP and full NAT, too", async () => {
    const data = new TextEncoder().encode("odd");
    const [before, after] = await through("nat", udpPacket(TO, data), "udp");
    expect(arithmetic(before, after, "UDP")).toMatchObject({ agrees: true });
    const full = await through("fullnat", tcpPacket(TO, { flags: FLAG.syn }));
    expect(changes(...full)).toContain("IP source");
    expect(arithmetic(full[0], full[1], "TCP")).toMatchObject({ agrees: true });
  });

  it("tell a wrong sum, and an arithmetic that does not lead to what left", async () => {
    const packet = tcpPacket(TO, { flags: FLAG.syn });
    packet[20 + 16]! ^= 0xff;
    const [before, after] = await through("nat", packet);
    expect(before.sums.find(({ layer }) => layer === "TCP")?.state).toBe("wrong");
    expect(after.sums.find(({ layer }) => layer === "TCP")?.state).toBe("wrong");
    // As bad as it came: the increment is right all the same.
    expect(arithmetic(before, after, "TCP")).toMatchObject({ agrees: true });
    const other = { ...after, sums: after.sums.map((sum) => ({ ...sum, field: sum.field ^ 0x0101 })) };
    expect(arithmetic(before, other, "TCP")).toMatchObject({ agrees: false });
  });

  it("leave addresses and ports as they are in direct routing, and get a header in front in a tunnel", async () => {
    const direct = await through("dr", tcpPacket(TO, { flags: FLAG.syn }), "tcp", 80);
    expect(changes(...direct).filter((name) => !/^Ethernet|TTL|IP checksum/.test(name))).toEqual([]);
    const [before, after] = await through("tunnel", tcpPacket(TO, { flags: FLAG.syn }), "tcp", 80);
    expect(value(after, "Outer IP", "destination")).toBe(S.ip);
    expect(value(after, "IP", "destination")).toBe(NET.vip);
    expect(after.sums.find(({ layer }) => layer === "Outer IP")?.state).toBe("correct");
    expect(compare(before, after).filter(({ layer }) => layer === "Outer IP").length).toBe(7);
  });

  it("that end anywhere are read as far as they go", () => {
    const whole = ethernet(NET.ext.mac, NET.client.mac, tcpPacket(TO, { data: new Uint8Array(9) }));
    for (let length = 0; length <= whole.length; length++) {
      const frame = parse(whole.subarray(0, length));
      const cut = frame.sums.find(({ layer }) => layer === "TCP");
      if (cut !== undefined) expect(cut.state).toBe(length === whole.length ? "correct" : "cut");
    }
  });

  it("of IPv6 have addresses as RFC 5952 writes them", () => {
    const ends = { source: "2001:db8::1", destination: "2001:db8:0:1:0:0:0:1", sourcePort: 1, destinationPort: 2 };
    const frame = parse(ethernet(NET.ext.mac, NET.client.mac, tcpPacket(ends), 0x86dd));
    expect(frame).toMatchObject({ source: "2001:db8::1", destination: "2001:db8:0:1::1" });
    expect(frame.sums).toMatchObject([{ layer: "TCP", state: "correct" }]);
  });

  it("are added up in ones' complement", () => {
    expect(fold(0x1fffe)).toBe(0xffff);
    expect(fold(0x2ad72)).toBe(0xad74);
  });
});

describe.each(["nat", "dr", "tun"])("what a director in the %s lab told of its frames", (method) => {
  const records = readFileSync(join(FRAMES, `${method}.ndjson`), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as TraceRecord);
  const shown = records.map((record) => explain(record, { in: true, out: true }));

  it("is explained step by step", () => {
    const [syn] = shown;
    expect(syn!.label).toBe("SYN");
    expect(syn!.steps[1]!.title).toBe("A server is picked");
    expect(syn!.steps[1]!.text).toContain("wrr picks 192.168.2.129:80");
    const last = syn!.steps.at(-1)!;
    expect(last.title).toBe(method === "nat" ? "The real server gets it" : "The server answers directly");
    expect(shown.some(({ isAnswer }) => isAnswer)).toBe(method === "nat");
    for (const { steps, after } of shown) {
      expect(steps.length).toBeGreaterThanOrEqual(after === undefined ? 3 : 5);
      for (const { text, title } of steps) expect(title === "" || text === "").toBe(false);
      for (const { sums } of steps) for (const sum of sums) expect(sum).toMatchObject({ agrees: true });
    }
    const rewritten = shown.flatMap(({ steps }) => steps.flatMap(({ sums }) => sums.map(({ layer }) => layer)));
    expect(rewritten).toContain("IP");
    if (method === "nat") expect(rewritten).toContain("TCP");
  });
});
