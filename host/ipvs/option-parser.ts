/**
 * Reads command lines as ipvsadm's option library does: long names in full, short ones bundled, values in the same word
 * or the next one, words that are no options kept aside.
 */
export interface OptionSpec<Name extends string> {
  readonly name: Name;
  readonly long: string;
  readonly short?: string | undefined;
  /** "optional": a value is taken unless the next word begins with a dash. */
  readonly value: "none" | "required" | "optional";
}

export type ParsedOption<Name extends string> =
  | { readonly kind: "option"; readonly name: Name; readonly value: string | undefined; readonly word: string }
  | { readonly kind: "end" }
  | { readonly kind: "error"; readonly word: string; readonly message: string };

const END = { kind: "end" } as const;

export class OptionParser<Name extends string> {
  private readonly specs: readonly OptionSpec<Name>[];
  private readonly words: readonly string[];
  private readonly kept: string[] = [];
  private next = 0;
  /** What is left of a word of bundled short options. */
  private bundle = "";
  private onlyArguments = false;

  constructor(specs: readonly OptionSpec<Name>[], words: readonly string[]) {
    this.specs = specs;
    this.words = words;
  }

  option(): ParsedOption<Name> {
    while (this.bundle === "") {
      const word = this.words[this.next];
      if (word === undefined) return END;
      this.next++;
      if (this.onlyArguments || !word.startsWith("-") || word === "-") {
        this.kept.push(word);
      } else if (word === "--") {
        this.onlyArguments = true;
      } else if (word.startsWith("--")) {
        const equals = word.indexOf("=");
        const long = equals < 0 ? word.slice(2) : word.slice(2, equals);
        const spec = this.specs.find((candidate) => candidate.long === long);
        if (spec === undefined) return this.failure("unknown option");
        return this.withValue(spec, equals < 0 ? undefined : word.slice(equals + 1));
      } else {
        this.bundle = word.slice(1);
      }
    }
    const short = this.bundle[0]!;
    const rest = this.bundle.slice(1);
    this.bundle = "";
    const spec = this.specs.find((candidate) => candidate.short === short);
    if (spec === undefined) return this.failure("unknown option");
    if (spec.value === "none") {
      // "-n=1" gives -n a value, which it does not take.
      if (rest.startsWith("=")) return this.failure("option does not take an argument");
      this.bundle = rest;
      return this.found(spec, undefined);
    }
    if (rest !== "") return this.found(spec, rest.startsWith("=") ? rest.slice(1) : rest);
    return this.withValue(spec, undefined);
  }

  /** Words that were no options, in order; valid after the end. */
  get rest(): readonly string[] {
    return this.kept;
  }

  private withValue(spec: OptionSpec<Name>, attached: string | undefined): ParsedOption<Name> {
    if (attached !== undefined) {
      return spec.value === "none" ? this.failure("option does not take an argument") : this.found(spec, attached);
    }
    if (spec.value === "none") return this.found(spec, undefined);
    const following = this.words[this.next];
    if (following === undefined) {
      return spec.value === "optional" ? this.found(spec, undefined) : this.failure("missing argument");
    }
    if (spec.value === "optional" && following.startsWith("-")) return this.found(spec, undefined);
    this.next++;
    return this.found(spec, following);
  }

  private found(spec: OptionSpec<Name>, value: string | undefined): ParsedOption<Name> {
    return { kind: "option", name: spec.name, value, word: this.lastWord };
  }

  private failure(message: string): ParsedOption<Name> {
    return { kind: "error", word: this.lastWord, message };
  }

  /** Messages name the whole word that was read last, not the option within it. */
  private get lastWord(): string {
    return this.words[this.next - 1] ?? "";
  }
}
