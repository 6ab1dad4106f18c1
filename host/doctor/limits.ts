/** Kernel, resource limits, user namespaces. */
import { release } from "node:os";
import type { Finding } from "./finding.js";
import { sysctl, text } from "./machine.js";

/** Descriptors: devices, a socket each for a thousand checks and the API's clients. */
const FILES_WANTED = 4096;
/** What the rings of a worker may take of locked memory. */
const MEMLOCK_WANTED = 8 << 20;

export function kernelFinding(version = release()): Finding {
  const subject = "kernel";
  const [major = 0, minor = 0] = version.split(/[.-]/).map(Number);
  const atLeast = (a: number, b: number) => major > a || (major === a && minor >= b);
  if (atLeast(6, 7)) return { subject, level: "ok", found: `Linux ${version}` };
  const lacks = [...(atLeast(6, 2) ? [] : ["USO: UDP super-frames (6.2)"]), "multishot reads of io_uring (6.7)"];
  return {
    subject,
    level: "note",
    found: `Linux ${version}, without ${lacks.join(" and ")}`,
    why: "frames are moved by read and write, or UDP in single datagrams: correct, and slower",
    remedy: "nothing must be done; Linux 6.7 or later has all of it",
  };
}

export function limitFindings(limits = text("/proc/self/limits") ?? ""): Finding[] {
  const soft = (name: string) => {
    const value = new RegExp(`^Max ${name}\\s+(\\S+)`, "m").exec(limits)?.[1];
    return value === undefined || value === "unlimited" ? Number.POSITIVE_INFINITY : Number(value);
  };
  const findings: Finding[] = [];
  const files = soft("open files");
  if (files < FILES_WANTED) {
    findings.push({
      subject: "open files",
      level: "note",
      found: `at most ${files}`,
      why: "a worker takes one a port; checks and clients of the API one each: a thousand checks need more",
      remedy: `ulimit -n ${FILES_WANTED * 16}, or LimitNOFILE=${FILES_WANTED * 16} in the unit`,
    });
  } else
    findings.push({
      subject: "open files",
      level: "ok",
      found: `at most ${files === Infinity ? "any number" : files}`,
    });
  const locked = soft("locked memory");
  if (locked < MEMLOCK_WANTED) {
    findings.push({
      subject: "locked memory",
      level: "note",
      found: `at most ${Math.floor(locked / 1024)} KiB`,
      why: "the rings of io_uring count against it when the director is not root; where they do not fit, --io rw is used",
      remedy: "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit",
    });
  } else {
    findings.push({
      subject: "locked memory",
      level: "ok",
      found: locked === Infinity ? "any amount" : `at most ${locked >> 20} MiB`,
    });
  }
  return findings;
}

export function userNamespaces(): Finding {
  const subject = "user namespaces";
  const off = [
    ["user.max_user_namespaces", "0", "10000"],
    ["kernel.unprivileged_userns_clone", "0", "1"],
    ["kernel.apparmor_restrict_unprivileged_userns", "1", "0"],
  ].find(([name, value]) => sysctl(name!) === value);
  if (off === undefined && sysctl("user.max_user_namespaces") !== undefined) {
    return { subject, level: "ok", found: "may be made: the lab runs without root where /dev/net/tun may be opened" };
  }
  const [name, value, better] = off ?? [undefined, undefined, undefined];
  return {
    subject,
    level: "note",
    found: name === undefined ? "this kernel has none" : `${name} is ${value}`,
    why: "wlvs lab without root makes one",
    remedy: name === undefined ? "run the lab as root" : `sysctl -w ${name}=${better}, or run the lab as root`,
  };
}
