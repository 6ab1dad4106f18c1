/** What every process of a running director may do, beside what docs/security.md says of it. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { RemoteIpvs } from "../../host/control/client.js";
import { childrenByRole } from "../support/processes.js";
import { hasLink, inside, ip, MAIN, waitFor } from "./network.js";
import { A, client, config, network, remote, servers, start, until, usePair, VIP, weights, wire } from "./pair.js";

usePair();

/** Numbers of linux/capability.h. */
const NUMBERS: Readonly<Record<string, number>> = {
  DAC_OVERRIDE: 1,
  KILL: 5,
  SETGID: 6,
  SETUID: 7,
  NET_ADMIN: 12,
  NET_RAW: 13,
  SYS_ADMIN: 21,
};

const USERS: Readonly<Record<string, string>> = { root: "0", nobody: "65534" };

interface Row {
  readonly process: string;
  readonly threads: string;
  readonly user: string;
  readonly fields: Readonly<Record<string, string>>;
}

/** The table of the document, sets as /proc writes them; `asStarted` is what the keeper was started with. */
function documented(asStarted: Readonly<Record<string, string>>): Row[] {
  const text = readFileSync(join(import.meta.dirname, "../../docs/security.md"), "utf8");
  const lines = text.split("\n");
  const head = lines.findIndex((line) => line.startsWith("| process | threads | user |"));
  const cells = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  const names = cells(lines[head]!);
  const end = lines.findIndex((line, n) => n > head && line === "");
  return lines.slice(head + 2, end).map((line) => {
    const [process, threads, user, ...values] = cells(line);
    const fields = values.map((value, n) => {
      const name = names[n + 3]!;
      if (name === "NoNewPrivs") return [name, value] as const;
      if (value === "as started") return [name, asStarted[name]!] as const;
      const words = value === "-" ? [] : value.split(" ");
      const bits = words.reduce((sum, word) => {
        if (!(word in NUMBERS)) throw new Error(`docs/security.md names ${word}`);
        return sum | (1n << BigInt(NUMBERS[word]!));
      }, 0n);
      return [name, bits.toString(16).padStart(16, "0")] as const;
    });
    return { process: process!, threads: threads!, user: user!, fields: Object.fromEntries(fields) };
  });
}

function statusOf(path: string): Record<string, string> {
  const lines = readFileSync(path, "utf8").split("\n");
  return Object.fromEntries(lines.map((line) => [line.split(":")[0]!, line.slice(line.indexOf(":") + 1).trim()]));
}

/** Every thread that is not as its row says. */
function deviations(pid: number, name: string, rows: readonly Row[]): string[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((tid) => {
    const status = statusOf(`/proc/${pid}/task/${tid}/status`);
    const role = Number(tid) === pid ? "main" : "others";
    const row = rows.find(({ process, threads }) => process === name && (threads === "all" || threads === role));
    if (row === undefined) return `${name} ${tid}: no row`;
    const wrong = Object.entries(row.fields).flatMap(([field, value]) =>
      status[field] === value ? [] : `${name} ${role}: ${field} is ${status[field]}, not ${value}`,
    );
    const ids = ["Uid", "Gid"].flatMap((field) => {
      const want = field === "Uid" || row.user === "root" ? USERS[row.user]! : "65534";
      return status[field]!.split(/\s+/).every((id) => id === want) ? [] : `${name}: ${field} is ${status[field]}`;
    });
    const groups = row.user === "nobody" && !["", "65534"].includes(status.Groups!) ? [`groups ${status.Groups}`] : [];
    return [...wrong, ...ids, ...groups];
  });
}

it("no process has more than docs/security.md says, before and after a death, and devices are made again", async () => {
  const open = network.path("open");
  mkdirSync(open);
  chmodSync(network.directory, 0o755);
  chmodSync(open, 0o777);
  // A check that says what it is, and stays to be looked at.
  const script = `cd ${open} || exit 1; [ -e pid ] || { ls -l /proc/self/fd >fds; env >environment; echo $$ >pid.new; mv pid.new pid; sleep 5; }`;
  const argv = JSON.stringify(["sh", "-c", script]);
  const own = statusOf("/proc/self/status");
  const rows = documented(own);
  const director = await start(
    config(
      `check: [{type: ping}, {type: command, argv: ${argv}, timeout: 8s, interval: 200ms}]`,
      undefined,
      "workers: 2",
    ),
  );
  await waitFor(() => existsSync(`${open}/pid`), "the check runs");
  const keeper = director.child.pid!;
  const command = Number(readFileSync(`${open}/pid`, "utf8"));
  const look = () => {
    const children = childrenByRole(keeper);
    expect([...children.keys()].sort()).toEqual(["checker", "director"]);
    return [
      ...deviations(keeper, "keeper", rows),
      ...[...children].flatMap(([role, pids]) => pids.flatMap((pid) => deviations(pid, role, rows))),
    ];
  };
  expect(deviations(command, "command", rows)).toEqual([]);
  expect(look()).toEqual([]);
  // Two workers and the main thread at the least: that they are there is part of what is looked at.
  expect(readdirSync(`/proc/${(await remote.status()).pid}/task`).length).toBeGreaterThanOrEqual(3);

  // What the command was handed: nothing but the null device (and the directory that ls itself reads).
  const fds = readFileSync(`${open}/fds`, "utf8")
    .split("\n")
    .filter((line) => line.includes("->"));
  const targets = fds
    .map((line) => line.slice(line.indexOf("-> ") + 3))
    .filter((path) => !/^\/proc\/\d+\/fd$/.test(path));
  expect([...new Set(targets)].sort()).toEqual(["/dev/null", `${open}/fds`]);
  const environment = readFileSync(`${open}/environment`, "utf8").split("\n").filter(Boolean);
  const names = environment
    .map((line) => line.split("=")[0]!)
    .filter((name) => !["PWD", "OLDPWD", "SHLVL", "_"].includes(name));
  expect(names.sort()).toEqual(["PATH", "PORT", "RIP", "VIP", "VPORT"]);

  // A device is deleted and the director killed: both are made again with what the keeper has left.
  await until(async () => (await weights())[A] === 1, "the server is up");
  ip("-n", wire, "link", "del", "int0");
  const { pid } = await remote.status();
  process.kill(pid, "SIGKILL");
  await until(async () => (await remote.status()).pid !== pid, "another director");
  await waitFor(() => hasLink(wire, "int0"), "the device is there again");
  expect(ip("-n", wire, "-d", "link", "show", "int0")).toContain("master br0");
  await until(async () => (await weights())[A] === 1, "the server is up");
  expect(await inside(client, "curl", "-sS", "--retry", "5", "-m", "5", `http://${VIP}/`)).toMatch(/^I am /);
  expect(look()).toEqual([]);
  // A checker that died comes back with its namespace and its sockets.
  const checker = childrenByRole(keeper).get("checker")![0]!;
  process.kill(checker, "SIGKILL");
  await until(async () => (childrenByRole(keeper).get("checker") ?? [checker])[0] !== checker, "another checker");
  ip("-n", servers.get(A)!, "link", "set", "eth0", "down");
  await until(async () => !(A in (await weights())), "the new one notices who is down", 20_000);
  expect(look()).toEqual([]);
  expect((await director.stop()).status).toBe(0);
  expect(hasLink(wire, "int0") || hasLink(client, "ext0")).toBe(false);
});

it("the socket is its owner's, also while the director runs as somebody else", async () => {
  const director = await start(config("check: {type: tcp}"));
  const socket = network.path("control.sock");
  expect([statSync(socket).mode & 0o777, statSync(socket).uid]).toEqual([0o600, 0]);
  const refused = await inside(
    client,
    "sh",
    "-c",
    `chmod 755 ${network.directory}; setpriv --reuid 65534 --regid 65534 --clear-groups curl -sS --unix-socket ${socket} http://wlvs/v1/status || echo no`,
  );
  expect(refused).toBe("no\n");
  expect((await director.stop()).status).toBe(0);
});

it("the user is the file's, though a director may have been started ahead as nobody", async () => {
  const director = await start(config("check: {type: tcp}", undefined, "user: daemon"));
  const { pid } = await remote.status();
  expect(childrenByRole(director.child.pid!).get("director")).toEqual([pid]);
  expect(statusOf(`/proc/${pid}/status`).Uid!.split(/\s+/)).toEqual(["1", "1", "1", "1"]);
  expect((await director.stop()).status).toBe(0);
});

it("a director gets nothing of what its keeper was given to hand on", async () => {
  const directory = network.path("inheritable");
  mkdirSync(directory);
  const caps = "+net_admin,+net_raw";
  const given = ["--inh-caps", caps, "--ambient-caps", caps];
  const keeper = network.start(
    wire,
    "setpriv",
    ...given,
    process.execPath,
    MAIN,
    ...["run", "--tap", "cap0,ip=10.9.0.1/24", "--user", "root", "--socket", join(directory, "s")],
  );
  await waitFor(() => (childrenByRole(keeper.pid!).get("director") ?? []).length === 1, "there is a director");
  await until(async () => (await new RemoteIpvs(join(directory, "s")).status()) !== undefined, "it answers");
  const [pid] = childrenByRole(keeper.pid!).get("director")!;
  const { CapInh, CapPrm, CapEff, CapBnd, CapAmb } = statusOf(`/proc/${pid}/status`);
  expect([CapInh, CapPrm, CapEff, CapBnd, CapAmb]).toEqual(Array.from({ length: 5 }, () => "0".repeat(16)));
});
