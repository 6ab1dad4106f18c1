/** Command lines that ask for what makes no sense: refused before anything is made. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { cli, type Said } from "../support/cli.js";

const DIRECTORY = mkdtempSync(join(tmpdir(), "wlvs-test-"));
const BINARY = join(DIRECTORY, "binary");
const CAPTURE = join(DIRECTORY, "empty.pcap");
writeFileSync(BINARY, "\x7fELF\0\0\0\n: }{\n");
writeFileSync(
  CAPTURE,
  Uint8Array.of(0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0),
);

afterAll(() => rmSync(DIRECTORY, { recursive: true, force: true }));

function replay(file: string, ...more: string[]): string[] {
  return ["replay", "--tap", "ext0,ip=192.0.2.1/24", "--in", `ext0=${file}`, ...more];
}

function wlvs(...argv: string[]): Promise<Said> {
  return cli(argv, () => Promise.reject(new Error("nobody is to be asked")));
}

it.each([
  [["help", "nosuch"], /^wlvs: unknown command 'nosuch'/],
  [["lab", "dr", "--failover"], /^wlvs: lab dr: --failover is shown with nat: wlvs lab nat --failover\n$/],
  [
    ["realserver", "dr", "--vip", "0.0.0.0", "--print"],
    /^wlvs: realserver --vip: 0\.0\.0\.0 is no address of a machine\n$/,
  ],
  [["realserver", "dr", "--vip", "224.0.0.1", "--print"], /is no address of a machine\n$/],
  [
    ["realserver", "dr", "--vip", "fe80::1%eth0", "--print"],
    /^wlvs: realserver --vip: fe80::1%eth0 is not an IP address\n$/,
  ],
  [
    ["realserver", "dr", "--vip", "[192.0.2.1]", "--print"],
    /^wlvs: realserver --vip: not an address: \[192\.0\.2\.1\]\n$/,
  ],
  [["import", BINARY], /^wlvs: import \/\S+: it is no text file\n$/],
  [["check", BINARY], /^\/\S+:1: this is no text file\n$/],
  [["run", "--config", BINARY], /^wlvs: \/\S+:1: this is no text file\n$/],
] as const)("%j", async (argv, message) => {
  const { status, out, err } = await wlvs(...argv);
  expect(err).toMatch(message);
  expect(out).toBe("");
  expect(status).toBe(2);
});

it.each([
  [["import", "/nonexistent"], "wlvs: /nonexistent: no such file\n"],
  [["import", tmpdir()], `wlvs: ${tmpdir()}: it is a directory\n`],
  [["check", "/nonexistent"], "wlvs: --config /nonexistent: no such file\n"],
  [["check", tmpdir()], `wlvs: --config ${tmpdir()}: it is a directory\n`],
  [["run", "--tap", "ext0,ip=192.0.2.1/24", "--rules", tmpdir()], `wlvs: --rules ${tmpdir()}: it is a directory\n`],
  [
    ["run", "--tap", "ext0,ip=192.0.2.1/24", "--marks", "/etc/passwd/x"],
    "wlvs: --marks /etc/passwd/x: not a directory\n",
  ],
  [replay("/nonexistent", "--explain"), "wlvs: /nonexistent cannot be read: no such file\n"],
  [replay(CAPTURE, "--out", "/nonexistent/out"), /^wlvs: \/nonexistent\/out cannot be written: no such directory\n$/],
] as const)("%j fails", async (argv, message) => {
  const { status, out, err } = await wlvs(...argv);
  if (typeof message === "string") expect(err).toBe(message);
  else expect(err).toMatch(message);
  expect(out).toBe("");
  expect(status).toBe(1);
});

it("takes an IPv6 address as --vip does elsewhere, and without brackets", async () => {
  const plain = await wlvs("realserver", "dr", "--vip", "2001:db8::1", "--print");
  expect(plain).toEqual({ status: 0, out: "ip addr add 2001:db8::1/128 dev lo nodad\n", err: "" });
  expect(await wlvs("realserver", "dr", "--vip", "[2001:db8::1]", "--print")).toEqual(plain);
});
