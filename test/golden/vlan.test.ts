/** VLAN tags: what the director makes itself for a tagged frame has the frame's tag. */
import { describe, expect, it } from "vitest";
import { createDirector, NET } from "../support/director.js";

const TAG = "81000064";

/** The frame of these bytes with a tag behind the addresses. */
function tagged(hex: string): Uint8Array {
  return Buffer.from(hex.slice(0, 24) + TAG + hex.slice(24), "hex");
}

const mac = (text: string) => text.replaceAll(":", "");

describe("a tagged", () => {
  it("question for an address is answered with its tag", () => {
    const engine = createDirector();
    const asker = "020000000499";
    engine.inject("ext", tagged(`ffffffffffff${asker}08060001080006040001${asker}c0a80463000000000000c0a80464`));
    const [answer, ...more] = engine.collect();
    expect(more).toEqual([]);
    expect(Buffer.from(answer!.frame).toString("hex")).toBe(
      `${asker}${mac(NET.ext.mac)}${TAG}08060001080006040002${mac(NET.ext.mac)}c0a80464${asker}c0a80463`,
    );
  });

  it("packet that no host has is complained of with its tag, and its next hop is asked for with it", () => {
    const engine = createDirector();
    // UDP to a closed port of the VIP.
    const packet = "450000210000400040110000c0a80414c0a804649c40003500 0d0000".replaceAll(" ", "");
    const bytes = Buffer.from(`${packet}0102030405`, "hex");
    let sum = 0;
    for (let at = 0; at < 20; at += 2) sum += bytes.readUInt16BE(at);
    bytes.writeUInt16BE(~((sum & 0xffff) + (sum >> 16)) & 0xffff, 10);
    const ethernet = `${mac(NET.ext.mac)}${mac(NET.client.mac)}0800`;
    engine.inject("ext", tagged(ethernet + bytes.toString("hex")));
    const sent = engine.collect().map(({ dev, frame }) => `${dev} ${Buffer.from(frame).toString("hex")}`);
    expect(sent).toHaveLength(1);
    expect(sent[0]).toMatch(new RegExp(`^ext ${mac(NET.client.mac)}${mac(NET.ext.mac)}${TAG}080045c0`));

    // A packet to be routed to a neighbour that nobody knows yet.
    bytes.writeUInt16BE(0, 10);
    Buffer.from("c0a802c8", "hex").copy(bytes, 16);
    sum = 0;
    for (let at = 0; at < 20; at += 2) sum += bytes.readUInt16BE(at);
    bytes.writeUInt16BE(~((sum & 0xffff) + (sum >> 16)) & 0xffff, 10);
    engine.inject("ext", tagged(ethernet + bytes.toString("hex")));
    const asked = engine.collect().map(({ dev, frame }) => `${dev} ${Buffer.from(frame).toString("hex")}`);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatch(new RegExp(`^int ffffffffffff${mac(NET.int.mac)}${TAG}0806`));
  });
});
