/** From mark rules to the program that the core runs (layout/mark-rule). */
import * as Rule from "../../assembly/layout/mark-rule.js";
import type {
  Chain,
  Element,
  Elements,
  Field,
  MarkChange,
  Range,
  Ruleset,
  Statement,
  Table,
  Verdict,
} from "./ruleset.js";

/** Chains are compiled where they are jumped to: this many instructions are too many. */
const INSTRUCTIONS_MOST = 4096;

/** A place that is not known yet when it is jumped to. */
interface Label {
  at: number;
}

interface Instruction {
  readonly op: number;
  readonly field?: number;
  readonly not?: boolean;
  readonly target?: Label;
  readonly change?: MarkChange;
  readonly ranges?: ReadonlyArray<readonly [bigint, bigint]>;
}

/** Where rules go on: after the chain, and after all that its hook calls of the table. */
interface Exits {
  readonly back: Label;
  readonly accept: Label;
}

/** The ranges of a single field in ascending order, those that overlap or touch made one. */
export function merged(ranges: ReadonlyArray<readonly [bigint, bigint]>): Array<readonly [bigint, bigint]> {
  const sorted = [...ranges].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const out: Array<readonly [bigint, bigint]> = [];
  for (const [low, high] of sorted) {
    const last = out.at(-1);
    if (last === undefined || low > last[1] + 1n) out.push([low, high]);
    else if (high > last[1]) out[out.length - 1] = [last[0], high];
  }
  return out;
}

class Compiler {
  private readonly ports: readonly string[];
  private readonly code: Array<Instruction | Label> = [];
  private count = 0;

  constructor(ports: readonly string[]) {
    this.ports = ports;
  }

  compile(ruleset: Ruleset): Uint8Array {
    const bases = ruleset.tables
      .filter(({ dormant }) => !dormant)
      .flatMap((table) => table.chains.map((chain) => ({ table, chain })))
      .filter(({ chain }) => chain.priority !== undefined && chain.rules.length > 0)
      .sort((a, b) => a.chain.priority! - b.chain.priority!);
    if (bases.length === 0) return new Uint8Array();
    for (const { table, chain } of bases) {
      const after: Label = { at: -1 };
      if (table.family !== "inet") this.scalar(Rule.FIELD_FAMILY, table.family === "ip" ? 4 : 6, after);
      this.chain(table, chain, { back: after, accept: after });
      this.code.push(after);
    }
    this.emit({ op: Rule.OP_END });
    return this.bytes();
  }

  private emit(instruction: Instruction): void {
    if (++this.count > INSTRUCTIONS_MOST) throw new RangeError("too many mark rules");
    this.code.push(instruction);
  }

  private scalar(field: number, value: number, target: Label): void {
    this.emit({ op: Rule.OP_TEST, field, target, ranges: [[BigInt(value), BigInt(value)]] });
  }

  private chain(table: Table, chain: Chain, exits: Exits): void {
    for (const rule of chain.rules) {
      const next: Label = { at: -1 };
      const known = new Set<string>();
      for (const statement of rule.statements) this.statement(table, statement, next, exits, known);
      this.code.push(next);
    }
  }

  private statement(table: Table, statement: Statement, next: Label, exits: Exits, known: Set<string>): void {
    switch (statement.do) {
      case "test":
        this.needs(statement.fields, next, known);
        this.test(statement.fields, elementsOf(table, statement.elements), statement.not, next);
        return;
      case "map":
        this.needs(statement.fields, next, known);
        this.map(table, statement.fields, elementsOf(table, statement.elements), next, exits);
        return;
      case "mark":
        this.emit({ op: Rule.OP_SET, change: statement.change });
        return;
      case "verdict":
        this.verdict(table, statement.verdict, next, exits);
    }
  }

  /** What must be so for the packet to have the fields at all; asked once a rule. */
  private needs(fields: readonly Field[], next: Label, known: Set<string>): void {
    for (const { family, protocol } of fields) {
      if (family !== undefined && !known.has(`family ${family}`)) this.scalar(Rule.FIELD_FAMILY, family, next);
      if (protocol !== undefined && !known.has(`protocol ${protocol}`))
        this.scalar(Rule.FIELD_PROTOCOL, protocol, next);
      known.add(`family ${family}`).add(`protocol ${protocol}`);
    }
  }

  private test(fields: readonly Field[], elements: readonly Element[], not: boolean, next: Label): void {
    const [first] = fields;
    if (fields.length === 1 && first !== undefined) {
      const ranges = merged(elements.flatMap((element) => this.ranges(element.ranges[0]!)));
      this.emit({ op: Rule.OP_TEST, field: first.id, not, target: next, ranges });
      return;
    }
    // Tuples one after the other; the first that fits decides.
    const fits: Label = { at: -1 };
    for (const element of elements) {
      const other: Label = { at: -1 };
      this.tuple(fields, element, other);
      this.emit({ op: Rule.OP_GOTO, target: not ? next : fits });
      this.code.push(other);
    }
    if (!not) this.emit({ op: Rule.OP_GOTO, target: next });
    this.code.push(fits);
  }

  private tuple(fields: readonly Field[], element: Element, other: Label): void {
    for (const [n, field] of fields.entries()) {
      const ranges = merged(this.ranges(element.ranges[n]!));
      this.emit({ op: Rule.OP_TEST, field: field.id, target: other, ranges });
    }
  }

  private map(table: Table, fields: readonly Field[], elements: readonly Element[], next: Label, exits: Exits): void {
    const done: Label = { at: -1 };
    for (const element of elements) {
      const other: Label = { at: -1 };
      this.tuple(fields, element, other);
      if (element.gives !== undefined && "verdict" in element.gives) this.verdict(table, element.gives, done, exits);
      else this.emit({ op: Rule.OP_SET, change: element.gives! });
      this.emit({ op: Rule.OP_GOTO, target: done });
      this.code.push(other);
    }
    this.emit({ op: Rule.OP_GOTO, target: next });
    this.code.push(done);
  }

  private verdict(table: Table, { verdict, chain: name }: Verdict, next: Label, exits: Exits): void {
    switch (verdict) {
      case "accept":
        this.emit({ op: Rule.OP_GOTO, target: exits.accept });
        return;
      case "return":
        this.emit({ op: Rule.OP_GOTO, target: exits.back });
        return;
      case "continue":
        this.emit({ op: Rule.OP_GOTO, target: next });
        return;
      case "jump":
      case "goto": {
        const chain = table.chains.find((each) => each.name === name)!;
        const back: Label = verdict === "goto" ? exits.back : { at: -1 };
        this.chain(table, chain, { back, accept: exits.accept });
        if (verdict === "goto") this.emit({ op: Rule.OP_GOTO, target: back });
        else this.code.push(back);
      }
    }
  }

  /** Ports by name become their numbers. */
  private ranges(range: Range): Array<readonly [bigint, bigint]> {
    if (!("name" in range)) return [[range.low, range.high]];
    const { name } = range;
    const fits = (port: string) => (name.endsWith("*") ? port.startsWith(name.slice(0, -1)) : port === name);
    return this.ports.flatMap((port, n) => (fits(port) ? [[BigInt(n), BigInt(n)] as const] : []));
  }

  private bytes(): Uint8Array {
    let length = 0;
    for (const item of this.code) {
      if (!("op" in item)) item.at = length;
      else length += Rule.SIZE + (item.ranges?.length ?? 0) * rangeSize(item.field);
    }
    const out = new DataView(new ArrayBuffer(length));
    let at = 0;
    for (const item of this.code) {
      if (!("op" in item)) continue;
      out.setUint8(at + Rule.OP, item.op);
      out.setUint8(at + Rule.FLAGS, item.not ? Rule.FLAG_NOT : 0);
      out.setUint8(at + Rule.FIELD, item.field ?? 0);
      if (item.change !== undefined) {
        out.setUint32(at + Rule.AND, item.change.and, true);
        out.setUint32(at + Rule.XOR, item.change.xor, true);
      } else {
        out.setUint32(at + Rule.TARGET, item.target?.at ?? 0, true);
        out.setUint32(at + Rule.COUNT, item.ranges?.length ?? 0, true);
      }
      at += Rule.SIZE;
      for (const [low, high] of item.ranges ?? []) {
        put(out, at, low, item.field);
        put(out, at + rangeSize(item.field) / 2, high, item.field);
        at += rangeSize(item.field);
      }
    }
    return new Uint8Array(out.buffer);
  }
}

function isWide(field: number | undefined): boolean {
  return field === Rule.FIELD_SOURCE_6 || field === Rule.FIELD_DESTINATION_6;
}

function rangeSize(field: number | undefined): number {
  return isWide(field) ? Rule.RANGE_SIZE_6 : Rule.RANGE_SIZE;
}

function put(out: DataView, at: number, value: bigint, field: number | undefined): void {
  if (!isWide(field)) {
    out.setUint32(at, Number(value), true);
    return;
  }
  out.setBigUint64(at, value >> 64n);
  out.setBigUint64(at + 8, value & 0xffffffffffffffffn);
}

function elementsOf(table: Table, elements: Elements): readonly Element[] {
  if (typeof elements !== "string") return elements;
  return table.sets.find(({ name }) => name === elements)?.elements ?? [];
}

/** The program; `ports` are the names of the ports by their numbers. Empty when there is nothing to do. */
export function compileMarks(ruleset: Ruleset, ports: readonly string[]): Uint8Array {
  return new Compiler(ports).compile(ruleset);
}
