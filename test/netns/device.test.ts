import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as Port from "../../assembly/layout/port.js";
import { LvsError } from "../../host/errors.js";
import { closeDevice, type Device, type DeviceOptions } from "../../host/port/device.js";
import { inNamespace, setQueueAttached } from "../../host/port/ioctl.js";
import { openTap, stableMac, type TapOptions } from "../../host/port/tap.js";
import { openTun } from "../../host/port/tun.js";
import { needsDevices } from "../support/needs.js";
import { hasLink, ip, Network } from "./network.js";

describe("TAP and TUN devices", () => {
  let network: Network;
  let netns: string;
  let open: Device[];

  beforeEach((context) => {
    needsDevices(context);
    network = new Network();
    netns = network.namespace("dev");
    open = [];
  });

  afterEach(() => {
    for (const device of open ?? []) closeDevice(device);
    network?.close();
  });

  function tap(options: Partial<TapOptions> & { name: string }) {
    const device = openTap({ queues: 1, netns, ...options });
    open.push(device);
    return device;
  }

  function tun(options: Partial<DeviceOptions> & { name: string }) {
    const device = openTun({ queues: 1, netns, ...options });
    open.push(device);
    return device;
  }

  function refusal(body: () => unknown): LvsError {
    try {
      body();
    } catch (error) {
      expect(error).toBeInstanceOf(LvsError);
      return error as LvsError;
    }
    throw new Error("taken");
  }

  it("are made in their namespace, brought up, and gone when they are closed", () => {
    const device = tap({ name: "t0", mtu: 1400 });
    expect(device.capabilities & Port.CAPABILITY_LINK).toBe(Port.CAPABILITY_LINK);
    expect(device.capabilities & Port.CAPABILITY_TSO4).toBe(Port.CAPABILITY_TSO4);
    expect(device).toMatchObject({ mtu: 1400, kind: "tap" });
    expect(ip("-n", netns, "link", "show", "t0")).toMatch(/<[^>]*UP[^>]*> mtu 1400/);
    expect(device.mac).not.toBe(device.kernelMac);
    expect(hasLink(netns, "t0")).toBe(true);
    closeDevice(open.pop()!);
    expect(hasLink(netns, "t0")).toBe(false);
  });

  it("have a MAC that stays, and differs by name", () => {
    expect(stableMac("a", undefined, "m")).toBe(stableMac("a", undefined, "m"));
    expect(stableMac("a", undefined, "m")).not.toBe(stableMac("b", undefined, "m"));
    expect(stableMac("a", undefined, "m")).not.toBe(stableMac("a", "n", "m"));
    expect(Number.parseInt(stableMac("a").slice(0, 2), 16) & 3).toBe(2);
  });

  it("have a queue for each worker, and the others wait detached", () => {
    const device = tap({ name: "t0", queues: 3 });
    expect(device.queues).toHaveLength(3);
    expect(ip("-n", netns, "-d", "link", "show", "t0")).toContain("numqueues 1 numdisabled 2");
    // Twice is no error: a director that was killed leaves its queues attached.
    for (const attached of [true, true, false, false]) setQueueAttached(device.queues[1]!, attached);
    expect(ip("-n", netns, "-d", "link", "show", "t0")).toContain("numqueues 1 numdisabled 2");
  });

  it("are taken as they were made beforehand, single queue and all, and left there", () => {
    inNamespace(netns, () => ip("tuntap", "add", "t1", "mode", "tap", "vnet_hdr"));
    const device = tap({ name: "t1", queues: 2 });
    expect(device.queues).toHaveLength(1);
    closeDevice(open.pop()!);
    expect(hasLink(netns, "t1")).toBe(true);
  });

  it("stay when they are to persist, and are taken up again", () => {
    tap({ name: "t2", persist: true });
    closeDevice(open.pop()!);
    expect(hasLink(netns, "t2")).toBe(true);
    tap({ name: "t2" });
  });

  it("join a bridge", () => {
    ip("-n", netns, "link", "add", "br0", "type", "bridge");
    tap({ name: "t3", bridge: "br0" });
    expect(ip("-n", netns, "link", "show", "t3")).toContain("master br0");
    expect(refusal(() => tap({ name: "t4", bridge: "br9" })).message).toContain("ip link add br9 type bridge");
    expect(hasLink(netns, "t4")).toBe(false);
  });

  it("have no link layer as TUN", () => {
    const device = tun({ name: "u0", mtu: 1300 });
    expect(device).toMatchObject({ kind: "tun", mtu: 1300, kernelMac: "" });
    expect(device.capabilities & Port.CAPABILITY_LINK).toBe(0);
  });

  it("are refused in a line when they cannot be", () => {
    tap({ name: "t5" });
    expect(refusal(() => tap({ name: "t5" })).message).toBe(
      "t5 is in use by another program: end it, or take another name",
    );
    expect(refusal(() => tap({ name: "lo" })).message).toBe("lo exists and is no tap device: take another name");
    tun({ name: "u1", persist: true });
    closeDevice(open.pop()!);
    expect(refusal(() => tap({ name: "u1" })).message).toBe("u1 exists and is no tap device: take another name");
    expect(refusal(() => tap({ name: "t6", netns: "wlvs-none" })).message).toContain("ip netns add wlvs-none");
    expect(refusal(() => tap({ name: "t7", mtu: 65535 })).message).toContain("does not take an MTU of 65535");
    expect(hasLink(netns, "t7")).toBe(false);
  });
});
