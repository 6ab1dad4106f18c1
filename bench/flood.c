/*
 * A flood of one kind of frame, from sources that do not exist: flood DEVICE DST-MAC KIND TARGET VIP FRAMES/S SECONDS
 * (FRAMES/S 0: as many as there can be). KIND: syn ack udp fragment arp spoof icmp ttl junk; ndp and fragment6, whose
 * TARGET and VIP are IPv6. TARGET is who is asked for (arp, ndp), whose MAC is lied about (spoof), where packets at TTL 1
 * go. Prints how many were sent.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, FRAME = 112 };

static uint8_t target6[16], vip6[16];

static uint64_t state = 0x9e3779b97f4a7c15ull;

static uint32_t any(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 16);
}

static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value) {
  put16(at, value >> 16);
  put16(at + 2, value & 0xffff);
}

static uint32_t sum(const uint8_t *at, int length) {
  uint32_t total = 0;
  for (int n = 0; n + 1 < length; n += 2) total += (uint32_t)at[n] << 8 | at[n + 1];
  return total;
}

static unsigned fold(uint32_t total) {
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return ~total & 0xffff;
}

/* A public address that is nobody's here. */
static uint32_t stranger(void) { return 0x1e000000u | (any() & 0xffffff) | 1; }

static uint8_t *ip4(uint8_t *ip, uint32_t source, uint32_t target, int protocol, int payload, int ttl, int fragment) {
  memset(ip, 0, 20);
  ip[0] = 0x45;
  put16(ip + 2, 20 + (unsigned)payload);
  put16(ip + 4, any() & 0xffff);
  put16(ip + 6, (unsigned)fragment);
  ip[8] = (uint8_t)ttl;
  ip[9] = (uint8_t)protocol;
  put32(ip + 12, source);
  put32(ip + 16, target);
  put16(ip + 10, fold(sum(ip, 20)));
  return ip + 20;
}

static void seal(uint8_t *ip, uint8_t *at, int length, int field) {
  put16(at + field, 0);
  put16(at + field, fold(sum(at, length) + sum(ip + 12, 8) + ip[9] + (uint32_t)length));
}

/* IPv6 from a stranger of fd99::/16, or of the target's own network. */
static uint8_t *ip6(uint8_t *ip, const uint8_t *near, const uint8_t *to, int next, int payload) {
  memset(ip, 0, 40);
  ip[0] = 0x60;
  put16(ip + 4, (unsigned)payload);
  ip[6] = (uint8_t)next;
  ip[7] = 255;
  if (near != 0) memcpy(ip + 8, near, 8);
  else put16(ip + 8, 0xfd99), put32(ip + 10, any());
  put32(ip + 16, any());
  put32(ip + 20, any());
  memcpy(ip + 24, to, 16);
  return ip + 40;
}

static void seal6(uint8_t *ip, uint8_t *at, int length, int field, int protocol) {
  put16(at + field, 0);
  put16(at + field, fold(sum(at, length) + sum(ip + 8, 32) + (uint32_t)protocol + (uint32_t)length));
}

static int make(uint8_t *frame, const char *kind, uint32_t target, uint32_t vip) {
  uint8_t *ip = frame + 14;
  put16(frame + 12, 0x0800);
  if (!strcmp(kind, "junk")) {
    put16(frame + 12, 0x88b5);
    return 60;
  }
  if (!strcmp(kind, "ndp")) {
    put16(frame + 12, 0x86dd);
    uint8_t *icmp = ip6(ip, target6, target6, 58, 32);
    memset(icmp, 0, 32);
    icmp[0] = 135;
    memcpy(icmp + 8, target6, 16);
    icmp[24] = icmp[25] = 1;
    icmp[26] = 2;
    put32(icmp + 28, any());
    seal6(ip, icmp, 32, 2, 58);
    return 14 + 40 + 32;
  }
  if (!strcmp(kind, "fragment6")) {
    put16(frame + 12, 0x86dd);
    uint8_t *part = ip6(ip, 0, vip6, 44, 40);
    memset(part, 0, 40);
    part[0] = 17;
    put16(part + 2, 1);
    put32(part + 4, any());
    put16(part + 8, 1024 + any() % 60000);
    put16(part + 10, 7000);
    put16(part + 12, 1000);
    return 14 + 40 + 40;
  }
  if (!strcmp(kind, "arp") || !strcmp(kind, "spoof")) {
    static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    int lies = kind[0] == 's';
    uint32_t sender = lies ? target : (target & 0xffffff00u) | (128 + any() % 120);
    put16(frame + 12, 0x0806);
    memcpy(ip, head, 8);
    ip[8] = 2;
    for (int n = 9; n < 14; n++) ip[n] = (uint8_t)any();
    put32(ip + 14, sender);
    memset(ip + 18, 0, 6);
    put32(ip + 24, target);
    return 60;
  }
  if (!strcmp(kind, "syn") || !strcmp(kind, "ack")) {
    int syn = kind[0] == 's';
    uint8_t *tcp = ip4(ip, stranger(), vip, 6, 40, 64, 0x4000);
    static const uint8_t options[20] = {2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7};
    memset(tcp, 0, 20);
    put16(tcp, 1024 + any() % 60000);
    put16(tcp + 2, 80);
    put32(tcp + 4, any());
    put32(tcp + 8, syn ? 0 : any());
    tcp[12] = 0xa0;
    tcp[13] = syn ? 2 : 16;
    put16(tcp + 14, 64240);
    memcpy(tcp + 20, options, 20);
    seal(ip, tcp, 40, 16);
    return 14 + 20 + 40;
  }
  if (!strcmp(kind, "icmp")) {
    uint8_t *icmp = ip4(ip, stranger(), vip, 1, 36, 64, 0);
    memset(icmp, 0, 8);
    icmp[0] = 3;
    icmp[1] = 1;
    uint8_t *inner = ip4(icmp + 8, vip, stranger(), 6, 20, 64, 0);
    put32(inner, any());
    put32(inner + 4, any());
    put16(icmp + 2, fold(sum(icmp, 36)));
    return 14 + 20 + 36;
  }
  int fragment = !strcmp(kind, "fragment");
  int dying = !strcmp(kind, "ttl");
  uint8_t *udp = ip4(ip, stranger(), dying ? target : vip, 17, 24, dying ? 1 : 64, fragment ? 0x2000 : 0);
  memset(udp, 0, 24);
  put16(udp, 1024 + any() % 60000);
  put16(udp + 2, 7000);
  put16(udp + 4, 24);
  seal(ip, udp, 24, 6);
  return 14 + 20 + 24;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **words) {
  if (count != 8) {
    fprintf(stderr, "flood DEVICE DST-MAC KIND TARGET VIP FRAMES/S SECONDS\n");
    return 2;
  }
  static uint8_t frames[BATCH][FRAME];
  struct iovec parts[BATCH];
  struct mmsghdr messages[BATCH];
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(words[1]), .sll_halen = 6};
  unsigned mac[6];
  if (to.sll_ifindex == 0 ||
      sscanf(words[2], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) {
    fprintf(stderr, "flood: no such device or MAC\n");
    return 2;
  }
  inet_pton(AF_INET6, words[4], target6);
  inet_pton(AF_INET6, words[5], vip6);
  uint32_t target = ntohl(inet_addr(words[4]));
  uint32_t vip = ntohl(inet_addr(words[5]));
  double rate = atof(words[6]);
  double length = atof(words[7]);
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof to) < 0) {
    perror("flood");
    return 1;
  }
  memset(messages, 0, sizeof messages);
  for (int n = 0; n < BATCH; n++) {
    for (int m = 0; m < 6; m++) frames[n][m] = (uint8_t)mac[m];
    frames[n][6] = 2;
    frames[n][11] = 0x66;
    parts[n].iov_base = frames[n];
    messages[n].msg_hdr.msg_iov = &parts[n];
    messages[n].msg_hdr.msg_iovlen = 1;
  }
  state ^= (uint64_t)getpid() << 32;
  double began = seconds();
  uint64_t sent = 0;
  for (;;) {
    double passed = seconds() - began;
    if (passed >= length) break;
    if (rate > 0 && (double)sent > passed * rate) {
      usleep(500);
      continue;
    }
    for (int n = 0; n < BATCH; n++) parts[n].iov_len = (size_t)make(frames[n], words[3], target, vip);
    int done = sendmmsg(fd, messages, BATCH, 0);
    if (done > 0) sent += (uint64_t)done;
  }
  printf("%llu\n", (unsigned long long)sent);
  return 0;
}
