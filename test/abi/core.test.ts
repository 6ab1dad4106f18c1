/** What the built core imports and exports, and what it may not contain. */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";
import { checkVersion, compileCore, corePath, instantiate } from "../../host/core/instance.js";
import { capacitiesOf, createMemory, planMemory } from "../../host/core/memory.js";

const EXPORTS = [
  "layoutVersion init run tick hold release sendFailed announce flush zero",
  "serviceAdd serviceEdit serviceRemove serviceFind serviceGuard serverAdd serverEdit serverRemove",
  "settingSet timeoutsSet portAdd portUp portMtu addressAdd addressRemove routeAdd routeRemove",
  "neighbourAdd neighbourRemove neighbourFlush marksPut marksLoad",
  "snapshotServers snapshotServices snapshotAddresses snapshotConnections snapshotChanged snapshotTimers noteChanges",
  "snapshotNeighbours",
  "restoreBegin restoreEntries restoreFinish restoreLink restoreTime",
  "neighbourAdd neighbourRemove neighbourFlush marksPut marksLoad traceStart traceStop traceSample",
]
  .join(" ")
  .split(" ");

describe("the core", () => {
  it("imports its memory and at most abort", () => {
    const imports = WebAssembly.Module.imports(compileCore()).map(({ module, name }) => `${module}.${name}`);
    expect(imports).toContain("env.memory");
    expect(imports.filter((name) => name !== "env.memory" && name !== "env.abort")).toEqual([]);
  });

  it("exports the calls of the host, and no globals", () => {
    const exports = WebAssembly.Module.exports(compileCore());
    expect(exports.map(({ name }) => name)).toEqual(expect.arrayContaining(EXPORTS));
    expect(exports.filter(({ kind }) => kind !== "function")).toEqual([]);
  });

  it("speaks this layout", () => {
    const memory = createMemory(planMemory(capacitiesOf({ connections: 1024, slots: 512 })));
    expect(instantiate(memory).layoutVersion()).toBe(Memory.LAYOUT_VERSION);
  });

  it("is refused when it speaks another", () => {
    expect(() => checkVersion(Memory.LAYOUT_VERSION + 1)).toThrow(/build anew/);
  });

  it("has no run-time library and no data that moves into the tables", () => {
    const file = corePath().replace(/\.wasm$/, ".wat");
    expect(existsSync(file)).toBe(true);
    const wat = readFileSync(file, "utf8");
    expect(wat).not.toContain("~lib/rt");
    for (const [, from, bytes] of wat.matchAll(/\(data \$\S+ \(i32\.const (\d+)\) "((?:[^"\\]|\\.)*)"/g)) {
      const length = bytes!.replaceAll(/\\[0-9a-f]{2}|\\./g, "x").length;
      expect(Number(from) + length).toBeLessThanOrEqual(Memory.LAYOUT_BASE);
    }
  });

  it("gives a second instance the tables that the first one filled", () => {
    const memory = createMemory(planMemory(capacitiesOf({ connections: 1024, slots: 512 })));
    const first = instantiate(memory);
    expect(first.init()).toBe(0);
    const words = new Uint32Array(memory.buffer, Memory.LAYOUT_BASE, Memory.HEADER_SIZE / 4);
    const before = Array.from(words);
    instantiate(memory);
    expect(Array.from(words)).toEqual(before);
  });
});
