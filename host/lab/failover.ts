/** The second half of `wlvs lab nat --failover`: the same stops, with a director that looks at its servers' health. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Exercise, LabServer } from "./exercise.js";

/** Where checks come from: a machine on the servers' network, as the host of a director is one. */
const CHECKING = "192.168.2.131";
const PAUSE_MS = 100;
const BEFORE_MS = 1000;
const WATCH_MS = 6000;
/** A client may meet a server that is gone for so long, and no longer. */
export const GRACE_MS = 3000;

export interface FailoverPlace {
  readonly client: string;
  readonly clientAddress: string;
  readonly switchName: string;
  readonly vip: string;
  readonly dip: string;
}

export async function failover(lab: Exercise, place: FailoverPlace): Promise<void> {
  const { network } = lab;
  const { client, vip } = place;
  lab.print("Now with health checks: every second a TCP connection to each server, given up after 0.5 s; two failures");
  lab.print("in a row take a server out, two successes bring it back. The director starts anew, with this file:");
  lab.print();
  await lab.stopDirector();
  for (const server of lab.servers) if (server.running === undefined) await lab.startServer(server);
  network.ipIn(place.switchName, `addr add ${CHECKING}/24 dev br0`);
  const text = configuration(lab.servers, place);
  lab.print(text.replace(/^(?=.)/gm, "  "));
  const file = join(network.directory, "failover.yaml");
  writeFileSync(file, text);
  await lab.startDirector(["--config", file]);
  network.ipIn(client, `addr add ${place.clientAddress}/24 dev ext0`, "link set ext0 up");
  await lab.ask(client, vip, 2 * totalWeight(lab.servers));

  const victims = [lab.servers[1], lab.servers[0]].filter((server) => server !== undefined).slice(0, 2);
  for (const victim of lab.servers.length > 1 ? victims : []) await outage(lab, place, victim);
}

/** One server stops while a client keeps asking, and starts again. */
async function outage(lab: Exercise, { client, vip }: FailoverPlace, victim: LabServer): Promise<void> {
  const others = lab.servers.filter((server) => server !== victim).map(({ address }) => address);
  lab.print(`${victim.address} stops, while the client asks ten times a second.`);
  const asking = lab.stream(client, vip, (BEFORE_MS + WATCH_MS) / PAUSE_MS, PAUSE_MS);
  await sleep(BEFORE_MS);
  const stopped = Date.now();
  await lab.stopServer(victim);
  lab.report(await asking, stopped, GRACE_MS);
  await lab.ipvsadm("-Ln");
  await lab.askOnly(client, vip, totalWeight(lab.servers) * 2, others);

  lab.print(`${victim.address} is started again. ${GRACE_MS / 1000} s later:`);
  await lab.startServer(victim);
  await sleep(GRACE_MS);
  await lab.askOnly(client, vip, totalWeight(lab.servers) * 2, [...others, victim.address], [victim.address]);
  await lab.ipvsadm("-Ln");
}

function configuration(servers: readonly LabServer[], { client, switchName, vip, dip }: FailoverPlace): string {
  return `ports:
  - {tap: ext0, ip: ${vip}/24, netns: ${client}}
  - {tap: int0, ip: ${dip}/24, netns: ${switchName}, bridge: br0}
check_netns: ${switchName}
services:
  - vip: ${vip}:80
    scheduler: wrr
    check: {type: tcp, interval: 1s, timeout: 500ms, rise: 2, fall: 2}
    servers:
${servers.map(({ address, weight }) => `      - {rip: "${address}:80", weight: ${weight}}\n`).join("")}`;
}

function totalWeight(servers: readonly LabServer[]): number {
  return servers.reduce((sum, { weight }) => sum + weight, 0);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
