/** nftables' language, as far as it marks packets. */
import { describe, expect, it } from "vitest";
import { compileMarks } from "../../../host/marks/compile.js";
import { formatMarks } from "../../../host/marks/format.js";
import { parseMarks } from "../../../host/marks/parse.js";
import { countRules, emptyRuleset, type Ruleset } from "../../../host/marks/ruleset.js";
import { MarksError } from "../../../host/marks/tokens.js";

const parse = (text: string, before: Ruleset = emptyRuleset()) => parseMarks(text, before);

/** Rules within a chain of hook prerouting, in a table of a family. */
function chain(rules: string, family = "inet"): string {
  return `table ${family} t {\n  chain p {\n    type filter hook prerouting priority mangle; policy accept;\n${rules}\n  }\n}\n`;
}

function refusal(text: string, before?: Ruleset): string {
  try {
    parse(text, before);
  } catch (error) {
    expect(error).toBeInstanceOf(MarksError);
    return `${(error as MarksError).line}: ${(error as MarksError).message}`;
  }
  return "accepted";
}

function rulesOf(ruleset: Ruleset): string[] {
  return ruleset.tables.flatMap((table) => table.chains.flatMap((each) => each.rules.map(({ text }) => text)));
}

describe("mark rules", () => {
  it.each([
    "ip daddr 192.0.2.1 meta mark set 1",
    "ip daddr != 192.0.2.0/24 meta mark set 0x10",
    "ip daddr { 192.0.2.1, 192.0.2.8-192.0.2.15, 198.51.100.0/24 } tcp dport { 80, 443, 8000-8080 } meta mark set 1",
    "ip6 daddr 2001:db8::/32 ip6 saddr != { ::1, 2001:db8::1-2001:db8::9 } meta mark set 2",
    "ip6 nexthdr { tcp, udp } meta mark set 2",
    "ip protocol icmp counter packets 5 bytes 300 meta mark set 3",
    "meta l4proto { tcp, udp } th dport 53 counter meta mark set 53",
    "sctp sport 1024-65535 sctp dport 2905 meta mark set 4",
    "tcp dport http meta mark set 5",
    "tcp dport >= 1024 meta mark set 5",
    'iifname "ext0" meta mark set 6',
    'meta iifname { "ext0", lan* } mark set 6',
    "meta nfproto ipv6 meta mark set 7",
    "ip dscp { ef, af41, cs5 } meta mark set 8",
    "meta mark 0 meta mark set 9 accept",
    "meta mark set meta mark or 0x100",
    "meta mark set mark and 0xffff0000 | 5 ^ 1",
    "ip daddr . tcp dport { 192.0.2.1 . 80, 192.0.2.2 . 443 } meta mark set 10",
    "meta mark set tcp dport map { 80 : 1, 443 : 2 }",
    "tcp dport vmap { 22 : accept, 80 : continue }",
    'ip daddr 192.0.2.1 meta mark set 1 comment "the web"',
  ])("takes %s", (rule) => {
    const ruleset = parse(chain(`    ${rule}`));
    expect(rulesOf(ruleset)).toEqual([rule]);
    const program = compileMarks(ruleset, ["ext0", "lan1"]);
    expect(program.length).toBeGreaterThan(0);
    // What is listed makes the same rules again.
    const again = parse(formatMarks(ruleset));
    expect(compileMarks(again, ["ext0", "lan1"])).toEqual(program);
  });

  it.each([
    ["ip daddr meta mark set 1", '4: expected an IPv4 address, found "meta"'],
    ["ip daddr 192.0.2.300 meta mark set 1", '4: expected an IPv4 address, found "192.0.2.300"'],
    ["ip daddr 192.0.2.0/33 meta mark set 1", "4: a prefix length is at most 32"],
    ["ip daddr 192.0.2.9-192.0.2.1 meta mark set 1", "4: the range ends before it begins"],
    ["tcp dport { 80 443 } meta mark set 1", '4: expected "," or "}", found "443"'],
    ["tcp dport 70000 meta mark set 1", '4: expected a port, found "70000"'],
    ["tcp flags syn meta mark set 1", "4: tcp flags: not known here"],
    ["meta mark set banana", '4: expected a mark, found "banana"'],
    ["meta mark set 4294967296", '4: expected a mark, found "4294967296"'],
    ["ct state new meta mark set 1", "4: ct: mark rules only set marks"],
    ["ip daddr 192.0.2.1 drop", "4: drop: mark rules only set marks"],
    ["ip daddr @web meta mark set 1", "4: no set @web in table inet t"],
    ["jump nowhere", "4: no chain nowhere in table inet t"],
    ["jump p", "4: chain p has a hook: no rule goes there"],
    ["ip daddr $vip meta mark set 1", "4: $vip is not defined"],
    ["meta mark set 1 }", '6: expected table, add, insert, replace, delete, flush or define, found "}"'],
    ["ip daddr ~1", '4: what is "~"?'],
  ])("refuse %s", (rule, why) => {
    expect(refusal(chain(`    ${rule}`))).toBe(why);
  });

  it.each([
    ["table ip m {", "1: expected chain, set, map, flags or }, found the end"],
    ["table arp m { }", "1: family arp: marks are set in tables of ip, ip6 or inet"],
    [
      "table ip m { chain c { type nat hook prerouting priority 0; } }",
      "1: type nat: marks are set in chains of type filter",
    ],
    [
      "table ip m { chain c { type filter hook input priority 0; } }",
      "1: hook input: marks are set in hook prerouting",
    ],
    ["table ip m { chain c { policy drop; } }", "1: policy drop: mark rules drop nothing, write policy accept"],
    ["\n\nadd rule ip m c meta mark set 1", "3: no table ip m"],
    ["delete table ip m", "1: no table ip m"],
    ['include "more.nft"', '1: expected table, add, insert, replace, delete, flush or define, found "include"'],
    [chain("ip6 daddr ::1 meta mark set 1", "ip"), "4: ip6 daddr in a table of ip: no packet there has it"],
    ["table ip m { chain a { jump b; }; chain b { jump a; }; }", "1: chain a comes back to itself"],
  ])("refuse %s", (text, why) => {
    expect(refusal(text)).toBe(why);
  });

  it("reads a whole file", () => {
    const ruleset = parse(`#!/usr/sbin/nft -f
      flush ruleset
      define vips = { 192.0.2.1, 192.0.2.2 }   # the two
      define web = { 80, \\
        443 }
      table inet lvs {
        comment "marks"
        set clients { type ipv4_addr; flags interval; auto-merge
          elements = { 10.0.0.0/8,
                       172.16.0.0/12, } }
        map ports { type inet_service : mark; elements = { 25 : 7, 587 : 8 } }
        chain pre {
          type filter hook prerouting priority raw + 10; policy accept;
          ip daddr $vips tcp dport $web meta mark set 1
          ip saddr @clients jump inside
          meta mark set tcp dport map @ports
        }
        chain inside { ip daddr { $vips, 192.0.2.9 } meta mark set 0x2; return; }
      }`);
    expect(rulesOf(ruleset)).toEqual([
      "ip daddr { 192.0.2.1, 192.0.2.2 } tcp dport { 80, 443 } meta mark set 1",
      "ip saddr @clients jump inside",
      "meta mark set tcp dport map @ports",
      "ip daddr { { 192.0.2.1, 192.0.2.2 }, 192.0.2.9 } meta mark set 0x2",
      "return",
    ]);
    expect(ruleset.tables[0]!.chains[0]!.priority).toBe(-290);
    expect(compileMarks(parse(formatMarks(ruleset)), [])).toEqual(compileMarks(ruleset, []));
  });

  it("changes what is there, as nft -f does", () => {
    const first = parse(chain("meta mark set 1"));
    const twice = parse(chain("meta mark set 2"), first);
    expect(rulesOf(twice)).toEqual(["meta mark set 1", "meta mark set 2"]);
    expect(rulesOf(first)).toEqual(["meta mark set 1"]);
    const inserted = parse(
      "insert rule inet t p meta mark set 0\nadd rule inet t p index 0 meta mark set 3; add rule inet t p meta mark set 4",
      twice,
    );
    expect(rulesOf(inserted)).toEqual([0, 3, 1, 2, 4].map((mark) => `meta mark set ${mark}`));
    const handle = inserted.tables[0]!.chains[0]!.rules[1]!.handle;
    const replaced = parse(`replace rule inet t p handle ${handle} meta mark set 9`, inserted);
    expect(rulesOf(replaced)[1]).toBe("meta mark set 9");
    expect(rulesOf(parse(`delete rule inet t p handle ${handle}`, replaced))).toHaveLength(4);
    expect(countRules(parse("flush chain inet t p", replaced))).toBe(0);
    expect(parse("flush ruleset", replaced).tables).toEqual([]);
    expect(rulesOf(parse(`delete table inet t\n${chain("meta mark set 5")}`, replaced))).toEqual(["meta mark set 5"]);
    expect(parse("destroy table ip gone", replaced).tables).toHaveLength(1);
  });

  it("changes elements of sets", () => {
    const before = parse(
      "add table ip m; add set ip m s { type ipv4_addr; }; add element ip m s { 192.0.2.1, 192.0.2.2 }",
    );
    const after = parse("delete element ip m s { 192.0.2.1 }", before);
    expect(after.tables[0]!.sets[0]!.elements).toHaveLength(1);
    expect(refusal("delete element ip m s { 192.0.2.9 }", before)).toBe("1: set s has no such element");
    expect(refusal("add element ip m s { 80 }", before)).toBe('1: expected an IPv4 address, found "80"');
  });

  it("a bad line spoils the whole text", () => {
    const before = parse(chain("meta mark set 1"));
    expect(refusal(`flush ruleset\n${chain("meta mark set x")}`, before)).toContain("expected a mark");
    expect(rulesOf(before)).toEqual(["meta mark set 1"]);
  });
});
