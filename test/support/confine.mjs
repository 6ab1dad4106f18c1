/**
 * Runs a program under a seccomp filter as systemd would make it: `node confine.mjs NUMBERS FAMILIES PROGRAM ARGS...`.
 * NUMBERS are the system calls that are allowed, FAMILIES those of socket(2), each with commas between; whatever is not
 * allowed fails with EPERM.
 */
import koffi from "koffi";

const libc = koffi.load("libc.so.6");
const prctl = libc.func("int prctl(int, ulong, void *, ulong, ulong)");
const prctlValue = libc.func("prctl", "int", ["int", "ulong", "ulong", "ulong", "ulong"]);
const fcntl = libc.func("int fcntl(int, int, long)");
const execv = libc.func("int execv(str, str *)");

const F_SETFD = 2;
const ARCH_X86_64 = 0xc000003e;
const SOCKET = 41;
const LOAD = 0x20;
const EQUAL = 0x15;
const RETURN = 0x06;
const ALLOW = 0x7fff0000;
const EPERM = 0x00050001;
const NUMBER_AT = 0;
const ARCH_AT = 4;
const FIRST_ARGUMENT_AT = 16;

const [numbers, families, ...command] = process.argv.slice(2);
const list = (text) => text.split(",").map(Number);
const program = [
  [LOAD, 0, 0, ARCH_AT],
  [EQUAL, 1, 0, ARCH_X86_64],
  [RETURN, 0, 0, EPERM],
  [LOAD, 0, 0, NUMBER_AT],
  ...list(numbers)
    .filter((number) => number !== SOCKET)
    .flatMap((number) => [
      [EQUAL, 0, 1, number],
      [RETURN, 0, 0, ALLOW],
    ]),
  [EQUAL, 1, 0, SOCKET],
  [RETURN, 0, 0, EPERM],
  [LOAD, 0, 0, FIRST_ARGUMENT_AT],
  ...list(families).flatMap((family) => [
    [EQUAL, 0, 1, family],
    [RETURN, 0, 0, ALLOW],
  ]),
  [RETURN, 0, 0, EPERM],
];
const filter = Buffer.from(new ArrayBuffer(8 * program.length));
for (const [at, [code, yes, no, value]] of program.entries()) {
  filter.writeUInt16LE(code, 8 * at);
  filter[8 * at + 2] = yes;
  filter[8 * at + 3] = no;
  filter.writeUInt32LE(value, 8 * at + 4);
}
const description = Buffer.from(new ArrayBuffer(16));
description.writeUInt16LE(program.length, 0);
description.writeBigUInt64LE(koffi.address(filter), 8);
if (prctlValue(38, 1, 0, 0, 0) < 0 || prctl(22, 2, description, 0, 0) < 0) {
  process.stderr.write(`confine: no filter: errno ${koffi.errno()}\n`);
  process.exit(125);
}
// Node lets no program inherit what it was started with.
for (const fd of [0, 1, 2]) fcntl(fd, F_SETFD, 0);
execv(command[0], [...command, null]);
process.stderr.write(`confine: ${command[0]}: errno ${koffi.errno()}\n`);
process.exit(126);
