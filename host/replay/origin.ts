/** What a director's state began with, told in a comment of a capture's section, so that a replay begins alike. */

export interface Origin {
  /** Of the hashes. */
  readonly seed: number;
  /** Identification of the next packet that the director makes. */
  readonly nextId: number;
  /** Milliseconds since 1970 at tick 0 of the core's clock. */
  readonly epoch: number;
}

export function originComment({ seed, nextId, epoch }: Origin): string {
  return `wlvs seed=${seed} next-id=${nextId} epoch=${epoch}`;
}

export function originOf(comments: readonly string[]): Origin | undefined {
  for (const comment of comments) {
    const found = /^wlvs seed=(\d{1,10}) next-id=(\d{1,10}) epoch=(\d{1,15}(?:\.\d+)?)$/.exec(comment);
    if (found === null) continue;
    const [seed, nextId, epoch] = found.slice(1).map(Number) as [number, number, number];
    return { seed, nextId, epoch };
  }
  return undefined;
}
