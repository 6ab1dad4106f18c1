/**
 * Reads rules in nftables' own language, as `nft -f` does: a text changes what is there, and a bad line spoils the
 * whole text. Only what marks packets before they are routed is known here.
 */
import {
  type Chain,
  type Element,
  type Elements,
  FIELDS,
  type Field,
  type MarkChange,
  type MarkRule,
  type NamedSet,
  type Range,
  type Ruleset,
  type Statement,
  type Table,
  type TableFamily,
  type ValueType,
  type Verdict,
} from "./ruleset.js";
import { joined, MarksError, type Token, tokens } from "./tokens.js";
import { bitsOf, largest, numberOf, parseValue, WHAT } from "./values.js";

const FAMILIES: readonly TableFamily[] = ["ip", "ip6", "inet"];
const OTHER_FAMILIES = ["arp", "bridge", "netdev"];
const PRIORITIES: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
};
const SET_TYPES: readonly ValueType[] = [
  "ipv4_addr",
  "ipv6_addr",
  "inet_service",
  "inet_proto",
  "ifname",
  "mark",
  "dscp",
];
/** Words that name a thing of the packet of their own, without `meta` before them. */
const BARE_META = ["mark", "iifname", "iif", "protocol", "length"];
const HEADERS = ["ip", "ip6", "tcp", "udp", "sctp", "udplite", "dccp", "th"];
const COMPARISONS = ["==", "!=", "<", ">", "<=", ">=", "eq", "ne", "lt", "gt", "le", "ge"];
const ALL = 0xffffffff;
/** From the loosest to the tightest. */
const MARK_OPERATORS: ReadonlyArray<readonly string[]> = [
  ["or", "|"],
  ["xor", "^"],
  ["and", "&"],
];

/** The ruleset that `text` makes out of another one, which stays as it is. Throws a MarksError. */
export function parseMarks(text: string, before: Ruleset): Ruleset {
  const after = structuredClone(before);
  new Parser(tokens(text), after).run();
  checkReferences(after);
  return after;
}

class Parser {
  private readonly list: Token[];
  private readonly ruleset: Ruleset;
  private readonly defines = new Map<string, readonly Token[]>();
  private at = 0;

  constructor(list: Token[], ruleset: Ruleset) {
    this.list = list;
    this.ruleset = ruleset;
  }

  run(): void {
    for (;;) {
      this.skipSeparators();
      if (this.peek().kind === "end") return;
      this.command();
      this.endOfStatement();
    }
  }

  // Tokens.

  private peek(): Token {
    let token = this.list[this.at]!;
    // A defined name stands for its words, wherever it is.
    for (let depth = 0; token.kind === "word" && token.text.startsWith("$"); depth++) {
      const words = this.defines.get(token.text.slice(1));
      if (words === undefined) throw new MarksError(token.line, `${token.text} is not defined`);
      if (depth > 16) throw new MarksError(token.line, `${token.text} is defined by itself`);
      const { line } = token;
      this.list.splice(this.at, 1, ...words.map((word) => ({ ...word, line })));
      token = this.list[this.at]!;
    }
    return token;
  }

  private next(): Token {
    const token = this.peek();
    if (token.kind !== "end") this.at++;
    return token;
  }

  private is(...texts: string[]): boolean {
    const token = this.peek();
    return token.kind !== "text" && texts.includes(token.text);
  }

  private take(...texts: string[]): string | undefined {
    return this.is(...texts) ? this.next().text : undefined;
  }

  private need(text: string): void {
    if (this.take(text) === undefined) throw this.expected(JSON.stringify(text));
  }

  private expected(what: string): MarksError {
    const { kind, text, line } = this.peek();
    const found = kind === "end" ? "the end" : kind === "newline" ? "the end of the line" : JSON.stringify(text);
    return new MarksError(line, `expected ${what}, found ${found}`);
  }

  private wrong(message: string): MarksError {
    return new MarksError(this.peek().line, message);
  }

  private word(what: string): string {
    const { kind, text } = this.peek();
    if ((kind !== "word" && kind !== "text") || text.startsWith("@")) throw this.expected(what);
    return this.next().text;
  }

  private skipNewlines(): void {
    while (this.peek().kind === "newline") this.at++;
  }

  private skipSeparators(): void {
    while (this.peek().kind === "newline" || this.is(";")) this.at++;
  }

  private atEnd(): boolean {
    return this.peek().kind === "newline" || this.peek().kind === "end" || this.is(";", "}");
  }

  private endOfStatement(): void {
    if (!this.atEnd() || this.is("}")) throw this.expected("the end of the line");
  }

  // Commands.

  private command(): void {
    if (this.take("define", "redefine") !== undefined) {
      this.define();
      return;
    }
    if (this.take("table") !== undefined) {
      this.table(false);
      return;
    }
    switch (this.take("add", "create", "insert", "replace", "delete", "destroy", "flush")) {
      case "add":
        this.add(false);
        return;
      case "create":
        this.add(true);
        return;
      case "insert":
        this.need("rule");
        this.addRule("insert");
        return;
      case "replace":
        this.need("rule");
        this.addRule("replace");
        return;
      case "delete":
        this.remove(true);
        return;
      case "destroy":
        this.remove(false);
        return;
      case "flush":
        this.flush();
        return;
    }
    throw this.expected("table, add, insert, replace, delete, flush or define");
  }

  private define(): void {
    const name = this.word("a name");
    this.need("=");
    const words: Token[] = [];
    let depth = 0;
    while (this.peek().kind !== "end" && (depth > 0 || (this.peek().kind !== "newline" && !this.is(";")))) {
      if (this.is("{")) depth++;
      if (this.is("}")) depth--;
      const token = this.next();
      if (token.kind !== "newline") words.push(token);
    }
    if (words.length === 0) throw this.expected("a value");
    this.defines.set(name, words);
  }

  private family(): TableFamily {
    const other = this.take(...OTHER_FAMILIES);
    if (other !== undefined) throw this.wrong(`family ${other}: marks are set in tables of ip, ip6 or inet`);
    return (this.take(...FAMILIES) as TableFamily | undefined) ?? "ip";
  }

  private findTable(family: TableFamily, name: string): Table | undefined {
    return this.ruleset.tables.find((table) => table.family === family && table.name === name);
  }

  private existingTable(): Table {
    const family = this.family();
    const name = this.word("the name of a table");
    const table = this.findTable(family, name);
    if (table === undefined) throw this.wrong(`no table ${family} ${name}`);
    return table;
  }

  private existingChain(table: Table): Chain {
    const name = this.word("the name of a chain");
    const chain = table.chains.find((each) => each.name === name);
    if (chain === undefined) throw this.wrong(`no chain ${name} in table ${table.family} ${table.name}`);
    return chain;
  }

  private table(create: boolean): void {
    const family = this.family();
    const name = this.word("the name of a table");
    let table = this.findTable(family, name);
    if (table !== undefined && create) throw this.wrong(`table ${family} ${name} is there already`);
    if (table === undefined) {
      table = { family, name, dormant: false, chains: [], sets: [] };
      this.ruleset.tables.push(table);
    }
    if (this.take("{") === undefined) return;
    for (;;) {
      this.skipSeparators();
      if (this.take("}") !== undefined) return;
      this.inTable(table);
    }
  }

  private inTable(table: Table): void {
    if (this.take("chain") !== undefined) {
      this.chain(table, false);
    } else if (this.take("set") !== undefined) {
      this.set(table, false);
    } else if (this.take("map") !== undefined) {
      this.set(table, true);
    } else if (this.take("flags") !== undefined) {
      table.dormant = this.word("dormant or owner") === "dormant";
    } else if (this.take("comment") !== undefined) {
      this.next();
    } else {
      throw this.expected("chain, set, map, flags or }");
    }
    if (!this.atEnd()) throw this.expected("the end of the line");
  }

  private add(create: boolean): void {
    if (this.take("table") !== undefined) this.table(create);
    else if (this.take("chain") !== undefined) this.chain(this.existingTable(), create);
    else if (this.take("set") !== undefined) this.set(this.existingTable(), false);
    else if (this.take("map") !== undefined) this.set(this.existingTable(), true);
    else if (this.take("element") !== undefined) this.changeElements(true);
    else {
      if (this.take("rule") === undefined && !this.is(...FAMILIES))
        throw this.expected("table, chain, rule, set, map or element");
      this.addRule("add");
    }
  }

  private remove(strict: boolean): void {
    if (this.take("table") !== undefined) {
      const family = this.family();
      const name = this.word("the name of a table");
      if (strict && this.findTable(family, name) === undefined) throw this.wrong(`no table ${family} ${name}`);
      this.ruleset.tables = this.ruleset.tables.filter((table) => table.family !== family || table.name !== name);
    } else if (this.take("chain") !== undefined) {
      const table = this.existingTable();
      const chain = this.existingChain(table);
      table.chains = table.chains.filter((each) => each !== chain);
    } else if (this.take("set", "map") !== undefined) {
      const table = this.existingTable();
      const set = this.existingSet(table);
      table.sets = table.sets.filter((each) => each !== set);
    } else if (this.take("element") !== undefined) {
      this.changeElements(false);
    } else if (this.take("rule") !== undefined) {
      const chain = this.existingChain(this.existingTable());
      const handle = this.handle(chain);
      chain.rules = chain.rules.filter((rule) => rule.handle !== handle);
    } else {
      throw this.expected("table, chain, rule, set, map or element");
    }
  }

  private flush(): void {
    if (this.take("ruleset") !== undefined) {
      const family = this.take(...FAMILIES);
      this.ruleset.tables = this.ruleset.tables.filter((table) => family !== undefined && table.family !== family);
    } else if (this.take("table") !== undefined) {
      for (const chain of this.existingTable().chains) chain.rules = [];
    } else if (this.take("chain") !== undefined) {
      this.existingChain(this.existingTable()).rules = [];
    } else if (this.take("set", "map") !== undefined) {
      const set = this.existingSet(this.existingTable());
      set.elements = [];
      set.texts = [];
    } else {
      throw this.expected("ruleset, table, chain, set or map");
    }
  }

  private handle(chain: Chain): number {
    this.need("handle");
    const handle = Number(numberOf(this.word("a number"), 32) ?? -1n);
    if (!chain.rules.some((rule) => rule.handle === handle)) {
      throw this.wrong(`no rule with this handle in chain ${chain.name}`);
    }
    return handle;
  }

  // Chains.

  private chain(table: Table, create: boolean): void {
    const name = this.word("the name of a chain");
    let chain = table.chains.find((each) => each.name === name);
    if (chain !== undefined && create) throw this.wrong(`chain ${name} is there already`);
    if (chain === undefined) {
      chain = { name, priority: undefined, rules: [] };
      table.chains.push(chain);
    }
    if (this.take("{") === undefined) return;
    for (;;) {
      this.skipSeparators();
      if (this.take("}") !== undefined) return;
      if (this.take("type") !== undefined) this.hook(chain);
      else if (this.take("policy") !== undefined) this.policy();
      else if (this.take("comment") !== undefined) this.next();
      else chain.rules.push(this.rule(table));
      if (!this.atEnd()) throw this.expected("the end of the rule");
    }
  }

  private hook(chain: Chain): void {
    const type = this.word("filter");
    if (type !== "filter") throw this.wrong(`type ${type}: marks are set in chains of type filter`);
    this.need("hook");
    const hook = this.word("prerouting");
    if (hook !== "prerouting") throw this.wrong(`hook ${hook}: marks are set in hook prerouting`);
    this.need("priority");
    const priority = this.priority();
    if (chain.priority !== undefined && chain.priority !== priority) {
      throw this.wrong(`chain ${chain.name} is there already, with priority ${chain.priority}`);
    }
    chain.priority = priority;
  }

  private priority(): number {
    const sign = this.take("-") === undefined ? 1 : -1;
    const text = this.word("a priority");
    const named = Object.hasOwn(PRIORITIES, text) ? PRIORITIES[text] : undefined;
    const plain = numberOf(text, 31);
    if (named === undefined && plain === undefined)
      throw this.wrong(`${text} is no priority: write a number, or mangle`);
    let value = named ?? sign * Number(plain);
    const more = this.take("+", "-");
    if (more !== undefined) {
      const by = numberOf(this.word("a number"), 31);
      if (by === undefined) throw this.wrong("a priority ends in a number");
      value += (more === "+" ? 1 : -1) * Number(by);
    }
    return value;
  }

  private policy(): void {
    const policy = this.word("accept");
    if (policy !== "accept") throw this.wrong(`policy ${policy}: mark rules drop nothing, write policy accept`);
  }

  // Rules.

  private addRule(how: "add" | "insert" | "replace"): void {
    const table = this.existingTable();
    const chain = this.existingChain(table);
    let place = how === "insert" ? 0 : chain.rules.length;
    let handle: number | undefined;
    if (how === "replace") {
      handle = this.handle(chain);
      place = chain.rules.findIndex((rule) => rule.handle === handle);
    } else if (this.is("handle", "position")) {
      if (this.take("position") !== undefined)
        this.list.splice(this.at, 0, { ...this.peek(), kind: "word", text: "handle" });
      const beside = this.handle(chain);
      place = chain.rules.findIndex((rule) => rule.handle === beside) + (how === "add" ? 1 : 0);
    } else if (this.take("index") !== undefined) {
      const index = Number(numberOf(this.word("a number"), 32) ?? -1n);
      if (index < 0 || index >= chain.rules.length) throw this.wrong(`no rule with this index in chain ${chain.name}`);
      place = index + (how === "add" ? 1 : 0);
    }
    const rule = this.rule(table);
    if (handle === undefined) chain.rules.splice(place, 0, rule);
    else chain.rules.splice(place, 1, { ...rule, handle });
  }

  private rule(table: Table): MarkRule {
    const first = this.at;
    const { line } = this.peek();
    const statements: Statement[] = [];
    while (!this.atEnd()) statements.push(...this.statement(table));
    if (this.at === first) throw this.expected("a rule");
    const text = joined(this.list.slice(first, this.at));
    return { handle: this.ruleset.nextHandle++, line, text, statements };
  }

  private statement(table: Table): Statement[] {
    if (this.take("counter") !== undefined) {
      this.counter();
      return [];
    }
    if (this.take("comment") !== undefined) {
      this.next();
      return [];
    }
    const verdict = this.verdict();
    if (verdict !== undefined) return [{ do: "verdict", verdict }];
    const refused = this.take(
      "drop",
      "reject",
      "queue",
      "dnat",
      "snat",
      "masquerade",
      "redirect",
      "tproxy",
      "log",
      "ct",
    );
    if (refused !== undefined) throw this.wrong(`${refused}: mark rules only set marks`);
    const fields = this.fields(table);
    if (fields.length === 1 && fields[0]!.type === "mark" && this.take("set") !== undefined)
      return [this.markSet(table)];
    if (this.take("vmap") !== undefined) {
      return [{ do: "map", fields, elements: this.mapElements(table, fields, "verdict") }];
    }
    return [this.test(table, fields)];
  }

  private counter(): void {
    if (this.take("name") !== undefined) {
      this.next();
      return;
    }
    for (const what of ["packets", "bytes"]) if (this.take(what) !== undefined) this.word("a number");
  }

  private verdict(): Verdict | undefined {
    const plain = this.take("accept", "return", "continue") as "accept" | "return" | "continue" | undefined;
    if (plain !== undefined) return { verdict: plain };
    const call = this.take("jump", "goto") as "jump" | "goto" | undefined;
    return call === undefined ? undefined : { verdict: call, chain: this.word("the name of a chain") };
  }

  private fields(table: Table): Field[] {
    const found: Field[] = [];
    do found.push(this.field(table));
    while (this.take(".") !== undefined);
    return found;
  }

  private field(table: Table): Field {
    const { text } = this.peek();
    let name: string;
    if (this.take("meta") !== undefined) name = `meta ${this.word("l4proto, iifname or mark")}`;
    else if (BARE_META.includes(text)) name = `meta ${this.next().text}`;
    else if (HEADERS.includes(text)) name = `${this.next().text} ${this.word("a field of the header")}`;
    else throw this.expected("a match (ip, ip6, tcp, udp, sctp, th, meta) or meta mark set");
    const field = FIELDS.get(name);
    if (field === undefined) throw this.wrong(`${name}: not known here`);
    if (field.family !== undefined && table.family !== "inet" && (table.family === "ip" ? 4 : 6) !== field.family) {
      throw this.wrong(`${name} in a table of ${table.family}: no packet there has it`);
    }
    return field;
  }

  private test(table: Table, fields: readonly Field[]): Statement {
    const comparison = this.take(...COMPARISONS) ?? "==";
    const not = comparison === "!=" || comparison === "ne";
    if (not || comparison === "==" || comparison === "eq") {
      return { do: "test", fields, not, elements: this.operand(table, fields) };
    }
    const [field] = fields;
    if (fields.length !== 1 || field === undefined || bitsOf(field.type) === 0) throw this.wrong("not a number");
    const value = this.single(field.type);
    const most = largest(field.type);
    // Nothing lies beyond the ends.
    const none: Element[] = [];
    const elements = (low: bigint, high: bigint) => (low > high ? none : [{ ranges: [{ low, high }] }]);
    switch (comparison) {
      case "<":
      case "lt":
        return { do: "test", fields, not, elements: elements(0n, value - 1n) };
      case "<=":
      case "le":
        return { do: "test", fields, not, elements: elements(0n, value) };
      case ">":
      case "gt":
        return { do: "test", fields, not, elements: elements(value + 1n, most) };
      default:
        return { do: "test", fields, not, elements: elements(value, most) };
    }
  }

  private operand(table: Table, fields: readonly Field[]): Elements {
    const { text, kind } = this.peek();
    if (kind === "word" && text.startsWith("@")) return this.setName(table, fields, undefined);
    const types = fields.map(({ type }) => type);
    if (this.is("{")) return this.literal(types, undefined);
    return [{ ranges: this.tuple(types) }];
  }

  private mapElements(table: Table, fields: readonly Field[], gives: "mark" | "verdict"): Elements {
    if (this.peek().text.startsWith("@")) return this.setName(table, fields, gives);
    return this.literal(
      fields.map(({ type }) => type),
      gives,
    );
  }

  private setName(table: Table, fields: readonly Field[], gives: NamedSet["gives"]): string {
    const name = this.next().text.slice(1);
    const set = table.sets.find((each) => each.name === name);
    if (set === undefined) throw this.wrong(`no set @${name} in table ${table.family} ${table.name}`);
    const types = fields.map(({ type }) => type);
    if (set.gives !== gives || set.types.join() !== types.join()) {
      throw this.wrong(`@${name} holds ${describe(set.types, set.gives)}, and ${describe(types, gives)} is wanted`);
    }
    return name;
  }

  // Values.

  private literal(types: readonly ValueType[], gives: NamedSet["gives"]): Element[] {
    this.need("{");
    const found: Element[] = [];
    for (;;) {
      this.skipNewlines();
      if (this.take("}") !== undefined) return found;
      if (this.is("{")) found.push(...this.literal(types, gives));
      else found.push(this.element(types, gives));
      this.skipNewlines();
      if (this.take(",") === undefined && !this.is("}")) throw this.expected('"," or "}"');
    }
  }

  private element(types: readonly ValueType[], gives: NamedSet["gives"]): Element {
    const ranges = this.is("*") ? types.map((type) => this.anything(type)) : this.tuple(types);
    if (this.take("comment") !== undefined) this.next();
    if (this.take("counter") !== undefined) this.counter();
    if (gives === undefined) return { ranges };
    this.need(":");
    this.skipNewlines();
    if (gives === "mark") return { ranges, gives: { and: 0, xor: Number(this.single("mark")) } };
    const verdict = this.verdict();
    if (verdict === undefined) throw this.expected("accept, return, continue, jump or goto");
    return { ranges, gives: verdict };
  }

  private anything(type: ValueType): Range {
    this.next();
    return type === "ifname" ? { name: "*" } : { low: 0n, high: largest(type) };
  }

  private tuple(types: readonly ValueType[]): Range[] {
    return types.map((type, n) => {
      if (n > 0) this.need(".");
      return this.range(type);
    });
  }

  private range(type: ValueType): Range {
    if (type === "ifname") return { name: this.word(WHAT.ifname) };
    const low = this.single(type);
    if (this.take("-") !== undefined) {
      const high = this.single(type);
      if (high < low) throw this.wrong("the range ends before it begins");
      return { low, high };
    }
    if (this.take("/") === undefined) return { low, high: low };
    const bits = bitsOf(type);
    const length = bits < 32 ? undefined : numberOf(this.word("a prefix length"), 8);
    if (length === undefined || Number(length) > bits) throw this.wrong(`a prefix length is at most ${bits}`);
    const rest = (1n << (BigInt(bits) - length)) - 1n;
    return { low: low & ~rest, high: low | rest };
  }

  private single(type: ValueType): bigint {
    const { kind, text } = this.peek();
    const value = kind === "word" || kind === "text" ? parseValue(type, text) : undefined;
    if (value === undefined) throw this.expected(WHAT[type]);
    this.next();
    return value;
  }

  private markSet(table: Table): Statement {
    if (this.peek().kind === "word" && HEADERS.includes(this.peek().text)) {
      const fields = this.fields(table);
      this.need("map");
      return { do: "map", fields, elements: this.mapElements(table, fields, "mark") };
    }
    return { do: "mark", change: this.markExpression(table, 0) };
  }

  /** Operators of a level and those that bind tighter. */
  private markExpression(table: Table, level: number): MarkChange {
    const operators = MARK_OPERATORS[level];
    if (operators === undefined) return this.markOperand(table);
    let change = this.markExpression(table, level + 1);
    while (this.take(...operators) !== undefined) {
      change = this.combined(operators[0]!, change, this.markExpression(table, level + 1));
    }
    return change;
  }

  private markOperand(table: Table): MarkChange {
    if (this.take("(") !== undefined) {
      const change = this.markExpression(table, 0);
      this.need(")");
      return change;
    }
    if (!this.is("meta", "mark")) return { and: 0, xor: Number(this.single("mark")) };
    if (this.field(table).type !== "mark") throw this.wrong("expected a number or meta mark");
    return { and: ALL, xor: 0 };
  }

  private combined(operator: string, a: MarkChange, b: MarkChange): MarkChange {
    if (a.and !== 0 && b.and !== 0) throw this.wrong("one side of the operator must be a number");
    const [{ and, xor }, { xor: by }] = b.and === 0 ? [a, b] : [b, a];
    if (operator === "and") return { and: (and & by) >>> 0, xor: (xor & by) >>> 0 };
    if (operator === "or") return { and: (and & ~by) >>> 0, xor: (xor | by) >>> 0 };
    return { and, xor: (xor ^ by) >>> 0 };
  }

  // Named sets.

  private existingSet(table: Table): NamedSet {
    const name = this.word("the name of a set");
    const set = table.sets.find((each) => each.name === name);
    if (set === undefined) throw this.wrong(`no set ${name} in table ${table.family} ${table.name}`);
    return set;
  }

  private set(table: Table, isMap: boolean): void {
    const name = this.word("the name of a set");
    this.need("{");
    let types: ValueType[] = [];
    let gives: NamedSet["gives"];
    let set = table.sets.find((each) => each.name === name);
    for (;;) {
      this.skipSeparators();
      if (this.take("}") !== undefined) break;
      if (this.is("type", "typeof")) {
        const { text } = this.next();
        types = text === "type" ? this.setTypes() : this.fields(table).map(({ type }) => type);
        if (isMap) {
          this.need(":");
          const target = this.take("mark", "verdict", "meta");
          if (target === undefined) throw this.expected("mark or verdict");
          if (target === "meta") this.need("mark");
          gives = target === "verdict" ? "verdict" : "mark";
        }
      } else if (this.take("elements") !== undefined) {
        this.need("=");
        set = this.ensureSet(table, name, types, gives);
        this.intoSet(set);
      } else if (this.take("flags") !== undefined) {
        do {
          const flag = this.word("interval or constant");
          if (flag !== "interval" && flag !== "constant") throw this.wrong(`flags ${flag}: not known here`);
        } while (this.take(",") !== undefined);
      } else if (this.take("auto") !== undefined || this.take("auto-merge") !== undefined) {
        // Ranges are merged anyway.
      } else if (this.take("size", "policy", "comment") !== undefined) {
        this.next();
      } else {
        throw this.expected("type, typeof, flags, elements or }");
      }
    }
    this.ensureSet(table, name, types, gives);
  }

  private setTypes(): ValueType[] {
    const types: ValueType[] = [];
    do {
      const text = this.word("a type");
      const type = SET_TYPES.find((each) => each === text);
      if (type === undefined) throw this.wrong(`type ${text}: write one of ${SET_TYPES.join(", ")}`);
      types.push(type);
    } while (this.take(".") !== undefined);
    return types;
  }

  private ensureSet(table: Table, name: string, types: ValueType[], gives: NamedSet["gives"]): NamedSet {
    const found = table.sets.find((each) => each.name === name);
    if (types.length === 0) throw this.wrong(`set ${name} has no type`);
    if (found !== undefined) {
      if (found.gives === gives && found.types.join() === types.join()) return found;
      throw this.wrong(`set ${name} is there already, with another type`);
    }
    const set: NamedSet = { name, types, gives, elements: [], texts: [] };
    table.sets.push(set);
    return set;
  }

  private intoSet(set: NamedSet): void {
    const first = this.at;
    const elements = this.literal(set.types, set.gives);
    const text = joined(this.list.slice(first + 1, this.at - 1)).replace(/,\s*$/, "");
    set.elements.push(...elements);
    if (text !== "") set.texts.push(text);
  }

  private changeElements(add: boolean): void {
    const set = this.existingSet(this.existingTable());
    if (add) {
      this.intoSet(set);
      return;
    }
    const key = (element: Element) => element.ranges.map((range) => rangeText(range)).join(" ");
    const gone = this.literal(set.types, undefined).map(key);
    for (const each of gone) {
      if (!set.elements.some((element) => key(element) === each))
        throw this.wrong(`set ${set.name} has no such element`);
    }
    set.elements = set.elements.filter((element) => !gone.includes(key(element)));
    set.texts = [];
  }
}

export function rangeText(range: Range): string {
  return "name" in range ? range.name : range.low === range.high ? `${range.low}` : `${range.low}-${range.high}`;
}

function describe(types: readonly ValueType[], gives: NamedSet["gives"]): string {
  return `${types.join(" . ")}${gives === undefined ? "" : ` : ${gives}`}`;
}

/** Whether every chain and set that a rule names is there, and no chain comes back to itself. */
function checkReferences(ruleset: Ruleset): void {
  for (const table of ruleset.tables) {
    for (const chain of table.chains) {
      for (const rule of chain.rules) checkRule(table, rule);
    }
    for (const chain of table.chains) walk(table, chain, []);
  }
}

/** The chains that a rule may go to. */
function targetsOf(table: Table, rule: MarkRule): string[] {
  return rule.statements.flatMap((statement) => {
    if (statement.do === "verdict") return statement.verdict.chain ?? [];
    if (statement.do !== "map") return [];
    const { elements } = statement;
    const list = typeof elements === "string" ? table.sets.find(({ name }) => name === elements)?.elements : elements;
    return (list ?? []).flatMap(({ gives }) => (gives !== undefined && "verdict" in gives ? (gives.chain ?? []) : []));
  });
}

function checkRule(table: Table, rule: MarkRule): void {
  for (const statement of rule.statements) {
    if ((statement.do === "test" || statement.do === "map") && typeof statement.elements === "string") {
      const { elements } = statement;
      if (!table.sets.some(({ name }) => name === elements)) throw new MarksError(rule.line, `no set @${elements}`);
    }
  }
  for (const target of targetsOf(table, rule)) {
    const chain = table.chains.find(({ name }) => name === target);
    if (chain === undefined)
      throw new MarksError(rule.line, `no chain ${target} in table ${table.family} ${table.name}`);
    if (chain.priority !== undefined) throw new MarksError(rule.line, `chain ${target} has a hook: no rule goes there`);
  }
}

function walk(table: Table, chain: Chain, path: readonly Chain[]): void {
  if (path.length > 16) throw new MarksError(chain.rules[0]?.line ?? 1, "chains are nested too deeply");
  for (const rule of chain.rules) {
    for (const target of targetsOf(table, rule)) {
      const next = table.chains.find(({ name }) => name === target)!;
      if (next === chain || path.includes(next))
        throw new MarksError(rule.line, `chain ${target} comes back to itself`);
      walk(table, next, [...path, chain]);
    }
  }
}
