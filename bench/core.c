/*
 * The core's way of a NAT packet, in C: what the compiled core is measured against. The same records (layout.h is made
 * from assembly/layout), the same lookups and the same order of work: check and hash every frame of the batch, touch
 * their index lines, then their connections; then per frame find the connection, count, move its TCP state and timer,
 * rewrite addresses, ports and TTL with incremental checksums, find route and neighbour, write the MACs, queue it.
 *
 *   core CONNECTIONS    reads "measure SIZE warm|cold SECONDS" lines; answers each with "PACKETS NANOSECONDS", the
 *                       second being those of the median batch, divided by its packets
 *
 * Frames are put into their slots outside of what is timed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <emmintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "layout.h"

#define BATCH 64
#define SERVERS 4
#define WARM_FLOWS 1024
#define MOST_BATCHES (4u << 20)
#define EVICT_BYTES (8u << 20)
#define LINES(n) (((n) * 2ull * 10 + 12 * 7 - 1) / (12 * 7))

static uint8_t *M;
#define LOAD8(at) (*(uint8_t *)(M + (uint32_t)(at)))
#define LOAD16(at) (*(uint16_t *)(M + (uint32_t)(at)))
#define LOAD32(at) (*(uint32_t *)(M + (uint32_t)(at)))
#define LOAD64(at) (*(uint64_t *)(M + (uint32_t)(at)))
#define WORD(offset) LOAD32(MEMORY_LAYOUT_BASE + (offset))

typedef uint32_t u32;
typedef uint64_t u64;

static inline u32 fold(u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  u32 t = ((u32)sum & 0xffff) + ((u32)sum >> 16);
  return (t & 0xffff) + (t >> 16);
}
static inline u32 update32(u32 check, u32 from, u32 to) { return ~fold((u64)(~check & 0xffff) + (u32)~from + to) & 0xffff; }
static inline u32 update16(u32 check, u32 from, u32 to) {
  return ~fold((u64)(~check & 0xffff) + (~from & 0xffff) + to) & 0xffff;
}
static inline u64 sum_header(u32 ip, u32 length) {
  u64 sum = 0;
  for (u32 i = 0; i < length; i += 4) sum += LOAD32(ip + i);
  return sum;
}

/* ---- tables ---- */

static inline u32 hash_side(u32 address, u32 port, u32 protocol) {
  u32 h = address ^ WORD(MEMORY_SEED);
  h = (h ^ (h >> 16)) * 0x7feb352d;
  h ^= (port | (protocol << 16)) * 0x9e3779b1;
  h = (h ^ (h >> 15)) * 0x846ca68b;
  return h ^ (h >> 16);
}
static inline u32 tag_of(u32 hash) { return (hash & 0x7f) | 0x80; }
static inline u32 line_of(u32 hash) {
  return WORD(MEMORY_INDEX_BASE) + ((u32)(((u64)hash * WORD(MEMORY_INDEX_CAPACITY)) >> 32) << 6);
}
static inline u32 next_line(u32 line) {
  u32 next = line + CONNECTION_INDEX_SIZE, base = WORD(MEMORY_INDEX_BASE);
  return next == base + (WORD(MEMORY_INDEX_CAPACITY) << 6) ? base : next;
}
static inline u32 candidates(u32 line, u32 tag) {
  __m128i tags = _mm_load_si128((const __m128i *)(M + line));
  return (u32)_mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag))) & 0xfff;
}

static inline u32 touch(u32 hash) {
  u32 line = line_of(hash), mask = candidates(line, tag_of(hash));
  if (mask == 0) return 0;
  u32 reference = LOAD32(line + ((u32)__builtin_ctz(mask) << 2) + CONNECTION_INDEX_REFERENCES);
  return LOAD32((reference & ~1u) + CONNECTION_FLAGS);
}

static void index_insert(u32 hash, u32 reference) {
  u32 line = line_of(hash);
  for (;;) {
    u32 mask = candidates(line, 0);
    if (mask != 0) {
      u32 place = (u32)__builtin_ctz(mask);
      LOAD8(line + place) = (uint8_t)tag_of(hash);
      LOAD32(line + (place << 2) + CONNECTION_INDEX_REFERENCES) = reference;
      return;
    }
    LOAD16(line + CONNECTION_INDEX_OVERFLOW)++;
    line = next_line(line);
  }
}

static inline u32 find_in(u32 hash, u32 client, u32 virtual, u32 ports, u32 protocol) {
  u64 addresses = client | ((u64)virtual << 32);
  u32 tag = tag_of(hash), line = line_of(hash);
  for (;;) {
    for (u32 mask = candidates(line, tag); mask != 0; mask &= mask - 1) {
      u32 c = LOAD32(line + ((u32)__builtin_ctz(mask) << 2) + CONNECTION_INDEX_REFERENCES);
      if ((c & CONNECTION_INDEX_REPLY) == 0 && LOAD64(c) == addresses && LOAD32(c + CONNECTION_CLIENT_PORT) == ports &&
          LOAD8(c + CONNECTION_PROTOCOL) == protocol &&
          (LOAD32(c + CONNECTION_FLAGS) & (CONNECTION_FLAG_TEMPLATE | CONNECTION_FLAG_NO_CLIENT_PORT)) == 0)
        return c;
    }
    if (LOAD16(line + CONNECTION_INDEX_OVERFLOW) == 0) return 0;
    line = next_line(line);
  }
}

static inline u32 find_out(u32 hash, u32 source, u32 client, u32 source_port, u32 client_port, u32 protocol) {
  u32 tag = tag_of(hash), line = line_of(hash);
  for (;;) {
    for (u32 mask = candidates(line, tag); mask != 0; mask &= mask - 1) {
      u32 c = LOAD32(line + ((u32)__builtin_ctz(mask) << 2) + CONNECTION_INDEX_REFERENCES);
      if ((c & CONNECTION_INDEX_REPLY) != 0 || LOAD32(c + CONNECTION_CLIENT_ADDRESS) != client ||
          LOAD16(c + CONNECTION_CLIENT_PORT) != client_port || LOAD8(c + CONNECTION_PROTOCOL) != protocol)
        continue;
      u32 flags = LOAD32(c + CONNECTION_FLAGS);
      if (flags & (CONNECTION_FLAG_TEMPLATE | CONNECTION_FLAG_FULL_NAT)) continue;
      u32 nat = (flags & CONNECTION_METHOD_MASK) == FORWARDING_NAT;
      if (LOAD32(c + (nat ? CONNECTION_SERVER_ADDRESS : CONNECTION_VIRTUAL_ADDRESS)) == source &&
          LOAD16(c + (nat ? CONNECTION_SERVER_PORT : CONNECTION_VIRTUAL_PORT)) == source_port)
        return c;
    }
    if (LOAD16(line + CONNECTION_INDEX_OVERFLOW) == 0) return 0;
    line = next_line(line);
  }
}

static inline u32 hash4(u32 address) {
  u32 h = address * 0x9e3779b1u;
  h *= 0x85ebca6bu;
  h *= 0xc2b2ae35u;
  h *= 0x27d4eb2fu;
  return h ^ (h >> 15);
}

static inline u32 find_address(u32 address) {
  for (u32 i = hash4(address);; i++) {
    u32 record = WORD(MEMORY_ADDRESSES_BASE) + (i & (WORD(MEMORY_ADDRESSES_CAPACITY) - 1)) * ADDRESS_SIZE;
    u32 family = LOAD8(record + ADDRESS_FAMILY);
    if (family == 0) return 0;
    if (family == 4 && LOAD32(record + ADDRESS_ADDRESS) == address) return record;
  }
}

static inline u32 find_route(u32 address) {
  u32 route = WORD(MEMORY_ROUTES_BASE), end = route + WORD(MEMORY_ROUTE_COUNT) * ROUTE_SIZE;
  for (; route < end; route += ROUTE_SIZE) {
    if (LOAD8(route + ROUTE_FAMILY) == 4 &&
        ((address ^ LOAD32(route + ROUTE_DESTINATION)) & LOAD32(route + ROUTE_DESTINATION + 4)) == 0)
      return route;
  }
  return 0;
}

static inline u32 neighbour_bucket(u32 port, u32 address) {
  u32 h = port * 0x9e3779b1u;
  h = (h ^ address) * 0x85ebca6bu;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  h *= 0x27d4eb2fu;
  u32 place = (h ^ (h >> 15)) & (WORD(MEMORY_NEIGHBOURS_CAPACITY) - 1);
  return WORD(MEMORY_NEIGHBOURS_BASE) + place * NEIGHBOUR_SIZE + NEIGHBOUR_BUCKET;
}
static inline u32 find_neighbour(u32 port, u32 address) {
  u32 entry = LOAD32(neighbour_bucket(port, address));
  for (; entry != 0; entry = LOAD32(entry + NEIGHBOUR_NEXT)) {
    if (LOAD32(entry + NEIGHBOUR_PORT) == port && LOAD8(entry + NEIGHBOUR_FAMILY) == 4 &&
        LOAD64(entry + NEIGHBOUR_ADDRESS) == address && LOAD64(entry + NEIGHBOUR_ADDRESS + 8) == 0)
      return entry;
  }
  return 0;
}

static inline void restart(u32 c) {
  u32 expires = WORD(MEMORY_NOW) + LOAD32(c + CONNECTION_TIMEOUT);
  LOAD32(c + CONNECTION_EXPIRES) = expires;
  /* The wheel's visit is earlier than this, always, in an established connection: nothing to move. */
  if ((int32_t)(expires - LOAD32(c + CONNECTION_FIRE)) < 0) abort();
}

static inline void count(u32 at, u64 by) { LOAD64(at) += by; }

static inline void count_packet(u32 server, u32 bytes, u32 packets_at, u32 bytes_at) {
  if ((LOAD32(server + SERVER_FLAGS) & SERVER_FLAG_AVAILABLE) == 0) return;
  count(server + SERVER_STATS + packets_at, 1);
  count(server + SERVER_STATS + bytes_at, bytes);
  u32 service = LOAD32(server + SERVER_SERVICE);
  count(service + SERVICE_STATS + packets_at, 1);
  count(service + SERVICE_STATS + bytes_at, bytes);
  u32 totals = WORD(MEMORY_COUNTERS_BASE) + COUNTERS_STATS;
  count(totals + packets_at, 1);
  count(totals + bytes_at, bytes);
}

/* ---- TCP: the kernel's NAT rows, [direction][fin/syn/ack/rst][state] ---- */

enum { sNO, sES, sSS, sSR, sFW, sTW, sCL, sCW, sLA, sLI, sSA };
static const uint8_t transitions[2][4][11] = {
    {{sSR, sES, sES, sSR, sSR, sSR, sSR, sSR, sSR, sSR, sSR},
     {sCL, sCW, sSS, sTW, sTW, sTW, sCL, sCW, sLA, sLI, sTW},
     {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sCL, sLI, sES},
     {sCL, sCL, sCL, sSR, sCL, sCL, sCL, sCL, sLA, sLI, sSR}},
    {{sSS, sES, sSS, sSR, sSS, sSS, sSS, sSS, sSS, sLI, sSR},
     {sTW, sFW, sSS, sTW, sFW, sTW, sCL, sTW, sLA, sLI, sTW},
     {sES, sES, sSS, sES, sFW, sTW, sCL, sCW, sLA, sES, sES},
     {sCL, sCL, sSS, sCL, sCL, sTW, sCL, sCL, sCL, sCL, sCL}},
};

static inline void transition(u32 c, u32 tcp, int out) {
  u32 flags = LOAD8(tcp + 13);
  u32 row = flags & 4 ? 3 : flags & 2 ? 0 : flags & 1 ? 1 : flags & 16 ? 2 : 4;
  u32 state = LOAD8(c + CONNECTION_STATE);
  u32 next = row == 4 ? sCL : transitions[out][row][state];
  if (next != state) abort(); /* the bench stays established; keep the compiler from dropping the lookup */
  LOAD32(c + CONNECTION_TIMEOUT) = WORD(MEMORY_SETTINGS + 4 * SETTING_TIMEOUT_TCP);
  restart(c);
}

/* ---- slots ---- */

static inline void give_slot(u32 slot) {
  LOAD32(slot + SLOT_NEXT) = WORD(MEMORY_FREE_SLOT);
  WORD(MEMORY_FREE_SLOT) = slot;
  WORD(MEMORY_FREE_SLOT_COUNT)++;
}
static inline u32 take_slot(void) {
  u32 slot = WORD(MEMORY_FREE_SLOT);
  if (slot == 0) return 0;
  WORD(MEMORY_FREE_SLOT) = LOAD32(slot + SLOT_NEXT);
  WORD(MEMORY_FREE_SLOT_COUNT)--;
  for (u32 at = 0; at < SLOT_DESCRIPTOR_SIZE; at += 8) LOAD64(slot + at) = 0;
  LOAD32(slot + SLOT_FRAME) = slot + SLOT_FRAME_AT;
  return slot;
}

/* ---- the director ---- */

static inline u32 drop(u32 reason) {
  count(WORD(MEMORY_COUNTERS_BASE) + COUNTERS_REASONS + reason * 8, 1);
  return VERDICT_DROP;
}

/* First pass: everything that can be said without the tables, and the hash of the client's side. */
static inline int prepare(u32 slot) {
  u32 frame = LOAD32(slot + SLOT_FRAME), length = LOAD32(slot + SLOT_LENGTH), port = LOAD32(slot + SLOT_PORT_IN);
  count(port + PORT_FRAMES_IN, 1);
  count(port + PORT_BYTES_IN, length - SLOT_VNET_SIZE);
  if (length < SLOT_VNET_SIZE + 14 + 20) return -REASON_FRAME_TRUNCATED;
  if (LOAD8(frame) & 1) {
    u32 start = LOAD16(frame + 6);
    if (start + LOAD16(frame + 8) + 2 > length - SLOT_VNET_SIZE) return -REASON_VNET_HEADER_BAD;
  }
  u32 ethernet = frame + SLOT_VNET_SIZE, ip = ethernet + 14;
  LOAD32(slot + SLOT_ETHERNET) = ethernet;
  LOAD32(slot + SLOT_IP) = ip;
  if (LOAD32(ethernet) != LOAD32(port + PORT_MAC) || LOAD16(ethernet + 4) != LOAD16(port + PORT_MAC + 4)) {
    if ((LOAD8(ethernet) & 1) == 0) return -REASON_NOT_FOR_US;
    LOAD8(slot + SLOT_FLAGS) |= SLOT_LINK_BROADCAST;
  }
  if (LOAD16(ethernet + 12) != 0x0008) return -REASON_UNKNOWN_ETHERTYPE;
  u32 first = LOAD8(ip), header = (first & 15) << 2, total = ntohs(LOAD16(ip + 2));
  if (first >> 4 != 4 || header < 20 || total < header || total > length - SLOT_VNET_SIZE - 14)
    return -REASON_IP_MALFORMED;
  if (fold(sum_header(ip, header)) != 0xffff) return -REASON_IP_CHECKSUM;
  u32 source = LOAD32(ip + 12), destination = LOAD32(ip + 16);
  if ((source & 0xf0) == 0xe0 || (source & 0xff) == 127 || source == 0 || source == 0xffffffff)
    return -REASON_SOURCE_INVALID;
  if (find_address(source) != 0) return -REASON_SOURCE_INVALID;
  if ((destination & 0xff) == 127 || destination == 0) return -REASON_DESTINATION_INVALID;
  LOAD8(slot + SLOT_FAMILY) = 4;
  u32 protocol = LOAD8(ip + 9), transport = ip + header;
  LOAD8(slot + SLOT_PROTOCOL) = (uint8_t)protocol;
  LOAD32(slot + SLOT_TRANSPORT) = transport;
  LOAD32(slot + SLOT_END) = ip + total;
  if (LOAD16(ip + 6) & 0xff3f) return -REASON_FRAGMENT_BAD;
  if (transport + 20 > ip + total || protocol != 6) return -REASON_TRANSPORT_TRUNCATED;
  u32 ours = find_address(destination) != 0;
  if (ours) LOAD8(slot + SLOT_FLAGS) |= SLOT_TO_DIRECTOR;
  u32 hash = ours ? hash_side(source, LOAD16(transport), protocol)
                  : hash_side(destination, LOAD16(transport + 2), protocol);
  LOAD32(slot + SLOT_HASH) = hash;
  return 0;
}

static inline u32 forward(u32 slot, u32 queue) {
  u32 ip = LOAD32(slot + SLOT_IP), ethernet = LOAD32(slot + SLOT_ETHERNET), tcp = LOAD32(slot + SLOT_TRANSPORT);
  u32 in = LOAD8(slot + SLOT_FLAGS) & SLOT_TO_DIRECTOR, hash = LOAD32(slot + SLOT_HASH);
  u32 source = LOAD32(ip + 12), destination = LOAD32(ip + 16), c;
  /* Even what comes for a virtual service is first looked up as a server's answer, in the kernel's order. */
  u32 back = in ? hash_side(destination, LOAD16(tcp + 2), 6) : hash;
  c = find_out(back, source, destination, LOAD16(tcp), LOAD16(tcp + 2), 6);
  if (c == 0 && in) c = find_in(hash, source, destination, LOAD32(tcp), 6);
  if (c == 0) return drop(REASON_NO_ROUTE);
  LOAD32(slot + SLOT_CONNECTION) = c;
  u32 bytes = LOAD32(slot + SLOT_END) - ip;
  u32 server = LOAD32(c + CONNECTION_SERVER);
  if (in && (LOAD32(server + SERVER_FLAGS) & SERVER_FLAG_AVAILABLE) == 0) return drop(REASON_SERVER_UNAVAILABLE);
  if (in) count_packet(server, bytes, STATS_IN_PACKETS, STATS_IN_BYTES);
  else count_packet(server, bytes, STATS_OUT_PACKETS, STATS_OUT_BYTES);
  transition(c, tcp, !in);
  if (in) LOAD32(c + CONNECTION_PACKETS)++;

  if (LOAD8(ip + 8) <= 1) return drop(REASON_TTL_EXPIRED);
  u32 target = in ? LOAD32(c + CONNECTION_SERVER_ADDRESS) : destination;
  u32 route = find_route(target);
  if (route == 0) return drop(REASON_NO_ROUTE);
  u32 port = LOAD32(route + ROUTE_PORT), gateway = LOAD32(route + ROUTE_GATEWAY);
  u32 hop = gateway != 0 ? gateway : target;
  LOAD32(slot + SLOT_NEXT_HOP) = hop;
  if (LOAD8(LOAD32(slot + SLOT_FRAME) + 1) == 0 && bytes > LOAD32(port + PORT_MTU)) return drop(REASON_MTU_EXCEEDED);

  u32 at = in ? ip + 16 : ip + 12, from = LOAD32(at);
  u32 to = in ? target : LOAD32(c + CONNECTION_VIRTUAL_ADDRESS);
  u32 port_at = in ? tcp + 2 : tcp, from_port = LOAD16(port_at);
  u32 to_port = LOAD16(c + (in ? CONNECTION_SERVER_PORT : CONNECTION_VIRTUAL_PORT));
  LOAD16(ip + 10) = (uint16_t)update32(LOAD16(ip + 10), from, to);
  if (LOAD8(LOAD32(slot + SLOT_FRAME)) & 1) {
    LOAD16(tcp + 16) = (uint16_t)(~update32(~LOAD16(tcp + 16) & 0xffffu, from, to));
  } else {
    LOAD16(tcp + 16) = (uint16_t)update16(update32(LOAD16(tcp + 16), from, to), from_port, to_port);
  }
  LOAD32(at) = to;
  LOAD16(port_at) = (uint16_t)to_port;
  u32 ttl = LOAD16(ip + 8);
  LOAD16(ip + 10) = (uint16_t)update16(LOAD16(ip + 10), ttl, ttl - 1);
  LOAD8(ip + 8) = (uint8_t)(ttl - 1);

  u32 neighbour = find_neighbour(port, hop);
  if (neighbour == 0 || LOAD8(neighbour + NEIGHBOUR_STATE) != NEIGHBOUR_STATE_PERMANENT)
    return drop(REASON_NEIGHBOUR_FAILED);
  LOAD32(neighbour + NEIGHBOUR_USED) = WORD(MEMORY_NOW);
  LOAD32(ethernet) = LOAD32(neighbour + NEIGHBOUR_MAC);
  LOAD16(ethernet + 4) = LOAD16(neighbour + NEIGHBOUR_MAC + 4);
  LOAD32(ethernet + 6) = LOAD32(port + PORT_MAC);
  LOAD16(ethernet + 10) = LOAD16(port + PORT_MAC + 4);
  LOAD32(slot + SLOT_PORT_OUT) = port;
  count(port + PORT_FRAMES_OUT, 1);
  count(port + PORT_BYTES_OUT, LOAD32(slot + SLOT_LENGTH) - SLOT_VNET_SIZE);
  u32 sends = LOAD32(queue + WORKER_SEND_COUNT);
  LOAD32(queue + WORKER_SEND + sends * 4) = slot;
  LOAD32(queue + WORKER_SEND_COUNT) = sends + 1;
  return VERDICT_FORWARD;
}

static volatile u32 sink; /* keeps the loads that only warm the cache */

__attribute__((noinline)) static u32 run(u32 now) {
  u32 queue = WORD(MEMORY_WORKERS_BASE), lock = MEMORY_LAYOUT_BASE + MEMORY_LOCK, none = 0;
  if (!__atomic_compare_exchange_n(&LOAD32(lock), &none, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) abort();
  WORD(MEMORY_NOW) = now;
  u32 sent = LOAD32(queue + WORKER_SEND_COUNT);
  for (u32 i = 0; i < sent; i++) give_slot(LOAD32(queue + WORKER_SEND + i * 4));
  LOAD32(queue + WORKER_SEND_COUNT) = 0;
  u32 received = LOAD32(queue + WORKER_RECEIVED_COUNT), touched = 0;
  for (u32 i = 0; i < received; i++) {
    u32 slot = LOAD32(queue + WORKER_RECEIVED + i * 4);
    int reason = prepare(slot);
    LOAD8(slot + SLOT_REASON) = (uint8_t)-reason;
  }
  /* Loops of their own: short enough for the loads of many frames to be under way at once. */
  for (u32 i = 0; i < received; i++) {
    u32 slot = LOAD32(queue + WORKER_RECEIVED + i * 4);
    touched ^= LOAD8(line_of(LOAD32(slot + SLOT_HASH)));
  }
  for (u32 i = 0; i < received; i++) {
    u32 slot = LOAD32(queue + WORKER_RECEIVED + i * 4);
    touched += touch(LOAD32(slot + SLOT_HASH));
  }
  sink = touched;
  for (u32 i = 0; i < received; i++) {
    u32 slot = LOAD32(queue + WORKER_RECEIVED + i * 4), reason = LOAD8(slot + SLOT_REASON);
    u32 verdict = reason != 0 ? drop(reason) : forward(slot, queue);
    LOAD8(slot + SLOT_VERDICT) = (uint8_t)verdict;
    count(WORD(MEMORY_COUNTERS_BASE) + COUNTERS_VERDICTS + verdict * 8, 1);
    count(WORD(MEMORY_COUNTERS_BASE) + COUNTERS_FRAMES_IN, 1);
    if (verdict == VERDICT_DROP) give_slot(slot);
  }
  LOAD32(queue + WORKER_RECEIVED_COUNT) = 0;
  u32 supply = LOAD32(queue + WORKER_SUPPLY_COUNT);
  while (supply < WORKER_SUPPLY_TARGET) {
    u32 slot = take_slot();
    if (slot == 0) break;
    LOAD32(queue + WORKER_SUPPLY + supply++ * 4) = slot;
  }
  LOAD32(queue + WORKER_SUPPLY_COUNT) = supply;
  __atomic_store_n(&LOAD32(lock), 0, __ATOMIC_SEQ_CST);
  return LOAD32(queue + WORKER_SEND_COUNT);
}

/* ---- the bench ---- */

static u32 connections, ports_at[2];
#define CLIENT_MAC "\x02\x00\x00\x00\x04\x01"
#define VIP htonl(0xc0a80485)    /* 192.168.4.133 */
#define CLIENT_HOP htonl(0xc0a80401)
#define SERVER_OF(i) htonl(0xc0a8020b + (i) % SERVERS)
#define VIRTUAL_PORT htons(80)
#define REAL_PORT htons(8080)

static inline u32 client_of(u32 flow) { return htonl(0x0a000000 + flow); }
static inline u32 client_port_of(u32 flow) { return htons((uint16_t)(1024 + (flow * 7919u) % 60000)); }

static u32 region(u32 *at, u64 bytes) {
  u32 base = (*at + 63) & ~63u;
  *at = base + (u32)bytes;
  return base;
}

static void set_mac(u32 at, const char *mac) { memcpy(M + at, mac, 6); }

static void add_address(u32 address) {
  u32 i = hash4(address), record;
  do record = WORD(MEMORY_ADDRESSES_BASE) + (i++ & (WORD(MEMORY_ADDRESSES_CAPACITY) - 1)) * ADDRESS_SIZE;
  while (LOAD8(record + ADDRESS_FAMILY) != 0);
  LOAD8(record + ADDRESS_FAMILY) = 4;
  LOAD32(record + ADDRESS_ADDRESS) = address;
}

static void add_route(u32 destination, u32 prefix, u32 gateway, u32 port) {
  u32 route = WORD(MEMORY_ROUTES_BASE) + WORD(MEMORY_ROUTE_COUNT)++ * ROUTE_SIZE;
  LOAD8(route + ROUTE_FAMILY) = 4;
  LOAD8(route + ROUTE_PREFIX) = (uint8_t)prefix;
  LOAD32(route + ROUTE_PORT) = port;
  LOAD32(route + ROUTE_DESTINATION) = destination;
  LOAD32(route + ROUTE_DESTINATION + 4) = prefix == 0 ? 0 : htonl(~0u << (32 - prefix));
  LOAD32(route + ROUTE_GATEWAY) = gateway;
}

static void add_neighbour(u32 port, u32 address, const char *mac) {
  u32 record = WORD(MEMORY_NEIGHBOURS_BASE) + WORD(MEMORY_NEIGHBOUR_HIGH)++ * NEIGHBOUR_SIZE;
  LOAD8(record + NEIGHBOUR_STATE) = NEIGHBOUR_STATE_PERMANENT;
  LOAD8(record + NEIGHBOUR_FAMILY) = 4;
  LOAD32(record + NEIGHBOUR_PORT) = port;
  LOAD32(record + NEIGHBOUR_ADDRESS) = address;
  set_mac(record + NEIGHBOUR_MAC, mac);
  u32 bucket = neighbour_bucket(port, address);
  LOAD32(record + NEIGHBOUR_NEXT) = LOAD32(bucket);
  LOAD32(bucket) = record;
}

static void set_up(void) {
  u64 size = (u64)connections * 96 + (512ull + 256) * SLOT_SIZE + (16 << 20);
  M = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (M == MAP_FAILED) exit(1);
  u32 at = MEMORY_LAYOUT_BASE + MEMORY_HEADER_SIZE;
#define REGION(name, n, bytes) \
  do { \
    WORD(MEMORY_##name##_CAPACITY) = (u32)(n); \
    WORD(MEMORY_##name##_BASE) = region(&at, (u64)(n) * (bytes)); \
  } while (0)
  REGION(PORTS, 16, PORT_SIZE);
  REGION(ADDRESSES, 4096, ADDRESS_SIZE);
  REGION(ROUTES, 1024, ROUTE_SIZE);
  REGION(NEIGHBOURS, 8192, NEIGHBOUR_SIZE);
  REGION(SERVICES, 16, SERVICE_SIZE);
  REGION(SERVERS, 16, SERVER_SIZE);
  REGION(WORKERS, 1, WORKER_SIZE);
  REGION(COUNTERS, COUNTERS_SIZE, 1);
  REGION(CONNECTIONS, connections, CONNECTION_SIZE);
  REGION(INDEX, LINES(connections), CONNECTION_INDEX_SIZE);
  REGION(SLOTS, 512 + 256, SLOT_SIZE);
  WORD(MEMORY_SEED) = 0x2545f491;
  WORD(MEMORY_SETTINGS + 4 * SETTING_TIMEOUT_TCP) = 900 * MEMORY_TICKS_PER_SECOND;

  for (u32 i = 0; i < 2; i++) {
    u32 port = ports_at[i] = WORD(MEMORY_PORTS_BASE) + i * PORT_SIZE;
    LOAD32(port + PORT_MTU) = 1500;
    set_mac(port + PORT_MAC, i == 0 ? "\x02\x00\x00\x00\x04\x85" : "\x02\x00\x00\x00\x02\x82");
  }
  add_address(VIP);
  add_address(htonl(0xc0a80282));
  add_route(VIP & htonl(0xffffff00), 24, 0, ports_at[0]);
  add_route(SERVER_OF(0) & htonl(0xffffff00), 24, 0, ports_at[1]);
  add_route(0, 0, CLIENT_HOP, ports_at[0]);
  add_neighbour(ports_at[0], CLIENT_HOP, CLIENT_MAC);
  for (u32 i = 0; i < SERVERS; i++) {
    char mac[6] = {2, 0, 0, 0, 2, (char)(0x0b + i)};
    add_neighbour(ports_at[1], SERVER_OF(i), mac);
    u32 server = WORD(MEMORY_SERVERS_BASE) + i * SERVER_SIZE;
    LOAD32(server + SERVER_SERVICE) = WORD(MEMORY_SERVICES_BASE);
    LOAD32(server + SERVER_FLAGS) = SERVER_FLAG_AVAILABLE;
  }
  for (u32 i = 0; i < WORD(MEMORY_SLOTS_CAPACITY); i++) give_slot(WORD(MEMORY_SLOTS_BASE) + i * SLOT_SIZE);
  for (u32 i = 0; i < connections; i++) {
    u32 c = WORD(MEMORY_CONNECTIONS_BASE) + i * CONNECTION_SIZE;
    LOAD32(c + CONNECTION_CLIENT_ADDRESS) = client_of(i);
    LOAD32(c + CONNECTION_VIRTUAL_ADDRESS) = VIP;
    LOAD32(c + CONNECTION_SERVER_ADDRESS) = SERVER_OF(i);
    LOAD16(c + CONNECTION_CLIENT_PORT) = (uint16_t)client_port_of(i);
    LOAD16(c + CONNECTION_VIRTUAL_PORT) = VIRTUAL_PORT;
    LOAD16(c + CONNECTION_SERVER_PORT) = REAL_PORT;
    LOAD8(c + CONNECTION_PROTOCOL) = 6;
    LOAD8(c + CONNECTION_STATE) = STATE_TCP_ESTABLISHED;
    LOAD8(c + CONNECTION_FAMILY) = 4;
    LOAD32(c + CONNECTION_FLAGS) = CONNECTION_FLAG_USED | CONNECTION_FLAG_HASHED | FORWARDING_NAT;
    LOAD32(c + CONNECTION_SERVER) = WORD(MEMORY_SERVERS_BASE) + i % SERVERS * SERVER_SIZE;
    index_insert(hash_side(client_of(i), client_port_of(i), 6), c);
  }
  run(1);
}

static void put_frame(u32 frame, u32 flow, int out, u32 size) {
  u32 ethernet = frame + SLOT_VNET_SIZE, ip = ethernet + 14, tcp = ip + 20;
  memset(M + frame, 0, SLOT_VNET_SIZE + 54);
  memcpy(M + ethernet, M + ports_at[out] + PORT_MAC, 6);
  set_mac(ethernet + 6, CLIENT_MAC);
  LOAD16(ethernet + 12) = htons(0x0800);
  LOAD8(ip) = 0x45;
  LOAD16(ip + 2) = htons((uint16_t)(size - 14));
  LOAD16(ip + 6) = htons(0x4000);
  LOAD8(ip + 8) = 64;
  LOAD8(ip + 9) = 6;
  LOAD32(ip + 12) = out ? SERVER_OF(flow) : client_of(flow);
  LOAD32(ip + 16) = out ? client_of(flow) : VIP;
  LOAD16(ip + 10) = (uint16_t)~fold(sum_header(ip, 20));
  LOAD16(tcp) = (uint16_t)(out ? REAL_PORT : client_port_of(flow));
  LOAD16(tcp + 2) = (uint16_t)(out ? client_port_of(flow) : VIRTUAL_PORT);
  LOAD8(tcp + 12) = 0x50;
  LOAD8(tcp + 13) = 0x10;
  LOAD16(tcp + 16) = (uint16_t)~fold(sum_header(ip + 12, 8) + htons(6) + htons((uint16_t)(size - 34)) +
                                     sum_header(tcp, 20));
}

static u64 nanoseconds(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (u64)at.tv_sec * 1000000000ull + (u64)at.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  u32 x = *(const u32 *)a, y = *(const u32 *)b;
  return x < y ? -1 : x > y;
}

/* What reading the clock twice costs by itself. */
static u32 clock_cost(void) {
  u32 costs[1001];
  for (u32 i = 0; i < 1001; i++) {
    u64 from = nanoseconds();
    costs[i] = (u32)(nanoseconds() - from);
  }
  qsort(costs, 1001, sizeof *costs, ascending);
  return costs[500];
}

static u32 order = 12345;
static inline u32 next_flow(u32 among) {
  order = order * 1664525u + 1013904223u;
  return (order >> 8) % among;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  connections = (u32)strtoul(argv[1], NULL, 10);
  set_up();
  uint8_t *evict = malloc(EVICT_BYTES);
  memset(evict, 1, EVICT_BYTES);
  u32 *warm = malloc(WARM_FLOWS * sizeof *warm);
  for (u32 i = 0; i < WARM_FLOWS; i++) warm[i] = connections <= WARM_FLOWS ? i % connections : next_flow(connections);
  u32 queue = WORD(MEMORY_WORKERS_BASE), turn = 0, overhead = clock_cost();
  u32 *samples = malloc(MOST_BATCHES * sizeof *samples);
  char line[80], word[16];
  u32 size;
  double seconds;
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL && sscanf(line, "measure %u %15s %lf", &size, word, &seconds) == 3) {
    int cold = strcmp(word, "cold") == 0, flush = cold && connections <= WARM_FLOWS;
    u32 batches = 0;
    u64 end = nanoseconds() + (u64)(seconds * 1e9);
    while (batches < MOST_BATCHES && nanoseconds() < end) {
      if (flush) {
        u32 walked = 0;
        for (u32 i = 0; i < EVICT_BYTES; i += 64) walked += evict[i]++;
        sink = walked;
      }
      for (u32 i = 0; i < BATCH; i++, turn++) {
        u32 left = --LOAD32(queue + WORKER_SUPPLY_COUNT), slot = LOAD32(queue + WORKER_SUPPLY + left * 4);
        u32 flow = cold ? next_flow(connections) : warm[turn % WARM_FLOWS];
        put_frame(slot + SLOT_FRAME_AT, flow, (int)(turn & 1), size);
        LOAD32(slot + SLOT_FRAME) = slot + SLOT_FRAME_AT;
        LOAD32(slot + SLOT_LENGTH) = size + SLOT_VNET_SIZE;
        LOAD32(slot + SLOT_PORT_IN) = ports_at[turn & 1];
        LOAD32(queue + WORKER_RECEIVED + i * 4) = slot;
      }
      LOAD32(queue + WORKER_RECEIVED_COUNT) = BATCH;
      u64 from = nanoseconds();
      u32 sent = run(2);
      samples[batches++] = (u32)(nanoseconds() - from);
      if (sent != BATCH) {
        fprintf(stderr, "core: %u of %u frames forwarded\n", sent, BATCH);
        return 1;
      }
    }
    qsort(samples, batches, sizeof *samples, ascending);
    printf("%u %.2f\n", batches * BATCH, (double)(samples[batches / 2] - overhead) / BATCH);
    fflush(stdout);
  }
  return 0;
}
