/**
 * Maglev hashing as IPVS does it: 4093 places, filled in turns by each server's own permutation, as many places a turn
 * as its weight is to the others'. A server of weight 0 keeps the places of its last weight.
 */

import * as State from "../layout/scheduler-state";
import * as Server from "../layout/server";
import * as Service from "../layout/service";
import * as Slot from "../layout/slot";
import { swap16 } from "../wire/bytes";
import { clientAddress, clientPort, foldAddress, isV6, sip } from "./hash";
import { first, following, greatestDivisor, isAvailable, isSuspect } from "./servers";
import { at, refilling } from "./table";

const FALLBACK = Service.FLAG_SCHEDULER_1;
const WITH_PORT = Service.FLAG_SCHEDULER_2;
const KEY_PLACE: u32 = 2654435761;
const KEY_SKIP: u32 = 2654446892;
const SIZE = <u32>State.MH_SIZE;

const LAST_WEIGHT = Server.SCHEDULER_STATE + State.LAST_WEIGHT;
const PLACE = Server.SCHEDULER_STATE + State.PLACE;
const SKIP = Server.SCHEDULER_STATE + State.SKIP;
const TURNS = Server.SCHEDULER_STATE + State.TURNS;

/** Sets up every server's permutation and share; false if no server has a share. */
function prepare(service: usize): bool {
  let divisor: u32 = 0;
  let highest: u32 = 0;
  for (let server = first(service); server !== 0; server = following(server)) {
    const its = load<i32>(server, LAST_WEIGHT);
    if (its <= 0) continue;
    divisor = greatestDivisor(<u32>its, divisor);
    if (<u32>its > highest) highest = <u32>its;
  }
  if (divisor === 0) return false;
  // Shares of more than MH_BITS / 2 bits are scaled down.
  let shift = 32 - <i32>clz(highest / divisor) - State.MH_BITS / 2;
  if (shift < 0) shift = 0;
  const v6 = load<u8>(service, Service.FAMILY) === 6;
  for (let server = first(service); server !== 0; server = following(server)) {
    const key = foldAddress(server + Server.ADDRESS, v6) + swap16(load<u16>(server, Server.PORT));
    const its = load<i32>(server, LAST_WEIGHT);
    const share = its > 0 ? (<u32>its / divisor) >> shift : 0;
    store<u32>(server, sip(key, KEY_PLACE) % SIZE, PLACE);
    store<u32>(server, (sip(key, KEY_SKIP) % (SIZE - 1)) + 1, SKIP);
    store<u32>(server, share !== 0 ? share : its > 0 ? 1 : 0, TURNS);
  }
  return true;
}

function fill(service: usize, table: usize): void {
  memory.fill(table, 0, (<usize>SIZE) << 2);
  if (!prepare(service)) return;
  let filled: u32 = 0;
  for (;;) {
    for (let server = first(service); server !== 0; server = following(server)) {
      const skip = load<u32>(server, SKIP);
      let place = load<u32>(server, PLACE);
      for (let turn = load<u32>(server, TURNS); turn !== 0; turn--) {
        while (load<u32>(table + ((<usize>place) << 2)) !== 0) {
          place += skip;
          if (place >= SIZE) place -= SIZE;
        }
        store<u32>(table + ((<usize>place) << 2), <u32>server);
        if (++filled === SIZE) return;
      }
      store<u32>(server, place, PLACE);
    }
  }
}

export function pick(service: usize, slot: usize): usize {
  const table = refilling(service);
  if (table !== 0) fill(service, table);
  const flags = load<u32>(service, Service.FLAGS);
  const key =
    foldAddress(clientAddress(slot), isV6(<usize>load<u32>(slot, Slot.IP))) +
    ((flags & WITH_PORT) !== 0 ? clientPort(slot) : 0);
  const hash = sip(key, KEY_PLACE) % SIZE;
  const server = at(service, hash);
  if (server === 0 || isAvailable(server)) return server;
  if ((flags & FALLBACK) === 0 && !isSuspect(server)) return 0;
  for (let offset: u32 = 0; offset < SIZE; offset++) {
    const other = at(service, sip(((offset + hash) % SIZE) + key, KEY_PLACE) % SIZE);
    if (other === 0) return 0;
    if (isAvailable(other)) return other;
  }
  return 0;
}
