import { describe, expect, it } from "vitest";
import { serverList } from "../../host/lab/exercise.js";
import { weightedRoundRobin } from "../../host/lab/order.js";
import { fillVnetHeader, innerPacket, VNET_SIZE } from "../../host/realserver/ipip.js";

describe("the lab's judge", () => {
  it("says what the kernel does with weights 1 and 2", () => {
    const picks = weightedRoundRobin(serverList(2), 9).map((address) => Number(address.split(".")[3]));
    expect(picks).toEqual([129, 128, 129, 129, 128, 129, 129, 128, 129]);
  });

  it("goes newest first among equals", () => {
    const equal = ["a", "b", "c"].map((address) => ({ address, weight: 5 }));
    expect(weightedRoundRobin(equal, 4)).toEqual(["c", "b", "a", "c"]);
  });

  it("never picks a server of weight 0", () => {
    const servers = [
      { address: "a", weight: 0 },
      { address: "b", weight: 3 },
    ];
    expect(weightedRoundRobin(servers, 3)).toEqual(["b", "b", "b"]);
    expect(weightedRoundRobin([{ address: "a", weight: 0 }], 3)).toEqual([]);
  });
});

describe("the decapsulator", () => {
  const HEADER = 20;

  function ipv4(protocol: number, source: number[], destination: number[], payload: Buffer): Buffer {
    const packet = Buffer.alloc(HEADER + payload.length);
    packet[0] = 0x45;
    packet.writeUInt16BE(packet.length, 2);
    packet[9] = protocol;
    packet.set(source, 12);
    packet.set(destination, 16);
    packet.set(payload, HEADER);
    return packet;
  }

  const udp = Buffer.from("04d20050000a0000abcd", "hex");
  const inner = ipv4(17, [192, 168, 2, 132], [192, 168, 2, 133], udp);

  it("finds the packet in the packet", () => {
    const outer = ipv4(4, [192, 168, 2, 130], [192, 168, 2, 128], inner);
    const { start, end } = innerPacket(outer)!;
    expect(outer.subarray(start, end)).toEqual(inner);
    expect(innerPacket(Buffer.concat([outer, Buffer.alloc(6)]))!.end).toBe(outer.length);
  });

  it("takes nothing else", () => {
    expect(innerPacket(Buffer.alloc(0))).toBeUndefined();
    expect(innerPacket(inner)).toBeUndefined();
    expect(innerPacket(ipv4(4, [1, 2, 3, 4], [5, 6, 7, 8], Buffer.alloc(10)))).toBeUndefined();
    const fragment = ipv4(4, [1, 2, 3, 4], [5, 6, 7, 8], inner);
    fragment[6] = 0x20;
    expect(innerPacket(fragment)).toBeUndefined();
    expect(innerPacket(ipv4(4, [1, 2, 3, 4], [5, 6, 7, 8], inner).subarray(0, 45))).toBeUndefined();
  });

  it("hands an unfinished checksum on as one", () => {
    const header = Buffer.alloc(VNET_SIZE, 0xff);
    fillVnetHeader(header, inner);
    expect(header).toEqual(Buffer.alloc(VNET_SIZE));
    const unfinished = Buffer.from(inner);
    // 192.168.2.132 + 192.168.2.133 + 17 + 10
    unfinished.writeUInt16BE(((0xc0a8 + 0x0284 + 0xc0a8 + 0x0285 + 17 + 10) % 0xffff) & 0xffff, HEADER + 6);
    fillVnetHeader(header, unfinished);
    expect([header[0], header.readUInt16LE(6), header.readUInt16LE(8)]).toEqual([1, HEADER, 6]);
  });
});
