/*
 * Copies frames between two TAPs with poll, read and write. See forward.h. After DEVICE DEVICE, `--spin N` polls for N
 * microseconds before it sleeps, as the appliance does.
 */
#include "forward.h"
#include <poll.h>
#include <time.h>

static uint8_t frame[FRAME_MAX + 1] __attribute__((aligned(64)));

static uint64_t nanoseconds(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

int main(int argc, char **argv) {
  parse(argc, argv);
  uint64_t spin = (uint64_t)forwarder.spin * 1000, busy = 0;
  struct pollfd wait[2];
  for (int side = 0; side < 2; side++) {
    fcntl(forwarder.fd[side], F_SETFL, fcntl(forwarder.fd[side], F_GETFL) | O_NONBLOCK);
    wait[side] = (struct pollfd){.fd = forwarder.fd[side], .events = POLLIN};
  }
  ready();
  while (!ended) {
    int found = 0;
    if (spin > 0) {
      while ((found = poll(wait, 2, 0)) == 0 && nanoseconds() - busy < spin)
        ;
    }
    if (found == 0 && poll(wait, 2, -1) < 0 && errno != EINTR) fail("poll");
    if (spin > 0) busy = nanoseconds();
    for (int side = 0; side < 2; side++) {
      if (wait[side].revents & (POLLERR | POLLNVAL)) return 1;
      if (!(wait[side].revents & POLLIN)) continue;
      /* At most 64 from one side, so that the other's answers are not kept waiting. */
      for (int n = 0; n < 64; n++) {
        ssize_t length = read(forwarder.fd[side], frame, FRAME_MAX);
        if (length <= 0) break;
        /* A full or closed device drops, as the appliance does. */
        if (rewrite(frame, (int)length, side) && write(forwarder.fd[1 - side], frame, (size_t)length) < 0) continue;
      }
    }
  }
  return 0;
}
