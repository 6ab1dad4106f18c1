/** Frames as a learner reads them: header fields, checksums, and how a changed word changes a checksum (RFC 1624). */

export interface Field {
  readonly layer: string;
  readonly name: string;
  readonly value: string;
}

export type ChecksumState = "correct" | "partial" | "wrong" | "cut" | "none";

/** A part of the frame that a checksum covers: the 16-bit words, and where the sum stands among them. */
export interface Sum {
  readonly layer: string;
  readonly field: number;
  readonly state: ChecksumState;
  /** Words by name, without the field itself. */
  readonly words: ReadonlyArray<readonly [name: string, value: number]>;
  /** Whether a word belongs to the pseudo-header, which a partial sum covers alone. */
  readonly pseudo: number;
}

export interface Frame {
  readonly fields: readonly Field[];
  readonly sums: readonly Sum[];
  readonly source: string;
  readonly destination: string;
  readonly flags: string;
  readonly protocol: string;
  readonly sourcePort: number | undefined;
  readonly destinationPort: number | undefined;
}

const TCP_FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
const ETHER_IPV4 = 0x0800;
const ETHER_IPV6 = 0x86dd;
const ETHER_VLAN = 0x8100;
const NAMES: Readonly<Record<number, string>> = {
  1: "ICMP",
  4: "IPIP",
  6: "TCP",
  17: "UDP",
  41: "IPv6 in IP",
  47: "GRE",
  58: "ICMPv6",
  132: "SCTP",
};

export function hexBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length >> 1);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

export function hex16(value: number): string {
  return `0x${value.toString(16).padStart(4, "0")}`;
}

/** Adds carries until there are none: ones' complement. */
export function fold(sum: number): number {
  let rest = sum;
  while (rest > 0xffff) rest = (rest & 0xffff) + Math.floor(rest / 0x10000);
  return rest;
}

class Reader {
  readonly fields: Field[] = [];
  readonly sums: Sum[] = [];
  readonly view: DataView;
  source = "";
  destination = "";
  flags = "";
  protocol = "";
  sourcePort: number | undefined;
  destinationPort: number | undefined;

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(at: number): number {
    return this.view.getUint8(at);
  }

  u16(at: number): number {
    return this.view.getUint16(at);
  }

  has(end: number): boolean {
    return end <= this.view.byteLength;
  }

  add(layer: string, name: string, value: string | number): void {
    this.fields.push({ layer, name, value: `${value}` });
  }

  mac(at: number): string {
    return Array.from({ length: 6 }, (_, n) =>
      this.u8(at + n)
        .toString(16)
        .padStart(2, "0"),
    ).join(":");
  }

  address4(at: number): string {
    return [0, 1, 2, 3].map((n) => this.u8(at + n)).join(".");
  }

  /** RFC 5952. */
  address6(at: number): string {
    const groups = Array.from({ length: 8 }, (_, n) => this.u16(at + 2 * n).toString(16));
    const zeros = [...groups.join(":").matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].map(([run]) => run);
    const longest = zeros.sort((a, b) => b.length - a.length)[0];
    if (longest === undefined) return groups.join(":");
    return groups.join(":").replace(longest, "::").replace(/:{3,}/, "::");
  }

  /** Sum of words from `at` to `end`, an odd last byte filled up. */
  words(at: number, end: number): number[] {
    const found: number[] = [];
    for (let place = at; place < end; place += 2) {
      found.push(place + 1 < end ? this.u16(place) : this.u8(place) << 8);
    }
    return found;
  }
}

const IP_WORDS = [
  "version, length",
  "total length",
  "identification",
  "fragment",
  "TTL, protocol",
  "",
  "source, 1st half",
  "source, 2nd half",
  "destination, 1st half",
  "destination, 2nd half",
];
const TCP_WORDS = [
  "source port",
  "destination port",
  "sequence, 1st half",
  "sequence, 2nd half",
  "acknowledgement, 1st half",
  "acknowledgement, 2nd half",
  "offset, flags",
  "window",
  "",
  "urgent pointer",
];

function ipv4(reader: Reader, at: number, layer: string): void {
  if (!reader.has(at + 20)) return;
  const header = (reader.u8(at) & 15) * 4;
  const protocol = reader.u8(at + 9);
  const encapsulates = protocol === 4 || protocol === 41;
  const own = encapsulates ? "Outer IP" : layer;
  const source = reader.address4(at + 12);
  const destination = reader.address4(at + 16);
  reader.add(own, "total length", reader.u16(at + 2));
  reader.add(own, "identification", hex16(reader.u16(at + 4)));
  reader.add(own, "TTL", reader.u8(at + 8));
  reader.add(own, "protocol", `${protocol} ${NAMES[protocol] ?? ""}`.trim());
  reader.add(own, "checksum", hex16(reader.u16(at + 10)));
  reader.add(own, "source", source);
  reader.add(own, "destination", destination);
  const words = reader.words(at, Math.min(at + header, reader.view.byteLength));
  const isRight = fold(words.reduce((sum, word) => sum + word, 0)) === 0xffff;
  reader.sums.push({
    layer: own,
    field: reader.u16(at + 10),
    state: isRight ? "correct" : "wrong",
    words: words.flatMap((word, n) => (n === 5 ? [] : [[IP_WORDS[n] ?? `options, word ${n - 9}`, word] as const])),
    pseudo: 0,
  });
  const inner = at + header;
  if (protocol === 4) ipv4(reader, inner, layer);
  else if (protocol === 41) ipv6(reader, inner, layer);
  else if ((reader.u16(at + 6) & 0x1fff) === 0) {
    reader.source = source;
    reader.destination = destination;
    transport(reader, protocol, inner, at + reader.u16(at + 2), reader.words(at + 12, at + 20));
  }
}

function ipv6(reader: Reader, at: number, layer: string): void {
  if (!reader.has(at + 40)) return;
  const next = reader.u8(at + 6);
  const encapsulates = next === 4 || next === 41;
  const own = encapsulates ? "Outer IP" : layer;
  const source = reader.address6(at + 8);
  const destination = reader.address6(at + 24);
  reader.add(own, "payload length", reader.u16(at + 4));
  reader.add(own, "next header", `${next} ${NAMES[next] ?? ""}`.trim());
  reader.add(own, "hop limit", reader.u8(at + 7));
  reader.add(own, "source", source);
  reader.add(own, "destination", destination);
  if (next === 4) ipv4(reader, at + 40, layer);
  else if (next === 41) ipv6(reader, at + 40, layer);
  else {
    reader.source = source;
    reader.destination = destination;
    transport(reader, next, at + 40, at + 40 + reader.u16(at + 4), reader.words(at + 8, at + 40));
  }
}

function transport(reader: Reader, protocol: number, at: number, end: number, addresses: readonly number[]): void {
  reader.protocol = NAMES[protocol] ?? `protocol ${protocol}`;
  const isTcp = protocol === 6;
  if ((!isTcp && protocol !== 17) || !reader.has(at + (isTcp ? 20 : 8))) return;
  const layer = isTcp ? "TCP" : "UDP";
  const place = at + (isTcp ? 16 : 6);
  const field = reader.u16(place);
  reader.sourcePort = reader.u16(at);
  reader.destinationPort = reader.u16(at + 2);
  reader.add(layer, "source port", reader.sourcePort);
  reader.add(layer, "destination port", reader.destinationPort);
  if (isTcp) {
    reader.flags = TCP_FLAGS.filter((_, bit) => reader.u8(at + 13) & (1 << bit)).join(" ");
    reader.add(layer, "sequence", reader.view.getUint32(at + 4));
    reader.add(layer, "acknowledgement", reader.view.getUint32(at + 8));
    reader.add(layer, "flags", reader.flags);
    reader.add(layer, "window", reader.u16(at + 14));
  } else reader.add(layer, "length", reader.u16(at + 4));
  reader.add(layer, "checksum", hex16(field));
  const isWhole = reader.has(end) && end > at;
  const segment = reader.words(at, Math.min(end, reader.view.byteLength));
  const pseudo = [...addresses, protocol, end - at];
  const total = [...pseudo, ...segment].reduce((sum, word) => sum + word, 0);
  const isPartial = field === fold(pseudo.reduce((sum, word) => sum + word, 0));
  const half = addresses.length / 2;
  const names = [
    ...addresses.map((_, n) => `${n < half ? "source" : "destination"} address, word ${(n % half) + 1}`),
    "protocol",
    "length",
  ];
  reader.sums.push({
    layer,
    field,
    state:
      !isTcp && field === 0
        ? "none"
        : isPartial
          ? "partial"
          : !isWhole
            ? "cut"
            : fold(total) === 0xffff
              ? "correct"
              : "wrong",
    words: [
      ...pseudo.map((word, n) => [names[n]!, word] as const),
      ...segment.flatMap((word, n) => {
        if (n === (place - at) / 2) return [];
        const known = isTcp ? TCP_WORDS[n] : ["source port", "destination port", "length"][n];
        return [[known ?? `word ${n + 1} of the segment`, word] as const];
      }),
    ],
    pseudo: pseudo.length,
  });
}

/** `hex` from Ethernet on, or from IP on. A frame that ends early has the fields that are there. */
export function parseFrame(hex: string, hasEthernet: boolean): Frame {
  const reader = new Reader(hexBytes(hex));
  let at = 0;
  let type = reader.has(1) && reader.u8(0) >> 4 === 6 ? ETHER_IPV6 : ETHER_IPV4;
  if (hasEthernet && reader.has(14)) {
    reader.add("Ethernet", "destination", reader.mac(0));
    reader.add("Ethernet", "source", reader.mac(6));
    type = reader.u16(12);
    at = 14;
    if (type === ETHER_VLAN && reader.has(18)) {
      reader.add("Ethernet", "VLAN", reader.u16(14) & 0xfff);
      type = reader.u16(16);
      at = 18;
    }
    reader.add("Ethernet", "type", hex16(type));
  }
  if (type === ETHER_IPV4) ipv4(reader, at, "IP");
  else if (type === ETHER_IPV6) ipv6(reader, at, "IP");
  const { fields, sums, source, destination, flags, protocol, sourcePort, destinationPort } = reader;
  return { fields, sums, source, destination, flags, protocol, sourcePort, destinationPort };
}

export interface Row {
  readonly layer: string;
  readonly name: string;
  readonly before: string;
  readonly after: string;
  readonly changes: boolean;
}

/** Fields of both side by side; what only one has stands alone. */
export function compare(before: Frame, after: Frame | undefined): Row[] {
  if (after === undefined) {
    return before.fields.map(({ layer, name, value }) => ({ layer, name, before: value, after: "", changes: false }));
  }
  const key = ({ layer, name }: Field) => `${layer} ${name}`;
  const old = new Map(before.fields.map((field) => [key(field), field.value]));
  const rows: Row[] = after.fields.map((field) => {
    const was = old.get(key(field)) ?? "";
    old.delete(key(field));
    return { layer: field.layer, name: field.name, before: was, after: field.value, changes: was !== field.value };
  });
  for (const { layer, name, value } of before.fields) {
    if (old.has(`${layer} ${name}`)) rows.push({ layer, name, before: value, after: "", changes: true });
  }
  return rows;
}

export interface Arithmetic {
  readonly layer: string;
  readonly lines: readonly string[];
  /** Whether what comes out is what stands in the frame that left. */
  readonly agrees: boolean;
}

/**
 * How the checksum of a layer follows from the old one and the changed words alone. A full sum by RFC 1624, equation 3;
 * a partial one, which the device completes, holds the sum of the pseudo-header, not inverted. undefined when nothing
 * that it covers changed, or when it covers another number of words than before.
 */
export function arithmetic(before: Frame, after: Frame, layer: string): Arithmetic | undefined {
  const old = before.sums.find((sum) => sum.layer === layer);
  const now = after.sums.find((sum) => sum.layer === layer);
  if (old === undefined || now === undefined || old.words.length !== now.words.length || old.state === "none") return;
  const isPartial = old.state === "partial" && now.state === "partial";
  const covered = isPartial ? old.pseudo : old.words.length;
  const changed = old.words
    .map(([name, was], at) => [name, was, now.words[at]![1]] as const)
    .filter(([, was, is], at) => at < covered && was !== is);
  if (changed.length === 0) return;
  const invert = (value: number) => ~value & 0xffff;
  let sum = isPartial ? old.field : invert(old.field);
  const lines = [
    isPartial ? `  ${hex16(old.field)}  the sum so far` : `  ${hex16(sum)}  = ~${hex16(old.field)}, the old checksum`,
  ];
  for (const [name, was, is] of changed) {
    sum += invert(was) + is;
    lines.push(`+ ${hex16(invert(was))}  = ~${hex16(was)}, ${name}, before`);
    lines.push(`+ ${hex16(is)}  ${name}, after`);
  }
  const folded = fold(sum);
  if (folded !== sum) lines.push(`= 0x${sum.toString(16)}, carries added: ${hex16(folded)}`);
  else lines.push(`= ${hex16(folded)}`);
  const result = isPartial ? folded : invert(folded);
  if (!isPartial) lines.push(`~ ${hex16(result)}  the new checksum`);
  // Ones' complement has two zeros.
  const agrees = result === now.field || (result % 0xffff === 0 && now.field % 0xffff === 0);
  return { layer, lines, agrees };
}

export const STATE_TEXT: Readonly<Record<ChecksumState, string>> = {
  correct: "correct",
  partial: "partial: the sum of the pseudo-header alone, which the device completes (checksum offload)",
  wrong: "wrong: it left as bad as it came, nothing repairs it on the way",
  cut: "not verified: only the begin of the frame is here",
  none: "none (0)",
};
