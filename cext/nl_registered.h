/*
 * Registered buffers: memory the kernel has pinned once, so that an operation on it maps no pages.
 *
 * The pool is one allocation cut into equal parts; an operation names a part by its index. Pinned memory is charged to
 * RLIMIT_MEMLOCK, so the pool is opened only by those who use it.
 */
#ifndef NL_REGISTERED_H
#define NL_REGISTERED_H

#include "nl_ring.h"

struct nl_registered {
    unsigned char *memory;
    size_t memory_bytes;
    size_t size;      /* of one buffer, bytes */
    unsigned *free;   /* a stack of free indexes */
    unsigned unused;
    unsigned total;
};

int nl_registered_open(struct nl_registered *pool, struct nl_ring *ring, unsigned total, size_t size);

/* Unregister and free. Nothing may be in flight on the pool. */
void nl_registered_close(struct nl_registered *pool, struct nl_ring *ring);

static inline int nl_registered_take(struct nl_registered *pool)
{
    return pool->unused ? (int)pool->free[--pool->unused] : -1;
}

static inline void nl_registered_give(struct nl_registered *pool, unsigned index)
{
    pool->free[pool->unused++] = index;
}

static inline unsigned char *nl_registered_address(const struct nl_registered *pool, unsigned index)
{
    return pool->memory + index * pool->size;
}

#endif
