/** Which scheduler does what. A new one is a file, a number in layout/scheduler and its lines here. */
import * as Errno from "../layout/errno";
import * as Scheduler from "../layout/scheduler";
import * as State from "../layout/scheduler-state";
import * as Server from "../layout/server";
import * as Service from "../layout/service";
import { swap16 } from "../wire/bytes";
import * as dh from "./dh";
import * as fo from "./fo";
import { mix } from "./hash";
import * as lblc from "./lblc";
import * as lblcr from "./lblcr";
import * as lc from "./lc";
import * as locality from "./locality";
import * as maglev from "./maglev";
import * as mh from "./mh";
import * as nq from "./nq";
import * as ovf from "./ovf";
import * as rr from "./rr";
import * as sed from "./sed";
import * as sh from "./sh";
import * as table from "./table";
import * as twos from "./twos";
import * as wlc from "./wlc";
import * as wrr from "./wrr";

/** Binds a service's scheduler (Service.SCHEDULER): 0 or -errno. The service may have servers already. */
export function start(service: usize): i32 {
  memory.fill(service + Service.SCHEDULER_STATE, 0, 40);
  switch (<i32>load<u8>(service, Service.SCHEDULER)) {
    case Scheduler.WRR:
      wrr.start(service);
      return 0;
    case Scheduler.SH:
    case Scheduler.DH:
      return table.start(service, State.HASH_SIZE);
    case Scheduler.MH:
      return table.start(service, State.MH_SIZE);
    case Scheduler.MAGLEV:
      return table.start(service, State.MAGLEV_SIZE);
    case Scheduler.LBLC:
    case Scheduler.LBLCR:
      return locality.start(service);
    case Scheduler.RR:
    case Scheduler.LC:
    case Scheduler.WLC:
    case Scheduler.SED:
    case Scheduler.NQ:
    case Scheduler.FO:
    case Scheduler.OVF:
    case Scheduler.TWOS:
      return 0;
    default:
      return -Errno.ENOENT;
  }
}

/** Unbinds it: nothing of it is left in the arena. Also after a start() that failed. */
export function stop(service: usize): void {
  switch (<i32>load<u8>(service, Service.SCHEDULER)) {
    case Scheduler.SH:
    case Scheduler.DH:
    case Scheduler.MH:
    case Scheduler.MAGLEV:
      table.stop(service);
      break;
    case Scheduler.LBLC:
    case Scheduler.LBLCR:
      locality.stop(service);
      break;
  }
  memory.fill(service + Service.SCHEDULER_STATE, 0, 40);
}

/** The server is in the list, its weight set. */
export function serverAdded(service: usize, server: usize): void {
  store<i32>(server, load<i32>(server, Server.WEIGHT), Server.SCHEDULER_STATE + State.LAST_WEIGHT);
  store<u32>(server, identity(server), Server.SCHEDULER_STATE + State.IDENTITY);
  const scheduler = <i32>load<u8>(service, Service.SCHEDULER);
  if (scheduler === Scheduler.LBLC) lblc.added(service, server);
  else if (scheduler === Scheduler.LBLCR) lblcr.added(service, server);
  else if (scheduler === Scheduler.RR) rr.added(service);
  else changed(service, scheduler);
}

/** The server is out of the list. */
export function serverRemoved(service: usize, server: usize): void {
  const scheduler = <i32>load<u8>(service, Service.SCHEDULER);
  if (scheduler === Scheduler.RR) rr.removed(service, server);
  else changed(service, scheduler);
}

/** The server's weight, thresholds or method were set anew. */
export function serverEdited(service: usize, server: usize): void {
  const weight = load<i32>(server, Server.WEIGHT);
  if (weight !== 0) store<i32>(server, weight, Server.SCHEDULER_STATE + State.LAST_WEIGHT);
  changed(service, <i32>load<u8>(service, Service.SCHEDULER));
}

function changed(service: usize, scheduler: i32): void {
  switch (scheduler) {
    case Scheduler.WRR:
      wrr.changed(service);
      break;
    case Scheduler.SH:
    case Scheduler.DH:
    case Scheduler.MH:
    case Scheduler.MAGLEV:
      table.spoil(service);
      break;
  }
}

/** A hash of a server's address and port. */
function identity(server: usize): u32 {
  let hash = mix(load<u32>(server, Server.ADDRESS) + swap16(load<u16>(server, Server.PORT)) * 0x9e3779b1);
  hash = mix(hash ^ load<u32>(server, Server.ADDRESS + 4));
  hash = mix(hash ^ load<u32>(server, Server.ADDRESS + 8));
  return mix(hash ^ load<u32>(server, Server.ADDRESS + 12));
}

/** The server for a new connection whose first packet is in the slot; 0 if none may take it. */
export function pick(service: usize, slot: usize): usize {
  switch (<i32>load<u8>(service, Service.SCHEDULER)) {
    case Scheduler.RR:
      return rr.pick(service);
    case Scheduler.WRR:
      return wrr.pick(service);
    case Scheduler.LC:
      return lc.pick(service);
    case Scheduler.WLC:
      return wlc.pick(service);
    case Scheduler.LBLC:
      return lblc.pick(service, slot);
    case Scheduler.LBLCR:
      return lblcr.pick(service, slot);
    case Scheduler.DH:
      return dh.pick(service, slot);
    case Scheduler.SH:
      return sh.pick(service, slot);
    case Scheduler.SED:
      return sed.pick(service);
    case Scheduler.NQ:
      return nq.pick(service);
    case Scheduler.FO:
      return fo.pick(service);
    case Scheduler.OVF:
      return ovf.pick(service);
    case Scheduler.MH:
      return mh.pick(service, slot);
    case Scheduler.TWOS:
      return twos.pick(service);
    case Scheduler.MAGLEV:
      return maglev.pick(service, slot);
    default:
      return 0;
  }
}

/** Housekeeping, about once a second: lblc and lblcr forget destinations. */
export function tick(service: usize): void {
  const scheduler = <i32>load<u8>(service, Service.SCHEDULER);
  if (scheduler === Scheduler.LBLC) lblc.tick(service);
  else if (scheduler === Scheduler.LBLCR) lblcr.tick(service);
}
