/** Which pieces of the tables become huge pages, and when. */
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { expect, it } from "vitest";
import * as Connection from "../../assembly/layout/connection.js";
import * as Memory from "../../assembly/layout/memory.js";
import { capacitiesOf, createMemory, planMemory } from "../../host/core/memory.js";
import { HugePages } from "../../host/engine/huge-pages.js";
import { EAGAIN, EBUSY, EINVAL } from "../../host/port/ioctl.js";
import * as native from "../../host/port/native.js";

const PIECE = 2 << 20;
const CONNECTIONS = 200_000;

function table(collapse?: (address: number) => number) {
  const memory = createMemory(planMemory(capacitiesOf({ connections: CONNECTIONS })));
  const words = new Uint32Array(memory.buffer);
  const base = native.addressOf(new Uint8Array(memory.buffer));
  const header = (at: number) => words[(Memory.LAYOUT_BASE + at) >>> 2]!;
  return {
    pages: collapse === undefined ? new HugePages(memory) : new HugePages(memory, collapse),
    records: base + header(Memory.CONNECTIONS_BASE),
    bytes: new Uint8Array(memory.buffer),
    at: (region: number) => header(region),
    fill: (count: number) => {
      words[(Memory.LAYOUT_BASE + Memory.CONNECTION_HIGH) >>> 2] = count;
    },
  };
}

it("takes whole pieces of what is in use, each once", () => {
  const asked: number[] = [];
  const { pages, records, fill } = table((address) => {
    asked.push(address);
    return 0;
  });
  expect(pages.turn()).toBe(false);
  fill(3);
  expect(pages.turn()).toBe(false);
  const used = (2 * PIECE) / Connection.SIZE + PIECE / Connection.SIZE;
  fill(used);
  while (pages.turn());
  const mine = asked.filter((address) => address >= records && address < records + used * Connection.SIZE);
  expect(mine.length).toBeGreaterThanOrEqual(2);
  for (const address of asked) expect(address % PIECE).toBe(0);
  expect(mine.at(-1)! + PIECE).toBeLessThanOrEqual(records + used * Connection.SIZE);
  expect(new Set(asked).size).toBe(asked.length);
  expect(pages.collapsed).toBe(asked.length);
  expect(pages.turn()).toBe(false);
  fill(CONNECTIONS);
  expect(pages.turn()).toBe(true);
});

it("asks again later where the kernel has none to give, goes by what is in other hands, and stops where it cannot", () => {
  const answers = [EAGAIN, 0, EBUSY, 0, EINVAL];
  let calls = 0;
  const { pages, fill } = table(() => answers[calls++] ?? 0);
  fill(CONNECTIONS);
  expect(pages.turn()).toBe(false);
  for (let turn = 0; turn < 64; turn++) expect(pages.turn()).toBe(false);
  expect(calls).toBe(1);
  expect([pages.turn(), pages.turn(), pages.turn(), pages.turn()]).toEqual([true, true, true, false]);
  expect(pages.collapsed).toBe(2);
  expect(pages.turn()).toBe(false);
  expect(calls).toBe(5);
});

it("makes huge pages of records, which stay as they are", (context) => {
  const [major, minor] = release().split(".").map(Number);
  if (major! < 6 || (major === 6 && minor! < 1)) context.skip("MADV_COLLAPSE is of Linux 6.1");
  const { pages, bytes, at, fill } = table();
  const from = at(Memory.CONNECTIONS_BASE);
  const length = CONNECTIONS * Connection.SIZE;
  for (let n = 0; n < length; n += 64) bytes[from + n] = n / 64;
  fill(CONNECTIONS);
  const before = huge();
  while (pages.turn());
  expect(pages.collapsed).toBeGreaterThan(0);
  expect(huge() - before).toBeGreaterThanOrEqual(pages.collapsed * (PIECE / 1024));
  for (let n = 0; n < length; n += 64)
    if (bytes[from + n] !== ((n / 64) & 255)) throw new Error(`byte ${n} has changed`);
});

/** KiB of this process in huge pages. */
function huge(): number {
  return Number(/AnonHugePages: +(\d+) kB/.exec(readFileSync("/proc/self/smaps_rollup", "utf8"))![1]);
}
