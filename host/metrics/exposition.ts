/** Prometheus' text format (version 0.0.4), gathered family by family and given out in pieces. */

export type MetricType = "counter" | "gauge" | "histogram";
/** Name to type and help text; the order is that of the output. */
export type Families = Readonly<Record<string, readonly [type: MetricType, help: string]>>;

/** A piece is flattened and sent at once. */
const PIECE = 32 * 1024;

function escaped(value: string): string {
  return /[\\"\n]/.test(value) ? value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n") : value;
}

/** {a="1",b="2"}; nothing for no labels. */
export function labels(of: Readonly<Record<string, string | number>>): string {
  const text = Object.entries(of)
    .map(([name, value]) => `${name}="${escaped(`${value}`)}"`)
    .join(",");
  return text === "" ? "" : `{${text}}`;
}

export class Exposition<F extends Families> {
  private readonly families: F;
  private readonly pieces = new Map<string, { done: string[]; open: string }>();

  constructor(families: F) {
    this.families = families;
  }

  /** One sample; `suffix` is what a histogram's series have behind the family's name. */
  add(family: keyof F & string, labelText: string, value: number, suffix = ""): void {
    let piece = this.pieces.get(family);
    if (piece === undefined) this.pieces.set(family, (piece = { done: [], open: "" }));
    piece.open += `${family}${suffix}${labelText} ${value}\n`;
    if (piece.open.length < PIECE) return;
    piece.done.push(piece.open);
    piece.open = "";
  }

  /**
   * A histogram: `counts` of values below or at `bounds`, one more for all above; not added up.
   */
  histogram(
    family: keyof F & string,
    of: Readonly<Record<string, string | number>>,
    bounds: readonly number[],
    counts: readonly number[],
    sum: number,
  ): void {
    let total = 0;
    for (const [at, count] of counts.entries()) {
      total += count;
      this.add(family, labels({ ...of, le: bounds[at] ?? "+Inf" }), total, "_bucket");
    }
    this.add(family, labels(of), sum, "_sum");
    this.add(family, labels(of), total, "_count");
  }

  /** Families without a sample are left out. */
  *text(): Generator<string> {
    for (const [name, [type, help]] of Object.entries(this.families)) {
      const piece = this.pieces.get(name);
      if (piece === undefined) continue;
      yield `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
      yield* piece.done;
      if (piece.open !== "") yield piece.open;
    }
  }
}
