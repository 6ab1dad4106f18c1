/** Ticks are hundreds of days of a machine's uptime: every timer runs whatever they are at the start. */
import { expect, it } from "vitest";
import * as Memory from "../../assembly/layout/memory.js";
import { createDirector } from "../support/director.js";

it.each([1000, 0x7fffff00, 0x80000000, 0xc0000000, 0xffffff00])("keeps house from tick %i on", (start) => {
  const engine = createDirector({ start });
  engine.control.setting("secure_tcp", "3");
  engine.advanceTo(3000);
  expect(new DataView(engine.memory.buffer).getUint32(Memory.LAYOUT_BASE + Memory.SECURE_TCP_ON, true)).toBe(1);
});
