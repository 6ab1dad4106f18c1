/** What counts as the same: frames with the free fields masked, texts with what may differ from run to run left out. */
import { describe, mask } from "./frames.js";
import type { TraceFrame } from "./trace.js";

export interface Frame {
  readonly dev: string;
  readonly frame: Uint8Array;
}

export function frameOf({ dev, hex }: TraceFrame): Frame {
  return { dev, frame: Uint8Array.from(Buffer.from(hex, "hex")) };
}

/** A message of the synchronisation daemon: when it goes out is free, so the runner compares them apart. */
export const isSynchronisation = ({ frame }: Frame) =>
  frame.length > 38 &&
  frame[12] === 8 &&
  frame[13] === 0 &&
  frame[23] === 17 &&
  frame[36] === 0x22 &&
  frame[37] === 0x90;

function byDevice(frames: readonly Frame[]): Map<string, Uint8Array[]> {
  const lists = new Map<string, Uint8Array[]>();
  for (const { dev, frame } of frames) {
    const list = lists.get(dev);
    if (list === undefined) lists.set(dev, [frame]);
    else list.push(frame);
  }
  return lists;
}

/** The first difference of two lists of frames, told for a reader; undefined when they are the same. */
export function compareFrames(expected: readonly Frame[], actual: readonly Frame[]): string | undefined {
  const wanted = byDevice(expected);
  const got = byDevice(actual);
  for (const dev of new Set([...wanted.keys(), ...got.keys()])) {
    const a = wanted.get(dev) ?? [];
    const b = got.get(dev) ?? [];
    for (let n = 0; n < Math.max(a.length, b.length); n++) {
      const [want, have] = [a[n], b[n]];
      if (want !== undefined && have !== undefined && Buffer.compare(mask(want), mask(have)) === 0) continue;
      const show = (frame: Uint8Array | undefined) => (frame === undefined ? "nothing" : describe(frame));
      const lines = [`frame ${n + 1} on ${dev}`, `  expected ${show(want)}`, `  got      ${show(have)}`];
      if (want !== undefined && have !== undefined) lines.push(`  ${firstByte(mask(want), mask(have))}`);
      return lines.join("\n");
    }
  }
  return undefined;
}

function firstByte(want: Uint8Array, have: Uint8Array): string {
  let at = 0;
  while (at < want.length && want[at] === have[at]) at++;
  const show = (bytes: Uint8Array) => Buffer.from(bytes.subarray(at, at + 12)).toString("hex") || "(end)";
  return `byte ${at} of ${want.length} / ${have.length}: expected ${show(want)}, got ${show(have)}`;
}

/** A line of a connection listing: protocol, then the time that is left. */
const CONNECTION_LINE = /^(\S+\s+)(\d\d+):(\d\d)(?= )/;
const RATE_LINE = /^(?:\s*->\s*\S+|\S+\s+\S+)((?:\s+[\d.]+[KMGTPkmgtp]?){5})\s*$/;
const UNITS: Readonly<Record<string, number>> = { K: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
/** A time was cut to seconds at both ends. */
const SECONDS = 1;
/**
 * A template that still controls connections starts anew every minute, and a timer of a minute comes up to this late:
 * by how much depends on the phase of the kernel's timer wheel.
 */
const LATENESS = 2.1;
const TEMPLATE_LINE = /^\S+\s+\d\d+:\d\d +(NONE|ASSURED) .*:0 +\S+:\d/;

/**
 * The first difference of two outputs of a command; undefined when they say the same. `minutes`: how often a template
 * may have started anew.
 */
export function compareText(command: string, expected: string, actual: string, minutes = 0): string | undefined {
  if (expected === actual) return undefined;
  if (/ipvsadm/.test(command) && /c/.test(command) && expected.split("\n").some((line) => CONNECTION_LINE.test(line))) {
    return compareConnections(expected, actual, minutes);
  }
  if (/--rate/.test(command) || /ip_vs_stats/.test(command)) return compareRates(command, expected, actual);
  if (/--nosort/.test(command) || /\/proc\/net\/ip_vs$/.test(command)) return compareUnsorted(expected, actual);
  return compareLines(expected.split("\n"), actual.split("\n"));
}

function compareLines(
  expected: readonly string[],
  actual: readonly string[],
  isSame: (want: string, have: string) => boolean = (want, have) => want === have,
): string | undefined {
  for (let n = 0; n < Math.max(expected.length, actual.length); n++) {
    const [want, have] = [expected[n], actual[n]];
    if (want !== undefined && have !== undefined && isSame(want, have)) continue;
    return `line ${n + 1}\n  expected ${show(want)}\n  got      ${show(have)}`;
  }
  return undefined;
}

const show = (line: string | undefined) => (line === undefined ? "nothing" : JSON.stringify(line));
const secondsOf = (line: string) => {
  const match = CONNECTION_LINE.exec(line);
  return match === null ? 0 : Number(match[2]) * 60 + Number(match[3]);
};

/** Connections come in the order of a hash that nobody knows. */
function compareConnections(expected: string, actual: string, minutes: number): string | undefined {
  const slack = (line: string) => SECONDS + (TEMPLATE_LINE.test(line) ? minutes * LATENESS : 0);

  const untimed = (line: string) => line.replace(CONNECTION_LINE, "$1mm:ss");
  const order = (a: string, b: string) => {
    const [x, y] = [untimed(a), untimed(b)];
    return x === y ? secondsOf(a) - secondsOf(b) : x < y ? -1 : 1;
  };
  const sorted = (text: string) => {
    const [head, ...rest] = text.split("\n");
    return [head!, ...rest.sort(order)];
  };
  return compareLines(
    sorted(expected),
    sorted(actual),
    (want, have) => untimed(want) === untimed(have) && Math.abs(secondsOf(want) - secondsOf(have)) <= slack(want),
  );
}

/** Services stay together with their servers; order among equals is free. */
function compareUnsorted(expected: string, actual: string): string | undefined {
  const groups = (text: string) => {
    const lists: string[][] = [];
    for (const line of text.split("\n")) {
      if (line.startsWith("  ->") && lists.length > 0) lists.at(-1)!.push(line);
      else lists.push([line]);
    }
    return lists
      .map(([head, ...rest]) => [head!, ...rest.sort()])
      .sort((a, b) => (a[0]! < b[0]! ? -1 : 1))
      .flat();
  };
  return compareLines(groups(expected), groups(actual));
}

/** Rates depend on the phase of a timer: shape and rough size count. */
function compareRates(command: string, expected: string, actual: string): string | undefined {
  const numbers = (line: string) => {
    const match = RATE_LINE.exec(line);
    if (match === null) return undefined;
    return match[1]!
      .trim()
      .split(/\s+/)
      .map((word) => Number.parseFloat(word) * (UNITS[word.at(-1)!.toUpperCase()] ?? 1));
  };
  let isRate = /--rate/.test(command);
  return compareLines(expected.split("\n"), actual.split("\n"), (want, have) => {
    if (/^ Conns\/s/.test(want)) isRate = true;
    if (want === have) return true;
    if (!isRate) return false;
    const hexadecimal = /ip_vs_stats/.test(command) && /^[\s0-9A-F]+$/.test(want) && /^[\s0-9A-F]+$/.test(have);
    if (hexadecimal) return want.length === have.length;
    const [a, b] = [numbers(want), numbers(have)];
    if (a === undefined || b === undefined) return false;
    const named = (line: string) => line.slice(0, line.length - RATE_LINE.exec(line)![1]!.length).trim();
    if (named(want) !== named(have)) return false;
    return a.every((value, n) => Math.abs(value - b[n]!) <= Math.max(8, Math.max(value, b[n]!) / 2));
  });
}
