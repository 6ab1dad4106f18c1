/** Persistence: a template binds a client (or its network) to a server; connections come by it (ip_vs_sched_persist). */

import { controlledBy, create, end, invalidateTemplate, isAvailable } from "./connections";
import { callId, callIdLength, findCallId } from "./helper/sip";
import * as Connection from "./layout/connection";
import * as Memory from "./layout/memory";
import * as Protocol from "./layout/protocol";
import * as Reason from "./layout/reason";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import { hold, letGo } from "./protocol/control";
import { pick } from "./scheduler/index";
import * as Table from "./table/connection";
import { now, setting, setWord } from "./table/memory";
import { isSuspect } from "./table/outcome";
import { FTP_PORT } from "./table/service";
import { countConnection } from "./table/stats";
import { copy16 } from "./wire/bytes";

/** Result of scheduling: a connection, or why there is none. */
export const IGNORED: usize = 1;
export const NO_SERVER: usize = 2;
export const NO_ROOM: usize = 3;

const CLIENT_NETWORK: usize = Memory.LAYOUT_BASE + Memory.SCRATCH + 32;
const VIRTUAL: usize = Memory.LAYOUT_BASE + Memory.SCRATCH + 48;

function maskClient(service: usize, family: u32, client: usize): void {
  store<u64>(CLIENT_NETWORK, 0);
  store<u64>(CLIENT_NETWORK, 0, 8);
  if (family === 4) {
    store<u32>(CLIENT_NETWORK, load<u32>(client) & load<u32>(service, Service.NETMASK));
    return;
  }
  copy16(CLIENT_NETWORK, client);
  const prefix = load<u32>(service, Service.NETMASK);
  for (let i: u32 = 0; i < 16; i++) {
    const bits = <i32>prefix - <i32>(i << 3);
    const keep: u32 = bits >= 8 ? 0xff : bits <= 0 ? 0 : (0xff00 >> <u32>bits) & 0xff;
    store<u8>(CLIENT_NETWORK + <usize>i, <u8>(<u32>load<u8>(CLIENT_NETWORK + <usize>i) & keep));
  }
}

/**
 * The template for this client, or 0; one whose server is gone is put aside, and where `wanted` is not 0 one that has
 * another server. `engine`: by what it found in the packet, too.
 */
function findTemplate(
  family: u32,
  protocol: u32,
  virtual: usize,
  virtualPort: u32,
  engine: bool,
  wanted: usize,
): usize {
  let client: u32;
  let address: u32;
  let template: usize;
  const four = family === 4;
  if (engine) {
    template = Table.findByData(
      four ? load<u32>(CLIENT_NETWORK) : Table.fold6(CLIENT_NETWORK),
      four ? load<u32>(virtual) : Table.fold6(virtual),
      virtualPort,
      protocol,
      four ? 0 : CLIENT_NETWORK,
      four ? 0 : virtual,
      callId(),
      callIdLength(),
    );
  } else if (four) {
    client = load<u32>(CLIENT_NETWORK);
    address = load<u32>(virtual);
    template = Table.findIn(
      Table.hashSide(client, 0, protocol),
      client,
      address,
      0,
      virtualPort,
      protocol,
      0,
      0,
      Connection.FLAG_TEMPLATE,
    );
  } else {
    client = Table.fold6(CLIENT_NETWORK);
    address = Table.fold6(virtual);
    template = Table.findIn(
      Table.hashSide(client, 0, protocol),
      client,
      address,
      0,
      virtualPort,
      protocol,
      CLIENT_NETWORK,
      virtual,
      Connection.FLAG_TEMPLATE,
    );
  }
  if (template === 0) return 0;
  const server = <usize>load<u32>(template, Connection.SERVER);
  if (!isAvailable(server) || hasFailed(server) || isQuiesced(server) || (wanted !== 0 && server !== wanted)) {
    invalidateTemplate(template);
    return 0;
  }
  return template;
}

/** A server whose clients are to go elsewhere at once. */
function hasFailed(server: usize): bool {
  return isSuspect(server) || <i32>load<u8>(server, Server.FAILURE) >= Server.FAILURE_RESET;
}

/** A server of weight 0 whose templates are no longer followed. */
function isQuiesced(server: usize): bool {
  if (load<i32>(server, Server.WEIGHT) !== 0) return false;
  if (setting(Setting.EXPIRE_QUIESCENT_TEMPLATE) !== 0) return true;
  const drain = setting(Setting.DRAIN_SECONDS);
  return drain !== 0 && now() - load<u32>(server, Server.QUIESCED_SINCE) > drain * Memory.TICKS_PER_SECOND;
}

/** A template for this client: it lives as long as its service says, and is found by what its engine found. 0: no room. */
function makeTemplate(
  service: usize,
  family: u32,
  protocol: u32,
  virtual: usize,
  virtualPort: u32,
  server: usize,
  serverPort: u32,
  mark: u32,
): usize {
  const address = server + Server.ADDRESS;
  const flags = Connection.FLAG_TEMPLATE;
  const template = create(
    family,
    protocol,
    CLIENT_NETWORK,
    0,
    virtual,
    virtualPort,
    address,
    serverPort,
    flags,
    server,
    mark,
  );
  if (template === 0) return 0;
  store<u32>(template, load<u32>(service, Service.TIMEOUT), Connection.TIMEOUT);
  if (load<u8>(service, Service.PERSISTENCE_ENGINE) === 0) return template;
  if (Table.setData(template, callId(), callIdLength())) return template;
  end(template);
  return 0;
}

/**
 * A real server sends a packet without connection, and its service's engine knows what to go by: the packet begins a
 * connection of that service (ip_vs_new_conn_out). Ports raw. Returns it, or 0.
 */
export function connectFromServer(slot: usize, server: usize, client: usize, clientPort: u32): usize {
  const service = <usize>load<u32>(server, Server.SERVICE);
  if (service === 0 || load<u8>(service, Service.PERSISTENCE_ENGINE) === 0) return 0;
  // A mark has no address that the packet could come from.
  if (load<u32>(service, Service.MARK) !== 0) return 0;
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const protocol = <u32>load<u8>(slot, Slot.PROTOCOL);
  const virtual = service + Service.ADDRESS;
  const virtualPort = <u32>load<u16>(service, Service.PORT);
  const serverPort = <u32>load<u16>(server, Server.PORT);
  let template: usize = 0;
  if ((load<u32>(service, Service.FLAGS) & Service.FLAG_PERSISTENT) !== 0) {
    maskClient(service, family, client);
    if (!findCallId(slot)) return 0;
    template = findTemplate(family, protocol, virtual, virtualPort, true, server);
    if (template === 0) {
      template = makeTemplate(service, family, protocol, virtual, virtualPort, server, serverPort, 0);
      if (template === 0) return 0;
    }
  }
  const onePacket = (load<u32>(service, Service.FLAGS) & Service.FLAG_ONE_PACKET) !== 0;
  hold(template);
  const connection = create(
    family,
    protocol,
    client,
    clientPort,
    virtual,
    virtualPort,
    server + Server.ADDRESS,
    serverPort,
    onePacket ? Connection.FLAG_ONE_PACKET : 0,
    server,
    0,
  );
  letGo(template);
  if (template !== 0) {
    if (connection !== 0) controlledBy(connection, template);
    Table.restart(template);
  }
  if (connection !== 0) countConnection(server, service);
  return connection;
}

/** Schedules a packet of a persistent service. Ports raw. Returns a connection, or one of the results above. */
export function schedulePersistent(
  slot: usize,
  service: usize,
  client: usize,
  clientPort: u32,
  virtual: usize,
  virtualPort: u32,
): usize {
  const family = <u32>load<u8>(slot, Slot.FAMILY);
  const protocol = <u32>load<u8>(slot, Slot.PROTOCOL);
  const servicePort = <u32>load<u16>(service, Service.PORT);
  const mark = load<u32>(service, Service.MARK);
  const packetMark = load<u32>(slot, Slot.MARK);
  maskClient(service, family, client);

  let templateProtocol = protocol;
  let templatePort: u32 = 0;
  let templateVirtual = virtual;
  if (virtualPort === servicePort && mark === 0) {
    if (servicePort !== FTP_PORT) templatePort = virtualPort;
  } else if (mark !== 0) {
    templateProtocol = 0;
    store<u64>(VIRTUAL, 0);
    store<u64>(VIRTUAL, 0, 8);
    // The mark stands where an address would: the first word, in network order.
    store<u32>(VIRTUAL, bswap(mark));
    templateVirtual = VIRTUAL;
  }

  const engine = load<u8>(service, Service.PERSISTENCE_ENGINE) !== 0;
  if (engine && !findCallId(slot)) {
    setWord(Memory.REFUSAL, Reason.PERSISTENCE_DATA);
    return NO_ROOM;
  }
  let template = findTemplate(family, templateProtocol, templateVirtual, templatePort, engine, 0);
  let server: usize;
  if (template === 0) {
    server = pick(service, slot);
    if (server === 0) return NO_SERVER;
    const serverPort =
      virtualPort === servicePort && mark === 0 && servicePort !== FTP_PORT ? <u32>load<u16>(server, Server.PORT) : 0;
    template = makeTemplate(
      service,
      family,
      templateProtocol,
      templateVirtual,
      templatePort,
      server,
      serverPort,
      packetMark,
    );
    if (template === 0) return NO_ROOM;
  } else {
    server = <usize>load<u32>(template, Connection.SERVER);
  }
  let serverPort = virtualPort;
  if (virtualPort === servicePort && load<u16>(server, Server.PORT) !== 0)
    serverPort = <u32>load<u16>(server, Server.PORT);
  const onePacket = (load<u32>(service, Service.FLAGS) & Service.FLAG_ONE_PACKET) !== 0 && protocol === Protocol.UDP;
  hold(template);
  const connection = create(
    family,
    protocol,
    client,
    clientPort,
    virtual,
    virtualPort,
    server + Server.ADDRESS,
    serverPort,
    onePacket ? Connection.FLAG_ONE_PACKET : 0,
    server,
    packetMark,
  );
  letGo(template);
  if (connection === 0) {
    Table.restart(template);
    return NO_ROOM;
  }
  controlledBy(connection, template);
  Table.restart(template);
  return connection;
}
