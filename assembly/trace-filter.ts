/** Filters of traces: what they look at in a frame, and the program that says whether it is wanted (layout/trace). */
import * as Protocol from "./layout/protocol";
import * as Trace from "./layout/trace";
import * as Arp from "./wire/arp";
import { copy16, copyMac, load16 } from "./wire/bytes";
import * as Ethernet from "./wire/ethernet";
import * as Ipv4 from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";

/** Extension headers that are passed over: hop-by-hop, routing, fragment, authentication, destination options. */
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const DESTINATION_OPTIONS: u32 = 60;
const HEADERS_MOST = 8;

export function clearKey(key: usize): void {
  memory.fill(key, 0, Trace.KEY_SIZE);
}

/** Reads what filters look at from a frame, which may be anything. `link`: it has an Ethernet header. */
export function readKey(key: usize, frame: usize, end: usize, link: bool): void {
  clearKey(key);
  store<u32>(key, <u32>(end - frame), Trace.KEY_LENGTH);
  store<u16>(key, 0xffff, Trace.KEY_VLAN);
  let at = frame;
  let type: u32 = 0;
  if (link) {
    if (frame + Ethernet.SIZE > end) return;
    store<u16>(key, Trace.KEY_LINK, Trace.KEY_FLAGS);
    copyMac(key + Trace.KEY_MACS, frame + Ethernet.SOURCE);
    copyMac(key + Trace.KEY_MACS + 6, frame);
    at += Ethernet.SIZE;
    type = load16(at - 2);
    for (let tags = 0; tags < 2 && (type === Ethernet.VLAN || type === Ethernet.SERVICE_VLAN); tags++) {
      if (at + Ethernet.TAG_SIZE > end) return;
      if (tags === 0) store<u16>(key, <u16>(load16(at) & 0xfff), Trace.KEY_VLAN);
      type = load16(at + 2);
      at += Ethernet.TAG_SIZE;
    }
  } else if (at < end) {
    const version = <u32>load<u8>(at) >> 4;
    type = version === 4 ? Ethernet.IPV4 : version === 6 ? Ethernet.IPV6 : 0;
  }
  store<u32>(key, type, Trace.KEY_TYPE);
  if (type === Ethernet.IPV4) readPacket4(key, at, end);
  else if (type === Ethernet.IPV6) readPacket6(key, at, end);
  else if (type === Ethernet.ARP && at + Arp.SIZE <= end) {
    store<u8>(key, 4, Trace.KEY_FAMILY);
    store<u32>(key, load<u32>(at, Arp.SENDER_IP), Trace.KEY_SOURCE);
    store<u32>(key, load<u32>(at, Arp.TARGET_IP), Trace.KEY_DESTINATION);
  }
}

function setFlag(key: usize, flag: u32): void {
  store<u16>(key, <u16>(<u32>load<u16>(key, Trace.KEY_FLAGS) | flag), Trace.KEY_FLAGS);
}

function readPorts(key: usize, protocol: u32, at: usize, end: usize): void {
  store<u8>(key, <u8>protocol, Trace.KEY_PROTOCOL);
  if (protocol !== Protocol.TCP && protocol !== Protocol.UDP && protocol !== Protocol.SCTP) return;
  if (at + 4 > end) return;
  setFlag(key, Trace.KEY_HAS_PORTS);
  store<u16>(key, <u16>load16(at), Trace.KEY_SOURCE_PORT);
  store<u16>(key, <u16>load16(at + 2), Trace.KEY_DESTINATION_PORT);
}

function readPacket4(key: usize, ip: usize, end: usize): void {
  if (ip + Ipv4.SIZE > end) return;
  store<u8>(key, 4, Trace.KEY_FAMILY);
  store<u32>(key, load<u32>(ip, Ipv4.SOURCE), Trace.KEY_SOURCE);
  store<u32>(key, load<u32>(ip, Ipv4.DESTINATION), Trace.KEY_DESTINATION);
  const fragment = Ipv4.fragment(ip);
  if ((fragment & (Ipv4.OFFSET_MASK | Ipv4.MF)) !== 0) setFlag(key, Trace.KEY_FRAGMENT);
  const protocol = <u32>load<u8>(ip, Ipv4.PROTOCOL);
  const later = (fragment & Ipv4.OFFSET_MASK) !== 0;
  readPorts(key, protocol, ip + <usize>Ipv4.headerLength(ip), later ? ip : end);
}

function readPacket6(key: usize, ip: usize, end: usize): void {
  if (ip + Ipv6.SIZE > end) return;
  store<u8>(key, 6, Trace.KEY_FAMILY);
  copy16(key + Trace.KEY_SOURCE, ip + Ipv6.SOURCE);
  copy16(key + Trace.KEY_DESTINATION, ip + Ipv6.DESTINATION);
  let next = <u32>load<u8>(ip, Ipv6.NEXT_HEADER);
  let at = ip + Ipv6.SIZE;
  let later = false;
  for (let headers = 0; headers < HEADERS_MOST; headers++) {
    if (next !== HOP_BY_HOP && next !== ROUTING && next !== FRAGMENT && next !== DESTINATION_OPTIONS) break;
    if (at + 8 > end) return;
    if (next === FRAGMENT) {
      setFlag(key, Trace.KEY_FRAGMENT);
      later = (load16(at + 2) & 0xfff8) !== 0;
    }
    const length: usize = next === FRAGMENT ? 8 : (<usize>load<u8>(at, 1) + 1) << 3;
    next = <u32>load<u8>(at);
    at += length;
    if (later) break;
  }
  readPorts(key, next, at, later ? ip : end);
}

function samePrefix(a: usize, b: usize, bits: u32): bool {
  const whole = bits >> 3;
  for (let i: u32 = 0; i < whole; i++) {
    if (load<u8>(a + <usize>i) !== load<u8>(b + <usize>i)) return false;
  }
  const rest = bits & 7;
  if (rest === 0) return true;
  const mask = (0xff << (8 - rest)) & 0xff;
  return ((<u32>load<u8>(a + <usize>whole) ^ <u32>load<u8>(b + <usize>whole)) & mask) === 0;
}

function sameAddress(a: usize, b: usize, family: u32): bool {
  return samePrefix(a, b, family === 4 ? 32 : 128);
}

function isWithin(value: u32, step: usize): bool {
  return value >= load<u32>(step, Trace.FIRST) && value <= load<u32>(step, Trace.LAST);
}

function isServer(step: usize, record: usize): bool {
  if (load<u32>(record, Trace.CONNECTION) === 0) return false;
  const family = <u32>load<u8>(step, Trace.FAMILY);
  if (<u32>load<u8>(record, Trace.SERVER_FAMILY) !== family) return false;
  if (!sameAddress(record + Trace.SERVER, step + Trace.ADDRESS, family)) return false;
  return load<u32>(step, Trace.LAST) === 0 || load16(record + Trace.SERVER_PORT) === load<u32>(step, Trace.FIRST);
}

function isService(step: usize, record: usize): bool {
  if ((load<u32>(record, Trace.FLAGS) & Trace.FLAG_SERVICE) === 0 || load<u32>(record, Trace.SERVICE_MARK) !== 0)
    return false;
  const family = <u32>load<u8>(step, Trace.FAMILY);
  const protocol = <u32>load<u8>(step, Trace.PREFIX);
  if (<u32>load<u8>(record, Trace.SERVICE_FAMILY) !== family) return false;
  if (protocol !== 0 && <u32>load<u8>(record, Trace.SERVICE_PROTOCOL) !== protocol) return false;
  if (load16(record + Trace.SERVICE_PORT) !== load<u32>(step, Trace.FIRST)) return false;
  return sameAddress(record + Trace.SERVICE_ADDRESS, step + Trace.ADDRESS, family);
}

function isDevice(step: usize, record: usize, direction: u32): bool {
  const port = load<u32>(step, Trace.FIRST) + 1;
  if ((direction & Trace.DIRECTION_SOURCE) !== 0 && <u32>load<u8>(record, Trace.PORT_IN) === port) return true;
  return (direction & Trace.DIRECTION_DESTINATION) !== 0 && <u32>load<u8>(record, Trace.PORT_OUT) === port;
}

function isTrue(step: usize, key: usize, record: usize): bool {
  const direction = <u32>load<u8>(step, Trace.DIRECTION);
  const first = load<u32>(step, Trace.FIRST);
  const flags = <u32>load<u16>(key, Trace.KEY_FLAGS);
  const source = (direction & Trace.DIRECTION_SOURCE) !== 0;
  const destination = (direction & Trace.DIRECTION_DESTINATION) !== 0;
  switch (<i32>load<u8>(step, Trace.OP)) {
    case Trace.OP_TYPE:
      return load<u32>(key, Trace.KEY_TYPE) === first;
    case Trace.OP_PROTOCOL: {
      const type = load<u32>(key, Trace.KEY_TYPE);
      return (type === Ethernet.IPV4 || type === Ethernet.IPV6) && <u32>load<u8>(key, Trace.KEY_PROTOCOL) === first;
    }
    case Trace.OP_ADDRESS: {
      if (load<u8>(key, Trace.KEY_FAMILY) !== load<u8>(step, Trace.FAMILY)) return false;
      const bits = <u32>load<u8>(step, Trace.PREFIX);
      if (source && samePrefix(key + Trace.KEY_SOURCE, step + Trace.ADDRESS, bits)) return true;
      return destination && samePrefix(key + Trace.KEY_DESTINATION, step + Trace.ADDRESS, bits);
    }
    case Trace.OP_PORT:
      if ((flags & Trace.KEY_HAS_PORTS) === 0) return false;
      if (source && isWithin(<u32>load<u16>(key, Trace.KEY_SOURCE_PORT), step)) return true;
      return destination && isWithin(<u32>load<u16>(key, Trace.KEY_DESTINATION_PORT), step);
    case Trace.OP_VLAN:
      return (flags & Trace.KEY_LINK) !== 0 && isWithin(<u32>load<u16>(key, Trace.KEY_VLAN), step);
    case Trace.OP_MAC:
      if ((flags & Trace.KEY_LINK) === 0) return false;
      if (source && Ethernet.sameMac(key + Trace.KEY_MACS, step + Trace.ADDRESS)) return true;
      return destination && Ethernet.sameMac(key + Trace.KEY_MACS + 6, step + Trace.ADDRESS);
    case Trace.OP_LENGTH:
      return isWithin(load<u32>(key, Trace.KEY_LENGTH), step);
    case Trace.OP_FRAGMENT:
      return (flags & Trace.KEY_FRAGMENT) !== 0;
    case Trace.OP_VERDICT:
      return <u32>load<u8>(record, Trace.VERDICT) === first;
    case Trace.OP_REASON:
      return <u32>load<u8>(record, Trace.REASON) === first;
    case Trace.OP_DEVICE:
      return isDevice(step, record, direction);
    case Trace.OP_SERVICE:
      return isService(step, record);
    case Trace.OP_SERVICE_MARK:
      return (
        (load<u32>(record, Trace.FLAGS) & Trace.FLAG_SERVICE) !== 0 && load<u32>(record, Trace.SERVICE_MARK) === first
      );
    case Trace.OP_SERVER:
      return isServer(step, record);
    case Trace.OP_MADE:
      return (load<u32>(record, Trace.FLAGS) & Trace.FLAG_MADE) !== 0;
    case Trace.OP_NEW:
      return (load<u32>(record, Trace.FLAGS) & Trace.FLAG_CREATED) !== 0;
    case Trace.OP_MARK:
      return load<u32>(record, Trace.PACKET_MARK) === first;
  }
  return false;
}

/** Whether a program of `length` bytes takes a frame with this key. It was checked: it ends. */
export function takes(program: usize, length: u32, key: usize, record: usize): bool {
  if (length === 0) return true;
  let at: u32 = 0;
  while (at * Trace.STEP_SIZE < length) {
    const step = program + <usize>(at * Trace.STEP_SIZE);
    const next = <u32>load<u16>(step + <usize>(isTrue(step, key, record) ? Trace.THEN : Trace.ELSE));
    if (next === Trace.ACCEPT) return true;
    if (next === Trace.REJECT) return false;
    at = next;
  }
  return false;
}

function leadsOn(target: u32, from: u32, count: u32): bool {
  return target === Trace.ACCEPT || target === Trace.REJECT || (target > from && target < count);
}

/** Whether `length` bytes are a program: known instructions, each leading to a later one. */
export function isSound(program: usize, length: u32): bool {
  if (length % Trace.STEP_SIZE !== 0 || length > <u32>Trace.PROGRAM_SIZE) return false;
  const count = length / Trace.STEP_SIZE;
  for (let at: u32 = 0; at < count; at++) {
    const step = program + <usize>(at * Trace.STEP_SIZE);
    const op = <i32>load<u8>(step, Trace.OP);
    if (op < Trace.OP_TYPE || op > Trace.OP_LATEST || load<u8>(step, Trace.PREFIX) > 132) return false;
    if (op === Trace.OP_ADDRESS && load<u8>(step, Trace.PREFIX) > 128) return false;
    if (!leadsOn(<u32>load<u16>(step, Trace.THEN), at, count)) return false;
    if (!leadsOn(<u32>load<u16>(step, Trace.ELSE), at, count)) return false;
  }
  return true;
}
