/** Control calls: arguments in the request record, results as record addresses, 0, or -errno. Callers hold the lock. */

import { announceRecord } from "./announce";
import { beginSweep } from "./failure";
import * as Address from "./layout/address";
import * as Errno from "./layout/errno";
import * as Forwarding from "./layout/forwarding";
import * as Memory from "./layout/memory";
import * as Neighbour from "./layout/neighbour";
import * as Port from "./layout/port";
import * as Request from "./layout/request";
import * as Route from "./layout/route";
import * as Server from "./layout/server";
import * as Service from "./layout/service";
import * as Setting from "./layout/setting";
import * as Stats from "./layout/stats";
import { ensureNeighbour, flushNeighbours, forgetNeighbour } from "./neighbour";
import { serverAdded, serverEdited, serverRemoved, start, stop } from "./scheduler/index";
import { forgetAbilities } from "./syn-proxy";
import { dropIfUnused, ensureAddress, findAddress } from "./table/address";
import { fillBucket } from "./table/bucket";
import { offerLocal, withdrawLocal } from "./table/local";
import { now, setSetting, setting, setWord, word } from "./table/memory";
import { acquit } from "./table/outcome";
import { findPort } from "./table/port";
import { insertRoute, mask4, nextRoute, removeRoute } from "./table/route";
import {
  allocateServer,
  appendServer,
  bindToService,
  detachServer,
  disown,
  findServer,
  reclaim,
  retire,
} from "./table/server";
import { allocateService, findByMark, findExact, freeService, linkService, unlinkService } from "./table/service";
import { startRates, totals, zeroStats } from "./table/stats";
import { copy16, copyMac, isZero16, swap16 } from "./wire/bytes";
import { isMulticast } from "./wire/ipv4";
import * as Ipv6 from "./wire/ipv6";

const ZERO: usize = Memory.LAYOUT_BASE + Memory.ZERO;
/** What a token bucket can count (table/bucket). */
const RATE_MOST: u32 = 10_000_000;

function request(): usize {
  return <usize>word(Memory.REQUEST_BASE);
}

function fail(errno: i32): u32 {
  return <u32>-errno;
}

function changed(): void {
  setWord(Memory.GENERATION, word(Memory.GENERATION) + 1);
}

/** The service that the request names, or 0. */
function requested(): usize {
  const at = request();
  const mark = load<u32>(at, Request.MARK);
  const family = load<u32>(at, Request.FAMILY);
  if (mark !== 0) return findByMark(family, mark, ZERO);
  return findExact(family, load<u32>(at, Request.PROTOCOL), at + Request.ADDRESS, swap16(load<u32>(at, Request.PORT)));
}

export function serviceFind(): u32 {
  const service = requested();
  return service === 0 ? fail(Errno.ESRCH) : <u32>service;
}

function fillService(service: usize): void {
  const at = request();
  store<u32>(service, load<u32>(at, Request.FLAGS) & ~Service.FLAG_HASHED, Service.FLAGS);
  store<u32>(service, load<u32>(at, Request.TIMEOUT) * Memory.TICKS_PER_SECOND, Service.TIMEOUT);
  store<u32>(service, load<u32>(at, Request.NETMASK), Service.NETMASK);
  store<u8>(service, <u8>load<u32>(at, Request.PERSISTENCE_ENGINE), Service.PERSISTENCE_ENGINE);
  if (load<u32>(at, Request.PERSISTENCE_ENGINE) !== 0) setWord(Memory.ENGINES, 1);
}

/** The address of a service becomes one of ours, on the port whose subnet has it. */
function takeVirtual(service: usize): void {
  if (load<u32>(service, Service.MARK) !== 0) return;
  const family = <u32>load<u8>(service, Service.FAMILY);
  const record = ensureAddress(family, service + Service.ADDRESS);
  if (record === 0) return;
  const fresh = load<u8>(record, Address.FLAGS) === 0;
  store<u8>(record, load<u8>(record, Address.FLAGS) | Address.FLAG_VIRTUAL, Address.FLAGS);
  store<u32>(record, load<u32>(record, Address.USERS) + 1, Address.USERS);
  if (!fresh) return;
  const port = onLink(family, service + Service.ADDRESS);
  store<u32>(record, <u32>port, Address.PORT);
  if (port !== 0) announceRecord(record);
}

/** The port whose subnet holds an address, or 0: only there it is announced. */
function onLink(family: u32, address: usize): usize {
  const base = <usize>word(Memory.ROUTES_BASE);
  const count = word(Memory.ROUTE_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const route = base + <usize>i * Route.SIZE;
    if (<u32>load<u8>(route, Route.FAMILY) !== family || !isZero16(route + Route.GATEWAY)) continue;
    if (load<u8>(route, Route.KIND) !== Route.KIND_UNICAST) continue;
    if (family === 4) {
      if (((load<u32>(address) ^ load<u32>(route, Route.DESTINATION)) & load<u32>(route, Route.DESTINATION + 4)) === 0)
        return <usize>load<u32>(route, Route.PORT);
    } else if (nextRoute(route, 6, <u32>load<u8>(route, Route.PREFIX), route + Route.DESTINATION) === route) {
      const prefix = <u32>load<u8>(route, Route.PREFIX);
      if (samePrefix(route + Route.DESTINATION, address, prefix)) return <usize>load<u32>(route, Route.PORT);
    }
  }
  return 0;
}

function samePrefix(a: usize, b: usize, prefix: u32): bool {
  for (let bit: u32 = 0; bit < prefix; bit += 8) {
    const left = prefix - bit;
    const mask: u32 = left >= 8 ? 0xff : (0xff00 >> left) & 0xff;
    const i = <usize>(bit >> 3);
    if (((<u32>load<u8>(a + i) ^ <u32>load<u8>(b + i)) & mask) !== 0) return false;
  }
  return true;
}

function leaveVirtual(service: usize): void {
  if (load<u32>(service, Service.MARK) !== 0) return;
  const record = findAddress(<u32>load<u8>(service, Service.FAMILY), service + Service.ADDRESS);
  if (record === 0 || load<u32>(record, Address.USERS) === 0) return;
  const users = load<u32>(record, Address.USERS) - 1;
  store<u32>(record, users, Address.USERS);
  if (users !== 0) return;
  store<u8>(record, load<u8>(record, Address.FLAGS) & ~Address.FLAG_VIRTUAL, Address.FLAGS);
  dropIfUnused(record);
}

export function serviceAdd(): u32 {
  if (requested() !== 0) return fail(Errno.EEXIST);
  const at = request();
  const service = allocateService();
  if (service === 0) return fail(Errno.ENOSPC);
  store<u8>(service, <u8>load<u32>(at, Request.FAMILY), Service.FAMILY);
  const mark = load<u32>(at, Request.MARK);
  store<u32>(service, mark, Service.MARK);
  if (mark === 0) {
    store<u8>(service, <u8>load<u32>(at, Request.PROTOCOL), Service.PROTOCOL);
    store<u16>(service, <u16>swap16(load<u32>(at, Request.PORT)), Service.PORT);
    copy16(service + Service.ADDRESS, at + Request.ADDRESS);
  }
  store<u8>(service, <u8>load<u32>(at, Request.SCHEDULER), Service.SCHEDULER);
  fillService(service);
  const started = start(service);
  if (started !== 0) {
    freeService(service);
    return <u32>started;
  }
  linkService(service);
  startRates(service + Service.STATS, service + Service.RATES);
  takeVirtual(service);
  changed();
  return <u32>service;
}

export function serviceEdit(): u32 {
  const service = requested();
  if (service === 0) return fail(Errno.ESRCH);
  const scheduler = <u8>load<u32>(request(), Request.SCHEDULER);
  const old = load<u8>(service, Service.SCHEDULER);
  if (scheduler !== old) {
    stop(service);
    fillService(service);
    store<u8>(service, scheduler, Service.SCHEDULER);
    const started = start(service);
    if (started !== 0) {
      store<u8>(service, old, Service.SCHEDULER);
      start(service);
      return <u32>started;
    }
  } else {
    fillService(service);
  }
  changed();
  return <u32>service;
}

/** SYN proxy and limits of the requested service (0: none), with rates a second of at most RATE_MOST. */
export function serviceGuard(mode: u32, connections: u32, rate: u32, ofSource: u32, sourceRate: u32): u32 {
  const service = requested();
  if (service === 0) return fail(Errno.ESRCH);
  if (mode > <u32>Service.PROXY_AUTO || rate > RATE_MOST || sourceRate > RATE_MOST) return fail(Errno.EINVAL);
  store<u8>(service, <u8>mode, Service.PROXY_MODE);
  store<u32>(service, connections, Service.LIMIT_CONNECTIONS);
  if (rate !== load<u32>(service, Service.LIMIT_RATE)) fillBucket(service + Service.RATE_BUCKET, rate);
  store<u32>(service, rate, Service.LIMIT_RATE);
  store<u32>(service, ofSource, Service.SOURCE_CONNECTIONS);
  store<u32>(service, sourceRate, Service.SOURCE_RATE);
  return 0;
}

/** Connections of servers that are gone or failed will be looked for, where that is asked for. */
function sweep(failure: i32): void {
  if (failure >= Server.FAILURE_RESET || setting(Setting.EXPIRE_NODEST_CONN) !== 0) beginSweep();
}

function dropServer(service: usize, server: usize): void {
  const failure = <u8>load<u32>(request(), Request.FAILURE);
  detachServer(service, server);
  retire(server);
  store<u8>(server, failure, Server.FAILURE);
  serverRemoved(service, server);
  sweep(failure);
}

function dropService(service: usize): void {
  stop(service);
  for (;;) {
    const server = <usize>load<u32>(service, Service.SERVERS_HEAD);
    if (server === 0) break;
    detachServer(service, server);
    retire(server);
  }
  disown(service);
  sweep(Server.FAILURE_NONE);
  leaveVirtual(service);
  unlinkService(service);
  freeService(service);
}

export function serviceRemove(): u32 {
  const service = requested();
  if (service === 0) return fail(Errno.ESRCH);
  dropService(service);
  changed();
  return 0;
}

export function flush(): u32 {
  for (;;) {
    const service = <usize>word(Memory.SERVICES_HEAD);
    if (service === 0) break;
    dropService(service);
  }
  changed();
  return 0;
}

function requestedServer(service: usize): usize {
  const at = request();
  return findServer(
    service,
    load<u32>(at, Request.SERVER_FAMILY),
    at + Request.SERVER_ADDRESS,
    swap16(load<u32>(at, Request.SERVER_PORT)),
  );
}

function fillServer(server: usize): void {
  const at = request();
  const weight = load<i32>(at, Request.WEIGHT);
  if (weight === 0 && (load<i32>(server, Server.WEIGHT) !== 0 || load<u8>(server, Server.STATE) !== Server.STATE_LIVE))
    store<u32>(server, now(), Server.QUIESCED_SINCE);
  store<i32>(server, weight, Server.WEIGHT);
  store<u32>(server, load<u32>(at, Request.FORWARDING), Server.FORWARDING);
  store<u8>(server, Server.ROUTE_NONE, Server.ROUTE_MODE);
  store<u8>(server, <u8>load<u32>(at, Request.TUNNEL_TYPE), Server.TUNNEL_TYPE);
  store<u16>(server, <u16>swap16(load<u32>(at, Request.TUNNEL_PORT)), Server.TUNNEL_PORT);
  store<u8>(server, <u8>load<u32>(at, Request.TUNNEL_FLAGS), Server.TUNNEL_FLAGS);
  const upper = load<u32>(at, Request.UPPER);
  let flags = load<u32>(server, Server.FLAGS) | Server.FLAG_AVAILABLE;
  if (upper === 0 || upper > load<u32>(server, Server.UPPER)) flags &= ~Server.FLAG_OVERLOAD;
  store<u32>(server, flags, Server.FLAGS);
  store<u32>(server, upper, Server.UPPER);
  store<u32>(server, load<u32>(at, Request.LOWER), Server.LOWER);
  // Whoever says what a server is to be knows what was held against it.
  acquit(server);
  const failure = <u8>load<u32>(at, Request.FAILURE);
  store<u8>(server, failure, Server.FAILURE);
  if (<i32>failure >= Server.FAILURE_RESET) beginSweep();
}

/** What is known of a service's servers together: their weights, and those that have no part in the SYN proxy. */
function sumWeights(service: usize): void {
  let total: u32 = 0;
  let unfit: u32 = 0;
  let server = <usize>load<u32>(service, Service.SERVERS_HEAD);
  while (server !== 0) {
    total += load<u32>(server, Server.WEIGHT);
    const method = <i32>load<u32>(server, Server.FORWARDING);
    if (method !== Forwarding.NAT && method !== Forwarding.FULL_NAT) unfit++;
    server = <usize>load<u32>(server, Server.NEXT);
  }
  store<u32>(service, total, Service.WEIGHT_SUM);
  store<u16>(service, unfit > 0xffff ? 0xffff : <u16>unfit, Service.PROXY_UNFIT);
  forgetAbilities(service);
}

/** What a server's values must be, in the order in which the kernel looks. */
function badServer(): i32 {
  const at = request();
  if (load<i32>(at, Request.WEIGHT) < 0) return Errno.ERANGE;
  if (load<u32>(at, Request.LOWER) > load<u32>(at, Request.UPPER)) return Errno.ERANGE;
  if (load<u32>(at, Request.FORWARDING) > <u32>Forwarding.FULL_NAT) return Errno.EINVAL;
  if (load<u32>(at, Request.TUNNEL_TYPE) > <u32>Forwarding.TUNNEL_GRE) return Errno.EINVAL;
  if (
    load<u32>(at, Request.FORWARDING) === Forwarding.TUNNEL &&
    load<u32>(at, Request.TUNNEL_TYPE) === Forwarding.TUNNEL_GUE &&
    load<u32>(at, Request.TUNNEL_PORT) === 0
  )
    return Errno.EINVAL;
  return 0;
}

/** Whether a server may have this address: unicast, or one of ours. */
function isUnicast(family: u32, address: usize): bool {
  if (family === 4) {
    const addressBe = load<u32>(address);
    if (addressBe === 0 || addressBe === 0xffffffff || isMulticast(addressBe)) return false;
    const record = findAddress(4, address);
    return record === 0 || (load<u8>(record, Address.FLAGS) & Address.FLAG_BROADCAST) === 0;
  }
  if (findAddress(6, address) !== 0) return true;
  return !isZero16(address) && !Ipv6.isMulticast(address) && !Ipv6.isLinkLocal(address);
}

export function serverAdd(): u32 {
  const service = requested();
  if (service === 0) return fail(Errno.ESRCH);
  if (!isUnicast(load<u32>(request(), Request.SERVER_FAMILY), request() + Request.SERVER_ADDRESS))
    return fail(Errno.EINVAL);
  const bad = badServer();
  if (bad !== 0) return fail(bad);
  if (requestedServer(service) !== 0) return fail(Errno.EEXIST);
  const at = request();
  const family = load<u32>(at, Request.SERVER_FAMILY);
  const port = swap16(load<u32>(at, Request.SERVER_PORT));
  let server = reclaim(service, family, at + Request.SERVER_ADDRESS, port);
  if (server === 0) {
    server = allocateServer();
    if (server === 0) return fail(Errno.ENOSPC);
    store<u8>(server, <u8>family, Server.FAMILY);
    store<u16>(server, <u16>port, Server.PORT);
    copy16(server + Server.ADDRESS, at + Request.SERVER_ADDRESS);
  }
  fillServer(server);
  bindToService(server, service);
  appendServer(service, server);
  startRates(server + Server.STATS, server + Server.RATES);
  sumWeights(service);
  serverAdded(service, server);
  changed();
  return <u32>server;
}

export function serverEdit(): u32 {
  const service = requested();
  if (service === 0) return fail(Errno.ESRCH);
  const bad = badServer();
  if (bad !== 0) return fail(bad);
  const server = requestedServer(service);
  if (server === 0) return fail(Errno.ENOENT);
  fillServer(server);
  sumWeights(service);
  serverEdited(service, server);
  changed();
  return <u32>server;
}

export function serverRemove(): u32 {
  const service = requested();
  if (service === 0) return fail(Errno.ESRCH);
  const server = requestedServer(service);
  if (server === 0) return fail(Errno.ENOENT);
  dropServer(service, server);
  sumWeights(service);
  changed();
  return 0;
}

/** Passive checks of a server: how many refusals and silences in a window make it suspect; 0 for all: none. */
export function serverWatch(): u32 {
  const service = requested();
  if (service === 0) return fail(Errno.ESRCH);
  const server = requestedServer(service);
  if (server === 0) return fail(Errno.ENOENT);
  const at = request();
  const window = load<u32>(at, Request.WINDOW);
  if (window !== load<u32>(server, Server.WINDOW)) store<u32>(server, now() - window - 1, Server.WINDOW_SINCE);
  store<u32>(server, window, Server.WINDOW);
  store<u16>(server, <u16>load<u32>(at, Request.REFUSED_LIMIT), Server.REFUSED_LIMIT);
  store<u16>(server, <u16>load<u32>(at, Request.UNANSWERED_LIMIT), Server.UNANSWERED_LIMIT);
  if (window === 0) acquit(server);
  return <u32>server;
}

function zeroOne(service: usize): void {
  zeroStats(service + Service.STATS, service + Service.RATES);
  let server = <usize>load<u32>(service, Service.SERVERS_HEAD);
  while (server !== 0) {
    zeroStats(server + Server.STATS, server + Server.RATES);
    server = <usize>load<u32>(server, Server.NEXT);
  }
}

/** Zeroes the counters of a service; of all and the whole for 0. */
export function zero(service: u32): u32 {
  if (service !== 0) {
    zeroOne(<usize>service);
    return 0;
  }
  let each = <usize>word(Memory.SERVICES_HEAD);
  while (each !== 0) {
    zeroOne(each);
    each = <usize>load<u32>(each, Service.NEXT);
  }
  zeroStats(totals(), totals() + Stats.SIZE);
  return 0;
}

export function settingSet(id: u32, value: u32): u32 {
  if (id >= <u32>Setting.COUNT) return fail(Errno.EINVAL);
  setSetting(id, value);
  return 0;
}

/** Seconds; 0 keeps what is. */
export function timeoutsSet(tcp: u32, tcpFin: u32, udp: u32): u32 {
  if (tcp !== 0) setSetting(Setting.TIMEOUT_TCP, tcp * Memory.TICKS_PER_SECOND);
  if (tcpFin !== 0) setSetting(Setting.TIMEOUT_TCP_FIN, tcpFin * Memory.TICKS_PER_SECOND);
  if (udp !== 0) setSetting(Setting.TIMEOUT_UDP, udp * Memory.TICKS_PER_SECOND);
  return 0;
}

export function portAdd(): u32 {
  const at = request();
  const number = load<u32>(at, Request.NUMBER);
  if (findPort(number) !== 0) return fail(Errno.EEXIST);
  const base = <usize>word(Memory.PORTS_BASE);
  const capacity = word(Memory.PORTS_CAPACITY);
  for (let i: u32 = 0; i < capacity; i++) {
    const port = base + <usize>i * Port.SIZE;
    if (load<u8>(port, Port.STATE) !== 0) continue;
    memory.fill(port, 0, Port.SIZE);
    store<u8>(port, 1, Port.STATE);
    store<u8>(port, <u8>load<u32>(at, Request.KIND), Port.KIND);
    store<u8>(port, 1, Port.UP);
    store<u8>(port, <u8>load<u32>(at, Request.CAPABILITIES), Port.CAPABILITIES);
    copyMac(port + Port.MAC, at + Request.MAC);
    store<u32>(port, load<u32>(at, Request.MTU), Port.MTU);
    store<u32>(port, number, Port.NUMBER);
    makeLinkLocal(port);
    changed();
    return <u32>port;
  }
  return fail(Errno.ENOSPC);
}

/** fe80::/64 with the modified EUI-64 of the MAC (RFC 4291, appendix A). */
function makeLinkLocal(port: usize): void {
  const at = port + Port.LINK_LOCAL;
  const mac = port + Port.MAC;
  store<u64>(at, 0x80fe);
  store<u8>(at, load<u8>(mac) ^ 2, 8);
  store<u16>(at, load<u16>(mac, 1), 9);
  store<u16>(at, 0xfeff, 11);
  store<u8>(at, load<u8>(mac, 3), 13);
  store<u16>(at, load<u16>(mac, 4), 14);
}

export function portUp(port: u32, up: u32): u32 {
  store<u8>(<usize>port, up !== 0 ? 1 : 0, Port.UP);
  return 0;
}

export function portMtu(port: u32, mtu: u32): u32 {
  if (mtu < 68 || mtu > 65535) return fail(Errno.EINVAL);
  store<u32>(<usize>port, mtu, Port.MTU);
  changed();
  return 0;
}

/** Writes the network of an address into `to`. */
function network(to: usize, family: u32, address: usize, prefix: u32): void {
  store<u64>(to, 0);
  store<u64>(to, 0, 8);
  if (family === 4) {
    store<u32>(to, load<u32>(address) & mask4(prefix));
    return;
  }
  for (let i: u32 = 0; i < 16; i++) {
    const left = <i32>prefix - <i32>(i << 3);
    const mask: u32 = left >= 8 ? 0xff : left <= 0 ? 0 : (0xff00 >> <u32>left) & 0xff;
    store<u8>(to + <usize>i, <u8>(<u32>load<u8>(address + <usize>i) & mask));
  }
}

const NETWORK: usize = Memory.LAYOUT_BASE + Memory.SCRATCH + 32;

/** An address of our own on a port, with the route to its subnet. Announced on the link. */
export function addressAdd(): u32 {
  const at = request();
  const family = load<u32>(at, Request.FAMILY);
  const prefix = load<u32>(at, Request.PREFIX);
  const port = findPort(load<u32>(at, Request.NUMBER));
  const bits: u32 = family === 4 ? 32 : 128;
  if (port === 0 || prefix > bits) return fail(Errno.EINVAL);
  const address = at + Request.ADDRESS;
  const record = ensureAddress(family, address);
  if (record === 0) return fail(Errno.ENOSPC);
  if ((load<u8>(record, Address.FLAGS) & Address.FLAG_OWN) !== 0) return fail(Errno.EEXIST);
  store<u8>(record, (load<u8>(record, Address.FLAGS) & ~Address.FLAG_BROADCAST) | Address.FLAG_OWN, Address.FLAGS);
  store<u8>(record, <u8>prefix, Address.PREFIX);
  store<u32>(record, <u32>port, Address.PORT);
  offerLocal(port, record);
  if (family === 4) {
    if (load<u32>(port, Port.ADDRESS) === 0) store<u32>(port, load<u32>(address), Port.ADDRESS);
  } else {
    // The link-local address comes with the first IPv6 address.
    const own = ensureAddress(6, port + Port.LINK_LOCAL);
    if (own !== 0 && load<u8>(own, Address.FLAGS) === 0) {
      store<u8>(own, Address.FLAG_OWN, Address.FLAGS);
      store<u8>(own, 64, Address.PREFIX);
      store<u32>(own, <u32>port, Address.PORT);
    }
    if (isZero16(port + Port.ADDRESS6)) copy16(port + Port.ADDRESS6, address);
  }
  network(NETWORK, family, address, prefix);
  if (prefix !== bits && nextRoute(0, family, prefix, NETWORK) === 0) {
    const route = insertRoute(family, prefix, 0);
    if (route === 0) return fail(Errno.ENOSPC);
    copy16(route + Route.DESTINATION, NETWORK);
    if (family === 4) {
      store<u32>(route, mask4(prefix), Route.DESTINATION + 4);
      store<u32>(route, load<u32>(address), Route.SOURCE);
    } else {
      copy16(route + Route.SOURCE, address);
    }
    store<u32>(route, <u32>port, Route.PORT);
    if (family === 4 && prefix < 31) {
      store<u32>(NETWORK, load<u32>(NETWORK) | ~mask4(prefix));
      const broadcast = ensureAddress(4, NETWORK);
      if (broadcast !== 0 && load<u8>(broadcast, Address.FLAGS) === 0)
        store<u8>(broadcast, Address.FLAG_BROADCAST, Address.FLAGS);
    }
  }
  changed();
  announceRecord(record);
  return <u32>record;
}

export function addressRemove(): u32 {
  const at = request();
  const family = load<u32>(at, Request.FAMILY);
  const record = findAddress(family, at + Request.ADDRESS);
  if (record === 0 || (load<u8>(record, Address.FLAGS) & Address.FLAG_OWN) === 0) return fail(Errno.ENOENT);
  const prefix = <u32>load<u8>(record, Address.PREFIX);
  const port = load<u32>(record, Address.PORT);
  store<u8>(record, load<u8>(record, Address.FLAGS) & ~Address.FLAG_OWN, Address.FLAGS);
  withdrawLocal(<usize>port, record);
  dropIfUnused(record);
  network(NETWORK, family, at + Request.ADDRESS, prefix);
  const route = nextRoute(0, family, prefix, NETWORK);
  if (route !== 0 && load<u32>(route, Route.PORT) === port && isZero16(route + Route.GATEWAY))
    inherit(<usize>port, route, family, prefix);
  chooseFirst(<usize>port, family);
  changed();
  return 0;
}

/** The route to a subnet that lost an address of ours stays when another one is in it, and goes otherwise. */
function inherit(port: usize, route: usize, family: u32, prefix: u32): void {
  for (let other = <usize>load<u32>(port, Port.LOCALS); other !== 0; ) {
    const address = other + Address.ADDRESS;
    if (<u32>load<u8>(other, Address.FAMILY) === family && <u32>load<u8>(other, Address.PREFIX) === prefix) {
      network(NETWORK, family, address, prefix);
      if (nextRoute(route, family, prefix, NETWORK) === route) {
        if (family === 4) store<u32>(route, load<u32>(address), Route.SOURCE);
        else copy16(route + Route.SOURCE, address);
        return;
      }
    }
    other = <usize>load<u32>(other, Address.NEXT_LOCAL);
  }
  removeRoute(route);
}

/** What the director says of itself on a port comes from the first address there. */
function chooseFirst(port: usize, family: u32): void {
  let first = <usize>load<u32>(port, Port.LOCALS);
  while (first !== 0 && <u32>load<u8>(first, Address.FAMILY) !== family)
    first = <usize>load<u32>(first, Address.NEXT_LOCAL);
  const address = first === 0 ? ZERO : first + Address.ADDRESS;
  if (family === 4) store<u32>(port, load<u32>(address), Port.ADDRESS);
  else copy16(port + Port.ADDRESS6, address);
}

export function routeAdd(): u32 {
  const at = request();
  const family = load<u32>(at, Request.FAMILY);
  const prefix = load<u32>(at, Request.PREFIX);
  const metric = load<u32>(at, Request.METRIC);
  const kind = load<u32>(at, Request.KIND);
  if (kind > <u32>Route.KIND_UNREACHABLE) return fail(Errno.EINVAL);
  if (prefix > (family === 4 ? <u32>32 : <u32>128)) return fail(Errno.EINVAL);
  network(NETWORK, family, at + Request.ADDRESS, prefix);
  const gateway = at + Request.GATEWAY;
  let port: usize = 0;
  if (kind !== Route.KIND_UNICAST) {
    // Needs no way out.
  } else if (load<u32>(at, Request.NUMBER) !== 0xffffffff) {
    port = findPort(load<u32>(at, Request.NUMBER));
    if (port === 0) return fail(Errno.EINVAL);
  } else {
    port = onLink(family, gateway);
    if (port === 0) return fail(Errno.ENOENT);
  }
  for (let other = nextRoute(0, family, prefix, NETWORK); other !== 0; ) {
    if (isSameRoute(other, kind, metric)) return fail(Errno.EEXIST);
    other = nextRoute(other + Route.SIZE, family, prefix, NETWORK);
  }
  const route = insertRoute(family, prefix, metric);
  if (route === 0) return fail(Errno.ENOSPC);
  copy16(route + Route.DESTINATION, NETWORK);
  if (family === 4) store<u32>(route, mask4(prefix), Route.DESTINATION + 4);
  copy16(route + Route.GATEWAY, gateway);
  copy16(route + Route.SOURCE, at + Request.SOURCE);
  store<u32>(route, <u32>port, Route.PORT);
  store<u8>(route, <u8>kind, Route.KIND);
  if (kind === Route.KIND_LOCAL) {
    store<u32>(route, load<u32>(at, Request.MARK), Route.MARK);
    setWord(Memory.LOCAL_ROUTE_COUNT, word(Memory.LOCAL_ROUTE_COUNT) + 1);
  }
  changed();
  return <u32>route;
}

/** Whether a route to the requested network is the requested one: local ones differ by mark, the others by metric. */
function isSameRoute(route: usize, kind: u32, metric: u32): bool {
  if ((load<u8>(route, Route.KIND) === Route.KIND_LOCAL) !== (kind === Route.KIND_LOCAL)) return false;
  if (kind === Route.KIND_LOCAL) return load<u32>(route, Route.MARK) === load<u32>(request(), Request.MARK);
  return load<u32>(route, Route.METRIC) === metric;
}

export function routeRemove(): u32 {
  const at = request();
  const family = load<u32>(at, Request.FAMILY);
  const prefix = load<u32>(at, Request.PREFIX);
  const kind = load<u32>(at, Request.KIND);
  network(NETWORK, family, at + Request.ADDRESS, prefix);
  let route = nextRoute(0, family, prefix, NETWORK);
  // A metric that is not given fits any.
  const metric = load<u32>(at, Request.METRIC);
  while (route !== 0 && !isSameRoute(route, kind, metric !== 0 ? metric : load<u32>(route, Route.METRIC)))
    route = nextRoute(route + Route.SIZE, family, prefix, NETWORK);
  if (route === 0) return fail(Errno.ESRCH);
  removeRoute(route);
  changed();
  return 0;
}

/** A neighbour that is never asked for. */
export function neighbourAdd(): u32 {
  const at = request();
  const port = findPort(load<u32>(at, Request.NUMBER));
  if (port === 0) return fail(Errno.EINVAL);
  const entry = ensureNeighbour(port, load<u32>(at, Request.FAMILY), at + Request.ADDRESS);
  if (entry === 0) return fail(Errno.ENOSPC);
  copyMac(entry + Neighbour.MAC, at + Request.MAC);
  store<u8>(entry, Neighbour.STATE_PERMANENT, Neighbour.STATE);
  // A worker sends what waited for it.
  if (load<u32>(entry, Neighbour.QUEUE_HEAD) !== 0) setWord(Memory.NEIGHBOUR_TICK, now());
  return <u32>entry;
}

export function neighbourRemove(): u32 {
  const at = request();
  const port = findPort(load<u32>(at, Request.NUMBER));
  if (port === 0) return fail(Errno.EINVAL);
  const entry = ensureNeighbour(port, load<u32>(at, Request.FAMILY), at + Request.ADDRESS);
  if (entry !== 0) forgetNeighbour(entry);
  return 0;
}

export function neighbourFlush(number: u32): u32 {
  if (number === 0xffffffff) {
    flushNeighbours(0);
    return 0;
  }
  const port = findPort(number);
  if (port === 0) return fail(Errno.EINVAL);
  flushNeighbours(port);
  return 0;
}

/** Tells every link of every address of ours that lies on it. */
export function announce(): u32 {
  const base = <usize>word(Memory.ADDRESSES_BASE);
  const capacity = word(Memory.ADDRESSES_CAPACITY);
  for (let i: u32 = 0; i < capacity; i++) {
    const record = base + <usize>i * Address.SIZE;
    const family = <u32>load<u8>(record, Address.FAMILY);
    if (family === 0 || family === Address.DELETED) continue;
    if ((load<u8>(record, Address.FLAGS) & (Address.FLAG_OWN | Address.FLAG_VIRTUAL)) === 0) continue;
    if (load<u32>(record, Address.PORT) !== 0) announceRecord(record);
  }
  return 0;
}
