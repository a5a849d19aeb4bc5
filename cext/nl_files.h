/*
 * The fixed-file table: connections that exist in the ring only, without a descriptor of the process.
 *
 * Slots are chosen here, not by the kernel. An accept that lets the kernel choose loses its connection when the table
 * is full; one that names a slot reserved for it cannot.
 */
#ifndef NL_FILES_H
#define NL_FILES_H

#include "nl_ring.h"

struct nl_files {
    int *free;       /* a stack of free slots */
    unsigned unused; /* how many are on it */
    unsigned total;  /* slots registered; 0: none */
    unsigned margin; /* slots that nl_files_take leaves untouched */
};

/* Register an empty table of `total` slots, or of as many as RLIMIT_NOFILE allows. */
int nl_files_open(struct nl_files *files, struct nl_ring *ring, unsigned total, unsigned margin);
void nl_files_close(struct nl_files *files);

/* Put the file of a descriptor into a slot, or with -1 take out the one that is there. 0, or -errno. */
int nl_files_put(struct nl_ring *ring, int slot, int descriptor);

static inline unsigned nl_files_used(const struct nl_files *files)
{
    return files->total - files->unused;
}

/* A free slot, or -1 when only the margin is left. */
static inline int nl_files_take(struct nl_files *files)
{
    return files->unused > files->margin ? files->free[--files->unused] : -1;
}

static inline void nl_files_give(struct nl_files *files, int slot)
{
    files->free[files->unused++] = slot;
}

#endif
