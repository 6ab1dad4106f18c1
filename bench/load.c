/*
 * The clients and servers that forwarders are measured with. They do as little as they can: bulk is sent from a file in
 * memory and dropped by the receiving socket without a copy, so that it is the forwarder that is busy.
 *
 *   load sink PORT                           takes TCP in; a line "BYTES SECONDS" whenever the last connection has ended
 *   load bulk ADDRESS PORT SECONDS FLOWS     sends TCP
 *   load echo PORT                           answers each request of SIZE bytes with as many
 *   load ask ADDRESS PORT SECONDS            one request after the other; "COUNT P50 P99" in nanoseconds
 *   load hole PORT                           a UDP socket that nobody reads
 *   load flood ADDRESS PORT SECONDS FLOWS    sends UDP as fast as it can; "COUNT"
 *
 * Servers print "listening" first.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 256
#define CHUNK (1 << 20)
#define REQUEST 64
/* 64-byte frames, without the frame check sequence. */
#define DATAGRAM 22
#define BATCH 64
/* What finds no way back within this long is not waited for. */
#define PATIENCE 10

static uint8_t chunk[CHUNK];

static void fail(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static int open_socket(int type, const char *address, const char *port, int flags) {
  int fd = socket(AF_INET, type | SOCK_CLOEXEC | flags, 0), on = 1;
  if (fd < 0) fail("socket");
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (address == NULL) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&to, sizeof to) < 0) fail("bind");
    if (type == SOCK_STREAM && listen(fd, MOST) < 0) fail("listen");
    puts("listening");
    fflush(stdout);
    return fd;
  }
  if (inet_pton(AF_INET, address, &to.sin_addr) != 1) fail(address);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
  if (type == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

/* Serves whoever comes; `serve` returns 0 when its connection is over. */
static void serve_all(const char *port, int (*serve)(int fd), void (*idle)(void)) {
  struct pollfd wait[MOST + 1] = {{.fd = open_socket(SOCK_STREAM, NULL, port, SOCK_NONBLOCK), .events = POLLIN}};
  nfds_t count = 1;
  for (;;) {
    if (poll(wait, count, -1) < 0 && errno != EINTR) fail("poll");
    for (nfds_t i = count - 1; i > 0; i--) {
      if (wait[i].revents == 0 || serve(wait[i].fd)) continue;
      close(wait[i].fd);
      wait[i] = wait[--count];
      if (count == 1 && idle != NULL) idle();
    }
    if ((wait[0].revents & POLLIN) && count <= MOST) {
      int fd = accept4(wait[0].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
      if (fd < 0) continue;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      wait[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
  }
}

static uint64_t taken, began, last;

static int sink(int fd) {
  for (int n = 0; n < 4; n++) {
    /* MSG_TRUNC: TCP drops what it would have copied. */
    ssize_t got = recv(fd, chunk, CHUNK, MSG_TRUNC | MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return 0;
    last = now();
    if (taken == 0) began = last;
    taken += (uint64_t)got;
  }
  return 1;
}

static void tell_taken(void) {
  printf("%llu %.6f\n", (unsigned long long)taken, (double)(last - began) / 1e9);
  fflush(stdout);
  taken = 0;
}

static int echo(int fd) {
  ssize_t got = recv(fd, chunk, CHUNK, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  return got > 0 && send(fd, chunk, (size_t)got, MSG_NOSIGNAL) == got;
}

static void bulk(char **argv) {
  int flows = atoi(argv[3]), file = memfd_create("bulk", MFD_CLOEXEC);
  if (flows < 1 || flows > MOST || file < 0 || ftruncate(file, CHUNK) < 0) fail("bulk");
  struct pollfd to[MOST];
  off_t at[MOST] = {0};
  for (int i = 0; i < flows; i++) {
    to[i] = (struct pollfd){.fd = open_socket(SOCK_STREAM, argv[0], argv[1], 0), .events = POLLOUT};
    fcntl(to[i].fd, F_SETFL, O_NONBLOCK);
  }
  uint64_t end = now() + (uint64_t)(atof(argv[2]) * 1e9);
  while (now() < end) {
    if (poll(to, (nfds_t)flows, 100) < 0 && errno != EINTR) fail("poll");
    for (int i = 0; i < flows; i++) {
      if (!(to[i].revents & POLLOUT)) continue;
      if (at[i] == CHUNK) at[i] = 0;
      if (sendfile(to[i].fd, file, &at[i], (size_t)(CHUNK - at[i])) < 0 && errno != EAGAIN) fail("sendfile");
    }
  }
}

static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static void ask(char **argv) {
  size_t room = 1 << 20, count = 0;
  uint32_t *took = malloc(room * sizeof *took);
  int fd = open_socket(SOCK_STREAM, argv[0], argv[1], 0);
  struct timeval patience = {.tv_sec = PATIENCE};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  uint64_t from = now(), end = from + (uint64_t)(atof(argv[2]) * 1e9);
  while (from < end && count < room) {
    if (send(fd, chunk, REQUEST, 0) != REQUEST) fail("send");
    for (ssize_t got = 0, more; got < REQUEST; got += more) {
      more = recv(fd, chunk, (size_t)(REQUEST - got), 0);
      if (more <= 0) fail("recv");
    }
    uint64_t then = now();
    took[count++] = (uint32_t)(then - from);
    from = then;
  }
  qsort(took, count, sizeof *took, ascending);
  printf("%zu %u %u\n", count, took[count / 2], took[count - 1 - count / 100]);
}

static void flood(char **argv) {
  int flows = atoi(argv[3]), fds[MOST];
  if (flows < 1 || flows > MOST) fail("flood");
  for (int i = 0; i < flows; i++) fds[i] = open_socket(SOCK_DGRAM, argv[0], argv[1], 0);
  struct mmsghdr messages[BATCH];
  struct iovec body = {chunk, DATAGRAM};
  for (int i = 0; i < BATCH; i++) messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &body, .msg_iovlen = 1}};
  uint64_t sent = 0, end = now() + (uint64_t)(atof(argv[2]) * 1e9);
  for (int i = 0; now() < end; i = (i + 1) % flows) {
    int some = sendmmsg(fds[i], messages, BATCH, 0);
    if (some > 0) sent += (uint64_t)some;
    else if (errno != ENOBUFS && errno != ECONNREFUSED && errno != EAGAIN) fail("sendmmsg");
  }
  printf("%llu\n", (unsigned long long)sent);
}

int main(int argc, char **argv) {
  const char *what = argc > 2 ? argv[1] : "";
  signal(SIGPIPE, SIG_IGN);
  if (strcmp(what, "sink") == 0) serve_all(argv[2], sink, tell_taken);
  else if (strcmp(what, "echo") == 0) serve_all(argv[2], echo, NULL);
  else if (strcmp(what, "hole") == 0) {
    int fd = open_socket(SOCK_DGRAM, NULL, argv[2], 0), least = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
    for (;;) pause();
  } else if (strcmp(what, "bulk") == 0 && argc == 6) bulk(argv + 2);
  else if (strcmp(what, "ask") == 0 && argc == 5) ask(argv + 2);
  else if (strcmp(what, "flood") == 0 && argc == 6) flood(argv + 2);
  else {
    fputs("load: see the head of bench/load.c\n", stderr);
    return 2;
  }
  return 0;
}
