/** Compiles the core once a process, and makes instances of it over a memory. */
import { existsSync, readFileSync } from "node:fs";
import * as Memory from "../../assembly/layout/memory.js";

/** What the core exports. Control calls return a record's address, 0, or a negated errno as u32. */
export interface Core {
  layoutVersion(): number;
  init(): number;
  run(worker: number, now: number): number;
  tick(now: number): number;
  runUring(worker: number, now: number): number;
  endUring(worker: number): number;
  abandonWorker(worker: number): void;
  hold(): void;
  release(): void;
  serviceAdd(): number;
  serviceEdit(): number;
  serviceRemove(): number;
  serviceFind(): number;
  serviceGuard(mode: number, connections: number, rate: number, ofSource: number, sourceRate: number): number;
  serverAdd(): number;
  serverEdit(): number;
  serverRemove(): number;
  serverWatch(): number;
  flush(): number;
  zero(service: number): number;
  settingSet(id: number, value: number): number;
  timeoutsSet(tcp: number, tcpFin: number, udp: number): number;
  portAdd(): number;
  portUp(port: number, up: number): number;
  portMtu(port: number, mtu: number): number;
  addressAdd(): number;
  addressRemove(): number;
  routeAdd(): number;
  routeRemove(): number;
  neighbourAdd(): number;
  neighbourRemove(): number;
  neighbourFlush(number: number): number;
  announce(): void;
  marksPut(offset: number, length: number): number;
  marksLoad(length: number, rules: number): number;
  sendFailed(port: number): void;
  snapshotServers(from: number): number;
  snapshotServices(from: number): number;
  snapshotAddresses(from: number): number;
  snapshotNeighbours(from: number): number;
  snapshotConnections(from: number): number;
  snapshotChanged(from: number): number;
  snapshotTimers(from: number, since: number): number;
  noteChanges(on: number): void;
  restoreBegin(): void;
  restoreEntries(length: number, age: number): number;
  restoreTime(tick: number): void;
  restoreLink(from: number, late: number): number;
  restoreFinish(from: number): number;
  traceStart(number: number, length: number, snap: number, rate: number): number;
  traceStop(number: number): number;
  traceSample(every: number): number;
}

/** The core that was built does not fit this host, or the memory does not fit the core. */
export class CoreError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "CoreError";
  }
}

const FILE = "core.wasm";
let compiled: WebAssembly.Module | undefined;

/** Where the built core lies: beside this file's tree when compiled, in dist/ when run from the sources. */
export function corePath(): string {
  const candidates = [new URL(`../../${FILE}`, import.meta.url), new URL(`../../dist/${FILE}`, import.meta.url)];
  const found = candidates.find((url) => existsSync(url));
  if (found === undefined) throw new CoreError(`${FILE} is missing: build the core first`);
  return found.pathname;
}

/** The compiled core; the first call compiles it. A module may be posted to other threads. */
export function compileCore(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(readFileSync(corePath()));
  return compiled;
}

/** Text of an AssemblyScript string (UTF-16, its byte length in the word before it). */
function textAt(memory: WebAssembly.Memory, at: number): string {
  if (at === 0) return "";
  const view = new DataView(memory.buffer);
  const units: number[] = [];
  for (let n = 0; n < view.getUint32(at - 4, true); n += 2) units.push(view.getUint16(at + n, true));
  return String.fromCharCode(...units);
}

/** A new instance over a memory whose header is written. Only one of them per memory calls init(). */
export function instantiate(memory: WebAssembly.Memory, module: WebAssembly.Module = compileCore()): Core {
  const abort = (message: number, file: number, line: number, column: number) => {
    throw new CoreError(
      `the core stopped: ${textAt(memory, message) || "abort"} (${textAt(memory, file)}:${line}:${column})`,
    );
  };
  const instance = new WebAssembly.Instance(module, { env: { memory, abort } });
  const core = instance.exports as unknown as Core;
  checkVersion(core.layoutVersion());
  return core;
}

/** A core of another layout would read the tables wrongly: it is refused. */
export function checkVersion(version: number): void {
  if (version !== Memory.LAYOUT_VERSION) {
    throw new CoreError(`the core was built for layout ${version}, the host for ${Memory.LAYOUT_VERSION}: build anew`);
  }
}
