/** Mark rules as data: what a text of nftables' language leaves behind. */
import * as Rule from "../../assembly/layout/mark-rule.js";

export type TableFamily = "ip" | "ip6" | "inet";
export type ValueType =
  | "ipv4_addr"
  | "ipv6_addr"
  | "inet_service"
  | "inet_proto"
  | "nf_proto"
  | "ether_type"
  | "ifname"
  | "mark"
  | "dscp"
  | "length";

/** Something of a packet that a rule may ask for. */
export interface Field {
  readonly id: number;
  readonly type: ValueType;
  /** The packet must be of this family, and carry this protocol. */
  readonly family?: 4 | 6;
  readonly protocol?: number;
}

/** Both ends inclusive; or the name of a port, `*` at its end for any that begins so. */
export type Range = { readonly low: bigint; readonly high: bigint } | { readonly name: string };

/** mark = (mark & and) ^ xor */
export interface MarkChange {
  readonly and: number;
  readonly xor: number;
}

export interface Verdict {
  readonly verdict: "accept" | "return" | "continue" | "jump" | "goto";
  readonly chain?: string | undefined;
}

/** Element of a set: one range a field; of a map: what it gives. */
export interface Element {
  readonly ranges: readonly Range[];
  readonly gives?: MarkChange | Verdict | undefined;
}

/** The elements themselves, or the name of a set. */
export type Elements = readonly Element[] | string;

export type Statement =
  | { readonly do: "test"; readonly fields: readonly Field[]; readonly not: boolean; readonly elements: Elements }
  | { readonly do: "map"; readonly fields: readonly Field[]; readonly elements: Elements }
  | { readonly do: "mark"; readonly change: MarkChange }
  | { readonly do: "verdict"; readonly verdict: Verdict };

export interface MarkRule {
  readonly handle: number;
  readonly line: number;
  readonly text: string;
  readonly statements: readonly Statement[];
}

export interface Chain {
  readonly name: string;
  /** Priority in hook prerouting; undefined: only jumped to. */
  priority: number | undefined;
  rules: MarkRule[];
}

export interface NamedSet {
  readonly name: string;
  readonly types: readonly ValueType[];
  /** Of a map. */
  readonly gives: "mark" | "verdict" | undefined;
  elements: Element[];
  /** As they were written. */
  texts: string[];
}

export interface Table {
  readonly family: TableFamily;
  readonly name: string;
  dormant: boolean;
  chains: Chain[];
  sets: NamedSet[];
}

export interface Ruleset {
  tables: Table[];
  nextHandle: number;
}

export function emptyRuleset(): Ruleset {
  return { tables: [], nextHandle: 1 };
}

/** Rules that packets meet: those of chains without hook count once. */
export function countRules(ruleset: Ruleset): number {
  return ruleset.tables.reduce((sum, table) => sum + table.chains.reduce((n, { rules }) => n + rules.length, 0), 0);
}

const PORTS: ReadonlyArray<readonly [string, number | undefined]> = [
  ["tcp", 6],
  ["udp", 17],
  ["sctp", 132],
  ["udplite", 136],
  ["dccp", 33],
  ["th", undefined],
];

/** Fields by the words that name them. */
export const FIELDS: ReadonlyMap<string, Field> = new Map<string, Field>([
  ["ip saddr", { id: Rule.FIELD_SOURCE_4, type: "ipv4_addr", family: 4 }],
  ["ip daddr", { id: Rule.FIELD_DESTINATION_4, type: "ipv4_addr", family: 4 }],
  ["ip protocol", { id: Rule.FIELD_NEXT_HEADER, type: "inet_proto", family: 4 }],
  ["ip dscp", { id: Rule.FIELD_DSCP, type: "dscp", family: 4 }],
  ["ip length", { id: Rule.FIELD_LENGTH, type: "length", family: 4 }],
  ["ip6 saddr", { id: Rule.FIELD_SOURCE_6, type: "ipv6_addr", family: 6 }],
  ["ip6 daddr", { id: Rule.FIELD_DESTINATION_6, type: "ipv6_addr", family: 6 }],
  ["ip6 nexthdr", { id: Rule.FIELD_NEXT_HEADER, type: "inet_proto", family: 6 }],
  ["ip6 dscp", { id: Rule.FIELD_DSCP, type: "dscp", family: 6 }],
  ["meta l4proto", { id: Rule.FIELD_PROTOCOL, type: "inet_proto" }],
  ["meta nfproto", { id: Rule.FIELD_FAMILY, type: "nf_proto" }],
  ["meta protocol", { id: Rule.FIELD_FAMILY, type: "ether_type" }],
  ["meta iifname", { id: Rule.FIELD_PORT_IN, type: "ifname" }],
  ["meta iif", { id: Rule.FIELD_PORT_IN, type: "ifname" }],
  ["meta mark", { id: Rule.FIELD_MARK, type: "mark" }],
  ["meta length", { id: Rule.FIELD_LENGTH, type: "length" }],
  ...PORTS.flatMap(([name, protocol]): Array<[string, Field]> => {
    const needs = protocol === undefined ? {} : { protocol };
    return [
      [`${name} sport`, { id: Rule.FIELD_SOURCE_PORT, type: "inet_service", ...needs }],
      [`${name} dport`, { id: Rule.FIELD_DESTINATION_PORT, type: "inet_service", ...needs }],
    ];
  }),
]);
