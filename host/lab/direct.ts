/**
 * `wlvs lab dr` and `wlvs lab tun`: director, servers and client on one network. The director only hands requests on;
 * the servers have the virtual address too, keep quiet about it, and answer the client directly.
 */
import type { Exercise } from "./exercise.js";
import { serverList } from "./exercise.js";
import { lineOf } from "./network.js";

const CLIENT = "192.168.2.132";
const VIP = "192.168.2.133";
const DIP = "192.168.2.130";
const READY_MS = 10_000;

export async function directLab(lab: Exercise, method: "dr" | "tun"): Promise<void> {
  const { network, options } = lab;
  const switchName = network.switch("switch");
  const client = network.machine("client");
  network.cable(client, "eth0", switchName, "c0");
  network.ipIn(client, `addr add ${CLIENT}/24 dev eth0`);
  lab.servers = serverList(options.servers).map((server, at) => {
    const machine = network.machine(`server${at + 1}`);
    network.cable(machine, "eth0", switchName, `w${at + 1}`);
    network.ipIn(machine, `addr add ${server.address}/24 dev eth0`);
    return { ...server, machine };
  });
  if (method === "dr")
    lab.print("DR: the director puts a server's MAC into the request; the server answers by itself.");
  else
    lab.print(
      "TUN: the director puts the request into a packet of its own to the server, which unpacks it and answers.",
    );
  lab.print();
  lab.print(`  client ${CLIENT}, director ${DIP}, virtual address (VIP) ${VIP}, on one network with`);
  for (const { address, weight } of lab.servers) lab.print(`  server ${address}  weight ${weight}`);
  lab.print();
  const how =
    method === "dr" ? "has the VIP on lo, arp_ignore=1 and arp_announce=2" : "unpacks, and has the VIP on its tunnel";
  lab.print(`wlvs realserver ${method} --vip ${VIP}: each server ${how}.`);
  await Promise.all(
    lab.servers.map(async (server) => {
      const prepared = lab.wlvs(server.machine, ["realserver", method, "--vip", VIP]);
      await lineOf(prepared, /ready/, READY_MS);
      await lab.startServer(server, "0.0.0.0");
    }),
  );
  await lab.startDirector([
    "--tap",
    `lan0,ip=${DIP}/24,netns=${switchName},bridge=br0`,
    "--vip",
    `${VIP}:80`,
    "--scheduler",
    "wrr",
    "--mode",
    method,
    ...lab.servers.flatMap(({ address, weight }) => ["--rip", `${address}:80,weight=${weight}`]),
  ]);

  await lab.ask(client, VIP, options.requests);
  await lab.ipvsadm("-Ln");
  const { stats } = await lab.director.service({ family: 4, protocol: "tcp", address: VIP, port: 80 });
  const direct = stats.outPackets === 0 && stats.inPackets > 0;
  lab.print(`${stats.inPackets} packets went in through the director, ${stats.outPackets} came back through it.`);
  lab.print(
    direct ? "The answers went straight to the client.\n" : "NOT as it should be: answers go straight to the client.\n",
  );
  if (!direct) lab.asExpected = false;

  const last = lab.servers.at(-1)!;
  lab.print(`${last.address} stops. LVS itself looks at no server's health: it goes on sending clients there.`);
  await lab.stopServer(last);
  await lab.ask(client, VIP, 2 * lab.servers.reduce((sum, { weight }) => sum + weight, 0));
  if (options.keep) {
    await lab.startServer(last, "0.0.0.0");
    await lab.keep(client, VIP);
  }
}
