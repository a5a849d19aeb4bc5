#include "nl_registered.h"

#include <errno.h>
#include <sys/uio.h>

static int open_table(struct nl_registered *table, struct nl_ring *ring)
{
    struct io_uring_rsrc_register sparse = {.nr = NL_REGISTERED_ENTRIES, .flags = IORING_RSRC_REGISTER_SPARSE};
    int error = nl_ring_control(ring, IORING_REGISTER_BUFFERS2, &sparse, sizeof(sparse));
    table->open = error >= 0;
    return error < 0 ? error : 0;
}

static int set_entry(struct nl_ring *ring, unsigned index, void *memory, size_t bytes)
{
    struct iovec entry = {.iov_base = memory, .iov_len = bytes};
    struct io_uring_rsrc_update2 update = {.offset = index, .data = (uint64_t)(uintptr_t)&entry, .nr = 1};
    int done = nl_ring_control(ring, IORING_REGISTER_BUFFERS_UPDATE, &update, sizeof(update));
    return done < 0 ? done : 0;
}

int nl_registered_add(struct nl_registered *table, struct nl_ring *ring, void *memory, size_t bytes)
{
    int error = table->open ? 0 : open_table(table, ring);
    if (error)
        return error;
    if (!~table->used)
        return -ENOSPC;
    unsigned index = (unsigned)__builtin_ctzll(~table->used);
    error = set_entry(ring, index, memory, bytes);
    if (error)
        return error;
    table->used |= 1ULL << index;
    return (int)index;
}

void nl_registered_remove(struct nl_registered *table, struct nl_ring *ring, unsigned index)
{
    /* The kernel takes an empty entry for any that was used before. */
    if (table->used & 1ULL << index && ring->fd >= 0)
        set_entry(ring, index, NULL, 0);
    table->used &= ~(1ULL << index);
}
