/** What a director needs of a machine: each thing tried, not guessed from versions. */
import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { RemoteIpvs } from "../control/client.js";
import { containerKind, tunRemedy } from "./container.js";
import type { Finding } from "./finding.js";
import { hypervisorFindings } from "./hypervisor.js";
import { kernelFinding, limitFindings, userNamespaces } from "./limits.js";
import { onPath, text } from "./machine.js";

type Native = typeof import("../port/native.js");
type Ioctl = typeof import("../port/ioctl.js");

const CAP_NET_ADMIN = 12;
const CAP_NET_RAW = 13;
const CAP_SYS_ADMIN = 21;
const READ_MULTISHOT = 49;
const PAGE = 4096;
const RING_ENTRIES_SIZE = PAGE;
const RING_SIZE = 2 * PAGE;

/** The machine, and the director that runs on it: `director` need not be there. */
export async function examine(director?: RemoteIpvs): Promise<Finding[]> {
  const findings: Finding[] = [node(), core(), kernelFinding(), ...limitFindings()];
  const tools = await loadNative();
  findings.push(tools.finding);
  findings.push(tunDevice());
  const capabilities = effectiveCapabilities();
  findings.push(...privileges(capabilities));
  findings.push(ipTool());
  const root = has(capabilities, CAP_NET_ADMIN) && has(capabilities, CAP_SYS_ADMIN);
  if (tools.native !== undefined) findings.push(await ioUring());
  if (tools.ioctl !== undefined && root) findings.push(...devices(tools.ioctl, tools.native));
  else findings.push({ subject: "offloads", level: "note", found: "not tried: that takes root" });
  findings.push(forwarding(), reversePath(), nginx(), userNamespaces(), ...hypervisorFindings());
  if (tools.native === undefined) return findings;
  // What follows makes system calls.
  const { bridgeFindings } = await import("./bridges.js");
  const { linksOf } = await import("./links.js");
  findings.push(...bridgeFindings(linksOf(), undefined));
  if (director === undefined) return findings;
  const { examineDirector } = await import("./director.js");
  return [...findings, ...(await examineDirector(director))];
}

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const subject = "Node.js";
  if (major > 20 || (major === 20 && minor >= 20)) return { subject, level: "ok", found: process.version };
  return {
    subject,
    level: "missing",
    found: `${process.version} is too old`,
    remedy: "install Node.js 20.20 or later",
  };
}

function core(): Finding {
  const subject = "core";
  for (const place of ["../../core.wasm", "../../dist/core.wasm"]) {
    const path = fileURLToPath(new URL(place, import.meta.url));
    if (existsSync(path)) return { subject, level: "ok", found: path };
  }
  return { subject, level: "missing", found: "core.wasm is not there", remedy: "npm run build" };
}

async function loadNative(): Promise<{ finding: Finding; native?: Native; ioctl?: Ioctl }> {
  const subject = "system calls";
  try {
    const native = await import("../port/native.js");
    const ioctl = await import("../port/ioctl.js");
    return { finding: { subject, level: "ok", found: "koffi loads" }, native, ioctl };
  } catch (error) {
    const found = `koffi does not load: ${(error as Error).message.split("\n", 1)[0]}`;
    return { finding: { subject, level: "missing", found, remedy: "npm install (with optional dependencies)" } };
  }
}

function tunDevice(): Finding {
  const subject = "/dev/net/tun";
  if (!existsSync("/dev/net/tun")) {
    return {
      subject,
      level: "missing",
      found: containerKind() === undefined ? "is not there" : `is not there (this is a container: ${containerKind()})`,
      why: "every port of a director is opened there",
      remedy: tunRemedy(containerKind()),
    };
  }
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
    return { subject, level: "ok", found: "may be opened" };
  } catch {
    return {
      subject,
      level: "missing",
      found: "may not be opened by this user",
      why: "every port of a director is opened there; opening it gives no rights that one does not have otherwise",
      remedy: "run as root, or chmod 0666 /dev/net/tun",
    };
  }
}

function effectiveCapabilities(): bigint {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(text("/proc/self/status") ?? "");
  return BigInt(`0x${line?.[1] ?? "0"}`);
}

function has(capabilities: bigint, bit: number): boolean {
  return ((capabilities >> BigInt(bit)) & 1n) === 1n;
}

function privileges(capabilities: bigint): Finding[] {
  const findings: Finding[] = [];
  if (has(capabilities, CAP_NET_ADMIN)) findings.push({ subject: "CAP_NET_ADMIN", level: "ok", found: "present" });
  else {
    findings.push({
      subject: "CAP_NET_ADMIN",
      level: "missing",
      found: "absent: no device can be made",
      remedy: "run as root, or make the devices first: ip tuntap add ext0 mode tap user $USER vnet_hdr",
    });
  }
  if (has(capabilities, CAP_SYS_ADMIN)) findings.push({ subject: "CAP_SYS_ADMIN", level: "ok", found: "present" });
  else {
    findings.push({
      subject: "CAP_SYS_ADMIN",
      level: "limited",
      found: "absent: netns= and the lab cannot enter network namespaces",
      remedy: "run as root; in a container: --privileged, or --cap-add SYS_ADMIN",
    });
  }
  if (!has(capabilities, CAP_NET_RAW)) {
    findings.push({
      subject: "CAP_NET_RAW",
      level: "limited",
      found: "absent: 'wlvs realserver tun' cannot open its raw socket",
      remedy: "run it as root",
    });
  }
  return findings;
}

function ipTool(): Finding {
  const path = onPath("ip");
  if (path !== undefined) return { subject: "ip", level: "ok", found: path };
  return {
    subject: "ip",
    level: "limited",
    found: "is not there: the lab needs it",
    remedy: "apt-get install iproute2",
  };
}

/** A ring as a worker makes it, and what it has to know. */
async function ioUring(): Promise<Finding> {
  const subject = "io_uring";
  const why = "frames are moved by a system call each instead of many in one";
  const { NoUring, Ring } = await import("../port/io-uring.js");
  const native = await import("../port/native.js");
  // Page-aligned, of this size, within memory that does not move.
  const memory = Buffer.from(new ArrayBuffer(RING_ENTRIES_SIZE + RING_SIZE + PAGE));
  const at = Math.ceil(native.addressOf(memory) / PAGE) * PAGE;
  let ring: InstanceType<typeof Ring> | undefined;
  try {
    ring = new Ring({ submissions: 8, completions: 64, entriesAt: at, ringAt: at + RING_ENTRIES_SIZE });
    if (ring.supports(READ_MULTISHOT)) return { subject, level: "ok", found: "present, with multishot reads" };
    return {
      subject,
      level: "limited",
      found: "has no multishot reads",
      why,
      remedy: "Linux 6.7; till then --io rw is used",
    };
  } catch (error) {
    if (!(error instanceof NoUring)) throw error;
    const disabled = text("/proc/sys/kernel/io_uring_disabled");
    const isOff = disabled === "1" || disabled === "2";
    const remedy = isOff
      ? "sysctl -w kernel.io_uring_disabled=0; till then --io rw is used"
      : containerKind() === undefined
        ? "--io rw is used instead"
        : "a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register; till then --io rw is used";
    const found = isOff ? `kernel.io_uring_disabled is ${disabled}` : error.message;
    return { subject, level: "limited", found, why, remedy };
  } finally {
    ring?.close();
    memory.fill(0, 0, 0);
  }
}

/** Makes a TAP in a namespace of its own, where nobody sees it come and go. */
function devices(ioctl: Ioctl, native: Native | undefined): Finding[] {
  const name = `wlvs-doctor-${process.pid}`;
  const ip = onPath("ip");
  if (ip === undefined || native === undefined) return [];
  try {
    execFileSync(ip, ["netns", "add", name], { stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr ?? error)
      .trim()
      .split("\n", 1)[0];
    const remedy = "in a container: --privileged, or --cap-add SYS_ADMIN";
    return [{ subject: "namespaces", level: "limited", found: `cannot be made: ${said}`, remedy }];
  }
  const findings: Finding[] = [{ subject: "namespaces", level: "ok", found: "can be made and entered" }];
  try {
    const { TCP, USO } = ioctl.inNamespace(name, () => {
      const flags = ioctl.IFF_TAP | ioctl.IFF_NO_PI | ioctl.IFF_VNET_HDR | ioctl.IFF_MULTI_QUEUE;
      const fd = ioctl.openTun("doctor0", flags);
      try {
        const tcp = ioctl.OFFLOAD_CHECKSUM | ioctl.OFFLOAD_TSO4 | ioctl.OFFLOAD_TSO6 | ioctl.OFFLOAD_TSO_ECN;
        const udp = ioctl.OFFLOAD_USO4 | ioctl.OFFLOAD_USO6;
        return { TCP: ioctl.setOffload(fd, tcp), USO: ioctl.setOffload(fd, tcp | udp) };
      } finally {
        native.close(fd);
      }
    });
    findings.push({ subject: "TAP", level: "ok", found: "multi-queue, with vnet_hdr" });
    if (TCP && USO) findings.push({ subject: "offloads", level: "ok", found: "checksum, TSO, USO" });
    else if (TCP) {
      findings.push({ subject: "offloads", level: "note", found: "checksum, TSO; no USO (Linux 6.2): UDP is slower" });
    } else {
      const remedy = "bulk TCP will be about ten times slower";
      findings.push({ subject: "offloads", level: "limited", found: "TSO is refused", remedy });
    }
  } catch (error) {
    const remedy = "modprobe tun; in a container: --device /dev/net/tun --cap-add NET_ADMIN";
    findings.push({ subject: "TAP", level: "missing", found: (error as Error).message, remedy });
  } finally {
    try {
      execFileSync(ip, ["netns", "del", name], { stdio: "ignore" });
    } catch {
      // Somebody else took it away: as well.
    }
  }
  return findings;
}

function forwarding(): Finding {
  const subject = "ip_forward";
  const off = [
    ["IPv4", "ipv4/ip_forward", "net.ipv4.ip_forward"],
    ["IPv6", "ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"],
  ].filter(([, path]) => text(`/proc/sys/net/${path}`) === "0");
  if (off.length === 0) return { subject, level: "ok", found: "1: the kernel forwards, as --tun needs it" };
  return {
    subject,
    level: "note",
    found: `0 for ${off.map(([family]) => family).join(" and ")}: --tap needs no forwarding here; --tun does, in both directions`,
    remedy: `for --tun: sysctl -w ${off.map(([, , name]) => `${name}=1`).join(" ")}; with routes=auto and IPv6 on Ethernet also net.ipv6.conf.DEVICE.proxy_ndp=1`,
  };
}

/**
 * What comes out of a TUN device has an address that leads back into it with fullnat and tun. With nat it is a client's,
 * whom another device leads to; and as the device has no address of its own, the loose filter drops it as well.
 */
function reversePath(): Finding {
  const subject = "rp_filter";
  const value = Math.max(
    ...["all", "default"].map((name) => Number(text(`/proc/sys/net/ipv4/conf/${name}/rp_filter`) ?? 0)),
  );
  if (value === 0) return { subject, level: "ok", found: "0: answers may take another way back" };
  return {
    subject,
    level: "note",
    found: `${value} (${value === 1 ? "strict" : "loose"}): --tun with nat loses clients' packets here; fullnat and tun do not mind`,
    remedy:
      "for --tun with nat: sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.DEVICE.rp_filter=0; for real servers of dr and tun, where it is 1: net.ipv4.conf.all.rp_filter=2",
  };
}

function nginx(): Finding {
  const path = onPath("nginx");
  if (path !== undefined) return { subject: "nginx", level: "ok", found: path };
  return { subject: "nginx", level: "note", found: "is not there: the lab takes its own web server" };
}
