import { describe, expect, it } from "vitest";
import { findGroup, findUser } from "../../../host/keeper/user.js";

describe("users and groups", () => {
  it("are found by name and by number", () => {
    expect(findUser("root")).toEqual({ name: "root", uid: 0, gid: 0 });
    expect(findUser("0")).toEqual({ name: "root", uid: 0, gid: 0 });
    expect(findGroup("root")).toBe(0);
  });

  it.each(["", "no such user", "-1"])("%j names nobody", (text) => {
    expect(() => findUser(text)).toThrow(`--user ${text}: no such user in /etc/passwd`);
    expect(() => findGroup(text)).toThrow(`--socket-group ${text}: no such group in /etc/group`);
  });
});
