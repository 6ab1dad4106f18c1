/*
 * Copies frames between two TAPs with io_uring, by raw system calls: one multishot read a device over a ring of
 * provided buffers, one write a frame, one io_uring_enter a turn. See forward.h.
 */
#include "forward.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define ENTRIES 256
#define BUFFERS 128
#define READ_MULTISHOT 49
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

/* The buffer ring's ABI, written out because headers older than the kernel lack it. */
struct buffer {
  uint64_t address;
  uint32_t length;
  uint16_t id;
  uint16_t tail; /* of the ring, in the first entry */
};
struct buffer_registration {
  uint64_t address;
  uint32_t entries;
  uint16_t group, flags;
  uint64_t reserved[3];
};

static int ring;
static uint32_t *sq_tail, *sq_array, *cq_head, *cq_tail, sq_mask, cq_mask;
static struct io_uring_sqe *sqes;
static struct io_uring_cqe *cqes;
static uint32_t queued;
static struct buffer *provided[2];
static uint16_t provided_tail[2];
static uint8_t *frames;
/* Buffers whose frames go out with the next enter. */
static struct {
  uint8_t side;
  uint16_t id;
} outgoing[ENTRIES];
static int outgoing_count;

static uint8_t *frame_of(int side, uint16_t id) { return frames + ((size_t)side * BUFFERS + id) * STRIDE; }

static void provide(int side, uint16_t id) {
  struct buffer *buffer = &provided[side][provided_tail[side] & (BUFFERS - 1)];
  buffer->address = (uintptr_t)frame_of(side, id);
  buffer->length = FRAME_MAX;
  buffer->id = id;
  provided_tail[side]++;
}

static void publish(int side) { __atomic_store_n(&provided[side][0].tail, provided_tail[side], __ATOMIC_RELEASE); }

static struct io_uring_sqe *next_sqe(void) {
  uint32_t at = (*sq_tail + queued) & sq_mask;
  sq_array[at] = at;
  queued++;
  struct io_uring_sqe *sqe = &sqes[at];
  memset(sqe, 0, sizeof *sqe);
  return sqe;
}

static void enter(uint32_t wait) {
  __atomic_store_n(sq_tail, *sq_tail + queued, __ATOMIC_RELEASE);
  int consumed = (int)syscall(__NR_io_uring_enter, ring, queued, wait, IORING_ENTER_GETEVENTS, NULL, 0);
  if (consumed < 0) {
    if (errno == EINTR) consumed = 0;
    else fail("io_uring_enter");
  }
  queued = queued > (uint32_t)consumed ? queued - (uint32_t)consumed : 0;
  *sq_tail -= queued;
  /* RWF_NOWAIT writes are finished when they are consumed. */
  if (queued == 0) {
    for (int i = 0; i < outgoing_count; i++) provide(outgoing[i].side, outgoing[i].id);
    if (outgoing_count > 0) {
      publish(0);
      publish(1);
    }
    outgoing_count = 0;
  }
}

static void arm(int side) {
  struct io_uring_sqe *sqe = next_sqe();
  sqe->opcode = READ_MULTISHOT;
  sqe->fd = forwarder.fd[side];
  sqe->flags = IOSQE_BUFFER_SELECT;
  sqe->off = (uint64_t)-1;
  sqe->buf_group = (uint16_t)side;
  sqe->user_data = (uint64_t)side;
}

static void set_up(void) {
  struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
                                            IORING_SETUP_DEFER_TASKRUN,
                                   .cq_entries = ENTRIES * 4};
  ring = (int)syscall(__NR_io_uring_setup, ENTRIES, &params);
  if (ring < 0) fail("io_uring_setup");
  size_t sq_size = params.sq_off.array + params.sq_entries * 4;
  size_t cq_size = params.cq_off.cqes + params.cq_entries * sizeof *cqes;
  uint8_t *rings = mmap(NULL, sq_size > cq_size ? sq_size : cq_size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
  sqes = mmap(NULL, params.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring,
              IORING_OFF_SQES);
  if (rings == MAP_FAILED || sqes == MAP_FAILED) fail("mmap");
  sq_tail = (uint32_t *)(rings + params.sq_off.tail);
  sq_array = (uint32_t *)(rings + params.sq_off.array);
  sq_mask = *(uint32_t *)(rings + params.sq_off.ring_mask);
  cq_head = (uint32_t *)(rings + params.cq_off.head);
  cq_tail = (uint32_t *)(rings + params.cq_off.tail);
  cq_mask = *(uint32_t *)(rings + params.cq_off.ring_mask);
  cqes = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
  frames = mmap(NULL, (size_t)2 * BUFFERS * STRIDE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (frames == MAP_FAILED) fail("mmap");
  for (int side = 0; side < 2; side++) {
    provided[side] =
        mmap(NULL, BUFFERS * sizeof(struct buffer), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct buffer_registration registration = {
        .address = (uintptr_t)provided[side], .entries = BUFFERS, .group = (uint16_t)side};
    if (syscall(__NR_io_uring_register, ring, 22, &registration, 1) < 0) fail("provided buffers");
    for (uint16_t id = 0; id < BUFFERS; id++) provide(side, id);
    publish(side);
    arm(side);
  }
}

int main(int argc, char **argv) {
  parse(argc, argv);
  for (int side = 0; side < 2; side++) {
    fcntl(forwarder.fd[side], F_SETFL, fcntl(forwarder.fd[side], F_GETFL) & ~O_NONBLOCK);
  }
  set_up();
  ready();
  while (!ended) {
    enter(outgoing_count > 0 ? 0 : 1);
    uint32_t head = *cq_head, tail = __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE);
    for (; head != tail && queued < ENTRIES - 4; head++) {
      struct io_uring_cqe *cqe = &cqes[head & cq_mask];
      if (cqe->user_data > 1) continue; /* a write that failed: dropped */
      int side = (int)cqe->user_data;
      if (cqe->flags & IORING_CQE_F_BUFFER) {
        uint16_t id = (uint16_t)(cqe->flags >> 16);
        if (cqe->res > 0 && rewrite(frame_of(side, id), cqe->res, side)) {
          struct io_uring_sqe *sqe = next_sqe();
          sqe->opcode = IORING_OP_WRITE;
          sqe->fd = forwarder.fd[1 - side];
          sqe->addr = (uintptr_t)frame_of(side, id);
          sqe->len = (uint32_t)cqe->res;
          sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
          sqe->rw_flags = RWF_NOWAIT;
          sqe->user_data = 2;
          outgoing[outgoing_count].side = (uint8_t)side;
          outgoing[outgoing_count++].id = id;
        } else {
          provide(side, id);
          publish(side);
        }
      }
      /* No MORE: out of buffers, or ended. */
      if (!(cqe->flags & IORING_CQE_F_MORE) && (cqe->res > 0 || cqe->res == -ENOBUFS)) arm(side);
    }
    __atomic_store_n(cq_head, head, __ATOMIC_RELEASE);
  }
  return 0;
}
