/*
 * A thin ring over the raw calls io_uring_setup(2), io_uring_enter(2) and io_uring_register(2) of Linux 6.1: set-up,
 * submission, completion, and one provided-buffer group. Single-threaded; any failure ends the program.
 */
#ifndef BENCH_URING_H
#define BENCH_URING_H

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uring {
    int fd;
    int enter_fd; /* index of the registered ring descriptor, or fd */
    unsigned enter_flags;
    unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask, sq_entries;
    unsigned tail; /* submissions prepared; the kernel sees them at the next enter */
    unsigned submitted;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

struct buffer_group {
    struct io_uring_buf_ring *ring;
    char *bytes;
    uint16_t count; /* a power of two */
    uint32_t size;  /* of each buffer */
    uint16_t tail;
    uint16_t published;
};

void uring_open(struct uring *ring, unsigned submissions, unsigned completions);
/* An empty submission. When the queue is full, what is in it is submitted first. */
struct io_uring_sqe *uring_prepare(struct uring *ring);
/* Submit what is prepared and wait until at least one completion is there. */
void uring_submit_and_wait(struct uring *ring);

static inline unsigned uring_completions(const struct uring *ring)
{
    return __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - *ring->cq_head;
}

static inline const struct io_uring_cqe *uring_completion(const struct uring *ring, unsigned index)
{
    return &ring->cqes[(*ring->cq_head + index) & ring->cq_mask];
}

static inline void uring_seen(struct uring *ring, unsigned count)
{
    __atomic_store_n(ring->cq_head, *ring->cq_head + count, __ATOMIC_RELEASE);
}

/* A group with identifier 0 whose buffers are all the kernel's. */
void buffers_open(struct buffer_group *group, struct uring *ring, unsigned count, unsigned size);

static inline char *buffer_bytes(const struct buffer_group *group, unsigned id)
{
    return group->bytes + (size_t)id * group->size;
}

/* Give a buffer back; the kernel sees it after buffers_publish. */
static inline void buffer_return(struct buffer_group *group, unsigned id)
{
    struct io_uring_buf *entry = &group->ring->bufs[group->tail & (group->count - 1u)];
    entry->addr = (uint64_t)(uintptr_t)buffer_bytes(group, id);
    entry->len = group->size;
    entry->bid = (uint16_t)id;
    group->tail++;
}

/* True when buffers were returned since the last call. */
static inline bool buffers_publish(struct buffer_group *group)
{
    if (group->published == group->tail)
        return false;
    __atomic_store_n(&group->ring->tail, group->tail, __ATOMIC_RELEASE);
    group->published = group->tail;
    return true;
}

#endif
