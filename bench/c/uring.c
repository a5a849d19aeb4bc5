#define _GNU_SOURCE
#include "uring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fail.h"

static int sys_register(int fd, unsigned opcode, void *argument, unsigned count)
{
    return (int)syscall(__NR_io_uring_register, fd, opcode, argument, count);
}

static void *map_shared(int fd, size_t length, off_t offset, const char *what)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
    if (memory == MAP_FAILED)
        fail(errno, "cannot map the ring's %s", what);
    return memory;
}

static void map_queues(struct uring *ring, const struct io_uring_params *params)
{
    size_t sq_length = params->sq_off.array + params->sq_entries * sizeof(unsigned);
    size_t cq_length = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    /* One mapping serves both queues since Linux 5.4 (IORING_FEAT_SINGLE_MMAP). */
    char *queues =
        map_shared(ring->fd, sq_length > cq_length ? sq_length : cq_length, IORING_OFF_SQ_RING, "queues");
    ring->sqes = map_shared(ring->fd, params->sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES, "submissions");
    ring->sq_head = (unsigned *)(void *)(queues + params->sq_off.head);
    ring->sq_tail = (unsigned *)(void *)(queues + params->sq_off.tail);
    ring->sq_mask = params->sq_entries - 1u;
    ring->sq_entries = params->sq_entries;
    ring->cq_head = (unsigned *)(void *)(queues + params->cq_off.head);
    ring->cq_tail = (unsigned *)(void *)(queues + params->cq_off.tail);
    ring->cq_mask = params->cq_entries - 1u;
    ring->cqes = (struct io_uring_cqe *)(void *)(queues + params->cq_off.cqes);
    /* Submissions are taken in ring order, so the index array never changes. */
    unsigned *array = (unsigned *)(void *)(queues + params->sq_off.array);
    for (unsigned i = 0; i < params->sq_entries; i++)
        array[i] = i;
}

/* A registered descriptor saves the reference count of the file in every enter; without it the ring works as well. */
static void register_descriptor(struct uring *ring)
{
    struct io_uring_rsrc_update update = {.offset = ~0u, .data = (uint64_t)ring->fd};
    ring->enter_fd = ring->fd;
    ring->enter_flags = IORING_ENTER_GETEVENTS;
    if (sys_register(ring->fd, IORING_REGISTER_RING_FDS, &update, 1) != 1)
        return;
    ring->enter_fd = (int)update.offset;
    ring->enter_flags |= IORING_ENTER_REGISTERED_RING;
}

void uring_open(struct uring *ring, unsigned submissions, unsigned completions)
{
    struct io_uring_params params = {.cq_entries = completions};
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_SUBMIT_ALL;
    memset(ring, 0, sizeof *ring);
    ring->fd = (int)syscall(__NR_io_uring_setup, submissions, &params);
    if (ring->fd < 0)
        fail(errno, "io_uring_setup refused (needs Linux 6.1, no seccomp filter against io_uring, "
                    "and kernel.io_uring_disabled=0)");
    map_queues(ring, &params);
    register_descriptor(ring);
}

static void enter(struct uring *ring, unsigned wait_for)
{
    __atomic_store_n(ring->sq_tail, ring->tail, __ATOMIC_RELEASE);
    long submitted = syscall(__NR_io_uring_enter, ring->enter_fd, ring->tail - ring->submitted, wait_for,
                             ring->enter_flags, NULL, 0);
    if (submitted >= 0)
        ring->submitted += (unsigned)submitted;
    else if (errno != EINTR && errno != EAGAIN && errno != EBUSY)
        fail(errno, "io_uring_enter");
}

struct io_uring_sqe *uring_prepare(struct uring *ring)
{
    while (ring->tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) == ring->sq_entries)
        enter(ring, 0);
    struct io_uring_sqe *sqe = &ring->sqes[ring->tail++ & ring->sq_mask];
    memset(sqe, 0, sizeof *sqe);
    return sqe;
}

void uring_submit_and_wait(struct uring *ring)
{
    enter(ring, 1);
}

static void *map_private(size_t length)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail(errno, "cannot map %zu bytes of receive buffers", length);
    return memory;
}

void buffers_open(struct buffer_group *group, struct uring *ring, unsigned count, unsigned size)
{
    memset(group, 0, sizeof *group);
    group->count = (uint16_t)count;
    group->size = size;
    group->ring = map_private(count * sizeof(struct io_uring_buf));
    group->bytes = map_private((size_t)count * size);
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)group->ring, .ring_entries = count};
    if (sys_register(ring->fd, IORING_REGISTER_PBUF_RING, &registration, 1) < 0)
        fail(errno, "cannot register a ring of %u buffers", count);
    for (unsigned id = 0; id < count; id++)
        buffer_return(group, id);
    buffers_publish(group);
}
