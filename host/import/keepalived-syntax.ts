/** keepalived's configuration language: words in lines, blocks in braces. Knows nothing of what the words mean. */

export interface Node {
  readonly words: readonly string[];
  readonly line: number;
  /** The last line of its block, or its own. */
  readonly end: number;
  /** undefined: no block follows. */
  readonly children?: readonly Node[] | undefined;
}

export interface Parsed {
  readonly nodes: readonly Node[];
  /** What could not be understood, by line. */
  readonly problems: ReadonlyArray<{ readonly line: number; readonly text: string }>;
}

interface Token {
  readonly text: string;
  readonly line: number;
  readonly kind: "word" | "open" | "close" | "end";
}

/** Blocks that stand in braces are read wherever the brace is: behind the words, or on a line of its own. */
export function parseKeepalived(text: string): Parsed {
  const problems: Array<{ line: number; text: string }> = [];
  const tokens = tokenise(text, problems);
  const lastLine = tokens.at(-1)?.line ?? 0;
  let at = 0;
  const block = (isInner: boolean, opened: number): Node[] => {
    const nodes: Node[] = [];
    let words: Token[] = [];
    const flush = (children?: Node[]) => {
      if (words.length > 0) {
        const end = children === undefined ? words.at(-1)!.line : (tokens[at]?.line ?? lastLine);
        nodes.push({ words: words.map((word) => word.text), line: words[0]!.line, end, children });
      }
      words = [];
    };
    for (; at < tokens.length; at++) {
      const token = tokens[at]!;
      if (token.kind === "word") words.push(token);
      else if (token.kind === "end") {
        // A brace on the next line belongs to these words.
        let next = at + 1;
        while (tokens[next]?.kind === "end") next++;
        if (tokens[next]?.kind !== "open") flush();
      } else if (token.kind === "open") {
        at++;
        const children = block(true, token.line);
        if (words.length === 0) problems.push({ line: token.line, text: "a block without a name" });
        flush(children);
      } else if (isInner) {
        flush();
        return nodes;
      } else problems.push({ line: token.line, text: "a brace closes that was never opened" });
    }
    flush();
    if (isInner) problems.push({ line: opened, text: "a brace opens that is never closed" });
    return nodes;
  };
  return { nodes: block(false, 0), problems };
}

function tokenise(text: string, problems: Array<{ line: number; text: string }>): Token[] {
  const tokens: Token[] = [];
  const variables = new Map<string, string>();
  for (const [index, raw] of text.split("\n").entries()) {
    const line = index + 1;
    const source = raw.replace(/\$\{?([A-Za-z_]\w*)\}?/g, (whole, name: string) => variables.get(name) ?? whole);
    const definition = /^\s*\$([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/.exec(raw);
    if (definition !== null) {
      variables.set(definition[1]!, definition[2]!.replace(/^"(.*)"$/, "$1"));
      continue;
    }
    if (/^\s*@/.test(source)) {
      problems.push({ line, text: `${source.trim().split(/\s/)[0]}: lines that hold on some machines only` });
      continue;
    }
    lineTokens(source, line, tokens);
    tokens.push({ text: "", line, kind: "end" });
  }
  return tokens;
}

/** "!" and "#" begin comments, quotes keep words together; braces may touch words. */
function lineTokens(source: string, line: number, tokens: Token[]): void {
  const pattern = /\s+|([!#].*$)|"([^"]*)"?|([{}])|((?:[^\s"{}!#]|(?<=[^\s"{}])[!#])+)/gy;
  for (const [, comment, quoted, brace, word] of source.matchAll(pattern)) {
    if (comment !== undefined) return;
    if (quoted !== undefined) tokens.push({ text: quoted, line, kind: "word" });
    else if (brace !== undefined) tokens.push({ text: brace, line, kind: brace === "{" ? "open" : "close" });
    else if (word !== undefined) tokens.push({ text: word, line, kind: "word" });
  }
}
