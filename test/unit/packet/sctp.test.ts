import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import * as Connection from "../../../assembly/layout/connection.js";
import * as Memory from "../../../assembly/layout/memory.js";
import * as State from "../../../assembly/layout/state.js";
import { crc32c } from "../../conformance/frames.js";
import { PacketCore, SCRATCH } from "../../support/packet-core.js";
import { ip4, sctp } from "../../support/packets.js";

const INIT = 1;
const INIT_ACK = 2;
const ABORT = 6;
const SHUTDOWN = 7;
const SHUTDOWN_ACK = 8;
const COOKIE_ECHO = 10;
const COOKIE_ACK = 11;
const SHUTDOWN_COMPLETE = 14;
const CONNECTION = SCRATCH + 8192;

let core: PacketCore;

beforeAll(async () => {
  core = await PacketCore.create(8, 16);
});
beforeEach(() => {
  core.reset();
  core.bytes.fill(0, CONNECTION, CONNECTION + Connection.SIZE);
});

type Direction = "in" | "out";

function packet(...types: readonly number[]): Uint8Array {
  const chunks = types.map((type) => ({ type, value: Uint8Array.of(1, 2, 3, 4) }));
  return ip4("192.168.4.11", "192.168.4.100", 132, sctp(4000, 2905, 7, chunks));
}

function see(direction: Direction, frame: Uint8Array): [number, number] {
  const slot = core.put(frame);
  core.core.transition(CONNECTION, slot, direction === "in" ? 0 : 1);
  core.core.giveSlot(slot);
  const seconds = core.word(CONNECTION, Connection.TIMEOUT) / Memory.TICKS_PER_SECOND;
  return [core.view.getUint8(CONNECTION + Connection.STATE), seconds];
}

describe("SCTP states", () => {
  it("follow an association from INIT to its end", () => {
    expect(see("in", packet(INIT))).toEqual([State.SCTP_INIT1, 4]);
    expect(see("out", packet(INIT_ACK))).toEqual([State.SCTP_COOKIE_SENT, 61]);
    expect(see("in", packet(COOKIE_ECHO))).toEqual([State.SCTP_COOKIE_REPLIED, 61]);
    expect(see("out", packet(COOKIE_ACK))).toEqual([State.SCTP_ESTABLISHED, 900]);
    expect(see("in", packet(0))).toEqual([State.SCTP_ESTABLISHED, 900]);
    expect(see("out", packet(3, 0))).toEqual([State.SCTP_ESTABLISHED, 900]);
    expect(see("in", packet(SHUTDOWN))).toEqual([State.SCTP_SHUTDOWN_RECEIVED, 61]);
    expect(see("out", packet(SHUTDOWN_ACK))).toEqual([State.SCTP_SHUTDOWN_ACK_SENT, 61]);
    expect(see("in", packet(SHUTDOWN_COMPLETE))).toEqual([State.SCTP_CLOSED, 61]);
  });

  it("are the server's refusal, and an abort behind a cookie", () => {
    see("in", packet(INIT));
    expect(see("out", packet(ABORT))).toEqual([State.SCTP_REJECTED, 4]);
    see("in", packet(INIT));
    expect(see("in", packet(COOKIE_ECHO, ABORT))).toEqual([State.SCTP_CLOSED, 61]);
  });

  it("go by the client alone where answers are not seen", () => {
    core.view.setUint32(CONNECTION + Connection.FLAGS, Connection.FLAG_NO_OUTPUT, true);
    expect(see("in", packet(INIT))[0]).toBe(State.SCTP_INIT1);
    expect(see("in", packet(COOKIE_ECHO))[0]).toBe(State.SCTP_ESTABLISHED);
    see("out", packet(0));
    expect(core.word(CONNECTION, Connection.FLAGS) & Connection.FLAG_NO_OUTPUT).toBe(0);
  });

  it("stay in range whatever comes", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 40 }),
        fc.integer({ min: 0, max: 255 }),
        fc.boolean(),
        (body, state, out) => {
          core.view.setUint8(CONNECTION + Connection.STATE, state);
          const [next] = see(out ? "out" : "in", ip4("192.168.4.11", "192.168.4.100", 132, body));
          if (body.length >= 16) expect(next).toBeLessThan(State.SCTP_LAST);
          else expect(next).toBe(state);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("crc32c", () => {
  it("is the reference's for every length", () => {
    const at = SCRATCH + 16384;
    for (let length = 0; length < 300; length++) {
      const data = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 255);
      core.bytes.set(data, at);
      expect(core.core.crc32c(at, length) >>> 0).toBe(crc32c(data) >>> 0);
    }
  });

  it("tells a right packet from a wrong one, and leaves both as they are", () => {
    const at = SCRATCH + 16384;
    const message = sctp(1, 2, 3, [{ type: 0, value: Uint8Array.of(1, 2, 3) }]);
    core.bytes.set(message, at);
    expect(core.core.isChecksumRight(at, message.length)).toBe(1);
    core.bytes[at + 1]! ^= 1;
    expect(core.core.isChecksumRight(at, message.length)).toBe(0);
  });
});
