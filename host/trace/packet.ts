/** Frames in words: the layers of a frame with their fields, and one line about it. Frames may be anything, or cut off. */
import { formatAddress, formatMac } from "../address.js";
import type { Family } from "../ipvs/model.js";

export interface Layer {
  /** ethernet, vlan, arp, ipv4, ipv6, tcp, udp, sctp, icmp, icmp6, gre */
  readonly name: string;
  /** Where it begins in the frame. */
  readonly at: number;
  readonly fields: ReadonlyArray<readonly [name: string, value: string]>;
}

export interface Packet {
  readonly layers: readonly Layer[];
  /** One line, as `tcp 192.0.2.1:40000 > 192.0.2.2:80 S`. */
  readonly text: string;
}

const TCP_FLAGS = ["F", "S", "R", "P", ".", "U", "E", "W"] as const;
const IP_PROTOCOLS: Readonly<Record<number, string>> = {
  1: "icmp",
  4: "ipip",
  6: "tcp",
  17: "udp",
  41: "ipv6",
  47: "gre",
  50: "esp",
  51: "ah",
  58: "icmp6",
  132: "sctp",
};
const ICMP_TYPES: Readonly<Record<number, string>> = {
  0: "echo reply",
  3: "unreachable",
  5: "redirect",
  8: "echo request",
  11: "time exceeded",
  12: "parameter problem",
  13: "timestamp request",
  14: "timestamp reply",
};
const UNREACHABLE: Readonly<Record<number, string>> = {
  0: "network unreachable",
  1: "host unreachable",
  2: "protocol unreachable",
  3: "port unreachable",
  4: "fragmentation needed",
  13: "prohibited",
};
const ICMP6_TYPES: Readonly<Record<number, string>> = {
  1: "unreachable",
  2: "packet too big",
  3: "time exceeded",
  4: "parameter problem",
  128: "echo request",
  129: "echo reply",
  133: "router solicitation",
  134: "router advertisement",
  135: "neighbour solicitation",
  136: "neighbour advertisement",
};
const LAYERS_MOST = 12;
/** Extension headers of IPv6 that lead on to the next one. */
const EXTENSIONS = new Set([0, 43, 60]);

class Dissector {
  readonly layers: Layer[] = [];
  text = "";
  private readonly view: DataView;
  private readonly end: number;

  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.end = bytes.length;
  }

  ethernet(): void {
    if (this.end < 14) {
      this.cut("ethernet");
      return;
    }
    let type = this.u16(12);
    this.add("ethernet", 0, [
      ["destination", this.mac(0)],
      ["source", this.mac(6)],
      ["type", hex(type, 4)],
    ]);
    let at = 14;
    while ((type === 0x8100 || type === 0x88a8) && this.layers.length < 3) {
      if (at + 4 > this.end) {
        this.cut("vlan");
        return;
      }
      type = this.u16(at + 2);
      this.add("vlan", at, [
        ["id", `${this.u16(at) & 0xfff}`],
        ["type", hex(type, 4)],
      ]);
      at += 4;
    }
    if (type === 0x0800) this.ipv4(at);
    else if (type === 0x86dd) this.ipv6(at);
    else if (type === 0x0806) this.arp(at);
    else this.text = `ethernet type ${hex(type, 4)} ${this.mac(6)} > ${this.mac(0)}`;
  }

  packet(at: number): void {
    const version = at < this.end ? this.bytes[at]! >> 4 : 0;
    if (version === 4) this.ipv4(at);
    else if (version === 6) this.ipv6(at);
    else this.cut("ip");
  }

  private arp(at: number): void {
    if (at + 28 > this.end) {
      this.cut("arp");
      return;
    }
    const operation = this.u16(at + 6);
    const sender = this.address(at + 14, 4);
    const target = this.address(at + 24, 4);
    this.add("arp", at, [
      ["operation", operation === 1 ? "request" : operation === 2 ? "reply" : `${operation}`],
      ["sender", `${sender} ${this.mac(at + 8)}`],
      ["target", `${target} ${this.mac(at + 18)}`],
    ]);
    this.text = operation === 2 ? `arp ${sender} is at ${this.mac(at + 8)}` : `arp who has ${target}, tell ${sender}`;
  }

  private ipv4(at: number): void {
    if (this.layers.length > LAYERS_MOST) return;
    const header = (this.bytes[at]! & 15) * 4;
    if (at + 20 > this.end || header < 20) {
      this.cut("ipv4");
      return;
    }
    const fragment = this.u16(at + 6);
    const offset = (fragment & 0x1fff) * 8;
    const protocol = this.bytes[at + 9]!;
    const flags = [(fragment & 0x4000) !== 0 ? "DF" : "", (fragment & 0x2000) !== 0 ? "MF" : ""].filter(
      (f) => f !== "",
    );
    const source = this.address(at + 12, 4);
    const destination = this.address(at + 16, 4);
    this.add("ipv4", at, [
      ["source", source],
      ["destination", destination],
      ["ttl", `${this.bytes[at + 8]}`],
      ["tos", hex(this.bytes[at + 1]!, 2)],
      ["length", `${this.u16(at + 2)}`],
      ["id", hex(this.u16(at + 4), 4)],
      ["flags", flags.join(",") || "-"],
      ["offset", `${offset}`],
      ["protocol", IP_PROTOCOLS[protocol] ?? `${protocol}`],
      ["checksum", hex(this.u16(at + 10), 4)],
    ]);
    if (offset !== 0) {
      this.text = `${source} > ${destination} ${IP_PROTOCOLS[protocol] ?? protocol}, fragment from ${offset} on`;
      return;
    }
    this.transport(protocol, at + header, 4, source, destination);
    if ((fragment & 0x2000) !== 0) this.text += ", first fragment";
  }

  private ipv6(at: number): void {
    if (this.layers.length > LAYERS_MOST) return;
    if (at + 40 > this.end) {
      this.cut("ipv6");
      return;
    }
    const source = this.address(at + 8, 6);
    const destination = this.address(at + 24, 6);
    let next = this.bytes[at + 6]!;
    this.add("ipv6", at, [
      ["source", source],
      ["destination", destination],
      ["hop limit", `${this.bytes[at + 7]}`],
      ["class and flow", hex(this.view.getUint32(at) & 0x0fffffff, 7)],
      ["length", `${this.u16(at + 4)}`],
      ["next header", IP_PROTOCOLS[next] ?? `${next}`],
    ]);
    let place = at + 40;
    for (let headers = 0; headers < 8 && (EXTENSIONS.has(next) || next === 44); headers++) {
      if (place + 8 > this.end) {
        this.cut("extension header");
        return;
      }
      const offset = next === 44 ? this.u16(place + 2) & 0xfff8 : 0;
      const length = next === 44 ? 8 : (this.bytes[place + 1]! + 1) * 8;
      next = this.bytes[place]!;
      place += length;
      if (offset !== 0) {
        this.text = `${source} > ${destination} ${IP_PROTOCOLS[next] ?? next}, fragment from ${offset} on`;
        return;
      }
    }
    this.transport(next, place, 6, source, destination);
  }

  private transport(protocol: number, at: number, family: Family, source: string, destination: string): void {
    const name = IP_PROTOCOLS[protocol];
    const [from, to] = family === 6 ? [`[${source}]`, `[${destination}]`] : [source, destination];
    const ends = `${name ?? `protocol ${protocol}`} ${source} > ${destination}`;
    this.text = ends;
    if (protocol === 4 || protocol === 41) {
      const outer = ends;
      this.packet(at);
      this.text = `${outer}, in it ${this.text}`;
      return;
    }
    if (at + 8 > this.end) return;
    const ports: ReadonlyArray<readonly [string, string]> = [
      ["source port", `${this.u16(at)}`],
      ["destination port", `${this.u16(at + 2)}`],
    ];
    const line = `${name} ${from}:${this.u16(at)} > ${to}:${this.u16(at + 2)}`;
    if (protocol === 6 && at + 20 <= this.end) {
      const flags = TCP_FLAGS.filter((_, bit) => (this.bytes[at + 13]! & (1 << bit)) !== 0).join("");
      this.add("tcp", at, [
        ...ports,
        ["sequence", `${this.view.getUint32(at + 4)}`],
        ["acknowledgement", `${this.view.getUint32(at + 8)}`],
        ["flags", flags || "none"],
        ["window", `${this.u16(at + 14)}`],
        ["checksum", hex(this.u16(at + 16), 4)],
      ]);
      this.text = `${line} [${flags || "none"}]`;
    } else if (protocol === 17) {
      this.add("udp", at, [...ports, ["length", `${this.u16(at + 4)}`], ["checksum", hex(this.u16(at + 6), 4)]]);
      this.text = line;
    } else if (protocol === 132 && at + 12 <= this.end) {
      this.add("sctp", at, [
        ...ports,
        ["tag", hex(this.view.getUint32(at + 4), 8)],
        ["checksum", hex(this.view.getUint32(at + 8), 8)],
      ]);
      this.text = line;
    } else if (protocol === 1 || protocol === 58) {
      this.icmp(protocol === 1 ? "icmp" : "icmp6", at, source, destination);
    }
  }

  private icmp(name: "icmp" | "icmp6", at: number, source: string, destination: string): void {
    const type = this.bytes[at]!;
    const code = this.bytes[at + 1]!;
    const types = name === "icmp" ? ICMP_TYPES : ICMP6_TYPES;
    this.add(name, at, [
      ["type", `${type}`],
      ["code", `${code}`],
      ["checksum", hex(this.u16(at + 2), 4)],
    ]);
    const said = name === "icmp" && type === 3 ? UNREACHABLE[code] : undefined;
    this.text = `${name} ${source} > ${destination} ${said ?? types[type] ?? `type ${type} code ${code}`}`;
    const isError = name === "icmp" ? type === 3 || type === 11 || type === 12 : type < 128;
    if (!isError) return;
    const outer = this.text;
    this.packet(at + 8);
    this.text = `${outer} about ${this.text}`;
  }

  private add(name: string, at: number, fields: Layer["fields"]): void {
    this.layers.push({ name, at, fields });
  }

  private cut(name: string): void {
    this.text = `${name}, cut off or malformed`;
  }

  private u16(at: number): number {
    return this.view.getUint16(at);
  }

  private mac(at: number): string {
    return formatMac(this.bytes.subarray(at, at + 6));
  }

  private address(at: number, family: Family): string {
    return formatAddress(family, this.bytes.subarray(at, at + (family === 4 ? 4 : 16)));
  }
}

export function hex(value: number, digits: number): string {
  return `0x${(value >>> 0).toString(16).padStart(digits, "0")}`;
}

/** `link`: the frame begins with an Ethernet header. */
export function dissect(frame: Uint8Array, link: boolean): Packet {
  const found = new Dissector(frame);
  if (link) found.ethernet();
  else found.packet(0);
  return { layers: found.layers, text: found.text };
}
