/** Virtual services: found by protocol, address and port, by firewall mark, by port 0, or as an FTP data connection. */
import * as Memory from "../layout/memory";
import * as Protocol from "../layout/protocol";
import * as Service from "../layout/service";
import { equal16, swap16 } from "../wire/bytes";
import { setWord, word } from "./memory";

/** FTP control and data ports, raw. */
export const FTP_PORT: u32 = 0x1500;
export const FTP_DATA_PORT: u32 = 0x1400;

function bucket(protocol: u32, mark: u32, address: usize, port: u32): usize {
  let h = protocol ^ mark;
  h = (h ^ load<u32>(address)) * 0x9e3779b1;
  h = (h ^ load<u32>(address, 4) ^ (h >> 15)) * 0x85ebca6b;
  h = (h ^ load<u32>(address, 8) ^ load<u32>(address, 12) ^ (h >> 13)) * 0xc2b2ae35;
  h ^= port * 0x27d4eb2f;
  h ^= h >> 16;
  return <usize>word(Memory.SERVICE_HASH_BASE) + ((<usize>(h & (word(Memory.SERVICE_HASH_CAPACITY) - 1))) << 2);
}

function bucketOf(service: usize): usize {
  const mark = load<u32>(service, Service.MARK);
  const port = mark !== 0 ? 0 : <u32>load<u16>(service, Service.PORT);
  return bucket(<u32>load<u8>(service, Service.PROTOCOL), mark, service + Service.ADDRESS, port);
}

/** The service of this identity, or 0. `address` points at 16 bytes (IPv4 in the first four, the rest zero). */
export function findExact(family: u32, protocol: u32, address: usize, port: u32): usize {
  let service = <usize>load<u32>(bucket(protocol, 0, address, port));
  while (service !== 0) {
    if (
      <u32>load<u16>(service, Service.PORT) === port &&
      <u32>load<u8>(service, Service.PROTOCOL) === protocol &&
      <u32>load<u8>(service, Service.FAMILY) === family &&
      load<u32>(service, Service.MARK) === 0 &&
      equal16(service + Service.ADDRESS, address)
    )
      return service;
    service = <usize>load<u32>(service, Service.HASH_NEXT);
  }
  return 0;
}

/** `zero` points at 16 zero bytes. */
export function findByMark(family: u32, mark: u32, zero: usize): usize {
  let service = <usize>load<u32>(bucket(0, mark, zero, 0));
  while (service !== 0) {
    if (load<u32>(service, Service.MARK) === mark && <u32>load<u8>(service, Service.FAMILY) === family) return service;
    service = <usize>load<u32>(service, Service.HASH_NEXT);
  }
  return 0;
}

/** The service that takes a packet, in the kernel's order: mark, exact, FTP data, port 0. */
export function findService(family: u32, protocol: u32, mark: u32, address: usize, port: u32, zero: usize): usize {
  if (mark !== 0 && word(Memory.MARK_SERVICE_COUNT) !== 0) {
    const marked = findByMark(family, mark, zero);
    if (marked !== 0) return marked;
  }
  let service = findExact(family, protocol, address, port);
  if (
    service === 0 &&
    protocol === Protocol.TCP &&
    word(Memory.FTP_SERVICE_COUNT) !== 0 &&
    (port === FTP_DATA_PORT || swap16(port) >= 1024)
  )
    service = findExact(family, protocol, address, FTP_PORT);
  if (service === 0 && word(Memory.NO_PORT_COUNT) !== 0) service = findExact(family, protocol, address, 0);
  return service;
}

function countKinds(service: usize, by: u32): void {
  setWord(Memory.SERVICE_COUNT, word(Memory.SERVICE_COUNT) + by);
  const enabled = load<u8>(service, Service.FAMILY) === 4 ? Memory.ENABLED_4 : Memory.ENABLED_6;
  setWord(enabled, word(enabled) + by);
  if (load<u32>(service, Service.MARK) !== 0) setWord(Memory.MARK_SERVICE_COUNT, word(Memory.MARK_SERVICE_COUNT) + by);
  else if (load<u16>(service, Service.PORT) === 0) setWord(Memory.NO_PORT_COUNT, word(Memory.NO_PORT_COUNT) + by);
  else if (<u32>load<u16>(service, Service.PORT) === FTP_PORT)
    setWord(Memory.FTP_SERVICE_COUNT, word(Memory.FTP_SERVICE_COUNT) + by);
}

export function allocateService(): usize {
  const service = <usize>word(Memory.FREE_SERVICE);
  if (service === 0) return 0;
  setWord(Memory.FREE_SERVICE, load<u32>(service, Service.NEXT));
  memory.fill(service, 0, Service.SIZE);
  return service;
}

/** Puts a filled record into the list and the hash. */
export function linkService(service: usize): void {
  const head = bucketOf(service);
  store<u32>(service, load<u32>(head), Service.HASH_NEXT);
  store<u32>(head, <u32>service);
  const tail = <usize>word(Memory.SERVICES_TAIL);
  store<u32>(service, <u32>tail, Service.PREVIOUS);
  if (tail !== 0) store<u32>(tail, <u32>service, Service.NEXT);
  else setWord(Memory.SERVICES_HEAD, <u32>service);
  setWord(Memory.SERVICES_TAIL, <u32>service);
  setWord(Memory.SEQUENCE, word(Memory.SEQUENCE) + 1);
  store<u32>(service, word(Memory.SEQUENCE), Service.SEQUENCE);
  store<u8>(service, 1, Service.STATE);
  countKinds(service, 1);
}

export function unlinkService(service: usize): void {
  let at = bucketOf(service);
  while (<usize>load<u32>(at) !== service) at = <usize>load<u32>(at) + Service.HASH_NEXT;
  store<u32>(at, load<u32>(service, Service.HASH_NEXT));
  const next = <usize>load<u32>(service, Service.NEXT);
  const previous = <usize>load<u32>(service, Service.PREVIOUS);
  if (previous !== 0) store<u32>(previous, <u32>next, Service.NEXT);
  else setWord(Memory.SERVICES_HEAD, <u32>next);
  if (next !== 0) store<u32>(next, <u32>previous, Service.PREVIOUS);
  else setWord(Memory.SERVICES_TAIL, <u32>previous);
  countKinds(service, -1);
  store<u8>(service, 0, Service.STATE);
}

export function freeService(service: usize): void {
  store<u32>(service, word(Memory.FREE_SERVICE), Service.NEXT);
  setWord(Memory.FREE_SERVICE, <u32>service);
}
