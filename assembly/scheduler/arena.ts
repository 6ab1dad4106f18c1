/**
 * The arena: where schedulers keep tables. First fit over a free list in order of addresses; neighbours merge on
 * freeing. Only control calls and the growing of lblc and lblcr come here, never the common path of a packet.
 *
 *   0       4      16
 *   +-------+------+------+----------+------+-----
 *   | magic | used | size | table .. | size | next ...
 *   +-------+------+------+----------+------+-----
 */
import * as Memory from "../layout/memory";
import * as State from "../layout/scheduler-state";
import { setWord, word } from "../table/memory";

function setUp(arena: usize): void {
  const block = arena + State.BLOCK_HEAD;
  store<u32>(block, (word(Memory.ARENA_CAPACITY) & ~15) - State.BLOCK_HEAD, State.BLOCK_SIZE);
  store<u32>(block, 0, State.BLOCK_NEXT);
  setWord(Memory.ARENA_FREE, <u32>block);
  store<u32>(arena, 0, State.ARENA_USED);
  store<u32>(arena, State.ARENA_MAGIC, State.ARENA_STATE);
}

/** Zeroed memory of `bytes`, 16-aligned when the arena is; 0 when there is none. */
export function allocate(bytes: u32): usize {
  const arena = <usize>word(Memory.ARENA_BASE);
  if (word(Memory.ARENA_CAPACITY) < 64) return 0;
  if (load<u32>(arena, State.ARENA_STATE) !== State.ARENA_MAGIC) setUp(arena);
  const size = (bytes + State.BLOCK_HEAD + 15) & ~15;
  if (size < bytes) return 0;
  let before: usize = 0;
  let block = <usize>word(Memory.ARENA_FREE);
  while (block !== 0 && load<u32>(block, State.BLOCK_SIZE) < size) {
    before = block;
    block = <usize>load<u32>(block, State.BLOCK_NEXT);
  }
  if (block === 0) return 0;
  let next = load<u32>(block, State.BLOCK_NEXT);
  const rest = load<u32>(block, State.BLOCK_SIZE) - size;
  if (rest >= 2 * State.BLOCK_HEAD) {
    const remainder = block + <usize>size;
    store<u32>(remainder, rest, State.BLOCK_SIZE);
    store<u32>(remainder, next, State.BLOCK_NEXT);
    store<u32>(block, size, State.BLOCK_SIZE);
    next = <u32>remainder;
  }
  if (before === 0) setWord(Memory.ARENA_FREE, next);
  else store<u32>(before, next, State.BLOCK_NEXT);
  const taken = load<u32>(block, State.BLOCK_SIZE);
  store<u32>(arena, load<u32>(arena, State.ARENA_USED) + taken, State.ARENA_USED);
  memory.fill(block + State.BLOCK_HEAD, 0, <usize>(taken - State.BLOCK_HEAD));
  return block + State.BLOCK_HEAD;
}

/** Gives back what allocate() gave; 0 is nothing. */
export function release(at: usize): void {
  if (at === 0) return;
  const arena = <usize>word(Memory.ARENA_BASE);
  const block = at - State.BLOCK_HEAD;
  store<u32>(arena, load<u32>(arena, State.ARENA_USED) - load<u32>(block, State.BLOCK_SIZE), State.ARENA_USED);
  let before: usize = 0;
  let after = <usize>word(Memory.ARENA_FREE);
  while (after !== 0 && after < block) {
    before = after;
    after = <usize>load<u32>(after, State.BLOCK_NEXT);
  }
  link(block, after);
  if (before === 0) setWord(Memory.ARENA_FREE, <u32>block);
  else link(before, block);
}

/** Makes `after` follow `block` in the free list, as one block where they touch. */
function link(block: usize, after: usize): void {
  const size = load<u32>(block, State.BLOCK_SIZE);
  if (after !== 0 && block + <usize>size === after) {
    store<u32>(block, size + load<u32>(after, State.BLOCK_SIZE), State.BLOCK_SIZE);
    store<u32>(block, load<u32>(after, State.BLOCK_NEXT), State.BLOCK_NEXT);
  } else {
    store<u32>(block, <u32>after, State.BLOCK_NEXT);
  }
}

/** Bytes in use, heads of blocks included. */
export function used(): u32 {
  const arena = <usize>word(Memory.ARENA_BASE);
  return load<u32>(arena, State.ARENA_STATE) === State.ARENA_MAGIC ? load<u32>(arena, State.ARENA_USED) : 0;
}
