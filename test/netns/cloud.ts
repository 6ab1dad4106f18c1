/**
 * A cloud's network: machines on links of their own to a fabric that routes each address to the machine that has it, and
 * drops what comes from a machine with another MAC, or another source address, than the machine was given.
 */
import { execFileSync } from "node:child_process";
import { ip, type Network } from "./network.js";

export interface Machine {
  readonly namespace: string;
  /** Its first address. */
  readonly address: string;
}

export class Cloud {
  readonly fabric: string;
  private readonly network: Network;
  private readonly rules: string[] = [];
  private count = 0;

  constructor(network: Network) {
    this.network = network;
    this.fabric = network.namespace("fabric");
    sysctl(this.fabric, { "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1 });
  }

  /** A machine with eth0 and its own address; `more` are given to it too, and led to its link. */
  machine(role: string, address: string, more: readonly string[] = []): Machine {
    const namespace = this.network.namespace(role);
    const number = ++this.count;
    const port = `${role}${number}`;
    const mac = `02:00:00:00:01:${number.toString(16).padStart(2, "0")}`;
    ip("link", "add", port, "netns", this.fabric, "type", "veth", "peer", "name", "eth0", "netns", namespace);
    ip("-n", namespace, "link", "set", "eth0", "address", mac);
    ip("-n", this.fabric, "link", "set", port, "up");
    ip("-n", namespace, "link", "set", "eth0", "up");
    const six = address.includes(":");
    const gateway = six ? "fe80::1" : "169.254.1.1";
    ip("-n", this.fabric, "addr", "add", `${gateway}/${six ? 64 : 32}`, "dev", port, ...(six ? ["nodad"] : []));
    ip("-n", namespace, "addr", "add", `${address}/${six ? 128 : 32}`, "dev", "eth0", ...(six ? ["nodad"] : []));
    if (!six) ip("-n", namespace, "route", "add", gateway, "dev", "eth0");
    ip("-n", namespace, ...(six ? ["-6"] : []), "route", "add", "default", "via", gateway, "dev", "eth0");
    for (const each of [address, ...more]) {
      ip("-n", this.fabric, ...(six ? ["-6"] : []), "route", "add", each, "dev", port, "metric", `${100 + number}`);
    }
    const family = six ? "ip6" : "ip";
    this.rules.push(
      `iifname "${port}" ether saddr != ${mac} counter drop`,
      `iifname "${port}" ${family} saddr { ${[address, ...more].join(", ")} } accept`,
    );
    execFileSync("ip", ["netns", "exec", this.fabric, "nft", "-f", "-"], {
      input: [
        "table inet cloud",
        "delete table inet cloud",
        "table inet cloud {",
        " chain forward {",
        "  type filter hook forward priority 0; policy drop;",
        ...this.rules.map((rule) => `  ${rule}`),
        '  counter comment "foreign"',
        " }",
        "}",
        "",
      ].join("\n"),
    });
    return { namespace, address };
  }

  /** How many packets with a source that their machine was not given were dropped. */
  foreign(): number {
    const text = execFileSync("ip", ["netns", "exec", this.fabric, "nft", "list", "table", "inet", "cloud"], {
      encoding: "utf8",
    });
    return Number(/counter packets (\d+) bytes \d+ comment "foreign"/.exec(text)?.[1] ?? Number.NaN);
  }
}

/** Sets what its machine's owner would. */
export function sysctl(namespace: string, values: Readonly<Record<string, number | string>>): void {
  for (const [name, value] of Object.entries(values)) {
    execFileSync("ip", ["netns", "exec", namespace, "sysctl", "-qw", `${name}=${value}`]);
  }
}
