/** Descriptors over a socket: all of them, in their order, and no longer than they are wanted. */
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { receiveDescriptors, sendDescriptors, socketPair } from "../../../host/port/descriptors.js";
import * as native from "../../../host/port/native.js";

const open: number[] = [];

afterEach(() => {
  for (const fd of open.splice(0)) native.close(fd);
});

function pair(): readonly [number, number] {
  const ends = socketPair();
  open.push(...ends);
  return ends;
}

/** What tells one file from another. */
const identity = (fd: number) => `${fstatSync(fd).dev}:${fstatSync(fd).ino}`;

const O_CLOEXEC = 0o2000000;

function isInherited(fd: number): boolean {
  const [, flags] = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))!;
  return (Number.parseInt(flags!, 8) & O_CLOEXEC) === 0;
}

it("sends more of them than one message takes, in their order, not inherited", () => {
  const [from, to] = pair();
  const files = Array.from({ length: 300 }, (_, n) => native.memfdCreate(`wlvs-${n}`, native.MFD_CLOEXEC));
  open.push(...files);
  sendDescriptors(from, files);
  const arrived = receiveDescriptors(to, files.length);
  open.push(...arrived);
  expect(arrived.map(identity)).toEqual(files.map(identity));
  expect(new Set([...arrived, ...files]).size).toBe(600);
  expect(arrived.some(isInherited) || isInherited(from) || isInherited(to)).toBe(false);
});

it("refuses fewer than were promised, and keeps none of them", () => {
  const [from, to] = pair();
  const file = openSync("/dev/null", "r");
  const before = native.memfdCreate("wlvs-lowest", native.MFD_CLOEXEC);
  native.close(before);
  sendDescriptors(from, [file]);
  closeSync(file);
  expect(() => receiveDescriptors(to, 2)).toThrow("not every descriptor arrived");
  const after = native.memfdCreate("wlvs-lowest", native.MFD_CLOEXEC);
  native.close(after);
  expect(after).toBeLessThanOrEqual(before);
});

it("does not wait for what was not sent, and says when nobody is there", () => {
  const [from, to] = pair();
  expect(() => receiveDescriptors(to, 1)).toThrow(/^recvmsg: /);
  native.close(open.splice(open.indexOf(to), 1)[0]!);
  expect(() => sendDescriptors(from, [0])).toThrow("sendmsg: broken pipe");
});
