#include "nl_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* How many bytes are offered to begin with: a part of a second-level cache, but no less than a few buffers. */
#define HOT ((size_t)1 << 19)
#define FEW 4U

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

int nl_pool_open(struct nl_pool *pool, void *memory, unsigned count, size_t size)
{
    memset(pool, 0, sizeof(*pool));
    if (!count || count > NL_POOL_LIMIT || !size || size > NL_POOL_SIZE_LIMIT)
        return -EINVAL;
    unsigned entries = 1;
    while (entries < count)
        entries *= 2;
    pool->count = count;
    pool->size = size;
    pool->mask = entries - 1;
    pool->queue_bytes = entries * sizeof(struct io_uring_buf);
    pool->owns_memory = !memory;
    pool->memory = memory ? memory : map(count * size);
    pool->queue = map(pool->queue_bytes);
    pool->buffers = calloc(count, sizeof(*pool->buffers));
    pool->free = malloc(count * sizeof(*pool->free));
    if (!pool->memory || !pool->queue || !pool->buffers || !pool->free) {
        nl_pool_close(pool);
        return -ENOMEM;
    }
    while (pool->unused < count) {
        pool->free[pool->unused] = count - 1 - pool->unused;
        pool->unused++;
    }
    pool->most = count > 1 ? count / 2 : 1;
    pool->base = HOT / size > FEW ? (unsigned)(HOT / size) : FEW;
    if (pool->base > pool->most)
        pool->base = pool->most;
    pool->target = pool->base;
    return 0;
}

void nl_pool_close(struct nl_pool *pool)
{
    if (pool->memory && pool->owns_memory)
        munmap(pool->memory, pool->count * pool->size);
    if (pool->queue)
        munmap(pool->queue, pool->queue_bytes);
    free(pool->buffers);
    free(pool->free);
    memset(pool, 0, sizeof(*pool));
}

int nl_pool_serve(struct nl_pool *pool, struct nl_ring *ring, unsigned group)
{
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)pool->queue,
                                            .ring_entries = pool->mask + 1,
                                            .bgid = (uint16_t)group};
    /* A ring takes buffers from the queue's beginning on. */
    pool->tail = 0;
    pool->queue->tail = 0;
    int error = nl_ring_control(ring, IORING_REGISTER_PBUF_RING, &registration, 1);
    if (error < 0)
        return error;
    pool->serving = true;
    for (unsigned id = 0; id < pool->count; id++)
        if (pool->buffers[id].state == NL_BUFFER_KERNELS)
            nl_pool_enqueue(pool, id);
    nl_pool_top_up(pool);
    return 0;
}

void nl_pool_leave(struct nl_pool *pool, bool lose)
{
    pool->serving = false;
    for (unsigned id = 0; id < pool->count; id++) {
        if (pool->buffers[id].state != NL_BUFFER_KERNELS)
            continue;
        nl_pool_step(pool, id, lose ? NL_LEASE_LOSE : NL_LEASE_WITHDRAW);
        if (lose)
            pool->lost++;
        else
            pool->free[pool->unused++] = id;
    }
    pool->offered = 0;
}

void nl_pool_exhausted(struct nl_pool *pool)
{
    /* Where no buffer is free, more of them in circulation would be none. */
    if (pool->unused && pool->target < pool->most && pool->fill * 2 * pool->target <= NL_POOL_HOT)
        pool->target = pool->target < pool->most / 2 ? pool->target * 2 : pool->most;
    nl_pool_top_up(pool);
}

int nl_pool_oldest(const struct nl_pool *pool, unsigned now)
{
    int oldest = -1;
    for (unsigned id = 0; id < pool->count; id++) {
        const struct nl_pool_buffer *buffer = &pool->buffers[id];
        if (buffer->holders && (oldest < 0 || now - buffer->since > now - pool->buffers[oldest].since))
            oldest = (int)id;
    }
    return oldest;
}
