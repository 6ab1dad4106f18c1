/** The log is a file on a disk that fills. */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import { hold, load, network, PORTS, pings, remote, SERVER, socket, useSite, VIP } from "./faults.js";
import { MAIN, waitFor } from "./network.js";
import { until } from "./pair.js";

useSite("ss", "ping", "unshare", "mount");

/** The director's command on a file system that nobody else sees, 64 KiB large, with its log there. */
const START = 'mount -t tmpfs -o size=64k tmpfs "$1" && shift && exec "$@" 2>>"$LOG"';

it("forwards while its log cannot be written, without being busy, and goes on writing when there is room", async () => {
  const disk = network.path("disk");
  mkdirSync(disk);
  const run = [process.execPath, MAIN, "run", ...PORTS(), "--socket", socket];
  const child = spawn(
    "unshare",
    ["-m", "sh", "-c", START, "sh", disk, ...run, "--vip", `${VIP}:9000`, "--rip", `${SERVER}:9000`],
    { env: { ...process.env, LOG: `${disk}/log` }, stdio: "ignore" },
  );
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  try {
    await until(pings, "it answers");
    const connections = await hold(5);
    const { pid } = await remote.status();
    const there = `/proc/${child.pid}/root${disk}`;
    expect(readdirSync(there)).toEqual(["log"]);
    const log = `${there}/log`;
    expect(() => writeFileSync(`${there}/fill`, Buffer.alloc(1 << 17))).toThrow("ENOSPC");
    // Each is a line; what there is of the last page takes some.
    const say = async (lines: number) => {
      for (let n = 0; n < lines; n++) {
        child.kill("SIGHUP");
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    let size = -1;
    for (let round = 0; round < 20 && size !== statSync(log).size; round++) {
      size = statSync(log).size;
      await say(20);
      // The first lines wait for a moment.
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
    expect(statSync(log).size).toBe(size);
    expect(size % 4096).toBe(0);
    expect(await connections.check()).toEqual({ well: 5, resets: 0 });
    expect(await load(1000, pid, child.pid!)).toBeLessThan(0.3);
    expect((await remote.status()).pid).toBe(pid);
    rmSync(`${there}/fill`);
    await say(3);
    await waitFor(() => statSync(log).size > size, "it is written again");
    await say(1);
    const lines = readFileSync(log, "utf8").trimEnd().split("\n");
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ part: "keeper" });
    expect(lines.some((line) => line.includes('"log.lost"'))).toBe(true);
    expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  } finally {
    child.kill("SIGTERM");
  }
  expect(await ended).toBe(0);
});
