/** Listings into a pipe whose reader is slow, or goes away. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type ControlServer, createControlServer } from "../../host/control/server.js";
import type { ConnectionInfo } from "../../host/ipvs/model.js";
import { FakeInfo, FakeIpvs } from "./fake.js";

const CLI = join(import.meta.dirname, "../../dist/host/cli");
const WLVSADM = [join(CLI, "wlvsadm.js")];
const WLVS = [join(CLI, "main.js")];
/** More than all that lies between table and reader can hold. */
const CONNECTIONS = 150_000;

/** Connections that are made when they are asked for, and counted. */
class Many extends FakeIpvs {
  asked = 0;

  override async *connections(): AsyncIterable<ConnectionInfo> {
    for (this.asked = 0; this.asked < CONNECTIONS; this.asked++) {
      yield {
        protocol: 6,
        family: 4,
        client: `10.${this.asked >> 16}.${(this.asked >> 8) & 255}.${this.asked & 255}`,
        clientPort: 40000,
        virtual: "192.0.2.1",
        virtualPort: 80,
        serverFamily: 4,
        server: "192.0.2.8",
        serverPort: 8080,
        state: "ESTABLISHED",
        template: false,
        expires: 900,
      };
      if (this.asked % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

let directory: string;
let path: string;
let ipvs: Many;
let server: ControlServer;
let children: ChildProcess[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "wlvs-test-"));
  path = join(directory, "wlvs.sock");
  ipvs = new Many();
  children = [];
  server = await createControlServer({ ipvs, info: new FakeInfo(), socketPath: path });
});

afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A command whose output nobody reads yet. */
function start(words: readonly string[]) {
  const child = spawn(process.execPath, words, {
    env: { ...process.env, WLVS_SOCKET: path },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const running = {
    child,
    stdout: child.stdout,
    stderr: "",
    ended: new Promise<number | NodeJS.Signals | null>((resolve) =>
      child.once("close", (status, signal) => resolve(status ?? signal)),
    ),
  };
  child.stderr.on("data", (text) => (running.stderr += text));
  return running;
}

const residentKib = ({ pid }: ChildProcess) =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Until no more connections are asked for. */
async function settled(): Promise<number> {
  let last = -1;
  for (let look = 0; look < 40; look++) {
    await pause(500);
    if (ipvs.asked > 0 && ipvs.asked === last) return last;
    last = ipvs.asked;
  }
  throw new Error("they are asked for without an end");
}

it.each([
  ["wlvsadm -Lnc", [...WLVSADM, "-Lnc"], 2],
  ["wlvs proc ip_vs_conn", [...WLVS, "proc", "ip_vs_conn"], 1],
])("%s asks for no more than its reader takes, and then for the rest", async (_, words, head) => {
  const running = start(words);
  const asked = await settled();
  expect(asked).toBeGreaterThan(100);
  expect(asked).toBeLessThan(CONNECTIONS / 4);
  const before = residentKib(running.child);
  let lines = 0;
  let most = 0;
  running.stdout.on("data", (chunk: Buffer) => {
    for (const byte of chunk) if (byte === 10) lines++;
    if (running.child.exitCode === null && lines % 50 === 0) most = Math.max(most, residentKib(running.child));
  });
  expect(await running.ended).toBe(0);
  expect(running.stderr).toBe("");
  expect(lines).toBe(CONNECTIONS + head);
  expect(most - before).toBeLessThan(64 * 1024);
});

it.each([
  ["wlvsadm -Lnc", [...WLVSADM, "-Lnc"]],
  ["wlvs proc ip_vs_conn", [...WLVS, "proc", "ip_vs_conn"]],
])("%s ends without a word when its reader has seen enough", async (_, words) => {
  const running = start(words);
  await new Promise((resolve) => running.stdout.once("data", resolve));
  running.stdout.destroy();
  expect(await running.ended).toBe(0);
  expect(running.stderr).toBe("");
  // And the director is not left with the rest.
  expect(await settled()).toBeLessThan(CONNECTIONS);
});
