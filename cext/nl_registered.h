/*
 * Registered buffers: memory that the kernel has pinned once, so that an operation on it maps no pages.
 *
 * A table of the ring, of which an operation names an entry by its index and an address within. Entries come and go
 * one by one. Pinned memory is charged to RLIMIT_MEMLOCK.
 */
#ifndef NL_REGISTERED_H
#define NL_REGISTERED_H

#include "nl_ring.h"

#define NL_REGISTERED_ENTRIES 64U
/* The most that one entry can hold, set by the kernel. */
#define NL_REGISTERED_LIMIT ((size_t)1 << 30)

struct nl_registered {
    bool open;
    uint64_t used; /* a bit for each entry */
};

/* Register memory: the index of its entry, or -errno; -ENOSPC if all entries are used. Opens the table if need be. */
int nl_registered_add(struct nl_registered *table, struct nl_ring *ring, void *memory, size_t bytes);

/* Let go of an entry, on which nothing is in flight. */
void nl_registered_remove(struct nl_registered *table, struct nl_ring *ring, unsigned index);

#endif
