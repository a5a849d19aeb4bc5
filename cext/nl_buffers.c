#include "nl_buffers.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define ENTRIES_LIMIT 32768U

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static unsigned power_of_two(unsigned least)
{
    unsigned value = 1;
    while (value < least)
        value *= 2;
    return value;
}

static void circulate(struct nl_buffers *buffers, unsigned target)
{
    buffers->target = target;
    for (; buffers->offered < target; buffers->offered++)
        nl_buffers_offer(buffers, buffers->held_count ? buffers->held[--buffers->held_count] : buffers->total++);
}

static int register_queue(struct nl_buffers *buffers, struct nl_ring *ring)
{
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)buffers->queue,
                                            .ring_entries = buffers->mask + 1,
                                            .bgid = buffers->group};
    int error = nl_ring_control(ring, IORING_REGISTER_PBUF_RING, &registration, 1);
    return error < 0 ? error : 0;
}

int nl_buffers_open(struct nl_buffers *buffers, struct nl_ring *ring, unsigned group, size_t size, unsigned total,
                    unsigned limit)
{
    /* The kernel's entries have 32 bits for a buffer's size. */
    if (!size || size > UINT32_MAX || !total || total > limit || limit > ENTRIES_LIMIT)
        return -EINVAL;
    memset(buffers, 0, sizeof(*buffers));
    unsigned entries = power_of_two(limit);
    buffers->mask = entries - 1;
    buffers->group = (uint16_t)group;
    buffers->size = size;
    buffers->limit = limit;
    buffers->queue_bytes = entries * sizeof(struct io_uring_buf);
    buffers->memory_bytes = size * limit;
    buffers->queue = map(buffers->queue_bytes);
    buffers->memory = map(buffers->memory_bytes);
    buffers->held = malloc(limit * sizeof(*buffers->held));
    if (!buffers->queue || !buffers->memory || !buffers->held) {
        nl_buffers_close(buffers);
        return -ENOMEM;
    }
    int error = register_queue(buffers, ring);
    if (error) {
        nl_buffers_close(buffers);
        return error;
    }
    buffers->base = total;
    circulate(buffers, total);
    return 0;
}

int nl_buffers_move(struct nl_buffers *buffers, struct nl_ring *ring, const unsigned char *parked)
{
    unsigned char *elsewhere = calloc(buffers->limit, 1);
    if (!elsewhere)
        return -ENOMEM;
    for (unsigned i = 0; i < buffers->held_count; i++)
        elsewhere[buffers->held[i]] = 1;
    /* A ring takes buffers from the queue's beginning on. */
    buffers->tail = 0;
    buffers->queue->tail = 0;
    int error = register_queue(buffers, ring);
    for (unsigned id = 0; !error && id < buffers->total; id++)
        if (!elsewhere[id] && !parked[id])
            nl_buffers_offer(buffers, id);
    free(elsewhere);
    return error;
}

void nl_buffers_close(struct nl_buffers *buffers)
{
    if (buffers->queue)
        munmap(buffers->queue, buffers->queue_bytes);
    if (buffers->memory)
        munmap(buffers->memory, buffers->memory_bytes);
    free(buffers->held);
    buffers->queue = NULL;
    buffers->memory = NULL;
    buffers->held = NULL;
    buffers->total = buffers->offered = buffers->taken = buffers->held_count = 0;
}

bool nl_buffers_grow(struct nl_buffers *buffers)
{
    if (buffers->target >= buffers->limit)
        return false;
    unsigned room = buffers->limit - buffers->target;
    circulate(buffers, buffers->target + (buffers->target < room ? buffers->target : room));
    return true;
}

bool nl_buffers_exhausted(struct nl_buffers *buffers)
{
    buffers->exhausted++;
    if (buffers->fill * 2 * buffers->target > NL_BUFFERS_HOT)
        return false;
    return nl_buffers_grow(buffers);
}

void nl_buffers_shrink(struct nl_buffers *buffers, bool named)
{
    if (!buffers->queue)
        return;
    buffers->target = buffers->base;
    if (!buffers->taken && !named)
        nl_buffers_give_back(buffers, 0, buffers->memory_bytes);
}
