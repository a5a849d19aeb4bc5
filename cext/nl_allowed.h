/*
 * What a loop's ring may do: the operations, flags and registrations that netloop uses, as one table.
 *
 * The kernel holds a ring to what it was restricted to before it was enabled, for good: a submission of anything else
 * completes with EACCES, and a registration of anything else fails with it. So whoever gets hold of a ring's
 * descriptor, or of the memory of its queues, can open no file by it, and delete none.
 */
#ifndef NL_ALLOWED_H
#define NL_ALLOWED_H

#include "nl_ring.h"

struct nl_allowed {
    unsigned number;
    const char *name; /* without IORING_OP_, IOSQE_ or IORING_; NULL ends a table */
};

extern const struct nl_allowed nl_allowed_operations[], nl_allowed_flags[], nl_allowed_registrations[];

/*
 * Restrict a ring that is not enabled yet. 0, or -errno: then it may do everything as before. `ring->restricted` keeps
 * the answer.
 *
 * EBUSY: who has started this process has restricted all its rings already (Linux 7.0).
 */
int nl_ring_restrict(struct nl_ring *ring);

#endif
