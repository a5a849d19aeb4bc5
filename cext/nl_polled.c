#include "nl_polled.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "nl_enter.h"
#include "nl_prep.h"

/*
 * How often to look whether the poller is done before giving the CPU away: some tens of microseconds, in which it carries
 * out ten submissions. After that it sleeps, or something else has its CPU.
 */
#define LOOKS 1000U
#define PAUSE_NANOSECONDS 20000

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Publish what is written. Returns what an enter must say for the poller to see it: IORING_ENTER_SQ_WAKEUP, or nothing. */
static unsigned publish(struct nl_ring *ring)
{
    unsigned published = *ring->sq_tail;
    if (ring->sys->review)
        ring->sys->review(ring->sys, ring);
    if (published != ring->sqe_tail) {
        ring->counters.submissions += ring->sqe_tail - published;
        __atomic_store_n(ring->sq_tail, ring->sqe_tail, __ATOMIC_RELEASE);
    }
    if (!nl_ring_unsubmitted(ring))
        return 0;
    /* The poller says that it will sleep, and looks for entries once more. One of the two sees what the other did. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_NEED_WAKEUP))
        return 0;
    ring->counters.woken++;
    return IORING_ENTER_SQ_WAKEUP;
}

int nl_polled_pass_on(struct nl_ring *ring)
{
    unsigned flags = publish(ring);
    /* Completions that did not fit into the queue are moved there by a call only. */
    if (nl_ring_overflowed(ring))
        flags |= IORING_ENTER_GETEVENTS;
    int result = flags ? nl_enter(ring, 0, 0, flags, NULL, 0) : 0;
    return result < 0 ? result : 0;
}

/* Wait until the poller has taken the entry at a position, which is published. */
static int await_poller(struct nl_ring *ring, unsigned position)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NANOSECONDS};
    for (unsigned looks = 0; nl_ring_awaits(position, nl_ring_taken(ring)); looks++) {
        if (looks < LOOKS) {
            relax();
            continue;
        }
        /* The first time, and seldom after that: it may be asleep after all, and an error says that it is no more. */
        if (looks % LOOKS == 0) {
            int result = nl_enter(ring, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
            if (result < 0 && result != -EINTR)
                return result;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}

int nl_polled_await(struct nl_ring *ring, unsigned position)
{
    int error = nl_polled_pass_on(ring);
    /* Whatever the call was told, a poller that is awake takes what is published, and one that sleeps is woken again. */
    int lasting = await_poller(ring, position);
    return lasting ? lasting : error;
}

int nl_polled_submit(struct nl_ring *ring)
{
    return nl_polled_await(ring, ring->sqe_tail - 1);
}

int nl_polled_look(struct nl_ring *ring, unsigned position)
{
    int error = nl_polled_pass_on(ring);
    for (unsigned looks = 0; !error && looks < LOOKS; looks++) {
        if (!nl_ring_awaits(position, nl_ring_taken(ring)) || nl_ring_ready(ring))
            break;
        relax();
    }
    return error;
}

static void write_silent_nop(struct nl_ring *ring)
{
    struct io_uring_sqe *sqe = nl_ring_sqe(ring);
    nl_prep(sqe, IORING_OP_NOP, nl_descriptor(-1), NULL, 0, 0, NL_TOKEN_NONE);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/*
 * Have deferred work done. The poller takes a batch of submissions and then does the work there is, over and over: so
 * between two batches that were taken one after the other from now on, it has done what there is now. With that go the
 * files of what has ended.
 */
static int settle(struct nl_ring *ring)
{
    if (!nl_ring_unsubmitted(ring))
        write_silent_nop(ring);
    int error = nl_polled_submit(ring);
    if (error)
        return error;
    write_silent_nop(ring);
    return nl_polled_submit(ring);
}

int nl_polled_enter(struct nl_ring *ring, unsigned wait, const struct io_uring_getevents_arg *arg)
{
    const unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    if (!wait) {
        int error = settle(ring);
        return error ? error : nl_polled_pass_on(ring);
    }
    unsigned wakeup = publish(ring);
    if (!wakeup && __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - *ring->cq_head >= wait)
        return 0;
    int result = nl_enter(ring, 0, wait, flags | wakeup, arg, sizeof(*arg));
    return result == -ETIME ? 0 : result;
}

int nl_polled_wait_any(struct nl_ring *const *rings, unsigned count, int64_t timeout)
{
    struct timespec limit = {.tv_sec = timeout / 1000000000, .tv_nsec = timeout % 1000000000};
    struct pollfd files[NL_POLLED_MOST];
    bool ready = false;
    for (unsigned i = 0; i < count; i++) {
        int error = nl_polled_pass_on(rings[i]);
        if (error && error != -EINTR)
            return error;
        files[i] = (struct pollfd){.fd = rings[i]->fd, .events = POLLIN};
        ready = ready || nl_ring_ready(rings[i]);
    }
    if (ready)
        return 0;
    /* A ring that another one polled would take submissions for it, and completions of completions. */
    rings[0]->counters.enters++;
    return ppoll(files, count, timeout < 0 ? NULL : &limit, NULL) < 0 ? -errno : 0;
}
