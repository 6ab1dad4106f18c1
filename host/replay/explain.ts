/**
 * A frame's way in words: each stage, the header fields before and after, and how the checksums came about: which
 * 16-bit words changed, and RFC 1624's sum over them (HC' = ~(~HC + ~m + m'), eqn. 3).
 */
import type { TraceRecord } from "../trace/model.js";
import { dissect, hex, type Layer } from "../trace/packet.js";
import type { Explained } from "./replay.js";

export interface FieldChange {
  readonly layer: string;
  readonly field: string;
  /** undefined: there is none. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

export interface ChecksumStep {
  /** ipv4, tcp, udp */
  readonly of: string;
  /** full: of the whole; partial: of the pseudo-header, a device completes it; none: UDP's zero */
  readonly kind: "full" | "partial" | "none";
  readonly before: string;
  readonly after: string;
  /** What changed, word by word. */
  readonly words: ReadonlyArray<{ readonly what: string; readonly from: string; readonly to: string }>;
  /** The sum that RFC 1624 makes of these. */
  readonly computed: string;
  /** Whether that is what the frame has: otherwise it was computed anew. */
  readonly agrees: boolean;
}

export interface Explanation {
  readonly record: TraceRecord;
  readonly fields: readonly FieldChange[];
  readonly checksums: readonly ChecksumStep[];
}

const NEEDS_CHECKSUM = 1;

function fold(sum: number): number {
  let value = sum;
  while (value > 0xffff) value = (value & 0xffff) + Math.floor(value / 0x10000);
  return value;
}

interface Word {
  readonly what: string;
  readonly from: number;
  readonly to: number;
}

function wordsOf(frame: Uint8Array, from: number, to: number): number[] {
  const words: number[] = [];
  for (let at = from; at + 1 < to; at += 2) words.push(((frame[at] ?? 0) << 8) | (frame[at + 1] ?? 0));
  return words;
}

/** The words that differ, of two stretches of the same length. */
function changed(before: readonly number[], after: readonly number[], name: (index: number) => string): Word[] {
  const found: Word[] = [];
  for (const [at, from] of before.entries()) {
    const to = after[at];
    if (to !== undefined && to !== from) found.push({ what: name(at), from, to });
  }
  return found;
}

function step(
  of: string,
  kind: ChecksumStep["kind"],
  before: number,
  after: number,
  words: readonly Word[],
): ChecksumStep {
  const difference = words.reduce((sum, { from, to }) => sum + (~from & 0xffff) + to, 0);
  // A partial checksum is the sum itself, a full one its complement.
  const start = kind === "partial" ? before : ~before & 0xffff;
  const sum = fold(start + difference);
  let computed = kind === "partial" ? sum : ~sum & 0xffff;
  if (of === "udp" && kind === "full" && computed === 0) computed = 0xffff;
  return {
    of,
    kind,
    before: hex(before, 4),
    after: hex(after, 4),
    words: words.map(({ what, from, to }) => ({ what, from: hex(from, 4), to: hex(to, 4) })),
    computed: hex(computed, 4),
    agrees: kind !== "none" && (computed === after || (computed % 0xffff === 0 && after % 0xffff === 0)),
  };
}

const IP4_WORDS = ["version and tos", "length", "id", "flags and offset", "ttl and protocol", "checksum"];

function ip4Word(index: number): string {
  if (index < 6) return IP4_WORDS[index]!;
  if (index < 10) return `${index < 8 ? "source" : "destination"}, ${index % 2 === 0 ? "high" : "low"} half`;
  return `option word ${index - 10}`;
}

function checksumsOf(one: Explained): ChecksumStep[] {
  const { before, after } = one;
  if (before === undefined || after === undefined) return [];
  const was = dissect(before.frame, one.linkIn).layers;
  const is = dissect(after.frame, one.linkOut).layers;
  const layer = (layers: readonly Layer[], ...names: string[]) => layers.find(({ name }) => names.includes(name));
  const [ipWas, ipIs] = [layer(was, "ipv4", "ipv6"), layer(is, "ipv4", "ipv6")];
  const [upperWas, upperIs] = [layer(was, "tcp", "udp"), layer(is, "tcp", "udp")];
  const found: ChecksumStep[] = [];
  if (ipWas === undefined || ipIs === undefined || ipWas.name !== ipIs.name) return found;
  const isFour = ipWas.name === "ipv4";
  const header = isFour ? (before.frame[ipWas.at]! & 15) * 4 : 40;
  const length = isFour ? (after.frame[ipIs.at]! & 15) * 4 : 40;
  // A packet behind another header, or one that was answered in place, is not the same one.
  if (header !== length) return found;
  const words = (frame: Uint8Array, at: number) => wordsOf(frame, at, at + header);
  const ipBefore = words(before.frame, ipWas.at);
  const ipAfter = words(after.frame, ipIs.at);
  if (isFour) {
    const differing = changed(ipBefore, ipAfter, ip4Word).filter(({ what }) => what !== "checksum");
    if (differing.length > 0) found.push(step("ipv4", "full", ipBefore[5]!, ipAfter[5]!, differing));
  }
  if (upperWas === undefined || upperIs === undefined || upperWas.name !== upperIs.name) return found;
  const field = upperWas.name === "tcp" ? 16 : 6;
  const [oldAt, newAt] = [upperWas.at + field, upperIs.at + field];
  const old = wordsOf(before.frame, oldAt, oldAt + 2)[0];
  const fresh = wordsOf(after.frame, newAt, newAt + 2)[0];
  if (old === undefined || fresh === undefined) return found;
  const isPartial = (before.vnet[0]! & NEEDS_CHECKSUM) !== 0;
  const completed = isPartial && (after.vnet[0]! & NEEDS_CHECKSUM) === 0;
  const [first, last] = isFour ? [6, 10] : [4, 20];
  const pseudo = changed(ipBefore.slice(first, last), ipAfter.slice(first, last), (index) => {
    const half = (last - first) / 2;
    return `pseudo-header's ${index < half ? "source" : "destination"}, word ${index % half}`;
  });
  const ports = isPartial
    ? []
    : changed(
        wordsOf(before.frame, upperWas.at, upperWas.at + 4),
        wordsOf(after.frame, upperIs.at, upperIs.at + 4),
        (n) => (n === 0 ? "source port" : "destination port"),
      );
  const kind = isPartial ? "partial" : upperWas.name === "udp" && old === 0 ? "none" : "full";
  if (pseudo.length + ports.length === 0 && old === fresh) return found;
  const made = step(upperWas.name, kind, old, fresh, [...pseudo, ...ports]);
  found.push(completed ? { ...made, agrees: false } : made);
  return found;
}

function fieldsOf(one: Explained): FieldChange[] {
  const was = one.before === undefined ? [] : dissect(one.before.frame, one.linkIn).layers;
  const is = one.after === undefined ? [] : dissect(one.after.frame, one.linkOut).layers;
  const found: FieldChange[] = [];
  // Layers of one name belong together from the innermost on: an outer header is new.
  const count = (layers: readonly Layer[], name: string) => layers.filter((layer) => layer.name === name).length;
  const nth = (layers: readonly Layer[], name: string, back: number) => {
    const all = layers.filter((layer) => layer.name === name);
    return all[all.length - 1 - back];
  };
  const names = [...new Set([...is, ...was].map(({ name }) => name))];
  for (const name of names) {
    const most = Math.max(count(was, name), count(is, name));
    for (let back = most - 1; back >= 0; back--) {
      const [before, after] = [nth(was, name, back), nth(is, name, back)];
      for (const field of new Set([...(before?.fields ?? []), ...(after?.fields ?? [])].map(([field]) => field))) {
        const valueIn = (layer: Layer | undefined) => layer?.fields.find(([key]) => key === field)?.[1];
        found.push({ layer: name, field, before: valueIn(before), after: valueIn(after) });
      }
    }
  }
  return found;
}

export function explain(one: Explained): Explanation {
  return { record: one.record, fields: fieldsOf(one), checksums: checksumsOf(one) };
}

/** Text for a reader, `number` being the frame's. */
export function explanationText(explanation: Explanation, number: number): string {
  const { record, fields, checksums } = explanation;
  const lines = [`frame ${number}, ${new Date(record.time).toISOString()}: ${record.text.split(",", 2).join(",")}`];
  for (const { stage, text } of record.stages) lines.push(`  ${stage.padEnd(11)} ${text}`);
  const both = record.before !== "" && record.after !== null;
  let layer = "";
  for (const { layer: of, field, before, after } of fields) {
    if (of !== layer) lines.push(`  ${of}`);
    layer = of;
    const value = !both || before === after ? (after ?? before) : `${before ?? "-"} -> ${after ?? "-"}`;
    lines.push(`    ${field.padEnd(17)} ${value}`);
  }
  for (const { of, kind, before, after, words, computed, agrees } of checksums) {
    lines.push(`  checksum of ${of}, ${kind}: ${before} -> ${after}`);
    for (const { what, from, to } of words) lines.push(`    ~${from} + ${to}   ${what}`);
    const sum = kind === "partial" ? `${before} + those` : `~(~${before} + those)`;
    if (kind === "none") lines.push("    there was none: computed over the whole datagram");
    else lines.push(`    ${sum} = ${computed}${agrees ? ", as sent" : `, and ${after} is sent: computed anew`}`);
  }
  return `${lines.join("\n")}\n`;
}
