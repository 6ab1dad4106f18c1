/** Mark rules as text that makes the same rules again. */
import { formatAddress } from "../address.js";
import type { Chain, Element, NamedSet, Ruleset, Table, ValueType } from "./ruleset.js";

function valueText(type: ValueType, value: bigint): string {
  if (type !== "ipv4_addr" && type !== "ipv6_addr") return `${value}`;
  const length = type === "ipv4_addr" ? 4 : 16;
  const bytes = Uint8Array.from({ length }, (_, n) => Number((value >> BigInt(8 * (length - 1 - n))) & 255n));
  return formatAddress(type === "ipv4_addr" ? 4 : 6, bytes);
}

function elementText(set: NamedSet, { ranges, gives }: Element): string {
  const key = ranges.map((range, n) => {
    const type = set.types[n]!;
    if ("name" in range) return `"${range.name}"`;
    const [low, high] = [valueText(type, range.low), valueText(type, range.high)];
    return low === high ? low : `${low}-${high}`;
  });
  const text = key.join(" . ");
  if (gives === undefined) return text;
  if ("verdict" in gives) return `${text} : ${gives.verdict}${gives.chain === undefined ? "" : ` ${gives.chain}`}`;
  return `${text} : ${gives.xor}`;
}

function formatSet(set: NamedSet): string[] {
  const types = set.types.join(" . ");
  const lines = [
    `  ${set.gives === undefined ? "set" : "map"} ${set.name} {`,
    `    type ${types}${set.gives === undefined ? "" : ` : ${set.gives}`}`,
    "    flags interval",
  ];
  const elements = set.elements.map((element) => elementText(set, element));
  if (elements.length > 0) lines.push(`    elements = { ${elements.join(", ")} }`);
  return [...lines, "  }"];
}

function formatChain(chain: Chain): string[] {
  const lines = [`  chain ${chain.name} {`];
  if (chain.priority !== undefined) {
    lines.push(`    type filter hook prerouting priority ${chain.priority}; policy accept;`);
  }
  return [...lines, ...chain.rules.map(({ text, handle }) => `    ${text} # handle ${handle}`), "  }"];
}

function formatTable(table: Table): string[] {
  return [
    `table ${table.family} ${table.name} {`,
    ...(table.dormant ? ["  flags dormant"] : []),
    ...table.sets.flatMap(formatSet),
    // A rule may go to a chain that is declared further down: nft and we look when all is read.
    ...table.chains.flatMap(formatChain),
    "}",
  ];
}

export function formatMarks(ruleset: Ruleset): string {
  return ruleset.tables
    .flatMap(formatTable)
    .map((line) => `${line}\n`)
    .join("");
}
