/** Texts that are nearly right: seeds that are cut, repeated, crossed with each other, and spiked with odd words. */
import type { Random } from "./random.js";

const ODD: readonly string[] = [
  "0",
  "-1",
  "65535",
  "65536",
  "4294967295",
  "4294967296",
  "9007199254740993",
  "1e400",
  "0x10",
  "NaN",
  "",
  " ",
  "\t",
  "\n",
  "\r\n",
  "\0",
  "\u00ff",
  "\u2028",
  "\ud800",
  "\u{1f600}",
  "'",
  '"',
  "`",
  "\\",
  "#",
  "%s%n",
  "$(id)",
  "../../../etc/passwd",
  "__proto__",
  "constructor",
  "toString",
  "null",
  "true",
  "[]",
  "{}",
  "[[[[[[[[",
  "}}}}",
  "&a",
  "*a",
  "<<: *a",
  "!!binary x",
  "::",
  "::ffff:1.2.3.4",
  "256.1.1.1",
  "0.0.0.0/0",
  "fe80::1%eth0",
  "a".repeat(300),
  "9".repeat(400),
];

const WORD = /[A-Za-z0-9_.:/-]+|\s+|[^\sA-Za-z0-9_.:/-]/gu;
const LONGEST = 20_000;

/** The words of some texts: what one of them may be exchanged for. */
export function vocabulary(texts: readonly string[]): readonly string[] {
  return [...new Set(texts.flatMap((text) => text.match(WORD) ?? []))];
}

export function mutate(random: Random, seeds: readonly string[], words: readonly string[]): string {
  let text = random.pick(seeds);
  for (let n = random.chance(0.2) ? 0 : 1 + random.below(3); n > 0; n--) text = bend(random, text, seeds, words);
  return text.slice(0, LONGEST);
}

function bend(random: Random, text: string, seeds: readonly string[], words: readonly string[]): string {
  const at = random.below(text.length + 1);
  const span = random.chance(0.8) ? random.below(12) : random.below(text.length + 1);
  const fresh = () => (random.chance(0.5) ? random.pick(words) : random.pick(ODD));
  switch (random.below(10)) {
    case 0:
      return text.slice(0, at) + text.slice(at + span);
    case 1:
      return text.slice(0, at) + text.slice(at, at + span).repeat(1 + random.below(4)) + text.slice(at);
    case 2:
      return text.slice(0, at) + fresh() + text.slice(at);
    case 3: {
      // Another half.
      const other = random.pick(seeds);
      return text.slice(0, at) + other.slice(random.below(other.length + 1));
    }
    case 4: {
      const lines = text.split("\n");
      const from = random.below(lines.length);
      const [line = ""] = lines.splice(from, 1);
      if (random.chance(0.7))
        lines.splice(random.below(lines.length + 1), 0, line, ...(random.chance(0.5) ? [line] : []));
      return lines.join("\n");
    }
    case 5:
      return (
        text.slice(0, at) + String.fromCharCode(random.below(random.chance(0.8) ? 128 : 65536)) + text.slice(at + 1)
      );
    case 6:
      return text.slice(0, at);
    default: {
      // A word for another.
      const parts = text.match(WORD) ?? [];
      if (parts.length === 0) return fresh();
      parts[random.below(parts.length)] = fresh();
      return parts.join("");
    }
  }
}

/**
 * The shortest text that still fails, as far as taking pieces away leads. `fails` MUST be true of `text`; `tries` bounds
 * the work.
 */
export async function shrink(text: string, fails: (text: string) => Promise<boolean>, tries = 400): Promise<string> {
  let left = tries;
  let best = text;
  for (let size = Math.ceil(best.length / 2); size >= 1 && left > 0; ) {
    let shorter = false;
    for (let at = 0; at < best.length && left > 0; at += size) {
      const candidate = best.slice(0, at) + best.slice(at + size);
      left--;
      if (await fails(candidate)) {
        best = candidate;
        shorter = true;
        at -= size;
      }
    }
    if (!shorter) {
      if (size === 1) break;
      size = Math.ceil(size / 2);
    }
  }
  return best;
}
