/** Text for a terminal: tables and numbers. */

export type Align = "left" | "right";

/** Columns as wide as their widest cell, two spaces between; nothing after the last. */
export function table(rows: readonly (readonly string[])[], align: readonly Align[] = []): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  }
  const line = (row: readonly string[]) =>
    row
      .map((cell, at) => (align[at] === "right" ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!)))
      .join("  ")
      .trimEnd();
  return rows.map((row) => `${line(row)}\n`).join("");
}

/** 950, 12.3k, 4.5M ... */
export function count(value: number): string {
  return scaled(value, 1000, ["", "k", "M", "G", "T"]);
}

/** "1 port", "2 ports". */
export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

export function bytes(value: number): string {
  return scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"], " ");
}

function scaled(value: number, step: number, units: readonly string[], gap = ""): string {
  let at = 0;
  let rest = value;
  while (rest >= step && at < units.length - 1) {
    rest /= step;
    at++;
  }
  const text = at === 0 ? `${Math.round(rest)}` : rest.toFixed(rest < 99.95 ? 1 : 0);
  return `${text}${gap}${units[at]}`;
}

/** 12s, 3m 12s, 5h 3m, 2d 5h */
export function duration(seconds: number): string {
  const total = Math.floor(seconds);
  const parts: readonly (readonly [number, string])[] = [
    [Math.floor(total / 86400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "m"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0s";
  return parts
    .slice(first, first + 2)
    .filter(([value], at) => at === 0 || value > 0)
    .map(([value, unit]) => `${value}${unit}`)
    .join(" ");
}
