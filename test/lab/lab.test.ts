/** The lab as a person runs it: what it shows is asserted here, and that nothing of it stays. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { needsCommands, needsDevices } from "../support/needs.js";

const MAIN = join(import.meta.dirname, "../../dist/host/cli/main.js");
const started: ChildProcess[] = [];

interface Run {
  readonly child: ChildProcess;
  out(): string;
  readonly ended: Promise<{ status: number | null; out: string; err: string }>;
}

function lab(...args: string[]): Run {
  return labIn(false, args);
}

/** `detached`: in a process group of its own, as a terminal makes one for a command. */
function labIn(detached: boolean, args: readonly string[]): Run {
  const child = spawn(process.execPath, [MAIN, "lab", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    detached,
  });
  started.push(child);
  let out = "";
  let err = "";
  child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
    out += chunk;
  });
  child.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
    err += chunk;
  });
  const ended = new Promise<{ status: number | null; out: string; err: string }>((resolve) => {
    child.on("close", (status) => resolve({ status, out, err }));
  });
  return { child, out: () => out, ended };
}

async function until(condition: () => boolean, what: string, everyMs = 100): Promise<void> {
  for (let waited = 0; waited < 30_000; waited += everyMs) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  throw new Error(`never: ${what}`);
}

function namespaces(): string[] {
  return existsSync("/run/netns") ? readdirSync("/run/netns").filter((name) => /^wlvs-\d+-/.test(name)) : [];
}

function leftovers(pid: number): string[] {
  const directories = readdirSync(tmpdir()).filter((name) => name.startsWith(`wlvs-lab-${pid}-`));
  return [...namespaces().filter((name) => name.startsWith(`wlvs-${pid}-`)), ...directories];
}

/** The numbers of one batch of requests: who answered each. */
function answers(section: string): string[] {
  return [...section.matchAll(/^ +\d+ {2}(.+?)(?: {2}\(.*)?$/gm)].map((match) => match[1]!);
}

function sections(out: string): string[] {
  return out.split(/^(?=\d+ requests? to )/m).slice(1);
}

const W1 = "I am 192.168.2.128";
const W2 = "I am 192.168.2.129";
const REFUSED = "connection refused";

beforeEach((context) => needsDevices(context));

afterEach(() => {
  for (const child of started.splice(0)) if (child.exitCode === null) child.kill("SIGKILL");
});

describe("wlvs lab nat", () => {
  it("shows shares, rules and what stopped servers mean", async () => {
    const run = lab("nat", "--failover", "--server", "builtin");
    const { status, out, err } = await run.ended;
    expect(err).toBe("");
    const [first, oneDead, bothDead, checked, oneOut, oneBack, otherOut, otherBack] = sections(out);
    expect(answers(first!)).toEqual([W2, W1, W2, W2, W1, W2, W2, W1, W2]);
    expect(first).toContain("192.168.2.128 (weight 1): 3 answered, wrr sent it 3 of 9");
    expect(first).toContain("192.168.2.129 (weight 2): 6 answered, wrr sent it 6 of 9");
    expect(first).toContain("just as wrr has it");
    expect(first).toMatch(/^\$ ipvsadm -Ln\nIP Virtual Server version 1\.2\.1 \(size=\d+\)$/m);
    expect(first).toMatch(/^TCP {2}192\.168\.4\.133:80 wrr$/m);
    expect(first).toMatch(/^ {2}-> 192\.168\.2\.128:80 +Masq +1 +0 +3 +$/m);
    expect(first).toMatch(/^ {2}-> 192\.168\.2\.129:80 +Masq +2 +0 +6 +$/m);
    expect(first).toContain("192.168.2.129 stops. LVS itself looks at no server's health");
    expect(answers(oneDead!)).toEqual([REFUSED, W1, REFUSED, REFUSED, W1, REFUSED]);
    expect(answers(bothDead!)).toEqual(Array(6).fill(REFUSED));
    // From here on with health checks.
    expect(answers(checked!)).toEqual([W2, W1, W2, W2, W1, W2]);
    for (const outage of [checked, oneBack]) {
      expect(outage).toMatch(/^ {2}70 requests, \d+ answered, [1-9]\d* failed$/m);
      const last = Number(/the last that failed was asked ([\d.]+) s after the stop/.exec(outage!)![1]);
      expect(last).toBeLessThan(3);
      expect(outage).toMatch(/of (3|4)\d asked 3 s or more after the stop, none failed/);
    }
    expect(checked!.split("stops, while")[1]).not.toMatch(/^ {2}-> 192\.168\.2\.129:80/m);
    expect(oneOut).toContain(`6 x  ${W1}`);
    expect(oneBack).toContain(`2 x  ${W1}`);
    expect(oneBack).toContain(`4 x  ${W2}`);
    expect(oneBack!.split("stops, while")[1]).not.toMatch(/^ {2}-> 192\.168\.2\.128:80/m);
    expect(otherOut).toContain(`6 x  ${W2}`);
    expect(otherBack).toContain(`2 x  ${W1}`);
    expect(otherBack).toMatch(/^ {2}-> 192\.168\.2\.129:80 +Masq +2 /m);
    expect(status).toBe(0);
    expect(leftovers(run.child.pid!)).toEqual([]);
  });

  it("runs nginx", async (context) => {
    needsCommands(context, "nginx");
    const { status, out } = await lab("nat", "--server", "nginx", "--requests", "3").ended;
    expect(out).toContain("nginx");
    expect(answers(sections(out)[0]!)).toEqual([W2, W1, W2]);
    expect(status).toBe(0);
  });

  it("takes more servers and requests, and two of it run at once", async () => {
    const [four, other] = await Promise.all([
      lab("nat", "--server", "builtin", "--servers", "4", "--requests", "12").ended,
      lab("nat", "--server", "builtin", "--requests", "3").ended,
    ]);
    expect(four.out).toContain("just as wrr has it");
    expect(four.status).toBe(0);
    expect(other.status).toBe(0);
  });

  it.each(["SIGINT", "SIGTERM"] as const)("leaves nothing behind after %s", async (signal) => {
    const run = lab("nat", "--server", "builtin", "--requests", "100000");
    await until(() => run.out().includes("wlvs: forwarding on"), "the director forwards");
    run.child.kill(signal);
    const { status } = await run.ended;
    expect(status).toBe(signal === "SIGINT" ? 130 : 143);
    expect(leftovers(run.child.pid!)).toEqual([]);
  });

  it("ends with one word when a terminal interrupts it as it is made, and again as it is taken away", async () => {
    const run = labIn(true, ["nat", "--server", "builtin"]);
    const mine = () => namespaces().filter((name) => name.startsWith(`wlvs-${run.child.pid}-`));
    await until(() => mine().length > 0, "the first machine", 5);
    // The terminal's signal goes to the programs that the lab has running, too.
    process.kill(-run.child.pid!, "SIGINT");
    await until(() => run.out().includes("is taken away") || run.child.exitCode !== null, "it has heard", 5);
    try {
      process.kill(-run.child.pid!, "SIGINT");
    } catch {
      // It has ended.
    }
    const { status, out, err } = await run.ended;
    expect(err).toBe("");
    expect(out).toMatch(/\nSIGINT: the lab is taken away\n$/);
    expect(status).toBe(130);
    expect(leftovers(run.child.pid!)).toEqual([]);
  });

  it("clears away what a killed one left", async () => {
    const killed = lab("nat", "--server", "builtin", "--requests", "100000");
    await until(() => killed.out().includes("wlvs: forwarding on"), "the director forwards");
    killed.child.kill("SIGKILL");
    await killed.ended;
    const { status } = await lab("nat", "--server", "builtin", "--requests", "3").ended;
    expect(status).toBe(0);
    expect(namespaces().filter((name) => name.startsWith(`wlvs-${killed.child.pid}-`))).toEqual([]);
  });

  it("stays up with --keep, for others to look at", async () => {
    const run = lab("nat", "--server", "builtin", "--requests", "3", "--keep");
    await until(() => run.out().includes("The lab stays up until Ctrl-C"), "the lab waits");
    const socket = /WLVS_SOCKET=(\S+);/.exec(run.out())![1]!;
    const env = { ...process.env, WLVS_SOCKET: socket };
    const status = execFileSync(process.execPath, [MAIN, "status", "--json"], { env, encoding: "utf8" });
    expect(JSON.parse(status).ports.map(({ name }: { name: string }) => name)).toEqual(["ext0", "int0"]);
    const rules = execFileSync(process.execPath, [MAIN, "ipvsadm", "-Ln"], { env, encoding: "utf8" });
    expect(rules).toContain("192.168.2.129:80");
    run.child.kill("SIGINT");
    expect((await run.ended).status).toBe(0);
    expect(leftovers(run.child.pid!)).toEqual([]);
  });
});

describe.each([
  ["dr", "Route"],
  ["tun", "Tunnel"],
])("wlvs lab %s", (method, forward) => {
  it("answers clients directly", async () => {
    const run = lab(method, "--server", "builtin");
    const { status, out, err } = await run.ended;
    expect(err).toBe("");
    const [first, oneDead] = sections(out);
    expect(answers(first!)).toEqual([W2, W1, W2, W2, W1, W2, W2, W1, W2]);
    expect(out).toMatch(new RegExp(`^ {2}-> 192\\.168\\.2\\.128:80 +${forward} +1 `, "m"));
    expect(out).toMatch(/^\d+ packets went in through the director, 0 came back through it\.$/m);
    expect(answers(oneDead!)).toEqual([REFUSED, W1, REFUSED, REFUSED, W1, REFUSED]);
    expect(status).toBe(0);
    expect(leftovers(run.child.pid!)).toEqual([]);
  });
});
