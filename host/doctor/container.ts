/** Whether this is a container, and how each kind is given a device. */
import { existsSync } from "node:fs";
import { text } from "./machine.js";

export type ContainerKind = "docker" | "podman" | "kubernetes" | "lxc" | "systemd-nspawn" | "container";

export interface ContainerSigns {
  /** Whether a file is there. */
  exists(path: string): boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** What started the first process said; empty when that is not known. */
  readonly first: string;
}

function signsHere(): ContainerSigns {
  return { exists: existsSync, environment: process.env, first: text("/proc/1/environ") ?? "" };
}

export function containerKind(signs: ContainerSigns = signsHere()): ContainerKind | undefined {
  if (signs.environment.KUBERNETES_SERVICE_HOST !== undefined) return "kubernetes";
  if (signs.exists("/run/.containerenv")) return "podman";
  if (signs.exists("/.dockerenv")) return "docker";
  const named = /(?:^|\0)container=([^\0]*)/.exec(signs.first)?.[1] ?? signs.environment.container;
  if (named === undefined) return undefined;
  return named === "lxc" || named === "podman" || named === "docker" || named === "systemd-nspawn"
    ? named
    : "container";
}

const GRANTS: Readonly<Record<ContainerKind, string>> = {
  docker: "docker run --device /dev/net/tun --cap-add NET_ADMIN ...",
  podman: "podman run --device /dev/net/tun --cap-add NET_ADMIN ...",
  kubernetes:
    "the pod: securityContext.capabilities.add [NET_ADMIN], and /dev/net/tun as a volume {hostPath: {path: /dev/net/tun, type: CharDevice}} with privileged: true, or by a device plugin",
  lxc: "lxc.cgroup2.devices.allow = c 10:200 rwm and lxc.mount.entry = /dev/net/tun dev/net/tun none bind,create=file",
  "systemd-nspawn":
    "systemd-nspawn --bind=/dev/net/tun --property=DeviceAllow='/dev/net/tun rw' --capability=CAP_NET_ADMIN ...",
  container: "give the container the device /dev/net/tun and the capability NET_ADMIN",
};

/** How /dev/net/tun comes here; on a machine that is no container the module makes it. */
export function tunRemedy(kind: ContainerKind | undefined): string {
  return kind === undefined ? "modprobe tun" : `modprobe tun on the host; ${GRANTS[kind]}`;
}
