/** Files through a tunnel, with a client whose MTU is 1500 and who sets DF: nothing is cut off, either way. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";

const MAIN = join(import.meta.dirname, "../../dist/host/cli/main.js");
const ADMIN = join(import.meta.dirname, "../../dist/host/cli/wlvsadm.js");
const VIP = "192.168.2.133";
const DOWN = 200_000_000;
const UP = 10_000_000;
const started: ChildProcess[] = [];

/** Gives out DOWN bytes of a pattern, with their hash in a header; tells the hash of what is put. */
const SERVER = `
const http = require("node:http"), crypto = require("node:crypto");
const block = Buffer.alloc(1 << 20); for (let i = 0; i < block.length; i++) block[i] = (i * 2654435761) >>> 13;
http.createServer((request, response) => {
  const hash = crypto.createHash("sha256");
  if (request.method === "PUT") {
    request.on("data", (part) => hash.update(part)).on("end", () => response.end(hash.digest("hex")));
    return;
  }
  let left = ${DOWN};
  const more = () => {
    while (left > 0) {
      const part = block.subarray(0, Math.min(left, block.length));
      left -= part.length;
      if (!response.write(part)) return void response.once("drain", more);
    }
    response.end();
  };
  more();
}).listen(8081);
`;

const HASH = `
const crypto = require("node:crypto"), hash = crypto.createHash("sha256");
let length = 0;
process.stdin.on("data", (part) => { hash.update(part); length += part.length; })
  .on("end", () => console.log(length, hash.digest("hex")));
`;

function start(command: string, ...args: string[]): ChildProcess {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
  started.push(child);
  return child;
}

function expected(bytes: number): string {
  const code = `const block = Buffer.alloc(1 << 20); for (let i = 0; i < block.length; i++) block[i] = (i * 2654435761) >>> 13;
for (let left = ${bytes}; left > 0; left -= block.length) process.stdout.write(block.subarray(0, Math.min(left, block.length)));`;
  return execFileSync("sh", ["-c", '"$0" -e "$1" | "$0" -e "$2"', process.execPath, code, HASH], { encoding: "utf8" });
}

beforeEach((context) => {
  needsDevices(context);
  needsCommands(context, "curl");
});

afterEach(async () => {
  const children = started.splice(0);
  const gone = children.map((child) => new Promise((resolve) => child.once("close", resolve)));
  for (const child of children.reverse()) if (child.exitCode === null) child.kill("SIGTERM");
  await Promise.all(gone.map((end, n) => (children[n]!.exitCode === null ? end : undefined)));
});

it("carries 200 MB to the client and 10 MB to the server whole", { timeout: 240_000 }, async () => {
  const lab = start(process.execPath, MAIN, "lab", "tun", "--keep", "--requests", "3", "--server", "builtin");
  let out = "";
  lab.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
    out += chunk;
  });
  for (let tries = 0; tries < 600 && !out.includes("The lab stays up"); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(out).toContain("The lab stays up");
  const socket = /WLVS_SOCKET=(\S+?);/.exec(out)![1]!;
  const inside = (role: string) => `wlvs-${lab.pid}-${role}`;
  for (const role of ["server1", "server2"]) start("ip", "netns", "exec", inside(role), process.execPath, "-e", SERVER);
  const admin = (...args: string[]) =>
    execFileSync(process.execPath, [ADMIN, ...args], { env: { ...process.env, WLVS_SOCKET: socket } });
  admin("-A", "-t", `${VIP}:8081`, "-s", "rr");
  for (const host of ["128", "129"]) admin("-a", "-t", `${VIP}:8081`, "-r", `192.168.2.${host}:8081`, "-i");
  const url = `http://${VIP}:8081/`;
  const client = (script: string) =>
    execFileSync("ip", ["netns", "exec", inside("client"), "sh", "-c", script, process.execPath, HASH, url], {
      encoding: "utf8",
    });
  const patient = "curl -sf --retry 20 --retry-connrefused --retry-delay 1 -m 100";
  expect(client("cat /sys/class/net/*/mtu | sort -n | head -n 1")).toBe("1500\n");
  expect(client("cat /proc/sys/net/ipv4/ip_no_pmtu_disc")).toBe("0\n");
  expect(client(`${patient} "$2" | "$0" -e "$1"`)).toBe(expected(DOWN));
  const directory = mkdtempSync(join(tmpdir(), "wlvs-tunnel-"));
  try {
    const content = Buffer.alloc(UP, "a tunnel's load\n");
    writeFileSync(join(directory, "load"), content);
    const put = client(`${patient} -T ${join(directory, "load")} "$2"`);
    expect(put).toBe(createHash("sha256").update(content).digest("hex"));
  } finally {
    rmSync(directory, { recursive: true });
  }
});
