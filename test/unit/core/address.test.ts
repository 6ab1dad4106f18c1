import { isIP } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatAddress, formatMac, parseAddress, parseMac, parsePrefix } from "../../../host/address.js";

describe("addresses", () => {
  it.each([
    ["192.168.4.100", "192.168.4.100"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"],
    ["::ffff:10.0.0.1", "::ffff:10.0.0.1"],
    ["64:ff9b::10.0.0.1", "64:ff9b::a00:1"],
  ])("%s is %s", (text, canonical) => {
    const parsed = parseAddress(text)!;
    expect(formatAddress(parsed.family, parsed.bytes)).toBe(canonical);
  });

  it.each([
    "",
    "1.2.3",
    "1.2.3.256",
    "1.2.3.4.5",
    "01234::",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "x",
  ])("%j is none", (text) => expect(parseAddress(text)).toBeUndefined());

  it("survive the way to text and back", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        const text = formatAddress(6, bytes);
        expect(isIP(text)).toBe(6);
        expect(parseAddress(text)!.bytes).toEqual(bytes);
      }),
    );
  });

  it("have prefixes", () => {
    expect(parsePrefix("10.0.0.1/24")?.prefix).toBe(24);
    expect(parsePrefix("10.0.0.1")?.prefix).toBe(32);
    expect(parsePrefix("::1/129")).toBeUndefined();
    expect(parsePrefix("10.0.0.1/")).toBeUndefined();
  });

  it("have MACs beside them", () => {
    expect(formatMac(parseMac("02:0:0:00:0A:ff")!)).toBe("02:00:00:00:0a:ff");
    expect(parseMac("02:00:00:00:00")).toBeUndefined();
  });
});
