/*
 * A provided-buffer group: memory shared by all receives, from which the kernel takes a buffer when data is there.
 *
 * The address range for the largest size is reserved at once and committed by the first write to a page, so an idle
 * loop pays nothing for it.
 *
 * The kernel uses the buffers in rotation, so what counts for the cache is the memory that one round touches. Many
 * small messages touch only the beginning of each buffer, and want as many buffers as arrive between two turns. Large
 * ones fill theirs, and want few: an echo of 128 KiB messages cost 1.2 times uvloop's CPU with 16 buffers of that size
 * in circulation, 0.9 times with 2; one of 16 KiB messages over 100 connections 1.00 times with 256, 0.95 times with
 * 48. Hence the group starts small, grows when it ran dry as long as a round touches less than a cache holds, and holds
 * buffers back again when it touches more.
 */
#ifndef NL_BUFFERS_H
#define NL_BUFFERS_H

#include <sys/mman.h>
#include <unistd.h>

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
    unsigned total;      /* buffers that exist */
    unsigned base;       /* how many circulate at least */
    unsigned target;     /* how many shall circulate */
    unsigned offered;    /* how many do: the kernel has them, or they are taken */
    uint16_t *held;      /* those that do not, the last one put there to be used first */
    unsigned held_count;
    unsigned noted;      /* receives since the fill was last judged, and their bytes */
    uint64_t noted_bytes;
    size_t fill;         /* bytes in a buffer on average, when it was last judged */
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

/*
 * Register the same memory with another ring, once the one it was registered with is closed. `parked` says of each buffer
 * whether it is in a completion that is still to be dispatched, and so neither the kernel's nor held back.
 */
int nl_buffers_move(struct nl_buffers *buffers, struct nl_ring *ring, const unsigned char *parked);

/* Let twice as many buffers circulate, up to the limit. Says whether there are more now. */
bool nl_buffers_grow(struct nl_buffers *buffers);

/* The kernel found no buffer: grow, if a round then still fits the cache. Says whether there are more now. */
bool nl_buffers_exhausted(struct nl_buffers *buffers);

/*
 * The burst that made the group grow is over: let no more circulate than at the beginning, and give the memory back to
 * the system. The kernel may not be filling any buffer meanwhile. Where a completion that is still to be dispatched names
 * one (`named`), only the memory of those goes that are taken out of circulation as they come back.
 */
void nl_buffers_shrink(struct nl_buffers *buffers, bool named);

/* How many receives one judgement of the group's size rests on. */
#define NL_BUFFERS_JUDGED 256U

/*
 * How many bytes a round may touch. More than a second-level cache of 1 MiB holds, because a group that runs dry costs
 * more: at 32 KiB messages over 100 connections, 1 MiB was 1.13 times uvloop's CPU, 1.5 MiB 1.05 times.
 */
#define NL_BUFFERS_HOT ((size_t)3 << 19)

/* Decide from what has been noted how many buffers circulate at most; where they are mostly full, the first few. */
static inline void nl_buffers_judge(struct nl_buffers *buffers)
{
    buffers->fill = (size_t)(buffers->noted_bytes / buffers->noted);
    if (buffers->fill * 2 > buffers->size)
        buffers->target = buffers->base;
    else if (buffers->fill * buffers->target > NL_BUFFERS_HOT)
        buffers->target = (unsigned)(NL_BUFFERS_HOT / buffers->fill);
    if (buffers->target < buffers->base)
        buffers->target = buffers->base;
    buffers->noted = 0;
    buffers->noted_bytes = 0;
}

/* Note how much a receive brought; where buffers are full enough for it, fewer go on to circulate. */
static inline void nl_buffers_note(struct nl_buffers *buffers, unsigned length)
{
    buffers->noted_bytes += length;
    if (++buffers->noted == NL_BUFFERS_JUDGED)
        nl_buffers_judge(buffers);
}

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

/* Give memory back to the system: whole pages, since a buffer that is smaller than one shares it with its neighbours. */
static inline void nl_buffers_give_back(struct nl_buffers *buffers, size_t from, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t first = (from + page - 1) / page * page, end = (from + bytes) / page * page;
    if (first < end)
        madvise(buffers->memory + first, end - first, MADV_DONTNEED);
}

/* The data has been used: the kernel may fill the buffer again. */
static inline void nl_buffers_give(struct nl_buffers *buffers, unsigned completion_flags)
{
    unsigned id = completion_flags >> IORING_CQE_BUFFER_SHIFT;

    buffers->taken--;
    if (buffers->offered > buffers->target) {
        buffers->offered--;
        buffers->held[buffers->held_count++] = (uint16_t)id;
        nl_buffers_give_back(buffers, id * buffers->size, buffers->size);
    } else {
        nl_buffers_offer(buffers, id);
    }
}

#endif
