/*
 * The ring: one submission queue and one completion queue shared with the kernel.
 *
 * A ring is set up disabled and enabled by the thread that runs the loop, because the kernel binds a single-issuer ring
 * to the thread that enables it. Submissions are only written here; they reach the kernel together in nl_ring_enter(),
 * which also waits. One that has a poller (nl_polled.h) belongs to no thread, and its completions may come at any time;
 * the functions here leave it as they leave any other. Functions return 0 or a count, or -errno.
 */
#ifndef NL_RING_H
#define NL_RING_H

#include "nl_queues.h"

#define NL_WAIT_FOREVER (-1)

/*
 * Set up a disabled ring. `flags` holds the set-up flags found to work by an earlier call in this process, or 0 to try
 * all that netloop wants and, where the kernel refuses them together, each on its own.
 */
int nl_ring_setup(struct nl_ring *ring, struct nl_sys *sys, unsigned sq_entries, unsigned cq_entries, unsigned flags);

/* The same with a poller, which allows for few of the optional flags. -EINVAL: not on that CPU. */
int nl_ring_setup_polled(struct nl_ring *ring, struct nl_sys *sys, unsigned sq_entries, unsigned cq_entries,
                         const struct nl_poller *poller);

/* Which of the optional set-up flags does this kernel accept? Stores them in `flags`. */
int nl_ring_probe_flags(struct nl_sys *sys, unsigned *flags);

/* The calling thread becomes the ring's only submitter. */
int nl_ring_enable(struct nl_ring *ring);

/* Use the ring through the calling thread's registered descriptors, and stop doing so. A refusal costs only speed. */
void nl_ring_register_fd(struct nl_ring *ring);
void nl_ring_unregister_fd(struct nl_ring *ring);

/*
 * Have waits poll the queues of the network cards that this ring's sockets receive from, for so many microseconds,
 * before they sleep. 0, or -errno: -EINVAL before Linux 6.9 and where the kernel is built without busy polling.
 */
int nl_ring_busy_poll(struct nl_ring *ring, unsigned microseconds);

/* Unmap and close. The kernel cancels what is still in flight, later and on its own. */
void nl_ring_close(struct nl_ring *ring);

/*
 * In a forked child: close the descriptor, and put private memory in the place of the queues, which are still shared
 * with the parent. Whoever goes on to use the ring then finds it empty instead of disturbing the parent or crashing.
 */
void nl_ring_abandon(struct nl_ring *ring);

/*
 * Submit everything written, run the kernel's deferred work, and wait for `wait` completions or until `timeout`
 * nanoseconds have passed (NL_WAIT_FOREVER: no limit). Running out of time is no error.
 */
int nl_ring_enter(struct nl_ring *ring, unsigned wait, int64_t timeout);

/*
 * Submit everything written, without waiting and without running deferred work: receives bring nothing new. What
 * completes at submission has completed when this returns, and the kernel needs what was written no more.
 */
int nl_ring_submit(struct nl_ring *ring);

/*
 * Have everything that is written submitted, and what is there completed, soon if not now. All that a turn needs which
 * does not wait: a poller is only told, any other ring is entered.
 */
int nl_ring_pass_on(struct nl_ring *ring);

/*
 * Submit everything written and return the result of the operation with this token, which must be one that the kernel
 * completes at submission. Its completion is taken out of the queue; all others stay for the next dispatch.
 *
 * An error means that the operation was not carried out and never will be, with one exception: -EAGAIN is also what an
 * operation gets that the kernel took but did not complete at once. -ENOMEM can mean that its result is in a completion
 * yet to come.
 */
int nl_ring_call(struct nl_ring *ring, uint64_t token, int32_t *result);

/*
 * Move the completions in the queue, behind those that were moved before, to memory of the process's own, from which
 * nl_ring_next() goes on. 0, or -ENOMEM.
 */
int nl_ring_set_aside(struct nl_ring *ring);

#endif
