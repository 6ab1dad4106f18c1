/** The director as a whole: stopped, and hung. */
import { appendFileSync } from "node:fs";
import { expect, it } from "vitest";
import {
  direct,
  events,
  hold,
  load,
  network,
  PORTS,
  pings,
  remote,
  SERVER,
  slotsInUse,
  socket,
  useSite,
  VIP,
} from "./faults.js";
import { waitFor } from "./network.js";
import { until } from "./pair.js";

/** How long it is stopped: a minute takes WLVS_STOP_SECONDS=60. */
const STOPPED_MS = 1000 * Number(process.env.WLVS_STOP_SECONDS ?? 5);

useSite("ss", "ping");

it("goes on as it was after it was stopped for a while, by itself or with its keeper", async () => {
  const director = await direct();
  const connections = await hold(5);
  expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  const { pid } = await remote.status();
  const slots = await slotsInUse();
  for (const pids of [[pid], [director.child.pid!, pid]]) {
    for (const one of pids) process.kill(one, "SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, STOPPED_MS));
    for (const one of pids) process.kill(one, "SIGCONT");
    expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  }
  expect((await remote.status()).pid).toBe(pid);
  expect(await slotsInUse()).toBe(slots);
  expect(await load(1000, pid, director.child.pid!)).toBeLessThan(0.2);
  for (const event of ["worker.hung", "director.hung", "director.died"]) expect(events(director, event)).toEqual([]);
}, 240_000);

it("is ended when its main thread hangs, and the next one has its connections", async () => {
  // A version that can be made to hang, with a keeper that does not wait for as long.
  const version = network.version();
  appendFileSync(version.file("keeper/director-main.js"), '\nprocess.on("SIGUSR2", () => { for (;;); });\n');
  version.change("keeper/keeper.js", "const BEAT_MS = 3000;", "const BEAT_MS = 500;");
  const director = network.directorOf(
    version,
    ...[...PORTS(), "--socket", socket, "--state", network.path("state")],
    ...["--vip", `${VIP}:9000`, "--rip", `${SERVER}:9000`],
  );
  await director.ready();
  await until(pings, "it answers");
  const connections = await hold(5);
  expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  const { pid } = await remote.status();
  // So that the state file has them.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  process.kill(pid, "SIGUSR2");
  await waitFor(() => events(director, "director.hung").length === 1, "it is seen");
  await until(async () => (await remote.status()).pid !== pid, "another one");
  expect(await connections.check()).toEqual({ well: 5, resets: 0 });
  expect((await director.stop()).status).toBe(0);
});
