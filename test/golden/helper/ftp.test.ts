/** FTP over NAT: announced data connections, rewritten answers, sequence numbers, and texts that mean harm. */
import { describe, expect, it } from "vitest";
import * as Memory from "../../../assembly/layout/memory.js";
import { checksum, pseudoHeader } from "../../conformance/frames.js";
import { NET } from "../../support/director.js";
import { address, concat, ethernet, FLAG, tcpPacket } from "../../support/packets.js";
import { bytes, PORT, passive, Session, V4, V6 } from "./session.js";

const LISTEN = "LISTEN";

describe("active mode", () => {
  it.each([
    ["PORT", "PORT 192,168,4,20,200,10\r\n", 51210],
    ["port in lower case, more blanks", "port   192,168,4,20,0,99\r\n", 99],
    ["EPRT", "EPRT |1|192.168.4.20|51210|\r\n", 51210],
    ["EPRT with another mark", "eprt !1!192.168.4.20!51211!\r\n", 51211],
  ])("%s", async (_, command, port) => {
    const session = await new Session().open();
    expect(session.say(command)).toMatchObject({ text: command });
    expect(session.data()).toEqual([`${V4.client} ${port} ${V4.vip} 20 ${V4.real} 20 ${LISTEN}`]);
    // The server calls, the client answers.
    const called = session.fromServer({ flags: FLAG.syn, sequence: 9000 }, port, 20);
    expect(called!.line).toContain(`${V4.vip} > ${V4.client}`);
    expect(called!.line).toContain(`tcp 20>${port} S`);
    const answered = session.fromClient({ flags: FLAG.syn | FLAG.ack, acknowledgement: 9001 }, port, 20);
    expect(answered!.line).toContain(`${V4.client} > ${V4.real}`);
    expect(session.data()).toEqual([`${V4.client} ${port} ${V4.vip} 20 ${V4.real} 20 SYN_RECV`]);
  });

  it("calls from the port below the server's", async () => {
    const session = await new Session().open(2121);
    session.fromClient({ flags: FLAG.psh | FLAG.ack, sequence: 1001, data: bytes("PORT 192,168,4,20,1,0\r\n") });
    expect(session.data()).toEqual([`${V4.client} 256 ${V4.vip} 20 ${V4.real} 2120 ${LISTEN}`]);
  });

  it("takes a second command for the same port as the same connection", async () => {
    const session = await new Session().open();
    session.say("PORT 192,168,4,20,200,10\r\n");
    session.say("PORT 192,168,4,20,200,10\r\n");
    expect(session.data()).toHaveLength(1);
  });

  it("EPRT over IPv6", async () => {
    const session = await new Session(V6).open();
    session.say(`EPRT |2|${V6.client}|51210|\r\n`);
    session.say("PORT 1,2,3,4,5,6\r\n");
    session.say("EPRT |1|1.2.3.4|51211|\r\n");
    expect(session.data()).toEqual([`${V6.client} 51210 ${V6.vip} 20 ${V6.real} 20 ${LISTEN}`]);
  });
});

describe("with the SYN proxy", () => {
  it.each([
    ["grows", V4.real, V4.vip],
    ["shrinks", "192.168.2.211", "192.168.4.9"],
  ])("a text that %s moves numbers beside the cookie", async (_, real, vip) => {
    const session = await new Session(V4, real, vip).open(21, "on");
    expect(session.director.ipvs.tables.counters().synProxy).toMatchObject({ accepted: 1, spliced: 1 });
    expect(session.seen, "the client knows a cookie").not.toBe(session.server);
    expect(session.answer("220 ready\r\n")).toMatchObject({ text: "220 ready\r\n" });
    expect(session.acknowledge()).toMatchObject({ acknowledgement: session.server });
    session.say("PASV\r\n");
    const from = session.seen;
    const out = session.answer(passive(real, 50000))!;
    expect(out.text).toBe(passive(vip, 50000));
    expect(out.line).not.toContain("bad");
    expect(out.sequence >>> 0).toBe(from >>> 0);
    expect(session.data()).toEqual([`${V4.client} 0 ${vip} 50000 ${real} 50000 ${LISTEN}`]);
    expect(session.acknowledge()).toMatchObject({ acknowledgement: session.server });
    // And on: what comes behind the text is where the client waits for it.
    const next = session.seen;
    expect(session.answer("150 here it comes\r\n")!.sequence).toBe(next >>> 0);
    expect(session.acknowledge()).toMatchObject({ acknowledgement: session.server });
  });

  it("a data connection that the server opens is its own", async () => {
    const session = await new Session().open(21, "on");
    session.say("PORT 192,168,4,20,200,10\r\n");
    const called = session.fromServer({ flags: FLAG.syn, sequence: 9000 }, 51210, 20);
    expect(called!.line).toContain("tcp 20>51210 S");
    const answered = session.fromClient({ flags: FLAG.syn | FLAG.ack, acknowledgement: 9001 }, 51210, 20);
    expect(answered!.line).toContain(`${V4.client} > ${V4.real}`);
  });
});

describe("addresses in EPRT", () => {
  const cases: ReadonlyArray<readonly [string, string | undefined]> = [
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
    ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
    ["2001:DB8::a", "2001:db8::a"],
    ["::", "::"],
    ["1::", "1::"],
    ["::0001:00002", "::0.1.0.2"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7"],
    ["1::2::3", undefined],
    ["1:2:3:4:5:6:7", undefined],
    ["1:2:3:4:5:6:7:8:9", undefined],
    ["12345::", undefined],
    ["1:", undefined],
    [":1:2:3:4:5:6:7", undefined],
    ["1:2:3:4:5:6:7:1.2.3.4", undefined],
    ["::1.2.3", undefined],
    ["g::", undefined],
    ["", undefined],
  ];
  it.each(cases)("%s", async (text, read) => {
    const session = await new Session(V6).open();
    session.say(`EPRT |2|${text}|51210|\r\n`);
    expect(session.data()).toEqual(read === undefined ? [] : [`${read} 51210 ${V6.vip} 20 ${V6.real} 20 ${LISTEN}`]);
  });

  it.each([
    ["1.2.3.4", true],
    ["08.008.8.12", true],
    ["1.2.3", false],
    ["1.2.3.4.5", false],
    ["1.2.3.256", false],
    ["1..3.4", false],
    ["1.2.3.x", false],
  ])("%s", async (text, read) => {
    const session = await new Session().open();
    session.say(`EPRT |1|${text}|51210|\r\n`);
    expect(session.data()).toHaveLength(read ? 1 : 0);
  });
});

describe("passive mode", () => {
  it("lets a client's next connection go to the port that the server named", async () => {
    const session = await new Session().open();
    session.say("PASV\r\n");
    const out = session.answer(passive(V4.real, 50000));
    expect(out!.text).toBe(passive(V4.vip, 50000));
    expect(out!.line).not.toContain("bad");
    expect(session.data()).toEqual([`${V4.client} 0 ${V4.vip} 50000 ${V4.real} 50000 ${LISTEN}`]);
    const call = session.fromClient({ flags: FLAG.syn }, 40001, 50000);
    expect(call!.line).toContain(`${V4.client} > ${V4.real}`);
    expect(session.data()).toEqual([`${V4.client} 40001 ${V4.vip} 50000 ${V4.real} 50000 SYN_RECV`]);
    // Nobody else's call is expected any more.
    session.director.inject(
      "ext",
      ethernet(
        NET.ext.mac,
        NET.client.mac,
        tcpPacket({ source: V4.client, destination: V4.vip, sourcePort: 40002, destinationPort: 50000 }),
      ),
    );
    expect(session.director.collect()[0]!.dev).toBe("ext");
    const header = new DataView(session.director.memory.buffer, Memory.LAYOUT_BASE);
    expect(header.getUint32(Memory.NO_CLIENT_PORT_COUNT, true)).toBe(0);
  });

  it.each([
    ["grows", V4.real, V4.vip],
    ["shrinks", "192.168.2.211", "192.168.4.9"],
  ])("moves sequence numbers where the text %s", async (_, real, vip) => {
    const session = await new Session(V4, real, vip).open();
    const by = vip.length - real.length;
    expect(by).not.toBe(0);
    session.say("PASV\r\n");
    session.answer(passive(real, 50000));
    expect(session.acknowledge()).toMatchObject({ acknowledgement: session.server });
    expect(session.answer("150 ok\r\n")).toMatchObject({ sequence: session.server - 8 + by });
    // What was acknowledged before the change is not moved.
    session.seen -= 8 + passive(vip, 50000).length;
    expect(session.acknowledge()).toMatchObject({ acknowledgement: 5001 });
    session.seen += 8 + passive(vip, 50000).length;
    session.say("PASV\r\n");
    expect(session.answer(passive(real, 50001))!.text).toBe(passive(vip, 50001));
    expect(session.acknowledge()).toMatchObject({ acknowledgement: session.server });
    const out = session.answer("226 ok\r\n")!;
    expect(out.sequence).toBe(session.server - 8 + 2 * by);
    expect(out.line).not.toContain("bad");
  });

  it("where sequence numbers wrap", async () => {
    const session = new Session();
    session.server = session.seen = 2 ** 32 - 30;
    await session.open();
    session.say("PASV\r\n");
    session.answer(passive(V4.real, 50000));
    expect(session.acknowledge()).toMatchObject({ acknowledgement: session.server % 2 ** 32 });
    expect(session.answer("150 ok\r\n")).toMatchObject({ sequence: (session.server - 8 + 1) % 2 ** 32 });
    expect(session.acknowledge()).toMatchObject({ acknowledgement: session.server % 2 ** 32 });
  });

  it("moves selective acknowledgements, at odd places too", async () => {
    const session = await new Session().open();
    session.say("PASV\r\n");
    session.answer(passive(V4.real, 50000));
    session.answer("0123456789");
    const last = session.server;
    const edges = new Uint8Array(8);
    new DataView(edges.buffer).setUint32(0, session.seen - 5);
    new DataView(edges.buffer).setUint32(4, session.seen);
    for (const before of [[1, 1], [1], [1, 1, 1]]) {
      const options = new Uint8Array(16).fill(1);
      options.set([...before, 5, 10, ...edges]);
      const out = session.acknowledge(options)!;
      const moved = new DataView(out.options.buffer, before.length + 2);
      expect([moved.getUint32(0), moved.getUint32(4)]).toEqual([last - 5, last]);
      expect(out.line).not.toContain("bad");
    }
    // A length that leads out of the header is left alone.
    const broken = new Uint8Array([5, 200, ...edges, 1, 1]);
    expect(session.acknowledge(broken)!.options).toEqual(broken);
  });

  it("EPSV names a port only", async () => {
    for (const side of [V4, V6]) {
      const session = await new Session(side).open();
      session.say("EPSV\r\n");
      const family = side === V4 ? 1 : 2;
      const out = session.answer(`229 Extended (|${family}|${side.real}|50000|)\r\n`)!;
      expect(out.text).toBe("229 Extended (|||50000|)\r\n");
      expect(out.line).not.toContain("bad");
      expect(session.data()).toEqual([`${side.client} 0 ${side.vip} 50000 ${side.real} 50000 ${LISTEN}`]);
      expect(session.acknowledge()).toMatchObject({ acknowledgement: session.server });
    }
  });

  it.each(["EPSV 2\r\n", "EPSV ALL\r\n", "PASV\n", "PASS\r\n", ""])("expects nothing after %j", async (command) => {
    const session = await new Session().open();
    session.say(command);
    const text = "229 ok (|||50000|)\r\n";
    expect(session.answer(text)).toMatchObject({ text });
    expect(session.answer(passive(V4.real, 50000))).toMatchObject({ text: passive(V4.real, 50000) });
    expect(session.data()).toEqual([]);
  });

  it("leaves an answer in two segments as it is", async () => {
    const session = await new Session().open();
    session.say("PASV\r\n");
    const text = passive(V4.real, 50000);
    for (let cut = 1; cut < text.length - 4; cut += 7) {
      expect(session.answer(text.slice(0, cut))).toMatchObject({ text: text.slice(0, cut) });
      expect(session.answer(text.slice(cut))).toMatchObject({ text: text.slice(cut) });
    }
    expect(session.data()).toEqual([]);
    expect(session.answer(text)).toMatchObject({ text: passive(V4.vip, 50000) });
  });

  it("outlives its control connection's end, which waits for it", async () => {
    const session = await new Session().open();
    session.say("PORT 192,168,4,20,200,10\r\n");
    session.fromClient({ flags: FLAG.rst, sequence: session.client });
    session.director.advanceTo(session.director.clock.nowMs + 30_000);
    expect(session.connections()).toHaveLength(2);
    session.director.advanceTo(session.director.clock.nowMs + 200_000);
    expect(session.connections()).toHaveLength(0);
  });
});

describe("checksums", () => {
  it("must be right on a control connection", async () => {
    const session = await new Session().open();
    const ends = { source: V4.client, destination: V4.vip, sourcePort: PORT, destinationPort: 21 };
    const packet = tcpPacket(ends, { flags: FLAG.ack, sequence: 1001, data: bytes("PORT 192,168,4,20,200,10\r\n") });
    packet[packet.length - 1]! ^= 1;
    expect(session.pass("ext", ethernet(NET.ext.mac, NET.client.mac, packet))).toBeUndefined();
    expect(session.data()).toEqual([]);
  });

  /** Partial checksum: the field holds the pseudo-header's sum. */
  function partial(ends: Parameters<typeof tcpPacket>[0], text: string, segment = 0): [Uint8Array, Uint8Array] {
    const packet = tcpPacket(ends, {
      flags: FLAG.psh | FLAG.ack,
      sequence: 5001,
      acknowledgement: 1007,
      data: bytes(text),
    });
    const pseudo = pseudoHeader(address(ends.source), address(ends.destination), 6, 20 + text.length);
    const sum = ~checksum(pseudo) & 0xffff;
    packet[36] = sum >> 8;
    packet[37] = sum & 255;
    const vnet = new Uint8Array(12);
    const view = new DataView(vnet.buffer);
    vnet[0] = 1;
    vnet[1] = segment > 0 ? 1 : 0;
    view.setUint16(2, 54, true);
    view.setUint16(4, segment, true);
    view.setUint16(6, 34, true);
    view.setUint16(8, 16, true);
    return [ethernet(NET.int.mac, NET.servers[0].mac, packet), vnet];
  }
  const ends = { source: V4.real, destination: V4.client, sourcePort: 21, destinationPort: PORT };
  const fieldOf = (frame: Uint8Array) => (frame[14 + 36]! << 8) | frame[14 + 37]!;
  const pseudoOf = (length: number) => ~checksum(pseudoHeader(address(V4.vip), address(V4.client), 6, length)) & 0xffff;

  it("that are partial are kept for the device, the length corrected", async () => {
    const session = await new Session().open();
    session.say("PASV\r\n");
    const out = session.pass("int", ...partial(ends, passive(V4.real, 50000)))!;
    expect(out.text).toBe(passive(V4.vip, 50000));
    expect(out.vnet[0]).toBe(1);
    expect(fieldOf(out.frame)).toBe(pseudoOf(20 + out.text.length));
  });

  it("of a super-frame too, which keeps its segment size", async () => {
    const session = await new Session().open();
    session.say("PASV\r\n");
    const text = passive(V4.real, 50000) + "x".repeat(3000);
    const out = session.pass("int", ...partial(ends, text, 1448))!;
    expect(out.text).toBe(passive(V4.vip, 50000) + "x".repeat(3000));
    expect([...out.vnet.subarray(0, 6)]).toEqual([1, 1, 54, 0, 1448 & 255, 1448 >> 8]);
    expect(fieldOf(out.frame)).toBe(pseudoOf(20 + out.text.length));
  });

  it("of a super-frame that shrinks to one segment, which is none any more", async () => {
    const session = await new Session(V4, "192.168.2.211", "192.168.4.9").open();
    session.say("PASV\r\n");
    const text = passive("192.168.2.211", 50000);
    const out = session.pass("int", ...partial({ ...ends, source: "192.168.2.211" }, text, text.length - 1))!;
    expect(out.text).toBe(passive("192.168.4.9", 50000));
    expect([...out.vnet.subarray(0, 6)]).toEqual([1, 0, 54, 0, 0, 0]);
  });

  it("leaves no room: a packet that would pass 65535 bytes is dropped whole", async () => {
    const session = await new Session().open();
    session.say("PASV\r\n");
    const line = passive(V4.real, 50000);
    const full = line + "x".repeat(65535 - 40 - line.length);
    expect(session.pass("int", ...partial(ends, full, 1448))).toBeUndefined();
    // One byte less, and it fits to the last.
    session.say("PASV\r\n");
    const out = session.pass("int", ...partial(ends, full.slice(0, -1), 1448))!;
    expect(out.text.length).toBe(65535 - 40);
    expect(out.text.endsWith("x")).toBe(true);
  });
});

describe("hostile text", () => {
  /** A sequence of numbers that only looks random. */
  function* numbers(seed: number): Generator<number, never> {
    let state = seed >>> 0;
    for (;;) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      yield state >>> 8;
    }
  }

  const PIECES = [
    "PORT ", "port", "EPRT ", "EPRT |2|", "PASV\r\n", "EPSV\r\n", "EPSV ", "1", "2", "227 ", "229 ", "227 Entering (",
    "229 x (|||", "|", "||", "(", ")", ",", "1,2,3,4,5,6", "255,255,255,255,255,255", "999999999999", "0", ":", "::",
    "ffff:", "1.2.3.4", ".", "\r", "\n", "\r\n", " ", "\0", "\xff", "!1!9.9.9.9!1!", "A".repeat(40), "",
  ]; // biome-ignore format: a list of scraps

  it.each([V4, V6])("goes through whole or not at all, and nothing else is touched: %o", async (side) => {
    const session = await new Session(side).open();
    const random = numbers(7);
    const next = (below: number) => random.next().value % below;
    const slots = new DataView(session.director.memory.buffer, Memory.LAYOUT_BASE);
    for (let round = 0; round < 1500; round++) {
      let text = "";
      for (let parts = next(8); parts >= 0; parts--) text += PIECES[next(PIECES.length)];
      const data = bytes(text);
      if (next(2) === 0) {
        const out = session.fromClient({ flags: FLAG.psh | FLAG.ack, sequence: 1001, acknowledgement: 5001, data });
        expect(out).toMatchObject({ text });
        expect(out!.line).not.toContain("bad");
      } else {
        const out = session.fromServer({ flags: FLAG.psh | FLAG.ack, sequence: 5001, acknowledgement: 1001, data })!;
        expect(out.line).not.toContain("bad");
        expect(Math.abs(out.text.length - text.length)).toBeLessThan(64);
      }
    }
    expect(slots.getUint32(Memory.FREE_SLOT_COUNT, true)).toBeGreaterThan(0);
    session.director.advanceTo(session.director.clock.nowMs + 2_000_000);
    expect(session.connections()).toEqual([]);
    expect(slots.getUint32(Memory.NO_CLIENT_PORT_COUNT, true)).toBe(0);
    expect(slots.getUint32(Memory.EXTENSION_COUNT, true)).toBe(0);
  });

  it("and headers that are shorter or longer than they say", async () => {
    const session = await new Session().open();
    const ends = { source: V4.client, destination: V4.vip, sourcePort: PORT, destinationPort: 21 };
    for (let words = 0; words < 16; words++) {
      const packet = tcpPacket(ends, { flags: FLAG.ack, sequence: 1001, data: bytes("PASV\r\n") });
      packet[32] = words << 4;
      packet[36] = 0;
      packet[37] = 0;
      const tcp = packet.subarray(20);
      const sum = checksum(concat(pseudoHeader(address(V4.client), address(V4.vip), 6, tcp.length), tcp));
      packet[36] = sum >> 8;
      packet[37] = sum & 255;
      const frame = ethernet(NET.ext.mac, NET.client.mac, packet);
      expect(session.pass("ext", frame)?.line ?? "").not.toContain("bad");
    }
  });
});
