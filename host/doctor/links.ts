/** The interfaces of a network namespace, as ip(8) tells them. */
import { execFileSync } from "node:child_process";
import { inNamespace } from "../port/ioctl.js";
import { onPath } from "./machine.js";

export interface Link {
  readonly name: string;
  readonly kind: string | undefined;
  readonly mac: string | undefined;
  readonly mtu: number;
  readonly master: string | undefined;
  readonly queueLength: number;
  /** Frames that the kernel could not hand over. */
  readonly dropped: number;
  /** Of a bridge: seconds that a port waits before it forwards, and whether it speaks spanning tree. */
  readonly forwardDelay: number | undefined;
  readonly spanningTree: boolean;
}

interface Shown {
  readonly ifname: string;
  readonly address?: string;
  readonly mtu: number;
  readonly master?: string;
  readonly txqlen?: number;
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_data?: { forward_delay?: number; stp_state?: number };
  };
  readonly stats64?: { readonly tx: { readonly dropped: number } };
}

/** Of this process' namespace by default. Empty where ip(8) is missing, or the namespace may not be entered. */
export function linksOf(netns?: string): Link[] {
  const program = onPath("ip");
  if (program === undefined) return [];
  let shown: Shown[];
  try {
    const text = inNamespace(netns, () =>
      execFileSync(program, ["-j", "-d", "-s", "link", "show"], { stdio: ["ignore", "pipe", "ignore"] }),
    );
    shown = JSON.parse(text.toString()) as Shown[];
  } catch {
    return [];
  }
  return shown.map(({ ifname, address, mtu, master, txqlen, linkinfo, stats64 }) => {
    const { forward_delay: delay, stp_state: spanning } = linkinfo?.info_data ?? {};
    return {
      name: ifname,
      kind: linkinfo?.info_kind,
      mac: address,
      mtu,
      master,
      queueLength: txqlen ?? 0,
      dropped: stats64?.tx.dropped ?? 0,
      // The kernel counts hundredths of a second.
      forwardDelay: delay === undefined ? undefined : delay / 100,
      spanningTree: (spanning ?? 0) !== 0,
    };
  });
}
