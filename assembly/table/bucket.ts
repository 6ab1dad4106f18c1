/** Token buckets: so many a second, at most a second's worth at once. Two words: what there is, and as of when. */
import * as Memory from "../layout/memory";
import { now } from "./memory";

const COST: u32 = Memory.TICKS_PER_SECOND;

/** Whether there is a token of `rate` (at least 1, at most 10 million) a second. */
export function hasToken(bucket: usize, rate: u32): bool {
  const most = rate * COST;
  const present = now();
  const earned = <u64>load<u32>(bucket) + <u64>(present - load<u32>(bucket, 4)) * <u64>rate;
  const held: u32 = earned > <u64>most ? most : <u32>earned;
  store<u32>(bucket, held);
  store<u32>(bucket, present, 4);
  return held >= COST;
}

/** Takes a token that is there. */
export function takeToken(bucket: usize): void {
  store<u32>(bucket, load<u32>(bucket) - COST);
}

/** Makes a bucket of `rate` full. */
export function fillBucket(bucket: usize, rate: u32): void {
  store<u32>(bucket, rate * COST);
  store<u32>(bucket, now(), 4);
}
