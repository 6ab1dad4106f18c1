/** What a test needs of the machine. Missing, it is skipped with the reason; in CI that is a failure. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import type { TestContext } from "vitest";
import * as native from "../../host/port/native.js";

const CI = process.env.CI !== undefined && process.env.CI !== "" && process.env.CI !== "false";

function lack(context: TestContext, reason: string): void {
  if (CI) throw new Error(`this machine must run this test, but ${reason}`);
  context.skip(reason);
}

/** Root with /dev/net/tun and ip(8): namespaces and devices can be made. */
export function needsDevices(context: TestContext): void {
  if (process.getuid?.() !== 0) lack(context, "it needs root");
  if (!existsSync("/dev/net/tun")) lack(context, "there is no /dev/net/tun");
  needsCommands(context, "ip");
}

/** A kernel, and a sandbox, that let rings be made. */
export function needsUring(context: TestContext): void {
  const params = new Uint8Array(new ArrayBuffer(120));
  const fd = native.syscall6(425, 1, native.addressOf(params), 0, 0, 0, 0);
  if (fd < 0) lack(context, "there is no io_uring");
  else native.close(fd);
}

/** Programs on the PATH. */
export function needsCommands(context: TestContext, ...names: string[]): void {
  for (const name of names) {
    if (spawnSync("sh", ["-c", `command -v -- "$0"`, name]).status !== 0) lack(context, `${name} is not installed`);
  }
}

/** libfaketime, which can be put before the C library of a program: where it is. */
export function needsFaketime(context: TestContext): string {
  const folders = readdirSync("/usr/lib").filter((name) => name.endsWith("-linux-gnu"));
  const places = folders.map((name) => `/usr/lib/${name}/faketime/libfaketimeMT.so.1`);
  const found = places.find((place) => existsSync(place));
  if (found === undefined) lack(context, "libfaketime is not installed");
  return found!;
}
