/** `wlvs lab nat`: the classic three machines. The director stands between two networks and rewrites addresses. */
import type { Exercise } from "./exercise.js";
import { serverList } from "./exercise.js";

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
  if (options.keep) await lab.keep(client, VIP);
}

/** Servers stop one after the other. Plain LVS does not notice; what helps is shown with --failover. */
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
  if (lab.options.failover && second !== undefined) await remedy(lab, client, first.address, second.address, round);
  else if (lab.options.keep) for (const server of lab.servers) if (!server.running) await lab.startServer(server);
}

async function remedy(lab: Exercise, client: string, well: string, ill: string, round: number): Promise<void> {
  lab.print(
    "Health checks, which take a stopped server out by themselves, are not built yet. By hand it goes like this:",
  );
  lab.print();
  lab.print(`${well} is started again; ${ill} gets weight 0, which keeps new clients away from it.`);
  const [first, second, ...others] = lab.servers;
  await lab.startServer(first!);
  await lab.ipvsadm(`-e -t ${VIP}:80 -r ${ill}:80 -m -w 0`);
  const healthy = [well, ...others.map(({ address }) => address)];
  await lab.askOnly(client, VIP, round, healthy);
  lab.print(`${ill} is taken out altogether.`);
  await lab.ipvsadm(`-d -t ${VIP}:80 -r ${ill}:80`);
  await lab.askOnly(client, VIP, round, healthy);
  lab.print(`${ill} is started again and added.`);
  await lab.startServer(second!);
  await lab.ipvsadm(`-a -t ${VIP}:80 -r ${ill}:80 -m -w ${second!.weight}`);
  await lab.askOnly(client, VIP, round, [...healthy, ill]);
  await lab.ipvsadm("-Ln");
}
