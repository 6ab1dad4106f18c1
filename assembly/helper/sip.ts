/** SIP over UDP (RFC 3261): the Call-ID, by which the persistence engine tells calls apart (ip_vs_pe_sip). */
import * as Memory from "../layout/memory";
import * as Protocol from "../layout/protocol";
import * as Slot from "../layout/slot";
import * as Udp from "../wire/udp";

/** Longer ones are of no use to the kernel. */
const CALL_ID_MAX: u32 = 255;

/** The header's name in lower case, and its compact form. */
const NAME: usize = memory.data<u8>([0x63, 0x61, 0x6c, 0x6c, 0x2d, 0x69, 0x64]);
const NAME_LENGTH: usize = 7;
const COMPACT: u32 = 0x69;

const TAB: u32 = 0x09;
const NEW_LINE: u32 = 0x0a;
const RETURN: u32 = 0x0d;
const SPACE: u32 = 0x20;
const COLON: u32 = 0x3a;
const AT: u32 = 0x40;

/** Characters of a word (RFC 3261, 25.1), one bit for each of the first 128. */
const WORD: usize = memory.data<u32>([0, 0xd7ffefa6, 0xbffffffe, 0x6fffffff]);

/** What was found: address and length. */
const FOUND: usize = Memory.LAYOUT_BASE + Memory.HELPER;
const FOUND_LENGTH: usize = FOUND + 4;

/** What the last findCallId() found, inside the packet. */
export function callId(): usize {
  return <usize>load<u32>(FOUND);
}

export function callIdLength(): u32 {
  return load<u32>(FOUND_LENGTH);
}

function isBlank(c: u32): bool {
  return c === SPACE || c === TAB;
}

function isLineEnd(c: u32): bool {
  return c === RETURN || c === NEW_LINE;
}

/** Letters of Latin-1, as the kernel counts them. */
function isHighLetter(c: u32): bool {
  return c >= 0xc0 && c !== 0xd7 && c !== 0xf7;
}

function isLetter(c: u32): bool {
  const upper = c & 0xdf;
  return c < 128 ? upper >= 0x41 && upper <= 0x5a : isHighLetter(c);
}

function isWord(c: u32): bool {
  if (c >= 128) return isHighLetter(c);
  return ((load<u32>(WORD + ((<usize>c >> 5) << 2)) >> (c & 31)) & 1) !== 0;
}

/** Past one line end (CR, LF or both). */
function nextLine(at: usize, end: usize): usize {
  if (at + 1 < end && <u32>load<u8>(at) === RETURN && <u32>load<u8>(at, 1) === NEW_LINE) return at + 2;
  return at + 1;
}

/** Past the header's name if it stands at `at`, else 0. A letter behind the compact form makes it another name. */
function pastName(at: usize, end: usize): usize {
  if (at + NAME_LENGTH <= end) {
    let i: usize = 0;
    while (i < NAME_LENGTH && sameLetter(<u32>load<u8>(at + i), <u32>load<u8>(NAME + i))) i++;
    if (i === NAME_LENGTH) return at + NAME_LENGTH;
  }
  if (at + 2 <= end && sameLetter(<u32>load<u8>(at), COMPACT) && !isLetter(<u32>load<u8>(at, 1))) return at + 1;
  return 0;
}

function sameLetter(c: u32, lower: u32): bool {
  return c === lower || (isLetter(lower) && c + 0x20 === lower);
}

/** Past blanks, a folded line's too. 0 when the text ends there, or the line without being folded. */
function skipBlanks(from: usize, end: usize): usize {
  let at = from;
  while (at < end && isBlank(<u32>load<u8>(at))) at++;
  if (at >= end) return 0;
  if (!isLineEnd(<u32>load<u8>(at))) return at;
  at = nextLine(at, end);
  if (at >= end || !isBlank(<u32>load<u8>(at))) return 0;
  while (at < end && isBlank(<u32>load<u8>(at))) at++;
  return at < end ? at : 0;
}

function wordEnd(from: usize, end: usize): usize {
  let at = from;
  while (at < end && isWord(<u32>load<u8>(at))) at++;
  return at;
}

/** Where `word [ "@" word ]` ends; where it begins when it is none. */
function valueEnd(from: usize, end: usize): usize {
  const at = wordEnd(from, end);
  if (at === from || at >= end || <u32>load<u8>(at) !== AT) return at;
  const domain = wordEnd(at + 1, end);
  return domain === at + 1 ? from : domain;
}

/** The value of the next such header line after the line that `from` lies in; 0 when there is none. */
function nextValue(from: usize, end: usize): usize {
  let at = from;
  while (at < end) {
    if (!isLineEnd(<u32>load<u8>(at))) {
      at++;
      continue;
    }
    at = nextLine(at, end);
    if (at >= end) return 0;
    if (isBlank(<u32>load<u8>(at))) continue;
    const behind = pastName(at, end);
    if (behind === 0) {
      // A line may be empty: its end is the next one's beginning.
      continue;
    }
    const colon = skipBlanks(behind, end);
    if (colon === 0 || <u32>load<u8>(colon) !== COLON || colon + 1 >= end) return 0;
    return skipBlanks(colon + 1, end);
  }
  return 0;
}

/** Looks for the Call-ID of a packet; callId() and callIdLength() then tell it. False when there is none to use. */
export function findCallId(slot: usize): bool {
  if (load<u8>(slot, Slot.PROTOCOL) !== Protocol.UDP) return false;
  const text = <usize>load<u32>(slot, Slot.TRANSPORT) + <usize>Udp.SIZE;
  const end = <usize>load<u32>(slot, Slot.END);
  let at = text;
  while (at < end) {
    const value = nextValue(at, end);
    if (value === 0) return false;
    const stop = valueEnd(value, end);
    if (stop !== value) {
      const length = <u32>(stop - value);
      // The line must end, and right there.
      if (length > CALL_ID_MAX || stop >= end || !isLineEnd(<u32>load<u8>(stop))) return false;
      store<u32>(FOUND, <u32>value);
      store<u32>(FOUND_LENGTH, length);
      return true;
    }
    // A value that is none: the kernel goes on as far behind it as it lies in the text.
    at += value - text;
  }
  return false;
}
