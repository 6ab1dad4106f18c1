/** The director's side of routes=auto: which addresses and servers the keeper is to lead to us, told at every change. */
import type { RunConfig } from "../config/config.js";
import type { Ipvs } from "../ipvs/model.js";
import type { AnsweringServer, WantedRoutes } from "./tun-routes.js";

function host(address: string): string {
  return `${address}/${address.includes(":") ? 128 : 32}`;
}

/** What the services that there are now need, besides the port's own addresses and the networks of mark services. */
export async function wantedRoutes(ipvs: Pick<Ipvs, "services">, config: RunConfig): Promise<WantedRoutes> {
  const port = config.ports.find(({ routes }) => routes === "auto");
  const networks = new Set(port?.addresses.map((text) => host(text.slice(0, text.lastIndexOf("/")))));
  for (const route of config.routes) if ("kind" in route) networks.add(route.to);
  const servers = new Map<string, AnsweringServer>();
  for (const { id, servers: members } of await ipvs.services()) {
    if ("address" in id) networks.add(host(id.address));
    const protocol = "protocol" in id ? id.protocol : undefined;
    for (const { id: server, forwarding } of members) {
      if (forwarding !== "nat") continue;
      const { address, port: number } = server;
      servers.set(`${address} ${number} ${protocol}`, { address, protocol, port: number });
    }
  }
  return { networks: [...networks], servers: [...servers.values()] };
}
