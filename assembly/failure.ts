/** What becomes of the connections of servers that are gone, or failed: looked for a part of the table at a time. */

import { bareSegment } from "./answer";
import { end, expire, invalidateTemplate, isAvailable } from "./connections";
import { clientAddress, virtualAddress } from "./forwarding/nat";
import * as Connection from "./layout/connection";
import * as Memory from "./layout/memory";
import * as Protocol from "./layout/protocol";
import * as Server from "./layout/server";
import * as Setting from "./layout/setting";
import * as Slot from "./layout/slot";
import * as State from "./layout/state";
import * as Worker from "./layout/worker";
import { newPacket } from "./link";
import { now, setting, setWord, word } from "./table/memory";
import { isEmbryonic } from "./table/outcome";
import { destinationAt, routeTo, sourceAt } from "./transmit";
import { copy16 } from "./wire/bytes";
import * as Tcp from "./wire/tcp";

/** How many records one breath looks at, how many of them it ends, and how many clients it asks. */
const LOOKED: u32 = 4096;
const ENDED: u32 = 1024;
const ASKED: u32 = 128;
/** Slots and places of the send queue that are left to others. */
const SPARED: u32 = 16;

/** Connections of servers that are gone or failed will be looked for, from now on. */
export function beginSweep(): void {
  setWord(Memory.SWEEP, word(Memory.CONNECTION_HIGH));
}

/** Goes on with it. */
export function sweepConnections(): void {
  let left = word(Memory.SWEEP);
  if (left === 0) return;
  const base = <usize>word(Memory.CONNECTIONS_BASE);
  const forget = setting(Setting.EXPIRE_NODEST_CONN) !== 0;
  let ended: u32 = 0;
  let asked: u32 = 0;
  for (let i: u32 = 0; i < LOOKED && left !== 0 && ended < ENDED && asked < ASKED; i++) {
    const connection = base + ((<usize>(left - 1)) << 6);
    const flags = load<u32>(connection, Connection.FLAGS);
    const server: usize = (flags & Connection.FLAG_USED) === 0 ? 0 : <usize>load<u32>(connection, Connection.SERVER);
    if (server !== 0) {
      const failure = <i32>load<u8>(server, Server.FAILURE);
      if (failure === Server.FAILURE_NONE) {
        if (forget && !isAvailable(server)) {
          expire(connection);
          ended++;
        }
      } else if (failure >= Server.FAILURE_RESET) {
        if ((flags & Connection.FLAG_TEMPLATE) !== 0) {
          invalidateTemplate(connection);
          ended++;
        } else if (isOver(connection, failure)) {
          if (hasClientToTell(connection)) {
            // Later, rather than at the cost of what passes by.
            if (!isRoom()) break;
            askClient(connection);
            asked++;
          }
          if (load<u32>(connection, Connection.CONTROLLED) === 0) end(connection);
          else expire(connection);
          ended++;
        }
      }
    }
    left--;
  }
  setWord(Memory.SWEEP, left);
}

/** Whether a connection ends because its server failed. Datagrams make no connection that would be lost. */
function isOver(connection: usize, failure: i32): bool {
  if (failure === Server.FAILURE_RESET) return true;
  return isEmbryonic(connection) || load<u8>(connection, Connection.PROTOCOL) === Protocol.UDP;
}

/** A client in the handshake repeats its SYN, and is scheduled anew; one that has closed waits for nothing. */
function hasClientToTell(connection: usize): bool {
  if (load<u8>(connection, Connection.PROTOCOL) !== Protocol.TCP || isEmbryonic(connection)) return false;
  const state = <i32>load<u8>(connection, Connection.STATE);
  return state !== State.TCP_TIME_WAIT && state !== State.TCP_CLOSE && state !== State.TCP_NONE;
}

function isRoom(): bool {
  const queue = <usize>word(Memory.CURRENT_QUEUE);
  return word(Memory.FREE_SLOT_COUNT) > SPARED && load<u32>(queue, Worker.SEND_COUNT) < <u32>Worker.SEND_LIMIT - SPARED;
}

/**
 * A client takes a reset only with the very sequence number that it waits for (RFC 5961, 3.2), which only it knows: what
 * passes by here need not have reached it. So it is asked: a segment that fits nowhere is answered with an ACK of what it
 * waits for (RFC 9293, 3.10.7.4), and that ACK, of a connection that is no more, with a reset of that number.
 */
function askClient(connection: usize): void {
  const family = <u32>load<u8>(connection, Connection.FAMILY);
  const slot = newPacket(family, 0);
  if (slot === 0) return;
  store<u8>(slot, Protocol.TCP, Slot.PROTOCOL);
  const virtual = virtualAddress(connection);
  const client = clientAddress(connection);
  if (family === 4) {
    store<u32>(sourceAt(slot), load<u32>(virtual));
    store<u32>(destinationAt(slot), load<u32>(client));
  } else {
    copy16(sourceAt(slot), virtual);
    copy16(destinationAt(slot), client);
  }
  const ports =
    <u32>load<u16>(connection, Connection.VIRTUAL_PORT) | ((<u32>load<u16>(connection, Connection.CLIENT_PORT)) << 16);
  const anywhere = ((word(Memory.SEED) ^ ports) * 0x9e3779b1) ^ (now() * 0x85ebca6b);
  bareSegment(slot, ports, anywhere, anywhere, Tcp.ACK);
  routeTo(slot, destinationAt(slot));
}
