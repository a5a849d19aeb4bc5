/* What the running kernel offers, asked of a ring made for the question. */
#ifndef NL_PROBE_H
#define NL_PROBE_H

#include "nl_ring.h"

struct nl_probe {
    unsigned setup_flags;
    unsigned features;
    bool operations[NL_OPS_KNOWN];
    bool buffer_groups, fixed_files, registered_buffers, registered_rings;
    /* What only a trial tells: an accept that does not wait, and commands on sockets. */
    bool accepts_now, sets_options, tells_names;
};

/* 0, or -errno of the call that refused: then there is no loop here. */
int nl_probe_run(struct nl_probe *probe, struct nl_sys *sys);

#endif
