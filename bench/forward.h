/*
 * What the bare forwarders share: devices, arguments and the rewriting of NAT. They do nothing else: one connection
 * endpoint on each side, fixed by arguments, no tables, no ARP (the neighbours are static), so that they show what
 * the device path costs by itself.
 */
#ifndef BENCH_FORWARD_H
#define BENCH_FORWARD_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define VNET_SIZE 12
#define FRAME_MAX 65565
#define STRIDE 69824

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct nat {
  int on;
  uint32_t virtual_address, server_address;
  uint16_t virtual_port, server_port;
  /* Of the forwarder on either side, and of who is met there. */
  uint8_t outer[6], inner[6], client[6], server[6];
};

static struct {
  int fd[2];
  int spin;
  struct nat nat;
} forwarder = {.fd = {-1, -1}};

static volatile sig_atomic_t ended;
static void end(int signal) {
  (void)signal;
  ended = 1;
}

static void fail(const char *what) {
  fprintf(stderr, "forward: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void usage(void) {
  fputs("forward DEVICE DEVICE [--nat VIP:PORT,RIP:PORT --mac OUTER,INNER,CLIENT,SERVER] [--spin MICROSECONDS]\n"
        "DEVICE is the name of a TAP, or fd:N for one that is inherited; the first lies on the clients' side.\n",
        stderr);
  exit(2);
}

/* A name is opened as the appliance opens it: vnet_hdr of 12 bytes, the same offloads. */
static int open_device(const char *name) {
  if (strncmp(name, "fd:", 3) == 0) return atoi(name + 3);
  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0) fail("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(fd, TUNSETIFF, &request) < 0) fail(name);
  int size = VNET_SIZE;
  if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0) fail("TUNSETVNETHDRSZ");
  unsigned long offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (ioctl(fd, TUNSETOFFLOAD, offload | TUN_F_USO4 | TUN_F_USO6) < 0 && ioctl(fd, TUNSETOFFLOAD, offload) < 0)
    fail("TUNSETOFFLOAD");
  return fd;
}

static char *endpoint(char *text, uint32_t *address, uint16_t *port) {
  char *colon = strchr(text, ':');
  if (colon == NULL) usage();
  *colon = 0;
  struct in_addr in;
  if (inet_pton(AF_INET, text, &in) != 1) usage();
  *address = in.s_addr;
  char *rest;
  *port = htons((uint16_t)strtoul(colon + 1, &rest, 10));
  return *rest == ',' ? rest + 1 : rest;
}

static void parse(int argc, char **argv) {
  if (argc < 3) usage();
  struct nat *nat = &forwarder.nat;
  int macs = 0;
  for (int i = 3; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--nat") == 0) {
      char *rest = endpoint(argv[i + 1], &nat->virtual_address, &nat->virtual_port);
      endpoint(rest, &nat->server_address, &nat->server_port);
      nat->on = 1;
    } else if (strcmp(argv[i], "--mac") == 0) {
      uint8_t *to[4] = {nat->outer, nat->inner, nat->client, nat->server};
      char *text = argv[i + 1];
      for (int m = 0; m < 4; m++) {
        for (int b = 0; b < 6; b++) {
          char *rest;
          to[m][b] = (uint8_t)strtoul(text, &rest, 16);
          text = *rest == 0 ? rest : rest + 1;
        }
      }
      macs = 1;
    } else if (strcmp(argv[i], "--spin") == 0) {
      forwarder.spin = atoi(argv[i + 1]);
    } else
      usage();
  }
  if (nat->on && !macs) usage();
  for (int i = 0; i < 2; i++) forwarder.fd[i] = open_device(argv[1 + i]);
  struct sigaction action = {.sa_handler = end};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
}

static void ready(void) {
  puts("forwarding");
  fflush(stdout);
}

static inline uint32_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint32_t)((sum & 0xffff) + (sum >> 16));
}

static inline uint16_t get16(const uint8_t *at) {
  uint16_t value;
  memcpy(&value, at, 2);
  return value;
}
static inline uint32_t get32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return value;
}
static inline void put16(uint8_t *at, uint32_t value) {
  uint16_t word = (uint16_t)value;
  memcpy(at, &word, 2);
}

/*
 * Rewrites a frame that came from side 0 (clients) or 1 (servers) in place; 0 when it is none of the endpoint's.
 * The cost of the appliance's own NAT without its tables: addresses, ports, TTL, MACs, incremental checksums.
 */
static inline int rewrite(uint8_t *frame, int length, int side) {
  const struct nat *nat = &forwarder.nat;
  if (!nat->on) return 1;
  if (length < VNET_SIZE + 14 + 20) return 0;
  uint8_t *ethernet = frame + VNET_SIZE, *ip = ethernet + 14;
  if (get16(ethernet + 12) != htons(0x0800) || ip[0] >> 4 != 4) return 0;
  int header = (ip[0] & 15) * 4;
  int check_at = ip[9] == 6 ? 16 : ip[9] == 17 ? 6 : 0;
  if (header < 20 || check_at == 0 || length < VNET_SIZE + 14 + header + check_at + 2 || ip[8] < 2) return 0;
  if (get16(ip + 6) & htons(0x3fff)) return 0;
  uint8_t *transport = ip + header;
  uint8_t *address = ip + (side == 0 ? 16 : 12), *port = transport + (side == 0 ? 2 : 0);
  uint32_t from = side == 0 ? nat->virtual_address : nat->server_address;
  uint32_t to = side == 0 ? nat->server_address : nat->virtual_address;
  uint16_t from_port = side == 0 ? nat->virtual_port : nat->server_port;
  uint16_t to_port = side == 0 ? nat->server_port : nat->virtual_port;
  if (get32(address) != from || get16(port) != from_port) return 0;

  uint32_t check = get16(transport + check_at);
  if (frame[0] & 1) {
    /* Partial: the field holds the un-inverted sum of the pseudo-header; the ports are not in it. */
    put16(transport + check_at, fold((uint64_t)check + (uint32_t)~from + to));
  } else if (check != 0 || ip[9] == 6) {
    uint32_t updated =
        ~fold((uint64_t)(~check & 0xffff) + (uint32_t)~from + to + (uint16_t)~from_port + to_port) & 0xffff;
    put16(transport + check_at, updated == 0 && ip[9] == 17 ? 0xffff : updated);
  }
  memcpy(address, &to, 4);
  put16(port, to_port);
  uint32_t ttl = get16(ip + 8);
  ip[8]--;
  put16(ip + 10, ~fold((uint64_t)(~(uint32_t)get16(ip + 10) & 0xffff) + (uint32_t)~from + to + (uint16_t)~ttl +
                       get16(ip + 8)) &
                     0xffff);
  memcpy(ethernet, side == 0 ? nat->server : nat->client, 6);
  memcpy(ethernet + 6, side == 0 ? nat->inner : nat->outer, 6);
  return 1;
}

#endif
