/** What the soak's clients and servers agree on. */

export interface ClientSpec {
  readonly name: string;
  readonly kind: "pages" | "streams" | "datagrams";
  readonly host: string;
  readonly port: number;
  /** Own addresses, taken in turn. */
  readonly from: readonly string[];
  /** So many at a time. */
  readonly count: number;
  readonly pauseMs: number;
  readonly timeoutMs: number;
  /** Requests of one connection. */
  readonly keepAlive?: number;
  /** A file instead of a page. */
  readonly sha256?: string;
}

export type ClientReport =
  | { readonly name: string; readonly done: number; readonly bytes: number; readonly again: number }
  | { readonly name: string; readonly failure: string; readonly began: number; readonly ended: number };

/** A prime number of bytes that follow no power of two: a piece that is lost, doubled or moved does not fit. */
const PERIOD = 65_521;
const pattern = Buffer.alloc(PERIOD);
for (let n = 0, x = 1; n < PERIOD; n++) {
  x = (x * 48_271) % 2_147_483_647;
  pattern[n] = x & 255;
}
const endless = Buffer.concat([pattern, pattern, pattern]);

/** At most two periods of the endless pattern, from that place on. */
export function patternFrom(at: number, length: number): Buffer {
  const from = at % PERIOD;
  return endless.subarray(from, from + length);
}
