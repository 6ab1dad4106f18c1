/** What happens in the middle of an upgrade: one director is left, with the connections and every port. */
import { existsSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import { childrenByRole } from "../support/processes.js";
import { events, hold, inner, network, PORTS, pings, remote, SERVER, socket, useSite, VIP } from "./faults.js";
import { type Director, ip, journalled, upgrade, type Version, waitFor } from "./network.js";
import { until } from "./pair.js";

useSite("ss", "ping");

async function start(version: Version): Promise<Director> {
  const state = network.path("state");
  const service = ["--vip", `${VIP}:9000`, "--rip", `${SERVER}:9000`];
  const director = network.directorOf(version, ...PORTS(), "--socket", socket, "--state", state, ...service);
  await director.ready();
  await until(pings, "it answers");
  return director;
}

const directors = ({ child }: Director) => childrenByRole(child.pid!).get("director") ?? [];

it("the old director dies when it has handed over: the one that comes does not begin beside another", async () => {
  const version = network.version();
  version.change(
    "keeper/upgrade.js",
    'await old.until("handed", STOP_MS);',
    'await old.until("handed", 60_000); process.kill(old.pid, "SIGKILL"); await new Promise((go) => setTimeout(go, 500));',
  );
  const director = await start(version);
  const connections = await hold(5);
  await journalled(network.path("state"));
  const { pid } = await remote.status();
  await expect(remote.upgrade()).rejects.toThrow();
  await until(async () => (await remote.status()).pid !== pid, "another director", 30_000);
  await waitFor(() => events(director, "upgrade.failed").length === 1, "it is said");
  expect(events(director, "upgrade.done")).toEqual([]);
  expect(events(director, "director.died")).toHaveLength(1);
  expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  // One that stands by, at the most, beside it.
  await waitFor(() => directors(director).length <= 2, "no third one is left");
  expect((await director.stop()).status).toBe(0);
});

it("a device is made again meanwhile: the running director goes on, with the new one", async () => {
  const version = network.version();
  const [reached, mayGo] = [network.path("reached"), network.path("may-go")];
  version.change(
    "keeper/upgrade.js",
    'await old.until("copied", COPY_MS);',
    `await old.until("copied", COPY_MS);
    const { existsSync, writeFileSync } = await import("node:fs");
    writeFileSync(${JSON.stringify(reached)}, "");
    while (!existsSync(${JSON.stringify(mayGo)})) await new Promise((go) => setTimeout(go, 50));`,
  );
  const director = await start(version);
  const connections = await hold(5);
  const { pid } = await remote.status();
  const upgrading = remote.upgrade();
  upgrading.catch(() => {});
  await waitFor(() => existsSync(reached), "another one comes");
  ip("-n", inner, "link", "del", "int0");
  await waitFor(() => events(director, "device.back").length === 1, "the device is back");
  writeFileSync(mayGo, "");
  await expect(upgrading).rejects.toThrow(/died/);
  await until(async () => (await remote.ports()).every(({ up }) => up), "every port is up", 20_000);
  expect((await remote.status()).pid).toBe(pid);
  expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  // The next one has the device that there is now.
  expect((await upgrade(remote)).pid).not.toBe(pid);
  expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  expect((await director.stop()).status).toBe(0);
});
