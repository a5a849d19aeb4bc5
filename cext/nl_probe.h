/* What the running kernel offers, asked of a ring made for the question. */
#ifndef NL_PROBE_H
#define NL_PROBE_H

#include "nl_ring.h"

struct nl_probe {
    unsigned setup_flags;
    unsigned features;
    bool operations[NL_OPS_KNOWN];
    bool buffer_groups, fixed_files, registered_buffers, registered_rings, restrictions, busy_polling;
    /* What only a trial tells: an accept that does not wait, commands on sockets, and nl_probe_release(). */
    bool accepts_now, sets_options, tells_names, releases_files;
};

/* 0, or -errno of the call that refused: then there is no loop here. */
int nl_probe_run(struct nl_probe *probe, struct nl_sys *sys);

/*
 * Does a file that is closed in the fixed-file table go at once? Before Linux 6.13 such files go in the order in which
 * they were closed, and each waits for the operations that were under way on whatever file of the table: one connection
 * with its receive armed keeps all sockets that are closed after it, for as long as it lives.
 *
 * `flags` are set-up flags that the kernel accepts. 1 or 0, or -errno where this could not be asked.
 */
int nl_probe_release(struct nl_sys *sys, unsigned flags);

#endif
