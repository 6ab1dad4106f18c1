import { describe, expect, it } from "vitest";
import { parseSetting, SETTING_DEFAULTS, settingName } from "../../../host/core/settings.js";

describe("settings", () => {
  it("go by their short and their long name", () => {
    expect(settingName("net.ipv4.vs.sloppy_tcp")).toBe("sloppy_tcp");
    expect(settingName("net/ipv4/vs/sloppy_tcp")).toBe("sloppy_tcp");
    expect(settingName("sloppy_tcp")).toBe("sloppy_tcp");
    expect(settingName("net.ipv4.ip_forward")).toBeUndefined();
    expect(settingName("toString")).toBeUndefined();
  });

  it("take one number, or two", () => {
    expect(parseSetting("sync_threshold", "1 5").map(([, value]) => value)).toEqual([1, 5]);
    expect(() => parseSetting("sloppy_tcp", "1 5")).toThrow(RangeError);
    expect(() => parseSetting("sloppy_tcp", "yes")).toThrow(/numbers from 0/);
    expect(() => parseSetting("drop_packet", "4")).toThrow(/0 to 3/);
    expect(() => parseSetting("nothing", "1")).toThrow(/unknown/);
  });

  it("have one default each", () => {
    const ids = SETTING_DEFAULTS.map(([id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});
