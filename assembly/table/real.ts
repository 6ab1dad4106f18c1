/** Whether an address and port is that of a real server reached by NAT (ip_vs_has_real_service). */
import * as Forwarding from "../layout/forwarding";
import * as Memory from "../layout/memory";
import * as Server from "../layout/server";
import * as Service from "../layout/service";
import { equal16 } from "../wire/bytes";
import { word } from "./memory";

/** Only asked for packets without connection, and only with nat_icmp_send: a walk over the tables will do. */
export function hasRealServer(family: u32, protocol: u32, address: usize, port: u32): bool {
  let service = <usize>word(Memory.SERVICES_HEAD);
  while (service !== 0) {
    let server = <usize>load<u32>(service, Service.SERVERS_HEAD);
    while (server !== 0) {
      if (
        load<u32>(server, Server.FORWARDING) === Forwarding.NAT &&
        <u32>load<u16>(server, Server.PORT) === port &&
        <u32>load<u8>(server, Server.FAMILY) === family &&
        equal16(server + Server.ADDRESS, address) &&
        (<u32>load<u8>(service, Service.PROTOCOL) === protocol || load<u32>(service, Service.MARK) !== 0)
      )
        return true;
      server = <usize>load<u32>(server, Server.NEXT);
    }
    service = <usize>load<u32>(service, Service.NEXT);
  }
  return false;
}
