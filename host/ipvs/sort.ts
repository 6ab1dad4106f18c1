/** The order of listings, which is not quite an order: differences of unsigned words are looked at as signed ones. */
import { addressBytes } from "../address.js";
import type { ServerInfo, ServiceInfo } from "./model.js";

const FAMILY_NUMBER = { 4: 2, 6: 10 } as const;
const PROTOCOL_NUMBER = { tcp: 6, udp: 17, sctp: 132 } as const;

/** The address as four words; those of an IPv4 address after the first are zero. */
function wordsOf(address: string): readonly number[] {
  const { bytes } = addressBytes(address);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  return [0, 4, 8, 12].map((at) => view.getUint32(at));
}

function compareWords(a: readonly number[], b: readonly number[], count: number): number {
  for (let at = 0; at < count; at++) {
    const difference = (a[at]! - b[at]!) | 0;
    if (difference !== 0) return difference;
  }
  return 0;
}

interface Keyed<T> {
  readonly item: T;
  readonly words: readonly number[];
}

function compareServices(a: Keyed<ServiceInfo>, b: Keyed<ServiceInfo>): number {
  const first = a.item.id;
  const second = b.item.id;
  const marks = (("mark" in first ? first.mark : 0) - ("mark" in second ? second.mark : 0)) | 0;
  if (marks !== 0) return marks;
  const families = FAMILY_NUMBER[first.family] - FAMILY_NUMBER[second.family];
  if (families !== 0 || "mark" in first || "mark" in second) return families;
  return (
    PROTOCOL_NUMBER[first.protocol] - PROTOCOL_NUMBER[second.protocol] ||
    compareWords(a.words, b.words, first.family === 6 ? 4 : 1) ||
    first.port - second.port
  );
}

/** Servers of both families are mixed; the family of the first decides how much is compared. */
function compareServers(a: Keyed<ServerInfo>, b: Keyed<ServerInfo>): number {
  return compareWords(a.words, b.words, a.item.id.family === 6 ? 4 : 1) || a.item.id.port - b.item.id.port;
}

/**
 * Merges halves, the first of which is the smaller: where the comparison is no order, the outcome depends on the way,
 * and this is the way of the C library's qsort.
 */
function mergeSort<T>(items: readonly T[], compare: (a: T, b: T) => number): T[] {
  if (items.length <= 1) return [...items];
  const half = items.length >> 1;
  const left = mergeSort(items.slice(0, half), compare);
  const right = mergeSort(items.slice(half), compare);
  const merged: T[] = [];
  let l = 0;
  let r = 0;
  while (l < left.length && r < right.length) {
    merged.push(compare(left[l]!, right[r]!) <= 0 ? left[l++]! : right[r++]!);
  }
  return merged.concat(left.slice(l), right.slice(r));
}

export function sortServices(services: readonly ServiceInfo[]): ServiceInfo[] {
  const keyed = services.map((item) => ({ item, words: "mark" in item.id ? [] : wordsOf(item.id.address) }));
  return mergeSort(keyed, compareServices).map(({ item }) => item);
}

export function sortServers(servers: readonly ServerInfo[]): ServerInfo[] {
  const keyed = servers.map((item) => ({ item, words: wordsOf(item.id.address) }));
  return mergeSort(keyed, compareServers).map(({ item }) => item);
}
