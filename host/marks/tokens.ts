/** Words of nftables' language, with the lines that they stand in. */

/** What is wrong with a rule file, and in which line. */
export class MarksError extends Error {
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.name = "MarksError";
    this.line = line;
  }
}

export interface Token {
  /** `word` covers names, numbers and addresses; `end` closes the text. */
  readonly kind: "word" | "text" | "sign" | "newline" | "end";
  readonly text: string;
  readonly line: number;
}

const SPACE = /[ \t\r]+|\\\r?\n|#[^\n]*/y;
const STRING = /"([^"\n]*)"/y;
const WORDS: readonly RegExp[] = [
  // An IPv6 address: two colons at least, for `a : b` pairs keys with values.
  /(?:[0-9a-fA-F]{0,4}:){2,7}(?:\d+\.\d+\.\d+\.\d+|[0-9a-fA-F]{0,4})/y,
  /\d+\.\d+\.\d+\.\d+/y,
  /0[xX][0-9a-fA-F]+/y,
  /\d\w*/y,
  /[A-Za-z_][A-Za-z0-9_./\\-]*\*?/y,
  /[$@][A-Za-z_][A-Za-z0-9_./\\-]*/y,
];
const SIGN = /==|!=|<=|>=|[{};,.:/<>&|^()=+*!-]/y;

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

export function tokens(text: string): Token[] {
  const found: Token[] = [];
  let line = 1;
  let at = 0;
  while (at < text.length) {
    if (text[at] === "\n") {
      found.push({ kind: "newline", text: "\n", line });
      line++;
      at++;
      continue;
    }
    const space = matchAt(SPACE, text, at);
    if (space !== null) {
      if (space[0].includes("\n")) line++;
      at += space[0].length;
      continue;
    }
    const quoted = matchAt(STRING, text, at);
    if (quoted !== null) {
      found.push({ kind: "text", text: quoted[1]!, line });
      at += quoted[0].length;
      continue;
    }
    const word = WORDS.map((pattern) => matchAt(pattern, text, at)).find((match) => match !== null);
    const match = word ?? matchAt(SIGN, text, at);
    if (match === null || match === undefined) throw new MarksError(line, `what is ${JSON.stringify(text[at])}?`);
    found.push({ kind: word === undefined ? "sign" : "word", text: match[0], line });
    at += match[0].length;
  }
  found.push({ kind: "end", text: "", line });
  return found;
}

/** Tokens as one line of text that says the same. */
export function joined(list: readonly Token[]): string {
  let text = "";
  let glue = true;
  for (const { kind, text: word } of list) {
    if (kind === "newline") continue;
    const tight = kind === "sign" && (word === "," || word === "/" || word === "-");
    text += `${text === "" || glue || tight ? "" : " "}${kind === "text" ? `"${word}"` : word}`;
    glue = kind === "sign" && (word === "/" || word === "-");
  }
  return text;
}
