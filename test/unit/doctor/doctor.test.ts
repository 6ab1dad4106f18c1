import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { containerKind, tunRemedy } from "../../../host/doctor/container.js";
import { isOnLink } from "../../../host/doctor/director.js";
import { adviceFor, hypervisorFindings, uplinks } from "../../../host/doctor/hypervisor.js";
import { kernelFinding, limitFindings } from "../../../host/doctor/limits.js";

describe("kernels", () => {
  it.each([
    ["6.18.44-x", "ok", /^Linux 6\.18/],
    ["6.7.0", "ok", /^Linux 6\.7/],
    ["6.1.0-32-amd64", "note", /without USO: .* and multishot reads/],
    ["6.6.1", "note", /without multishot reads/],
    ["5.10.0", "note", /without USO/],
  ])("%s", (version, level, found) => {
    expect(kernelFinding(version)).toMatchObject({ level, found: expect.stringMatching(found) });
  });
});

describe("limits", () => {
  const limits = (files: string, locked: string) =>
    `Limit                     Soft Limit           Hard Limit           Units\n` +
    `Max open files            ${files}                 4096                 files\n` +
    `Max locked memory         ${locked}                65536                bytes\n`;

  it("that are small are told with what to set", () => {
    const [files, locked] = limitFindings(limits("1024", "65536"));
    expect(files).toMatchObject({
      level: "note",
      found: "at most 1024",
      remedy: expect.stringContaining("LimitNOFILE=65536"),
    });
    expect(locked).toMatchObject({
      level: "note",
      found: "at most 64 KiB",
      remedy: expect.stringContaining("LimitMEMLOCK"),
    });
  });

  it("that are large are well", () => {
    for (const finding of limitFindings(limits("1048576", "unlimited"))) expect(finding.level).toBe("ok");
  });
});

describe("containers", () => {
  const nothing = { exists: () => false, environment: {}, first: "" };

  it.each([
    [{ ...nothing, environment: { KUBERNETES_SERVICE_HOST: "10.0.0.1" } }, "kubernetes"],
    [{ ...nothing, exists: (path: string) => path === "/.dockerenv" }, "docker"],
    [{ ...nothing, exists: (path: string) => path === "/run/.containerenv" }, "podman"],
    [{ ...nothing, first: "PATH=/bin\0container=lxc\0TERM=linux" }, "lxc"],
    [{ ...nothing, first: "container=systemd-nspawn" }, "systemd-nspawn"],
    [{ ...nothing, environment: { container: "oci" } }, "container"],
    [nothing, undefined],
  ])("%#: %s", (signs, kind) => {
    expect(containerKind(signs)).toBe(kind);
  });

  it("are each given the device their own way; a machine loads the module", () => {
    expect(tunRemedy(undefined)).toBe("modprobe tun");
    expect(tunRemedy("docker")).toContain("--device /dev/net/tun --cap-add NET_ADMIN");
    expect(tunRemedy("systemd-nspawn")).toContain("--bind=/dev/net/tun");
  });
});

describe("uplinks", () => {
  it("are found by their driver, and each hypervisor's policy is named", () => {
    const directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
    try {
      for (const [name, driver] of [
        ["eth0", "vmxnet3"],
        ["eth1", "ena"],
        ["eth2", "something"],
      ] as const) {
        mkdirSync(join(directory, name, "device"), { recursive: true });
        symlinkSync(`../../../bus/drivers/${driver}`, join(directory, name, "device/driver"));
      }
      mkdirSync(join(directory, "lo"));
      const found = uplinks(directory).sort((a, b) => (a.name < b.name ? -1 : 1));
      expect(found).toEqual([
        { name: "eth0", driver: "vmxnet3" },
        { name: "eth1", driver: "ena" },
        { name: "eth2", driver: "something" },
      ]);
      const [vmware, amazon, ...others] = hypervisorFindings(found);
      expect(vmware).toMatchObject({
        subject: "uplink eth0",
        remedy: expect.stringContaining("forged transmits: accept"),
      });
      expect(amazon).toMatchObject({ remedy: expect.stringContaining("routes=auto") });
      expect(others).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it.each(["virtio_net", "hv_netvsc", "gve", "xen-netfront"])("%s", (driver) => {
    expect(adviceFor({ name: "eth0", driver })?.check).toMatch(/\w/);
  });
});

describe("on link", () => {
  it.each([
    ["10.88.0.1/24", "10.88.0.50", true],
    ["10.88.0.1/24", "10.88.1.50", false],
    ["10.88.0.1/23", "10.88.1.50", true],
    ["10.88.0.1/23", "10.88.2.50", false],
    ["10.88.0.1/32", "10.88.0.1", true],
    ["10.88.0.1/32", "10.88.0.2", false],
    ["0.0.0.0/0", "10.88.0.2", true],
    ["fd88::1/64", "fd88::abcd", true],
    ["fd88::1/64", "fd88:0:0:1::1", false],
    ["10.88.0.1/24", "fd88::1", false],
  ])("%s has %s: %s", (cidr, address, on) => {
    expect(isOnLink(cidr, address)).toBe(on);
  });
});
