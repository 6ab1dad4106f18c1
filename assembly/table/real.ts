/** Real servers reached by NAT, by their address and port (ip_vs_has_real_service, ip_vs_find_real_service). */
import * as Forwarding from "../layout/forwarding";
import * as Memory from "../layout/memory";
import * as Server from "../layout/server";
import * as Service from "../layout/service";
import { equal16 } from "../wire/bytes";
import { word } from "./memory";

export function hasRealServer(family: u32, protocol: u32, address: usize, port: u32): bool {
  return findRealServer(family, protocol, address, port, false) !== 0;
}

/**
 * A server of that address (16 bytes) and port (raw), or 0; with `engine` one whose service has a persistence engine.
 * Only asked for packets without connection, with nat_icmp_send or engines in use: a walk over the tables will do.
 */
export function findRealServer(family: u32, protocol: u32, address: usize, port: u32, engine: bool): usize {
  let service = <usize>word(Memory.SERVICES_HEAD);
  while (service !== 0) {
    const looked = !engine || load<u8>(service, Service.PERSISTENCE_ENGINE) !== 0;
    let server: usize = looked ? <usize>load<u32>(service, Service.SERVERS_HEAD) : 0;
    while (server !== 0) {
      if (
        load<u32>(server, Server.FORWARDING) === Forwarding.NAT &&
        <u32>load<u16>(server, Server.PORT) === port &&
        <u32>load<u8>(server, Server.FAMILY) === family &&
        equal16(server + Server.ADDRESS, address) &&
        (<u32>load<u8>(service, Service.PROTOCOL) === protocol || load<u32>(service, Service.MARK) !== 0)
      )
        return server;
      server = <usize>load<u32>(server, Server.NEXT);
    }
    service = <usize>load<u32>(service, Service.NEXT);
  }
  return 0;
}
