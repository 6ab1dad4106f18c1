/** `wlvs lab nat`: the classic three machines. The director stands between two networks and rewrites addresses. */
import type { Exercise } from "./exercise.js";
import { serverList } from "./exercise.js";
import { failover } from "./failover.js";

const CLIENT = "192.168.4.132";
const VIP = "192.168.4.133";
const DIP = "192.168.2.130";

export async function natLab(lab: Exercise): Promise<void> {
  const { network, options } = lab;
  const client = network.machine("client");
  const switchName = network.switch("switch");
  lab.servers = serverList(options.servers).map((server, at) => {
    const machine = network.machine(`server${at + 1}`);
    network.cable(machine, "eth0", switchName, `w${at + 1}`);
    network.ipIn(machine, `addr add ${server.address}/24 dev eth0`, `route add default via ${DIP}`);
    return { ...server, machine };
  });
  const named = options.server === "nginx" ? "nginx" : "the built-in web server";
  lab.print("NAT: the director rewrites addresses both ways, and is the servers' gateway.");
  lab.print();
  lab.print(`  client ${CLIENT}`);
  lab.print(`    | ext0   ${VIP}  the virtual address (VIP)`);
  lab.print("  director, wlvs run");
  lab.print(`    | int0   ${DIP}  the servers' gateway (DIP)`);
  for (const { address, weight } of lab.servers) lab.print(`  server ${address}  weight ${weight}, ${named}`);
  lab.print();
  await Promise.all(lab.servers.map((server) => lab.startServer(server)));
  await lab.startDirector([
    "--tap",
    `ext0,ip=${VIP}/24,netns=${client}`,
    "--tap",
    `int0,ip=${DIP}/24,netns=${switchName},bridge=br0`,
    "--vip",
    `${VIP}:80`,
    "--scheduler",
    "wrr",
    "--mode",
    "nat",
    ...lab.servers.flatMap(({ address, weight }) => ["--rip", `${address}:80,weight=${weight}`]),
  ]);
  // The client is at the other end of the director's wire: the kernel's end of ext0 is its network card.
  network.ipIn(client, `addr add ${CLIENT}/24 dev ext0`, "link set ext0 up");

  await lab.ask(client, VIP, options.requests);
  await lab.ipvsadm("-Ln");
  await failures(lab, client);
  if (options.failover) {
    await failover(lab, { client, clientAddress: CLIENT, switchName, vip: VIP, dip: DIP });
  }
  if (options.keep) await lab.keep(client, VIP);
}

/** Servers stop one after the other. Plain LVS does not notice. */
async function failures(lab: Exercise, client: string): Promise<void> {
  const round = 2 * lab.servers.reduce((sum, { weight }) => sum + weight, 0);
  const first = lab.servers[0]!;
  const second = lab.servers[1];
  if (second !== undefined) {
    lab.print(`${second.address} stops. LVS itself looks at no server's health: it goes on sending clients there.`);
    await lab.stopServer(second);
    await lab.ask(client, VIP, round);
  }
  lab.print(`${first.address} stops too.`);
  await lab.stopServer(first);
  await lab.ask(client, VIP, round);
  if (lab.options.keep && !lab.options.failover) {
    for (const server of lab.servers) if (!server.running) await lab.startServer(server);
  }
}
