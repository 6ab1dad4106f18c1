/**
 * SYN cookies: the sequence number of a SYN+ACK that nothing is remembered of, and that its ACK brings back.
 *
 *   31                                4 3 2   0
 *   +----------------------------------+-+-----+
 *   | SipHash of all the director said |k| MSS |     k: which of two keys
 *   +----------------------------------+-+-----+
 *
 * What else was agreed on is in the low six bits of the timestamp, if the client has timestamps (layout/handshake), and
 * under the hash with addresses, ports and the client's number: nobody can change it. The key is made anew every
 * EPOCH seconds out of a secret that changes with it; the one before is good for as long.
 */
import * as Handshake from "./layout/handshake";
import * as Memory from "./layout/memory";
import * as Slot from "./layout/slot";
import { now, reached, setWord, word } from "./table/memory";
import { load32 } from "./wire/bytes";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";
import { siphash } from "./wire/siphash";
import * as Tcp from "./wire/tcp";

const EPOCH: u32 = 64 * Memory.TICKS_PER_SECOND;
const SECRET: usize = Memory.LAYOUT_BASE + Memory.COOKIE_SECRET;
const KEY: usize = Memory.LAYOUT_BASE + Memory.COOKIE_KEY;
const BEFORE: usize = Memory.LAYOUT_BASE + Memory.COOKIE_KEY_BEFORE;
const TEXT: usize = Memory.LAYOUT_BASE + Memory.COOKIE_TEXT;
const WORDS: u32 = 6;

const MSS_MASK: u32 = 7;
const KEY_BIT: u32 = 8;
const HASH_MASK: u32 = 0xfffffff0;
/** What a client's MSS is rounded down to; less than the first is counted as it. */
const SIZES: usize = memory.data<u16>([216, 536, 1220, 1360, 1440, 1452, 1460, 8960]);

/** Number of the largest size that is no larger. */
export function mssIndex(mss: u32): u32 {
  let index: u32 = MSS_MASK;
  while (index > 0 && <u32>load<u16>(SIZES + ((<usize>index) << 1)) > mss) index--;
  return index;
}

export function mssOf(cookie: u32): u32 {
  return load<u16>(SIZES + ((<usize>(cookie & MSS_MASK)) << 1));
}

/** Draws the next key; the first time, both of them. Called before a key is used. */
function turnKeys(): void {
  if (word(Memory.COOKIE_EPOCH) === 0) {
    drawKey();
  } else if (!reached(now(), word(Memory.COOKIE_DUE))) {
    return;
  } else if (reached(now(), word(Memory.COOKIE_DUE) + EPOCH)) {
    drawKey();
  }
  drawKey();
  setWord(Memory.COOKIE_DUE, now() + EPOCH);
}

function drawKey(): void {
  memory.copy(BEFORE, KEY, 16);
  const epoch = word(Memory.COOKIE_EPOCH) + 1;
  setWord(Memory.COOKIE_EPOCH, epoch === 0 ? 2 : epoch);
  for (let n: u64 = 0; n < 4; n++) {
    store<u64>(TEXT, n);
    store<u64>(TEXT + 8 + ((<usize>n) << 3), siphash(SECRET, TEXT, 1));
  }
  memory.copy(KEY, TEXT + 8, 16);
  memory.copy(SECRET, TEXT + 24, 16);
}

function hash(slot: usize, client: u32, agreed: u32, low: u32, key: usize): u32 {
  const ip = <usize>load<u32>(slot, Slot.IP);
  const tcp = <usize>load<u32>(slot, Slot.TRANSPORT);
  if (load<u8>(slot, Slot.FAMILY) === 4) {
    store<u64>(TEXT, load<u64>(ip, Ipv4.SOURCE));
    memory.fill(TEXT + 8, 0, 24);
  } else {
    memory.copy(TEXT, ip + Ipv6.SOURCE, 32);
  }
  store<u32>(TEXT, load<u32>(tcp), 32);
  store<u32>(TEXT, client, 36);
  store<u64>(TEXT, ((<u64>agreed) << 32) | <u64>low, 40);
  return <u32>siphash(key, TEXT, WORDS) & HASH_MASK;
}

/** The cookie that answers the SYN in `slot`. `agreed`: bits of layout/handshake. */
export function makeCookie(slot: usize, agreed: u32, mss: u32): u32 {
  turnKeys();
  const low = mssIndex(mss) | ((word(Memory.COOKIE_EPOCH) & 1) << 3);
  const client = load32(<usize>load<u32>(slot, Slot.TRANSPORT) + Tcp.SEQUENCE);
  return hash(slot, client, agreed, low, KEY) | low;
}

/** Whether `cookie` was the answer to a SYN with the number `client` from where the segment in `slot` comes from. */
export function isCookie(slot: usize, cookie: u32, client: u32, agreed: u32): bool {
  turnKeys();
  const low = cookie & (MSS_MASK | KEY_BIT);
  const key = (word(Memory.COOKIE_EPOCH) & 1) << 3 === (cookie & KEY_BIT) ? KEY : BEFORE;
  return hash(slot, client, agreed, low, key) === (cookie & HASH_MASK);
}

/** A timestamp of now that carries what was agreed on: it never goes back between two keys. */
export function timestampOf(agreed: u32): u32 {
  return (((now() * Memory.TICK_MS + word(Memory.SEED)) & ~Handshake.CARRIED) | (agreed & Handshake.CARRIED)) >>> 0;
}
