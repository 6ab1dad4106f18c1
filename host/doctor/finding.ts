/** What was found out about a machine or a director, and what to do about it. */
export interface Finding {
  readonly subject: string;
  /**
   * ok; note: good to know; limited: something does without it; wrong: a running director loses frames by it; missing:
   * no director without it.
   */
  readonly level: "ok" | "note" | "limited" | "wrong" | "missing";
  readonly found: string;
  /** Why that matters. */
  readonly why?: string | undefined;
  /** What to type, or to change. */
  readonly remedy?: string | undefined;
}
