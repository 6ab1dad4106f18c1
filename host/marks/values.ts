/** Values of mark rules: text in, range out. */
import { parseAddress } from "../address.js";
import { FileNames } from "../ipvs/names.js";
import type { ValueType } from "./ruleset.js";

const names = new FileNames();

const PROTOCOLS: Readonly<Record<string, number>> = {
  ip: 0,
  icmp: 1,
  igmp: 2,
  ipip: 4,
  ipencap: 4,
  tcp: 6,
  udp: 17,
  dccp: 33,
  ipv6: 41,
  "ipv6-route": 43,
  "ipv6-frag": 44,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  "ipv6-icmp": 58,
  "ipv6-nonxt": 59,
  "ipv6-opts": 60,
  ospf: 89,
  sctp: 132,
  udplite: 136,
};
const CLASSES: Readonly<Record<string, number>> = { ef: 46, be: 0, df: 0, lephb: 1 };
const BITS: Readonly<Record<ValueType, number>> = {
  ipv4_addr: 32,
  ipv6_addr: 128,
  inet_service: 16,
  inet_proto: 8,
  nf_proto: 8,
  ether_type: 8,
  ifname: 0,
  mark: 32,
  dscp: 6,
  length: 32,
};
export const WHAT: Readonly<Record<ValueType, string>> = {
  ipv4_addr: "an IPv4 address",
  ipv6_addr: "an IPv6 address",
  inet_service: "a port",
  inet_proto: "a protocol",
  nf_proto: "ipv4 or ipv6",
  ether_type: "ip or ip6",
  ifname: "the name of a port",
  mark: "a mark",
  dscp: "a DSCP",
  length: "a length",
};

export function bitsOf(type: ValueType): number {
  return BITS[type];
}

export function largest(type: ValueType): bigint {
  return (1n << BigInt(BITS[type])) - 1n;
}

/** A number, decimal or hexadecimal, that fits into so many bits. */
export function numberOf(text: string, bits: number): bigint | undefined {
  if (!/^(\d{1,20}|0[xX][0-9a-fA-F]{1,16})$/.test(text)) return undefined;
  const value = BigInt(text);
  return value < 1n << BigInt(bits) ? value : undefined;
}

function addressOf(text: string, family: 4 | 6): bigint | undefined {
  const parsed = parseAddress(text);
  if (parsed?.family !== family) return undefined;
  const bytes = family === 4 ? parsed.bytes.subarray(0, 4) : parsed.bytes;
  return bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function known(table: Readonly<Record<string, number>>, text: string): bigint | undefined {
  const value = Object.hasOwn(table, text) ? table[text] : undefined;
  return value === undefined ? undefined : BigInt(value);
}

function dscpOf(text: string): bigint | undefined {
  const [, letter, first, second] = /^(cs|af)([0-7])([1-3])?$/.exec(text) ?? [];
  if (letter === "cs" && second === undefined) return BigInt(Number(first) * 8);
  if (letter === "af" && second !== undefined && Number(first) >= 1 && Number(first) <= 4) {
    return BigInt(Number(first) * 8 + Number(second) * 2);
  }
  return known(CLASSES, text);
}

/** What a word stands for as a value of a type; undefined when it cannot. */
export function parseValue(type: ValueType, text: string): bigint | undefined {
  switch (type) {
    case "ipv4_addr":
      return addressOf(text, 4);
    case "ipv6_addr":
      return addressOf(text, 6);
    case "inet_service": {
      const port = names.servicePort(text, "tcp") ?? names.servicePort(text, "udp") ?? names.servicePort(text, "sctp");
      return numberOf(text, 16) ?? (port === undefined ? undefined : BigInt(port));
    }
    case "inet_proto":
      return numberOf(text, 8) ?? known(PROTOCOLS, text);
    case "nf_proto":
      return known({ ipv4: 4, ipv6: 6, 2: 4, 10: 6 }, text);
    case "ether_type":
      return known({ ip: 4, ip6: 6, "0x0800": 4, "0x86dd": 6, "2048": 4, "34525": 6 }, text);
    case "dscp":
      return numberOf(text, 6) ?? dscpOf(text);
    case "mark":
    case "length":
      return numberOf(text, 32);
    case "ifname":
      return undefined;
  }
}
