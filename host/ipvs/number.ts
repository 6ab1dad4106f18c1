/** Whole decimal numbers as strtol reads them: white space and a sign may lead, nothing may follow. */
export function parseNumber(text: string, least: number, most: number): number | undefined {
  if (!/^[ \t\n\v\f\r]*[+-]?\d+$/.test(text)) return undefined;
  const value = Number(text);
  return value >= least && value <= most ? value : undefined;
}

/** An IPv4 address in any of the forms of inet_aton (1.2.3.4, 1.2.3, 1.2, 1; octal and hexadecimal parts), dotted. */
export function parseLooseIpv4(text: string): string | undefined {
  // White space ends the address, and whatever follows it is not read.
  const parts = text.split(/[ \t\n\v\f\r]/, 1)[0]!.split(".");
  if (parts.length > 4) return undefined;
  let address = 0;
  for (const [at, part] of parts.entries()) {
    const value = parsePart(part);
    const isLast = at === parts.length - 1;
    const most = isLast ? 2 ** (32 - 8 * at) - 1 : 255;
    if (value === undefined || value > most) return undefined;
    address += isLast ? value : value * 2 ** (24 - 8 * at);
  }
  return formatIpv4(address);
}

function parsePart(part: string): number | undefined {
  if (/^0[xX][0-9a-fA-F]+$/.test(part)) return Number.parseInt(part, 16);
  if (/^0[0-7]*$/.test(part)) return Number.parseInt(part, 8);
  if (/^[1-9]\d*$/.test(part)) return Number(part);
  return undefined;
}

export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
}

/** Dotted text of a network mask; undefined is never given for what parseLooseIpv4 returned. */
export function ipv4ToNumber(dotted: string): number {
  return dotted.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** Length of a mask's prefix, or undefined when its ones are not contiguous. */
export function prefixOfMask(dotted: string): number | undefined {
  const mask = ipv4ToNumber(dotted) >>> 0;
  const prefix = Math.clz32(~mask >>> 0);
  return (mask << prefix) >>> 0 === 0 || prefix === 32 ? prefix : undefined;
}

export function maskOfPrefix(prefix: number): string {
  return formatIpv4(prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0);
}
