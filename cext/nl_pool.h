/*
 * A pool of buffers of one size that the application reads, and sends from, in place.
 *
 * It is the memory of a provided-buffer group, which is registered with a ring by the first receive. Not all buffers
 * that are free are offered to the kernel: the fewer go round, the more of them are in the cache, and some are kept for
 * messages that the application builds. Who gives a buffer back offers it again if too few are; when a receive finds
 * none, more of the free ones are offered from then on.
 *
 * nl_lease.h tells the life of a buffer. A buffer is the application's as long as it has holders: leases, and views of
 * leases that were released.
 */
#ifndef NL_POOL_H
#define NL_POOL_H

#include <assert.h>
#include <time.h>

#include "nl_lease.h"
#include "nl_ring.h"

#define NL_POOL_LIMIT 32768U                /* buffers in one group, set by the kernel */
#define NL_POOL_SIZE_LIMIT ((size_t)1 << 30) /* bytes in one */

struct nl_pool_buffer {
    unsigned char state;  /* one of nl_lease_state */
    unsigned holders;     /* leases and views that keep it from being free */
    unsigned sends;       /* how many of its leases were handed to transports */
    unsigned since;       /* when it was leased, in milliseconds of a clock that wraps */
    unsigned dirty;       /* what may have been written to since it was cleared ends here */
    uint64_t owner;       /* the token of the receive that brought it, or NL_TOKEN_NONE */
};

struct nl_pool {
    unsigned char *memory;
    size_t size;  /* of one buffer, bytes */
    unsigned count;
    bool owns_memory;
    struct nl_pool_buffer *buffers;
    unsigned *free; /* a stack: what was used last is in the cache */
    unsigned unused;

    struct io_uring_buf_ring *queue;
    size_t queue_bytes;
    unsigned mask;
    uint16_t tail;
    bool serving;      /* does a ring take buffers from the queue? */
    bool wipes;        /* is a buffer cleared before it is free again? */
    unsigned offered;  /* how many are the kernel's */
    unsigned target;   /* how many are to be, if enough are free */
    unsigned base;     /* how many at least, and how many at most */
    unsigned most;
    unsigned noted;    /* receives since the fill was last judged, and their bytes */
    uint64_t noted_bytes;
    size_t fill;       /* bytes in a buffer on average, when it was last judged */

    unsigned leased; /* leased or sending */
    unsigned high_water;
    unsigned lost;
    unsigned wanted; /* is anybody waiting for a buffer? Not 0: who brings one back tells */
    uint64_t dry;    /* times a receive found no buffer */
    uint64_t received, received_bytes, sent, sent_bytes;
};

/* A pool over `memory`, or over memory of its own if that is NULL. 0 or -errno. */
int nl_pool_open(struct nl_pool *pool, void *memory, unsigned count, size_t size);

/* Free what is its own. Nothing may be in flight on it. */
void nl_pool_close(struct nl_pool *pool);

/* Make it a ring's buffer group, which must not exist yet. What the kernel had of a ring that is gone is offered anew. */
int nl_pool_serve(struct nl_pool *pool, struct nl_ring *ring, unsigned group);

/* It is a group no more. `lose`: the kernel may still write to what was offered. */
void nl_pool_leave(struct nl_pool *pool, bool lose);

/* A receive found no buffer: let more be offered from now on, if a round of them then still fits the cache. */
void nl_pool_exhausted(struct nl_pool *pool);

/* The buffer that is leased for longest, or -1. */
int nl_pool_oldest(const struct nl_pool *pool, unsigned now);

static inline void nl_pool_step(struct nl_pool *pool, unsigned id, enum nl_lease_event event)
{
    int next = nl_next_lease((enum nl_lease_state)pool->buffers[id].state, event);
    assert(next >= 0);
    pool->buffers[id].state = (unsigned char)next;
}

/* Milliseconds, to tell for how long a buffer is held. The clock is read from memory, without the counter's cost. */
static inline unsigned nl_pool_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (unsigned)now.tv_sec * 1000U + (unsigned)(now.tv_nsec / 1000000);
}

static inline unsigned char *nl_pool_address(const struct nl_pool *pool, unsigned id)
{
    return pool->memory + id * pool->size;
}

static inline void nl_pool_enqueue(struct nl_pool *pool, unsigned id)
{
    struct io_uring_buf *entry = &pool->queue->bufs[pool->tail & pool->mask];
    /* The tail lies in the first entry's reserved field, so the fields are stored one by one. */
    entry->addr = (uint64_t)(uintptr_t)nl_pool_address(pool, id);
    entry->len = (uint32_t)pool->size;
    entry->bid = (uint16_t)id;
    pool->tail++;
    __atomic_store_n(&pool->queue->tail, pool->tail, __ATOMIC_RELEASE);
}

/* Offer free buffers to the kernel until it has as many as it shall. */
static inline void nl_pool_top_up(struct nl_pool *pool)
{
    while (pool->serving && pool->offered < pool->target && pool->unused) {
        unsigned id = pool->free[--pool->unused];
        nl_pool_step(pool, id, NL_LEASE_OFFER);
        nl_pool_enqueue(pool, id);
        pool->offered++;
    }
}

static inline void nl_pool_lease(struct nl_pool *pool, unsigned id, enum nl_lease_event event, uint64_t owner)
{
    struct nl_pool_buffer *buffer = &pool->buffers[id];
    nl_pool_step(pool, id, event);
    buffer->holders = 1;
    buffer->since = nl_pool_now();
    buffer->owner = owner;
    if (++pool->leased > pool->high_water)
        pool->high_water = pool->leased;
}

/* How many receives one judgement rests on, and how many bytes a round may touch; see nl_buffers.h. */
#define NL_POOL_JUDGED 256U
#define NL_POOL_HOT ((size_t)3 << 19)

/* Note how much a receive brought; where a round fills more than the cache, fewer buffers go round. */
static inline void nl_pool_note(struct nl_pool *pool, unsigned length)
{
    pool->received++;
    pool->received_bytes += length;
    pool->noted_bytes += length;
    if (++pool->noted < NL_POOL_JUDGED)
        return;
    pool->fill = (size_t)(pool->noted_bytes / pool->noted);
    if (pool->fill * pool->target > NL_POOL_HOT)
        pool->target = (unsigned)(NL_POOL_HOT / pool->fill);
    if (pool->target < pool->base)
        pool->target = pool->base;
    pool->noted = 0;
    pool->noted_bytes = 0;
}

/* A buffer's bytes up to there may be written to from now on. */
static inline void nl_pool_soil(struct nl_pool *pool, unsigned id, size_t end)
{
    if (pool->buffers[id].dirty < end)
        pool->buffers[id].dirty = (unsigned)end;
}

/*
 * A completion names a buffer that was the kernel's: it has one holder now. Told twice of it, it does nothing. The kernel
 * has written so many bytes, from the beginning on.
 */
static inline void nl_pool_receive(struct nl_pool *pool, unsigned id, size_t length, uint64_t owner)
{
    if (pool->buffers[id].state != NL_BUFFER_KERNELS)
        return;
    nl_pool_soil(pool, id, length);
    pool->offered--;
    nl_pool_lease(pool, id, NL_LEASE_RECEIVE, owner);
    if (!pool->offered)
        nl_pool_top_up(pool);
}

/* An empty buffer with one holder, or -1 if none is free. */
static inline int nl_pool_take(struct nl_pool *pool, uint64_t owner)
{
    if (!pool->unused)
        return -1;
    unsigned id = pool->free[--pool->unused];
    nl_pool_lease(pool, id, NL_LEASE_TAKE, owner);
    return (int)id;
}

/* One holder more, where there is one. */
static inline void nl_pool_hold(struct nl_pool *pool, unsigned id)
{
    pool->buffers[id].holders++;
}

/* Clear what may have been written to. */
static inline void nl_pool_wipe(struct nl_pool *pool, unsigned id)
{
    explicit_bzero(nl_pool_address(pool, id), pool->buffers[id].dirty);
    pool->buffers[id].dirty = 0;
}

/* One holder less. Says whether the buffer is free now and somebody waits for that. */
static inline bool nl_pool_drop(struct nl_pool *pool, unsigned id)
{
    if (--pool->buffers[id].holders)
        return false;
    if (pool->wipes)
        nl_pool_wipe(pool, id);
    nl_pool_step(pool, id, NL_LEASE_RELEASE);
    pool->leased--;
    pool->free[pool->unused++] = id;
    /* Whoever waits for an empty one comes before the receives. */
    if (!pool->wanted)
        nl_pool_top_up(pool);
    return pool->wanted != 0;
}

/* A lease of it is to be sent, which is one of its holders. */
static inline void nl_pool_send(struct nl_pool *pool, unsigned id)
{
    nl_pool_step(pool, id, NL_LEASE_SEND);
    pool->buffers[id].sends++;
}

/* It is a ring's buffer group no more. */
static inline void nl_pool_unregister(struct nl_ring *ring, unsigned group)
{
    struct io_uring_buf_reg registration = {.bgid = (uint16_t)group};
    nl_ring_control(ring, IORING_UNREGISTER_PBUF_RING, &registration, 1);
}

/* It was sent, or never will be; the kernel has let go of it. */
static inline void nl_pool_sent(struct nl_pool *pool, unsigned id)
{
    if (!--pool->buffers[id].sends)
        nl_pool_step(pool, id, NL_LEASE_SENT);
}

#endif
