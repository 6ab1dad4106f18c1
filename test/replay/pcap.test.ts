/** Files of captured frames: what is read of them, what is refused and where, and what is written. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LvsError } from "../../host/errors.js";
import { PcapPort, pcapng, readCapture, vnetComment } from "../../host/port/pcap.js";
import { needsCommands } from "../support/needs.js";

const FRAME = Uint8Array.from({ length: 61 }, (_, n) => n);
const TIME = 1_700_000_000_123_456_789n;

const read = (...blocks: Uint8Array[]) => readCapture(Buffer.concat(blocks), "x.pcapng");
const packet = (more: Partial<Parameters<typeof pcapng.packet>[0]> = {}) =>
  pcapng.packet({ interface: 0, time: TIME, frame: FRAME, length: FRAME.length, comments: [], ...more });

/** Blocks by hand, in either byte order. */
function maker(little: boolean) {
  const u32 = (value: number) => {
    const bytes = Buffer.alloc(4);
    if (little) bytes.writeUInt32LE(value >>> 0);
    else bytes.writeUInt32BE(value >>> 0);
    return bytes;
  };
  const u16 = (value: number) => (little ? u32(value).subarray(0, 2) : u32(value).subarray(2));
  const padded = (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  const option = (code: number, value: Uint8Array) => Buffer.concat([u16(code), u16(value.length), padded(value)]);
  const block = (type: number, ...parts: Uint8Array[]) => {
    const body = Buffer.concat(parts);
    return Buffer.concat([u32(type), u32(12 + body.length), body, u32(12 + body.length)]);
  };
  const section = () => block(0x0a0d0d0a, u32(0x1a2b3c4d), u16(1), u16(0), Buffer.alloc(8, 0xff));
  const port = (link: number, snap: number, ...options: Uint8Array[]) =>
    block(1, u16(link), u16(0), u32(snap), ...options);
  return { u32, u16, padded, option, block, section, port };
}

describe("a capture", () => {
  it("comes back as it was written", () => {
    const found = read(
      pcapng.section("wlvs test", ["a comment", "wlvs seed=1 next-id=2 epoch=3"]),
      pcapng.interface({ name: "ext0", link: "ethernet", mac: "02:00:00:00:00:01", snap: 0 }),
      pcapng.interface({ name: "lvs0", link: "raw", snap: 96 }),
      packet({ direction: "in", comments: ["über", vnetComment(new Uint8Array(12).fill(1))] }),
      packet({ interface: 1, direction: "out", length: 1500, time: 0n }),
      pcapng.statistics(0, TIME, 7),
      packet({ frame: new Uint8Array(), length: 0 }),
    );
    expect(found.comments).toEqual(["a comment", "wlvs seed=1 next-id=2 epoch=3"]);
    expect(found.interfaces).toMatchObject([
      { name: "ext0", link: "ethernet", mac: "02:00:00:00:00:01" },
      { name: "lvs0", link: "raw" },
    ]);
    expect(found.frames.map(({ frame, ...rest }) => ({ ...rest, bytes: frame.length }))).toEqual([
      {
        interface: 0,
        time: TIME,
        length: 61,
        direction: "in",
        bytes: 61,
        comments: ["über", `vnet=${"01".repeat(12)}`],
      },
      { interface: 1, time: 0n, length: 1500, direction: "out", bytes: 61, comments: [] },
      { interface: 0, time: TIME, length: 0, direction: undefined, bytes: 0, comments: [] },
    ]);
    expect(Buffer.from(found.frames[0]!.frame)).toEqual(Buffer.from(FRAME));
  });

  it.each([true, false])("is read in either byte order (little: %s), with resolutions of any power", (little) => {
    const { u32, option, padded, block, section, port } = maker(little);
    const enhanced = (number: number, stamp: bigint) =>
      block(
        6,
        u32(number),
        u32(Number(stamp >> 32n)),
        u32(Number(stamp & 0xffffffffn)),
        u32(5),
        u32(9),
        padded(FRAME.subarray(0, 5)),
      );
    const found = read(
      section(),
      port(1, 0),
      port(1, 0, option(9, Uint8Array.of(9)), option(0, new Uint8Array())),
      port(
        101,
        0,
        option(9, Uint8Array.of(0x80 | 10)),
        option(14, little ? Buffer.from([5, 0, 0, 0, 0, 0, 0, 0]) : Buffer.from([0, 0, 0, 0, 0, 0, 0, 5])),
      ),
      block(0x0bad, Buffer.alloc(40, 7)),
      enhanced(0, 1_700_000_000_000_001n),
      enhanced(1, TIME),
      enhanced(2, 1024n + 512n),
      // A new section counts its interfaces anew.
      section(),
      port(228, 0),
      enhanced(0, 2_000_000n),
    );
    expect(found.frames.map(({ interface: number, time, length }) => [number, time, length])).toEqual([
      [0, 1_700_000_000_000_001_000n, 9],
      [1, TIME, 9],
      [2, 6_500_000_000n, 9],
      [3, 2_000_000_000n, 9],
    ]);
  });

  it("has simple packets too: of the first interface, cut to its length, at the time of the one before", () => {
    const { u32, u16, padded, block, section, port } = maker(true);
    const found = read(
      section(),
      port(1, 32),
      block(2, u16(0), u16(0), u32(0), u32(5), u32(4), u32(4), FRAME.subarray(0, 4)),
      block(3, u32(61), padded(FRAME.subarray(0, 32))),
      block(3, u32(20), padded(FRAME.subarray(0, 20))),
    );
    expect(found.frames.map(({ frame, length, time }) => [frame.length, length, time])).toEqual([
      [4, 4, 5000n],
      [32, 61, 5000n],
      [20, 20, 5000n],
    ]);
  });

  it.each([
    [0xa1b2c3d4, true, 1_000_005_000n],
    [0xa1b2c3d4, false, 1_000_005_000n],
    [0xa1b23c4d, true, 1_000_000_005n],
    [0xa1b23c4d, false, 1_000_000_005n],
  ])("may be a classic one: %x, little %s", (magic, little, time) => {
    const { u32, u16 } = maker(little);
    const head = Buffer.concat([u32(magic), u16(2), u16(4), u32(0), u32(0), u32(65535), u32(1)]);
    const found = read(head, u32(1), u32(5), u32(10), u32(61), FRAME.subarray(0, 10));
    expect(found.interfaces).toMatchObject([{ link: "ethernet" }]);
    expect(found.frames).toMatchObject([{ interface: 0, time, length: 61 }]);
    expect(found.frames[0]!.frame).toHaveLength(10);
  });

  it("is refused with the file and the place of what is wrong", () => {
    const { u32, option, block, section, port } = maker(true);
    const start = [section(), port(1, 0)];
    const at = start.reduce((sum, { length }) => sum + length, 0);
    const bad: Array<readonly [Uint8Array[], string]> = [
      [[Buffer.from("ab")], "x.pcapng, byte 0: too short for a capture"],
      [[Buffer.from("no capture at all")], "x.pcapng, byte 0: neither pcapng nor pcap"],
      [[section().subarray(0, 8)], "byte 0: the file ends within a block"],
      [[u32(0x0a0d0d0a), u32(28), u32(1), Buffer.alloc(16)], "byte 8: the section has no byte order"],
      [[...start, u32(6), u32(8), u32(0)], `byte ${at + 4}: no block has 8 bytes`],
      [[...start, u32(6), u32(4096), u32(0)], `byte ${at + 4}: the block has 4096 bytes, the file only 12 more`],
      [[...start, u32(6), u32(12), u32(16)], `byte ${at + 8}: the block's two lengths differ`],
      [[...start, block(6, u32(0))], `byte ${at + 4}: a block of this kind has at least 32 bytes`],
      [[...start, block(6, u32(1), u32(0), u32(0), u32(0), u32(0))], `byte ${at + 8}: the section has no interface 1`],
      [[...start, block(6, u32(0), u32(0), u32(0), u32(9), u32(9))], `byte ${at}: a packet of 9 bytes does not fit`],
      [[...start, block(1, u32(1), u32(0), option(2, FRAME).subarray(0, 8))], "an option of 61 bytes does not fit"],
      [[section(), port(113, 0), block(6, u32(0), u32(0), u32(0), u32(0), u32(0))], "link type 113: only Ethernet (1)"],
      [[u32(0xa1b2c3d4), Buffer.alloc(8)], "byte 0: the file ends within its header"],
      [[u32(0xa1b2c3d4), Buffer.alloc(16), u32(1), u32(0)], "byte 24: the file ends within a packet's header"],
      [[u32(0xa1b2c3d4), Buffer.alloc(16), u32(1), u32(0), u32(0), u32(7), u32(7)], "byte 32: the packet has 7 bytes"],
    ];
    for (const [blocks, message] of bad) {
      expect(() => read(...blocks), message).toThrow(message);
      expect(() => read(...blocks)).toThrow(LvsError);
    }
  });

  it("may be anything: it is read or refused", () => {
    const good = Buffer.concat([
      pcapng.section("x", ["y"]),
      pcapng.interface({ name: "a", link: "ethernet", snap: 0 }),
      packet({ comments: ["z"], direction: "in" }),
    ]);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }),
        fc.nat(good.length),
        (changes, end) => {
          const bytes = Uint8Array.from(good);
          for (const [place, value] of changes) bytes[place] = value;
          try {
            readCapture(bytes.subarray(0, end), "x");
          } catch (error) {
            expect(error).toBeInstanceOf(LvsError);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("is what tshark and capinfos take", (context) => {
    needsCommands(context, "tshark", "capinfos");
    const directory = mkdtempSync(join(tmpdir(), "wlvs-pcap-"));
    try {
      const file = join(directory, "x.pcapng");
      const ethernet = Buffer.concat([
        Buffer.from("020000000001020000000002", "hex"),
        Buffer.from("88b5", "hex"),
        FRAME,
      ]);
      writeFileSync(
        file,
        Buffer.concat([
          pcapng.section("wlvs test", ["of a test"]),
          pcapng.interface({ name: "ext0", link: "ethernet", mac: "02:00:00:00:00:01", snap: 0 }),
          pcapng.interface({ name: "int0", link: "ethernet", snap: 0 }),
          packet({ frame: ethernet, length: ethernet.length, direction: "in", comments: ["came, with a comment"] }),
          packet({ frame: ethernet, length: 2000, direction: "out", interface: 1 }),
          pcapng.statistics(0, TIME, 3),
        ]),
      );
      const run = (program: string, ...args: string[]) => {
        const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
        expect([status, stderr.replace(/^Running as user .*\n/m, "")]).toEqual([0, ""]);
        return stdout;
      };
      const fields = [
        "frame.interface_name",
        "frame.time_epoch",
        "frame.len",
        "frame.cap_len",
        "frame.packet_flags_direction",
        "frame.comment",
      ];
      const lines = run("tshark", "-n", "-r", file, "-T", "fields", ...fields.flatMap((field) => ["-e", field])).split(
        "\n",
      );
      expect(lines[0]!.split("\t")).toEqual([
        "ext0",
        "1700000000.123456789",
        "75",
        "75",
        "0x00000001",
        "came, with a comment",
      ]);
      expect(lines[1]!.split("\t")).toEqual(["int0", "1700000000.123456789", "2000", "75", "0x00000002", ""]);
      const about = run("capinfos", "-A", file);
      expect(about).toContain("Number of interfaces in file: 2");
      expect(about).toContain("Time precision = nanoseconds (9)");
      expect(about).toMatch(/Capture comment:\s+of a test/);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

describe("a port over captures", () => {
  it("lets frames in one by one, with what the device said of them, and writes what goes out", () => {
    const written: Uint8Array[] = [];
    const vnet = new Uint8Array(12).fill(3);
    const port = new PcapPort({
      name: "ext0",
      mac: "02:00:00:00:00:01",
      mtu: 1500,
      capabilities: 16,
      frames: [
        { interface: 0, time: 0n, frame: FRAME, length: 61, comments: [vnetComment(vnet)] },
        { interface: 0, time: 0n, frame: FRAME, length: 61, comments: [] },
      ],
      out: { interface: 0, write: (bytes) => written.push(bytes), now: () => TIME },
    });
    const target = new Uint8Array(100);
    expect(port.receive(target)).toBe(0);
    port.admit(2);
    expect(port.receive(target)).toBe(73);
    expect([...target.subarray(0, 14)]).toEqual([...vnet, 0, 1]);
    expect(port.receive(target)).toBe(73);
    expect([...target.subarray(0, 12)]).toEqual([...new Uint8Array(12)]);
    expect(port.receive(target)).toBe(0);
    expect(port.send([vnet, FRAME.subarray(0, 9), FRAME.subarray(9)])).toBe(true);
    const [out] = read(
      pcapng.section("x"),
      pcapng.interface({ name: "ext0", link: "ethernet", snap: 0 }),
      ...written,
    ).frames;
    expect(out).toMatchObject({ time: TIME, direction: "out", comments: [vnetComment(vnet)] });
    expect(Buffer.from(out!.frame)).toEqual(Buffer.from(FRAME));
  });
});
