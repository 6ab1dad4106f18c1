/**
 * The free frame slots: a list through slot.NEXT, last given back first taken (its lines are still warm).
 *
 * A slot has one owner at any time: this list, a worker's queue, a neighbour's queue, or the assembly of fragments.
 */
import * as Memory from "../layout/memory";
import * as Slot from "../layout/slot";
import { setWord, word } from "./memory";

const PIECE_MINIMUM: u32 = 2048;

/** Puts every slot of the region in the free list. The one of the lowest address is taken first. */
export function initSlots(): void {
  const base = <usize>word(Memory.SLOTS_BASE);
  const capacity = word(Memory.SLOTS_CAPACITY);
  let next: u32 = 0;
  for (let i = capacity; i > 0; i--) {
    const slot = base + <usize>(i - 1) * Slot.SIZE;
    store<u32>(slot, next, Slot.NEXT);
    next = <u32>slot;
  }
  setWord(Memory.FREE_SLOT, next);
  setWord(Memory.FREE_SLOT_COUNT, capacity);
}

/** A slot as its last owner left it; 0 when there is none left. */
export function popSlot(): usize {
  const slot = <usize>word(Memory.FREE_SLOT);
  if (slot === 0) return 0;
  setWord(Memory.FREE_SLOT, load<u32>(slot, Slot.NEXT));
  setWord(Memory.FREE_SLOT_COUNT, word(Memory.FREE_SLOT_COUNT) - 1);
  return slot;
}

/** A slot ready to be written, reset; 0 when there is none left. */
export function takeSlot(): usize {
  const slot = popSlot();
  if (slot !== 0) resetSlot(slot);
  return slot;
}

/**
 * Ends the ownership of `slot`. Its NEXT is overwritten. A slot that pieces lie in, or that bodies of segments lie in,
 * is free when the last of these is.
 */
export function giveSlot(slot: usize): void {
  leaveBody(slot);
  giveHome(slot);
}

function giveHome(slot: usize): void {
  const home = <usize>load<u32>(slot, Slot.HOME);
  if (home !== 0) {
    const left = load<u32>(home, Slot.PIECES) - 1;
    store<u32>(home, left, Slot.PIECES);
    if (left !== 0) return;
    slot = home;
  }
  store<u32>(slot, word(Memory.FREE_SLOT), Slot.NEXT);
  setWord(Memory.FREE_SLOT, <u32>slot);
  setWord(Memory.FREE_SLOT_COUNT, word(Memory.FREE_SLOT_COUNT) + 1);
}

/** The frame's further bytes are `length` ones in another slot, which is kept until they are sent or gathered. */
export function setBody(slot: usize, home: usize, body: usize, length: u32): void {
  store<u32>(slot, <u32>body, Slot.BODY);
  store<u32>(slot, length, Slot.BODY_LENGTH);
  store<u32>(slot, <u32>home, Slot.BODY_HOME);
  store<u32>(home, load<u32>(home, Slot.PIECES) + 1, Slot.PIECES);
}

function leaveBody(slot: usize): void {
  const home = <usize>load<u32>(slot, Slot.BODY_HOME);
  if (home === 0) return;
  store<u32>(slot, 0, Slot.BODY_HOME);
  store<u32>(slot, 0, Slot.BODY_LENGTH);
  giveHome(home);
}

/** Copies what lies elsewhere of the packet to where it belongs, for those who read or cut it whole. */
export function gather(slot: usize): void {
  const length = <usize>load<u32>(slot, Slot.BODY_LENGTH);
  if (length === 0) return;
  memory.copy(<usize>load<u32>(slot, Slot.END) - length, <usize>load<u32>(slot, Slot.BODY), length);
  store<u32>(slot, load<u32>(slot, Slot.LENGTH) + <u32>length, Slot.LENGTH);
  leaveBody(slot);
}

/** Bytes that a piece takes whose frame has `length` bytes. Never so few that an ICMP error would not fit. */
export function pieceSize(length: u32): u32 {
  const size: u32 = (<u32>Slot.FRAME_AT + length + 63) & ~63;
  return size < PIECE_MINIMUM ? PIECE_MINIMUM : size;
}

/** How many slots `count` pieces of `size` bytes take. */
export function slotsFor(count: u32, size: u32): u32 {
  const each = <u32>Slot.SIZE / size;
  return each === 0 ? count : (count + each - 1) / each;
}

/**
 * A slot for a frame that is known to be small, `size` bytes of it: the place after `last` in the same slot if there is
 * one, else at the begin of a new slot (`last` 0: always); 0 when there is none left. In all but its length it is a
 * slot like others. A super-frame's segments so take two slots instead of forty.
 */
export function takePiece(last: usize, size: u32): usize {
  const home: usize = last === 0 ? 0 : <usize>load<u32>(last, Slot.HOME);
  if (home !== 0) {
    const piece = last + <usize>size;
    if (piece + <usize>size <= home + <usize>Slot.SIZE) {
      store<u32>(home, load<u32>(home, Slot.PIECES) + 1, Slot.PIECES);
      resetSlot(piece);
      store<u32>(piece, <u32>home, Slot.HOME);
      return piece;
    }
  }
  const slot = takeSlot();
  if (slot === 0) return 0;
  store<u32>(slot, <u32>slot, Slot.HOME);
  store<u32>(slot, 1, Slot.PIECES);
  return slot;
}

/** Gives back every slot of the chain that begins with `slot` (0 is none). */
export function giveChain(slot: usize): void {
  while (slot !== 0) {
    const next = <usize>load<u32>(slot, Slot.NEXT);
    giveSlot(slot);
    slot = next;
  }
}

/** Makes the descriptor that of an empty slot: FRAME at FRAME_AT, all else 0. The frame's bytes stay. */
export function resetSlot(slot: usize): void {
  const zero = i64x2.splat(0);
  v128.store(slot, zero);
  v128.store(slot, zero, 16);
  v128.store(slot, zero, 32);
  v128.store(slot, zero, 48);
  v128.store(slot, zero, 64);
  v128.store(slot, zero, 80);
  v128.store(slot, zero, 96);
  v128.store(slot, zero, 112);
  store<u32>(slot, <u32>(slot + Slot.FRAME_AT), Slot.FRAME);
}

/** How many slots are free. */
export function freeSlots(): u32 {
  return word(Memory.FREE_SLOT_COUNT);
}

/** Bytes to the left of the frame that may still be written. */
export function headroom(slot: usize): u32 {
  return load<u32>(slot, Slot.FRAME) - <u32>(slot + Slot.DESCRIPTOR_SIZE);
}

/**
 * Gives `to` what the stages learnt about the packet in `from`: ports, family, protocol, mark, connection, service,
 * next hop, MTU, link header's length. Addresses into the frame (FRAME, ETHERNET, IP, TRANSPORT, END) are the caller's to set.
 */
export function copyContext(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from, Slot.PORT_IN), Slot.PORT_IN);
  store<u64>(to, load<u64>(from, Slot.FAMILY), Slot.FAMILY);
  // The frame that came in is counted once, by its first piece.
  store<u16>(to, <u16>(<u32>load<u16>(from, Slot.FLAGS) | Slot.GENERATED), Slot.FLAGS);
  store<u32>(to, load<u32>(from, Slot.CONNECTION), Slot.CONNECTION);
  store<u64>(to, load<u64>(from, Slot.NEXT_HOP), Slot.NEXT_HOP);
  store<u64>(to, load<u64>(from, Slot.NEXT_HOP + 8), Slot.NEXT_HOP + 8);
  store<u16>(to, load<u16>(from, Slot.VERDICT), Slot.VERDICT);
  store<u32>(to, load<u32>(from, Slot.HASH), Slot.HASH);
  store<u32>(to, load<u32>(from, Slot.MTU), Slot.MTU);
  store<u32>(to, load<u32>(from, Slot.SERVICE), Slot.SERVICE);
  store<u32>(to, load<u32>(from, Slot.LINK_LENGTH), Slot.LINK_LENGTH);
}
