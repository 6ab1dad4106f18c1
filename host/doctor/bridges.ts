/** Bridges: what stands between a TAP and the wire. */
import { inNamespace } from "../port/ioctl.js";
import type { Finding } from "./finding.js";
import type { Link } from "./links.js";
import { sysctl } from "./machine.js";

/** Frames between ports of a bridge go through the machine's firewall, per namespace, where br_netfilter is there. */
const FIREWALLS = ["iptables", "ip6tables", "arptables"] as const;

/** `netns`: where the bridges are; `used`: those that a running director's ports are in, or undefined for any. */
export function bridgeFindings(
  links: readonly Link[],
  netns: string | undefined,
  used?: ReadonlySet<string>,
): Finding[] {
  const bridges = links.filter(({ name, kind }) => kind === "bridge" && (used === undefined || used.has(name)));
  const prefix = netns === undefined ? "" : `ip netns exec ${netns} `;
  const findings: Finding[] = [];
  for (const { name, forwardDelay = 0, spanningTree } of bridges) {
    if (forwardDelay === 0 && !spanningTree) continue;
    const found = spanningTree ? "speaks spanning tree" : `has a forward delay of ${forwardDelay} s`;
    findings.push({
      subject: `bridge ${name}`,
      level: used === undefined ? "note" : "limited",
      found: `${found}: a port that joins waits ${spanningTree ? 2 * forwardDelay : forwardDelay} s`,
      why: "for so long after each start no frame passes between the director and the bridge's other ports",
      remedy: `${prefix}ip link set ${name} type bridge stp_state 0 forward_delay 0`,
    });
  }
  return [...findings, firewall(bridges.length > 0, netns, prefix)];
}

function firewall(hasBridge: boolean, netns: string | undefined, prefix: string): Finding {
  const subject = "br_netfilter";
  let on: string[];
  try {
    on = inNamespace(netns, () => FIREWALLS.filter((name) => sysctl(`net.bridge.bridge-nf-call-${name}`) === "1"));
  } catch {
    on = [];
  }
  const where = netns === undefined ? "" : ` in ${netns}`;
  if (on.length === 0) return { subject, level: "ok", found: `off${where}: bridges forward without the firewall` };
  return {
    subject,
    level: hasBridge ? "limited" : "note",
    found: `bridge-nf-call-${on.join(", -")} ${on.length === 1 ? "is" : "are"} 1${where}: bridged frames pass the machine's firewall`,
    why: "its FORWARD rules (Docker's policy is DROP) and its connection tracking see the director's frames, and may drop them",
    remedy: `${prefix}sysctl -w ${on.map((name) => `net.bridge.bridge-nf-call-${name}=0`).join(" ")}`,
  };
}
