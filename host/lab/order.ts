/** Whom weighted round robin picks, computed apart from the core: the lab's judge. */

export interface Weighted {
  readonly address: string;
  readonly weight: number;
}

function greatestDivisor(weights: readonly number[]): number {
  let divisor = 0;
  for (const weight of weights) {
    let [a, b] = [weight, divisor];
    while (b !== 0) [a, b] = [b, a % b];
    divisor = a;
  }
  return divisor || 1;
}

/**
 * The first `count` picks when the servers were added one after the other, as a rules file does. The newest server
 * stands first in the list, and the bar of a pass outlives a new server.
 */
export function weightedRoundRobin(added: readonly Weighted[], count: number): string[] {
  const list: Weighted[] = [];
  let bar = 0;
  let step = 1;
  let maximum = 0;
  for (const server of added) {
    list.unshift(server);
    const weights = list.map(({ weight }) => weight).filter((weight) => weight > 0);
    step = greatestDivisor(weights);
    maximum = Math.max(0, ...weights) - (step - 1);
    if (bar === 0 || bar > maximum) bar = maximum;
    else if (step > 1) bar = Math.floor(bar / step) * step + 1;
  }
  const picks: string[] = [];
  if (maximum <= 0) return picks;
  for (let at = -1; picks.length < count; ) {
    const next = list.findIndex(({ weight }, place) => place > at && weight >= bar);
    at = next;
    if (next >= 0) picks.push(list[next]!.address);
    else if ((bar -= step) <= 0) bar = maximum;
  }
  return picks;
}
