/*
 * The one door into the kernel, io_uring_enter(2), for rings with a poller and without.
 */
#ifndef NL_ENTER_H
#define NL_ENTER_H

#include <errno.h>

#include "nl_queues.h"

/*
 * Have the kernel take `count` entries that are published, and wait for as many completions as `wait` says. By the
 * index of the ring's descriptor, where this thread has registered that, which saves the kernel finding the file.
 */
static inline int nl_enter(struct nl_ring *ring, unsigned count, unsigned wait, unsigned flags, const void *arg,
                           size_t size)
{
    int fd = ring->fd;

    if (nl_ring_uses_registration(ring)) {
        fd = ring->enter_fd;
        flags |= ring->enter_flags;
    }
    ring->counters.enters++;
    int result = ring->sys->enter(ring->sys, fd, count, wait, flags, arg, size);
    if (result == -EINTR)
        ring->counters.interrupted++;
    return result;
}

#endif
