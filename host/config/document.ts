/** A YAML document whose every error names a line. */
import {
  type Document,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from "yaml";
import type { z } from "zod";
import { LvsError, oneLine } from "../errors.js";

type Path = ReadonlyArray<PropertyKey>;

export interface Mistake {
  readonly line: number;
  readonly text: string;
}

/** All mistakes of a file at once: one line each. */
export class ConfigError extends LvsError {
  readonly mistakes: readonly Mistake[];
  constructor(name: string, mistakes: readonly Mistake[]) {
    const lines = mistakes.toSorted((a, b) => a.line - b.line).map(({ line, text }) => `${name}:${line}: ${text}`);
    super("ERR_LVS_USAGE", lines.join("\n"));
    this.mistakes = mistakes;
  }
}

export class ConfigDocument<T> {
  readonly name: string;
  readonly value: T;
  private readonly root: unknown;
  private readonly lines: LineCounter;

  constructor(name: string, text: string, schema: z.ZodType<T>) {
    this.name = name;
    this.lines = new LineCounter();
    if (text.includes("\0")) throw new ConfigError(name, [{ line: 1, text: "this is no text file" }]);
    const document = parseDocument(text, { lineCounter: this.lines, prettyErrors: false, uniqueKeys: true });
    if (document.errors.length > 0) {
      throw new ConfigError(
        name,
        document.errors.map((error) => ({
          line: this.lines.linePos(error.pos[0]).line,
          text: yamlMistake(error.message),
        })),
      );
    }
    this.root = document.contents;
    const result = schema.safeParse(this.plain(document) ?? {});
    if (!result.success) {
      throw new ConfigError(
        name,
        result.error.issues.flatMap((issue) => this.mistakesOf(issue)),
      );
    }
    this.value = result.data;
  }

  /** Aliases are resolved last: one that names nothing, or too many of them, is noticed only here. */
  private plain(document: Document): unknown {
    try {
      return document.toJS();
    } catch (error) {
      const alias = this.lines.linePos(firstAlias(document)).line;
      const text = /alias count/i.test(oneLine(error))
        ? "too many aliases"
        : "an alias (*name) whose &name is not there";
      throw new ConfigError(this.name, [{ line: alias, text }]);
    }
  }

  /** The line of what a path leads to, or of the nearest thing above it. */
  line(path: Path): number {
    let node: unknown = this.root;
    let at = rangeOf(node) ?? 0;
    for (const [depth, part] of path.entries()) {
      if (isMap(node)) {
        const pair: Pair | undefined = node.items.find(
          ({ key }) => isScalar(key) && String(key.value) === String(part),
        );
        if (pair === undefined) break;
        // Of a list or mapping the line of its key is more telling than that of its first item.
        const isLast = depth === path.length - 1;
        at = rangeOf(isLast || !isScalar(pair.value) ? pair.key : pair.value) ?? at;
        node = pair.value;
      } else if (isSeq(node)) {
        node = node.items[Number(part)];
        at = rangeOf(node) ?? at;
      } else break;
    }
    return this.lines.linePos(at).line;
  }

  mistake(path: Path, text: string): Mistake {
    const place = pathText(path);
    return { line: this.line(path), text: place === "" ? text : `${place}: ${text}` };
  }

  private mistakesOf(issue: z.core.$ZodIssue): Mistake[] {
    if (issue.code === "unrecognized_keys") {
      return [{ line: this.line([...issue.path, issue.keys[0]!]), text: this.at(issue.path, issue.message) }];
    }
    // Of the ways that something may be written, the one that the writer was after fits longest.
    if (issue.code === "invalid_union" && issue.errors.length > 0) {
      const depth = (issues: readonly z.core.$ZodIssue[]) => Math.max(0, ...issues.map(({ path }) => path.length));
      const best = issue.errors.toSorted((a, b) => depth(b) - depth(a))[0] ?? [];
      if (depth(best) > 0)
        return best.flatMap((inner) => this.mistakesOf({ ...inner, path: [...issue.path, ...inner.path] }));
    }
    return [{ line: this.line(issue.path), text: this.at(issue.path, issue.message) }];
  }

  private at(path: Path, message: string): string {
    const place = pathText(path);
    return place === "" ? message : `${place}: ${message}`;
  }
}

/** Where the first alias without an anchor stands, or the first of all. */
function firstAlias(document: Document): number {
  let first: number | undefined;
  let lost: number | undefined;
  visit(document, {
    Alias: (_key, node) => {
      first ??= node.range?.[0];
      if (lost === undefined && node.resolve(document) === undefined) lost = node.range?.[0];
    },
  });
  return lost ?? first ?? 0;
}

function rangeOf(node: unknown): number | undefined {
  return isNode(node) ? (node as Node).range?.[0] : undefined;
}

/** services[0].servers[1].weight, counted from 1 as people do. */
function pathText(path: Path): string {
  return path
    .map((part, at) => (typeof part === "number" ? `[${part + 1}]` : at === 0 ? String(part) : `.${String(part)}`))
    .join("");
}

function yamlMistake(message: string): string {
  return message.replaceAll("\n", " ");
}
