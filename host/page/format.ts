/** Numbers as people read them: at most four digits, a unit, and no jump in width that tabular digits cannot take. */

function scaled(value: number, units: readonly string[], step: number): readonly [text: string, unit: string] {
  let rest = value;
  let at = 0;
  while (rest >= step * 0.9995 && at < units.length - 1) {
    rest /= step;
    at++;
  }
  const digits = at === 0 ? (rest < 10 && rest % 1 !== 0 ? 1 : 0) : rest < 9.995 ? 2 : rest < 99.95 ? 1 : 0;
  return [rest.toFixed(digits), units[at]!];
}

/** 950, 12.3k, 4.50M */
export function count(value: number): string {
  return scaled(value, ["", "k", "M", "G", "T"], 1000).join("");
}

/** Of bytes a second: 950 b/s, 12.3 Mb/s */
export function bits(bytesPerSecond: number): string {
  return scaled(bytesPerSecond * 8, ["b/s", "kb/s", "Mb/s", "Gb/s", "Tb/s"], 1000).join(" ");
}

/** 950 B, 12.3 KiB */
export function bytes(value: number): string {
  return scaled(value, ["B", "KiB", "MiB", "GiB", "TiB"], 1024).join(" ");
}

/** Every digit, in groups of three. */
export function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** 12s, 3m 12s, 5h 3m, 2d 5h */
export function duration(seconds: number): string {
  const total = Math.max(0, Math.floor(seconds));
  const [d, hours, m, sec] = [
    Math.floor(total / 86400),
    Math.floor(total / 3600) % 24,
    Math.floor(total / 60) % 60,
    total % 60,
  ];
  if (d > 0) return `${d}d ${hours}h`;
  if (hours > 0) return `${hours}h ${m}m`;
  return m > 0 ? `${m}m ${sec}s` : `${sec}s`;
}

export function clock(time: number): string {
  return new Date(time).toLocaleTimeString("en-GB");
}
