import { describe, expect, it } from "vitest";
import { compareFrames, compareText } from "../../conformance/compare.js";
import { describe as decode, mask } from "../../conformance/frames.js";
import { shellWords } from "../../conformance/trace.js";
import { ethernet, FLAG, icmp, ip4, ip6, PROTOCOL, tcp, tcpPacket, udpPacket } from "../../support/packets.js";

const A = "02:00:00:00:00:0a";
const B = "02:00:00:00:00:0b";
const ENDS = { source: "10.0.0.1", destination: "10.0.0.2", sourcePort: 1000, destinationPort: 80 };
const SIX = { ...ENDS, source: "2001:db8::1", destination: "2001:db8::2" };
const on = (dev: string, packet: Uint8Array) => [{ dev, frame: ethernet(A, B, packet) }];
const isSame = (a: Uint8Array, b: Uint8Array) => Buffer.compare(mask(ethernet(A, B, a)), mask(ethernet(A, B, b))) === 0;

describe("mask", () => {
  it("leaves a client's packet as it is", () => {
    expect(isSame(tcpPacket(ENDS, { id: 1 }), tcpPacket(ENDS, { id: 2 }))).toBe(false);
  });

  it("frees the id of tunnel headers and of ICMP that the director makes", () => {
    const inner = tcpPacket(ENDS);
    const tunnel = (id: number, ttl = 64) => ip4("10.1.0.1", "10.1.0.2", PROTOCOL.ipip, inner, { id, ttl });
    expect(isSame(tunnel(1), tunnel(2))).toBe(true);
    expect(isSame(tunnel(1), tunnel(1, 63))).toBe(false);
    const reply = (type: number, id: number) =>
      ip4(ENDS.source, ENDS.destination, PROTOCOL.icmp, icmp(type, 0), { id });
    expect(isSame(reply(0, 1), reply(0, 2))).toBe(true);
    expect(isSame(reply(8, 1), reply(8, 2))).toBe(false);
  });

  it("frees the source port of GUE alone", () => {
    const gue = (port: number, to = 6080) =>
      udpPacket({ ...ENDS, sourcePort: port, destinationPort: to }, Uint8Array.of(0, 4, 0, 0), { id: 1 });
    expect(isSame(gue(1), gue(2))).toBe(true);
    expect(isSame(gue(1, 53), gue(2, 53))).toBe(false);
  });

  it("frees flow labels, not traffic classes", () => {
    const packet = (flow: number, trafficClass = 0) =>
      ip6(SIX.source, SIX.destination, PROTOCOL.tcp, tcp(SIX), { flow, trafficClass });
    expect(isSame(packet(1), packet(77))).toBe(true);
    expect(isSame(packet(1), packet(1, 4))).toBe(false);
  });
});

describe("compareFrames", () => {
  it("keeps order on a device and not between devices", () => {
    const one = on("ext", tcpPacket(ENDS));
    const two = on("int", tcpPacket(ENDS, { flags: FLAG.ack }));
    expect(compareFrames([...one, ...two], [...two, ...one])).toBeUndefined();
    const three = on("ext", tcpPacket(ENDS, { flags: FLAG.rst }));
    expect(compareFrames([...one, ...three], [...three, ...one])).toMatch(/frame 1 on ext/);
  });

  it("tells what is missing and what is too much", () => {
    expect(compareFrames(on("ext", tcpPacket(ENDS)), [])).toMatch(/expected .*tcp 1000>80 S.*\n.*got {6}nothing/);
    expect(compareFrames([], on("ext", tcpPacket(ENDS)))).toMatch(/expected nothing/);
  });
});

describe("decode", () => {
  it("says when a checksum is wrong", () => {
    const frame = ethernet(A, B, tcpPacket(ENDS));
    expect(decode(frame)).not.toContain("bad");
    frame[50]! ^= 1;
    expect(decode(frame)).toContain("bad TCP checksum");
    frame[22]! ^= 1;
    expect(decode(frame)).toContain("bad IPv4 header checksum");
  });
});

describe("compareText", () => {
  const HEAD = "IPVS connection entries\npro expire state       source             virtual            destination\n";
  const line = (time: string, port: number) => `TCP ${time}  SYN_RECV    10.0.0.1:${port} 10.0.0.2:80 10.0.0.3:80\n`;

  it("lets connections come in any order, a second apart", () => {
    const wanted = HEAD + line("00:59", 1) + line("14:59", 2);
    expect(compareText("ipvsadm -Lnc", wanted, HEAD + line("15:00", 2) + line("00:58", 1))).toBeUndefined();
    expect(compareText("ipvsadm -Lnc", wanted, HEAD + line("15:01", 2) + line("00:58", 1))).toMatch(/14:59/);
    expect(compareText("ipvsadm -Lnc", wanted, HEAD + line("00:59", 1))).toBeDefined();
  });

  it("lets a template that started anew be later, a minute after another", () => {
    const template = (time: string) => `${HEAD}TCP ${time}  ASSURED     10.0.0.1:0     10.0.0.2:80 10.0.0.3:80\n`;
    expect(compareText("ipvsadm -Lnc", template("00:44"), template("00:47"), 0)).toMatch(/00:44/);
    expect(compareText("ipvsadm -Lnc", template("00:44"), template("00:47"), 1)).toBeUndefined();
    expect(compareText("ipvsadm -Lnc", HEAD + line("00:44", 1), HEAD + line("00:47", 1), 5)).toMatch(/00:44/);
  });

  it("holds everything else to the letter", () => {
    expect(compareText("ipvsadm -Ln", "TCP  a\n", "TCP  a \n")).toMatch(/line 1/);
    expect(compareText("ipvsadm -Ln --stats", "TCP  a   1 2 3 4 5\n", "TCP  a   1 2 3 4 6\n")).toBeDefined();
  });

  it("lets rates differ in size a little, in shape not at all", () => {
    const rates = (n: string) => `TCP  10.0.0.2:80          ${n}       10        0       15        0\n`;
    expect(compareText("ipvsadm -Ln --rate", rates("1"), rates("3"))).toBeUndefined();
    expect(compareText("ipvsadm -Ln --rate", rates("1"), rates("1000"))).toBeDefined();
    expect(compareText("ipvsadm -Ln --rate", rates("1"), rates("1").replace("TCP", "UDP"))).toBeDefined();
  });
});

describe("shellWords", () => {
  it("splits as a shell would", () => {
    expect(shellWords(`ipvsadm -A  -t "a b" 'c"d' e\\ f ""`)).toEqual(["ipvsadm", "-A", "-t", "a b", 'c"d', "e f", ""]);
  });
});
