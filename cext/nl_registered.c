#include "nl_registered.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define SIZE_LIMIT ((size_t)1 << 30) /* of one registered buffer, set by the kernel */

static void release(struct nl_registered *pool)
{
    if (pool->memory)
        munmap(pool->memory, pool->memory_bytes);
    free(pool->free);
    memset(pool, 0, sizeof(*pool));
}

static int register_parts(struct nl_registered *pool, struct nl_ring *ring)
{
    struct iovec *parts = calloc(pool->total, sizeof(*parts));
    if (!parts)
        return -ENOMEM;
    for (unsigned i = 0; i < pool->total; i++) {
        parts[i].iov_base = nl_registered_address(pool, i);
        parts[i].iov_len = pool->size;
    }
    int error = nl_ring_control(ring, IORING_REGISTER_BUFFERS, parts, pool->total);
    free(parts);
    return error < 0 ? error : 0;
}

int nl_registered_open(struct nl_registered *pool, struct nl_ring *ring, unsigned total, size_t size)
{
    memset(pool, 0, sizeof(*pool));
    if (!total || !size || size > SIZE_LIMIT)
        return -EINVAL;
    pool->total = total;
    pool->size = size;
    pool->memory_bytes = total * size;
    void *memory = mmap(NULL, pool->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pool->memory = memory == MAP_FAILED ? NULL : memory;
    pool->free = malloc(total * sizeof(*pool->free));
    int error = pool->memory && pool->free ? register_parts(pool, ring) : -ENOMEM;
    if (error) {
        release(pool);
        return error;
    }
    for (unsigned i = 0; i < total; i++)
        pool->free[pool->unused++] = total - 1 - i;
    return 0;
}

void nl_registered_close(struct nl_registered *pool, struct nl_ring *ring)
{
    if (pool->total && ring->fd >= 0)
        nl_ring_control(ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
    release(pool);
}
