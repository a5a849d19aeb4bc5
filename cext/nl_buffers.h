/*
 * A provided-buffer group: memory shared by all receives, from which the kernel takes a buffer when data is there.
 *
 * The address range for the largest size is reserved at once and committed by the first write to a page, so an idle
 * loop pays nothing for it. The group starts small, because buffers are used in rotation and a large pool is cold in
 * the cache; it doubles when the kernel finds it empty.
 */
#ifndef NL_BUFFERS_H
#define NL_BUFFERS_H

#include "nl_ring.h"

struct nl_buffers {
    struct io_uring_buf_ring *queue; /* NULL: not registered */
    size_t queue_bytes;
    unsigned mask;
    uint16_t tail;
    uint16_t group;
    unsigned char *memory;
    size_t memory_bytes;
    size_t size;         /* of one buffer, bytes */
    unsigned total;      /* buffers the group holds now */
    unsigned limit;      /* buffers it may grow to */
    unsigned taken;      /* handed out by the kernel and not yet returned */
    unsigned high_water;
    uint64_t exhausted;  /* how often the kernel found the group empty */
};

/* Register a group of `total` buffers that may grow to `limit` (at most 32,768). */
int nl_buffers_open(struct nl_buffers *buffers, struct nl_ring *ring, unsigned group, size_t size, unsigned total,
                    unsigned limit);

/* Free the memory. The ring must be closed or have nothing in flight on the group. */
void nl_buffers_close(struct nl_buffers *buffers);

/* The group ran dry: double it, up to its limit. Says whether buffers were added. */
bool nl_buffers_grow(struct nl_buffers *buffers);

static inline void nl_buffers_offer(struct nl_buffers *buffers, unsigned id)
{
    struct io_uring_buf *entry = &buffers->queue->bufs[buffers->tail & buffers->mask];
    /* The tail lies in the first entry's reserved field, so the fields are stored one by one. */
    entry->addr = (uint64_t)(uintptr_t)(buffers->memory + id * buffers->size);
    entry->len = (uint32_t)buffers->size;
    entry->bid = (uint16_t)id;
    buffers->tail++;
    __atomic_store_n(&buffers->queue->tail, buffers->tail, __ATOMIC_RELEASE);
}

/* A completion carries a buffer: where its data is. */
static inline const unsigned char *nl_buffers_take(struct nl_buffers *buffers, unsigned completion_flags)
{
    buffers->taken++;
    if (buffers->taken > buffers->high_water)
        buffers->high_water = buffers->taken;
    return buffers->memory + (completion_flags >> IORING_CQE_BUFFER_SHIFT) * buffers->size;
}

/* The data has been used: the kernel may fill the buffer again. */
static inline void nl_buffers_give(struct nl_buffers *buffers, unsigned completion_flags)
{
    buffers->taken--;
    nl_buffers_offer(buffers, completion_flags >> IORING_CQE_BUFFER_SHIFT);
}

#endif
