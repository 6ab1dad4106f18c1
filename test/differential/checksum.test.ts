/** Checksums against a slow reference: the functions by themselves, and whole frames through NAT, every length. */
import asc from "assemblyscript/asc";
import { beforeAll, describe, expect, it } from "vitest";
import * as Port from "../../assembly/layout/port.js";
import * as Slot from "../../assembly/layout/slot.js";
import { createDirector, NET, server, service } from "../support/director.js";
import { concat, ethernet, FLAG, ip4, ip6, PROTOCOL, tcp, udp } from "../support/packets.js";

const LONGEST = 9001;

interface Checksums {
  fold(sum: bigint): number;
  sum(at: number, length: number): bigint;
  checksum(at: number, length: number, initial: bigint): number;
  pseudo4(source: number, destination: number, protocol: number, length: number): bigint;
  pseudo6(source: number, destination: number, protocol: number, length: number): bigint;
  update16(check: number, from: number, to: number): number;
  update32(check: number, from: number, to: number): number;
  updateSum(check: number, from: bigint, to: bigint): number;
}

/** RFC 1071 as it is written: words in network order, one after the other. All parts but the last have an even length. */
function naive(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const bytes of parts) {
    for (let at = 0; at + 1 < bytes.length; at += 2) sum += bytes[at]! * 256 + bytes[at + 1]!;
    if (bytes.length % 2 === 1) sum += bytes[bytes.length - 1]! * 256;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return sum;
}
const swap = (word: number) => ((word & 255) << 8) | (word >> 8);

let state = 1;
function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}
const POOL = Uint8Array.from({ length: 3 * LONGEST }, () => random(256));
const ZEROS = new Uint8Array(LONGEST);
const ONES = new Uint8Array(LONGEST).fill(255);
/** All zero and all one are where one's complement has two zeros. */
function noise(length: number): Uint8Array {
  const from = random(POOL.length - length);
  const [source, at] = (
    [
      [ZEROS, 0],
      [ONES, 0],
    ] as const
  )[random(8)] ?? [POOL, from];
  return source.slice(at, at + length);
}

describe("the checksum functions", () => {
  let core: Checksums;
  let bytes: Uint8Array;

  beforeAll(async () => {
    let binary: Uint8Array | undefined;
    const { error, stderr } = await asc.main(
      [
        ...[
          "assembly/wire/checksum.ts",
          "--config",
          "none",
          "--runtime",
          "stub",
          "--bindings",
          "",
          "-O3",
          "--noAssert",
        ],
        ...["--importMemory", "--sharedMemory", "--initialMemory", "2", "--maximumMemory", "2", "--noExportMemory"],
        ...["--enable", "threads,simd,bulk-memory", "--outFile", "checksum.wasm"],
      ],
      {
        writeFile: (name, contents) => {
          if (name.endsWith(".wasm")) binary = contents as Uint8Array;
        },
      },
    );
    if (error !== null || binary === undefined) throw new Error(`${error?.message}\n${stderr.toString()}`);
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
    const module = await WebAssembly.compile(binary as Uint8Array<ArrayBuffer>);
    const instance = await WebAssembly.instantiate(module, { env: { memory, abort: () => {} } });
    core = instance.exports as unknown as Checksums;
    bytes = new Uint8Array(memory.buffer);
  });

  it(`agree at every length from 0 to ${LONGEST}, at every offset`, () => {
    for (let length = 0; length <= LONGEST; length++) {
      const at = 4096 + (length & 7);
      const data = noise(length);
      bytes.fill(0xa5, at - 8, at + length + 8);
      bytes.set(data, at);
      const expected = swap(naive(data));
      expect(core.fold(core.sum(at, length)), `length ${length}`).toBe(expected);
      expect(core.checksum(at, length, 0n), `length ${length}`).toBe(~expected & 0xffff);
    }
  });

  it("fold any sum", () => {
    const sums = [
      0n,
      1n,
      0xffffn,
      0x10000n,
      0xffffffffn,
      0x1_0000_0000n,
      0xffff_ffff_ffff_ffffn,
      0xfffe_ffff_0001_0000n,
    ];
    for (let n = 0; n < 2000; n++) sums.push(BigInt.asUintN(64, BigInt(random(2 ** 32)) * BigInt(random(2 ** 32))));
    for (const sum of sums) {
      // Modulo 0xffff, and 0 for nothing but 0.
      const expected = sum === 0n ? 0 : Number((sum - 1n) % 0xffffn) + 1;
      expect(core.fold(BigInt.asIntN(64, sum)), `${sum}`).toBe(expected);
    }
  });

  it("take pseudo-headers in", () => {
    for (let n = 0; n < 2000; n++) {
      const [source, destination] = [noise(16), noise(16)];
      const length = random(65536);
      bytes.set(source, 1024);
      bytes.set(destination, 1040);
      const view = new DataView(bytes.buffer);
      const tail = Uint8Array.of(0, 0, length >> 8, length & 255, 0, 0, 0, 58);
      expect(core.fold(core.pseudo6(1024, 1040, 58, length))).toBe(swap(naive(source, destination, tail)));
      const [a, b] = [view.getInt32(1024, true), view.getInt32(1040, true)];
      expect(core.fold(core.pseudo4(a, b, 17, length))).toBe(
        swap(naive(source.subarray(0, 4), destination.subarray(0, 4), Uint8Array.of(0, 17, length >> 8, length & 255))),
      );
    }
  });

  it("keep a checksum right when a word changes, and keep a wrong one wrong", () => {
    const view = new DataView(bytes.buffer);
    for (let n = 0; n < 20_000; n++) {
      const length = 8 + 2 * random(30);
      const data = noise(length);
      bytes.set(data, 4096);
      const right = core.checksum(4096, length, 0n);
      const at = 4096 + 4 * random(length >> 2);
      const before = view.getUint32(at, true);
      const to = noise(4);
      const wide = n % 2 === 0;
      bytes.set(wide ? to : to.subarray(0, 2), at);
      const after = view.getUint32(at, true);
      const check = wide
        ? core.update32(right, before | 0, after | 0)
        : core.update16(right, before & 0xffff, after & 0xffff);
      // The reference: the sum with its check is one's complement zero, which has two forms.
      const whole = core.fold(core.sum(4096, length) + BigInt(check));
      if (naive(bytes.slice(4096, 4096 + length)) !== 0) expect(whole, `${n}`).toBe(0xffff);
      else expect([0, 0xffff]).toContain(whole);
      const bySum = core.updateSum(
        right,
        BigInt(before) & (wide ? ~0n : 0xffffn),
        BigInt(after) & (wide ? ~0n : 0xffffn),
      );
      expect(core.fold(BigInt(~bySum & 0xffff))).toBe(core.fold(BigInt(~check & 0xffff)));
      const wrong = (right + 1 + random(0xfffe)) % 0xffff;
      if (wrong !== right % 0xffff) {
        const updated = wide
          ? core.update32(wrong, before | 0, after | 0)
          : core.update16(wrong, before & 0xffff, after & 0xffff);
        expect(updated % 0xffff).not.toBe(check % 0xffff);
      }
    }
  });
});

const FAMILIES = {
  IPv4: { client: "192.168.4.20", vip: NET.vip, server: NET.servers[0].ip, ip: ip4, header: 20 },
  IPv6: { client: "2001:db8:4::20", vip: "2001:db8:4::100", server: "2001:db8:2::11", ip: ip6, header: 40 },
} as const;
/** Over IPv6 there is no "zero" (RFC 8200, 8.1). */
const KINDS = ["full", "zero", "partial", "wrong"] as const;

describe.each(Object.entries(FAMILIES))("%s through NAT", (name, family) => {
  const isV6 = name === "IPv6";

  async function create(capabilities: number) {
    const director = createDirector({
      interfaces: [
        {
          name: "ext",
          mac: NET.ext.mac,
          mtu: 9200,
          capabilities,
          addresses: ["192.168.4.133/24", "2001:db8:4::133/64"],
        },
        {
          name: "int",
          mac: NET.int.mac,
          mtu: 9200,
          capabilities,
          addresses: ["192.168.2.130/24", "2001:db8:2::130/64"],
        },
      ],
      neighbours: [
        { ip: family.client, mac: NET.client.mac, dev: "ext" },
        { ip: family.server, mac: NET.servers[0].mac, dev: "int" },
      ],
      routes: [],
    });
    for (const protocol of ["tcp", "udp"] as const) {
      const id = { family: isV6 ? 6 : 4, protocol, address: family.vip, port: 80 } as const;
      await director.ipvs.addService({ ...service(80, "rr", protocol), id, persistencePrefix: isV6 ? 128 : 32 });
      await director.ipvs.addServer(id, server(family.server, 8081));
    }
    director.collect();
    return director;
  }

  const pseudo = (source: Uint8Array, destination: Uint8Array, protocol: number, length: number) =>
    concat(source, destination, Uint8Array.of(0, protocol, length >> 8, length & 255));

  it.each(KINDS.filter((kind) => !isV6 || kind !== "zero"))(
    `keeps %s checksums at every length from 0 to ${LONGEST}`,
    async (kind) => {
      const offload = kind === "partial";
      const director = await create(Port.CAPABILITY_LINK | (offload ? Port.CAPABILITY_CHECKSUM : 0));
      const at = 14 + family.header;
      for (let length = 0; length <= LONGEST; length++) {
        const isTcp = kind !== "zero" && length % 2 === 1;
        const forth = length % 4 < 2;
        const ends = forth
          ? { source: family.client, destination: family.vip, sourcePort: 4000, destinationPort: 80 }
          : { source: family.server, destination: family.client, sourcePort: 8081, destinationPort: 4000 };
        const data = noise(length);
        const [protocol, field] = isTcp ? [PROTOCOL.tcp, 16] : [PROTOCOL.udp, 6];
        const flags = forth ? FLAG.syn : FLAG.syn | FLAG.ack;
        const segment = isTcp ? tcp(ends, { flags, data }) : udp(ends, data, kind !== "zero");
        const addresses = (packet: Uint8Array) => {
          const [from, size] = isV6 ? [8, 16] : [12, 4];
          return [packet.slice(from, from + size), packet.slice(from + size, from + 2 * size)] as const;
        };
        const shell = family.ip(ends.source, ends.destination, protocol, segment);
        if (kind === "partial") {
          const sum = naive(pseudo(...addresses(shell), protocol, segment.length));
          segment[field] = sum >> 8;
          segment[field + 1] = sum & 255;
        } else if (kind === "wrong") segment[field + 1]! ^= 0x5a;
        const packet = family.ip(ends.source, ends.destination, protocol, segment);
        const vnet = new Uint8Array(Slot.VNET_SIZE);
        if (offload) vnet.set([1, 0, 0, 0, 0, 0, at & 255, at >> 8, field, 0]);
        const mac = forth ? [NET.ext.mac, NET.client.mac] : [NET.int.mac, NET.servers[0].mac];
        director.inject(forth ? "ext" : "int", ethernet(mac[0]!, mac[1]!, packet), vnet);
        const out = director.collect();
        const what = `${kind}, length ${length}, ${isTcp ? "tcp" : "udp"}, ${forth ? "to the server" : "back"}`;
        expect(out.length, what).toBe(1);
        const [frame, outVnet] = [out[0]!.frame, out[0]!.vnet];
        if (!isV6) expect(naive(frame.subarray(14, 34)), what).toBe(0xffff);
        const body = frame.subarray(at);
        const header = pseudo(...addresses(frame.subarray(14)), protocol, body.length);
        const check = body[field]! * 256 + body[field + 1]!;
        if (kind === "partial") {
          expect(outVnet[0]! & 1, what).toBe(1);
          // What the device will add to it makes the whole right: one's complement of the pseudo-header's sum.
          expect(check % 0xffff, what).toBe(naive(header) % 0xffff);
        } else {
          expect(outVnet[0], what).toBe(0);
          if (kind === "full") expect(naive(header, body), what).toBe(0xffff);
          if (kind === "full" && !isTcp) expect(check, what).not.toBe(0);
          if (kind === "wrong") expect(naive(header, body), what).not.toBe(0xffff);
          // Either none, or a right one.
          if (kind === "zero" && check !== 0) expect(naive(header, body), what).toBe(0xffff);
        }
        expect(Buffer.from(body.subarray(body.length - length)).equals(data), what).toBe(true);
      }
    },
  );
});
