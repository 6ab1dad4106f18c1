/** What a director's tables are at, as one text: two directors that did the same have the same. */
import { createHash } from "node:crypto";
import * as Address from "../../assembly/layout/address.js";
import * as Connection from "../../assembly/layout/connection.js";
import * as ConnectionIndex from "../../assembly/layout/connection-index.js";
import * as Counters from "../../assembly/layout/counters.js";
import * as Memory from "../../assembly/layout/memory.js";
import * as Neighbour from "../../assembly/layout/neighbour.js";
import * as Port from "../../assembly/layout/port.js";
import * as Route from "../../assembly/layout/route.js";
import * as Server from "../../assembly/layout/server.js";
import * as Service from "../../assembly/layout/service.js";
import * as Worker from "../../assembly/layout/worker.js";

/** Regions by their header words and record sizes. Frame slots are not among them: what left is the caller's to see. */
const REGIONS = [
  [Memory.PORTS_BASE, Memory.PORTS_CAPACITY, Port.SIZE],
  [Memory.ADDRESSES_BASE, Memory.ADDRESSES_CAPACITY, Address.SIZE],
  [Memory.ROUTES_BASE, Memory.ROUTES_CAPACITY, Route.SIZE],
  [Memory.NEIGHBOURS_BASE, Memory.NEIGHBOURS_CAPACITY, Neighbour.SIZE],
  [Memory.SERVICES_BASE, Memory.SERVICES_CAPACITY, Service.SIZE],
  [Memory.SERVERS_BASE, Memory.SERVERS_CAPACITY, Server.SIZE],
  [Memory.COUNTERS_BASE, undefined, Counters.SIZE],
  [Memory.WHEEL_BASE, Memory.WHEEL_CAPACITY, 1],
  [Memory.CONNECTIONS_BASE, Memory.CONNECTIONS_CAPACITY, Connection.SIZE],
  [Memory.COLD_BASE, Memory.CONNECTIONS_CAPACITY, Connection.COLD_SIZE],
  [Memory.INDEX_BASE, Memory.INDEX_CAPACITY, ConnectionIndex.SIZE],
  [Memory.EXTENSIONS_BASE, Memory.EXTENSIONS_CAPACITY, Connection.EXTENSION_SIZE],
] as const;

export function tableDigest(memory: WebAssembly.Memory): string {
  const view = new DataView(memory.buffer);
  const word = (at: number) => view.getUint32(Memory.LAYOUT_BASE + at, true);
  const hash = createHash("sha1");
  for (const [base, capacity, size] of REGIONS) {
    hash.update(new Uint8Array(memory.buffer, word(base), (capacity === undefined ? 1 : word(capacity)) * size));
  }
  const worker = word(Memory.WORKERS_BASE);
  hash.update(new Uint8Array(memory.buffer, worker + Worker.BREATHS, Worker.SIZE - Worker.BREATHS));
  const counts = [Memory.CONNECTION_COUNT, Memory.FREE_SLOT_COUNT, Memory.WAITING, Memory.WHEEL_TICK, Memory.IDLE_MS];
  hash.update(counts.map(word).join());
  return hash.digest("hex");
}
