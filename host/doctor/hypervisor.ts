/**
 * A director's TAP has a MAC of its own, and many hypervisors and clouds let only the MAC out that they gave. That
 * policy cannot be read from inside: the driver of the network card and the machine's maker tell whose it is.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import type { Finding } from "./finding.js";
import { text } from "./machine.js";

const INSTEAD = "or take no other MAC: wlvs run --tun NAME,ip=...,routes=auto";

/** Driver: who is behind it, and what is to be looked at there. */
const DRIVERS: Readonly<Record<string, readonly [string, string]>> = {
  virtio_net: [
    "KVM",
    "libvirt: no <filterref> (clean-traffic, no-mac-spoofing) on the interface; Proxmox: the interface's firewall without MAC filter; OpenStack: allowed address pairs with the director's MAC, or port security off",
  ],
  vmxnet3: [
    "VMware",
    "the port group's security policy: forged transmits: accept, and promiscuous mode or MAC learning: accept",
  ],
  e1000: ["VMware or another hypervisor", "its policy for forged transmits and promiscuous mode"],
  e1000e: [
    "a real card, VMware or another hypervisor",
    "if it is a virtual one: its policy for forged transmits and promiscuous mode",
  ],
  hv_netvsc: ["Hyper-V", "Set-VMNetworkAdapter -VMName NAME -MacAddressSpoofing On (in Azure it cannot be)"],
  ena: [
    "Amazon EC2",
    "nothing to set: a VPC lets no other MAC out; with --tun also switch the source/destination check off",
  ],
  gve: [
    "Google Cloud",
    "nothing to set: a VPC lets no other MAC out; with --tun also allow IP forwarding (--can-ip-forward)",
  ],
  "xen-netfront": ["Xen", "the VIF's locking mode (xe vif-param-set locking-mode=unlocked)"],
  vif: ["Xen", "the VIF's locking mode (xe vif-param-set locking-mode=unlocked)"],
  mlx5_core: [
    "a real card, or a cloud's (Azure, OCI)",
    "whether MAC spoofing check is on for its virtual function (ip link set PF vf N spoofchk off)",
  ],
  ixgbevf: ["a virtual function", "ip link set PF vf N spoofchk off trust on, on its host"],
  iavf: ["a virtual function", "ip link set PF vf N spoofchk off trust on, on its host"],
};

/** Makers of clouds whose network knows no MAC but the given one, by what DMI says. */
const CLOUDS: ReadonlyArray<readonly [RegExp, string]> = [
  [/Amazon/, "Amazon EC2"],
  [/Google/, "Google Cloud"],
  [/DigitalOcean/, "DigitalOcean"],
  [/Hetzner/, "Hetzner Cloud"],
  [/OpenStack/, "OpenStack"],
  [/OracleCloud/, "Oracle Cloud"],
  [/Alibaba/, "Alibaba Cloud"],
  [/Vultr/, "Vultr"],
  [/Scaleway/, "Scaleway"],
];

export interface Uplink {
  readonly name: string;
  readonly driver: string;
}

/** Network cards, real or virtual, of the machine itself: those with a driver. */
export function uplinks(directory = "/sys/class/net"): Uplink[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    try {
      return [{ name, driver: basename(readlinkSync(`${directory}/${name}/device/driver`)) }];
    } catch {
      return [];
    }
  });
}

function cloud(): string | undefined {
  const dmi = ["sys_vendor", "product_name", "chassis_asset_tag", "bios_vendor"]
    .map((name) => text(`/sys/class/dmi/id/${name}`) ?? "")
    .join(" ");
  // Azure's machines are Hyper-V's, with this tag.
  if (dmi.includes("7783-7084-3265-9085-8269-3286-77")) return "Azure";
  return CLOUDS.find(([pattern]) => pattern.test(dmi))?.[1];
}

/** What to look at when an uplink may be filtered; undefined where nothing is known of its driver. */
export function adviceFor({ driver }: Uplink): { platform: string; check: string } | undefined {
  const found = DRIVERS[driver];
  return found === undefined ? undefined : { platform: cloud() ?? found[0], check: found[1] };
}

export function hypervisorFindings(links: readonly Uplink[] = uplinks()): Finding[] {
  return links.flatMap((link) => {
    const advice = adviceFor(link);
    if (advice === undefined) return [];
    return [
      {
        subject: `uplink ${link.name}`,
        level: "note" as const,
        found: `driver ${link.driver} (${advice.platform}): whether it lets the MAC of a TAP out cannot be seen from here`,
        why: "a director on a bridge has a MAC of its own; where that is filtered, its ARP requests get no answer",
        remedy: `check ${advice.check}; ${INSTEAD}`,
      },
    ];
  });
}
