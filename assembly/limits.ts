/**
 * Limits of a service: connections and new connections a second, of all its clients and of each of them. What is over
 * a limit makes no connection; the client is told or not (limit_answer).
 */
import * as Reason from "./layout/reason";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Slot from "./layout/slot";
import * as Source from "./layout/source";
import { hasToken, takeToken } from "./table/bucket";
import { now } from "./table/memory";
import { ensureSource, keyAtService } from "./table/source";
import { sourceAt } from "./transmit";

/** Whether any limit is set. */
export function isLimited(service: usize): bool {
  return load<u64>(service, Service.LIMIT_CONNECTIONS) !== 0 || load<u64>(service, Service.SOURCE_CONNECTIONS) !== 0;
}

function connectionsOf(service: usize): u32 {
  let total: u32 = 0;
  let server = <usize>load<u32>(service, Service.SERVERS_HEAD);
  while (server !== 0) {
    total += load<u32>(server, Server.ACTIVE) + load<u32>(server, Server.INACTIVE);
    server = <usize>load<u32>(server, Server.NEXT);
  }
  return total;
}

function refused(service: usize, counter: i32, reason: u32): u32 {
  const at = service + <usize>counter;
  store<u32>(at, load<u32>(at) + 1);
  return reason;
}

/** Whether the packet may open a connection of the service: 0, or the reason why not. */
export function refusalOf(slot: usize, service: usize): u32 {
  const ofSource = load<u32>(service, Service.SOURCE_CONNECTIONS);
  const sourceRate = load<u32>(service, Service.SOURCE_RATE);
  let source: usize = 0;
  if (ofSource !== 0 || sourceRate !== 0) {
    const key = keyAtService(load<u8>(slot, Slot.FAMILY), sourceAt(slot), service);
    source = ensureSource(key, sourceRate);
    store<u32>(source, now(), Source.SEEN);
    if (
      (ofSource !== 0 && load<u32>(source, Source.CONNECTIONS) >= ofSource) ||
      (sourceRate !== 0 && !hasToken(source + Source.BUCKET, sourceRate))
    )
      return refused(service, Service.REFUSED_SOURCE, Reason.SOURCE_LIMIT);
  }
  const most = load<u32>(service, Service.LIMIT_CONNECTIONS);
  if (most !== 0 && connectionsOf(service) >= most)
    return refused(service, Service.REFUSED_CONNECTIONS, Reason.SERVICE_LIMIT);
  const rate = load<u32>(service, Service.LIMIT_RATE);
  if (rate !== 0) {
    if (!hasToken(service + Service.RATE_BUCKET, rate))
      return refused(service, Service.REFUSED_RATE, Reason.RATE_LIMIT);
    takeToken(service + Service.RATE_BUCKET);
  }
  if (sourceRate !== 0) takeToken(source + Source.BUCKET);
  return 0;
}
