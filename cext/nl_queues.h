/*
 * The queues that a ring shares with the kernel: what is in them, and how entries get in and out.
 *
 * Nothing here enters the kernel; nl_ring.h does. Functions return 0 or a count, or -errno.
 */
#ifndef NL_QUEUES_H
#define NL_QUEUES_H

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "nl_kernel.h"
#include "nl_sys.h"
#include "nl_token.h"

struct nl_counters {
    uint64_t enters;       /* io_uring_enter calls */
    uint64_t submissions;  /* entries the kernel took */
    uint64_t completions;  /* entries consumed */
    uint64_t interrupted;  /* enters that a signal ended */
    uint64_t woken;        /* how many times a poller slept when there was something to submit */
};

/*
 * A thread of the kernel's, bound to a CPU, that takes a ring's submissions and runs its deferred work in the place of
 * the loop's own thread (IORING_SETUP_SQPOLL). Nothing has to enter the kernel then but who wants to wait, or to wake
 * it when it sleeps.
 */
struct nl_poller {
    unsigned cpu;
    unsigned idle;  /* for so many milliseconds it finds nothing to do before it sleeps */
    int shared;     /* the descriptor of another ring of this process whose poller is to serve this one too, or -1 */
};

struct nl_ring {
    struct nl_sys *sys;
    int fd;                   /* -1: not set up */
    int enter_fd;             /* fd, or its index among the thread's registered ring descriptors */
    unsigned enter_flags;     /* IORING_ENTER_REGISTERED_RING when enter_fd is such an index */
    pthread_t registrant;     /* the thread among whose registered descriptors it is */
    unsigned setup_flags;     /* those the kernel accepted */
    unsigned features;        /* IORING_FEAT_ bits */
    unsigned restricted;      /* 1: once enabled, it may do only what nl_allowed.h lists */
    unsigned sq_entries, cq_entries;

    struct io_uring_sqe *sqes;
    unsigned *sq_head, *sq_tail, *sq_flags;
    unsigned sq_mask;
    unsigned sqe_tail;        /* entries written, published to the kernel by the next enter */

    struct io_uring_cqe *cqes;
    unsigned *cq_head, *cq_tail;
    unsigned cq_mask;

    struct io_uring_cqe *aside; /* completions older than those in the queue, see nl_ring_call() */
    size_t aside_next, aside_end;

    void *queues;
    size_t queues_bytes, sqes_bytes;
    struct nl_counters counters;
};

static inline int nl_ring_control(struct nl_ring *ring, unsigned opcode, const void *arg, unsigned count)
{
    return ring->sys->control(ring->sys, ring->fd, opcode, arg, count);
}

/* Is the ring registered with the calling thread? To another thread the index means nothing, or a ring of its own. */
static inline bool nl_ring_uses_registration(const struct nl_ring *ring)
{
    return ring->enter_flags && pthread_equal(ring->registrant, pthread_self());
}

/*
 * The kernel has carried out the entries before this position, or begun to. Positions count entries and wrap around:
 * only differences between them mean anything.
 */
static inline unsigned nl_ring_taken(const struct nl_ring *ring)
{
    return __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
}

/* Where the next entry will be written. */
static inline unsigned nl_ring_position(const struct nl_ring *ring)
{
    return ring->sqe_tail;
}

/* Entries written that the kernel has not taken yet. */
static inline unsigned nl_ring_unsubmitted(const struct nl_ring *ring)
{
    return nl_ring_position(ring) - nl_ring_taken(ring);
}

/* Is an entry at this position not among those before `taken`? */
static inline bool nl_ring_awaits(unsigned position, unsigned taken)
{
    return (int)(position - taken) >= 0;
}

static inline unsigned nl_ring_space(const struct nl_ring *ring)
{
    return ring->sq_entries - nl_ring_unsubmitted(ring);
}

/* Does the ring have a poller? */
static inline bool nl_ring_is_polled(const struct nl_ring *ring)
{
    return (ring->setup_flags & IORING_SETUP_SQPOLL) != 0;
}

/* Are there entries written that nl_ring_pass_on() has to tell of? */
static inline bool nl_ring_has_news(const struct nl_ring *ring)
{
    return nl_ring_is_polled(ring) ? ring->sqe_tail != *ring->sq_tail : nl_ring_unsubmitted(ring) != 0;
}

/* A zeroed submission entry. The caller has made sure that there is space. */
static inline struct io_uring_sqe *nl_ring_sqe(struct nl_ring *ring)
{
    struct io_uring_sqe *sqe = &ring->sqes[ring->sqe_tail++ & ring->sq_mask];
    memset(sqe, 0, sizeof(*sqe));
    return sqe;
}

/* Completions that wait to be consumed. */
static inline unsigned nl_ring_ready(const struct nl_ring *ring)
{
    unsigned queued = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - *ring->cq_head;
    return queued + (unsigned)(ring->aside_end - ring->aside_next);
}

/* Does the kernel have completions or deferred work that only an enter brings out? */
static inline bool nl_ring_needs_enter(const struct nl_ring *ring)
{
    if (!(ring->setup_flags & (IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SQPOLL)))
        return true;
    return __atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/*
 * Consume the oldest completion. It is copied and its entry given back before anybody looks at it, so whatever a
 * callback does (raise, or run the ring again) finds the queue consistent.
 */
static inline bool nl_ring_next(struct nl_ring *ring, struct io_uring_cqe *cqe)
{
    unsigned head = *ring->cq_head;
    if (ring->aside_next < ring->aside_end) {
        *cqe = ring->aside[ring->aside_next++];
        ring->counters.completions++;
        return true;
    }
    if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
        return false;
    *cqe = ring->cqes[head & ring->cq_mask];
    __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
    ring->counters.completions++;
    return true;
}

/* The `index`-th completion in the queue, to be looked at before its turn; NULL behind the last one. Who takes it sets
 * its user_data to NL_TOKEN_NONE. */
static inline struct io_uring_cqe *nl_ring_peek(const struct nl_ring *ring, unsigned index)
{
    unsigned head = *ring->cq_head;
    if (index >= __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - head)
        return NULL;
    return &ring->cqes[(head + index) & ring->cq_mask];
}

/* Are there completions that did not fit into the queue, and which the next enter puts there? */
static inline bool nl_ring_overflowed(const struct nl_ring *ring)
{
    return (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW) != 0;
}

/*
 * Take the completion of one operation out of the queue, if it is there, and store its result. For an operation that
 * has been cancelled and whose owner cannot wait for the next dispatch.
 */
static inline bool nl_ring_take(struct nl_ring *ring, uint64_t token, int32_t *result)
{
    unsigned tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    /* From the newest on, because it is mostly asked for right after the submission. */
    for (unsigned at = tail; at != *ring->cq_head; at--) {
        struct io_uring_cqe *cqe = &ring->cqes[(at - 1) & ring->cq_mask];
        if (cqe->user_data != token)
            continue;
        *result = cqe->res;
        /* An entry in the middle of the queue cannot be removed, only left to nobody. */
        cqe->user_data = NL_TOKEN_NONE;
        return true;
    }
    for (size_t at = ring->aside_next; at != ring->aside_end; at++) {
        if (ring->aside[at].user_data != token)
            continue;
        *result = ring->aside[at].res;
        ring->aside[at].user_data = NL_TOKEN_NONE;
        return true;
    }
    return false;
}

#endif
