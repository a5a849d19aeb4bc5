/*
 * What takes the place of io_uring_enter() for a ring that has a poller (IORING_SETUP_SQPOLL).
 *
 * The poller takes entries as soon as they are published, all that are there at a time, and moves the head of the queue
 * only when it has carried them out: what completes at submission, and the complaints of operations that are silent
 * otherwise, are in the completion queue by then. Functions return 0 or a count, or -errno.
 */
#ifndef NL_POLLED_H
#define NL_POLLED_H

#include "nl_queues.h"

/* Publish what is written, and wake the poller if it sleeps. */
int nl_polled_pass_on(struct nl_ring *ring);

/* Publish what is written, and wait until the poller has carried it out. */
int nl_polled_submit(struct nl_ring *ring);

/*
 * Publish what is written and wait for `wait` completions, or as long as `arg` says. With a `wait` of 0: until the
 * poller has carried out everything, and the deferred work that there was then.
 */
int nl_polled_enter(struct nl_ring *ring, unsigned wait, const struct io_uring_getevents_arg *arg);

/*
 * Publish what is written, and look for some tens of microseconds whether the poller carries out the entry at a
 * position, which is what it takes where that has nothing else to do; or whether a completion comes. Never sleeps.
 */
int nl_polled_look(struct nl_ring *ring, unsigned position);

/* Publish what is written, and wait until the poller has carried out the entry at a position. */
int nl_polled_await(struct nl_ring *ring, unsigned position);

#define NL_POLLED_MOST 64

/*
 * Publish what is written to several rings and wait until one of them has a completion, or `timeout` nanoseconds have
 * passed (negative: no limit). At most NL_POLLED_MOST rings.
 */
int nl_polled_wait_any(struct nl_ring *const *rings, unsigned count, int64_t timeout);

#endif
